"""Skeletons: clips of joints, for graph networks."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillroom import params
from stillroom.errors import CacheError, ParamsError
from stillroom.modalities.base import (
    Architecture,
    DataAccount,
    Finished,
    Modality,
    Reader,
    Spec,
    ViewRequest,
    Views,
)
from stillroom.modalities.skeletons import layouts, settings
from stillroom.modalities.skeletons.fields import FIELDS, Policy, View, pack, unpack, whole
from stillroom.modalities.skeletons.samples import Sample
from stillroom.params import Data, Params, Section, StudentModel
from stillroom.samples import Samples

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from stillroom.modalities.skeletons.models.create import Model
    from stillroom.progress import Progress


class Skeletons(Modality):
    """See `Modality`. What takes long to import is imported where it is used."""

    NAME = "skeletons"
    SAMPLES = "clips"
    INPUTS = "skeletons"
    VIEW = "crop and pose"
    UNIT = "body size"
    UNITS = "of the body's size"
    # Other libraries' sums differ by 1e-6; another crop, rotation or joint by 1e-2 and more
    PROBE_BOUND = 1e-3
    FIELDS = FIELDS

    def sections(self) -> dict[str, type[Section]]:
        return {
            "data": settings.Data,
            "views": settings.Views,
            "teacher": settings.Teacher,
            "student": settings.Student,
        }

    def data_section(self, data_set: str) -> type[Section]:
        from stillroom.modalities.skeletons import datasets

        return datasets.section(data_set)

    def check(self, params: Params, source: str) -> None:
        self.policy(params.views.recipe, source)
        self.check_family(params.teacher.arch, f"{source}: teacher.arch")
        student = params.student
        for key, names in (
            ("families", student.families),
            ("family_train", student.family_train),
            ("model.family_weights", student.model.family_weights),
        ):
            for family in names:
                self.check_family(family, f"{source}: student.{key}")

    def families(self) -> Sequence[str]:
        return settings.FAMILIES

    def check_family(self, family: str, key: str) -> None:
        from stillroom.modalities.skeletons.models.create import check_family

        check_family(family, key)

    def data_sets(self) -> list[str]:
        from stillroom.modalities.skeletons import datasets

        return datasets.names()

    def prepare(
        self, data: Data, folder: Path, progress: "Progress", memory: Path | None = None, anew: bool = False
    ) -> Samples:
        from stillroom.modalities.skeletons.preparation import prepare, summary
        from stillroom.modalities.summary import finish

        assert isinstance(data, settings.Data)
        return finish(prepare(data, folder, progress), folder, progress, summary)

    def check_table(self, data: Data, samples: Samples) -> None:
        from stillroom.modalities.skeletons import datasets

        assert isinstance(data, settings.Data)
        layout, dims = datasets.layout_of(data)
        asked = (layout.name, len(layout.joints), dims)
        rows = samples.rows
        other = rows.numbers("joints") != asked[1]
        other |= rows.numbers("dims") != asked[2]
        other |= rows.differing("layout", asked[0])
        if other.any():
            row = rows[int(other.argmax())]
            found = (row.layout, row.joints, row.dims)
            has, wanted = ("{1} joints of {0} in {2} dimensions".format(*one) for one in (found, asked))
            raise ParamsError(
                f"the clip {row.key} has {has}, and the parameters say {wanted}",
                "`stillroom prepare` was run with other parameters",
                "run `stillroom prepare`, or set data.layout and data.dims back",
            )

    def check_seen(self, samples: Samples, spec: Spec) -> None:
        layout = layouts.read(spec["layout"])
        for row in samples.rows[:1]:  # `check_table` has seen that all are alike
            here, there = (row.layout, row.dims), (layout.name, spec["dims"])
            if here != there:
                has, saw = (f"joints of {one[0]} in {one[1]} dimensions" for one in (here, there))
                raise CacheError(
                    f"the teacher saw {saw}, and the clips have {has}",
                    "data.layout or data.dims was changed since",
                    "run `stillroom teacher` and `stillroom cache --replace`, or put the old parameters back "
                    "and run `stillroom prepare`",
                )

    def look(self, data: Data, memory: Path) -> dict[str, Any]:
        from stillroom.modalities import source

        assert isinstance(data, settings.Data)
        return source.look(data, memory, [getattr(data, "table", None)], "clip", one_file=True)

    def account(self, folder: Path, samples: Samples) -> DataAccount:
        from stillroom.modalities.skeletons.preparation import summary
        from stillroom.modalities.summary import accounted

        return accounted(folder, samples, self.SAMPLES, summary)

    def sample(self, entry: dict[str, Any], classes: int) -> Sample:
        return Sample.read(entry, classes)

    def data_inputs(self, data: Data) -> dict[str, str | None]:
        own = {"data.table": data.table} if hasattr(data, "table") else {}
        return super().data_inputs(data) | own

    def policy(self, config: dict[str, Any], source: str = "params") -> Policy:
        from stillroom.modalities.skeletons.policies import make_recipe

        return make_recipe(config, source)

    def policy_keys(self) -> list[str]:
        from stillroom.modalities.skeletons import policies

        return policies.keys()

    def evaluation(self, sample: Sample) -> View:
        return whole(sample)

    def describe(self, parameters: View) -> dict[str, Any]:
        return {
            "start": parameters.start,
            "length": parameters.length,
            "mirror": bool(parameters.mirror),
            "angle": list(parameters.angle),
            "scale": parameters.scale,
            "shear": list(parameters.shear),
        }

    def pack(self, parameters: Sequence[View], fields: Iterable[str]) -> dict[str, np.ndarray]:
        return pack(parameters, fields)

    def unpack(self, arrays: Mapping[str, np.ndarray], row: int) -> View:
        return unpack(arrays, row)

    def stored(self, arrays: dict[str, np.ndarray], samples: Samples) -> Views:
        from stillroom.modalities.skeletons.stored import StoredViews

        return StoredViews(arrays, samples)

    def reader(self, samples: Samples, budget: int | None = None) -> Reader:
        from stillroom.modalities.skeletons.reader import Clips

        return Clips(samples, budget)

    def kept_bytes(self, sample: Sample) -> int:
        from stillroom.modalities.skeletons.reader import Clips

        return Clips.kept_bytes(sample)

    def render(self, reader: Reader, request: ViewRequest, spec: Spec) -> np.ndarray:
        """float32 [M, T, J, D + 1]: persons, frames, joints, coordinates and score."""
        from stillroom.modalities.skeletons.render import render

        return render(reader[request.sample], request.parameters, spec, request.worse)

    def rendered(self, spec: Spec) -> tuple[str, tuple[int, ...]]:
        joints = len(layouts.read(spec["layout"]).joints)
        return "float32", (spec["persons"], spec["frames"], joints, spec["dims"] + 1)

    def rendering(self, spec: Spec) -> Spec:
        wrong = settings.wrong_in(spec, settings.Rendered)
        if wrong:
            raise ValueError(wrong)
        return {name: spec[name] for name in settings.Rendered.model_fields}

    def excerpt(self, rendered: np.ndarray) -> np.ndarray:
        """The first person in some frames, float32 [F, J, D + 1], of 1 kB at most."""
        person = rendered[0]
        count = max(1, min(len(person), 1024 // person[0].nbytes))
        return np.ascontiguousarray(person[(np.arange(count) * len(person)) // count])

    def item(self, rendered: np.ndarray, spec: Spec) -> "tuple[str, torch.Tensor]":
        """`keypoints`, float32 [M, T, J, C]: what a network is given."""
        import torch

        from stillroom.modalities.skeletons.models.input import Input

        made = Input.of(spec, layouts.read(spec["layout"]))
        return "keypoints", made(torch.from_numpy(rendered)[None])[0]

    def from_file(self, file: Path, spec: Spec) -> np.ndarray:
        from stillroom.modalities.skeletons.clip_files import read_clip
        from stillroom.modalities.skeletons.render import render

        return render(read_clip(file, layouts.read(spec["layout"]), spec["dims"]), View(), spec)

    def suffixes(self) -> Sequence[str]:
        from stillroom.modalities.skeletons.clip_files import SUFFIXES

        return SUFFIXES

    def teacher(self, params: Params) -> Architecture:
        from stillroom.modalities.skeletons.models.create import architecture

        config, views = params.teacher, params.views
        assert isinstance(config, settings.Teacher) and isinstance(views, settings.Views)
        layout, dims = self._layout_of(params.data)
        own = {"stream": config.stream, "score": config.score, "fill": config.fill}
        spec = {"frames": views.size, "persons": config.persons, "dims": dims, "layout": layout, **own}
        return architecture(config.arch, config.size, config.overrides, spec)

    def _layout_of(self, data: Data) -> tuple[str | dict[str, Any], int]:
        """The joint layout of a data set, as a spec has it, and how many coordinates its joints have."""
        from stillroom.modalities.skeletons import datasets

        assert isinstance(data, settings.Data)
        layout, dims = datasets.layout_of(data)
        built_in = layouts.LAYOUTS.get(layout.name) == layout
        return (layout.name if built_in else layout.describe()), dims

    def student(self, family: str, model: StudentModel, seen: Spec) -> Architecture:
        from stillroom.modalities.skeletons.models.create import architecture, check_family

        assert isinstance(model, settings.StudentModel)
        check_family(family, "student.families")
        own = {"stream": model.stream, "score": model.score, "fill": model.fill, "frames": model.frames}
        spec = {**seen, **{name: value for name, value in own.items() if value is not None}}
        return architecture(family, model.size, model.overrides, spec)

    def check_students(self, params: Params, seen: Spec) -> None:
        for family in params.student.families:
            self.student(family, params.student.model, seen)

    def create(
        self,
        architecture: Architecture,
        classes: int,
        *,
        weights: str = "none",
        drop_path: float = 0.0,
        seed: int = 0,
    ) -> "Model":
        from stillroom.modalities.skeletons.models.create import create

        return create(architecture, classes, weights=weights, drop_path=drop_path, seed=seed)

    def load(self, folder: Path) -> Finished:
        from stillroom.modalities.skeletons.models.load import load

        return load(folder)

    def check_spec(self, spec: Any) -> str:
        from stillroom.modalities.skeletons.models.create import check_spec

        return check_spec(spec)

    def shown(self, spec: Spec) -> str:
        return f"{spec.get('frames', '?')} frames"

    def asked(self, views: params.Views) -> Spec:
        assert isinstance(views, settings.Views)
        return {"frames": views.size}

    def check_asked(self, views: params.Views, specs: Sequence[Spec]) -> None:
        assert isinstance(views, settings.Views)
        frames = sorted({spec["frames"] for spec in specs})
        if views.size not in frames:
            raise ParamsError(
                f"views.size = {views.size}, and the teacher sees {' or '.join(map(str, frames))} frames",
                "teacher.json has the frames that it was made for, and the cache is made with these",
                f"set views.size to {frames[0]}, or run `stillroom teacher` for one of {views.size} frames",
            )

    def picture(self, rendered: np.ndarray, spec: Spec) -> bytes:
        from stillroom.modalities.skeletons.picture import picture

        return picture(rendered, spec)

    def sheet(
        self,
        reader: Reader,
        requests: Sequence[ViewRequest],
        spec: Spec,
        probabilities: np.ndarray,
        classes: Sequence[str],
        title: str,
        subtitle: str,
    ) -> "Image":
        from stillroom.modalities.skeletons.sheet import sheet

        return sheet(reader, requests, spec, probabilities, classes, title, subtitle)


MODALITY = Skeletons()

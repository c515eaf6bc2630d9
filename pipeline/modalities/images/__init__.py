"""Images: photographs of classes, for timm's models."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stillroom import params
from stillroom.errors import ParamsError
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
from stillroom.modalities.images import settings
from stillroom.modalities.images.fields import FIELDS, Policy, View, centre, pack, unpack
from stillroom.modalities.images.samples import Sample
from stillroom.params import Data, Params, Section, StudentModel, brought
from stillroom.samples import Samples
from stillroom.trust import trust

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from stillroom.modalities.images.models.create import Model
    from stillroom.progress import Progress

# Asked of timm only where they are not these: its import takes seconds
USUAL_TEACHERS = ("convnext_atto", "convnext_nano", "convnext_tiny", "convnext_base", "vit_tiny_patch16_224")
SIDES = range(16, 4097)  # pixels that a side may have


class Images(Modality):
    """See `Modality`. What takes long to import is imported where it is used."""

    NAME = "images"
    SAMPLES = "images"
    INPUTS = "pixels"
    VIEW = "picture"
    UNIT = "level"
    UNITS = "of 255 levels"
    # Decoders differ by about 0.5; a flip, a neighbouring crop or another colour by 10 and more.
    PROBE_BOUND = 2.0
    FIELDS = FIELDS

    def sections(self) -> dict[str, type[Section]]:
        return {
            "data": settings.Data,
            "views": settings.Views,
            "teacher": settings.Teacher,
            "student": settings.Student,
        }

    def data_section(self, data_set: str) -> type[Section]:
        from stillroom.modalities.images import datasets

        return datasets.section(data_set)

    def check(self, params: Params, source: str) -> None:
        self.policy(params.views.recipe, source)
        student = params.student
        for key, names in (
            ("families", student.families),
            ("family_train", student.family_train),
            ("model.family_weights", student.model.family_weights),
        ):
            for family in names:
                if family not in self._sources(params):
                    self.check_family(family, f"{source}: student.{key}")
        self._check_sources(params, source)
        self._check_teacher(params.teacher.arch, f"{source}: teacher.arch")

    def _sources(self, params: Params) -> dict[str, str]:
        model = params.student.model
        assert isinstance(model, settings.StudentModel)
        return model.sources

    def _check_sources(self, params: Params, source: str) -> None:
        """Refuse names that are taken, and what can be no folder or repository; none is looked for."""
        if not self._sources(params):
            return
        from stillroom.modalities.images.models.families import check_free

        for name, named in self._sources(params).items():
            check_free(name, f"{source}: student.model.sources")
            settings.check_name(named, f"{source}: student.model.sources.{name}")

    def _check_teacher(self, arch: str, key: str) -> None:
        """The same of the teacher: who only reads its cache needs neither its folder nor its module."""
        if arch in USUAL_TEACHERS:
            return
        if brought(arch):
            settings.check_name(arch, key)
        elif settings.is_entry(arch):
            trust(arch)
        elif ":" in arch:
            raise ParamsError(
                f"{key}: {arch!r} names no teacher",
                fix="give a timm model, local-dir:FOLDER, hf-hub:USER/REPO, or MODULE:FUNCTION",
            )
        else:
            from stillroom.modalities.images.models.create import check_model

            check_model(arch, key)

    def brings_weights(self, arch: str) -> bool:
        return ":" in arch

    def families(self) -> Sequence[str]:
        return settings.FAMILIES

    def check_family(self, family: str, key: str) -> None:
        if family not in settings.FAMILIES:
            from stillroom.modalities.images.models.families import check_family

            check_family(family, key)

    def data_sets(self) -> list[str]:
        from stillroom.modalities.images import datasets

        return datasets.names()

    def prepare(
        self, data: Data, folder: Path, progress: "Progress", memory: Path | None = None, anew: bool = False
    ) -> Samples:
        from stillroom.modalities.images.preparation import prepare, summary
        from stillroom.modalities.remembered import Memory
        from stillroom.modalities.summary import finish

        assert isinstance(data, settings.Data)
        prepared = prepare(data, folder, progress, Memory(memory, anew))
        return finish(prepared, folder, progress, summary)

    def write_shards(self, samples: Samples, folder: Path, shard_bytes: int, progress: "Progress") -> int:
        from stillroom.modalities.images.preparation.pack import pack

        return pack(samples, folder, shard_bytes, progress)

    def look(self, data: Data, memory: Path) -> dict[str, Any]:
        from stillroom.modalities import source
        from stillroom.modalities.images import datasets

        assert isinstance(data, settings.Data)
        listed = datasets.listed(data)
        data = data.model_copy(update={"path": data.place()})
        return source.look(data, memory, data.files().values(), listed=listed)

    def account(self, folder: Path, samples: Samples) -> DataAccount:
        from stillroom.modalities.images.preparation import summary
        from stillroom.modalities.summary import accounted

        return accounted(folder, samples, self.SAMPLES, summary)

    def sample(self, entry: dict[str, Any], classes: int) -> Sample:
        return Sample.read(entry, classes)

    def data_inputs(self, data: Data) -> dict[str, str | None]:
        assert isinstance(data, settings.Data)
        return super().data_inputs(data) | data.files()

    def policy(self, config: dict[str, Any], source: str = "params") -> Policy:
        from stillroom.modalities.images.policies import make_recipe

        return make_recipe(config, source)

    def policy_keys(self) -> list[str]:
        from stillroom.modalities.images import policies

        return policies.keys()

    def evaluation(self, sample: Sample) -> View:
        return centre(sample.size)

    def describe(self, parameters: View) -> dict[str, Any]:
        return {"box": list(parameters.box), "flip": parameters.flip}

    def pack(self, parameters: Sequence[View], fields: Iterable[str]) -> dict[str, np.ndarray]:
        return pack(parameters, fields)

    def unpack(self, arrays: Mapping[str, np.ndarray], row: int) -> View:
        return unpack(arrays, row)

    def stored(self, arrays: dict[str, np.ndarray], samples: Samples) -> Views:
        from stillroom.modalities.images.stored import StoredViews

        return StoredViews(arrays, samples)

    def reader(self, samples: Samples, budget: int | None = None) -> Reader:
        from stillroom.modalities.images.pixels import Pixels

        return Pixels(samples, budget)

    def kept_bytes(self, sample: Sample) -> int:
        return 3 * math.prod(sample.size)

    def render(self, reader: Reader, request: ViewRequest, spec: Spec) -> np.ndarray:
        """uint8 [S, S, 3]."""
        from stillroom.modalities.images.mix import blend
        from stillroom.modalities.images.render import render_of

        image = render_of(reader, request.sample, request.parameters, spec["size"])
        if request.partner is not None:
            sample, view = request.partner
            image = blend(image, render_of(reader, sample, view, spec["size"]), request.parameters)
        if request.worse is not None:
            corruption, drawn = request.worse
            image = corruption.apply(image, drawn)
        return image

    def rendered(self, spec: Spec) -> tuple[str, tuple[int, ...]]:
        return "uint8", (spec["size"], spec["size"], 3)

    def rendering(self, spec: Spec) -> Spec:
        size = spec["size"]
        if type(size) is not int or not 1 <= size <= SIDES[-1]:
            raise ValueError(f"size {size!r:.40}")
        return {"size": size}

    def as_file(self, rendered: np.ndarray) -> tuple[str, bytes]:
        """PNG, by OpenCV: in a fifth of Pillow's time, and without its lock."""
        import cv2

        return "png", cv2.imencode(".png", rendered[:, :, ::-1])[1].tobytes()

    def excerpt(self, rendered: np.ndarray) -> np.ndarray:
        """Evenly spread pixels, uint8 [E, E, 3]; E is 16, or S where that is less."""
        side = len(rendered)
        count = min(16, side)
        positions = (np.arange(count) * side) // count
        return np.ascontiguousarray(rendered[np.ix_(positions, positions)])

    def item(self, rendered: np.ndarray, spec: Spec) -> "tuple[str, torch.Tensor]":
        """`pixel_values`, float32 [3, S, S]."""
        import torch

        from stillroom.modalities.images.render import to_input

        mean, std = tuple(spec["mean"]), tuple(spec["std"])
        return "pixel_values", to_input(torch.from_numpy(rendered)[None], mean, std)[0]

    def from_file(self, file: Path, spec: Spec) -> np.ndarray:
        from stillroom.modalities.images.decode import decode
        from stillroom.modalities.images.render import render

        image = decode(file.read_bytes())
        return render(image, centre((image.shape[1], image.shape[0])), spec["size"])

    def suffixes(self) -> Sequence[str]:
        from stillroom.modalities.images.decode import SUFFIXES

        return SUFFIXES

    def teacher(self, params: Params) -> Architecture:
        from stillroom.modalities.images.models.create import data_config, sized

        views, config = params.views, params.teacher
        assert isinstance(views, settings.Views)
        input_config = data_config(config.arch, config.overrides)
        size = views.size or input_config["input_size"][-1]
        spec = {"size": size, "mean": list(input_config["mean"]), "std": list(input_config["std"])}
        return Architecture(config.arch, sized(config.arch, config.overrides, size), spec)

    def teacher_of(self, params: Params, classes: Sequence[str]) -> Architecture:
        from stillroom.modalities.images.models import create, entry, timm_folder

        views, config = params.views, params.teacher
        assert isinstance(views, settings.Views)
        if brought(config.arch):
            folder, start = timm_folder.read(config.arch)
            made = create.of_folder(folder, start, views.size, config.overrides)
            own = config.weights in ("hub", "none")  # else a file's take the place of those that it brings
            return replace(made, classes=tuple(classes), start=made.start if own else None)
        if settings.is_entry(config.arch):
            given = entry.make(config.arch, classes, config.overrides, views.size, config.seed).given
            spec = {"size": views.size or given.size, "mean": given.mean, "std": given.std}
            return Architecture(config.arch, config.overrides, spec, tuple(classes))
        return super().teacher_of(params, classes)

    def student(self, family: str, model: StudentModel, seen: Spec) -> Architecture:
        from stillroom.modalities.images.models.families import student_of

        assert isinstance(model, settings.StudentModel)
        size = model.image_size or seen["size"]
        arch, overrides, start = student_of(family, model, size)
        return Architecture(arch, overrides, {"size": size}, start=start)

    def by_name(self, params: Params, family: str) -> tuple[Params, str]:
        if not brought(family):
            return params, family
        from stillroom.modalities.images.models import timm_folder

        settings.check_name(family, "--family")
        name = timm_folder.short_name(family)
        model = params.student.model.model_copy(update={"sources": {**self._sources(params), name: family}})
        student = params.student.model_copy(update={"model": model})
        return params.model_copy(update={"student": student}), name

    def check_students(self, params: Params, seen: Spec) -> None:
        from stillroom.modalities.images.models.families import check_sizes

        check_sizes(params, seen["size"])

    def create(
        self,
        architecture: Architecture,
        classes: int,
        *,
        weights: str = "none",
        drop_path: float = 0.0,
        seed: int = 0,
    ) -> "Model":
        from stillroom.modalities.images.models.create import create, create_own

        if settings.is_entry(architecture.arch):
            return create_own(
                architecture.arch,
                architecture.classes,
                architecture.overrides,
                size=architecture.spec["size"],
                weights=weights,
                seed=seed,
            )
        return create(
            architecture.arch,
            classes,
            architecture.overrides,
            size=architecture.spec["size"],
            weights=weights,
            drop_path=drop_path,
            seed=seed,
            start=architecture.start,
            classes=architecture.classes,
        )

    def load(self, folder: Path) -> Finished:
        from stillroom.modalities.images.models.load import load

        model, described = load(folder)
        return Finished(model, described.classes, described.config.train.amp)

    def check_spec(self, spec: Any) -> str:
        size = spec.get("size") if isinstance(spec, dict) else None
        if not (type(size) is int and size in SIDES):
            return f"input.size = {size!r:.80}"
        for name in ("mean", "std"):
            values = spec.get(name)
            sound = isinstance(values, list | tuple) and len(values) == 3 and all(map(_finite, values))
            if not sound or (name == "std" and min(values) <= 0):
                return f"input.{name} = {values!r:.80}"
        return ""

    def shown(self, spec: Spec) -> str:
        return f"{spec.get('size', '?')} pixels"

    def asked(self, views: params.Views) -> Spec:
        assert isinstance(views, settings.Views)
        return {} if views.size is None else {"size": views.size}

    def check_asked(self, views: params.Views, specs: Sequence[Spec]) -> None:
        assert isinstance(views, settings.Views)
        sizes = sorted({spec["size"] for spec in specs})
        if views.size is not None and views.size not in sizes:
            raise ParamsError(
                f"views.size = {views.size}, and the teacher sees {' or '.join(map(str, sizes))} "
                "pixels a side",
                "teacher.json has the size that it was made for, and the cache is made at that size",
                f"set views.size to {sizes[0]}, or run `stillroom teacher` for one of {views.size} pixels",
            )

    def environment(self) -> dict[str, str]:
        import cv2
        import PIL
        from PIL import features

        jpeg = features.version_feature("libjpeg_turbo") or features.version_codec("jpg") or "unknown"
        return {"pillow": PIL.__version__, "jpeg": jpeg, "opencv": cv2.__version__}

    def picture(self, rendered: np.ndarray, spec: Spec) -> bytes:
        import io

        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(rendered).save(file, "PNG")
        return file.getvalue()

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
        from stillroom.modalities.images.sheet import contact_sheet

        sample = requests[0].sample
        return contact_sheet(
            reader[sample],
            [request.parameters for request in requests],
            [self.render(reader, request, spec) for request in requests],
            probabilities,
            classes,
            sample.label,
            title,
            subtitle,
        )


MODALITY = Images()


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

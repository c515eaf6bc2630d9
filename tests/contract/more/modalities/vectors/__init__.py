"""Vectors: points around a centre for each class. The smallest kind of data that goes through everything."""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillroom import params, registry
from stillroom.errors import DataError, ParamsError
from stillroom.modalities.base import (
    Architecture,
    DataAccount,
    Finished,
    Modality,
    Model,
    Reader,
    Spec,
    ViewRequest,
    Views,
)
from stillroom.modalities.vectors import settings
from stillroom.modalities.vectors.fields import FIELDS, Policy, Sample, View
from stillroom.params import Data, Params, Section, StudentModel
from stillroom.progress import Progress
from stillroom.samples import Samples
from stillroom.validation import validated

POLICIES = f"{__name__}.policies"


class Points:
    """A reader: a file of one point each."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, sample: Sample) -> np.ndarray:
        file = self._samples.file(sample)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file} cannot be read", error.strerror or str(error)) from None
        if hashlib.sha256(content).hexdigest() != sample.sha256:
            raise DataError(f"{file} was replaced")
        return np.load(io.BytesIO(content), allow_pickle=False)

    def preload(self, samples: Iterable[Sample]) -> None:
        """Nothing is kept."""


class Stored(Views):
    """The views of a plane of a cache."""

    mixes = False

    def __init__(self, arrays: dict[str, np.ndarray], samples: Samples) -> None:
        self._arrays, self._samples = arrays, samples

    def __getitem__(self, row: int) -> ViewRequest:
        return ViewRequest(self._samples.rows[row], MODALITY.unpack(self._arrays, row))

    def mixture(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


class Vectors(Modality):
    """See `Modality`."""

    NAME = "vectors"
    SAMPLES = "points"
    PROBE_BOUND = 1e-3
    FIELDS = FIELDS

    def sections(self) -> dict[str, type[Section]]:
        return {
            "data": settings.Data,
            "views": settings.Views,
            "teacher": settings.Teacher,
            "student": settings.Student,
        }

    def check(self, params: Params, source: str) -> None:
        self.policy(params.views.recipe, source)
        for family in (*params.student.families, params.teacher.arch):
            self.check_family(family, source)

    def families(self) -> Sequence[str]:
        return settings.FAMILIES

    def check_family(self, family: str, source: str) -> None:
        if family not in settings.FAMILIES:
            raise ParamsError(f"{source}: there is no family {family!r}", fix=f"valid: {settings.FAMILIES}")

    def data_sets(self) -> list[str]:
        return ["blobs"]

    def prepare(self, data, folder: Path, progress: Progress, memory=None, anew: bool = False) -> Samples:
        assert isinstance(data, settings.Data)
        rng, rows = np.random.default_rng(data.seed), []
        centres = rng.normal(size=(4, data.length))
        (folder / "points").mkdir(parents=True)
        for label, centre in enumerate(centres):
            for split, count in (("train", data.train_per_class), ("test", data.test_per_class)):
                for number in range(count):
                    key = f"{split}_{label}_{number:03d}"
                    stream = io.BytesIO()
                    np.save(stream, (centre + 0.7 * rng.normal(size=data.length)).astype("<f4"))
                    (folder / "points" / f"{key}.npy").write_bytes(stream.getvalue())
                    digest = hashlib.sha256(stream.getvalue()).hexdigest()
                    rows.append(Sample(key, f"{key}.npy", split, label, digest, data.length))
        names = tuple(f"class_{label}" for label in range(len(centres)))
        samples = Samples("blobs", names, tuple(rows), folder / "points", self.NAME)
        samples.save(folder)
        return samples

    def look(self, data: Data, memory: Path) -> dict[str, Any]:
        return {"files": None, "digest": None}

    def account(self, folder: Path, samples: Samples) -> DataAccount:
        return DataAccount(self.SAMPLES, [("points", str(len(samples)))], [], 0)

    def sample(self, entry: dict[str, Any], classes: int) -> Sample:
        return Sample.read(entry, classes)

    def policy(self, config: dict[str, Any], source: str = "params") -> Policy:
        values = dict(config)
        name = str(values.pop("name", "jitter"))
        registry.check(POLICIES, name, f"{source}: views.recipe.name = {name!r}: there is no such policy")
        kind = getattr(registry.load(POLICIES, name), name.capitalize())
        return validated(kind, values, source, ("views", "recipe"))

    def policy_keys(self) -> list[str]:
        return ["spread"]

    def evaluation(self, sample: Sample) -> View:
        return View()

    def describe(self, parameters: View) -> dict[str, Any]:
        return {"gain": parameters.gain, "shift": list(parameters.shift)}

    def pack(self, parameters: Sequence[View], fields: Iterable[str]) -> dict[str, np.ndarray]:
        return {
            name: np.array([getattr(one, name) for one in parameters], FIELDS[name][0]).reshape(
                len(parameters), *FIELDS[name][1]
            )
            for name in fields
        }

    def unpack(self, arrays: Mapping[str, np.ndarray], row: int) -> View:
        gain = float(arrays["gain"][row]) if "gain" in arrays else 1.0
        first, second = arrays["shift"][row].tolist() if "shift" in arrays else (0.0, 0.0)
        return View(gain, (first, second))

    def stored(self, arrays: dict[str, np.ndarray], samples: Samples) -> Views:
        from stillroom.errors import CacheError

        for name, values in arrays.items():
            if name not in FIELDS or values.shape != (len(samples), *FIELDS[name][1]):
                raise CacheError(f"views/{name} of the cache is not of these points")
            if not np.isfinite(values).all():
                raise CacheError(f"views/{name} of the cache is not finite")
        if set(arrays) != set(FIELDS):
            raise CacheError("the cache keeps not all of a view")
        return Stored(arrays, samples)

    def reader(self, samples: Samples, budget: int | None = None) -> Reader:
        return Points(samples)

    def kept_bytes(self, sample: Sample) -> int:
        return 4 * sample.length

    def render(self, reader: Reader, request: ViewRequest, spec: Spec) -> np.ndarray:
        """float32 [L]."""
        view = request.parameters
        point = reader[request.sample][: spec["length"]] * np.float32(view.gain)
        point[:2] += np.array(view.shift, np.float32)
        return point.astype(np.float32)

    def rendered(self, spec: Spec) -> tuple[str, tuple[int, ...]]:
        return "float32", (spec["length"],)

    def rendering(self, spec: Spec) -> Spec:
        if type(spec["length"]) is not int or not 2 <= spec["length"] <= 64:
            raise ValueError(f"length {spec['length']!r:.40}")
        return {"length": spec["length"]}

    def excerpt(self, rendered: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(rendered[:4])

    def item(self, rendered: np.ndarray, spec: Spec) -> Any:
        import torch

        return "points", torch.from_numpy(rendered)

    def from_file(self, file: Path, spec: Spec) -> np.ndarray:
        return np.load(file, allow_pickle=False)[: spec["length"]].astype(np.float32)

    def suffixes(self) -> Sequence[str]:
        return (".npy",)

    def teacher(self, params: Params) -> Architecture:
        assert isinstance(params.data, settings.Data)
        return Architecture(params.teacher.arch, {}, {"length": params.data.length})

    def student(self, family: str, model: StudentModel, seen: Spec) -> Architecture:
        self.check_family(family, "student")
        return Architecture(family, {}, self.rendering(seen))

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
    ) -> Model:
        from stillroom.modalities.vectors.model import create

        return create(architecture, classes, weights, seed)

    def load(self, folder: Path) -> Finished:
        from stillroom.modalities.vectors.model import load

        return load(folder)

    def check_spec(self, spec: Any) -> str:
        try:
            self.rendering(spec)
        except (KeyError, TypeError, ValueError) as error:
            return f"input: {error!r:.80}"
        return ""

    def shown(self, spec: Spec) -> str:
        return f"{spec.get('length', '?')} numbers"

    def asked(self, views: params.Views) -> Spec:
        return {}

    def check_asked(self, views: params.Views, specs: Sequence[Spec]) -> None:
        """Nothing can be asked for."""

    def picture(self, rendered: np.ndarray, spec: Spec) -> bytes:
        stream = io.BytesIO()
        self._bars(rendered).save(stream, "PNG")
        return stream.getvalue()

    def sheet(
        self,
        reader: Reader,
        requests: Sequence[ViewRequest],
        spec: Spec,
        probabilities: np.ndarray,
        classes: Sequence[str],
        title: str,
        subtitle: str,
    ) -> Any:
        rows = [self.render(reader, request, spec) for request in requests]
        return self._bars(np.concatenate(rows))

    def _bars(self, values: np.ndarray) -> Any:
        from PIL import Image

        image = np.full((64, 4 * len(values), 3), 255, np.uint8)
        for place, value in enumerate(values):
            top = int(np.clip(32 - 8 * value, 0, 63))
            image[min(32, top) : max(33, top), 4 * place : 4 * place + 3] = (180, 98, 45)
        return Image.fromarray(image)


MODALITY = Vectors()

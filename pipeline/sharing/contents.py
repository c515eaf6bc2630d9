"""What a folder holds that may be shared, checked before anything of it leaves the machine."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from stillroom import modalities
from stillroom.cache.format.manifest import NAME, Manifest
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import SURPLUS, verify
from stillroom.cache.read.damage import UNALLOWED
from stillroom.errors import AccessError, CacheError, DataError, fetch_again, listing
from stillroom.files import read_small
from stillroom.modalities import LARGEST_RECORD
from stillroom.modalities.finished import faults
from stillroom.modalities.remembered import stamp
from stillroom.modalities.weights import read_weights
from stillroom.progress import Progress
from stillroom.provenance.identity import read_teacher
from stillroom.provenance.teacher import fold_file, load_one
from stillroom.reporting.records import Metrics, Student, Teacher

CARD = "README.md"
STUDENT, TEACHER = "student.json", "teacher.json"
RECORDS = {"cache": NAME, "student": STUDENT, "teacher": TEACHER}  # what says that a place holds one, whole
# What `config.json` may say: timm's keys, and what other models' have beside (`Model.config`)
CONFIG_KEYS = {
    *("architecture", "num_classes", "num_features", "label_names", "model_args", "pretrained_cfg", "input")
}
# What is shared of a model beside its record and weights, where it is there
_BESIDE = ("config.json", "metrics.json", "predictions.safetensors")


@dataclass(frozen=True)
class Shared:
    """What is to be shared.

    Attributes:
        kind: `cache`, `student` or `teacher`.
        files: bytes by path in the folder; the record, which says what all this is, is the last.
        record: the content of `student.json` or `teacher.json`.
        scores: the content of `metrics.json`.
        manifest: of a cache.
        left: files in a cache's folder that are no part of it, and stay here.
        stamps: of each file, what it was when it was looked at; see `require_unchanged`.
    """

    kind: str
    folder: Path
    files: dict[str, int]
    record: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    manifest: Manifest | None = None
    left: tuple[str, ...] = ()
    stamps: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def require_unchanged(self) -> None:
        """Refuse files that have been changed since they were looked at.

        Raises:
            DataError: names one.
        """
        for name, before in self.stamps.items():
            try:
                same = stamp((self.folder / name).stat()) == before
            except OSError:
                same = False
            if not same:
                raise DataError(
                    f"{self.folder / name} has been changed meanwhile",
                    "what was checked is not what would be shared",
                    "run the same command again when nothing writes there",
                )

    @property
    def last(self) -> str:
        """The record."""
        return RECORDS[self.kind]

    @property
    def who(self) -> str:
        """Which one it is: only the same takes the place of what was shared before."""
        if self.manifest is not None:
            return f"cache {self.manifest.id}"
        return name_of(self.kind, self.record)


def name_of(kind: str, record: dict[str, Any]) -> str:
    """Which one a record is of."""
    if kind == "cache":
        return f"cache {record.get('id')}"
    if kind == "teacher":
        return f"teacher {record.get('arch')}"
    return "student " + "-".join(str(record.get(part)) for part in ("family", "arm", "seed"))


def examine(folder: Path, progress: Progress | None = None) -> Shared:
    """Look at a folder that a stage wrote: of a cache every digest, of a model its record and weights.

    Files that no stage wrote are no part of it, whatever they are.

    Raises:
        DataError: it holds no cache, student or teacher; or a file of it is damaged.
        CacheError: the cache is damaged, or there is no such folder.
        WeightsError: the weights are missing, damaged, or not those of the record.
        AccessError: this user may not read it.
    """
    kind = kind_in(folder)
    if kind == "cache":
        return _cache(folder, progress or Progress())
    return _student(folder) if kind == "student" else _teacher(folder)


def kind_in(folder: Path) -> str:
    """What a folder holds by its files, of which none is read: `cache`, `student` or `teacher`.

    Raises:
        DataError: none of them.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder", fix="give the folder of a cache, a student or a teacher")
    there = [kind for kind, name in RECORDS.items() if (folder / name).is_file()]
    if not there:
        raise DataError(
            f"{folder} holds nothing to share",
            f"there is none of {', '.join(RECORDS.values())} in it: it is no cache, student or teacher",
            "give a folder that `stillroom cache`, `student` or `teacher` wrote",
        )
    return there[0]


def _cache(folder: Path, progress: Progress) -> Shared:
    stamps = _stamps(folder, [*sorted(open_store(folder).files()), NAME])
    damage = verify(folder, progress)
    surplus = [entry["file"] for entry in damage if entry["reason"] == SURPLUS]
    denied = [entry["file"] for entry in damage if entry["reason"] == UNALLOWED]
    if denied:
        raise AccessError(folder / denied[0])
    if len(damage) > len(surplus):
        faults = [f"{entry['file']}: {entry['reason']}" for entry in damage if entry["reason"] != SURPLUS]
        raise CacheError(
            f"the cache in {folder} is damaged:\n{listing(list(dict.fromkeys(faults)))}",
            "nothing of it was uploaded",
            f"{fetch_again(folder)}, or run `stillroom store repair {folder}`",
        )
    store = open_store(folder)
    return Shared(
        "cache",
        folder,
        _sizes(folder, [*sorted(store.files()), NAME]),
        manifest=store.manifest,
        left=tuple(surplus),
        stamps=stamps,
    )


def _student(folder: Path) -> Shared:
    stamps = _stamps(folder, [STUDENT, "model.safetensors", *_BESIDE])
    modalities.load_model(folder)
    return _model("student", folder, ["model.safetensors"], _json(folder / STUDENT), stamps)


def _teacher(folder: Path) -> Shared:
    described = read_teacher(folder / TEACHER)
    folds = described.get("folds") or {}
    weights = {fold_file(number): digest for number, digest in enumerate(folds.get("models", ()))}
    if not folds:
        weights["model.safetensors"] = described["digest"]
    elif folds.get("whole"):
        weights["model.safetensors"] = folds["whole"]
    stamps = _stamps(folder, [TEACHER, *weights, *_BESIDE])
    for name, digest in weights.items():
        load_one(folder / name, described, digest)
    return _model("teacher", folder, list(weights), described, stamps)


def _model(
    kind: str, folder: Path, weights: list[str], record: dict[str, Any], stamps: dict[str, tuple[int, ...]]
) -> Shared:
    beside = [name for name in _BESIDE if (folder / name).exists()]
    found = {name: _json(folder / name) for name in beside if name.endswith(".json")}
    scores = found.get("metrics.json", {})
    # Each is what its name says: a link must not carry off some other file
    if "predictions.safetensors" in beside:
        read_weights(folder / "predictions.safetensors")
    if strange := sorted(found.get("config.json", {}).keys() - CONFIG_KEYS):
        _refuse(folder / "config.json", listing(strange, 3))
    described = Student if kind == "student" else Teacher
    try:
        if "metrics.json" in found:
            Metrics.model_validate(scores)
        described.model_validate(record | {"metrics": scores or dict.fromkeys(Metrics.model_fields, 0.0)})
    except ValidationError as error:
        of_scores = error.title == Metrics.__name__
        _refuse(folder / ("metrics.json" if of_scores else RECORDS[kind]), faults(error))
    files = [*sorted({*weights, *beside}), RECORDS[kind]]
    return Shared(kind, folder, _sizes(folder, files), record, scores, stamps=stamps)


def _refuse(file: Path, why: str) -> NoReturn:
    raise DataError(f"{file} is not what a stage wrote:\n{why}", fix="fetch it again")


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_small(file, LARGEST_RECORD))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON table")
        return found
    except PermissionError:
        raise AccessError(file) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read", str(error)[:200], "fetch it again") from None


def _stamps(folder: Path, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Taken before the files are looked at; of those that are there."""
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        with suppress(OSError):
            found[name] = stamp((folder / name).stat())
    return found


def _sizes(folder: Path, names: list[str]) -> dict[str, int]:
    try:
        return {name: (folder / name).stat().st_size for name in names}
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read", error.strerror or "", "fetch it again") from None

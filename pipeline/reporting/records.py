"""What the report reads: the JSON that the stages wrote, checked before anything is compared."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import CacheError, DataError, listing

Entry = tuple[str, str, int]  # family, arm, seed
Percent = Annotated[float, Field(ge=0, le=100)]


class Record(BaseModel):
    """Strict in type, open to further keys: the stages may write more than the report needs."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class Metrics(Record):
    """`metrics.json`: accuracy and mAP in percent on the test split."""

    accuracy: Percent
    mAP: Percent
    train_seconds_per_image: float | None = None


class Epoch(Record):
    """One epoch of a history: its number, mean training loss and learning rate."""

    epoch: int
    loss: float
    lr: float


class Weights(Record):
    """Where the teacher's weights came from, and which of its tensors they did not fit."""

    source: str
    missing: list[str] = []
    unexpected: list[str] = []
    remade: list[str] = []


class Teacher(Record):
    """`teacher.json`, with the `metrics.json` beside it."""

    format: Literal["stillroom-teacher/1"]
    arch: str
    overrides: dict[str, Any]
    params: int
    flops: int | float | None
    digest: str
    weights: Weights
    classes: list[str]
    input: dict[str, Any]
    config: dict[str, Any]
    epochs: int
    history: list[Epoch]
    metrics: Metrics


class Digests(Record):
    """What two arms must share: initial weights, order of the samples, pixels."""

    init: str
    order: str
    pixels: str


class Student(Record):
    """`student.json`, with the `metrics.json` beside it.

    `per_class_ap`: average precision of each class in percent; a class without a test sample has none (None).
    `seconds`: training time.
    """

    format: Literal["stillroom-student/1"]
    family: str
    arm: str
    seed: int
    arch: str
    overrides: dict[str, Any]
    params: int
    flops: int | float | None
    cache: str
    digests: Digests
    config: dict[str, Any]
    history: list[Epoch]
    per_class_ap: dict[str, Percent | None]
    seconds: float
    metrics: Metrics


class Extents(Record):
    """Views a sample, and samples, in the cache."""

    views: Annotated[int, Field(ge=1)]
    samples: Annotated[int, Field(ge=1)]


class Manifest(Record):
    """The parts of the cache's `manifest.json` that the report shows."""

    id: str
    extents: Extents
    identity: dict[str, Any]
    backend: str
    quality: Any = None
    environment: Any = None


@dataclass(frozen=True)
class Runs:
    """Everything the report is made from; `cache_bytes` is the sum of the sizes of the cache's files."""

    teacher: Teacher
    manifest: Manifest
    cache_bytes: int
    students: tuple[Student, ...]


def read(artifacts: Path, entries: Sequence[Entry]) -> Runs:
    """Read the teacher, the cache's manifest and one student for each of `entries`, in their order.

    Args:
        artifacts: the folder that holds `teacher/`, `cache/` and `students/`.
        entries: (family, arm, seed) of the students to report; a repeated one counts once.

    Raises:
        DataError: no entry was given; files are missing (all are named), are not JSON or not what the stages
            write; or the two arms of a family and seed differ in more than their target.
        CacheError: only the cache's manifest is at fault, or a student was trained from another cache.
    """
    entries = list(dict.fromkeys(entries))
    if not entries:
        raise DataError(
            "there is no student to report",
            fix="name families, arms and seeds under `student` in params.yaml",
        )
    manifest_file = artifacts / "cache" / "manifest.json"
    teacher_file = artifacts / "teacher" / "teacher.json"
    student_files = [artifacts / "students" / "{}-{}-{}".format(*entry) / "student.json" for entry in entries]
    records = [teacher_file, *student_files]
    files = [
        manifest_file,
        *(file for record in records for file in (record, record.with_name("metrics.json"))),
    ]
    _refuse_missing(files, manifest_file)

    faults: dict[Path, str] = {}
    trees = {file: _parse(file, faults) for file in files}
    manifest = _check(Manifest, manifest_file, trees, faults)
    teacher = _check(Teacher, teacher_file, trees, faults)
    students = [_check(Student, file, trees, faults) for file in student_files]
    for entry, file, student in zip(entries, student_files, students, strict=True):
        if student and (student.family, student.arm, student.seed) != entry:
            held = f"{student.family}-{student.arm}-{student.seed}"
            faults[file] = f"it describes {held}, expected {file.parent.name} as its folder says"
    if faults:
        kind = CacheError if set(faults) == {manifest_file} else DataError
        raise kind(
            "the report cannot read:\n" + listing([f"{file}: {fault}" for file, fault in faults.items()]),
            "a file was edited, cut short, or written by another version",
            "run `dvc repro` to write it again (delete the folder first where DVC sees no change)",
        )
    assert manifest is not None and teacher is not None
    read_students = tuple(student for student in students if student is not None)
    _refuse_other_teacher(artifacts, manifest, teacher)
    _refuse_unpaired(artifacts, manifest, read_students)
    size = sum(file.stat().st_size for file in sorted(manifest_file.parent.rglob("*")) if file.is_file())
    return Runs(teacher, manifest, size, read_students)


def _refuse_missing(files: list[Path], manifest_file: Path) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        kind = CacheError if missing == [manifest_file] else DataError
        raise kind(
            "the report needs files that are not there:\n"
            + listing([str(file) for file in missing], len(missing)),
            "the stage that writes each of them has not finished here",
            "run `dvc repro`, or fetch the results of others with `dvc pull`",
        )


def _parse(file: Path, faults: dict[Path, str]) -> Any:
    """The JSON in a file; NaN and Infinity are no JSON and no result to average."""
    try:
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        faults[file] = f"not JSON: {error}"
        return None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


Kind = TypeVar("Kind", bound=Record)


def _check(kind: type[Kind], file: Path, trees: dict[Path, Any], faults: dict[Path, str]) -> Kind | None:
    """One record, joined with the metrics beside it; what is wrong goes to `faults` under its file."""
    metrics_file = file.with_name("metrics.json")
    tree = trees[file]
    sources = [file, metrics_file] if metrics_file in trees else [file]
    for source in sources:
        if source not in faults and not isinstance(trees[source], dict):
            faults[source] = f"expected an object, found {type(trees[source]).__name__}"
    if any(source in faults for source in sources):
        return None
    if metrics_file in trees:
        tree = {**tree, "metrics": trees[metrics_file]}
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            place = list(fault["loc"])
            in_metrics = place[0] == "metrics"
            name = ".".join(str(part) for part in place[in_metrics:])
            found = "" if fault["type"] == "missing" else f", found {fault['input']!r:.80}"
            source = metrics_file if in_metrics else file
            text = f"{name}: {fault['msg'][:1].lower()}{fault['msg'][1:]}{found}"
            faults[source] = f"{faults[source]}; {text}" if source in faults else text
        return None


def _refuse_other_teacher(artifacts: Path, manifest: Manifest, teacher: Teacher) -> None:
    """The teacher that is reported must be one that the cache was made from."""
    outputs = manifest.identity.get("outputs")
    made = outputs.values() if isinstance(outputs, dict) else ()
    cached = [output.get("teacher") for output in made if isinstance(output, dict)]
    digests = [one.get("digest") for one in cached if isinstance(one, dict)]
    found = ", ".join(str(digest) for digest in digests) or None
    if teacher.digest not in digests:
        raise CacheError(
            f"{artifacts / 'cache'} was not made from the teacher in {artifacts / 'teacher'}",
            f"teacher.digest: the cache says {found}, teacher.json says {teacher.digest}",
            "run `dvc repro`, which makes the cache again, or put the old teacher back",
        )


def _refuse_unpaired(artifacts: Path, manifest: Manifest, students: tuple[Student, ...]) -> None:
    """Refuse students of another cache, and arms of a family and seed that differ in more than the loss."""
    foreign: list[str] = []
    unpaired: list[str] = []
    redo: list[tuple[str, str, int]] = []
    first: dict[tuple[str, int], Student] = {}
    for student in students:
        name = f"{student.family}-{student.arm}-{student.seed}"
        if student.cache != manifest.id:
            foreign.append(
                f"{name}: trained from cache {student.cache}, but {artifacts / 'cache'} is {manifest.id}"
            )
            redo.append((student.family, student.arm, student.seed))
        other = first.setdefault((student.family, student.seed), student)
        differences = _differences(other, student)
        if differences:
            pair = f"{student.family}-{other.arm}-{student.seed} and {name}"
            unpaired += [f"{pair}: {field} is {left} and {right}" for field, left, right in differences]
            redo += [(student.family, arm, student.seed) for arm in (other.arm, student.arm)]
    if not foreign and not unpaired:
        return
    commands = [
        "`stillroom student --family {} --arm {} --seed {}`".format(*entry) for entry in dict.fromkeys(redo)
    ]
    fix = f"train again: {', '.join(commands[:4])}" + (
        f" and {len(commands) - 4} more" if len(commands) > 4 else ""
    )
    faults = foreign + unpaired
    if foreign:
        raise CacheError(
            "students were not trained from this cache:\n" + listing(faults, len(faults)),
            "the cache was made again, or a student was copied here; it says nothing about this cache",
            f"{fix}; `dvc repro` does it for all",
        )
    raise DataError(
        "arms cannot be compared:\n" + listing(faults, len(faults)),
        "ce and kd must differ in the target alone: a gain between these would mix in the other change",
        f"{fix}; `dvc repro` does it for all",
    )


def _differences(left: Student, right: Student) -> list[tuple[str, str, str]]:
    """What two arms should share and do not: (field, value, value)."""
    pairs: list[tuple[str, Any, Any]] = [("cache", left.cache, right.cache)]
    for name in Digests.model_fields:
        pairs.append((f"digests.{name}", getattr(left.digests, name), getattr(right.digests, name)))
    for name in ("arch", "overrides", "params"):
        pairs.append((name, getattr(left, name), getattr(right, name)))
    for section in ("model", "train"):
        one, two = _flat(left.config.get(section), section), _flat(right.config.get(section), section)
        for key in sorted(one.keys() | two.keys()):
            pairs.append((f"config.{key}", one.get(key, "not set"), two.get(key, "not set")))
    return [(field, str(one), str(two)) for field, one, two in pairs if one != two]


def _flat(tree: Any, prefix: str) -> dict[str, Any]:
    """Nested sections as dotted keys."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {key: value for name in tree for key, value in _flat(tree[name], f"{prefix}.{name}").items()}

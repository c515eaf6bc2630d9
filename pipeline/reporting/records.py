"""What the report reads: the JSON that the stages wrote, checked before anything is compared."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from stillroom.cache.format.identity import identity_id
from stillroom.errors import AccessError, CacheError, DataError, listing
from stillroom.samples import Samples

Entry = tuple[str, str, int]  # family, arm, seed
Percent = Annotated[float, Field(ge=0, le=100)]


class Record(BaseModel):
    """Strict in type, open to further keys: the stages may write more than the report needs."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class Metrics(Record):
    """`metrics.json`: percent on the test split."""

    accuracy: Percent
    mAP: Percent
    top5: Percent | None = None
    calibration_error: Percent | None = None
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


class Tested(Record):
    """Digests of the test split: its keys and labels in the order of the predictions, and its images' bytes
    (None in older records).
    """

    keys: str
    labels: str
    images: str | None = None


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
    test: Tested | None = None
    metrics: Metrics


class Digests(Record):
    """What two arms must share: initial weights, order of the samples, pixels."""

    init: str
    order: str
    pixels: str


class Student(Record):
    """`student.json`, with the `metrics.json` beside it.

    `per_class_ap`: average precision of each class in percent; a class without a test sample has none (None).
    `seconds`: training time. `latency_ms`: by batch size. `cache_parts`: digests of what it took from the
    cache.
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
    cache_parts: dict[str, str] | None = None
    digests: Digests
    test: Tested | None = None
    latency_ms: dict[str, float] | None = None
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
    """Everything the report is made from.

    Attributes:
        cache_bytes: the sum of the sizes of the cache's files.
        labels: int64 [N] of the test split; None where no table was given.
        logits: float32 [N, C], what a student said of the test split, by (family, arm, seed); of those that
            kept it.
        teacher_logits: likewise the teacher's, or None.
    """

    teacher: Teacher
    manifest: Manifest
    cache_bytes: int
    students: tuple[Student, ...]
    labels: np.ndarray | None = None
    logits: dict[Entry, np.ndarray] = field(default_factory=dict)
    teacher_logits: np.ndarray | None = None


def read(
    artifacts: Path,
    entries: Sequence[Entry],
    test: Samples | None = None,
    cache: Path | None = None,
    cache_bytes: int | None = None,
) -> Runs:
    """Read the teacher, the cache's manifest and one student for each of `entries`, in their order.

    Args:
        artifacts: the folder that holds `teacher/` and `students/`; `cache/` too, if `cache` is None.
        entries: (family, arm, seed) of the students to report; a repeated one counts once.
        test: the test split's rows, for what is read of the predictions beside each model; None: they are not
            looked at.
        cache: the folder with the cache's manifest.
        cache_bytes: the size of the cache; None: that of this folder.

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
    cache = cache or artifacts / "cache"
    manifest_file = cache / "manifest.json"
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
    _refuse_other_teacher(cache, artifacts, manifest, teacher)
    _refuse_unpaired(cache, manifest, read_students)
    if cache_bytes is None:
        cache_bytes = sum(file.stat().st_size for file in sorted(cache.rglob("*")) if file.is_file())
    runs = Runs(teacher, manifest, cache_bytes, read_students)
    return runs if test is None else _with_predictions(runs, artifacts, test)


def _with_predictions(runs: Runs, artifacts: Path, test: Samples) -> Runs:
    """Add what each model said of the test split, where it was kept.

    Raises:
        DataError: a model was tested on another split, whether its predictions are here or not; predictions
            are damaged, or do not give the accuracy in `metrics.json`. All such files are named.
    """
    labels = np.array(test.labels(), np.int64)
    digests = test.digests()
    faults: dict[str, str] = {}  # and the command that mends it

    def predictions(folder: Path, model: Teacher | Student) -> np.ndarray | None:
        file, command = folder / "predictions.safetensors", "stillroom teacher"
        if isinstance(model, Student):
            command = _command((model.family, model.arm, model.seed))
        if model.test is None:  # written before predictions were kept
            return None
        for name, told in model.test.model_dump().items():
            if told is not None and told != digests[name]:
                record = folder / ("student.json" if isinstance(model, Student) else "teacher.json")
                held = f"{artifacts / 'data'} has {digests[name]}"
                faults[f"{record}: another test split: test.{name} is {told}, {held}"] = command
                return None
        if not file.exists():
            return None
        try:
            found = _logits(file, len(labels), len(test.classes))
            accuracy = 100 * float((found.argmax(axis=1) == labels).mean())
            if abs(accuracy - model.metrics.accuracy) > 1e-3:
                told = model.metrics.accuracy
                raise ValueError(f"it gives an accuracy of {accuracy:.4f}%, metrics.json says {told:.4f}%")
        except (ValueError, OSError, SafetensorError) as error:
            faults[f"{file}: {error}"] = command
            return None
        return found

    teacher = predictions(artifacts / "teacher", runs.teacher)
    logits = {}
    for student in runs.students:
        entry = (student.family, student.arm, student.seed)
        found = predictions(artifacts / "students" / "{}-{}-{}".format(*entry), student)
        if found is not None:
            logits[entry] = found
    if faults:
        raise DataError(
            "the report cannot use what these models said of the test split:\n"
            + listing(list(faults), len(faults)),
            "a file was damaged, is of another run, or the test split has changed since",
            f"run again: {_some(faults.values())}; `dvc repro` does it for all",
        )
    return replace(runs, labels=labels, logits=logits, teacher_logits=teacher)


def _logits(file: Path, rows: int, classes: int) -> np.ndarray:
    """The tensor `logits` of a safetensors file, float32 [rows, classes]; its size is looked at first."""
    expected = 4 * rows * classes
    if file.stat().st_size > expected + 65536:
        raise ValueError(f"it has {file.stat().st_size} bytes, expected about {expected}")
    try:
        file.open("rb").close()  # the library says of one that may not be read that it is not there
    except PermissionError:
        raise AccessError(file) from None
    with safe_open(file, framework="numpy") as tensors:
        if list(tensors.keys()) != ["logits"]:
            raise ValueError("it does not hold one tensor `logits`")
        piece = tensors.get_slice("logits")
        kind, shape = piece.get_dtype(), list(piece.get_shape())
        if kind != "F32" or shape != [rows, classes]:
            raise ValueError(f"logits are {kind} {shape}, expected F32 {[rows, classes]}")
        found: np.ndarray = tensors.get_tensor("logits")
    if not np.isfinite(found).all():
        raise ValueError("it holds values that are not finite")
    return found


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
    except PermissionError:
        raise AccessError(file) from None
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


def _refuse_other_teacher(cache: Path, artifacts: Path, manifest: Manifest, teacher: Teacher) -> None:
    """The teacher that is reported must be one that the cache was made from."""
    outputs = manifest.identity.get("outputs")
    made = outputs.values() if isinstance(outputs, dict) else ()
    cached = [output.get("teacher") for output in made if isinstance(output, dict)]
    digests = [one.get("digest") for one in cached if isinstance(one, dict)]
    found = ", ".join(str(digest) for digest in digests) or None
    if teacher.digest not in digests:
        raise CacheError(
            f"{cache} was not made from the teacher in {artifacts / 'teacher'}",
            f"teacher.digest: the cache says {found}, teacher.json says {teacher.digest}",
            "run `dvc repro`, which makes the cache again, or put the old teacher back",
        )


def _refuse_unpaired(cache: Path, manifest: Manifest, students: tuple[Student, ...]) -> None:
    """Refuse students of another cache, and arms of a family and seed that differ in more than the loss."""
    foreign: list[str] = []
    unpaired: list[str] = []
    redo: list[tuple[str, str, int]] = []
    first: dict[tuple[str, int], Student] = {}
    for student in students:
        name = f"{student.family}-{student.arm}-{student.seed}"
        if not _from(student, manifest):
            foreign.append(f"{name}: trained from cache {student.cache}, but {cache} is {manifest.id}")
            redo.append((student.family, student.arm, student.seed))
        other = first.setdefault((student.family, student.seed), student)
        differences = _differences(other, student)
        if differences:
            pair = f"{student.family}-{other.arm}-{student.seed} and {name}"
            unpaired += [f"{pair}: {field} is {left} and {right}" for field, left, right in differences]
            redo += [(student.family, arm, student.seed) for arm in (other.arm, student.arm)]
    if not foreign and not unpaired:
        return
    fix = f"train again: {_some(_command(entry) for entry in redo)}"
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


def _command(entry: Entry) -> str:
    return "stillroom student --family {} --arm {} --seed {}".format(*entry)


def _some(commands: Iterable[str]) -> str:
    """The first four of these commands, and how many more there are."""
    each = [f"`{command}`" for command in dict.fromkeys(commands)]
    return ", ".join(each[:4]) + (f" and {len(each) - 4} more" if len(each) > 4 else "")


def _from(student: Student, manifest: Manifest) -> bool:
    """Whether a cache holds what a student was trained from: it may have got further outputs since."""
    if student.cache == manifest.id:
        return True
    identity, used = manifest.identity, dict(student.cache_parts or {})
    if not used or not isinstance(identity.get("outputs"), dict):
        return False
    data = {name: value for name, value in identity.items() if name != "outputs"}
    held = {name: identity_id(output) for name, output in identity["outputs"].items()}
    return used.pop("data", "") == identity_id(data) and used.items() <= held.items()


def _differences(left: Student, right: Student) -> list[tuple[str, str, str]]:
    """What two arms should share and do not: (field, value, value)."""
    caches = [(one.cache_parts or {}).get("data", one.cache) for one in (left, right)]
    pairs: list[tuple[str, Any, Any]] = [("cache", caches[0], caches[1])]
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

"""Reads what the report is made from, and checks all of it before anything is compared."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from stillroom.cache.format.outputs import imported
from stillroom.errors import AccessError, CacheError, DataError, listing
from stillroom.reporting.pairing import refuse_other_teacher, refuse_unpaired
from stillroom.reporting.predictions import with_predictions
from stillroom.reporting.records import Entry, Manifest, Record, Runs, Student, Teacher, folder_name
from stillroom.samples import Samples


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
    elsewhere = _is_imported(manifest_file)
    teacher_file = artifacts / "teacher" / "teacher.json"
    student_files = [artifacts / "students" / folder_name(entry) / "student.json" for entry in entries]
    records = student_files if elsewhere else [teacher_file, *student_files]
    files = [
        manifest_file,
        *(file for record in records for file in (record, record.with_name("metrics.json"))),
    ]
    _refuse_missing(files, manifest_file)

    faults: dict[Path, str] = {}
    trees = {file: _parse(file, faults) for file in files}
    manifest = _check(Manifest, manifest_file, trees, faults)
    teacher = None if elsewhere else _check(Teacher, teacher_file, trees, faults)
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
    assert manifest is not None and (teacher is not None or elsewhere)
    read_students = tuple(student for student in students if student is not None)
    if teacher is not None:
        refuse_other_teacher(cache, artifacts, manifest, teacher)
    refuse_unpaired(cache, manifest, read_students)
    if cache_bytes is None:
        cache_bytes = sum(file.stat().st_size for file in sorted(cache.rglob("*")) if file.is_file())
    runs = Runs(teacher, manifest, cache_bytes, read_students)
    return runs if test is None else with_predictions(runs, artifacts, test)


def _is_imported(manifest_file: Path) -> bool:
    """Whether the cache came from elsewhere, and no teacher is to be looked for; what is wrong with its
    manifest is for others to say.
    """
    try:
        outputs = json.loads(manifest_file.read_text(encoding="utf-8"))["identity"]["outputs"]
        return bool(imported(outputs))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


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
            location = list(fault["loc"])
            in_metrics = location[0] == "metrics"
            name = ".".join(str(part) for part in location[in_metrics:])
            value = "" if fault["type"] == "missing" else f", found {fault['input']!r:.80}"
            source = metrics_file if in_metrics else file
            text = f"{name}: {fault['msg'][:1].lower()}{fault['msg'][1:]}{value}"
            faults[source] = f"{faults[source]}; {text}" if source in faults else text
        return None

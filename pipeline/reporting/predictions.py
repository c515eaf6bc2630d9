"""What each model predicted for the test split: the predictions beside its record, checked against it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from stillroom.errors import AccessError, DataError, listing
from stillroom.reporting.records import Runs, Student, Teacher, first_commands, folder_name, training_command
from stillroom.samples import Samples

MOST_DRAWS = 100  # of a corruption


def with_predictions(runs: Runs, artifacts: Path, test: Samples) -> Runs:
    """Add what each model predicted for the test split, where it was kept.

    Raises:
        DataError: a model was tested on another split, whether its predictions are here or not; predictions
            are damaged, or do not give the accuracy in `metrics.json`. All such files are named.
    """
    labels, digests = test.labels(), test.digests()
    faults: dict[str, str] = {}  # and the command that mends it

    def predictions(folder: Path, model: Teacher | Student, remedy: str) -> np.ndarray | None:
        for name, recorded in model.test.items():
            if recorded != digests.get(name):
                record = folder / ("student.json" if isinstance(model, Student) else "teacher.json")
                current = f"{artifacts / 'data'} has {digests.get(name)}"
                faults[f"{record}: another test split: test.{name} is {recorded}, {current}"] = remedy
                return None
        file = folder / "predictions.safetensors"
        if not file.exists():
            return None
        try:
            corruption = model.config.get("corruption") if isinstance(model, Student) else None
            logits = _logits(file, _draws(corruption), len(labels), len(test.classes))
            accuracy = 100 * float((logits.argmax(axis=-1) == labels).mean())
            measured = model.metrics.accuracy
            if abs(accuracy - measured) > 1e-3:
                computed = f"it gives an accuracy of {accuracy:.4f}%"
                raise ValueError(f"{computed}, metrics.json says {measured:.4f}%")
        except (ValueError, OSError, SafetensorError) as error:
            faults[f"{file}: {error}"] = remedy
            return None
        return logits

    teacher = None
    if runs.teacher is not None:
        teacher = predictions(artifacts / "teacher", runs.teacher, "stillroom teacher")
    teacher = None if teacher is None else teacher[0]
    students = {}
    for student in runs.students:
        entry = (student.family, student.arm, student.seed)
        folder = artifacts / "students" / folder_name(entry)
        logits = predictions(folder, student, training_command(entry))
        if logits is not None:
            students[entry] = logits
    if faults:
        raise DataError(
            "the report cannot use what these models said of the test split:\n"
            + listing(list(faults), len(faults)),
            "a file was damaged, is of another run, or the test split has changed since",
            f"run again: {first_commands(faults.values())}; `dvc repro` does it for all",
        )
    return replace(runs, labels=labels, logits=students, teacher_logits=teacher)


def _draws(corruption: Any) -> int | None:
    """How many draws of a corruption predictions are of; None: they are of none."""
    if corruption is None:
        return None
    draws = corruption.get("draws") if isinstance(corruption, dict) else None
    if type(draws) is not int or not 1 <= draws <= MOST_DRAWS:
        raise ValueError(f"student.json: config.corruption.draws = {draws!r:.80}")
    return draws


def _logits(file: Path, draws: int | None, rows: int, classes: int) -> np.ndarray:
    """The tensor `logits` of a safetensors file, float32 [draws, rows, classes]; its size is looked at first.

    Args:
        draws: None: the file has no such axis.
    """
    wanted = [rows, classes] if draws is None else [draws, rows, classes]
    expected = 4 * math.prod(wanted)
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
        if kind != "F32" or shape != wanted:
            raise ValueError(f"logits are {kind} {shape}, expected F32 {wanted}")
        logits: np.ndarray = tensors.get_tensor("logits")
    if not np.isfinite(logits).all():
        raise ValueError("it holds values that are not finite")
    return logits if draws is not None else logits[None]

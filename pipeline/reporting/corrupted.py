"""The teacher on what its students see: how much of what it knows is left without the clean view."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.device import device
from stillroom.evaluation.forward import KEPT, evaluation_logits
from stillroom.evaluation.metrics import accuracy, summarise_draws
from stillroom.modalities.base import Corruption, Finished, Reader
from stillroom.modalities.weights import weights_digest
from stillroom.progress import Progress
from stillroom.reporting.records import Runs, folder_name
from stillroom.samples import Samples

BATCH = 64  # samples a forward pass


def with_corrupted(runs: Runs, folder: Path, test: Samples, progress: Progress) -> Runs:
    """Add the teacher's scores on the test split as students see it, where they see it corrupted: the same
    corruption of the teacher's own input.

    Args:
        folder: the teacher's; where its weights are not (a teammate may have none), a note says so.
    """
    finished = _teacher(runs, folder, test, progress) if runs.corruption is not None else None
    if finished is None:
        return runs
    modality = modalities.get(test.modality)
    corruption = modality.corruption(runs.corruption or {}, "student.json")
    reader = modality.reader(test, KEPT)
    logits = _logits(finished, test, corruption, reader, progress, "teacher on what students see")
    scores = summarise_draws(logits, np.array(test.labels()), test.classes)
    del scores["per_class_ap"]
    return replace(runs, corrupted=scores)


def level_curves(
    runs: Runs, artifacts: Path, test: Samples, levels: Mapping[str, Sequence[float]], progress: Progress
) -> dict[str, Any] | None:
    """Accuracy over how much worse the test split is seen: of the teacher, and of the finished students.

    Args:
        artifacts: the folder that holds `teacher/` and `students/`.
        levels: a key of the corruption, and its values; one draw each.

    Returns:
        `key`, `values`, `draws` (1), `teacher` (percent at each value; None: its weights are not here) and
        `students`, by family and arm the means over seeds. None: no level is asked for, or nothing is
        corrupted.
    """
    if not levels:
        return None
    if runs.corruption is None:
        progress.note("note: no curves over report.levels: students see nothing corrupted")
        return None
    key, values = next(iter(levels.items()))
    modality, labels = modalities.get(test.modality), np.array(test.labels())
    made = [
        modality.corruption(runs.corruption | {key: value, "draws": 1}, f"report.levels.{key}")
        for value in values
    ]

    reader = modality.reader(test, KEPT)

    def curve(finished: Finished, who: str) -> list[float]:
        return [
            accuracy(_logits(finished, test, one, reader, progress, f"{who}, {key} {value}")[0], labels)
            for one, value in zip(made, values, strict=True)
        ]

    teacher = _teacher(runs, artifacts / "teacher", test, Progress())
    students: dict[str, dict[str, list[list[float]]]] = {}
    for student in runs.students:
        name = folder_name((student.family, student.arm, student.seed))
        finished = modality.load(artifacts / "students" / name)
        finished.model.net.to(device())
        arms = students.setdefault(student.family, {})
        arms.setdefault(student.arm, []).append(curve(finished, name))
    return {
        "key": key,
        "values": list(values),
        "draws": 1,
        "teacher": None if teacher is None else [round(one, 4) for one in curve(teacher, "teacher")],
        "students": {
            family: {
                arm: [round(float(one), 4) for one in np.mean(curves, axis=0)] for arm, curves in arms.items()
            }
            for family, arms in students.items()
        },
    }


def _teacher(runs: Runs, folder: Path, test: Samples, progress: Progress) -> Finished | None:
    """The teacher on its device; None, with a note, where its weights are not here, or are another's."""
    left_out = "the teacher is not measured on what students see"
    if not (folder / "model.safetensors").exists():
        progress.note(f"note: {left_out}: {folder / 'model.safetensors'} is not there")
        return None
    finished = modalities.get(test.modality).load(folder)
    folds = runs.teacher.folds
    if weights_digest(finished.model.net) != (runs.teacher.digest if folds is None else folds.whole):
        progress.note(f"note: {left_out}: {folder / 'model.safetensors'} is of another teacher")
        return None
    finished.model.net.to(device())
    return finished


def _logits(
    finished: Finished,
    test: Samples,
    corruption: Corruption | None,
    reader: Reader,
    progress: Progress,
    what: str,
) -> np.ndarray:
    """Its answers to the test split under a corruption, float32 [D, N, C]."""
    return evaluation_logits(
        finished.model, test, BATCH, finished.amp, progress, what, corruption=corruption, reader=reader
    )

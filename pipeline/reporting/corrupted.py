"""The teacher on what its students see: how much of what it knows is left without the clean view."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.device import device
from stillroom.evaluation.forward import KEPT, evaluation_logits
from stillroom.evaluation.metrics import accuracy, summarise_draws
from stillroom.modalities.base import Corruption, Finished
from stillroom.modalities.weights import weights_digest
from stillroom.progress import Progress
from stillroom.reporting.records import Runs, folder_name
from stillroom.samples import Samples

BATCH = 64  # samples a forward pass
# (a model, a corruption, what is shown meanwhile) -> its answers to the test split, float32 [D, N, C]
Asked = Callable[[Finished, Corruption | None, str], np.ndarray]


def with_corrupted(
    runs: Runs, artifacts: Path, test: Samples, levels: Mapping[str, Sequence[float]], progress: Progress
) -> Runs:
    """Add the teacher's scores on the test split as students see it, where they see it corrupted (the same
    corruption of the teacher's own input); and curves over how much is lost.

    Args:
        artifacts: the folder that holds `teacher/` and `students/`; where the teacher's weights are not (a
            teammate may have none), a note says so.
        levels: as `report.levels`.

    Raises:
        ParamsError: a level is none of the students' corruption.
    """
    described = runs.corruption
    if described is None:
        if levels:
            progress.note("note: no curves over report.levels: students see nothing corrupted")
        return runs
    modality = modalities.get(test.modality)
    corruption, reader = modality.corruption(described, "student.json"), modality.reader(test, KEPT)

    def asked(finished: Finished, one: Corruption | None, what: str) -> np.ndarray:
        return evaluation_logits(
            finished.model, test, BATCH, finished.amp, progress, what, corruption=one, reader=reader
        )

    teacher = _teacher(runs, artifacts / "teacher", test, progress)
    if teacher is not None:
        logits = asked(teacher, corruption, "teacher on what students see")
        scores = summarise_draws(logits, test.labels(), test.classes)
        del scores["per_class_ap"]
        runs = replace(runs, corrupted=scores)
    made = modality.levels(described, levels)
    if not made:
        if levels:
            key, name = next(iter(levels)), described["name"]
            progress.note(f"note: no curves over report.levels.{key}: the corruption {name} has none")
        return runs
    return replace(runs, levels=_curves(runs, artifacts, test, levels, made, teacher, asked))


def _curves(
    runs: Runs,
    artifacts: Path,
    test: Samples,
    levels: Mapping[str, Sequence[float]],
    made: Sequence[Corruption],
    teacher: Finished | None,
    asked: Asked,
) -> dict[str, Any]:
    """What `Runs.levels` is."""
    (key, values), labels = next(iter(levels.items())), test.labels()

    def curve(finished: Finished, who: str) -> list[float]:
        return [
            accuracy(asked(finished, one, f"{who}, {key} {value}")[0], labels)
            for one, value in zip(made, values, strict=True)
        ]

    students: dict[str, dict[str, list[list[float]]]] = {}
    for student in runs.students:
        name = folder_name((student.family, student.arm, student.seed))
        finished = modalities.get(test.modality).load(artifacts / "students" / name)
        finished.model.net.to(device())
        students.setdefault(student.family, {}).setdefault(student.arm, []).append(curve(finished, name))
    return {
        "key": key,
        "values": list(values),
        "draws": made[0].draws,
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
    if runs.teacher is None:
        progress.note(f"note: {left_out}: the cache was imported")
        return None
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

"""The teacher on what its students see: how much of what it knows is left without the clean view."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stillroom import modalities
from stillroom.device import device
from stillroom.evaluation.forward import evaluation_logits
from stillroom.evaluation.metrics import summarise_draws
from stillroom.modalities.weights import weights_digest
from stillroom.progress import Progress
from stillroom.reporting.records import Runs
from stillroom.samples import Samples

BATCH = 64  # samples a forward pass


def with_corrupted(runs: Runs, folder: Path, test: Samples, progress: Progress) -> Runs:
    """Add the teacher's scores on the test split as students see it, where they see it corrupted.

    Args:
        folder: the teacher's; where its weights are not (a teammate may have none), nothing is added.
    """
    if runs.corruption is None or not (folder / "model.safetensors").exists():
        return runs
    modality = modalities.get(test.modality)
    corruption = modality.corruption(runs.corruption, "student.json")
    finished = modality.load(folder)
    if weights_digest(finished.model.net) != runs.teacher.digest:
        return runs  # of another teacher than the record and the cache
    finished.model.net.to(device())
    logits = evaluation_logits(
        finished.model,
        test,
        BATCH,
        finished.amp,
        progress,
        "teacher on what students see",
        corruption=corruption,
    )
    scores = summarise_draws(logits, np.array(test.labels()), test.classes)
    del scores["per_class_ap"]
    return replace(runs, corrupted=scores)

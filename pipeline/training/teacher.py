"""Fitting a teacher, or adopting given weights as they are."""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.device import device, environment
from stillroom.errors import WeightsError, listing
from stillroom.evaluation.cost import flops, parameters
from stillroom.evaluation.forward import evaluation_logits
from stillroom.evaluation.metrics import accuracy, summarise
from stillroom.files import write_json
from stillroom.losses.ce import ce
from stillroom.modalities.base import Architecture, Model
from stillroom.modalities.weights import save_weights, weights_digest
from stillroom.params import Params
from stillroom.progress import Progress
from stillroom.provenance.ahead import check_k, check_students, late
from stillroom.samples import Samples
from stillroom.training.batches import Batch, FreshBatches, Partition
from stillroom.training.checkpoint import Checkpoint
from stillroom.training.loop import fit
from stillroom.training.results import described, tested, weights_lines, write_predictions


def train_teacher(
    params: Params,
    samples: Samples,
    architecture: Architecture,
    folder: Path,
    staging: Path,
    progress: Progress,
    log: Callable[[], AbstractContextManager[Callable[[dict[str, Any]], None]]],
) -> tuple[dict[str, Any], Checkpoint]:
    """Fit the teacher, unless `teacher.train.epochs` is 0, and measure it on the test split.

    Args:
        samples: the whole table.
        architecture: the teacher that `Modality.teacher` gives.
        folder: where the model, its answers and `teacher.json` are written.
        staging: an existing folder for the checkpoint.
        log: opens what follows the run's records.

    Returns:
        the scores on the test split, as `metrics.json` has them, and the run's checkpoint, to be removed when
        the folder is in its place.

    Raises:
        ParamsError, DataError, WeightsError: data, parameters and weights do not belong together.
        StillroomError: training diverged, or a file cannot be written.
    """
    config = params.teacher
    modality = modalities.get(samples.modality)
    train, val, test = (samples.in_splits(name) for name in ("train", "val", "test"))
    policy = modality.policy(params.views.recipe)
    model = modality.create(
        architecture,
        len(samples.classes),
        weights=config.weights,
        drop_path=config.train.drop_path,
        seed=config.seed,
    )
    for line in weights_lines(model):
        progress.note(line)
    if config.train.epochs == 0:
        _check_complete(model, len(samples.classes))
    model.net.to(device())
    batch_size, amp = config.train.batch_size, config.train.amp
    source = FreshBatches(
        train, policy, model.spec, batch_size, config.seed, Partition(config.train.accumulate)
    )

    def loss(outputs: dict[str, Any], batch: Batch, done: float) -> dict[str, Any]:
        logits = outputs["logits"]
        labels = batch.labels.to(logits.device, non_blocking=True)
        return ce(logits, labels, label_smoothing=config.train.label_smoothing)

    def evaluate(model: Model) -> dict[str, Any]:
        logits = evaluation_logits(model, val, batch_size, amp, Progress(), "")
        return {"val_accuracy": round(accuracy(logits, np.array(val.labels())), 4)}

    settings = [config.model_dump(), modality.asked(params.views), policy.describe()]
    checkpoint = Checkpoint(
        staging, "teacher", _digest([settings, train.digests(), weights_digest(model.net)])
    )
    with log() as on_epoch:
        history = fit(
            model,
            source,
            loss,
            config.train,
            progress,
            f"teacher {config.arch}",
            on_epoch,
            evaluate if len(val) else None,
            config.seed,
            checkpoint=checkpoint,
        )
    logits = evaluation_logits(model, test, batch_size, amp, progress, "test split")
    scores = summarise(logits, np.array(test.labels()), samples.classes)
    save_weights(model.net, folder / "model.safetensors")
    write_predictions(folder, logits, test)
    record = {
        "format": "stillroom-teacher/1",
        **described(model, samples),
        "digest": weights_digest(model.net),
        "params": parameters(model.net),
        "flops": flops(model),
        "weights": asdict(model.loaded),
        "config": config.model_dump(),
        "recipe": policy.describe(),
        "epochs": len(history),
        "history": history,
        "test": tested(test),
        "per_class_ap": scores.pop("per_class_ap"),
        "environment": environment(modality.environment()),
    }
    write_json(folder / "teacher.json", record)
    write_json(folder / "metrics.json", scores)
    return scores, checkpoint


def check_ahead(params: Params, samples: Samples, architecture: Architecture) -> list[str]:
    """Refuse at once what the cache or the students of the matrix would refuse later.

    Returns:
        notes on parameters that have no effect.

    Raises:
        ParamsError, DataError: see `provenance.ahead`.
    """
    check_k(params.cache, len(samples.classes))
    return [
        *late(params.teacher.train, "teacher.train"),
        *check_students(params, samples, architecture.spec),
    ]


def _check_complete(model: Model, classes: int) -> None:
    """Refuse to adopt a model whose weights file leaves tensors open."""
    fresh = model.loaded.fresh()
    if fresh:
        raise WeightsError(
            f"{model.arch} cannot be adopted: {model.loaded.source} leaves {len(fresh)} tensors open",
            f"untrained they are random; there are {classes} classes\n{listing(fresh, 6)}",
            "set teacher.train.epochs to 1 or more, or give weights that are complete for these classes",
        )


def _digest(run: list[Any]) -> str:
    """Of all that decides the teacher's weights."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()

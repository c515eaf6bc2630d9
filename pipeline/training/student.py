"""Training one student: from a cache, or with its teacher in the loop."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillroom import losses, modalities
from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.outputs import refuse_imported, source_of
from stillroom.cache.read.store import Store
from stillroom.device import about_precision, device, environment, moved
from stillroom.distributed import Ranks
from stillroom.evaluation.cost import flops, latency, parameters
from stillroom.evaluation.forward import KEPT, evaluation_logits
from stillroom.evaluation.metrics import accuracy, summarise_draws
from stillroom.files import write_json
from stillroom.folds import well_formed
from stillroom.losses._effect import check_features
from stillroom.modalities.base import Corruption, Model, Reader
from stillroom.modalities.weights import save_weights
from stillroom.params import Params, StudentTrain
from stillroom.progress import Progress
from stillroom.provenance.ahead import check_arm, check_corruption, late
from stillroom.provenance.identity import check_against_cache, ignored, input_of, parts, read_teacher
from stillroom.provenance.probes import check_probes
from stillroom.provenance.teacher import folds_named, load_teacher, with_folds
from stillroom.samples import Samples
from stillroom.trackers import Follow, Run
from stillroom.training.batches import Batch, CachedBatches, Partition
from stillroom.training.checkpoint import Checkpoint
from stillroom.training.gradients import Revised, Summed
from stillroom.training.loop import Loss, MakeGradients, fit
from stillroom.training.pairing import digests
from stillroom.training.results import described, tested, weights_lines, write_config, write_predictions
from stillroom.views.planes import Asked


@dataclass(frozen=True)
class Job:
    """One student of the matrix, and what it is trained from.

    Attributes:
        params: all of the parameters.
        family, arm, seed: which student.
        samples: the whole table.
        store: the cache, open.
        online: each epoch looks at a view of its own, and the teachers' outputs for it are computed in the
            loop, as if there were no cache. False: both are read from the cache.
    """

    params: Params
    family: str
    arm: str
    seed: int
    samples: Samples
    store: Store
    online: bool = False

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.family}-{self.arm}-{self.seed}{'-online' if self.online else ''}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.family} {self.arm} {self.seed}{' online' if self.online else ''}"

    @property
    def corruption(self) -> Corruption | None:
        """What it sees worse than its teacher."""
        return modalities.get(self.samples.modality).corruption(self.params.student.corruption)

    @property
    def train_config(self) -> StudentTrain:
        """How its family is trained."""
        return self.params.student.train_of(self.family)


def train_student(
    job: Job,
    folder: Path | None,
    staging: Path,
    progress: Progress,
    log: Follow,
    ranks: Ranks | None = None,
) -> tuple[dict[str, Any], Checkpoint]:
    """Train a student and measure it on the test split.

    Args:
        folder: where the model, its answers and `student.json` are written; None: nowhere, which is what all
            processes but the first do.
        staging: an existing folder for the checkpoint.
        log: opens what follows the run, its records and scores.
        ranks: the processes that train together; None: this one alone.

    Returns:
        the scores on the test split, as `metrics.json` has them, and the run's checkpoint, to be removed when
        the folder is in its place.

    Raises:
        ParamsError, DataError, CacheError, WeightsError: data, cache, parameters and weights do not belong
            together.
        StillroomError: training diverged, or a file cannot be written.
    """
    ranks = ranks or Ranks.alone()
    config, test = job.train_config, job.samples.in_splits("test")
    chosen = losses.load(job.arm, job.params.student.losses.of(job.arm))
    model, notes = _prepare(job, chosen, progress)
    layer = _layer(job, chosen, model)
    beside = _beside(job, chosen, model, layer)
    source = _batches(job, model, chosen, ranks)
    evidence = digests(model.net, source.whole(), config.epochs)
    settings = {
        "model": job.params.student.model.model_dump(),
        "train": config.model_dump(),
        "loss": chosen.described(),
    }
    corruption = job.corruption
    if corruption is not None:
        settings["corruption"] = corruption.describe()
    run: dict[str, Any] = {"name": job.name, "arch": [model.arch, model.overrides]}
    run |= {"cache": job.store.manifest.id, **settings, **evidence}
    checkpoint = Checkpoint(staging, job.name, _digest(run))
    cost = {"params": parameters(model.net), "flops": flops(model)}
    model.net.to(device(ranks.local))
    if beside is not None:
        beside.to(device(ranks.local))

    def logits_of(
        model: Model, rows: Samples, shown: Progress, what: str, reader: Reader | None = None
    ) -> np.ndarray:
        return evaluation_logits(
            model, rows, config.batch_size, config.amp, shown, what, ranks, corruption, reader
        )

    val, title = job.samples.in_splits("val"), job.title
    # looked at in several draws each epoch: read once
    kept = None if corruption is None else modalities.get(val.modality).reader(val, KEPT)

    def evaluate(model: Model) -> dict[str, Any]:
        logits, labels = logits_of(model, val, Progress(), "", kept), val.labels()
        share = np.mean([accuracy(one, labels) for one in logits.reshape(-1, *logits.shape[-2:])])
        return {"val_accuracy": round(float(share), 4)}

    balanced = config.class_weights == "balanced"
    weights = moved(source.class_weights(), device(ranks.local)) if balanced else None
    terms = terms_of(chosen, config.label_smoothing, layer, weights)
    take = [] if layer is None else [layer]
    validate = evaluate if len(val) else None
    with log(Run({**_of(job, model), **settings}, checkpoint.attempt.id)) as following:
        history = fit(
            model,
            source,
            terms,
            config,
            progress,
            title,
            following,
            validate,
            job.seed,
            ranks,
            checkpoint,
            take,
            gradients_of(chosen),
            beside,
        )
        logits = logits_of(model, test, progress, "test split")
        scores = summarise_draws(logits, test.labels(), job.samples.classes)
        following.end(scores)
    if folder is None:
        return scores, checkpoint
    save_weights(model.net, folder / "model.safetensors")
    write_config(folder, model, job.samples)
    write_predictions(folder, logits, test)
    record = {
        **_record(job, model, chosen),
        "digests": evidence,
        "test": tested(test),
        **cost,
        "latency_ms": {str(count): latency(model, count) for count in (1, 32)},
        "config": settings,
        "notes": notes,
        "history": history,
        "seconds": round(sum(epoch["seconds"] for epoch in history), 3),
        "per_class_ap": scores.pop("per_class_ap"),
        "environment": environment(source.modality.environment()) | {"processes": str(ranks.world)},
    }
    write_json(folder / "student.json", record)
    write_json(folder / "metrics.json", scores)
    progress.note(f"{title}: accuracy {scores['accuracy']:.2f}%, mAP {scores['mAP']:.2f}% on test")
    return scores, checkpoint


def _prepare(job: Job, chosen: losses.Loss, progress: Progress) -> tuple[Model, list[str]]:
    """The student as training finds it, on the CPU, and the notes that `student.json` keeps.

    What does not belong together is refused before a model is made.
    """
    train, manifest = job.samples.in_cache(), job.store.manifest
    config, modality = job.params.student.model, modalities.get(job.samples.modality)
    check_against_cache(manifest, train, job.params, chosen.outputs, chosen.features)
    architecture = modality.student(job.family, config, input_of(manifest))
    check_corruption(job.params, job.samples.modality, input_of(manifest))
    notes = [
        *check_arm(job.arm, job.params, job.samples, job.family),
        *late(job.train_config, "student.train"),
        *_drawn(job, chosen),
    ]
    for line in (
        *about_precision(job.train_config.amp, "student.train.amp"),
        *notes,
        *ignored(manifest, job.params),
        check_probes(job.store, train),
    ):
        if line:
            progress.note(line)
    model = modality.create(
        replace(architecture, classes=tuple(job.samples.classes)),
        len(job.samples.classes),
        weights=config.weights_of(job.family),
        drop_path=job.train_config.drop_path,
        seed=job.seed,
    )
    for line in weights_lines(model):
        progress.note(line)
    layer = _layer(job, chosen, model)
    if layer is not None:
        shape = manifest.identity["outputs"][chosen.features]["shape"]
        said = check_features(job.arm, chosen, model.shape_of(layer, f"the loss {job.arm}"), shape)
        for line in said:
            progress.note(line)
        notes += said
    return model, notes


def _drawn(job: Job, chosen: losses.Loss) -> list[str]:
    """What to say of answers that are drawn, where they mean something to one loss alone."""
    entries = {name: job.store.manifest.identity["outputs"][name] for name in chosen.outputs}
    drawn = [name for name, entry in entries.items() if encoding_for(entry).draws_rows]
    if job.online or not drawn or (job.arm == "kd" and chosen.settings["temperature"] == 1):
        return []
    kept = f"{' and '.join(drawn)}: the cache holds classes drawn from the teacher's probabilities"
    return [
        f"note: {kept} (encoding sampled), which only the loss kd at temperature 1 can learn from rightly"
    ]


def _named(job: Job) -> dict[str, Any]:
    return {"family": job.family, "arm": job.arm, "seed": job.seed}


def _of(job: Job, model: Model) -> dict[str, Any]:
    """What trackers say of a student before its settings."""
    manifest = job.store.manifest
    online = {"online": True} if job.online else {}
    return {**_named(job), "arch": model.arch, "cache": manifest.id, "views": manifest.layout.views, **online}


def _record(job: Job, model: Model, chosen: losses.Loss) -> dict[str, Any]:
    """What `student.json` records of the student itself and of its cache."""
    manifest = job.store.manifest
    brought = job.family in getattr(job.params.student.model, "sources", {})
    return {
        "format": "stillroom-student/1",
        **_named(job),
        **described(model, job.samples),
        "cache": manifest.id,
        "cache_parts": parts(manifest.identity, chosen.reads),
        **({"online": True} if job.online else {}),
        **({"weights": asdict(model.loaded)} if brought else {}),  # their place is in no record
        **({"unlabelled": without} if (without := job.samples.unlabelled()) else {}),
        "views": manifest.layout.views,
    }


def _batches(job: Job, model: Model, chosen: losses.Loss, ranks: Ranks) -> CachedBatches:
    """The views of the cache, with the outputs of the teachers, cached or computed now."""
    config, train = job.train_config, job.samples.in_cache()
    if job.online:
        recipe = job.store.manifest.identity["views"]["recipe"]
        policy = modalities.get(train.modality).policy(recipe, "manifest.json")
        # partners are those of the cached views, for an arm without a teacher too
        outputs = job.store.manifest.identity["outputs"]
        named = {name: folds_named(one) for name, one in outputs.items()}
        train = with_folds(
            train, {name: {"folds": one} for name, one in named.items() if well_formed(one)}, policy
        )
    return CachedBatches(
        train,
        job.store,
        model.spec,
        config.batch_size,
        job.seed,
        chosen.outputs,
        chosen.settings.get("temperature", 1.0),
        config.view_order,
        Partition(config.accumulate, ranks.rank, ranks.world),
        _asked(job, chosen, ranks) if job.online else None,
        config.amp,
        chosen.features,
        job.corruption,
        config.labelled,
        config.epochs,
        config.order == "balanced",
    )


def _asked(job: Job, chosen: losses.Loss, ranks: Ranks) -> list[Asked]:
    """The teachers of a loss, each on its device; one that gives both logits and features runs once."""
    cache, held = job.params.cache, job.store.manifest.identity["outputs"]
    refuse_imported(held, chosen.reads, "--online has one look at other views in each epoch")
    folders = {name: cache.folder_of(name) or Path() for name in chosen.reads}
    teachers = []
    for folder in dict.fromkeys(folders.values()):
        given = [name for name, one in folders.items() if one == folder]
        described = read_teacher(folder / "teacher.json")
        teacher = load_teacher(folder, described, job.samples.in_cache()).to(device(ranks.local))
        layer = source_of(held[chosen.features]) if chosen.features in given else None
        fold = None if teacher.folds is None else teacher.folds.of_row
        teachers.append(Asked(teacher.models, fold, any(name in chosen.outputs for name in given), layer))
    return teachers


def _layer(job: Job, chosen: losses.Loss, model: Model) -> str | None:
    """The layer of the student whose features a loss is given: its own choice, or that of its teacher's.

    Raises:
        ParamsError: the student has no such layer.
    """
    if chosen.features is None:
        return None
    layer = chosen.layer or source_of(job.store.manifest.identity["outputs"][chosen.features])
    model.shape_of(layer, f"the loss {job.arm}")
    return layer


def _beside(job: Job, chosen: losses.Loss, model: Model, layer: str | None) -> torch.nn.Module | None:
    """What a loss has trained beside the student, on the CPU, fresh."""
    if chosen.learned is None or chosen.features is None or layer is None:
        return None
    shape = job.store.manifest.identity["outputs"][chosen.features]["shape"]
    return chosen.learned(model.shape_of(layer, f"the loss {job.arm}"), shape, job.seed)


def terms_of(
    chosen: losses.Loss,
    label_smoothing: float,
    layer: str | None = None,
    class_weights: torch.Tensor | None = None,
) -> Loss:
    """A loss as the training loop calls it.

    Args:
        layer: what the model calls its `features`.
        class_weights: float [C], of the cross-entropy with the labels, on the model's device; None: all
            classes weigh 1.
    """

    def terms(outputs: dict[str, torch.Tensor], batch: Batch, done: float) -> dict[str, torch.Tensor]:
        outputs = outputs if layer is None else outputs | {"features": outputs[layer]}
        on = next(iter(outputs.values())).device
        targets = {name: moved(values, on) for name, values in batch.targets.items()}
        labels = moved(batch.labels, on)
        return chosen(outputs, labels, targets, done, label_smoothing, class_weights)

    return terms


def gradients_of(chosen: losses.Loss) -> MakeGradients:
    """How the gradients of a loss's terms are put together."""
    if chosen.task is None or chosen.revise == "none":
        return Summed
    return partial(Revised, task=chosen.task, each=chosen.revise == "each")


def _digest(run: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()

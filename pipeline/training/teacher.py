"""Fitting a teacher, whole or in folds, or adopting given weights as they are."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from stillroom import modalities, trackers
from stillroom.device import about_precision, device, environment, moved
from stillroom.distributed import Ranks
from stillroom.errors import ParamsError, WeightsError, different, listing
from stillroom.evaluation.cost import flops, parameters
from stillroom.evaluation.forward import evaluation_logits
from stillroom.evaluation.metrics import accuracy, known, summarise, together
from stillroom.files import write_json
from stillroom.folds import Folds, divide
from stillroom.losses.ce import ce
from stillroom.modalities.base import Architecture, Model
from stillroom.modalities.weights import save_weights, weights_digest
from stillroom.params import Params, TeacherTrain, brought
from stillroom.progress import Progress
from stillroom.provenance.ahead import check_balance, check_k, check_students, late
from stillroom.provenance.teacher import fold_file
from stillroom.samples import Samples
from stillroom.training.batches import Batch, FreshBatches, Partition
from stillroom.training.checkpoint import DIGITS, Attempt, Checkpoint
from stillroom.training.head import VIEWS, Features, evaluation_features, features_of, fit_head, set_aside
from stillroom.training.loop import fit
from stillroom.training.results import described, tested, weights_lines, write_config, write_predictions

Log = Callable[[dict[str, Any]], None]  # gets each epoch's record


@dataclass(frozen=True)
class _Fit:
    """One model that is to be fitted: what its checkpoint is called, and the rows of train it may see."""

    name: str
    rows: np.ndarray


@dataclass
class _Fitted:
    """A model that was, and what is recorded of it."""

    model: Model
    record: dict[str, Any]
    checkpoint: Checkpoint | None


class Kept(Protocol):
    """What a run keeps on disk, to go on from."""

    def remove(self) -> None:
        """When the run's result is in its place."""


def train_teacher(
    params: Params,
    samples: Samples,
    architecture: Architecture,
    folder: Path | None,
    staging: Path,
    progress: Progress,
    log: trackers.Follow,
    ranks: Ranks | None = None,
) -> tuple[dict[str, Any], list[Kept]]:
    """Fit the teacher, unless `teacher.train.epochs` is 0, and measure it on the test split.

    With `teacher.folds`, so many models, each without one fold of train; those that are fitted already are
    not fitted again.

    Args:
        samples: the whole table.
        architecture: the teacher that `Modality.teacher` says.
        folder: where the models, their answers and `teacher.json` are written; None in all processes but the
            first.
        staging: an existing folder for the checkpoints.
        log: opens what follows the run: the records of the model that is fitted to all, or to all but the
            first fold, and the scores.
        ranks: the processes that share the models among them; None: this one alone.

    Returns:
        the scores on the test split, as `metrics.json` has them, and what is to be removed when the folder is
        in its place. Nothing in all processes but the first.

    Raises:
        ParamsError, DataError, WeightsError: data, parameters and weights do not belong together.
        StillroomError: training diverged, or a file cannot be written.
    """
    ranks = ranks or Ranks.alone()
    config, train = params.teacher, samples.in_splits("train")
    folds = _folds(params, samples)
    run = _Run(params, samples, architecture, staging)
    for line in about_precision(config.train.amp, "teacher.train.amp"):
        progress.note(line)
    fits = _fits(folds, config.folds_and_whole, len(train))
    if config.train.freeze == "none":  # a head alone is a matter of seconds
        for number, fit_ in enumerate(fits):
            if ranks.world > 1 and number % ranks.world == ranks.rank:
                run.fit(fit_, progress, _silent, ranks.local)
    ranks.wait()  # the first one finds what the others have fitted
    if folder is None:
        return {}, []
    fitted = []
    attempt = run.attempt()
    with log(trackers.Run(run.described(), attempt.id)) as following:
        for fit_ in fits:
            shown = following if fit_ is fits[-1 if config.folds_and_whole else 0] else _silent
            fitted.append(run.fit(fit_, progress, shown, ranks.local))
        scores = _write(run, fitted, folds, folder, progress)
        following.end(scores)
    return scores, [
        attempt,
        *(one.checkpoint for one in fitted if one.checkpoint is not None),
        *run.kept,
    ]


def _folds(params: Params, samples: Samples) -> Folds | None:
    """The folds of the training samples: those without a label are divided too, and fitted by none."""
    config = params.teacher
    if config.folds == 1:
        return None
    cached = samples.in_cache()
    return divide(cached, config.folds, config.seed).at(np.flatnonzero(cached.labels() >= 0))


def _silent(record: dict[str, Any]) -> None:
    """The curves are those of one model."""


def _fits(folds: Folds | None, whole: bool, count: int) -> list[_Fit]:
    """Those of the folds, then the one that sees all."""
    fits = []
    if folds is not None:
        fits = [
            _Fit(f"teacher.fold-{fold}", np.flatnonzero(folds.of_row != fold)) for fold in range(folds.count)
        ]
    return [*fits, _Fit("teacher", np.arange(count))] if whole or folds is None else fits


class _Run:
    """Fits one model after the other to parts of the training samples."""

    def __init__(self, params: Params, samples: Samples, architecture: Architecture, staging: Path) -> None:
        self.params, self.samples, self.architecture, self.staging = params, samples, architecture, staging
        self.config = params.teacher
        self.modality = modalities.get(samples.modality)
        self.train, self.val, self.test = (samples.in_splits(name) for name in ("train", "val", "test"))
        self.policy = self.modality.policy(params.views.recipe)
        # which samples a model is fitted to is said beside these
        config = self.config.model_dump(exclude={"folds", "folds_and_whole"})
        if brought(self.config.arch):  # wherever its folder lies
            config |= {"arch": architecture.arch, "overrides": architecture.overrides}
        self.settings = [config, self.modality.asked(params.views), self.policy.describe()]
        self.kept: list[Kept] = []
        self._features: Features | None = None
        self._pooled: dict[str, torch.Tensor] = {}  # by key, of evaluation views
        self._weights_reported = False

    def attempt(self) -> Attempt:
        """At all that is fitted here."""
        return Attempt(self.staging, "teacher", _digest([self.settings, self.train.digests()]))

    def described(self) -> dict[str, Any]:
        """What trackers say of it."""
        return {**self.config.model_dump(), "arch": self.architecture.arch, "recipe": self.policy.describe()}

    def fit(self, fit_: _Fit, progress: Progress, on_epoch: Log, local: int) -> _Fitted:
        """Fit one, or take up what an earlier run has fitted of it."""
        config = self.config
        model = self.modality.create(
            self.architecture,
            len(self.samples.classes),
            weights=config.weights,
            drop_path=config.train.drop_path,
            seed=config.seed,
        )
        if not self._weights_reported:
            for line in weights_lines(model):
                progress.note(line)
            self._weights_reported = True
        if config.train.freeze == "trunk":
            return self._fit_head(fit_, model, progress, local)
        if config.train.epochs == 0:
            _check_complete(model, len(self.samples.classes))
        model.net.to(device(local))
        part = self.train.at(fit_.rows)
        batch_size, amp = config.train.batch_size, config.train.amp
        partition = Partition(config.train.accumulate)
        even, weighs = config.train.order == "balanced", config.train.class_weights == "balanced"
        source = FreshBatches(part, self.policy, model.spec, batch_size, config.seed, partition, even)
        weights = moved(source.class_weights(), device(local)) if weighs else None

        def loss(outputs: dict[str, Any], batch: Batch, done: float) -> dict[str, Any]:
            logits = outputs["logits"]
            labels = moved(batch.labels, logits.device)
            smoothing = config.train.label_smoothing
            return ce(logits, labels, label_smoothing=smoothing, class_weights=weights)

        def evaluate(model: Model) -> dict[str, Any]:
            logits = evaluation_logits(model, self.val, batch_size, amp, Progress(), "")
            return {"val_accuracy": round(accuracy(logits, self.val.labels()), 4)}

        made = [one for one in (model.made_by(),) if one]
        digest = _digest([self.settings, part.digests(), weights_digest(model.net), *made])
        checkpoint = Checkpoint(self.staging, fit_.name, digest)
        history = fit(
            model,
            source,
            loss,
            config.train,
            progress,
            f"{fit_.name.replace('.', ' ')} {model.arch}",
            on_epoch,
            evaluate if len(self.val) else None,
            config.seed,
            checkpoint=checkpoint,
        )
        model.net.zero_grad(set_to_none=True)
        model.net.cpu()  # the device has room for one at a time
        return _Fitted(model, {"epochs": len(history), "history": history}, checkpoint)

    def _fit_head(self, fit_: _Fit, model: Model, progress: Progress, local: int) -> _Fitted:
        """Fit the head alone; the trunk's features are computed once for all."""
        config = self.config
        _check_trunk(model)
        if self._features is None:
            seed, train = config.seed, config.train
            trunk: list[Any] = [model.arch, model.overrides, weights_digest(model.net), model.spec]
            trunk += [one for one in (model.made_by(),) if one]
            trunk += [self.policy.describe(), VIEWS, seed, train.amp]
            digest = _digest([trunk, self.train.digests()])
            file = self.staging / f"teacher.features.{digest[:DIGITS]}.safetensors"
            model.net.to(device(local))
            self._features = features_of(
                model, self.train, self.policy, seed, train.batch_size, train.amp, file, progress
            )
            self.kept.append(self._features)
        model.net.cpu()
        even = config.train.class_weights == "balanced" or config.train.order == "balanced"
        record = fit_head(model, self._features.values, self.train, fit_.rows, config.seed, even)
        progress.note(f"{fit_.name.replace('.', ' ')}: a head with penalty {record['penalty']:g}")
        return _Fitted(model, {"epochs": 0, "history": [], "head": record}, None)

    def logits(self, model: Model, rows: Samples, progress: Progress, what: str) -> np.ndarray:
        """What a model says of evaluation views, float32 [N, C]."""
        train = self.config.train
        if self._features is not None:
            return self._by_head(model, rows, progress, what)
        model.net.to(device())
        try:
            return evaluation_logits(model, rows, train.batch_size, train.amp, progress, what)
        finally:
            model.net.cpu()

    def _by_head(self, model: Model, rows: Samples, progress: Progress, what: str) -> np.ndarray:
        """The same where all models have one trunk: it looks at each sample once."""
        assert self._features is not None
        if not self._pooled:
            self._pooled = dict(zip(self.train.keys(), self._features.values[0], strict=True))
        left = rows.at(number for number, key in enumerate(rows.keys()) if key not in self._pooled)
        if len(left):
            model.net.to(device())
            train = self.config.train
            values = evaluation_features(model, left, train.batch_size, train.amp, progress, what)
            self._pooled |= dict(zip(left.keys(), values, strict=True))
            model.net.cpu()
        with torch.inference_mode():
            logits: np.ndarray = model.head()(
                torch.stack(list(map(self._pooled.__getitem__, rows.keys())))
            ).numpy()
        return logits


def _write(
    run: _Run, fitted: list[_Fitted], folds: Folds | None, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Measure the models, write what belongs into the folder, and give the scores on the test split."""
    test, labels = run.test, run.test.labels()
    answers = [run.logits(one.model, test, progress, "test split") for one in fitted]
    whole = folds is None or run.config.folds_and_whole
    logits = answers[-1] if whole else together(answers)
    scores = summarise(logits, labels, run.samples.classes)
    main = fitted[-1 if whole else 0]
    if whole:
        save_weights(main.model.net, folder / "model.safetensors")
        write_config(folder, main.model, run.samples)
    digest, divided = weights_digest(main.model.net), {}
    if folds is not None:
        models = fitted[: folds.count]
        for fold, one in enumerate(models):
            save_weights(one.model.net, folder / fold_file(fold))
        divided = {"folds": _divided(run, models, folds, answers, labels, progress)}
        divided["folds"]["whole"] = weights_digest(main.model.net) if whole else None
        digest = _digest([folds.describe(), divided["folds"]["models"]])
    write_predictions(folder, logits, test)
    record = {
        "format": "stillroom-teacher/1",
        **described(main.model, run.samples),
        "digest": digest,
        "params": parameters(main.model.net),
        "flops": flops(main.model),
        "weights": asdict(main.model.loaded),
        "config": run.config.model_dump(),
        "recipe": run.policy.describe(),
        **main.record,
        **divided,
        "test": tested(test),
        "per_class_ap": scores.pop("per_class_ap"),
        "environment": environment(run.modality.environment()),
    }
    write_json(folder / "teacher.json", record)
    write_json(folder / "metrics.json", scores)
    return scores


def _divided(
    run: _Run,
    models: list[_Fitted],
    folds: Folds,
    answers: list[np.ndarray],
    labels: np.ndarray,
    progress: Progress,
) -> dict[str, Any]:
    """What `teacher.json` says of the folds: who they are, and what their models make of samples that they
    were fitted to, and of those that they were not.
    """
    train = run.train
    out = np.zeros((len(train), len(train.classes)), np.float32)
    seen = np.zeros_like(out)
    for fold, one in enumerate(models):
        own, next_ = folds.rows(fold), folds.rows((fold + 1) % folds.count)
        rows = np.concatenate([own, next_])
        part = run.logits(one.model, train.at(rows.tolist()), progress, f"fold {fold}")
        order = np.argsort(np.argsort(rows))  # a table is sorted by key
        out[own], seen[next_] = part[order[: len(own)]], part[order[len(own) :]]
    true = train.labels()
    return {
        **folds.describe(),
        "models": [weights_digest(one.model.net) for one in models],
        "samples": [len(train) - len(folds.rows(fold)) for fold in range(folds.count)],
        "accuracy": [round(accuracy(one, labels), 4) for one in answers[: folds.count]],
        "out_of_fold": known(out, true, train.classes),
        "in_fold": known(seen, true, train.classes),
        **({"heads": [one.record["head"] for one in models]} if "head" in models[0].record else {}),
    }


def check_ahead(params: Params, samples: Samples, architecture: Architecture) -> list[str]:
    """Refuse at once what the cache or the students of the matrix would refuse later.

    Returns:
        notes on parameters that have no effect.

    Raises:
        ParamsError, DataError: see `provenance.ahead`.
    """
    check_k(params.cache, len(samples.classes))
    config = params.teacher
    check_balance(config.train, "teacher.train")
    if config.folds > 1 and config.train.epochs == 0 and config.train.freeze == "none":
        raise ParamsError(
            f"teacher.folds = {config.folds}, and teacher.train.epochs = 0 adopts a model as it is",
            "what it was fitted to is not known here: every fold would have the same model",
            "set teacher.train.freeze to trunk or epochs to 1 or more, or teacher.folds to 1",
        )
    train, folds = samples.in_splits("train"), _folds(params, samples)
    if config.train.freeze == "trunk":
        for one in _fits(folds, config.folds_and_whole, len(train)):
            set_aside(train, one.rows, config.seed)
    return [
        *_other_classes(config.train, samples, architecture),
        *late(params.teacher.train, "teacher.train"),
        *check_students(params, samples, architecture.spec),
    ]


def _other_classes(train: TeacherTrain, samples: Samples, architecture: Architecture) -> list[str]:
    """Refuse to adopt a model of other classes than the data's; what is fitted gets a fresh head, and a note.

    Raises:
        WeightsError: names the classes.
    """
    start = architecture.start
    if start is None or start.classes is None or sorted(start.classes) == sorted(samples.classes):
        return []
    apart = different(start.classes, samples.classes)
    if train.epochs == 0 and train.freeze == "none":
        raise WeightsError(
            f"{architecture.arch} cannot be adopted: {start.name} is of other classes than the data",
            apart,
            "set teacher.train.epochs to 1 or more, or adopt a model of these classes",
        )
    return [f"note: {start.name} is of other classes ({apart}): its head is made fresh"]


def _check_complete(model: Model, classes: int) -> None:
    """Refuse to adopt a model whose weights file leaves tensors open."""
    fresh = model.loaded.fresh()
    if fresh:
        raise WeightsError(
            f"{model.arch} cannot be adopted: {model.loaded.source} leaves {len(fresh)} tensors open",
            f"untrained they are random; there are {classes} classes\n{listing(fresh, 6)}",
            "set teacher.train.epochs to 1 or more, or give weights that are complete for these classes",
        )


def _check_trunk(model: Model) -> None:
    """Refuse to leave a trunk as it is that nothing was fitted to."""
    head = {
        name
        for name, one in model.net.named_parameters()
        if any(one is own for own in model.head().parameters())
    }
    fresh = sorted(set(model.loaded.fresh()) - head)
    if model.loaded.source == "none" or fresh:
        raise WeightsError(
            f"teacher.train.freeze = trunk, and the trunk of {model.arch} is untrained",
            listing(fresh, 6) if fresh else "teacher.weights is none",
            "set teacher.weights to hub or to a file with trained weights, or teacher.train.freeze to none",
        )


def _digest(run: list[Any]) -> str:
    """Of all that decides the teacher's weights."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()

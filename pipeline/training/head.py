"""A linear head on a trunk that stays as it is: features once, then a convex fit, in minutes.

Multinomial logistic regression with a penalty on the squared weights, by L-BFGS (Liu, Nocedal 1989). The
penalty is the one under which a part of the samples that was set aside is least surprising.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.nn import functional as F

from stillroom import modalities
from stillroom.draw import FIT_VIEWS
from stillroom.errors import ParamsError, StillroomError
from stillroom.evaluation.forward import outputs_of_all
from stillroom.files import whole_file
from stillroom.folds import deal
from stillroom.modalities.base import Model, Policy, ViewRequest
from stillroom.progress import Progress
from stillroom.samples import Samples

VIEWS = 2  # that the head is fitted to, beside the evaluation view
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)  # tried in this order, each from where the one before ended
ASIDE = 5  # one fifth of the samples chooses among them
STEPS = 100  # of L-BFGS at most
LAST = 0.05  # of the largest logit: what rounding (bfloat16) may make of them


@dataclass(frozen=True)
class Features:
    """What a trunk makes of the training samples.

    Attributes:
        values: float32 [1 + `VIEWS`, N, D]: of the evaluation view, then of the others.
        file: where it is kept meanwhile, to be removed when the teacher is in its place.
    """

    values: torch.Tensor
    file: Path

    def remove(self) -> None:
        """When the teacher is in its place."""
        self.file.unlink(missing_ok=True)


def features_of(
    model: Model,
    train: Samples,
    policy: Policy,
    seed: int,
    batch_size: int,
    amp: str,
    file: Path,
    progress: Progress,
) -> Features:
    """Compute what a model's head is given of the training samples, unless the file has it.

    Args:
        model: on its device; it is put into eval mode.
        policy, seed: what draws the views; no cache has them.
        file: named by a digest of all that decides what it holds.

    Raises:
        ParamsError: something is added to what its last layer makes of them.
        StillroomError: the disk is full, or not writable.
    """
    kept = _read(file)
    if kept is not None:
        progress.note("resumed: the trunk's features are there")
        return Features(kept, file)
    modality = modalities.get(train.modality)
    reader = modality.reader(train)
    requests = [ViewRequest(row, modality.evaluation(row)) for row in train.rows]
    for view in range(VIEWS):  # not mixed: a partner could be of the fold that the head must not see
        requests += [ViewRequest(row, policy.draw(seed, row, FIT_VIEWS + view)) for row in train.rows]
    job = (model, modality, reader)
    _check_last(model, outputs_of_all(*job, requests[:1], batch_size, amp, Progress(), ("pooled",)))
    progress.start("features", len(requests), "views")
    pooled = outputs_of_all(*job, requests, batch_size, amp, progress, ("pooled",))["pooled"]
    progress.finish()
    values = torch.from_numpy(pooled).reshape(1 + VIEWS, len(train), -1)
    try:
        with whole_file(file, durable=False) as stream:
            stream.write(save({"features": values}))
    except OSError as error:
        raise StillroomError(f"{file} cannot be written", str(error), "free the disk, then go on") from None
    return Features(values, file)


def evaluation_features(
    model: Model, samples: Samples, batch_size: int, amp: str, progress: Progress, what: str
) -> torch.Tensor:
    """What a model's head is given of evaluation views, float32 [N, D]."""
    modality = modalities.get(samples.modality)
    requests = [ViewRequest(row, modality.evaluation(row)) for row in samples.rows]
    reader = modality.reader(samples, budget=0)  # each sample is looked at once
    progress.start(what, len(requests), modality.SAMPLES)
    outputs = outputs_of_all(model, modality, reader, requests, batch_size, amp, progress, ("pooled",))
    progress.finish()
    return torch.from_numpy(outputs["pooled"])


def _check_last(model: Model, outputs: dict[str, np.ndarray]) -> None:
    """Refuse a model whose logits are more than its last layer makes of the features."""
    head = model.head()
    with torch.no_grad():
        pooled = torch.from_numpy(outputs["pooled"]).to(head.weight)
        logits = head(pooled).float().cpu().numpy()
    apart = float(np.abs(logits - outputs["logits"]).max())
    if apart > LAST * max(1.0, float(np.abs(logits).max())):
        raise ParamsError(
            f"teacher.train.freeze = trunk: the logits of {model.arch} are not those of its last layer",
            f"they differ by {apart:.3g}: something else is added to them",
            "set teacher.train.freeze to none, or take another teacher",
        )


def _read(file: Path) -> torch.Tensor | None:
    """What an earlier run kept; a damaged file is as good as none."""
    try:
        with safe_open(file, "pt") as stream:
            features: torch.Tensor = stream.get_tensor("features")
            return features
    except (OSError, SafetensorError):
        return None


def fit_head(
    model: Model, features: torch.Tensor, train: Samples, rows: np.ndarray, seed: int, even: bool = False
) -> dict[str, Any]:
    """Fit a model's head to some samples, in place.

    Args:
        features: float32 [R, N, D], see `Features`.
        train: the N training samples.
        rows: those that it is fitted to, ascending.
        seed: chooses what is set aside.
        even: whether all classes weigh alike, whatever they have of samples.

    Returns:
        `penalty`, and of each one tried the `surprise`: the mean cross-entropy of what was set aside, nats.

    Raises:
        ParamsError: a class has fewer than two samples, or groups leave nothing to set aside.
    """
    labels = torch.from_numpy(train.labels().copy())
    aside = set_aside(train, rows, seed)
    chosen = _Fit(features, labels, rows[~aside], len(train.classes), even)
    surprise = {
        penalty: chosen.solve(penalty).surprise(features[0, rows[aside]], labels[rows[aside]])
        for penalty in PENALTIES
    }
    penalty = min(surprise, key=lambda one: surprise[one])
    fitted = _Fit(features, labels, rows, len(train.classes), even).solve(penalty)
    head = model.head()
    weight, bias = fitted.plain()
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return {"penalty": penalty, "surprise": {f"{one:g}": round(value, 5) for one, value in surprise.items()}}


def set_aside(train: Samples, rows: np.ndarray, seed: int) -> np.ndarray:
    """Which of the rows that a head is fitted to choose its penalty, bool [len(rows)].

    Raises:
        ParamsError: a class has fewer than two samples, or groups leave nothing to set aside.
    """
    part = train.at(rows.tolist())
    labels, sizes = np.unique(part.labels(), return_counts=True)  # a class may be without any
    smallest = int(sizes.min())
    if smallest < 2:
        name = train.classes[int(labels[sizes.argmin()])]
        raise ParamsError(
            f"teacher.train.freeze = trunk: {name} has {smallest} samples to fit a head to",
            "a part of each class is set aside to choose the penalty",
            "add samples, or lower teacher.folds",
        )
    aside: np.ndarray = deal(part, min(ASIDE, smallest), seed) == 0
    for what, rest in (("set aside", aside), ("left", ~aside)):
        if not rest.any():
            raise ParamsError(
                f"teacher.train.freeze = trunk: no sample would be {what} to choose the penalty",
                "groups and equal files stay together, and there are too few",
                "give the groups finer names (data.groups)",
            )
    return aside


class _Fit:
    """A fit in standardised features, which `plain` undoes."""

    def __init__(
        self, features: torch.Tensor, labels: torch.Tensor, rows: np.ndarray, classes: int, even: bool
    ) -> None:
        self._classes, self._even = classes, even
        own = features[:, torch.from_numpy(rows)]
        self._mean, self._std = own[0].mean(0), own[0].std(0) + 1e-3
        self._x = ((own - self._mean) / self._std).flatten(0, 1)
        self._y = labels[torch.from_numpy(rows)].repeat(len(own))
        self._weight = torch.zeros(own.shape[-1], classes, requires_grad=True)
        self._bias = torch.zeros(classes, requires_grad=True)

    def solve(self, penalty: float) -> "_Fit":
        """Itself, fitted: the mean cross-entropy and `penalty` / 2 times the squared weights."""
        solver = torch.optim.LBFGS([self._weight, self._bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            solver.zero_grad()
            loss = self._loss(self._x @ self._weight + self._bias, self._y)
            loss = loss + penalty / 2 * self._weight.square().sum()
            loss.backward()
            return loss

        solver.step(closure)  # type: ignore[arg-type]
        return self

    def surprise(self, features: torch.Tensor, labels: torch.Tensor) -> float:
        """The mean cross-entropy of other samples, in nats."""
        with torch.no_grad():
            x = (features - self._mean) / self._std
            return float(self._loss(x @ self._weight + self._bias, labels))

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy; where all classes weigh alike, the mean of their means."""
        if not self._even:
            return F.cross_entropy(logits, labels)
        weight = 1.0 / torch.bincount(labels, minlength=self._classes).clamp(min=1)
        return F.cross_entropy(logits, labels, weight)

    def plain(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight [C, D] and bias [C] for features as they are."""
        with torch.no_grad():
            weight = self._weight / self._std[:, None]
            return weight.T.contiguous(), self._bias - self._mean @ weight

"""Planes: one view of each sample, and what its teachers say of it: nothing yet, stored, or computed now."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stillroom.cache.read.planes import Answers
from stillroom.modalities.base import Modality, Model, Policy, Reader, Spec, ViewRequest, Views
from stillroom.samples import Samples

# The logits of several teachers as those of one
Together = Callable[[list[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Asked:
    """A teacher in the loop, and which of its outputs are used.

    Attributes:
        models: on its device; of a cross-fitted teacher one for each fold.
        fold: int [N], which of them is asked of each row of the training samples; None: there is one.
        logits: whether its logits teach.
        layer: the layer whose features teach; None: of this teacher none.
    """

    models: Sequence[Model]
    fold: np.ndarray | None = None
    logits: bool = True
    layer: str | None = None

    def run(self, raw: torch.Tensor, rows: np.ndarray, amp: str) -> dict[str, torch.Tensor]:
        """What it says of rendered views of these rows, by output."""
        take = [] if self.layer is None else [self.layer]
        if self.fold is None:
            return self.models[0].run(raw, amp, take=take)
        parts, order = [], []
        for number in np.unique(self.fold[rows]):
            own = np.flatnonzero(self.fold[rows] == number)
            parts.append(self.models[number].run(raw[torch.from_numpy(own)], amp, take=take))
            order.append(own)
        back = torch.from_numpy(np.argsort(np.concatenate(order))).to(parts[0]["logits"].device)
        return {name: torch.cat([one[name] for one in parts])[back] for name in parts[0]}


def drawn(policy: Policy, seed: int, samples: Samples, rows: Sequence[Any], view: int) -> list[ViewRequest]:
    """One view of some rows of a table, drawn.

    Args:
        samples: the training samples: partners come from all of them.
        rows: the rows wanted, in any order.
        view: the view's number.
    """
    return [policy.request(seed, samples, row, view) for row in rows]


class DrawnViews:
    """A view of all samples as a policy draws it, drawn where it is looked at."""

    def __init__(self, policy: Policy, seed: int, samples: Samples, view: int) -> None:
        self._policy, self._seed, self._samples, self._view = policy, seed, samples, view

    @property
    def mixes(self) -> bool:
        """Whether its views may be mixed."""
        return self._policy.mixes

    def __getitem__(self, row: int) -> ViewRequest:
        """The view of the sample in a row."""
        return self._policy.request(self._seed, self._samples, self._samples.rows[row], self._view)

    def part(self, rows: np.ndarray) -> "DrawnPart":
        """Those of some rows, in their order."""
        return DrawnPart(self._policy, self._seed, self._view, rows)

    def mixture(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of what is mixed into these rows, int [B], and its shares of them, float32 [B]."""
        return self._policy.mixture([self[row] for row in rows])


@dataclass(frozen=True)
class DrawnPart:
    """A view of some samples, drawn by whoever renders it.

    Attributes:
        rows: of the samples, int [n].
        tell: see `Part`.
    """

    policy: Policy
    seed: int
    view: int
    rows: np.ndarray
    tell: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def requests(self, samples: Samples) -> list[ViewRequest]:
        """The views, given the training samples, which partners come from."""
        return drawn(self.policy, self.seed, samples, [samples.rows[row] for row in self.rows], self.view)


class Plane(ABC):
    """What an epoch reads.

    Attributes:
        views: one of each sample.
    """

    def __init__(self, views: Views) -> None:
        self.views = views

    @abstractmethod
    def targets(self, rows: np.ndarray, own: slice, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the teachers say of a batch, by output.

        Args:
            rows: of the samples, int [B].
            own: those of them that are rendered in this process.
            inputs: these, as the student sees them.

        Returns:
            [B, ...] each, or of the own rows alone.
        """


class Drawn(Plane):
    """A plane for fitting a teacher: there is none yet."""

    def targets(self, rows: np.ndarray, own: slice, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Nothing."""
        return {}


class Stored(Plane):
    """A plane of a cache."""

    def __init__(
        self,
        views: Views,
        logits: Sequence[Answers],
        features: Answers | None,
        together: Together,
    ) -> None:
        """
        Args:
            logits: of the teachers; none for an arm without teacher.
            features: of one of them; None: none.
            together: makes one of the logits of all of them.
        """
        super().__init__(views)
        self._logits, self._features, self._together = logits, features, together

    def targets(self, rows: np.ndarray, own: slice, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """What was stored, of all rows; it is decoded here, a batch at a time."""
        targets = {}
        if self._logits:
            targets["logits"] = self._together([torch.from_numpy(one[rows]) for one in self._logits])
        if self._features is not None:
            targets["features"] = torch.from_numpy(self._features[rows])
        return targets


class Online(Plane):
    """Views with the teachers in the loop: as if there were no cache of what they say."""

    def __init__(
        self,
        views: Views,
        teachers: "Sequence[Asked]",
        together: Together,
        seen: tuple[Modality, Reader, Spec],
        amp: str,
        worse: bool = False,
    ) -> None:
        """
        Args:
            teachers: none for an arm without teacher.
            together: makes one of the logits of all of them.
            seen: what the student sees, and what else is rendered for a teacher that sees other inputs.
            amp: the teachers' precision, `none`, `bf16` or `fp16`.
            worse: whether the student sees its views corrupted; teachers never do.
        """
        super().__init__(views)
        self._teachers, self._together, self._amp = teachers, together, amp
        self._modality, self._reader, spec = seen
        self._rendering = None if worse else self._modality.rendering(spec)
        for teacher in teachers:
            for model in teacher.models:
                model.net.eval()

    @torch.no_grad()  # not inference_mode: a loss may keep a target for its backward pass
    def targets(self, rows: np.ndarray, own: slice, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """`logits` of the own rows, and their `features` where they are asked for."""
        logits, features = [], {}
        seen = [] if self._rendering is None else [(self._rendering, inputs)]
        for teacher in self._teachers:
            spec = teacher.models[0].spec
            rendering = self._modality.rendering(spec)
            raw = next((one for other, one in seen if other == rendering), None)
            if raw is None:
                requests = [self.views[row] for row in rows[own]]
                rendered = [self._modality.render(self._reader, one, spec) for one in requests]
                raw = torch.from_numpy(np.stack(rendered))
                seen.append((rendering, raw))
            outputs = teacher.run(raw, rows[own], self._amp)
            if teacher.logits:
                logits.append(outputs["logits"].float())
            if teacher.layer is not None:
                features["features"] = outputs[teacher.layer].float()
        return features | ({"logits": self._together(logits)} if logits else {})

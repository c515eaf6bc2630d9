"""Planes: one view of each sample, and what its teachers say of it: nothing yet, stored, or computed now."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from stillroom.modalities.base import Modality, Model, Policy, Reader, Spec, ViewRequest, Views
from stillroom.samples import Samples

# One output of several teachers as that of one
Together = Callable[[list[torch.Tensor]], torch.Tensor]


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

    def mixture(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of what is mixed into these rows, int [B], and its shares of them, float32 [B]."""
        return self._policy.mixture([self[row] for row in rows])


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

    def __init__(self, views: Views, outputs: Mapping[str, torch.Tensor]) -> None:
        """
        Args:
            outputs: what the teachers said of all samples, [N, ...] each; empty for an arm without teacher.
        """
        super().__init__(views)
        self._outputs = outputs

    def targets(self, rows: np.ndarray, own: slice, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """What was stored, of all rows."""
        return {name: values[rows] for name, values in self._outputs.items()}


class Online(Plane):
    """Views with the teachers in the loop: as if there were no cache of what they say."""

    def __init__(
        self,
        views: Views,
        teachers: Sequence[Model],
        together: Together,
        seen: tuple[Modality, Reader, Spec],
        amp: str,
    ) -> None:
        """
        Args:
            teachers: on their device; none for an arm without teacher.
            together: makes one of their logits.
            seen: what the student sees, and what else is rendered for a teacher that sees other inputs.
            amp: the teachers' precision, `none` or `bf16`.
        """
        super().__init__(views)
        self._teachers, self._together, self._amp = teachers, together, amp
        self._modality, self._reader, spec = seen
        self._rendering = self._modality.rendering(spec)
        for teacher in teachers:
            teacher.net.eval()

    @torch.inference_mode()
    def targets(self, rows: np.ndarray, own: slice, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """`logits` of the own rows."""
        found = []
        for teacher in self._teachers:
            raw = inputs
            if self._modality.rendering(teacher.spec) != self._rendering:
                requests = [self.views[row] for row in rows[own]]
                rendered = [self._modality.render(self._reader, one, teacher.spec) for one in requests]
                raw = torch.from_numpy(np.stack(rendered))
            found.append(teacher.run(raw, self._amp)["logits"].float())
        return {"logits": self._together(found)} if found else {}

"""Samples + views (+ cached logits) -> batches; what each holds is a pure function of (seed, epoch, step)."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from stillroom.cache.read.store import Store
from stillroom.draw import FIT_VIEWS, permutation
from stillroom.errors import ParamsError
from stillroom.losses._ensemble import ensemble
from stillroom.modalities.images.fields import Policy
from stillroom.modalities.images.mix import target
from stillroom.modalities.images.pixels import Pixels
from stillroom.samples import Samples
from stillroom.views.loader import batches
from stillroom.views.planes import Shot, Stored, drawn


@dataclass
class Batch:
    """What one forward pass takes: a batch, or one of the parts that it is cut into.

    Attributes:
        pixels: uint8 [b, S, S, 3], of this process's rows `own`; all rows where there is one process.
        labels: of all rows: int64 [B], or float32 [B, C] where views are mixed (rows sum to 1).
        teacher: the cached logits for all rows, float32 [B, C], or None.
        own: which of the B rows this process renders.
        share: of the optimiser's batch that these B rows are.
        last: whether the optimiser steps after it.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    teacher: torch.Tensor | None = None
    own: slice = field(default_factory=lambda: slice(None))
    share: float = 1.0
    last: bool = True


@dataclass(frozen=True)
class Cut:
    """How a batch is cut: into `parts` one after the other, and each among `world` processes side by side."""

    parts: int = 1
    rank: int = 0
    world: int = 1


def order(seed: int, epoch: int, count: int, batch_size: int) -> list[np.ndarray]:
    """Row numbers of each batch of an epoch: every row once, nearly equal batches of at most batch_size."""
    return np.array_split(permutation(seed, "order", epoch, count), -(-count // batch_size))


class Batches(ABC):
    """An epoch's batches, in order, from any step on.

    Attributes:
        steps: batches an epoch.
    """

    def __init__(self, samples: Samples, size: int, batch_size: int, seed: int, cut: Cut) -> None:
        self._samples, self._size = samples, size
        self._batch_size, self._seed, self._cut = batch_size, seed, cut
        self._pixels = Pixels(samples)
        self._labels = np.array(samples.labels())
        self.steps = -(-len(samples) // batch_size)
        smallest = min(len(batch) for batch in self.order(0)) // cut.parts
        if smallest < cut.world:
            raise ParamsError(
                f"a batch of {smallest * cut.parts} samples cannot be cut into {cut.parts} parts for "
                f"{cut.world} processes",
                "each process must get a sample of each part",
                "raise train.batch_size, lower train.accumulate, or start fewer processes",
            )

    def whole(self) -> Self:
        """The same batches, uncut, for this process alone."""
        found = copy.copy(self)
        found._cut = Cut()
        return found

    def order(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each batch of an epoch."""
        return order(self._seed, epoch, len(self._samples), self._batch_size)

    @abstractmethod
    def _plane(self, epoch: int) -> "tuple[Stored | Drawn, torch.Tensor | None]":
        """An epoch's views, and its teacher's logits, [N, C]."""

    def __call__(self, epoch: int, start: int = 0, count: int | None = None) -> Iterator[Batch]:
        """
        Args:
            epoch: from 0.
            start: the step to begin at, in [0, steps].
            count: how many steps; None: to the epoch's end.
        """
        plane, logits = self._plane(epoch)
        pieces: list[tuple[np.ndarray, slice, float, bool]] = []
        for rows in self.order(epoch)[start:][:count]:
            parts = np.array_split(rows, self._cut.parts)
            for number, part in enumerate(parts):
                ends = np.cumsum([0, *map(len, np.array_split(part, self._cut.world))])
                own = slice(int(ends[self._cut.rank]), int(ends[self._cut.rank + 1]))
                pieces.append((part, own, len(part) / len(rows), number == len(parts) - 1))
        jobs = [[plane[row] for row in part[own]] for part, own, _, _ in pieces]
        squares = batches(self._pixels, jobs, self._size)
        for (part, own, share, last), pixels in zip(pieces, squares, strict=True):
            teacher = None if logits is None else logits[part]
            yield Batch(pixels, self._targets(plane, part), teacher, own, share, last)

    def _targets(self, plane: "Stored | Drawn", rows: np.ndarray) -> torch.Tensor:
        labels = self._labels[rows]
        if not plane.mixes:
            return torch.from_numpy(labels)
        partners, shares = plane.mixture(rows)
        return torch.from_numpy(target(labels, self._labels[partners], shares, len(self._samples.classes)))


class Drawn:
    """A view of all samples as a recipe draws it, drawn where it is looked at."""

    def __init__(self, recipe: Policy, seed: int, samples: Samples, view: int) -> None:
        self._recipe, self._seed, self._samples, self._view = recipe, seed, samples, view
        self.mixes = recipe.mixes

    def __getitem__(self, number: int) -> Shot:
        row = self._samples.rows[number]
        return drawn(self._recipe, self._seed, self._samples, [row], self._view)[0]

    def mixture(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the partners, and their shares in 1/65536, uint [B] each."""
        views = [self[row].view for row in rows]
        return np.array([view.mix_partner for view in views]), np.array([view.mix_share for view in views])


class FreshBatches(Batches):
    """Views drawn as they are needed, for fitting a teacher: view numbers that no cache ever holds."""

    def __init__(
        self, samples: Samples, recipe: Policy, size: int, batch_size: int, seed: int, cut: Cut = Cut()
    ) -> None:
        super().__init__(samples, size, batch_size, seed, cut)
        self._recipe = recipe

    def _plane(self, epoch: int) -> tuple[Drawn, None]:
        return Drawn(self._recipe, self._seed, self._samples, FIT_VIEWS + epoch), None


class CachedBatches(Batches):
    """Views and logits of a cache: each epoch replays a plane, at any size.

    The view parameters come from the store, not from a generator: what the teacher saw is what the student
    sees.

    Args:
        samples: the cache's samples, checked against its identity; rows sorted by key, as in the store.
        store: an open cache.
        size: side of the rendered squares; at the teacher's size they are the teacher's pixels, bit for bit.
        outputs: the outputs to read (an arm that uses none need not); of more than one, the mean of their
            probabilities softened by `temperature`, as logits (`losses._ensemble`).
        view_order: `cycle`: epoch e replays plane e mod V. `shuffle`: each turn of V epochs takes the planes
            in an order of its own.
    """

    def __init__(
        self,
        samples: Samples,
        store: Store,
        size: int,
        batch_size: int,
        seed: int,
        outputs: Sequence[str] = (),
        temperature: float = 1.0,
        view_order: str = "cycle",
        cut: Cut = Cut(),
    ) -> None:
        super().__init__(samples, size, batch_size, seed, cut)
        self._store, self._outputs, self._temperature = store, outputs, temperature
        self._view_order = view_order

    def plane(self, epoch: int) -> int:
        """The plane that an epoch replays, in [0, V)."""
        turn, place = divmod(epoch, self._store.layout.views)
        if self._view_order == "cycle":
            return place
        return int(permutation(self._seed, "views", turn, self._store.layout.views)[place])

    def _plane(self, epoch: int) -> tuple[Stored, torch.Tensor | None]:
        view = self.plane(epoch)
        plane, logits = Stored(self._store.parameters(view), self._samples), None
        if self._outputs:
            teachers = [torch.from_numpy(self._store.logits(view, name)) for name in self._outputs]
            logits = ensemble(teachers, self._temperature)
        return plane, logits

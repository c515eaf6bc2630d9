"""Samples + views (+ cached logits) -> batches; the order is a pure function of (seed, epoch)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from pipeline.cache.layout import VIEWS
from pipeline.cache.store import Store
from pipeline.losses.ensemble import ensemble
from pipeline.samples import Samples
from pipeline.training.loop import Batch
from pipeline.views.draw import FIT_VIEWS, permutation
from pipeline.views.loader import batches
from pipeline.views.pixels import Pixels
from pipeline.views.recipe import FIELDS, Recipe, unpack


def order(seed: int, epoch: int, count: int, batch_size: int) -> list[np.ndarray]:
    """Row numbers of each batch of an epoch: every row once, nearly equal batches of at most batch_size."""
    return np.array_split(permutation(seed, "order", epoch, count), -(-count // batch_size))


class FreshBatches:
    """Views drawn as they are needed, for fitting a teacher: view numbers that no cache ever holds."""

    def __init__(self, samples: Samples, recipe: Recipe, size: int, batch_size: int, seed: int) -> None:
        self._samples, self._recipe, self._size = samples, recipe, size
        self._batch_size, self._seed = batch_size, seed
        self._pixels = Pixels(samples)
        self._labels = torch.tensor([row.label for row in samples.rows])
        self.steps = -(-len(samples) // batch_size)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        rows = self._samples.rows
        chosen = order(self._seed, epoch, len(rows), self._batch_size)
        view = FIT_VIEWS + epoch
        jobs = [
            [(rows[i], self._recipe.draw(self._seed, rows[i].key, view, rows[i].size)) for i in batch]
            for batch in chosen
        ]
        for batch, squares in zip(chosen, batches(self._pixels, jobs, self._size), strict=True):
            yield Batch(squares, self._labels[batch])


class CachedBatches:
    """Views and logits of a cache: epoch e replays plane e mod V, at any size.

    The view parameters come from the store, not from a generator: what the teacher saw is what the student
    sees.

    Args:
        samples: the cache's samples, checked against its identity; rows sorted by key, as in the store.
        store: an open cache.
        size: side of the rendered squares; at the teacher's size they are the teacher's pixels, bit for bit.
        outputs: the outputs to read (an arm that uses none need not); of more than one, the mean of their
            probabilities softened by `temperature`, as logits (`losses.ensemble`).
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
    ) -> None:
        self._samples, self._store, self._size = samples, store, size
        self._batch_size, self._seed = batch_size, seed
        self._outputs, self._temperature = outputs, temperature
        self._pixels = Pixels(samples)
        self._labels = torch.tensor([row.label for row in samples.rows])
        self.steps = -(-len(samples) // batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        """Row numbers of each batch of an epoch."""
        return order(self._seed, epoch, len(self._samples), self._batch_size)

    def __call__(self, epoch: int) -> Iterator[Batch]:
        plane = epoch % self._store.manifest.layout.views
        fields = self._store.read_plane(plane, [f"{VIEWS}{name}" for name in FIELDS])
        drawn = {name: fields[f"{VIEWS}{name}"] for name in FIELDS}
        logits = None
        if self._outputs:
            teachers = [torch.from_numpy(self._store.logits(plane, name)) for name in self._outputs]
            logits = ensemble(teachers, self._temperature)
        rows = self._samples.rows
        chosen = self.order(epoch)
        jobs = [[(rows[i], unpack(drawn, i)) for i in batch] for batch in chosen]
        for batch, squares in zip(chosen, batches(self._pixels, jobs, self._size), strict=True):
            yield Batch(squares, self._labels[batch], None if logits is None else logits[batch])

"""Samples + views (+ cached logits) -> batches; what each holds is a pure function of (seed, epoch, step)."""

import copy
import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import numpy as np
import torch

from stillroom import modalities
from stillroom.cache.read.store import Store
from stillroom.draw import FIT_VIEWS, permutation, words
from stillroom.errors import ParamsError
from stillroom.losses._ensemble import ensemble
from stillroom.machine import give_back, room, worker_count
from stillroom.modalities.base import Corruption, Modality, Part, Policy, Spec, Views, Worse
from stillroom.samples import Samples
from stillroom.training.ahead import Ahead
from stillroom.views.loader import Renderers
from stillroom.views.planes import Asked, Drawn, DrawnViews, Online, Plane, Stored

# Where all content takes more than so many times the memory for it, what could be kept is hardly met again
MOST_TIMES = 8


@dataclass
class Batch:
    """What one forward pass takes: a batch, or one of the parts that it is cut into.

    Attributes:
        inputs: rendered views [b, ...], of this process's rows `own`; all rows where there is one process.
        labels: of all rows: int64 [B], -1 where there is none, or float32 [B, C] where views are mixed (rows
            sum to 1, or to the share that has a label).
        targets: the teachers' outputs for all rows: `logits` float32 [B, C], `features` float32 [B, ...];
            empty without a teacher.
        own: which of the B rows this process renders.
        share: of the optimiser's batch that these B rows are.
        last: whether the optimiser steps after it.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    targets: dict[str, torch.Tensor] = field(default_factory=dict)
    own: slice = field(default_factory=lambda: slice(None))
    share: float = 1.0
    last: bool = True


@dataclass(frozen=True)
class Partition:
    """How a batch is cut: into `parts` one after the other, and each among `world` processes side by side."""

    parts: int = 1
    rank: int = 0
    world: int = 1


def order(
    seed: int, epoch: int, count: int, batch_size: int, rows: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Row numbers of each batch of an epoch, nearly equal batches of at most batch_size.

    Args:
        rows: those that the epoch sees, int [count], in any order; None: every row once.
    """
    turned = permutation(seed, "order", epoch, count)
    # half the memory, for as long as an epoch
    rows = (turned if rows is None else rows[turned]).astype(np.int32)
    steps = -(-count // batch_size)
    size, longer = divmod(count, steps)
    stop = 0
    for step in range(steps):  # as `np.array_split` cuts
        start, stop = stop, stop + size + (step < longer)
        yield rows[start:stop].astype(np.int64)


def balanced(seed: int, epoch: int, labels: np.ndarray) -> np.ndarray:
    """The rows of an epoch that sees each class as often, give or take one: a pure function.

    Those without a label are there once. The others are as many as ever: a sample of a rare class is there
    several times, of a class with more than its share only some are, which are drawn for each epoch.

    Args:
        seed: of the order.
        epoch: from 0.
        labels: int [N], -1: none.

    Returns:
        int64 [N], sorted by class.
    """
    by_class = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[by_class], return_index=True)
    groups = np.split(by_class, starts[1:])
    parts = []
    if len(classes) and classes[0] < 0:
        parts.append(groups.pop(0))
        classes = classes[1:]
    share, left = divmod(len(labels) - sum(map(len, parts)), max(1, len(classes)))
    one_more = {*permutation(seed, "classes", epoch, len(classes))[:left].tolist()}
    for place, (label, own) in enumerate(zip(classes.tolist(), groups, strict=True)):
        whole, some = divmod(share + (place in one_more), len(own))
        drawn = permutation(seed, f"class {label}", epoch, len(own))[:some]
        parts += [np.tile(own, whole), own[drawn]]
    return np.concatenate(parts) if parts else by_class


@dataclass(frozen=True)
class _Piece:
    """A batch, or one of the parts that it is cut into: see `Batch`."""

    rows: np.ndarray
    own: slice
    share: float
    last: bool


class Batches(ABC):
    """An epoch's batches, in order, from any step on.

    Attributes:
        steps: batches an epoch.
        modality: of the samples.
    """

    def __init__(
        self,
        samples: Samples,
        spec: Spec,
        batch_size: int,
        seed: int,
        partition: Partition,
        reduces: bool = False,
        even: bool = False,
    ) -> None:
        """
        Args:
            reduces: see `Policy.reduces`.
            even: whether an epoch sees each class as often (`balanced`).
        """
        self._samples, self._spec = samples, spec
        self._batch_size, self._seed, self._partition, self._even = batch_size, seed, partition, even
        self.modality = modalities.get(samples.modality)
        # Content is read before workers are forked, where a good part of it can be kept and all is looked at
        budget, self._preloaded = None, None
        if reduces:
            budget, self._preloaded = room() // max(1, worker_count()), ()
        elif _bytes(samples, self.modality) > MOST_TIMES * room():
            budget, self._preloaded = 0, ()
        self._reader = self.modality.reader(samples, budget)
        self._labels = samples.labels()
        self._idle: list[Renderers] = []  # whose workers wait for the next epoch
        self.steps = -(-len(samples) // batch_size)
        smallest = len(samples) // max(1, self.steps) // partition.parts
        parts, world = partition.parts, partition.world
        if smallest < world:
            raise ParamsError(
                f"a batch of {smallest * parts} samples cannot be cut into {parts} parts for {world} "
                "processes",
                "each process must get a sample of each part",
                "raise train.batch_size, lower train.accumulate, or start fewer processes",
            )

    def whole(self) -> Self:
        """The same batches, uncut, for this process alone."""
        uncut = copy.copy(self)
        uncut._partition, uncut._idle = Partition(), []
        return uncut

    def order(self, epoch: int) -> Iterator[np.ndarray]:
        """Row numbers of each batch of an epoch."""
        rows = balanced(self._seed, epoch, self._labels) if self._even else None
        return order(self._seed, epoch, len(self._samples), self._batch_size, rows)

    def class_weights(self) -> torch.Tensor:
        """What a sample of each class counts so that all classes weigh alike, float32 [C].

        Scikit-learn's `balanced`, N / (C * N_c), over the samples whose labels are given and the classes that
        they have: the mean over these samples is 1. A class without a sample has 1.
        """
        labels = self._labels[self._labels >= 0]
        counts = np.bincount(labels, minlength=len(self._samples.classes))
        there = counts > 0
        weights = np.where(there, len(labels) / (there.sum() * np.maximum(counts, 1)), 1.0)
        return torch.from_numpy(weights.astype(np.float32))

    @abstractmethod
    def _plane(self, epoch: int) -> Plane:
        """What an epoch reads."""

    def _look_ahead(self, epoch: int) -> None:  # noqa: B027  # most have nothing to look for
        """Begin to fetch what the next epoch reads; called when workers have been started."""

    def __call__(self, epoch: int, start: int = 0, count: int | None = None) -> Iterator[Batch]:
        """
        Args:
            epoch: from 0.
            start: the step to begin at, in [0, steps].
            count: how many steps; None: to the epoch's end.
        """
        plane = self._plane(epoch)
        asked: deque[_Piece] = deque()

        def parts() -> Iterator[Part]:
            """What is rendered, noted as it is asked for: an epoch's batches are never there all at once."""
            for piece in self._pieces(epoch, start, count):
                asked.append(piece)
                yield self._seen(plane.views.part(piece.rows[piece.own]), epoch)

        renderers = self._idle.pop() if self._idle else self._renderers()
        try:
            for number, inputs in enumerate(renderers(parts())):
                if number == 0:
                    self._look_ahead(epoch)
                piece = asked.popleft()
                targets = plane.targets(piece.rows, piece.own, inputs)
                labels = self._labels_of(plane.views, piece.rows)
                yield Batch(inputs, labels, targets, piece.own, piece.share, piece.last)
        finally:
            self._idle.append(renderers)

    def _pieces(self, epoch: int, start: int, count: int | None) -> Iterator["_Piece"]:
        """The parts that an epoch's batches are cut into, and which rows of each are this process's."""
        partition = self._partition
        stop = None if count is None else start + count
        for rows in itertools.islice(self.order(epoch), start, stop):
            parts = np.array_split(rows, partition.parts)
            for number, part in enumerate(parts):
                ends = np.cumsum([0, *map(len, np.array_split(part, partition.world))])
                own = slice(int(ends[partition.rank]), int(ends[partition.rank + 1]))
                yield _Piece(part, own, len(part) / len(rows), number == len(parts) - 1)

    def _renderers(self) -> Renderers:
        return Renderers(self.modality, self._reader, self._samples, self._spec, seen=self._preloaded)

    def _seen(self, part: Part, epoch: int) -> Part:
        """What is rendered of views: the views themselves."""
        return part

    def _labels_of(self, views: Views, rows: np.ndarray) -> torch.Tensor:
        labels = self._labels[rows]
        if not views.mixes:
            return torch.from_numpy(labels)
        partners, shares = views.mixture(rows)
        return torch.from_numpy(
            mixed_labels(labels, self._labels[partners], shares, len(self._samples.classes))
        )


class FreshBatches(Batches):
    """Views drawn as they are needed, for fitting a teacher: view numbers that no cache ever holds."""

    def __init__(
        self,
        samples: Samples,
        policy: Policy,
        spec: Spec,
        batch_size: int,
        seed: int,
        partition: Partition = Partition(),
        even: bool = False,
    ) -> None:
        super().__init__(samples, spec, batch_size, seed, partition, policy.reduces, even)
        self._policy = policy

    def _plane(self, epoch: int) -> Plane:
        return Drawn(DrawnViews(self._policy, self._seed, self._samples, FIT_VIEWS + epoch))


class CachedBatches(Batches):
    """Views and logits of a cache: each epoch replays a plane.

    The view parameters come from the store, not from a generator: what the teacher saw is what the student
    sees.

    Args:
        samples: the cache's samples, checked against its identity; rows sorted by key, as in the store.
        store: an open cache.
        spec: what the student sees; where it is the teacher's, its views are the teacher's, bit for bit.
        outputs: the outputs of logits to read (an arm that uses none need not); of more than one, the mean of
            their probabilities softened by `temperature`, as logits (`losses._ensemble`).
        view_order: `cycle`: epoch e replays plane e mod V. `shuffle`: each turn of V epochs takes the planes
            in an order of its own.
        teachers: None: their outputs are read. Else as if there were no cache: epoch e looks at view e, which
            is drawn (as the cache's is, where it holds so many), and these teachers are asked of it in the
            loop.
        amp: the teachers' precision.
        features: the output of features to read; None: none.
        corruption: what the student sees worse than its teacher; None: nothing.
        labelled: share of each class's samples whose labels are given; the others' are -1 (all zero where
            views are mixed).
        epochs: how many will be asked for: while one is in use, what the next reads is fetched.
        even: whether an epoch sees each class as often (`balanced`).
    """

    def __init__(
        self,
        samples: Samples,
        store: Store,
        spec: Spec,
        batch_size: int,
        seed: int,
        outputs: Sequence[str] = (),
        temperature: float = 1.0,
        view_order: str = "cycle",
        partition: Partition = Partition(),
        teachers: Sequence[Asked] | None = None,
        amp: str = "none",
        features: str | None = None,
        corruption: Corruption | None = None,
        labelled: float = 1.0,
        epochs: int = 0,
        even: bool = False,
    ) -> None:
        recipe = store.manifest.identity["views"]["recipe"]
        reduces = modalities.get(samples.modality).policy(recipe, "manifest.json").reduces
        super().__init__(samples, spec, batch_size, seed, partition, reduces, even)
        self._store, self._outputs, self._temperature = store, outputs, temperature
        self._features, self._corruption = features, corruption
        if labelled < 1:
            self._labels = unlabelled(samples, labelled)
        self._teachers, self._amp = teachers, amp
        self._view_order, self._epochs = view_order, epochs
        self._stored = Ahead(self._read)
        self._last: tuple[int, Stored] | None = None

    def plane(self, epoch: int) -> int:
        """The plane that an epoch replays, in [0, V); with teachers in the loop the number of its view."""
        if self._teachers is not None:
            return epoch
        return replayed(epoch, self._store.layout.views, self._view_order, self._seed)

    def _seen(self, part: Part, epoch: int) -> Part:
        """Views as the student sees them."""
        if self._corruption is None:
            return part
        return Worse(part, self._corruption, self._corruption.number(epoch))

    def _plane(self, epoch: int) -> Plane:
        view = self.plane(epoch)
        if self._teachers is not None:
            asked = self._store.manifest.identity["views"]
            policy = self.modality.policy(asked["recipe"], "manifest.json")
            drawn = DrawnViews(policy, asked["seed"], self._samples, view)
            together = partial(ensemble, temperature=self._temperature)
            seen = (self.modality, self._reader, self._spec)
            return Online(drawn, self._teachers, together, seen, self._amp, self._corruption is not None)
        if self._last is None or self._last[0] != view:
            self._last = None  # or three planes would be there
            self._last = view, self._stored.get(view)
        return self._last[1]

    def _look_ahead(self, epoch: int) -> None:
        if epoch + 1 < self._epochs and self._teachers is None:
            view = self.plane(epoch + 1)
            if view != self.plane(epoch):
                self._stored.begin(view)

    def _read(self, view: int) -> Stored:
        views = self.modality.stored(self._store.parameters(view), self._samples)
        logits = [self._store.answers(view, name) for name in self._outputs]
        features = None if self._features is None else self._store.answers(view, self._features)
        give_back()  # files were read whole, and that is not wanted again before the next plane
        return Stored(views, logits, features, partial(ensemble, temperature=self._temperature))


def _bytes(samples: Samples, modality: Modality) -> int:
    """What the content of all samples takes, by that of some."""
    some = samples.rows[:: max(1, len(samples) // 64)]
    return len(samples) * sum(map(modality.kept_bytes, some)) // max(1, len(some))


def replayed(epoch: int, views: int, order: str, seed: int) -> int:
    """The plane, in [0, `views`), that an epoch replays: see `CachedBatches` for `order`."""
    turn, position = divmod(epoch, views)
    return position if order == "cycle" else int(permutation(seed, "views", turn, views)[position])


def mixed_labels(labels: np.ndarray, partners: np.ndarray, shares: np.ndarray, classes: int) -> np.ndarray:
    """The labels of mixed views: each sample's class and its partner's, weighted.

    Args:
        labels, partners: int [B], the classes of the samples and of what is mixed into them; -1: not known.
        shares: float32 [B], the partners', in [0, 1).
        classes: C.

    Returns:
        float32 [B, C], rows sum to 1, or to the share of the view whose class is known.
    """
    mixed = np.zeros((len(labels), classes), np.float32)
    rows, weights = np.arange(len(labels)), shares
    mixed[rows, labels] = (1 - weights) * (labels >= 0)  # nothing, put at the last class, is nothing
    mixed[rows, partners] += weights * (partners >= 0)
    return mixed


def unlabelled(samples: Samples, share: float) -> np.ndarray:
    """The label of each row, int64 [N], and -1 for those that stay without: drawn by key, even in each class,
    so that a larger share adds labels to those of a smaller one.

    Args:
        share: of each class's samples that keep theirs, in (0, 1]; one at least does.
    """
    labels = samples.labels()
    kept = np.full(len(labels), -1)
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == label)
        drawn = [int(words(0, f"labelled\n{samples.rows.text('key', row)}", 0, 1)[0]) for row in rows]
        first = rows[np.argsort(drawn, kind="stable")][: max(1, round(share * len(rows)))]
        kept[first] = label
    return kept

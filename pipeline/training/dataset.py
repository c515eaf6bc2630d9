"""The views of a cache with the outputs of a teacher for them, for any training loop."""

import operator
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from stillroom import modalities
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.store import Store
from stillroom.errors import ParamsError
from stillroom.machine import room
from stillroom.modalities.base import Reader
from stillroom.provenance.identity import check_samples, input_of
from stillroom.samples import Samples
from stillroom.training.batches import mixed_labels, order

# What `CachedDataset` shares with the workers of a loader
EPOCH, ASKED, SAID = range(3)
UNSET = -1  # EPOCH, until somebody says one


class CachedDataset(Dataset[dict[str, Any]]):
    """A map-style data set: one view of each sample of the cache, another one each epoch.

    An item is a dict: the view as the modality calls it (images: `pixel_values`, float32 [3, S, S]; clips:
    `keypoints`, float32 [M, T, J, channels]: persons, frames, joints), `labels` (int64, -1 of an unlabelled
    sample; where the recipe mixes views, float32 [C] of all of them), `teacher_logits` float32 [C]
    (`teacher_NAME` of another output) and `key`.

    It may be pickled, and used in the workers of a loader however these start.
    """

    def __init__(
        self,
        cache: Store | Path | str,
        data: Path | str = "artifacts/data",
        output: str = "logits",
        size: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        root: Path | str | None = None,
    ) -> None:
        """
        Args:
            cache: an open cache, or where it lies: a folder or an address.
            data: the folder of the samples table, that the cache was made from.
            output: whose answers items hold.
            size: side of the views, where it is not what the teacher saw; images only.
            transform: from a rendered view (images: uint8 [S, S, 3]; clips: float32 [M, T, J, D + 1]) to
                what an item holds instead of the view as a network is given it.
            root: where the samples' files lie, where they are no part of `data`.

        Raises:
            CacheError: the cache is missing, damaged, or of other samples.
            DataError: the table is missing or damaged.
            ParamsError: the cache has no such output, or its views have no `size`, or not this one.
        """
        self._store = cache if isinstance(cache, Store) else open_store(cache)
        held = self._store.manifest.identity["outputs"]
        if output not in held:
            raise ParamsError(f"the cache has no output {output!r}", f"it holds {', '.join(sorted(held))}")
        table = modalities.load_samples(Path(data), root)
        self._samples: Samples = table.in_cache()
        check_samples(self._store.manifest, self._samples)
        self._modality = modalities.get(table.modality)
        self._spec = input_of(self._store.manifest)
        if size is not None:
            self._spec = self._sized(size)
        self._output, self._transform = output, transform
        dtype, shape = self._modality.rendered(self._spec)
        self._input, _ = self._modality.item(np.zeros(shape, dtype), self._spec)
        self._labels = self._samples.labels()
        self._reader = self._modality.reader(self._samples)
        # whether workers are to use this reader, and whether it is a worker's own
        self._preloaded, self._own = False, False
        self._shared = torch.tensor([UNSET, 0, 0]).share_memory_()
        self._seen = torch.zeros(len(self._samples), dtype=torch.bool).share_memory_()
        self._loaded: tuple[int, Any, Any] | None = None

    def _sized(self, size: int) -> dict[str, Any]:
        """What views are rendered at another size."""
        shown = self._modality.shown(self._spec)
        if "size" not in self._spec:
            raise ParamsError(
                f"size = {size}: {self._modality.SAMPLES} have no size to be rendered at",
                f"the cache's views are of {shown}",
                "leave size out",
            )
        spec = self._spec | {"size": size}
        if self._modality.check_spec(spec):
            raise ParamsError(
                f"size = {size!r}: {self._modality.SAMPLES} are not rendered at this size",
                f"the cache's views are of {shown}",
                "give a whole number of pixels (images: 16 to 4096), or leave size out",
            )
        return spec

    def __getstate__(self) -> dict[str, Any]:
        """For a spawned worker: neither the plane nor what was read of files."""
        return vars(self) | {"_loaded": None, "_preloaded": False, "_own": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for one in (self._shared, self._seen):
            if not one.is_shared():  # a copy of its own: plain pickling knows of no shared memory
                one.share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """From now on items are the views of plane `epoch` mod V, in a loader's workers too.

        Args:
            epoch: from 0. To be called before the loader is iterated over: its workers work ahead.

        Raises:
            ParamsError: it is no whole number, or is negative.
        """
        self._shared[EPOCH] = _whole(epoch, "epoch", 0) % self._store.layout.views

    def preload(self) -> None:
        """Read and decode the samples' files now, as far as a quarter of the memory takes them.

        Forked workers of a loader that starts later share what was read; without it, each reads for itself.
        Spawned ones do so anyway. Of a recipe that decodes images smaller (`draft`) nothing is read ahead.

        Raises:
            DataError: a file is missing, unreadable, or not the one that `prepare` saw.
        """
        recipe = self._store.manifest.identity["views"]["recipe"]
        if not self._modality.policy(recipe, "manifest.json").reduces:
            self._reader.preload(self._samples.rows)
            self._preloaded = True

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """The view of the sample in a row of the cache.

        Raises:
            CacheError: the epoch's plane is damaged.
            DataError: its file is missing, unreadable, or not the one that `prepare` saw.
            IndexError: there is no such row.
        """
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The items of some rows, decoded together: what a loader asks for."""
        places = np.fromiter(map(operator.index, rows), np.int64, len(rows))
        outside = (places < -len(self)) | (places >= len(self))
        if outside.any():
            raise IndexError(f"row {places[outside][0]} of {len(self)}")
        places %= len(self)
        self._watch(places)
        views, answers = self._plane()
        reader = self._workers_reader()
        labels = self._labels[places]
        if views.mixes:
            partners, shares = views.mixture(places)
            labels = mixed_labels(labels, self._labels[partners], shares, len(self._samples.classes))
        said = torch.from_numpy(answers[places])
        return [
            {
                self._input: self._view(reader, request),
                "labels": torch.from_numpy(labels[number]) if views.mixes else labels[number],
                f"teacher_{self._output}": said[number],
                "key": request.sample.key,
            }
            for number, request in enumerate(views.part(places).requests(self._samples))
        ]

    def _view(self, reader: Reader, request: Any) -> Any:
        rendered = self._modality.render(reader, request, self._spec)
        if self._transform is not None:
            return self._transform(rendered)
        return self._modality.item(rendered, self._spec)[1]

    def _plane(self) -> tuple[Any, Any]:
        """The views and answers of the epoch's plane."""
        view, loaded = max(0, int(self._shared[EPOCH])), self._loaded
        if loaded is None or loaded[0] != view:
            self._loaded = None  # or two planes would be there
            views = self._modality.stored(self._store.parameters(view), self._samples)
            loaded = view, views, self._store.answers(view, self._output)
            self._loaded = loaded
        return loaded[1:]

    def _workers_reader(self) -> Reader:
        """What reads files: that of this process, or a worker's own, which has a share of the memory."""
        worker = get_worker_info()
        if worker is not None and not (self._preloaded or self._own):
            self._reader = self._modality.reader(self._samples, room() // worker.num_workers)
            self._own = True
        return self._reader

    def _watch(self, places: np.ndarray) -> None:
        """Say once, of all processes and epochs, that a second epoch began and nobody said so.

        It did where more was asked for than an epoch has, and some of it again. What is counted may be a
        little less than what was asked for: workers add to the same number.
        """
        shared, views = self._shared, self._store.layout.views
        if views == 1 or int(shared[EPOCH]) != UNSET or int(shared[SAID]):
            return
        rows = torch.from_numpy(places)
        again = bool(self._seen[rows].any())
        self._seen[rows] = True
        shared[ASKED] += len(places)
        # one process of torchrun asks for its share
        epoch = -(-len(self) // int(os.environ.get("WORLD_SIZE", "1")))
        worker = get_worker_info()
        speaks = os.environ.get("RANK", "0") == "0" and (worker is None or worker.id == 0)
        if again and speaks and int(shared[ASKED]) > epoch:
            shared[SAID] = 1
            warnings.warn(
                "CachedDataset: a second epoch began, and set_epoch was never called: each epoch sees view "
                f"0 of {views} again. Call set_epoch(epoch), with epoch from 0, before each",
                stacklevel=4,
            )


class BatchOrder(Sampler[list[int]]):
    """The rows of each batch of an epoch, as `stillroom student` with `order: shuffle`: a batch sampler.

        order = stillroom.BatchOrder(views, batch_size=32)
        loader = torch.utils.data.DataLoader(views, batch_sampler=order)

    Every row comes once, in nearly equal batches of at most `batch_size`, in an order that is a pure function
    of (seed, epoch). Its `set_epoch` is the views' too; Lightning, accelerate and transformers call it.

    Attributes:
        batch_size: the largest batch.
        drop_last: False: no row is left out.
        epoch: whose order it is.
    """

    drop_last = False

    def __init__(self, views: CachedDataset, batch_size: int, seed: int = 0) -> None:
        """
        Args:
            views: whose rows, and whose epoch.
            batch_size: of `student.train`.
            seed: of `student.seeds`.

        Raises:
            ParamsError: one of the numbers is none, or too small.
        """
        self.batch_size, self._seed = _whole(batch_size, "batch_size", 1), _whole(seed, "seed", 0)
        self._views, self.epoch = views, 0

    def set_epoch(self, epoch: int) -> None:
        """From now on it is the order of this epoch, and the views are its views.

        Raises:
            ParamsError: it is no whole number, or is negative.
        """
        self._views.set_epoch(epoch)
        self.epoch = _whole(epoch, "epoch", 0)

    @property
    def sampler(self) -> "BatchOrder":
        """Itself: where Lightning looks for a `set_epoch`."""
        return self

    def __len__(self) -> int:
        return -(-len(self._views) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for rows in order(self._seed, self.epoch, len(self._views), self.batch_size):
            yield rows.tolist()


def _whole(value: Any, name: str, least: int) -> int:
    """A number that is whole, and at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number < 2**63:
        raise ParamsError(f"{name} = {value!r:.40}", fix=f"give a whole number of {least} or more")
    return number

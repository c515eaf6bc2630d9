"""The views of a cache with the outputs of a teacher for them, for any training loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from stillroom import modalities
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.store import Store
from stillroom.errors import ParamsError
from stillroom.provenance.identity import check_samples, input_of
from stillroom.training.batches import mixed_labels


class CachedDataset(Dataset[dict[str, Any]]):
    """A map-style data set: one view of each sample of the cache, another one each epoch.

    An item is a dict: the view as the modality calls it (images: `pixel_values`, float32 [3, S, S]; clips:
    `keypoints`, float32 [M, T, J, channels]: persons, frames, joints), `labels` (int64, -1 of an
    unlabelled sample, or float32 [C] of mixed views), `teacher_logits` float32 [C] (`teacher_NAME` of another
    output) and `key`.
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
            ParamsError: the cache has no such output, or its views have no `size`.
        """
        self._store = cache if isinstance(cache, Store) else open_store(cache)
        held = self._store.manifest.identity["outputs"]
        if output not in held:
            raise ParamsError(f"the cache has no output {output!r}", f"it holds {', '.join(sorted(held))}")
        table = modalities.load_samples(Path(data), root)
        self._samples = table.in_cache()
        check_samples(self._store.manifest, self._samples)
        self._modality = modalities.get(table.modality)
        self._reader = self._modality.reader(self._samples)
        self._spec = input_of(self._store.manifest)
        if size is not None:
            if "size" not in self._spec:
                raise ParamsError(
                    f"size = {size}: {self._modality.SAMPLES} have no size to be rendered at",
                    f"the cache's views are of {self._modality.shown(self._spec)}",
                    "leave size out",
                )
            self._spec = self._spec | {"size": size}
        self._output, self._transform = output, transform
        self._labels = self._samples.labels()
        # shared with the workers of a loader, also where they live longer than an epoch
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._loaded: tuple[int, Any, Any] | None = None

    def set_epoch(self, epoch: int) -> None:
        """From now on items are the views of plane `epoch` mod V."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """The view of the sample in a row of the cache.

        Raises:
            DataError: its file is missing, unreadable, or not the one that `prepare` saw.
            IndexError: there is no such row.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        views, answers = self._plane()
        rendered = self._modality.render(self._reader, views[row], self._spec)
        name, value = self._modality.item(rendered, self._spec)
        label: Any = self._labels[row]
        if views.mixes:
            partners, shares = views.mixture(np.array([row]))
            own, other = np.array([label]), np.array([self._labels[partners[0]]])
            label = torch.from_numpy(mixed_labels(own, other, shares, len(self._samples.classes))[0])
        return {
            name: value if self._transform is None else self._transform(rendered),
            "labels": label,
            f"teacher_{self._output}": torch.from_numpy(answers[row : row + 1][0]),
            "key": self._samples.rows.text("key", row),
        }

    def _plane(self) -> tuple[Any, Any]:
        """The views and answers of the epoch's plane."""
        view = int(self._epoch) % self._store.layout.views
        if self._loaded is None or self._loaded[0] != view:
            views = self._modality.stored(self._store.parameters(view), self._samples)
            self._loaded = (view, views, self._store.answers(view, self._output))
        return self._loaded[1:]

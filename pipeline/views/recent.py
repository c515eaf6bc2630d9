"""A reader that keeps what was read last."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from stillroom.machine import room, worker_count
from stillroom.modalities.base import Modality, Policy, Reader
from stillroom.samples import Samples


class Recent:
    """The content of samples, for who looks at few of them many times before the next few.

    Args:
        reader: reads them.
        count: how many are kept.
    """

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader, self._count = reader, count
        self._kept: OrderedDict[Any, Any] = OrderedDict()

    def __getitem__(self, sample: Any) -> Any:
        """The content of a sample; raises what the reader does."""
        return self._keep(sample.key, lambda: self._reader[sample])

    def reduced(self, sample: Any, scale: int) -> Any:
        """As the reader's, where it has one."""
        return self._keep((sample.key, scale), lambda: self._reader.reduced(sample, scale))  # type: ignore[attr-defined]

    def _keep(self, name: Any, read: Callable[[], Any]) -> Any:
        if name not in self._kept:
            found = read()
            if len(self._kept) == self._count:
                self._kept.popitem(last=False)
            self._kept[name] = found
        return self._kept[name]

    def preload(self, samples: Iterable[Any]) -> None:
        """Nothing: what is read before it is looked at would not be kept."""


def reading(
    modality: Modality, samples: Samples, recipe: Policy, count: int
) -> tuple[Reader, Iterable[Any] | None]:
    """A reader for views that come sample by sample, and what `Renderers` is to read before.

    Args:
        recipe: what draws the views.
        count: samples that a batch of views is of, about.
    """
    if recipe.mixes and not recipe.reduces:  # what is mixed in comes from anywhere, and is read before
        return modality.reader(samples), None
    return Recent(modality.reader(samples, budget=room() // max(1, worker_count())), count), ()

"""A reader that keeps what was read last."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from stillroom.modalities.base import Reader


class Recent:
    """The content of samples, for who looks at few of them many times before the next few.

    Args:
        reader: reads them.
        count: how many are kept.
    """

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader, self._count = reader, count
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def __getitem__(self, sample: Any) -> Any:
        """The content of a sample; raises what the reader does."""
        if sample.key not in self._kept:
            found = self._reader[sample]
            if len(self._kept) == self._count:
                self._kept.popitem(last=False)
            self._kept[sample.key] = found
        return self._kept[sample.key]

    def preload(self, samples: Iterable[Any]) -> None:
        """Nothing: what is read before it is looked at would not be kept."""

"""One view of all samples, as it is encoded: what a row holds is decoded where the row is looked at.

A large plane lies in a file without a name, which is mapped: the system writes it out where memory is short,
and it ends with the process.
"""

import mmap
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from stillroom.cache.encodings import Encoding
from stillroom.errors import CacheError, fetch_again
from stillroom.machine import local_folder

LARGE = 2**20  # bytes of an array from which on it is mapped


class Answers:
    """An output for one view of all samples.

    Attributes:
        shape: of a row, decoded.
    """

    def __init__(
        self,
        output: str,
        codec: Encoding,
        shape: tuple[int, ...],
        arrays: Mapping[str, np.ndarray],
        where: str,
        view: int,
    ) -> None:
        """
        Args:
            arrays: those that the encoding stores it in, [N, ...] each.
            where: the cache, for messages.
        """
        self._output, self._codec, self._arrays = output, codec, arrays
        self._where, self._view, self.shape = where, view, shape

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Some rows, decoded: float32 [n, *shape].

        Args:
            rows: int [n], or a slice.

        Raises:
            CacheError: they hold what no teacher gave.
        """
        values = self._codec.decode(
            self._output, self.shape, {name: array[rows] for name, array in self._arrays.items()}
        )
        if not np.isfinite(values).all():
            raise CacheError(
                f"view {self._view} of {self._output} in {self._where} holds values that are not finite",
                "no such output is ever stored: this store was made by something else",
                f"{fetch_again(self._where)}, or run `stillroom cache --replace`",
            )
        return values


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of zeros; a large one is mapped."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size >= LARGE and hasattr(os, "posix_fallocate"):  # macOS has none
        with suppress(OSError):  # no space, or no such folder: in memory
            folder = local_folder() / "planes"
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                os.posix_fallocate(file.fileno(), 0, size)  # or a full disk would kill who writes to it later
                return np.frombuffer(mmap.mmap(file.fileno(), size), dtype).reshape(shape)
    return np.zeros(shape, dtype)


def let_go(array: np.ndarray) -> None:
    """Forget a mapped array's pages, which come back when they are looked at; nothing for another array."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = base.obj if isinstance(base, memoryview) else base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)

"""The samples a cache knows: their keys as an array that every format stores alike, and their labels."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

LONGEST_KEY = 1024  # bytes of a key in UTF-8


class Rows(NamedTuple):
    """`keys`: uint8 [N, L], UTF-8, padded with zero bytes; `labels`: int64 [N]. Rows ascend by key."""

    keys: np.ndarray
    labels: np.ndarray


def pack(keys: Sequence[str], labels: Sequence[int] | np.ndarray) -> Rows:
    """Lay out keys and labels as arrays.

    Args:
        keys: N names, distinct and ascending.
        labels: N class indices, integers.

    Raises:
        ValueError: the keys are not distinct and ascending, one cannot be stored, or the counts differ.
    """
    encoded = [key.encode("utf-8") for key in keys]
    if not encoded:
        raise ValueError("a cache needs at least one sample")
    for key, text in zip(keys, encoded, strict=True):
        if not text or b"\0" in text or len(text) > LONGEST_KEY:
            raise ValueError(
                f"the key {key!r} is empty, has a zero byte, or is longer than {LONGEST_KEY} bytes"
            )
    for before, after in pairwise(encoded):
        if before >= after:
            raise ValueError(f"keys must be distinct and ascending, but {before!r} comes before {after!r}")
    numbers = np.asarray(labels)
    if numbers.shape != (len(encoded),) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {len(encoded)} integers, not {numbers.dtype} of shape {numbers.shape}"
        )
    width = max(map(len, encoded))
    packed = np.array(encoded, dtype=f"S{width}").view(np.uint8).reshape(len(encoded), width)
    return Rows(packed, numbers.astype("<i8"))


def unpack_keys(packed: np.ndarray) -> list[str]:
    """The keys in a uint8 [N, L] array.

    Raises:
        UnicodeDecodeError: a row is not UTF-8.
    """
    width = packed.shape[1]
    texts = np.ascontiguousarray(packed).view(f"S{width}").reshape(-1)
    return [bytes(text).decode("utf-8") for text in texts]

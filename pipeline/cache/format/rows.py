"""The samples a cache knows: their keys as an array that every format stores alike, and their labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LONGEST_KEY = 1024  # bytes of a key in UTF-8


class Rows(NamedTuple):
    """`keys`: uint8 [N, L], UTF-8, padded with zero bytes; `labels`: int64 [N]. Rows ascend by key."""

    keys: np.ndarray
    labels: np.ndarray


def pack(keys: Sequence[str] | np.ndarray, labels: Sequence[int] | np.ndarray) -> Rows:
    """Lay out keys and labels as arrays.

    Args:
        keys: N names, distinct and ascending; or their UTF-8 as an array of dtype S, [N].
        labels: N class indices, integers.

    Raises:
        ValueError: the keys are not distinct and ascending, one cannot be stored, or the counts differ.
    """
    if not len(keys):
        raise ValueError("a cache needs at least one sample")
    encoded = keys if isinstance(keys, np.ndarray) else _encoded(keys)
    width = encoded.dtype.itemsize
    packed = np.ascontiguousarray(encoded).view(np.uint8).reshape(len(encoded), width)
    ended = (packed[:, 1:] != 0) & (packed[:, :-1] == 0)
    odd = ended.any(axis=1) | (packed[:, 0] == 0)
    if odd.any() or width > LONGEST_KEY:
        key = encoded[odd.argmax()] if odd.any() else max(encoded, key=len)
        raise ValueError(f"the key {key!r} is empty, has a zero byte, or is longer than {LONGEST_KEY} bytes")
    fallen = encoded[:-1] >= encoded[1:]
    if fallen.any():
        before, after = encoded[fallen.argmax()], encoded[fallen.argmax() + 1]
        raise ValueError(f"keys must be distinct and ascending, but {before!r} comes before {after!r}")
    numbers = np.asarray(labels)
    if numbers.shape != (len(encoded),) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be {len(encoded)} integers, not {numbers.dtype} of shape {numbers.shape}"
        )
    return Rows(packed, numbers.astype("<i8"))


def _encoded(keys: Sequence[str]) -> np.ndarray:
    encoded = [key.encode("utf-8") for key in keys]
    for key, text in zip(keys, encoded, strict=True):
        if text.endswith(b"\0"):  # which an array of bytes would lose
            raise ValueError(f"the key {key!r} has a zero byte")
    return np.array(encoded, dtype=f"S{max(1, *map(len, encoded))}")


def unpack_keys(packed: np.ndarray) -> list[str]:
    """The keys in a uint8 [N, L] array.

    Raises:
        UnicodeDecodeError: a row is not UTF-8.
    """
    width = packed.shape[1]
    texts = np.ascontiguousarray(packed).view(f"S{width}").reshape(-1)
    return [bytes(text).decode("utf-8") for text in texts]

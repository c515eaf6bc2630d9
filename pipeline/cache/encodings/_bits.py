"""Numbers of a few bits each, one after the other in the bytes of a row, the lowest bit first."""

from collections.abc import Iterable

import numpy as np

Part = tuple[np.ndarray, int]  # whole numbers [n, m], and how many bits each of them takes, 0 to 63


def row_bytes(bits: int) -> int:
    """Bytes that hold so many bits."""
    return -(-bits // 8)


def pack(parts: Iterable[Part]) -> np.ndarray:
    """The parts side by side: uint8 [n, bytes a row]; what is left of the last byte is zero.

    Args:
        parts: every number at least 0 and below 2^bits.
    """
    return np.packbits(np.concatenate([_spread(*part) for part in parts], axis=1), axis=1, bitorder="little")


def _spread(values: np.ndarray, width: int) -> np.ndarray:
    """Its bits: uint8 [n, m * width]."""
    bits = np.empty((*values.shape, width), np.uint8)
    for bit in range(width):
        bits[..., bit] = (values >> bit) & 1
    return bits.reshape(len(values), -1)


class Reader:
    """Takes the parts of `pack` out again, in the same order."""

    def __init__(self, rows: np.ndarray) -> None:
        """Args:
        rows: uint8 [n, bytes a row].
        """
        self._bits = np.unpackbits(rows, axis=1, bitorder="little")
        self._at = 0

    def take(self, count: int, width: int) -> np.ndarray:
        """The next `count` numbers of `width` bits each, 0 to 63: int64 [n, count]."""
        stop = self._at + count * width
        bits = self._bits[:, self._at : stop].reshape(len(self._bits), count, width)
        self._at = stop
        values = np.zeros(bits.shape[:2], np.int64)
        for bit in range(width):
            values |= bits[..., bit].astype(np.int64) << bit
        return values

    def finish(self) -> None:
        """Make sure that nothing but the zeros of the last byte is left.

        Raises:
            ValueError: there is.
        """
        if self._bits[:, self._at :].any():
            raise ValueError("bits are set behind the last number of a row")

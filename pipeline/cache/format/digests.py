"""Digests of a cache's arrays: of what they hold, whatever stored it."""

import hashlib

import numpy as np

from stillroom.cache.format.rows import Rows


def array_digest(values: np.ndarray) -> str:
    """SHA-256 of an array: little-endian dtype, shape, bytes in C order. The same whatever stored it."""
    if values.dtype.byteorder == ">" or not values.flags.c_contiguous:
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{values.dtype.str} {list(values.shape)}\n".encode("ascii"))
    digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def combine(digests: dict[str, str]) -> str:
    """The digest of named arrays from the digests of each: SHA-256 of their sorted `name digest` lines."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode("ascii")).hexdigest()


def block_digest(arrays: dict[str, np.ndarray]) -> str:
    """The digest of a block's arrays, by name, each [rows, ...] without a view axis."""
    return combine({name: array_digest(values) for name, values in arrays.items()})


def rows_digest(rows: Rows) -> str:
    """The digest of a cache's keys and labels."""
    return block_digest({"keys": rows.keys, "labels": rows.labels})

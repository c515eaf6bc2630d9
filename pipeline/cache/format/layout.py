"""How the arrays of a cache are cut: planes, blocks of a plane, and the runs of blocks that share a file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

# A file of a store holds at most this many bytes before compression (or one block, where that is larger).
# Tens of megabytes: few files, and yet a changed or damaged one is cheap to send again.
FILE_BYTES = 64 * 2**20

# What may be an array's name: it becomes a path. Lower case, since some file systems know no other.
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}(/[a-z][a-z0-9_]{0,63})?")
VIEWS = "views/"  # arrays of view parameters start with it; every other array belongs to an output
RESERVED = ("keys", "labels", "views")

# numpy's names of the element types a cache may hold, all little-endian
DTYPES = ("|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")


class ArraySpec(NamedTuple):
    """What an array holds a row, that is for one (view, sample): `dtype` as in `DTYPES`, `shape` as (40,)."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        size = int(self.dtype[2:])
        for length in self.shape:
            size *= length
        return size


class Block(NamedTuple):
    """One view of the samples start..stop-1: the unit that is computed, checksummed and committed."""

    view: int
    start: int
    stop: int

    def __str__(self) -> str:
        return f"view {self.view}, samples {self.start}-{self.stop - 1}"


@dataclass(frozen=True)
class Layout:
    """Where every row of a cache lies.

    Attributes:
        views: V, planes.
        samples: N, rows of a plane.
        block_samples: rows of a block; the last block of a plane may have fewer.
        arrays: what each array holds a row, by name.
        file_blocks: how many blocks of a plane share a file, by array name.
    """

    views: int
    samples: int
    block_samples: int
    arrays: dict[str, ArraySpec]
    file_blocks: dict[str, int]

    def blocks(self) -> Iterator[Block]:
        """Every block, by view, then by sample."""
        return blocks(self.views, self.samples, self.block_samples)

    def parts(self, name: str) -> list[tuple[int, int]]:
        """The sample ranges (start, stop) of the files that one plane of an array is cut into."""
        return runs(0, self.samples, self.block_samples * self.file_blocks[name])


def runs(start: int, stop: int, length: int) -> list[tuple[int, int]]:
    """Cut start..stop-1 into ranges of `length`, the last one shorter where it does not divide."""
    return [(first, min(first + length, stop)) for first in range(start, stop, length)]


def blocks(views: int, samples: int, block_samples: int) -> Iterator[Block]:
    """The blocks of so many views of so many samples, by view, then by sample."""
    for view in range(views):
        for start, stop in runs(0, samples, block_samples):
            yield Block(view, start, stop)


def blocks_per_file(samples: int, block_samples: int, row_bytes: int) -> int:
    """How many blocks of a plane go into one file: at most `FILE_BYTES`, a plane's files about equally long.

    The number of views plays no part, so more views never move the old ones to other files.
    """
    count = -(-samples // block_samples)
    most = max(1, FILE_BYTES // max(1, row_bytes * block_samples))
    files = -(-count // most)
    return -(-count // files)


def fault_in(arrays: dict[str, ArraySpec]) -> str:
    """Why these arrays cannot be in a cache; empty if they can."""
    if not arrays:
        return "there is no array"
    if len(arrays) > 256:
        return f"{len(arrays)} arrays are more than 256"
    for name, spec in arrays.items():
        if not NAME.fullmatch(name) or name in RESERVED:
            return f"{name!r} is no name for an array"
        if "/" in name and name.split("/")[0] in arrays:
            return f"{name!r} lies inside another array"
        if spec.dtype not in DTYPES:
            return f"{name} has dtype {spec.dtype!r}, expected one of {', '.join(DTYPES)}"
        if len(spec.shape) > 8 or any(
            type(length) is not int or not 0 < length < 2**31 for length in spec.shape
        ):
            return f"{name} has shape {list(spec.shape)!r} a row, expected at most 8 positive lengths"
        if spec.row_bytes > 2**28:
            return f"{name} has rows of {spec.row_bytes} bytes, more than 256 MiB"
    return ""

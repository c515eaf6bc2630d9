"""What files held when they were last read, by path, size and times: what has not changed is not read again.

It lies in one Parquet file outside all outputs. It may be lost or damaged: that costs time, and nothing else.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from stillroom.columns import MANY, one_piece
from stillroom.files import whole_file

# A file written in the same moment as it was read may be written once more without a later time stamp
SETTLED = 2_000_000_000  # nanoseconds
WHOLE = -1  # for `start`: all of a file
STAMP = ("size", "mtime_ns", "ctime_ns", "inode")
_SPARE = 100_000  # rows of other files that are kept in any case
_SCHEMA = pa.schema(
    [
        ("path", pa.large_binary()),
        *((name, pa.int64()) for name in STAMP),
        ("start", pa.int64()),
        ("sha256", pa.binary(32)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
    ]
)


class Memory:
    """Rows of what was read: a file, or a part of one.

    Args:
        file: where it is kept; None: nowhere.
        anew: believe nothing of it.
    """

    def __init__(self, file: Path | None, anew: bool = False) -> None:
        self._file = file
        self._old = _SCHEMA.empty_table() if file is None or anew else _loaded(file)
        self.since = 0.0  # seconds of the epoch: when it was written
        if file is not None and len(self._old):
            with suppress(OSError):
                self.since = file.stat().st_mtime
        self._stamps = np.stack([self._numbers(name) for name in STAMP], axis=1)
        self._start = self._numbers("start")
        self._path = one_piece(self._old.column("path"))
        self._picture = np.stack([self._numbers(name) for name in ("width", "height")], axis=1)
        self._format = one_piece(self._old.column("format"))
        self._digest = one_piece(self._old.column("sha256"))
        self._used = np.zeros(len(self._old), bool)
        self._new: list[tuple[Any, ...]] = []
        self._parts: list[pa.RecordBatch] = []

    def find(self, paths: Sequence[Path | str], stamps: np.ndarray) -> np.ndarray:
        """The row of each whole file that has not changed; -1: there is none.

        Args:
            paths: of n files.
            stamps: what `stamp` gives of each, int64 [n, 4].
        """
        if not len(self._old) or not len(paths):
            return np.full(len(paths), -1)
        whole = np.flatnonzero(self._start == WHOLE)
        known = self._path.take(pa.array(whole))
        wanted = pa.array([_name(path) for path in paths], pa.large_binary())
        places = pc.index_in(wanted, value_set=known).fill_null(-1).to_numpy()
        rows = np.where(places >= 0, np.append(whole, -1)[places], -1)
        rows[(rows >= 0) & (self._stamps[rows] != stamps).any(axis=1)] = -1
        self._used[rows[rows >= 0]] = True
        return rows

    def find_in(self, path: Path | str, stamp: Sequence[int]) -> dict[int, int]:
        """The rows of the parts of a file that has not changed, by their first byte."""
        if not len(self._old):
            return {}
        same = (self._stamps == np.array(stamp)).all(axis=1) & (self._start != WHOLE)
        rows = np.flatnonzero(same)
        name = _name(path)
        rows = np.array([row for row in rows.tolist() if self._path[row].as_py() == name], np.int64)
        self._used[rows] = True
        return dict(zip(self._start[rows].tolist(), rows.tolist(), strict=True))

    def sha256(self, row: int) -> bytes:
        """The digest of a row: 32 bytes."""
        digest: bytes = self._digest[row].as_py()
        return digest

    def picture(self, row: int) -> tuple[tuple[int, int], str] | None:
        """((width, height), format) of a row; None: it was digested only."""
        width, height = self._picture[row].tolist()
        return ((width, height), self._format[row].as_py()) if width else None

    def note(
        self,
        path: Path | str,
        stamp: Sequence[int],
        sha256: bytes,
        start: int = WHOLE,
        size: tuple[int, int] = (0, 0),
        kind: str = "",
    ) -> None:
        """Remember what was read just now, if the file is old enough to be trusted.

        Args:
            stamp: as `stamp` gave it before the file was read.
            sha256: 32 bytes.
            start: of a part of it, its first byte.
            size: (width, height) of an image.
            kind: its format.
        """
        if self._file is None or time.time_ns() - stamp[2] <= SETTLED:
            return
        self._new.append((_name(path), *stamp, start, sha256, *size, kind))
        if len(self._new) == MANY:
            self._settle()

    def save(self, seen: Sequence[Path | str] | None = None) -> None:
        """Write it, whole or not at all; where it cannot be written it is not.

        Args:
            seen: all files that there are: what is remembered of others is dropped. None: others stay, up to
                twice as many as those of this time.
        """
        if self._file is None:
            return
        self._settle()
        new = pa.Table.from_batches(self._parts, _SCHEMA)
        if len(self._old):
            stays = self._used | ~self._replaced(new)
            if seen is not None:
                names = pa.array([_name(path) for path in seen], pa.large_binary())
                stays &= pc.is_in(self._path, value_set=names).to_numpy(zero_copy_only=False)
            elif (stays & ~self._used).sum() > 2 * (self._used.sum() + len(new)) + _SPARE:
                stays = self._used
            new = pa.concat_tables([self._old.filter(pa.array(stays)), new])
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._file, durable=False) as stream:
                parquet.write_table(
                    new,
                    stream,
                    compression="zstd",
                    use_dictionary=["path", "format"],
                    row_group_size=2**17,
                    write_page_checksum=True,
                )

    def _replaced(self, new: pa.Table) -> np.ndarray:
        """Which old rows are of files of which something new is known, whole or in parts as these are."""
        replaced = np.zeros(len(self._old), bool)
        parts = pc.not_equal(new.column("start"), WHOLE)
        for whole, chosen in ((True, new.filter(pc.invert(parts))), (False, new.filter(parts))):
            there = pc.is_in(self._path, value_set=one_piece(chosen.column("path")))
            replaced |= there.to_numpy(zero_copy_only=False) & ((self._start == WHOLE) == whole)
        return replaced

    def _settle(self) -> None:
        columns = list(zip(*self._new, strict=True)) or [()] * len(_SCHEMA)
        arrays = [pa.array(column, one.type) for column, one in zip(columns, _SCHEMA, strict=True)]
        self._parts.append(pa.record_batch(arrays, schema=_SCHEMA))
        self._new = []

    def _numbers(self, name: str) -> np.ndarray:
        values: np.ndarray = self._old.column(name).to_numpy()
        return values


def stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    """What tells whether a file is the same: its size, its two times, its number on the disk."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _loaded(file: Path) -> pa.Table:
    with suppress(OSError, ValueError, pa.ArrowException):
        table = parquet.read_table(file, page_checksum_verification=True)
        if table.schema.equals(_SCHEMA) and not any(column.null_count for column in table.columns):
            return table.combine_chunks()
    return _SCHEMA.empty_table()


def _name(path: Path | str) -> bytes:
    return os.fsencode(os.path.abspath(path))

"""The files of a store: each is checked before it is believed, and damage is reported by block."""

import hashlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from stillroom.cache.format.digests import array_digest, rows_digest
from stillroom.cache.format.layout import Block, Layout, runs
from stillroom.cache.format.manifest import NAME, Manifest
from stillroom.cache.format.rows import Rows
from stillroom.cache.read.damage import Damage, unreadable
from stillroom.cache.read.remote import Remote
from stillroom.progress import Progress

# A file is not believed to hold more than this many times its size, beyond a start that does no harm: a small
# file that claims terabytes is refused before any memory is taken.
EXPANSION = 1000
HARMLESS = 64 * 2**20

# read(name, view, start, stop) -> rows start..stop-1 of one view of an array, checked: [stop - start, ...]
Reader = Callable[[str, int, int, int], np.ndarray]
# kept(name, view, part) -> the file of an earlier store that holds exactly this already, or None
Kept = Callable[[str, int, int], Path | None]

# An array, the first row of a block, the row after its last, and its rows; or of several, why there are none.
Loaded = tuple[str, int, int, np.ndarray | Exception]


class CheckedFiles(ABC):
    """The files of a cache in a folder, read part by part. No file stays open."""

    def __init__(self, folder: Path, manifest: Manifest, remote: Remote | None = None) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.manifest = manifest
        self.remote = remote
        self.layout = manifest.layout

    def examine(self, names: list[str], view: int, part: int) -> tuple[dict[str, np.ndarray], list[Damage]]:
        """Read one part of a plane of some arrays, and say what is wrong with it.

        Args:
            names: arrays whose planes are cut alike, as `units` gives them.

        Returns:
            Their rows, each [stop - start, ...], with zeros in the blocks that are damaged, and none at all
            where the file cannot hold them; and the damage, by block.
        """
        layout = self.layout
        damage = self._check_size(names, view, part)
        if damage:
            return {}, damage
        start, stop = layout.parts(names[0])[part]
        rows = {
            name: np.zeros((stop - start, *layout.arrays[name].shape), layout.arrays[name].dtype)
            for name in names
        }
        return rows, self._check(names, view, part, rows, start)

    def check(self, names: list[str], view: int, part: int) -> list[Damage]:
        """What is wrong with one part of a plane of some arrays; takes the memory of its file and a block."""
        return self._check(names, view, part, {}, 0)

    def _check(
        self, names: list[str], view: int, part: int, into: dict[str, np.ndarray], first: int
    ) -> list[Damage]:
        """Read a part block by block; what is sound goes into arrays whose first row is row `first`."""
        damage = self._read(names, view, part, into, first)
        if damage and self.remote:  # it may be the local copy that is damaged
            self.remote.forget({fault.file for fault in damage})
            damage = self._read(names, view, part, into, first)
        return damage

    def _read(
        self, names: list[str], view: int, part: int, into: dict[str, np.ndarray], first: int
    ) -> list[Damage]:
        damage = self._check_size(names, view, part)
        if damage:
            return damage
        file = self.file(names[0], view, part)
        for name, start, stop, values in self._load(names, view, part):
            if isinstance(values, MemoryError):
                raise values  # the machine's fault
            if isinstance(values, Exception):
                damage += self._faults(view, start, stop, file, unreadable(values))
                continue
            block = Block(view, start, stop)
            if array_digest(values) != self.manifest.blocks[block][name]:
                damage.append(Damage(block, file, f"{name} does not have the digest in the manifest"))
            elif name in into:
                into[name][start - first : stop - first] = values
        return list(dict.fromkeys(damage))

    def units(self, names: list[str]) -> list[tuple[list[str], int]]:
        """What of a plane is best read together: arrays and the part of them that shares a file."""
        return [([name], part) for name in names for part in range(len(self.layout.parts(name)))]

    def examine_rows(self) -> tuple[Rows | None, list[Damage]]:
        """Read keys and labels, and say what is wrong with them."""
        rows, damage = self._read_rows()
        if damage and self.remote:
            self.remote.forget({fault.file for fault in damage})
            rows, damage = self._read_rows()
        return rows, damage

    def _read_rows(self) -> tuple[Rows | None, list[Damage]]:
        most = 2 * self.layout.samples * (self.manifest.key_bytes + 8) + HARMLESS
        sizes = {file: self._size(file, most) for file in self.rows_files()}
        absent = [Damage(None, file, size) for file, size in sizes.items() if isinstance(size, str)]
        claimed = self.layout.samples * (self.manifest.key_bytes + 8)
        total = sum(size for size in sizes.values() if isinstance(size, int))
        if not absent and claimed > HARMLESS + EXPANSION * total:
            absent = [Damage(None, file, f"{total} bytes cannot hold {claimed}") for file in sizes]
        if absent:
            return None, absent
        rows = self._load_rows()
        if not isinstance(rows, Rows):
            return None, [Damage(None, file, unreadable(error)) for file, error in rows.items()]
        if rows_digest(rows) != self.manifest.rows:
            return None, [
                Damage(None, file, "keys and labels are not those of the manifest") for file in sizes
            ]
        return rows, []

    def _size_limit(self, names: list[str], part: int) -> int:
        """Bytes that a file of these arrays may have at most, as far as need be known to fetch it."""
        start, stop = self.layout.parts(names[0])[part]
        rows = max(stop - start, self.layout.block_samples)
        return 2 * rows * sum(self.layout.arrays[name].row_bytes for name in names) + 2**20

    def _size(self, file: str, most: int) -> int | str:
        """A file's size in bytes, or why it has none: a missing one must never be read as a fill value.

        Of a remote cache it is fetched, unless it is larger than `most`.
        """
        fault = self.remote.fetch({file: most}).get(file) if self.remote else None
        if fault:
            return fault
        try:
            status = os.stat(f"{self.folder}/{file}")
        except (FileNotFoundError, NotADirectoryError):
            return "is not there"
        except OSError as error:
            return unreadable(error)
        if not stat.S_ISREG(status.st_mode):  # a pipe would have its reader wait for ever
            return "is no file"
        return status.st_size or "is empty"

    def _check_size(self, names: list[str], view: int, part: int) -> list[Damage]:
        """What a file's size says already, before memory is taken for what it should hold."""
        start, stop = self.layout.parts(names[0])[part]
        file = self.file(names[0], view, part)
        size = self._size(file, self._size_limit(names, part))
        rows = max(stop - start, self.layout.block_samples)  # a Zarr chunk is a whole block, filled up
        claimed = rows * sum(self.layout.arrays[name].row_bytes for name in names)
        if isinstance(size, int):
            if claimed <= HARMLESS + EXPANSION * size:
                return []
            size = f"{size} bytes cannot hold {claimed}"
        return self._faults(view, start, stop, file, size)

    def _faults(self, view: int, start: int, stop: int, file: str, reason: str) -> list[Damage]:
        ranges = runs(start, stop, self.layout.block_samples)
        return [Damage(Block(view, first, last), file, reason) for first, last in ranges]

    @abstractmethod
    def file(self, name: str, view: int, part: int) -> str:
        """The file that holds one part of a plane of an array, relative to the folder, with slashes."""

    @abstractmethod
    def rows_files(self) -> list[str]:
        """The files that hold keys and labels."""

    @abstractmethod
    def files(self) -> set[str]:
        """Every file that belongs to the store, but for the manifest."""

    @abstractmethod
    def metadata_files(self) -> list[str]:
        """The files that hold no block; the manifest has digests of their bytes."""

    def structure(self) -> list[Damage]:
        """What is wrong with the files that hold no block, which other programs read."""
        damage = []
        mine = self.metadata_files()
        for file in sorted(self.manifest.metadata.keys() - set(mine)):  # whatever it is, it is not opened
            damage.append(Damage(None, NAME, f"metadata names {file!r:.80}, which is no file of this store"))
        for file in mine:
            reason = self._unsound(file)
            if reason:
                damage.append(Damage(None, file, reason))
        return damage

    def _unsound(self, file: str) -> str:
        """What is wrong with a metadata file; empty if nothing is."""
        most = self.metadata_limit()
        size = self._size(file, most)
        if isinstance(size, str):
            return size
        if size > most:
            return f"is too long: {size} bytes, expected at most {most}"
        if file not in self.manifest.metadata:
            return "the manifest has no digest of it"
        try:
            if _file_digest(self.folder / file) != self.manifest.metadata[file]:
                return "does not have the digest in the manifest"
            return self._foreign(file)
        except Exception as error:  # what a parser raises on damaged bytes is anybody's guess
            return unreadable(error)

    @abstractmethod
    def metadata_limit(self) -> int:
        """Bytes that a metadata file may have at most."""

    @abstractmethod
    def _foreign(self, file: str) -> str:
        """Why a metadata file would show other programs something else than this cache; empty if not.

        May raise anything.
        """

    @abstractmethod
    def _load(self, names: list[str], view: int, part: int) -> Iterator[Loaded]:
        """The blocks of one part of a plane of some arrays, as the layout says, or why there are none.

        The rows of a block are good until the next is asked for. No more memory is taken than the file and a
        block need, whatever the file says.
        """

    @abstractmethod
    def _load_rows(self) -> Rows | dict[str, Exception]:
        """Keys and labels, as the manifest says; or by file, why it does not hold them."""

    @staticmethod
    @abstractmethod
    def write(folder: Path, layout: Layout, rows: Rows, read: Reader, kept: Kept, progress: Progress) -> None:
        """Write every array of a store, all but the manifest, into an empty folder.

        The same content gives the same bytes, and the number of views changes no file of another view. A file
        that `kept` names is copied byte for byte instead of being written anew.
        Advances `progress` by one for each file part of an array.
        """


def _file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

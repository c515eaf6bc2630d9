"""A published cache, read only: what every backend must give, and the checks that come before any value."""

import hashlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stillroom.cache.format.digests import array_digest, rows_digest
from stillroom.cache.format.encoding import encoding_for
from stillroom.cache.format.layout import VIEWS, Block, Layout, runs
from stillroom.cache.format.manifest import NAME, Manifest
from stillroom.cache.format.rows import Rows, unpack_keys
from stillroom.cache.read.remote import Remote
from stillroom.errors import DENIED, AccessError, CacheError, StillroomError, fetch_again, listing
from stillroom.machine import cores
from stillroom.progress import Progress

# A file is not believed to hold more than this many times its size, beyond a start that does no harm: a small
# file that claims terabytes is refused before any memory is taken.
EXPANSION = 1000
HARMLESS = 64 * 2**20

# read(name, view, start, stop) -> rows start..stop-1 of one view of an array, checked: [stop - start, ...]
Reader = Callable[[str, int, int, int], np.ndarray]
# kept(name, view, part) -> the file of an earlier store that holds exactly this already, or None
Kept = Callable[[str, int, int], Path | None]


class Damage(NamedTuple):
    """One thing that is wrong with a store: the block (None: it is not about a block), the file, and why."""

    block: Block | None
    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.block}: {self.file}: {self.reason}" if self.block else f"{self.file}: {self.reason}"


# An array, the first row of a block, the row after its last, and its rows; or of several, why there are none.
Loaded = tuple[str, int, int, np.ndarray | Exception]


class Store(ABC):
    """A cache in a folder. It holds no open file, so it survives fork and spawn, and may be pickled.

    Made by `backends.open_store`.

    Attributes:
        folder: where it lies, absolute; of a remote cache, where its fetched files lie.
        manifest: what it says of itself.
        remote: where the files that are not in the folder are fetched from; None for a local cache.
        place: where it lies, for messages.
    """

    threads = min(4, cores().used)  # that may read at once and gain by it

    def __init__(self, folder: Path, manifest: Manifest, remote: Remote | None = None) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.manifest = manifest
        self.remote = remote
        self.place = remote.shown if remote else str(self.folder)
        if remote:
            self.threads = 1  # it keeps what is read at a time, and no more, out of the bound
        self.layout = manifest.layout
        self._rows: Rows | None = None
        self._keys: list[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "manifest": self.manifest, "remote": self.remote}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def keys(self) -> list[str]:
        """The N sample keys, ascending.

        Raises:
            CacheError: they are missing or damaged.
        """
        if self._keys is None:
            try:
                self._keys = unpack_keys(self.rows.keys)
            except UnicodeDecodeError as error:
                raise self.refusal(
                    [Damage(None, self.rows_files()[0], f"a key is not UTF-8: {error}")]
                ) from None
        return self._keys

    @property
    def labels(self) -> np.ndarray:
        """The labels, int64 [N].

        Raises:
            CacheError: they are missing or damaged.
        """
        return self.rows.labels

    @property
    def rows(self) -> Rows:
        """Keys and labels as stored.

        Raises:
            CacheError: they are missing or damaged.
        """
        if self._rows is None:
            rows, damage = self.examine_rows()
            if rows is None:
                raise self.refusal(damage)
            self._rows = rows
        return self._rows

    def read_plane(self, view: int, names: list[str] | None = None) -> dict[str, np.ndarray]:
        """One view of all samples, checked against the manifest's digests.

        Args:
            view: in [0, V).
            names: which arrays; None: all of them.

        Returns:
            For each name [N, ...], rows in the order of `keys`.

        Raises:
            CacheError: there is no such view or array, or files are missing or damaged; names all of them.
        """
        layout = self.layout
        if not 0 <= view < layout.views:
            fix = f"ask for fewer views, or run `stillroom cache` with views.count above {view}"
            raise CacheError(f"{self.place} has no view {view}", f"it holds views 0-{layout.views - 1}", fix)
        names = list(layout.arrays) if names is None else names
        unknown = [name for name in names if name not in layout.arrays]
        if unknown:
            raise CacheError(
                f"{self.place} has no array {', '.join(unknown)}", f"it holds {', '.join(layout.arrays)}"
            )
        if self.remote:  # all at once: each takes a while
            limits = {
                self.file(together[0], view, part): self._most(together, part)
                for together, part in self.units(names)
            }
            self.remote.fetch(limits)
        # every file is looked at before memory is taken for the first
        damage = [fault for together, part in self.units(names) for fault in self._look(together, view, part)]
        if damage:
            raise self.refusal(damage)
        plane, damage = self.salvage(view, names)
        if damage:
            raise self.refusal(damage)
        return plane

    def salvage(self, view: int, names: list[str]) -> tuple[dict[str, np.ndarray], list[Damage]]:
        """What can be read of one view: each array [N, ...], and zeros in what is listed as damaged."""
        layout = self.layout
        plane = {
            name: np.zeros((layout.samples, *layout.arrays[name].shape), layout.arrays[name].dtype)
            for name in names
        }
        damage = []
        for together, part in self.units(names):
            damage += self._check(together, view, part, plane, 0)
        return plane, damage

    def parameters(self, view: int) -> dict[str, np.ndarray]:
        """The view parameters of one view, by field (`box`, `flip`, ...): [N, ...] each.

        Raises:
            CacheError: as `read_plane`.
        """
        names = [name for name in self.layout.arrays if name.startswith(VIEWS)]
        return {name.removeprefix(VIEWS): values for name, values in self.read_plane(view, names).items()}

    def logits(self, view: int, output: str = "logits") -> np.ndarray:
        """One view of an output, decoded: float32 [N, C] for logits, [N, *shape] in general.

        Raises:
            CacheError: as `read_plane`; or the cache has no such output.
        """
        outputs = self.manifest.identity["outputs"]
        if output not in outputs:
            raise CacheError(
                f"{self.place} has no output {output!r}", f"it holds {', '.join(sorted(outputs))}"
            )
        shape, codec = tuple(outputs[output]["shape"]), encoding_for(outputs[output])
        values = codec.decode(output, shape, self.read_plane(view, list(codec.fields(output, shape))))
        if not np.isfinite(values).all():
            raise CacheError(
                f"view {view} of {output} in {self.place} holds values that are not finite",
                "no such output is ever stored: this store was made by something else",
                f"{fetch_again(self.place)}, or run `stillroom cache --replace`",
            )
        return values

    def examine(self, names: list[str], view: int, part: int) -> tuple[dict[str, np.ndarray], list[Damage]]:
        """Read one part of a plane of some arrays, and say what is wrong with it.

        Args:
            names: arrays whose planes are cut alike, as `units` gives them.

        Returns:
            Their rows, each [stop - start, ...], with zeros in the blocks that are damaged, and none at all
            where the file cannot hold them; and the damage, by block.
        """
        layout = self.layout
        damage = self._look(names, view, part)
        if damage:
            return {}, damage
        start, stop = layout.parts(names[0])[part]
        found = {
            name: np.zeros((stop - start, *layout.arrays[name].shape), layout.arrays[name].dtype)
            for name in names
        }
        return found, self._check(names, view, part, found, start)

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
        damage = self._look(names, view, part)
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

    def _most(self, names: list[str], part: int) -> int:
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
            found = os.stat(f"{self.folder}/{file}")
        except (FileNotFoundError, NotADirectoryError):
            return "is not there"
        except OSError as error:
            return unreadable(error)
        if not stat.S_ISREG(found.st_mode):  # a pipe would have its reader wait for ever
            return "is no file"
        return found.st_size or "is empty"

    def _look(self, names: list[str], view: int, part: int) -> list[Damage]:
        """What a file's size says already, before memory is taken for what it should hold."""
        start, stop = self.layout.parts(names[0])[part]
        file = self.file(names[0], view, part)
        size = self._size(file, self._most(names, part))
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

    def refusal(self, damage: list[Damage]) -> StillroomError:
        """The error that names all of the damage; of files that may not be read, the first alone."""
        lines = list(dict.fromkeys(str(fault) for fault in damage))
        denied = [fault.file for fault in damage if fault.reason == UNALLOWED]
        if denied:
            return AccessError(self.folder / denied[0])
        then = fetch_again(self.place) + ("" if self.remote else ", or run `stillroom store repair`")
        return CacheError(
            f"the cache in {self.place} is damaged:\n{listing(lines)}",
            "these files are not what was written; nothing of them is used",
            f"run `stillroom store verify {self.place}` to see all of it; then {then}",
        )

    def size_on_disk(self) -> tuple[int, int]:
        """Files, and bytes of them, where the cache lies."""
        if self.remote:
            files = [*sorted(self.files()), NAME]
            return len(files), self.remote.size(files)
        sizes = [file.stat().st_size for file in self.folder.rglob("*") if file.is_file()]
        return len(sizes), sum(sizes)

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


UNALLOWED = f"cannot be read: {DENIED}"
UNDECODABLE = "cannot be decoded: its bytes are not what was written"


class UnsoundError(ValueError):
    """A file is not one that a store's writer makes; the text says why, for people."""


def unreadable(error: BaseException) -> str:
    """Why a file cannot be read, for people: no library's own words, but for a short hint."""
    if isinstance(error, UnsoundError):
        return str(error)
    if isinstance(error, PermissionError):
        return UNALLOWED
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {os.strerror(error.errno)}"
    return f"{UNDECODABLE} ({type(error).__name__})"

"""A published cache, read only: keys, labels, view parameters and outputs, all of them checked."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.layout import VIEWS
from stillroom.cache.format.manifest import NAME, Manifest
from stillroom.cache.format.outputs import kind_of
from stillroom.cache.format.rows import Rows, unpack_keys
from stillroom.cache.read.checked_files import CheckedFiles
from stillroom.cache.read.damage import UNALLOWED, Damage
from stillroom.cache.read.planes import Answers, let_go, zeros
from stillroom.cache.read.remote import Remote
from stillroom.errors import AccessError, CacheError, StillroomError, fetch_again, listing
from stillroom.machine import cores


class Store(CheckedFiles):
    """A cache in a folder. It holds no open file, so it survives fork and spawn, and may be pickled.

    Made by `backends.open_store`.

    Attributes:
        folder: where it lies, absolute; of a remote cache, where its fetched files lie.
        manifest: what it says of itself.
        remote: where the files that are not in the folder are fetched from; None for a local cache.
        location: its folder or address, for messages.
    """

    threads = min(4, cores().used)  # that may read at once and gain by it
    TOGETHER: ClassVar[bool] = False  # whether a file holds every array of its blocks
    FILES: ClassVar[str]  # matches the whole relative path of each of its files, of any number of views

    def __init__(self, folder: Path, manifest: Manifest, remote: Remote | None = None) -> None:
        super().__init__(folder, manifest, remote)
        self.location = remote.shown if remote else str(self.folder)
        if remote:
            self.threads = 1  # it keeps what is read at a time, and no more, out of the bound
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
            raise CacheError(
                f"{self.location} has no view {view}", f"it holds views 0-{layout.views - 1}", fix
            )
        names = list(layout.arrays) if names is None else names
        unknown = [name for name in names if name not in layout.arrays]
        if unknown:
            raise CacheError(
                f"{self.location} has no array {', '.join(unknown)}", f"it holds {', '.join(layout.arrays)}"
            )
        if self.remote:  # all at once: each takes a while
            limits = {
                self.file(together[0], view, part): self._size_limit(together, part)
                for together, part in self.units(names)
            }
            self.remote.fetch(limits)
        # every file is looked at before memory is taken for the first
        sizes = [self._check_size(together, view, part) for together, part in self.units(names)]
        damage = [fault for faults in sizes for fault in faults]
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
            name: zeros((layout.samples, *layout.arrays[name].shape), np.dtype(layout.arrays[name].dtype))
            for name in names
        }
        damage = []
        for together, part in self.units(names):
            damage += self._check(together, view, part, plane, 0)
        for array in plane.values():
            let_go(array)
        return plane, damage

    def parameters(self, view: int) -> dict[str, np.ndarray]:
        """The view parameters of one view, by field (`box`, `flip`, ...): [N, ...] each.

        Raises:
            CacheError: as `read_plane`.
        """
        names = [name for name in self.layout.arrays if name.startswith(VIEWS)]
        return {name.removeprefix(VIEWS): values for name, values in self.read_plane(view, names).items()}

    def teachers(self) -> list[str]:
        """The names of the outputs that are logits, each of another teacher; `logits` first.

        Raises:
            CacheError: there is none.
        """
        entries = self.manifest.identity["outputs"]
        names = sorted(name for name, entry in entries.items() if kind_of(entry) == "logits")
        if not names:
            raise CacheError(
                f"{self.location} holds no logits", f"its outputs are {', '.join(sorted(entries))}"
            )
        return sorted(names, key=lambda name: name != "logits")

    def logits(self, view: int, output: str = "logits") -> np.ndarray:
        """One view of an output of any kind, decoded: float32 [N, *shape]; of logits [N, C].

        Raises:
            CacheError: as `read_plane`; or the cache has no such output.
        """
        return self.answers(view, output)[:]

    def answers(self, view: int, output: str = "logits") -> Answers:
        """One view of an output of any kind, whose rows are decoded where they are looked at.

        Raises:
            CacheError: as `read_plane`; or the cache has no such output.
        """
        outputs = self.manifest.identity["outputs"]
        if output not in outputs:
            raise CacheError(
                f"{self.location} has no output {output!r}", f"it holds {', '.join(sorted(outputs))}"
            )
        shape, codec = tuple(outputs[output]["shape"]), encoding_for(outputs[output])
        arrays = self.read_plane(view, list(codec.fields(output, shape)))
        return Answers(output, codec, shape, arrays, self.location, view)

    def refusal(self, damage: list[Damage]) -> StillroomError:
        """The error that names all of the damage; of files that may not be read, the first alone."""
        lines = list(dict.fromkeys(str(fault) for fault in damage))
        denied = [fault.file for fault in damage if fault.reason == UNALLOWED]
        if denied:
            return AccessError(self.folder / denied[0])
        then = fetch_again(self.location) + ("" if self.remote else ", or run `stillroom store repair`")
        return CacheError(
            f"the cache in {self.location} is damaged:\n{listing(lines)}",
            "these files are not what was written; nothing of them is used",
            f"run `stillroom store verify {self.location}` to see all of it; then {then}",
        )

    @abstractmethod
    def most_bytes(self, rows: int) -> int:
        """Bytes of all files but the manifest, at most: what cannot be compressed becomes a little longer.

        Args:
            rows: bytes of keys and labels.
        """

    def size_on_disk(self) -> tuple[int, int]:
        """Files, and bytes of them, where the cache lies."""
        if self.remote:
            files = [*sorted(self.files()), NAME]
            return len(files), self.remote.size(files)
        sizes = [file.stat().st_size for file in self.folder.rglob("*") if file.is_file()]
        return len(sizes), sum(sizes)

"""Where blocks wait until a cache is whole: one file a block, committed by a rename, checked when it is read.

A staging folder is named by the cache id and outlives kills, so that a run goes on with what is missing.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stillroom.cache.format.digests import rows_digest
from stillroom.cache.format.identity import canonical, identity_id, short
from stillroom.cache.format.layout import ArraySpec, Block, blocks, fault_in
from stillroom.cache.format.rows import pack
from stillroom.cache.read.store import Store
from stillroom.cache.write.block_files import FORMAT, BlockFiles
from stillroom.errors import AccessError, CacheError
from stillroom.files import remove_unfinished, whole_file
from stillroom.lock import Lock

_TABLE = "staging.json"


class Staging:
    """The staged blocks of one cache; holds the folder's lock until `close`.

    with Staging(Path("artifacts/.staging"), identity, arrays, keys, labels, 1024) as staging:
        done = staging.committed()
        for block in staging.blocks(views):
            if block not in done:
                staging.commit(block, compute(block))

    Attributes:
        folder: the parent given, then the short id of the cache.
        id: the cache id.
        block_samples: rows of a block. Where the folder has blocks already, their size stands, so that none
            is computed again because a batch or block size was changed.
        dropped: how many damaged blocks were found and removed so far.
    """

    def __init__(
        self,
        parent: Path,
        identity: dict[str, Any],
        arrays: dict[str, ArraySpec],
        keys: Sequence[str] | np.ndarray,
        labels: Sequence[int] | np.ndarray,
        block_samples: int,
        rank: int = 0,
        earlier: Store | None = None,
    ) -> None:
        """Open or make the staging folder of an identity.

        Args:
            parent: the folder of staging folders; no output of DVC, which deletes outputs before it runs a
                stage.
            identity: what the cache is made from.
            arrays: what each array holds a row: those of the outputs' encodings, and `views/...`.
            keys: N sample keys, distinct and ascending; as `format.rows.pack` takes them.
            labels: N class indices.
            block_samples: rows of a block, if the folder is new.
            rank: 0 for the one process that begins; others may join it afterwards, while it writes.
            earlier: a published cache; if it holds the same thing, a new folder takes over its block size, so
                that `adopt` finds its blocks of use.

        Raises:
            CacheError: another process writes this cache, or the folder holds blocks with other arrays or
                rows.
            ValueError: arrays, keys or labels cannot be in a cache.
        """
        fault = fault_in(arrays)
        if fault:
            raise ValueError(fault)
        self.identity = json.loads(canonical(identity))
        self.id = identity_id(identity)
        self.arrays = {
            name: ArraySpec(spec.dtype, tuple(spec.shape)) for name, spec in sorted(arrays.items())
        }
        self.rows = pack(keys, labels)
        self.block_samples = min(block_samples, len(self.rows.labels))
        self._earlier = earlier if earlier is not None and self._holds(earlier) else None
        if self._earlier is not None:
            self.block_samples = self._earlier.layout.block_samples
        self.dropped = 0
        self.folder = Path(os.path.abspath(parent)) / short(self.id)
        self._files = BlockFiles(self.folder, self.id, self.arrays)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            what = f"the cache {short(self.id)} in {self.folder}"
            # Nobody begins while another run lives: not its first process, nor one that has outlived it.
            self._lock = Lock(self.folder / ("lock" if rank == 0 else "joined"), what, shared=rank > 0)
            if rank == 0:
                try:
                    Lock(self.folder / "joined", what).release()
                except BaseException:
                    self._lock.release()
                    raise
        except OSError as error:
            raise self._unwritable("the staging folder", error) from error
        try:
            if rank == 0:
                remove_unfinished(self.folder)
            self._agree()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "Staging":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock; the blocks stay, for the next run."""
        self._lock.release()

    def remove(self) -> None:
        """Delete the folder with its blocks, and let go of the lock."""
        self._own()
        shutil.rmtree(self.folder)
        self._lock.release()

    def blocks(self, views: int) -> list[Block]:
        """The blocks of so many views, by view, then by sample."""
        return list(blocks(views, len(self.rows.labels), self.block_samples))

    def committed(self) -> set[Block]:
        """The blocks that are there and whole: every byte is read. Damaged ones are removed and counted.

        Raises:
            AccessError: this user may not read one that another has written.
        """
        whole = set()
        for block in self._files.present():
            try:
                self._check_range(block)
                self.read(block, list(self.arrays))
                whole.add(block)
            except (CacheError, ValueError):
                self._own()
                self._files.path(block).unlink()
                self.dropped += 1
        return whole

    def adopt(self, views: int, done: set[Block]) -> set[Block]:
        """Commit the whole blocks of the earlier cache that are not `done`, so that none is computed again.

        Damaged blocks of it are left out: each is checked against its manifest's digests.

        Returns:
            the blocks that were adopted.
        """
        store, adopted = self._earlier, set()
        if store is None or store.layout.block_samples != self.block_samples:
            return set()
        for view in range(min(views, store.layout.views)):
            wanted = [block for block in self.blocks(views) if block.view == view and block not in done]
            if not wanted:
                continue
            plane, damage = store.salvage(view, list(self.arrays))
            bad = {fault.block for fault in damage}
            for block in wanted:
                if block not in bad:
                    rows = {name: values[block.start : block.stop] for name, values in plane.items()}
                    self.commit(block, rows, store.manifest.measured.get(block))
                    adopted.add(block)
        return adopted

    def commit(
        self, block: Block, arrays: dict[str, np.ndarray], measured: dict[str, Any] | None = None
    ) -> None:
        """Keep a block for good: once this returns, a kill or a power cut does not lose it.

        Args:
            block: one of `blocks`.
            arrays: every array of the cache, [stop - start, ...], with exactly the dtypes agreed on.
            measured: what was measured of the block's outputs, JSON; it goes to the manifest.

        Raises:
            ValueError: the arrays are not those agreed on, or it is not a block of this cache.
            CacheError: it cannot be written (a full disk); nothing half-written is left.
        """
        self._own()
        self._check_range(block)
        if arrays.keys() != self.arrays.keys():
            raise ValueError(f"{block}: arrays {sorted(arrays)}, expected {sorted(self.arrays)}")
        values = {}
        for name, spec in self.arrays.items():
            shape = (block.stop - block.start, *spec.shape)
            if arrays[name].shape != shape or arrays[name].dtype != np.dtype(spec.dtype):
                actual = f"{arrays[name].dtype.str} {arrays[name].shape}"
                raise ValueError(f"{block}: {name} is {actual}, expected {spec.dtype} {shape}")
            values[name] = np.ascontiguousarray(arrays[name], dtype=spec.dtype)
        try:
            self._files.write(block, values, measured or {})
        except OSError as error:
            raise self._unwritable(str(block), error) from error

    def entry(self, block: Block) -> tuple[dict[str, str], dict[str, Any]]:
        """What a manifest keeps of a committed block: its arrays' digests, and what was measured of it.

        Raises:
            CacheError: the block is not there or damaged.
        """
        return self._files.entry(block)

    def read(self, block: Block, names: list[str]) -> dict[str, np.ndarray]:
        """Some arrays of a committed block, each [stop - start, ...], checked against their digests.

        Raises:
            CacheError: the block is not there or damaged.
        """
        return self._files.read(block, names)

    def _check_range(self, block: Block) -> None:
        samples = len(self.rows.labels)
        start, stop = block.start, min(block.start + self.block_samples, samples)
        if block.view < 0 or not 0 <= start < samples or start % self.block_samples or block.stop != stop:
            raise ValueError(f"{block} is no block of {samples} samples in blocks of {self.block_samples}")

    def _holds(self, store: Store) -> bool:
        """Whether this cache's blocks are in a store, which may hold more outputs than this one."""
        outputs = store.manifest.identity["outputs"]
        shared = {name: outputs[name] for name in self.identity["outputs"] if name in outputs}
        return (
            identity_id({**store.manifest.identity, "outputs": shared}) == self.id
            and store.manifest.rows == rows_digest(self.rows)
            and all(store.layout.arrays.get(name) == spec for name, spec in self.arrays.items())
        )

    def _own(self) -> None:
        if not self._lock.held:
            raise RuntimeError(f"{self.folder} is not open for writing in this process")

    def _agree(self) -> None:
        """Take over the block size of earlier blocks, and refuse to mix other arrays or rows with them."""
        file = self.folder / _TABLE
        table = {
            "format": FORMAT,
            "id": self.id,
            "identity": self.identity,
            "arrays": {name: [spec.dtype, list(spec.shape)] for name, spec in self.arrays.items()},
            "rows": rows_digest(self.rows),
            "block_samples": self.block_samples,
        }
        try:
            earlier = json.loads(file.read_text(encoding="utf-8"))
            size = earlier["block_samples"]
            if type(size) is not int or not 1 <= size <= len(self.rows.labels):
                raise ValueError
        except PermissionError:
            raise AccessError(file) from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            # new, or damaged: the block files know what they are, this table only keeps their size
            earlier = None
        if earlier is None:
            try:
                with whole_file(file) as stream:
                    stream.write(json.dumps(table, indent=1).encode())
            except OSError as error:
                raise self._unwritable(_TABLE, error) from error
            return
        faults = [name for name in ("format", "id", "arrays", "rows") if earlier.get(name) != table[name]]
        if faults:
            lines = [
                f"    {name}: expected {table[name]!r:.200}, found {earlier.get(name)!r:.200}"
                for name in faults
            ]
            raise CacheError(
                f"{self.folder} holds blocks of another kind:\n" + "\n".join(lines),
                "they were computed by another version, or from labels that are no part of the identity",
                f"remove it (rm -r {self.folder}) and run the command again",
            )
        self.block_samples = size

    def _unwritable(self, what: str, error: OSError) -> CacheError:
        return CacheError(
            f"{what} cannot be written in {self.folder}",
            error.strerror or str(error),
            "free space or mend the permissions, then run the command again; committed blocks are kept",
        )

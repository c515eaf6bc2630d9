"""The file of a staged block: a line of JSON that says what it is, then the bytes of its arrays."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stillroom.cache.format.digests import array_digest
from stillroom.cache.format.identity import canonical
from stillroom.cache.format.layout import ArraySpec, Block
from stillroom.errors import AccessError, CacheError
from stillroom.files import whole_file

FORMAT = "stillroom-staging/2"
_LONGEST_HEADER = 2**20
_BLOCK_FILE = re.compile(r"view-(\d+)-samples-(\d+)-(\d+)\.block")


class BlockFiles:
    """The files of one cache's staged blocks, one a block, checked when they are read."""

    def __init__(self, folder: Path, cache_id: str, arrays: dict[str, ArraySpec]) -> None:
        """
        Args:
            folder: where they lie; it must be there before one is written.
            cache_id: of the cache that the blocks belong to.
            arrays: what each array holds a row.
        """
        self.folder = folder
        self.cache_id = cache_id
        self.arrays = arrays

    def path(self, block: Block) -> Path:
        """The file of a block, there or not."""
        return self.folder / f"view-{block.view:05d}-samples-{block.start:010d}-{block.stop:010d}.block"

    def present(self) -> list[Block]:
        """The blocks that have a file, by view, then by sample; the files are not opened."""
        files = sorted(self.folder.iterdir())
        matches = [(file, _BLOCK_FILE.fullmatch(file.name)) for file in files]
        named = [(file, Block(*map(int, match.groups()))) for file, match in matches if match]
        return [block for file, block in named if file == self.path(block)]

    def write(self, block: Block, arrays: dict[str, np.ndarray], measured: dict[str, Any]) -> None:
        """Write a block's file, whole or not at all, and flush it to the disk.

        Args:
            arrays: [stop - start, ...] each, in C order, with exactly the dtypes agreed on.

        Raises:
            OSError: it cannot be written.
        """
        digests = {name: array_digest(values) for name, values in arrays.items()}
        header = self._header(block, digests, measured)
        with whole_file(self.path(block)) as stream:
            stream.write(header)
            for values in arrays.values():
                stream.write(values.reshape(-1).view(np.uint8).data)

    def entry(self, block: Block) -> tuple[dict[str, str], dict[str, Any]]:
        """What a manifest keeps of a committed block: its arrays' digests, and what was measured of it.

        Raises:
            CacheError: the block is not there or damaged.
        """
        with self._open(block) as (_, digests, measured, _):
            return digests, measured

    def read(self, block: Block, names: list[str]) -> dict[str, np.ndarray]:
        """Some arrays of a committed block, each [stop - start, ...], checked against their digests.

        Raises:
            CacheError: the block is not there or damaged.
        """
        with self._open(block) as (stream, digests, _, offsets):
            values = {}
            for name in names:
                spec = self.arrays[name]
                value = np.empty((block.stop - block.start, *spec.shape), spec.dtype)
                stream.seek(offsets[name])
                stream.readinto(value.reshape(-1).view(np.uint8).data)  # type: ignore[attr-defined]
                if array_digest(value) != digests[name]:
                    raise self._damaged(block, f"{name} is not what was committed")
                values[name] = value
            return values

    @contextmanager
    def _open(
        self, block: Block
    ) -> Iterator[tuple[BinaryIO, dict[str, str], dict[str, Any], dict[str, int]]]:
        """A block's open file, each array's digest, what was measured, each array's byte offset.

        All but the arrays' content is checked.
        """
        file = self.path(block)
        try:
            stream = file.open("rb")
        except FileNotFoundError:
            why = "it was never committed, or its file was deleted"
            fix = "run the command again; it computes what is missing"
            raise CacheError(f"the staged block {block} is not there: {file}", why, fix) from None
        except PermissionError:  # not damaged: `committed` must not remove it
            raise AccessError(file) from None
        except OSError as error:
            raise self._damaged(block, error.strerror or str(error)) from error
        with stream:
            try:
                line = stream.readline(_LONGEST_HEADER)
                table = json.loads(line)
                digests = {name: digest for name, _, _, digest in table["arrays"]}
                measured = table["measured"]
                # Writing the header again compares all of it at once: format, id, block, arrays, its seal.
                if digests.keys() != self.arrays.keys() or self._header(block, digests, measured) != line:
                    raise ValueError("it is the file of another block or cache")
                offsets, end = {}, len(line)
                for name, spec in self.arrays.items():
                    offsets[name] = end
                    end += (block.stop - block.start) * spec.row_bytes
                size = os.fstat(stream.fileno()).st_size
                if size != end:
                    raise ValueError(f"it has {size} bytes, expected {end}")
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise self._damaged(block, str(error)) from None
            yield stream, digests, measured, offsets

    def _header(self, block: Block, digests: dict[str, str], measured: dict[str, Any]) -> bytes:
        """One line of JSON. It names cache, block and arrays, so that a file never passes for another one."""
        table: dict[str, Any] = {
            "format": FORMAT,
            "id": self.cache_id,
            "block": list(block),
            "arrays": [
                [name, spec.dtype, list(spec.shape), digests[name]] for name, spec in self.arrays.items()
            ],
            "measured": measured,
        }
        table["seal"] = hashlib.sha256(canonical(table)).hexdigest()
        return json.dumps(table).encode("ascii") + b"\n"

    def _damaged(self, block: Block, why: str) -> CacheError:
        return CacheError(
            f"the staged block {block} is damaged: {self.path(block)}",
            why,
            "run the command again; it computes this block anew",
        )

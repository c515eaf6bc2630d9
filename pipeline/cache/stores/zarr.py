"""A cache as a Zarr v3 group: sharded, so that a plane is a few files of tens of megabytes, not one a sample.

    zarr.open_group(folder)["logits"][view]

A chunk is a block; a shard is a run of the blocks of one plane.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import zstd

from stillroom.cache.format.layout import FILE_BYTES, Layout, runs
from stillroom.cache.format.manifest import FORMAT
from stillroom.cache.format.rows import Rows
from stillroom.cache.read.checked_files import Kept, Loaded, Reader
from stillroom.cache.read.damage import UNDECODABLE, UnsoundError
from stillroom.cache.read.store import Store
from stillroom.progress import Progress

if TYPE_CHECKING:
    import zarr  # it takes a third of a second to load, and only writing and checking metadata need it

_METADATA = "zarr.json"
_LONGEST_METADATA = 2**20
Shape = tuple[int, ...]


class ZarrStore(Store):
    """Reads the store that `write` makes."""

    FILES = r"zarr\.json|(views/)?\w+/(zarr\.json|c(/\d+)+)"

    def file(self, name: str, view: int, part: int) -> str:
        return _file(self.layout, name, view, part)

    def rows_files(self) -> list[str]:
        keys, labels = (
            len(runs(0, self.layout.samples, length))
            for length in _row_chunks(self.layout, self.manifest.key_bytes)
        )
        return [f"keys/c/{index}/0" for index in range(keys)] + [
            f"labels/c/{index}" for index in range(labels)
        ]

    def files(self) -> set[str]:
        layout = self.layout
        parts = {
            self.file(name, view, part)
            for name in layout.arrays
            for view in range(layout.views)
            for part in range(len(layout.parts(name)))
        }
        return set(self.metadata_files()) | parts | set(self.rows_files())

    def metadata_files(self) -> list[str]:
        return sorted({f"{node}/{_METADATA}" for node in self._nodes()} | {_METADATA})

    def metadata_limit(self) -> int:
        return _LONGEST_METADATA

    def _foreign(self, file: str) -> str:
        node = file.removesuffix(_METADATA).rstrip("/")
        metadata = json.loads((self.folder / file).read_bytes())
        if self._nodes().get(node) != "array":
            sound = (metadata["node_type"], metadata["zarr_format"]) == ("group", 3)
            return "" if sound else "is not the metadata of a Zarr v3 group"
        shape, dtype, chunks, shards = _shape(self.layout, self.manifest.key_bytes, node)
        codecs = metadata["codecs"]
        inner = codecs[0]["configuration"] if shards else metadata["chunk_grid"]["configuration"]
        seen = {
            "shape": metadata["shape"],
            "data_type": metadata["data_type"],
            "files": metadata["chunk_grid"]["configuration"]["chunk_shape"],
            "chunks": inner["chunk_shape"],
            "codecs": [codec["name"] for codec in (*codecs, *(inner["codecs"] if shards else ()))],
        }
        wanted = {
            "shape": list(shape),
            "data_type": dtype.name,
            "files": list(shards or chunks),
            "chunks": list(chunks),
            "codecs": [*(["sharding_indexed"] if shards else []), "bytes", "zstd"],
        }
        return "" if seen == wanted else f"describes {seen}, expected {wanted}"[:400]

    def _nodes(self) -> dict[str, str]:
        nodes = dict.fromkeys([*self.layout.arrays, "keys", "labels"], "array")
        return nodes | {name.split("/")[0]: "group" for name in self.layout.arrays if "/" in name}

    def _load(self, names: list[str], view: int, part: int) -> Iterator[Loaded]:
        layout = self.layout
        for name in names:
            start, stop = layout.parts(name)[part]
            spec = layout.arrays[name]
            blocks = runs(start, stop, layout.block_samples)
            size = layout.block_samples * spec.row_bytes
            try:
                file = f"{self.folder}/{self.file(name, view, part)}"
                chunks = _chunks(file, size, layout.file_blocks[name], len(blocks))
            except Exception as error:  # what comes of damaged bytes is anybody's guess
                yield name, start, stop, error
                continue
            buffer = np.empty(size, np.uint8)
            rows = buffer.view(spec.dtype).reshape(layout.block_samples, *spec.shape)
            for (first, last), chunk in zip(blocks, chunks, strict=True):
                try:
                    _unpack(chunk, buffer)
                except Exception as error:  # as above
                    yield name, first, last, error
                    continue
                yield name, first, last, rows[: last - first]

    def _load_rows(self) -> Rows | dict[str, Exception]:
        layout, width = self.layout, self.manifest.key_bytes
        rows = Rows(np.empty((layout.samples, width), "|u1"), np.empty(layout.samples, "<i8"))
        faults: dict[str, Exception] = {}
        files = iter(self.rows_files())
        for array, length in zip(rows, _row_chunks(layout, width), strict=True):
            chunk = np.empty((length, *array.shape[1:]), array.dtype)
            for start, stop in runs(0, layout.samples, length):
                file = next(files)
                try:
                    _unpack(_content(f"{self.folder}/{file}", _size_limit(chunk.nbytes)), chunk)
                    array[start:stop] = chunk[: stop - start]
                except Exception as error:  # as above
                    faults[file] = error
        return faults or rows

    def most_bytes(self, rows: int) -> int:
        layout = self.layout
        plane = 0
        for name, spec in layout.arrays.items():
            chunk = layout.block_samples * spec.row_bytes
            for start, stop in layout.parts(name):
                size = (stop - start) * spec.row_bytes
                blocks = len(runs(start, stop, layout.block_samples))
                # The last chunk is filled up with one value. Zstandard leaves 128 KiB as they are unless it
                # can save a 64th of them.
                filled = min(blocks * chunk - size, chunk // 64 + 64)
                frames = 18 * blocks + size // 2**15  # headers of frames, and of their blocks
                index = 16 * layout.file_blocks[name] + 4
                plane += size + filled + frames + index
        metadata = sum(
            1600 + 24 * len(layout.arrays.get(name, ("", ()))[1]) for name in self.metadata_files()
        )
        return layout.views * plane + metadata + rows + rows // 2**10 + 1024

    @staticmethod
    def write(folder: Path, layout: Layout, rows: Rows, read: Reader, kept: Kept, progress: Progress) -> None:
        import zarr
        from zarr.storage import LocalStore

        root = zarr.create_group(LocalStore(folder), zarr_format=3, attributes={"format": FORMAT})
        key_bytes = rows.keys.shape[1]
        _create(root, layout, key_bytes, "keys")[:] = rows.keys
        _create(root, layout, key_bytes, "labels")[:] = rows.labels
        for name in sorted(layout.arrays):
            array = _create(root, layout, key_bytes, name)
            for view in range(layout.views):
                for part, (start, stop) in enumerate(layout.parts(name)):  # a shard at a time, written once
                    source = kept(name, view, part)
                    if source is None:
                        array[view, start:stop] = read(name, view, start, stop)
                    else:
                        target = folder / _file(layout, name, view, part)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copyfile(source, target)
                    progress.advance()


def _file(layout: Layout, name: str, view: int, part: int) -> str:
    return "/".join([name, "c", str(view), str(part), *["0"] * len(layout.arrays[name].shape)])


# The reader. Zarr's own takes milliseconds a shard and trusts what a file says of its size; this one knows
# what the writer writes: chunks one after the other, each a Zstandard frame, then their offsets and a
# checksum of those.

_INDEX = np.dtype([("offset", "<u8"), ("size", "<u8")])
_NOWHERE = (2**64 - 1, 2**64 - 1)  # offset and size of a chunk that lies beyond the end of the array


def _size_limit(size: int) -> int:
    """Bytes that `size` bytes may take at most when compressed (ZSTD_compressBound, and some more)."""
    return size + size // 128 + 1024


def _content(file: str, limit: int) -> bytes:
    with open(file, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise UnsoundError(f"is too long: {size} bytes, expected at most {limit}")
        return stream.readall()


def _chunks(file: str, size: int, blocks: int, used: int) -> list[memoryview]:
    """The compressed chunks of a shard, of `size` bytes each when decompressed; the first `used` of `blocks`.

    Raises:
        UnsoundError: a byte of the file is not where the writer puts it.
    """
    tail = blocks * _INDEX.itemsize + 4
    content = memoryview(_content(file, blocks * _size_limit(size) + tail))
    end = len(content) - tail
    if end < used:
        raise UnsoundError(f"is cut short: {len(content)} bytes, expected at least {tail + used}")
    if google_crc32c.value(bytes(content[end:-4])) != int.from_bytes(content[-4:], "little"):
        raise UnsoundError(f"{UNDECODABLE} (checksum of its index)")
    chunks, at = [], 0
    for number, entry in enumerate(np.frombuffer(content[end:-4], _INDEX).tolist()):
        if number < used and entry == _NOWHERE:
            raise UnsoundError(f"{UNDECODABLE} (chunk {number} is not there)")
        if number >= used and entry == _NOWHERE:
            continue
        offset, length = entry
        if number >= used or offset != at or length > end - at:
            raise UnsoundError(f"{UNDECODABLE} (place of chunk {number})")
        at += length
        chunks.append(content[offset:at])
    if at != end:
        raise UnsoundError(f"{UNDECODABLE} (bytes that belong to no chunk)")
    return chunks


def _unpack(frame: bytes | memoryview, into: np.ndarray) -> None:
    """Decompress one Zstandard frame, which must hold as many bytes as this array has.

    A frame that claims another size is refused before it is decompressed (RFC 8878, section 3.1.1.1).
    """
    head = bytes(frame[:14])
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        raise UnsoundError(f"{UNDECODABLE} (no Zstandard frame)")
    single = head[4] >> 5 & 1
    width = (single, 2, 4, 8)[head[4] >> 6]
    start = 5 + (1 - single) + (0, 1, 2, 4)[head[4] & 3]
    claimed = int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)
    if not width or claimed != into.nbytes:
        raise UnsoundError(
            f"{UNDECODABLE} (chunk of {claimed if width else 'unknown'} bytes, expected {into.nbytes})"
        )
    zstd.decompress(frame, into)


def _row_chunks(layout: Layout, key_bytes: int) -> tuple[int, int]:
    """Rows of a chunk of `keys` and of `labels`."""
    return min(layout.samples, max(1, FILE_BYTES // key_bytes)), min(layout.samples, FILE_BYTES // 8)


def _shape(layout: Layout, key_bytes: int, name: str) -> tuple[Shape, np.dtype, Shape, Shape | None]:
    """(shape, dtype, chunks, shards) of an array of a store."""
    keys, labels = _row_chunks(layout, key_bytes)
    if name == "keys":
        return (layout.samples, key_bytes), np.dtype("|u1"), (keys, key_bytes), None
    if name == "labels":
        return (layout.samples,), np.dtype("<i8"), (labels,), None
    spec = layout.arrays[name]
    shape = (layout.views, layout.samples, *spec.shape)
    shard = layout.block_samples * layout.file_blocks[name]
    return shape, np.dtype(spec.dtype), (1, layout.block_samples, *spec.shape), (1, shard, *spec.shape)


def _create(root: "zarr.Group", layout: Layout, key_bytes: int, name: str) -> "zarr.Array[Any]":
    from zarr.codecs import ZstdCodec

    shape, dtype, chunks, shards = _shape(layout, key_bytes, name)
    return root.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        # Level 1 takes 8% off float16 logits (the exponents) and half off crop boxes; level 3 hardly more.
        compressors=ZstdCodec(level=1),
        fill_value=_fill(dtype),
        # A chunk that holds nothing but the fill value is written like any other: absent means lost.
        config={"write_empty_chunks": True},
    )


def _fill(dtype: np.dtype) -> Any:
    """What another program sees where a chunk is lost: never zeros, which look like data."""
    if dtype.kind == "f":
        return np.nan
    return True if dtype.kind == "b" else np.iinfo(dtype).max

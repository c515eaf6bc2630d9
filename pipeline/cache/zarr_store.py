"""A cache as a Zarr v3 group: sharded, so that a plane is a few files of tens of megabytes, not one a sample.

    zarr.open_group(folder)["logits"][view]

A chunk is a block; a shard is a run of the blocks of one plane.
"""

import json
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs import zstd

from pipeline.cache.layout import FILE_BYTES, Layout, runs
from pipeline.cache.manifest import FORMAT
from pipeline.cache.rows import Rows
from pipeline.cache.store import Kept, Reader, Store, UnsoundError, unreadable
from pipeline.progress import Progress

if TYPE_CHECKING:
    import zarr  # it takes a third of a second to load, and only writing and checking metadata need it

_METADATA = "zarr.json"
_LONGEST_METADATA = 2**20


class ZarrStore(Store):
    """Reads the store that `write` makes."""

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
        try:
            found = json.loads((self.folder / file).read_bytes())
            if self._nodes().get(node) != "array":
                sound = (found["node_type"], found["zarr_format"]) == ("group", 3)
                return "" if sound else "is not the metadata of a Zarr v3 group"
            shape, dtype, chunks, shards = _shape(self.layout, self.manifest.key_bytes, node)
            codecs = found["codecs"]
            inner = codecs[0]["configuration"] if shards else found["chunk_grid"]["configuration"]
            seen = {
                "shape": found["shape"],
                "data_type": found["data_type"],
                "files": found["chunk_grid"]["configuration"]["chunk_shape"],
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
        except (KeyError, TypeError, IndexError, ValueError, RecursionError) as error:
            return unreadable(error)
        return "" if seen == wanted else f"describes {seen}, expected {wanted}"[:400]

    def _nodes(self) -> dict[str, str]:
        nodes = dict.fromkeys([*self.layout.arrays, "keys", "labels"], "array")
        return nodes | {name.split("/")[0]: "group" for name in self.layout.arrays if "/" in name}

    def _load(self, names: list[str], view: int, part: int) -> dict[str, np.ndarray | Exception]:
        found: dict[str, np.ndarray | Exception] = {}
        for name in names:
            start, stop = self.layout.parts(name)[part]
            spec = self.layout.arrays[name]
            try:
                found[name] = _read_shard(
                    f"{self.folder}/{self.file(name, view, part)}",
                    stop - start,
                    spec.shape,
                    np.dtype(spec.dtype),
                    self.layout.block_samples,
                    self.layout.file_blocks[name],
                )
            except Exception as error:  # what a decoder raises on damaged bytes is anybody's guess
                found[name] = error
        return found

    def _load_rows(self) -> Rows:
        layout, width = self.layout, self.manifest.key_bytes
        lengths = _row_chunks(layout, width)
        keys = np.empty((layout.samples, width), "|u1")
        labels = np.empty(layout.samples, "<i8")
        for name, array, length in zip(("keys", "labels"), (keys, labels), lengths, strict=True):
            for index, (start, stop) in enumerate(runs(0, layout.samples, length)):
                file = f"{self.folder}/" + (f"keys/c/{index}/0" if name == "keys" else f"labels/c/{index}")
                size = length * array.dtype.itemsize * (width if name == "keys" else 1)
                chunk = _unpack(_content(file, most(size)), size).view(array.dtype)
                array[start:stop] = chunk.reshape(length, *array.shape[1:])[: stop - start]
        return Rows(keys, labels)

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
# what the writer writes: chunks one after the other, each a Zstandard frame, then their places and a
# checksum of those.

_PLACES = np.dtype([("offset", "<u8"), ("size", "<u8")])
_NOWHERE = 2**64 - 1  # place and size of a chunk that lies beyond the end of the array


def most(size: int) -> int:
    """Bytes that `size` bytes may take at most when compressed (ZSTD_compressBound, and some more)."""
    return size + size // 128 + 1024


def _content(file: str, limit: int) -> bytes:
    with open(file, "rb", buffering=0) as stream:
        if os.fstat(stream.fileno()).st_size > limit:
            raise UnsoundError(f"is longer than the {limit} bytes that it can have")
        return stream.read(limit + 1)


def _read_shard(
    file: str, rows: int, shape: tuple[int, ...], dtype: np.dtype, block_samples: int, blocks: int
) -> np.ndarray:
    """The rows of one shard, [rows, *shape]; every byte of the file must be where the writer puts it."""
    size = block_samples * dtype.itemsize * math.prod(shape)
    tail = blocks * _PLACES.itemsize + 4
    content = _content(file, blocks * most(size) + tail)
    used = -(-rows // block_samples)
    if len(content) < tail:
        raise UnsoundError(f"is cut short: {len(content)} bytes")
    index = content[-tail:-4]
    if google_crc32c.value(index) != int.from_bytes(content[-4:], "little"):
        raise UnsoundError("is cut short or damaged: the checksum of its index is wrong")
    places = np.frombuffer(index, _PLACES)
    values = np.empty((rows, *shape), dtype)
    at = 0
    for number, place in enumerate(places.tolist()):
        offset, length = place
        if number >= used:
            if place != (_NOWHERE, _NOWHERE):
                raise UnsoundError("holds a chunk beyond the end of the array")
            continue
        if place == (_NOWHERE, _NOWHERE):
            raise UnsoundError(f"lacks chunk {number}")
        if offset != at or offset + length > len(content) - tail:
            raise UnsoundError(f"has chunk {number} in the wrong place")
        at += length
        chunk = _unpack(memoryview(content)[offset:at], size).view(dtype).reshape(block_samples, *shape)
        start = number * block_samples
        stop = min(start + block_samples, rows)
        values[start:stop] = chunk[: stop - start]
    if at != len(content) - tail:
        raise UnsoundError("holds bytes that belong to no chunk")
    return values


def _unpack(frame: bytes | memoryview, size: int) -> np.ndarray:
    """One Zstandard frame that holds `size` bytes, decompressed: uint8 [size].

    A frame that claims another size is refused before it is decompressed (RFC 8878, section 3.1.1.1).
    """
    head = bytes(frame[:14])
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        raise UnsoundError("cannot be decoded: its bytes are not what was written")
    single = head[4] >> 5 & 1
    width = (single, 2, 4, 8)[head[4] >> 6]
    start = 5 + (1 - single) + (0, 1, 2, 4)[head[4] & 3]
    claimed = int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)
    if not width or claimed != size:
        raise UnsoundError(f"holds a chunk of {claimed if width else 'unknown'} bytes, expected {size}")
    values = np.empty(size, np.uint8)
    zstd.decompress(frame, values)
    return values


def _row_chunks(layout: Layout, key_bytes: int) -> tuple[int, int]:
    """Rows of a chunk of `keys` and of `labels`."""
    return min(layout.samples, max(1, FILE_BYTES // key_bytes)), min(layout.samples, FILE_BYTES // 8)


def _shape(layout: Layout, key_bytes: int, name: str) -> tuple[tuple, np.dtype, tuple, tuple | None]:
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


def _create(root: "zarr.Group", layout: Layout, key_bytes: int, name: str) -> "zarr.Array":
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

"""A cache as a Zarr v3 group: sharded, so that a plane is a few files of tens of megabytes, not one a sample.

    zarr.open_group(folder)["logits"][view]

A chunk is a block; a shard is a run of the blocks of one plane.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from pipeline.cache.layout import FILE_BYTES, Layout, runs
from pipeline.cache.manifest import FORMAT, Manifest
from pipeline.cache.rows import Rows
from pipeline.cache.store import Damage, Kept, Reader, Store, explain
from pipeline.progress import Progress

_METADATA = "zarr.json"
_LONGEST_METADATA = 2**20


class ZarrStore(Store):
    """Reads the store that `write` makes."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self._arrays: dict[str, zarr.Array] = {}
        self._pid = os.getpid()

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

    def structure(self) -> list[Damage]:
        damage = []
        for node, kind in {"": "group", **self._nodes()}.items():
            file = f"{node}/{_METADATA}" if node else _METADATA
            try:
                if kind == "array":
                    self._array(node)
                else:
                    found = _metadata(self.folder / file)
                    if (found.get("node_type"), found.get("zarr_format")) != ("group", 3):
                        raise ValueError("it is not the metadata of a Zarr v3 group")
            except Exception as error:  # what a parser raises on damaged bytes is anybody's guess
                damage.append(Damage(None, file, f"cannot be read: {explain(error)}"))
        return damage

    def _nodes(self) -> dict[str, str]:
        nodes = dict.fromkeys([*self.layout.arrays, "keys", "labels"], "array")
        return nodes | {name.split("/")[0]: "group" for name in self.layout.arrays if "/" in name}

    def _load(self, name: str, view: int, part: int) -> np.ndarray:
        start, stop = self.layout.parts(name)[part]
        return np.asarray(self._array(name)[view, start:stop])

    def _load_rows(self) -> Rows:
        return Rows(np.asarray(self._array("keys")[:]), np.asarray(self._array("labels")[:]))

    def _array(self, name: str) -> zarr.Array:
        """An array, opened once a process; its metadata must be the manifest's before a value is read."""
        if self._pid != os.getpid():
            self._arrays, self._pid = {}, os.getpid()
        if name not in self._arrays:
            _metadata(self.folder / name / _METADATA)
            array = zarr.open_array(
                LocalStore(self.folder, read_only=True), path=name, mode="r", zarr_format=3
            )
            found = (array.shape, array.dtype, array.chunks, array.shards)
            wanted = _shape(self.layout, self.manifest.key_bytes, name)
            if found != wanted:
                raise ValueError(f"{name} is {found} (shape, dtype, chunks, shards), expected {wanted}")
            self._arrays[name] = array
        return self._arrays[name]

    @staticmethod
    def write(folder: Path, layout: Layout, rows: Rows, read: Reader, kept: Kept, progress: Progress) -> None:
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


def _metadata(file: Path) -> dict[str, Any]:
    """A `zarr.json`, if it is a table of a sane size."""
    with file.open("rb") as stream:
        text = stream.read(_LONGEST_METADATA + 1)
    if len(text) > _LONGEST_METADATA:
        raise ValueError(f"it is larger than {_LONGEST_METADATA} bytes")
    tree = json.loads(text)
    if not isinstance(tree, dict):
        raise ValueError("it is no JSON table")
    return tree


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


def _create(root: zarr.Group, layout: Layout, key_bytes: int, name: str) -> zarr.Array:
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

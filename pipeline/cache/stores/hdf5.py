"""A cache as HDF5 files: the blocks of a plane in a file, and a master file that shows them as whole arrays.

    h5py.File(folder / "store.h5")["logits"][view]

The master file names the others relative to itself, so the folder may be moved.
"""

import math
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stillroom.cache.format.layout import VIEWS, Layout, runs
from stillroom.cache.format.rows import Rows
from stillroom.cache.read.checked_files import Kept, Loaded, Reader
from stillroom.cache.read.damage import UNDECODABLE, UnsoundError
from stillroom.cache.read.store import Store
from stillroom.progress import Progress

MASTER = "store.h5"
# The oldest file format whose metadata carries checksums, read by every HDF5 since 1.10 (2016).
_VERSION = ("v110", "v110")
_FILTERS = [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAD = 36  # bytes of a superblock of this version, up to the end of the file's length


class Hdf5Store(Store):
    """Reads the store that `write` makes."""

    TOGETHER = True
    FILES = r"store\.h5|blocks/plane-\d+-\d+\.h5"

    def file(self, name: str, view: int, part: int) -> str:
        return _file(view, part)

    def rows_files(self) -> list[str]:
        return [MASTER]

    def files(self) -> set[str]:
        layout = self.layout
        return {MASTER} | {
            _file(view, part) for view in range(layout.views) for part in range(len(_parts(layout)))
        }

    def metadata_files(self) -> list[str]:
        return [MASTER]

    def metadata_limit(self) -> int:
        layout = self.layout  # keys and labels, compressed or not, and an entry for each file and array
        entries = (layout.views * len(_parts(layout)) + 64) * (len(layout.arrays) + 2)
        return 2**20 + layout.samples * (self.manifest.key_bytes + 8) + 512 * entries

    def _foreign(self, file: str) -> str:
        layout = self.layout
        with _open(f"{self.folder}/{file}") as (master, _):
            for name, spec in layout.arrays.items():
                data = _dataset(master, name)
                how = data.get_create_plist()
                # Its sources come first: some kinds of them would be opened to learn the shape of the whole.
                if how.get_layout() != h5py.h5d.VIRTUAL or _sources(how) != _wanted(layout, name):
                    return f"{name} does not show the files of this store"
                shape = (layout.views, layout.samples, *spec.shape)
                if data.shape != shape or data.dtype != np.dtype(spec.dtype):
                    return f"{name} is {data.dtype} {data.shape}, expected {spec.dtype} {shape}"
        return ""

    def units(self, names: list[str]) -> list[tuple[list[str], int]]:
        return [(names, part) for part in range(len(_parts(self.layout))) if names]

    def _load(self, names: list[str], view: int, part: int) -> Iterator[Loaded]:
        layout, left, size = self.layout, list(names), self.layout.block_samples
        start, stop = _parts(layout)[part]
        try:
            with _open(f"{self.folder}/{_file(view, part)}") as (file, stream):
                while left:
                    spec = layout.arrays[left[0]]
                    shape, dtype = (stop - start, *spec.shape), np.dtype(spec.dtype)
                    try:
                        data = _dataset(file, left[0])
                        for first, last, rows in _read(data, stream, left[0], shape, dtype, size):
                            yield left[0], start + first, start + last, rows
                    except Exception as error:  # what the library raises on damaged bytes is anybody's guess
                        yield left[0], start, stop, error
                    left.pop(0)
        except Exception as error:  # as above
            for name in left:
                yield name, start, stop, error

    def _load_rows(self) -> Rows | dict[str, Exception]:
        layout, width = self.layout, self.manifest.key_bytes
        rows = Rows(np.empty((layout.samples, width), "|u1"), np.empty(layout.samples, "<i8"))
        try:
            with _open(f"{self.folder}/{MASTER}") as (file, stream):
                for name, array in zip(("keys", "labels"), rows, strict=True):
                    data = _dataset(file, name)
                    blocks = _read(data, stream, name, array.shape, array.dtype, layout.block_samples)
                    for start, stop, values in blocks:
                        if isinstance(values, Exception):
                            raise values
                        array[start:stop] = values
        except Exception as error:  # as above
            return {MASTER: error}
        return rows

    def most_bytes(self, rows: int) -> int:
        # what is deflated is so in chunks of a block, with an entry each in an index
        layout = self.layout
        parts = layout.parts(next(iter(layout.arrays)))
        plane = 0
        for start, stop in parts:
            blocks = len(runs(start, stop, layout.block_samples))
            size = (stop - start) * sum(spec.row_bytes for spec in layout.arrays.values())
            filled = sum(
                (blocks * layout.block_samples - (stop - start)) * spec.row_bytes
                for spec in layout.arrays.values()
            )
            chunks = len(layout.arrays) * blocks
            plane += size + size // 2**11 + min(filled, filled // 64 + 64 * len(layout.arrays)) + 48 * chunks
            plane += 1024 + 640 * len(layout.arrays)  # headers and groups
        sources = sum((160 + 2 * len(name)) * layout.views * len(parts) for name in layout.arrays)
        blocks = len(runs(0, layout.samples, layout.block_samples))
        master = rows + rows // 2**10 + 2 * 64 * blocks + sources + 8192 + 2048 * len(layout.arrays)
        return layout.views * plane + master

    @staticmethod
    def write(folder: Path, layout: Layout, rows: Rows, read: Reader, kept: Kept, progress: Progress) -> None:
        (folder / "blocks").mkdir()
        for view in range(layout.views):
            for part, (start, stop) in enumerate(_parts(layout)):
                sources = {kept(name, view, part) for name in layout.arrays}
                source = sources.pop()
                if source is not None and not sources:  # every array of the file is as it was
                    shutil.copyfile(source, folder / _file(view, part))
                    progress.advance(len(layout.arrays))
                    continue
                with _create(folder / _file(view, part)) as file:
                    for name in sorted(layout.arrays):
                        _write(file, name, read(name, view, start, stop), layout.block_samples)
                        progress.advance()
        with _create(folder / MASTER) as file:
            for name, spec in sorted(layout.arrays.items()):
                dtype = np.dtype(spec.dtype)
                whole = h5py.VirtualLayout((layout.views, layout.samples, *spec.shape), dtype)
                whole.dcpl.set_obj_track_times(False)  # the same content shall give the same bytes
                for view in range(layout.views):
                    for part, (start, stop) in enumerate(_parts(layout)):
                        shape = (stop - start, *spec.shape)
                        whole[view, start:stop] = h5py.VirtualSource(_file(view, part), name, shape, dtype)
                file.create_virtual_dataset(name, whole, fillvalue=_fill(dtype))
            _write(file, "keys", rows.keys, layout.block_samples)
            _write(file, "labels", rows.labels, layout.block_samples)


def _parts(layout: Layout) -> list[tuple[int, int]]:
    """The sample ranges of the files of a plane; a file holds every array of its blocks."""
    return layout.parts(next(iter(layout.arrays)))


def _file(view: int, part: int) -> str:
    return f"blocks/plane-{view:05d}-{part:03d}.h5"


@contextmanager
def _open(path: str) -> Iterator[tuple[h5py.h5f.FileID, FileIO]]:
    """A file of a store, to the library and to us.

    By h5py's low-level interface: a plane is small, and the other takes longer than to read it.

    Raises:
        UnsoundError: it is no HDF5 file, or not as long as its header gives.
    """
    with open(path, "rb", buffering=0) as stream:
        head, size = stream.read(_HEAD), os.fstat(stream.fileno()).st_size
        if len(head) < _HEAD or head[:8] != _SIGNATURE:
            raise UnsoundError(f"{UNDECODABLE} (no HDF5 file)")
        end = int.from_bytes(head[-8:], "little")
        if size != end:
            raise UnsoundError(
                f"is {'too long' if size > end else 'cut short'}: {size} bytes, expected {end}"
            )
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
        # Nothing writes to a published store, and some network file systems have no locks.
        access.set_file_locking(False, True)
        file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, access)
        try:
            yield file, stream
        finally:
            file.close()


def _create(file: Path) -> h5py.File:
    # locking: the file is nobody else's, and some network file systems have no locks
    return h5py.File(file, "w", libver=_VERSION, locking=False)


def _packed(name: str, dtype: np.dtype) -> bool:
    return name in ("keys", "labels") or (name.startswith(VIEWS) and dtype.itemsize > 1)


def _write(file: h5py.File, name: str, values: np.ndarray, block_samples: int) -> None:
    """Outputs as they are, since logits hardly shrink; keys, labels, parameters of several bytes packed."""
    options: dict[str, Any] = {}
    if _packed(name, values.dtype):
        options |= {"chunks": (min(block_samples, len(values)), *values.shape[1:])}
        options |= {"shuffle": True, "compression": "gzip", "compression_opts": 4}
    file.create_dataset(name, data=values, track_times=False, **options)


# Rows start..stop-1 of a dataset, or why there are none.
_Rows = tuple[int, int, np.ndarray | Exception]


def _dataset(file: h5py.h5f.FileID, name: str) -> h5py.h5d.DatasetID:
    """A dataset that no link leads out of the file to."""
    path = b""
    for part in name.encode("ascii").split(b"/"):
        path = path + b"/" + part if path else part
        if not file.links.exists(path):
            raise UnsoundError(f"{UNDECODABLE} ({path.decode('ascii')} is not there)")
        if file.links.get_info(path).type != h5py.h5l.TYPE_HARD:
            raise UnsoundError(f"{path.decode('ascii')} is a link to somewhere else")
    return h5py.h5d.open(file, path)


def _read(
    data: h5py.h5d.DatasetID,
    stream: FileIO,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    block_samples: int,
) -> Iterator[_Rows]:
    """A dataset's blocks, if it is what `_write` writes, in this very file; each is good until the next.

    Only offsets and sizes are taken from the library. It would inflate a chunk to whatever that holds.
    """
    how = data.get_create_plist()
    kind = how.get_layout()
    if kind == h5py.h5d.VIRTUAL or how.get_external_count():
        raise UnsoundError(f"{name} is not stored in this file")
    if data.shape != shape or data.dtype != dtype:
        raise UnsoundError(f"{name} is {data.dtype} {data.shape}, expected {dtype} {shape}")
    filters = [how.get_filter(number)[0] for number in range(how.get_nfilters())]
    blocks = runs(0, shape[0], block_samples)
    length = blocks[0][1]
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    packed = _packed(name, dtype)
    if packed:
        sound = kind == h5py.h5d.CHUNKED and how.get_chunk() == (length, *shape[1:]) and filters == _FILTERS
    else:
        sound = kind == h5py.h5d.CONTIGUOUS and not filters and data.get_offset() is not None
    if not sound:
        as_written = f"in chunks of {length} rows, shuffled and deflated" if packed else "in one piece"
        raise UnsoundError(f"{name} is not stored {as_written}")
    values = np.empty((length, *shape[1:]), dtype)
    for first, last in blocks:
        rows = values[: last - first]
        try:
            if packed:
                _unpack(stream, data.get_chunk_info_by_coord((first, *[0] * (len(shape) - 1))), values)
            else:
                _fetch(stream, data.get_offset() + first * row_bytes, rows)
        except Exception as error:  # as above
            yield first, last, error
            continue
        yield first, last, rows


def _fetch(stream: FileIO, offset: int, into: np.ndarray) -> None:
    stream.seek(offset)
    if stream.readinto(into.reshape(-1).view(np.uint8).data) != into.nbytes:
        raise UnsoundError(f"{UNDECODABLE} (it ends too early)")


def _unpack(stream: FileIO, info: h5py.h5d.StoreInfo, into: np.ndarray) -> None:
    """Inflate one chunk, to as many bytes as this array has and not one further."""
    size = into.nbytes
    if info.byte_offset is None:
        raise UnsoundError(f"{UNDECODABLE} (a chunk is not there)")
    if info.filter_mask or info.size > size + size // 1000 + 64:
        raise UnsoundError(f"{UNDECODABLE} (chunk of {info.size} bytes for {size})")
    packed = np.empty(info.size, np.uint8)
    _fetch(stream, info.byte_offset, packed)
    inflate = zlib.decompressobj()
    content = inflate.decompress(packed.data, size)
    more = inflate.decompress(inflate.unconsumed_tail, 1) if len(content) == size else b""
    if len(content) != size or more or not inflate.eof or inflate.unused_data:
        raise UnsoundError(f"{UNDECODABLE} (chunk of another size than {size} bytes)")
    # shuffled: first all first bytes of the values, then all second ones
    shuffled = np.frombuffer(content, np.uint8).reshape(into.itemsize, -1)
    into.reshape(-1).view(np.uint8).reshape(-1, into.itemsize)[:] = shuffled.T


def _fill(dtype: np.dtype) -> float | int | bool:
    """What another program sees where a file is lost: never zeros, which look like data."""
    if dtype.kind == "f":
        return float("nan")
    return True if dtype.kind == "b" else int(np.iinfo(dtype).max)


# One source of a virtual dataset: file, dataset, whether all of it is shown, first and last index it fills.
_Source = tuple[str, str, bool, tuple[int, ...], tuple[int, ...]]


def _sources(how: h5py.h5p.PropDCID) -> set[_Source]:
    """What a virtual dataset shows, by the property list it was created with."""
    sources = set()
    for number in range(how.get_virtual_count()):
        first, last = how.get_virtual_vspace(number).get_select_bounds()
        whole = how.get_virtual_srcspace(number).get_select_type() == h5py.h5s.SEL_ALL
        file, data = how.get_virtual_filename(number), how.get_virtual_dsetname(number)
        sources.add((file, data, whole, tuple(first), tuple(last)))
    return sources


def _wanted(layout: Layout, name: str) -> set[_Source]:
    ends = tuple(length - 1 for length in layout.arrays[name].shape)
    zeros = (0,) * len(ends)
    return {
        (_file(view, part), name, True, (view, start, *zeros), (view, stop - 1, *ends))
        for view in range(layout.views)
        for part, (start, stop) in enumerate(layout.parts(name))
    }

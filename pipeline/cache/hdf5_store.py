"""A cache as HDF5 files: the blocks of a plane in a file, and a master file that shows them as whole arrays.

    h5py.File(folder / "store.h5")["logits"][view]

The master file names the others relative to itself, so the folder may be moved.
"""

import math
import shutil
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.cache.layout import VIEWS, Layout, runs
from pipeline.cache.rows import Rows
from pipeline.cache.store import Kept, Reader, Store, UnsoundError, unreadable
from pipeline.progress import Progress

MASTER = "store.h5"
# The oldest file format whose metadata carries checksums, read by every HDF5 since 1.10 (2016).
_VERSION = ("v110", "v110")


class Hdf5Store(Store):
    """Reads the store that `write` makes."""

    threads = 1  # the library lets one in at a time

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
        try:
            with _open(self.folder / file) as master:
                for name, spec in layout.arrays.items():
                    data = master[name]
                    shape = (layout.views, layout.samples, *spec.shape)
                    if data.shape != shape or data.dtype != np.dtype(spec.dtype) or not data.is_virtual:
                        return f"{name} is no virtual dataset of {spec.dtype} {shape}"
                    found = {_source(source) for source in data.virtual_sources()}
                    if found != _sources(layout, name):
                        return f"{name} does not show the files of this store"
        except Exception as error:  # what the library raises on damaged bytes is anybody's guess
            return unreadable(error)
        return ""

    def units(self, names: list[str]) -> list[tuple[list[str], int]]:
        return [(names, part) for part in range(len(_parts(self.layout)))]

    def _load(self, names: list[str], view: int, part: int) -> dict[str, np.ndarray | Exception]:
        found: dict[str, np.ndarray | Exception] = {}
        start, stop = self.layout.parts(names[0])[part]
        try:
            with _open(self.folder / _file(view, part)) as file:
                for name in names:
                    spec = self.layout.arrays[name]
                    shape = (stop - start, *spec.shape)
                    try:
                        found[name] = _read(
                            file, name, shape, np.dtype(spec.dtype), self.layout.block_samples
                        )
                    except Exception as error:  # what the library raises on damaged bytes is anybody's guess
                        found[name] = error
        except Exception as error:  # as above
            return {name: found.get(name, error) for name in names}
        return found

    def _load_rows(self) -> Rows:
        count, size = self.layout.samples, self.layout.block_samples
        with _open(self.folder / MASTER) as file:
            keys = _read(file, "keys", (count, self.manifest.key_bytes), np.dtype("|u1"), size)
            return Rows(keys, _read(file, "labels", (count,), np.dtype("<i8"), size))

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


def _open(file: Path) -> h5py.File:
    # Nothing writes to a published store, and some network file systems have no locks.
    return h5py.File(file, "r", locking=False)


def _create(file: Path) -> h5py.File:
    return h5py.File(file, "w", libver=_VERSION)


def _packed(name: str, dtype: np.dtype) -> bool:
    return name in ("keys", "labels") or (name.startswith(VIEWS) and dtype.itemsize > 1)


def _write(file: h5py.File, name: str, values: np.ndarray, block_samples: int) -> None:
    """Outputs as they are, since logits hardly shrink; keys, labels, parameters of several bytes packed."""
    options: dict = {}
    if _packed(name, values.dtype):
        options |= {"chunks": (min(block_samples, len(values)), *values.shape[1:])}
        options |= {"shuffle": True, "compression": "gzip", "compression_opts": 4}
    file.create_dataset(name, data=values, track_times=False, **options)


def _read(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype, block_samples: int
) -> np.ndarray:
    """A dataset's values, if it is what `_write` writes, in this very file.

    By h5py's low-level interface: a plane is small, and the other one would take most of the time to read it.
    """
    path = b""
    for part in name.encode("ascii").split(b"/"):
        path = path + b"/" + part if path else part
        if file.id.links.get_info(path).type != h5py.h5l.TYPE_HARD:
            raise UnsoundError(f"{path.decode('ascii')} is a link to somewhere else")
    data = h5py.h5d.open(file.id, path)
    how = data.get_create_plist()
    kind = how.get_layout()
    if kind == h5py.h5d.VIRTUAL or how.get_external_count():
        raise UnsoundError(f"{name} is not stored in this file")
    if data.shape != shape or data.dtype != dtype:
        raise UnsoundError(f"{name} is {data.dtype} {data.shape}, expected {dtype} {shape}")
    filters = [how.get_filter(number)[0] for number in range(how.get_nfilters())]
    values = np.empty(shape, dtype)
    if not _packed(name, dtype):
        if kind != h5py.h5d.CONTIGUOUS or filters:
            raise UnsoundError(f"{name} is not stored in one piece")
        data.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return values
    rows = min(block_samples, shape[0])
    chunked = kind == h5py.h5d.CHUNKED and how.get_chunk() == (rows, *shape[1:])
    if not chunked or filters != [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]:
        raise UnsoundError(f"{name} is not stored in chunks of {rows} rows, shuffled and deflated")
    size = rows * dtype.itemsize * math.prod(shape[1:])
    for start, stop in runs(0, shape[0], rows):
        content = _chunk(data, (start, *[0] * (len(shape) - 1)), size)
        # shuffled: first all first bytes of the values, then all second ones
        chunk = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1).T
        values[start:stop] = np.ascontiguousarray(chunk).view(dtype).reshape(rows, *shape[1:])[: stop - start]
    return values


def _chunk(data: h5py.h5d.DatasetID, place: tuple[int, ...], size: int) -> bytes:
    """One chunk, inflated to `size` bytes and not one further; the library's filter has no bound."""
    stored = data.get_chunk_info_by_coord(place)
    if stored.byte_offset is None:
        raise UnsoundError("lacks a chunk")
    if stored.filter_mask or stored.size > size + size // 1000 + 64:
        raise UnsoundError(f"has a chunk of {stored.size} bytes for {size}")
    stream = zlib.decompressobj()
    content = stream.decompress(data.read_direct_chunk(place)[1], size)
    if len(content) != size or (stream.unconsumed_tail and stream.decompress(stream.unconsumed_tail, 1)):
        raise UnsoundError(f"has a chunk of another size than {size} bytes")
    return content


def _fill(dtype: np.dtype) -> float | int | bool:
    """What another program sees where a file is lost: never zeros, which look like data."""
    if dtype.kind == "f":
        return float("nan")
    return True if dtype.kind == "b" else int(np.iinfo(dtype).max)


# One source of a virtual dataset: file, dataset, whether all of it is shown, first and last index it fills.
_Source = tuple[str, str, bool, tuple[int, ...], tuple[int, ...]]


def _source(source: Any) -> _Source:
    first, last = source.vspace.get_select_bounds()
    whole = source.src_space.get_select_type() == h5py.h5s.SEL_ALL
    return source.file_name, source.dset_name, whole, tuple(first), tuple(last)


def _sources(layout: Layout, name: str) -> set[_Source]:
    ends = tuple(length - 1 for length in layout.arrays[name].shape)
    zeros = (0,) * len(ends)
    return {
        (_file(view, part), name, True, (view, start, *zeros), (view, stop - 1, *ends))
        for view in range(layout.views)
        for part, (start, stop) in enumerate(layout.parts(name))
    }

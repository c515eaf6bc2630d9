"""A cache as HDF5 files: the blocks of a plane in a file, and a master file that shows them as whole arrays.

    h5py.File(folder / "store.h5")["logits"][view]

The master file names the others relative to itself, so the folder may be moved.
"""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.cache.layout import VIEWS, Layout
from pipeline.cache.rows import Rows
from pipeline.cache.store import Damage, Kept, Reader, Store, explain
from pipeline.progress import Progress

MASTER = "store.h5"
# The oldest file format whose metadata carries checksums, read by every HDF5 since 1.10 (2016).
_VERSION = ("v110", "v110")


class Hdf5Store(Store):
    """Reads the store that `write` makes."""

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

    def structure(self) -> list[Damage]:
        layout = self.layout
        try:
            with _open(self.folder / MASTER) as file:
                for name, spec in layout.arrays.items():
                    data = file[name]
                    shape = (layout.views, layout.samples, *spec.shape)
                    if data.shape != shape or data.dtype != np.dtype(spec.dtype) or not data.is_virtual:
                        raise ValueError(f"{name} is no virtual dataset of {spec.dtype} {shape}")
                    found = {_source(source) for source in data.virtual_sources()}
                    if found != _sources(layout, name):
                        raise ValueError(f"{name} does not show the files of this store")
        except Exception as error:  # what the library raises on damaged bytes is anybody's guess
            return [Damage(None, MASTER, f"cannot be read: {explain(error)}")]
        return []

    def _load(self, name: str, view: int, part: int) -> np.ndarray:
        start, stop = self.layout.parts(name)[part]
        spec = self.layout.arrays[name]
        with _open(self.folder / self.file(name, view, part)) as file:
            return _read(file, name, (stop - start, *spec.shape), np.dtype(spec.dtype))

    def _load_rows(self) -> Rows:
        count = self.layout.samples
        with _open(self.folder / MASTER) as file:
            keys = _read(file, "keys", (count, self.manifest.key_bytes), np.dtype("|u1"))
            return Rows(keys, _read(file, "labels", (count,), np.dtype("<i8")))

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


def _write(file: h5py.File, name: str, values: np.ndarray, block_samples: int) -> None:
    """Outputs as they are, since float16 logits hardly shrink; parameters, keys and labels compressed."""
    packed = name.startswith(VIEWS) or name in ("keys", "labels")
    options: dict = {"chunks": (min(block_samples, len(values)), *values.shape[1:])} if packed else {}
    if packed:
        options |= {"shuffle": True, "compression": "gzip", "compression_opts": 4}
    file.create_dataset(name, data=values, track_times=False, **options)


def _read(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A dataset's values, if it is of this shape and lies in this very file."""
    path = ""
    for part in name.split("/"):
        path = f"{path}/{part}"
        if not isinstance(file.get(path, getlink=True), h5py.HardLink):
            raise ValueError(f"{path} is a link to somewhere else")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
        raise ValueError(f"{name} is not stored in this file")
    if data.shape != shape or data.dtype != dtype:
        raise ValueError(f"{name} is {data.dtype} {data.shape}, expected {dtype} {shape}")
    return np.asarray(data[:])


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

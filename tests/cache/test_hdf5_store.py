"""The contract, kept by HDF5; and what is particular to it."""

import hashlib
import os
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from stillroom.cache.format.manifest import Manifest
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.errors import CacheError
from tests.cache.bombs import peak_memory
from tests.contract.store_contract import KEYS, SAMPLES, StoreContract


class TestHdf5Store(StoreContract):
    backend = "hdf5"

    def read_plainly(self, folder: Path, name: str) -> np.ndarray:
        with h5py.File(folder / "store.h5") as file:
            return np.stack([file[name][view] for view in range(len(file[name]))])

    def metadata_file(self) -> str:
        return "store.h5"

    def test_a_missing_file_is_not_zero_to_other_programs_either(self, cache: Path) -> None:
        self.data_file(cache)[1].unlink()
        assert np.isnan(self.read_plainly(cache, "logits")[1]).all()
        assert (self.read_plainly(cache, "views/box")[1] == 65535).all()

    def test_keys_and_labels_lie_in_the_master_file(self, original: Path) -> None:
        with h5py.File(original / "store.h5") as file:
            assert file["keys"].shape == (SAMPLES, len(KEYS[0].encode()))
            assert file["labels"].shape == (SAMPLES,)

    @pytest.mark.parametrize("kind", ["external link", "virtual dataset", "external storage"])
    def test_a_dataset_that_lies_in_another_file_is_refused(
        self, cache: Path, tmp_path: Path, kind: str
    ) -> None:
        """A stranger's store must not make its reader open other files, whatever is in them."""
        path = self.data_file(cache)[1]
        with h5py.File(path) as file:
            logits = file["logits"][:]
        with h5py.File(tmp_path / "other.h5", "w") as other:
            other["logits"] = logits
        (tmp_path / "other.raw").write_bytes(logits.tobytes())
        with h5py.File(path, "r+") as file:
            del file["logits"]
            if kind == "external link":
                file["logits"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "logits")
            elif kind == "virtual dataset":
                layout = h5py.VirtualLayout(logits.shape, logits.dtype)
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "logits", logits.shape)
                file.create_virtual_dataset("logits", layout)
            else:
                where = [(str(tmp_path / "other.raw"), 0, logits.nbytes)]
                file.create_dataset("logits", logits.shape, logits.dtype, external=where)
        with pytest.raises(CacheError, match="view 1, samples 0-15"):
            open_store(cache).read_plane(1)

    def test_a_master_file_that_shows_the_wrong_plane_is_found(self, cache: Path) -> None:
        with h5py.File(cache / "store.h5", "r+") as file:
            data = file["logits"]
            shape = data.shape
            layout = h5py.VirtualLayout(shape, data.dtype)
            for view, source in enumerate(reversed(data.virtual_sources())):
                layout[view] = h5py.VirtualSource(source.file_name, "logits", shape[1:])
            del file["logits"]
            file.create_virtual_dataset("logits", layout)
        [fault] = verify(cache)
        assert fault["file"] == "store.h5" and "digest" in fault["reason"]
        digest = hashlib.sha256((cache / "store.h5").read_bytes()).hexdigest()
        replace(Manifest.load(cache), metadata={"store.h5": digest}).save(cache)
        [fault] = verify(cache)
        assert fault["file"] == "store.h5" and "does not show the files of this store" in fault["reason"]

    def test_a_master_file_that_leads_out_of_the_cache_is_refused(self, cache: Path, tmp_path: Path) -> None:
        """Even where the manifest was made to fit it."""
        os.mkfifo(tmp_path / "elsewhere.h5")  # whoever opened it would wait for ever
        for name in ("logits", "views/box", "keys"):
            good = (cache / "store.h5").read_bytes()
            with h5py.File(cache / "store.h5", "r+") as file:
                del file[name]
                file[name] = h5py.ExternalLink(str(tmp_path / "elsewhere.h5"), name)
            digest = hashlib.sha256((cache / "store.h5").read_bytes()).hexdigest()
            replace(Manifest.load(cache), metadata={"store.h5": digest}).save(cache)
            [fault] = verify(cache)
            assert (fault["file"], fault["reason"]) == ("store.h5", f"{name} is a link to somewhere else")
            (cache / "store.h5").write_bytes(good)

    @pytest.mark.slow
    def test_a_chunk_that_expands_without_end_takes_no_memory(self, cache: Path) -> None:
        """A gigabyte of zeros; the library itself would inflate it whole."""
        path = self.data_file(cache)[1]
        packer = zlib.compressobj(9)
        bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(1024)) + packer.flush()
        with h5py.File(path, "r+") as file:
            rows = SAMPLES - SAMPLES % 16
            del file["views/box"]
            options = {"chunks": (2**17, 4), "shuffle": True, "compression": "gzip", "maxshape": (None, 4)}
            file.create_dataset("views/box", (rows + SAMPLES % 16, 4), "<u2", **options)
            file["views/box"].id.write_direct_chunk((0, 0), bomb)
        assert peak_memory(cache) < 200 * 2**20
        with pytest.raises(CacheError, match="not stored in chunks of 16 rows"):
            open_store(cache).read_plane(1)

    def test_a_small_chunk_that_expands_further_than_it_may_is_refused(self, cache: Path) -> None:
        """Small enough to pass for a chunk, and a thousand times as large inside."""
        path = self.data_file(cache)[1]
        with h5py.File(path, "r+") as file:
            data = file["views/box"]
            size = int(np.prod(data.chunks)) * data.dtype.itemsize
            data.id.write_direct_chunk((0, 0), zlib.compress(bytes(100 * size), 9))
        with pytest.raises(CacheError, match="chunk of another size"):
            open_store(cache).read_plane(1)

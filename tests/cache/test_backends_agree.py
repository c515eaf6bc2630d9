"""Zarr and HDF5 hold the same cache."""

from pathlib import Path

from stillroom.cache.format.manifest import Manifest
from stillroom.cache.read.backends import open_store
from stillroom.cache.write.publish import publish
from tests.contract.store_contract import VIEWS, plane_digest, staged


def test_id_and_digests_are_the_same_in_both(tmp_path: Path) -> None:
    with staged(tmp_path / "staging") as staging:
        for backend in ("zarr", "hdf5"):
            publish([staging], tmp_path / backend, backend, VIEWS, {}, [])
    zarr, hdf5 = (Manifest.load(tmp_path / backend) for backend in ("zarr", "hdf5"))
    assert zarr.id == hdf5.id
    assert zarr.rows == hdf5.rows
    assert zarr.blocks == hdf5.blocks
    for view in range(VIEWS):
        digests = {plane_digest(open_store(tmp_path / backend), view) for backend in ("zarr", "hdf5")}
        assert len(digests) == 1


def test_one_backend_replaces_the_other(tmp_path: Path) -> None:
    with staged(tmp_path / "staging") as staging:
        publish([staging], tmp_path / "cache", "zarr", VIEWS, {}, [])
        publish([staging], tmp_path / "cache", "hdf5", VIEWS, {}, [])
    assert open_store(tmp_path / "cache").manifest.backend == "hdf5"
    assert not (tmp_path / "cache" / "zarr.json").exists()

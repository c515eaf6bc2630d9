"""The contract, kept by Zarr; and what is particular to it."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.cache.backends import open_store
from pipeline.cache.publish import publish
from pipeline.errors import CacheError
from tests.contract.store_contract import SAMPLES, StoreContract, contents, staged


class TestZarrStore(StoreContract):
    backend = "zarr"

    def read_plainly(self, folder: Path, name: str) -> np.ndarray:
        return np.asarray(zarr.open_group(folder, mode="r")[name][:])  # type: ignore[index]

    def metadata_file(self) -> str:
        return "views/flip/zarr.json"

    def test_a_missing_chunk_is_not_zero_to_other_programs_either(self, cache: Path) -> None:
        self.data_file(cache)[1].unlink()
        assert np.isnan(self.read_plainly(cache, "logits")[1]).all()
        self.data_file(cache, "views/box")[1].unlink()
        assert (self.read_plainly(cache, "views/box")[1] == 65535).all()

    def test_a_plane_is_one_file_an_array_whatever_the_block_size(self, original: Path) -> None:
        planes = [name for name in contents(original) if name.startswith("logits/c/")]
        assert sorted(planes) == ["logits/c/0/0/0", "logits/c/1/0/0", "logits/c/2/0/0"]

    def test_metadata_that_disagrees_with_the_manifest_is_refused(self, cache: Path) -> None:
        file = cache / "logits" / "zarr.json"
        text = file.read_text()
        assert f"    {SAMPLES},\n" in text
        file.write_text(text.replace(f"    {SAMPLES},\n", "    999999999999,\n"))
        with pytest.raises(CacheError, match="999999999999"):
            open_store(cache).read_plane(0)

    def test_nothing_is_written_that_zarr_calls_unstable(
        self, tmp_path: Path, recwarn: pytest.WarningsRecorder
    ) -> None:
        with staged(tmp_path / "staging", 1) as staging:
            publish([staging], tmp_path / "cache", "zarr", 1, {}, [])
        assert [warning for warning in recwarn if "zarr" in str(warning.filename)] == []

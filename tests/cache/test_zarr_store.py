"""The contract, kept by Zarr; and what is particular to it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import zstd

from stillroom.cache.format.layout import Block
from stillroom.cache.format.manifest import Manifest
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.cache.write.publish import publish
from stillroom.errors import CacheError
from tests.cache.bombs import frame, peak_memory, shard
from tests.contract.store_contract import BLOCK, SAMPLES, StoreContract, contents, staged


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

    @pytest.mark.parametrize("name", ["logits", "views/flip", "keys"])
    def test_metadata_that_disagrees_with_the_manifest_is_found(self, cache: Path, name: str) -> None:
        """Even where the manifest was made to fit it: other programs would read something else."""
        file = cache / name / "zarr.json"
        text = file.read_text()
        assert f"    {SAMPLES}" in text
        file.write_text(text.replace(f"    {SAMPLES}", "    999999999999", 1))
        [fault] = verify(cache)
        assert fault["file"] == f"{name}/zarr.json" and "digest" in fault["reason"]
        manifest = Manifest.load(cache)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        replace(manifest, metadata={**manifest.metadata, f"{name}/zarr.json": digest}).save(cache)
        [fault] = verify(cache)
        assert fault["file"] == f"{name}/zarr.json" and "999999999999" in fault["reason"]

    @pytest.mark.parametrize("claims", [True, False])
    def test_a_chunk_that_expands_without_end_takes_no_memory(self, cache: Path, claims: bool) -> None:
        """Small enough to pass for a chunk, 32 MB of zeros inside; once with this size in its header."""
        path = self.data_file(cache)[1]
        path.write_bytes(shard([zstd.compress(bytes(2**30), 1)] * 4))
        with pytest.raises(CacheError, match="is too long"):
            open_store(cache).read_plane(1)
        bomb = zstd.compress(bytes(2**25), 1)[:1200]  # damaged at its end, which comes too late
        if not claims:  # the same blocks under a header without a content size: window of 2 MB
            assert bomb[4] >> 6 == 2 and bomb[4] >> 5 & 1 == 0
            bomb = bomb[:4] + bytes([bomb[4] & 0b00111111]) + bomb[5:6] + bomb[10:]
        path.write_bytes(shard([bomb] * 4))
        assert peak_memory(cache) < 200 * 2**20
        with pytest.raises(CacheError, match=r"chunk of (33554432|unknown) bytes, expected 224"):
            open_store(cache).read_plane(1)

    @pytest.mark.parametrize("claimed", [224, 150 * 2**20])
    def test_a_chunk_that_lies_about_what_it_holds_takes_no_memory(self, cache: Path, claimed: int) -> None:
        path = self.data_file(cache)[1]
        assert zstd.decompress(frame(2**20, 2**20)) == bytes(2**20)  # a sound one
        path.write_bytes(shard([frame(claimed, 150 * 2**20)] + [frame(224, 224)] * 3))
        assert len(path.read_bytes()) < 5064  # so it is not refused for its size
        assert peak_memory(cache) < 100 * 2**20
        with pytest.raises(CacheError, match=r"view 1, samples 0-15: \S+: cannot be decoded"):
            open_store(cache).read_plane(1)

    def test_a_last_block_of_one_row_takes_no_more_memory_than_it_may(self, cache: Path) -> None:
        """Its chunk is as large as that of any block: here a gigabyte, in 30 kB that hold what they claim."""
        manifest = Manifest.load(cache)
        rows = 2**26
        layout = replace(manifest.layout, views=1, samples=rows + 1, block_samples=rows)
        layout = replace(layout, file_blocks=dict.fromkeys(layout.arrays, 1))
        digests = manifest.blocks[Block(0, 0, BLOCK)]
        blocks = {Block(0, 0, rows): digests, Block(0, rows, rows + 1): digests}
        identity = {**manifest.identity, "samples": {"count": rows + 1}}
        replace(manifest, identity=identity, layout=layout, blocks=blocks, measured={}).save(cache)
        (cache / "logits/c/0/1").mkdir()
        (cache / "logits/c/0/1/0").write_bytes(shard([frame(14 * rows, 14 * rows)]))
        assert peak_memory(cache) < 200 * 2**20

    @pytest.mark.parametrize("kind", ["gap", "overlap", "tail", "swapped chunks", "missing chunk"])
    def test_a_shard_with_a_sound_index_of_nonsense_is_refused(self, cache: Path, kind: str) -> None:
        path = self.data_file(cache)[1]
        content = path.read_bytes()
        places = np.frombuffer(content[-68:-4], "<u8").reshape(4, 2).copy()
        body = content[:-68]
        if kind == "gap":
            body, places[1:, 0] = body[: places[1, 0]] + b"?" + body[places[1, 0] :], places[1:, 0] + 1
        elif kind == "overlap":
            places[1] = places[0]
        elif kind == "tail":
            body += b"more"
        elif kind == "swapped chunks":
            places[[0, 1]] = places[[1, 0]]
        else:
            places[2] = 2**64 - 1
        path.write_bytes(shard([], body, places))
        with pytest.raises(CacheError, match="view 1, samples 0-15"):
            open_store(cache).read_plane(1)

    def test_nothing_is_written_that_zarr_calls_unstable(
        self, tmp_path: Path, recwarn: pytest.WarningsRecorder
    ) -> None:
        with staged(tmp_path / "staging", 1) as staging:
            publish([staging], tmp_path / "cache", "zarr", 1, {}, [])
        assert [warning for warning in recwarn if "zarr" in str(warning.filename)] == []

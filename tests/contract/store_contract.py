"""What every store backend must do. A backend's test file subclasses `StoreContract`."""

import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.digests import block_digest, combine
from stillroom.cache.format.layout import ArraySpec, Block
from stillroom.cache.format.manifest import Manifest
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.errors import CacheError
from stillroom.progress import Progress

VIEWS, SAMPLES, BLOCK = 3, 50, 16  # the last block of a plane has two rows
KEYS = [f"clip_{index:03d}é" for index in range(SAMPLES)]
LABELS = [index % 7 for index in range(SAMPLES)]
IDENTITY: dict = {
    "teacher": {"digest": "ab" * 32, "arch": "some_net", "num_classes": 7},
    "samples": {"count": SAMPLES},
    "views": {"recipe": {"name": "drop", "share": 0.5}, "seed": 1},
    # two outputs, one of them no vector of logits: nothing may depend on samples being images
    "outputs": {
        "logits": {"encoding": "float16", "shape": [7]},
        "features": {"encoding": "float16", "shape": [2, 3]},
        "small": {"encoding": "int8", "shape": [7]},
        "few": {"encoding": "topk", "k": 2, "shape": [7]},
        "fewer": {"encoding": "packed", "k": 2, "bits": 3, "shape": [7]},
        "drawn": {"encoding": "sampled", "draws": 4, "seed": 0, "shape": [7]},
    },
}
ARRAYS = {
    "logits": ArraySpec("<f2", (7,)),
    "features": ArraySpec("<f2", (2, 3)),
    "small": ArraySpec("|i1", (7,)),
    "small_scale": ArraySpec("<f4", ()),
    "few": ArraySpec("<f2", (2,)),
    "few_index": ArraySpec("<u2", (2,)),
    "few_rest": ArraySpec("<f4", ()),
    "fewer": ArraySpec("|u1", (4,)),
    "drawn": ArraySpec("|u1", (1,)),
    "views/box": ArraySpec("<u2", (4,)),
    "views/flip": ArraySpec("|b1", ()),
    "views/nothing": ArraySpec("<i4", (2,)),  # all zeros: what a missing chunk must not be taken for
}


def values(view: int) -> dict[str, np.ndarray]:
    """One plane of every array; the outputs decoded to float32 are `outputs(view)`."""
    random = np.random.default_rng(view)
    arrays: dict[str, np.ndarray] = {}
    for name, output in _drawn(view).items():
        arrays |= encoding_for(IDENTITY["outputs"][name]).encode(name, output)
    arrays["views/box"] = random.integers(0, 500, (SAMPLES, 4)).astype("<u2")
    arrays["views/flip"] = random.random(SAMPLES) < 0.5
    arrays["views/nothing"] = np.zeros((SAMPLES, 2), "<i4")
    return arrays


def outputs(view: int) -> dict[str, np.ndarray]:
    found = {}
    for name, drawn in _drawn(view).items():
        codec = encoding_for(IDENTITY["outputs"][name])
        found[name] = codec.decode(name, drawn.shape[1:], codec.encode(name, drawn))
    return found


def _drawn(view: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(100 + view)
    return {
        name: random.normal(0, 4, (SAMPLES, *output["shape"])).astype(np.float32)
        for name, output in IDENTITY["outputs"].items()
    }


def rows_of(block: Block) -> dict[str, np.ndarray]:
    return {name: plane[block.start : block.stop] for name, plane in values(block.view).items()}


def staged(parent: Path, views: int = VIEWS) -> Staging:
    """A staging folder, open, with every block of so many views."""
    staging = Staging(parent, IDENTITY, ARRAYS, KEYS, LABELS, BLOCK)
    done = staging.committed()
    for block in staging.blocks(views):
        if block not in done:
            staging.commit(block, rows_of(block))
    return staging


def contents(folder: Path) -> dict[str, bytes]:
    files = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def plane_digest(store: Store, view: int) -> str:
    """Runs in other processes."""
    return block_digest(store.read_plane(view))


class _Interrupt(Progress):
    """Ctrl-C after some parts were written."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, count: int = 1, status: str = "") -> None:
        self.left -= count
        if self.left <= 0:
            raise KeyboardInterrupt


class StoreContract(ABC):
    backend: str

    @abstractmethod
    def read_plainly(self, folder: Path, name: str) -> np.ndarray:
        """A whole array, [V, N, ...], read by nothing but the backend's own library."""

    @abstractmethod
    def metadata_file(self) -> str:
        """A file that other programs need, and that holds no block."""

    @pytest.fixture(scope="class")
    @classmethod
    def original(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp(cls.backend)
        with staged(folder / "staging") as staging:
            publish([staging], folder / "cache", cls.backend, VIEWS, {"machine": "test"}, [{"digest": "00"}])
        return folder / "cache"

    @pytest.fixture
    def cache(self, original: Path, tmp_path: Path) -> Path:
        """A store that a test may damage."""
        return shutil.copytree(original, tmp_path / "cache")

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Iterator[Staging]:
        with staged(tmp_path / "staging") as staging:
            yield staging

    def data_file(self, folder: Path, name: str = "logits", view: int = 1) -> tuple[str, Path]:
        file = open_store(folder).file(name, view, 0)
        return file, folder / file

    def test_what_was_committed_is_read_back(self, original: Path) -> None:
        store = open_store(original)
        for view in range(VIEWS):
            plane = store.read_plane(view)
            assert plane.keys() == ARRAYS.keys()
            for name, expected in values(view).items():
                assert plane[name].dtype == expected.dtype
                np.testing.assert_array_equal(plane[name], expected)
            for name, expected in outputs(view).items():
                decoded = store.logits(view, name)
                assert decoded.dtype == np.float32
                np.testing.assert_array_equal(decoded, expected)
        assert store.keys == KEYS
        assert store.labels.dtype == np.int64
        assert store.labels.tolist() == LABELS
        assert store.manifest.environment == {"machine": "test"}

    def test_only_the_arrays_asked_for_are_read(self, cache: Path) -> None:
        assert open_store(cache).read_plane(0, ["views/flip"]).keys() == {"views/flip"}

    def test_an_undamaged_store_verifies(self, original: Path) -> None:
        assert verify(original) == []

    def test_block_digests_are_those_of_the_logical_values(self, original: Path) -> None:
        manifest = Manifest.load(original)
        assert len(manifest.blocks) == VIEWS * 4
        for block in manifest.blocks:
            assert combine(manifest.blocks[block]) == block_digest(rows_of(block))

    def test_the_backends_own_library_reads_it(self, original: Path) -> None:
        for name in ARRAYS:
            expected = np.stack([values(view)[name] for view in range(VIEWS)])
            np.testing.assert_array_equal(self.read_plainly(original, name), expected)

    def test_a_moved_folder_works(self, cache: Path, tmp_path: Path) -> None:
        moved = tmp_path / "elsewhere" / "renamed"
        moved.parent.mkdir()
        cache.rename(moved)
        with chdir(tmp_path / "elsewhere"):
            assert verify(Path("renamed")) == []
            expected = np.stack([values(view)["logits"] for view in range(VIEWS)])
            np.testing.assert_array_equal(self.read_plainly(Path("renamed"), "logits"), expected)

    def test_an_open_store_does_not_depend_on_the_working_folder(self, cache: Path, tmp_path: Path) -> None:
        with chdir(cache.parent):
            store = open_store(Path(cache.name))
        store.read_plane(0)

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_an_open_store_is_read_in_other_processes(self, original: Path, method: str) -> None:
        store = open_store(original)
        expected = [plane_digest(store, view) for view in range(VIEWS)]  # in use before the others start
        with multiprocessing.get_context(method).Pool(2) as pool:
            found = pool.starmap(plane_digest, [(store, view) for view in range(VIEWS)])
        assert found == expected

    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_a_forked_child_reads_what_its_parent_has_in_use(self, original: Path) -> None:
        store = open_store(original)
        expected = plane_digest(store, 1)
        pid = os.fork()
        if pid == 0:  # the very object, not a pickled copy
            signal.alarm(20)
            os._exit(0 if plane_digest(store, 1) == expected else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert plane_digest(store, 1) == expected

    def test_a_pickled_store_carries_no_data(self, original: Path) -> None:
        store = open_store(original)
        before = len(pickle.dumps(store))
        store.read_plane(0)
        _ = store.keys
        assert len(pickle.dumps(store)) == before

    def test_reading_and_verifying_change_no_file(self, cache: Path) -> None:
        before = contents(cache)
        store = open_store(cache)
        store.read_plane(0)
        _ = store.keys
        verify(cache)
        assert contents(cache) == before

    def test_hard_links_and_symbolic_links_to_read_only_files_are_read(self, cache: Path) -> None:
        kept = shutil.copytree(cache, cache.parent / "kept")
        for index, name in enumerate(contents(cache)):
            (kept / name).chmod(0o444)
            (cache / name).unlink()
            if index % 2:
                (cache / name).symlink_to(kept / name)
            else:
                (cache / name).hardlink_to(kept / name)
        assert verify(cache) == []

    # Damage

    def refused(self, folder: Path, file: str, view: int = 1, name: str = "logits") -> None:
        """A read of the plane names the file and the block; `verify` does too; other planes are served."""
        store = open_store(folder)
        with pytest.raises(CacheError) as caught:
            store.read_plane(view, [name])
        assert file in str(caught.value)
        assert f"view {view}, samples 0-15" in str(caught.value)
        found = [entry for entry in verify(folder) if entry["file"] == file]
        assert {"views": [view, view + 1], "samples": [0, 16]} in [entry["block"] for entry in found]
        store.read_plane(0)

    @pytest.mark.parametrize("name", ["logits", "views/nothing"])
    def test_a_deleted_file_is_refused_even_if_its_values_were_zero(self, cache: Path, name: str) -> None:
        file, path = self.data_file(cache, name)
        path.unlink()
        self.refused(cache, file, name=name)

    @pytest.mark.parametrize("name", ["logits", "views/nothing"])
    def test_an_emptied_file_is_refused(self, cache: Path, name: str) -> None:
        file, path = self.data_file(cache, name)
        path.write_bytes(b"")
        self.refused(cache, file, name=name)

    def test_a_truncated_file_is_refused(self, cache: Path) -> None:
        file, path = self.data_file(cache)
        path.write_bytes(path.read_bytes()[:-100])
        self.refused(cache, file)

    def test_a_file_of_zeros_is_refused(self, cache: Path) -> None:
        file, path = self.data_file(cache)
        path.write_bytes(bytes(path.stat().st_size))
        self.refused(cache, file)

    def test_swapped_files_with_good_checksums_of_their_own_are_refused(self, cache: Path) -> None:
        file, path = self.data_file(cache)
        _, other = self.data_file(cache, view=2)
        mine, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(mine)
        self.refused(cache, file)

    def test_every_damaged_file_is_named_at_once(self, cache: Path) -> None:
        files = [self.data_file(cache, name)[0] for name in ("logits", "features")]
        for file in files:
            (cache / file).unlink(missing_ok=True)
        with pytest.raises(CacheError) as caught:
            open_store(cache).read_plane(1)
        assert all(file in str(caught.value) for file in files)

    def test_any_flipped_bit_is_found_or_changes_no_value(self, cache: Path) -> None:
        """One bit in each file, several times over, the manifest and the metadata among them."""
        random = np.random.default_rng(7)
        expected = [plane_digest(open_store(cache), view) for view in range(VIEWS)]
        harmless = 0
        for name, good in sorted(contents(cache).items()):
            for bit in random.integers(0, 8 * len(good), 3):
                bad = bytearray(good)
                bad[bit // 8] ^= 1 << (bit % 8)
                (cache / name).write_bytes(bad)
                if not verify(cache):
                    harmless += 1
                    store = open_store(cache)
                    assert [plane_digest(store, view) for view in range(VIEWS)] == expected, (name, bit)
                    assert store.keys == KEYS
                    assert store.labels.tolist() == LABELS
                (cache / name).write_bytes(good)
        assert harmless < 40  # most bits mean something

    def test_damaged_metadata_and_foreign_files_are_listed(self, cache: Path) -> None:
        damaged = cache / self.metadata_file()
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
        (cache / "foreign").write_text("?")
        assert {entry["file"] for entry in verify(cache)} >= {self.metadata_file(), "foreign"}

    @pytest.mark.parametrize("kept", [0, 1, 0.5, 0.99])
    def test_a_truncated_manifest_is_refused(self, cache: Path, kept: float) -> None:
        manifest = cache / "manifest.json"
        text = manifest.read_bytes()
        manifest.write_bytes(text[: int(kept * len(text)) if kept < 1 else len(text) - 3])
        with pytest.raises(CacheError, match="damaged, or is no manifest"):
            open_store(cache)
        assert [entry["file"] for entry in verify(cache)] == ["manifest.json"]

    def test_a_missing_manifest_is_refused(self, cache: Path) -> None:
        (cache / "manifest.json").unlink()
        with pytest.raises(CacheError, match="is not there"):
            open_store(cache)

    def test_a_manifest_that_claims_terabytes_costs_no_memory(self, cache: Path) -> None:
        """The store's own metadata and the manifest may agree; the size of the files does not."""
        manifest = Manifest.load(cache)
        huge = 2**31
        identity = {**manifest.identity, "samples": {"count": huge}}
        layout = replace(manifest.layout, views=1, samples=huge, block_samples=huge)
        layout = replace(layout, file_blocks=dict.fromkeys(layout.arrays, 1))
        digests = {Block(0, 0, huge): manifest.blocks[Block(0, 0, BLOCK)]}
        replace(manifest, identity=identity, layout=layout, blocks=digests).save(cache)
        store = open_store(cache)
        with pytest.raises(CacheError, match="cannot hold"):
            store.read_plane(0)
        with pytest.raises(CacheError, match=r"cannot hold|is not there"):
            _ = store.keys

    def test_a_store_that_holds_what_no_teacher_may_say_is_refused(self, tmp_path: Path) -> None:
        """Its digests are right: somebody made it so."""
        with Staging(tmp_path / "staging", IDENTITY, ARRAYS, KEYS, LABELS, BLOCK) as staging:
            for block in staging.blocks(1):
                rows = rows_of(block)
                rows["logits"][1, 1] = np.nan if block.start else np.inf
                staging.commit(block, rows)
            publish([staging], tmp_path / "cache", self.backend, 1, {}, [])
        with pytest.raises(CacheError, match=r"view 0 of logits .* not finite"):
            open_store(tmp_path / "cache").logits(0)

    def test_what_is_not_there_is_refused_by_name(self, original: Path) -> None:
        store = open_store(original)
        with pytest.raises(CacheError, match=r"has no view 3\n.*views 0-2"):
            store.read_plane(3)
        with pytest.raises(CacheError, match="no array views/angle"):
            store.read_plane(0, ["views/angle"])
        with pytest.raises(CacheError, match="no output 'hidden'"):
            store.logits(0, "hidden")

    # Publishing

    def test_more_views_leave_the_bytes_of_old_files(self, staging: Staging, tmp_path: Path) -> None:
        folder = tmp_path / "out" / "cache"
        publish([staging], folder, self.backend, 1, {}, [])
        first = contents(folder)
        publish([staging], folder, self.backend, 3, {}, [])
        second = contents(folder)
        data = {open_store(folder).file(name, 0, 0) for name in ARRAYS}
        assert data <= first.keys() < second.keys()
        assert {name: second[name] for name in data} == {name: first[name] for name in data}
        assert os.listdir(tmp_path / "out") == ["cache"]

    def test_the_same_blocks_give_the_same_bytes(self, staging: Staging, tmp_path: Path) -> None:
        publish([staging], tmp_path / "a", self.backend, 2, {}, [])
        time.sleep(1.1)  # formats keep times in seconds
        publish([staging], tmp_path / "b", self.backend, 2, {}, [])
        assert contents(tmp_path / "a") == contents(tmp_path / "b")

    @pytest.mark.parametrize("after", [1, 5, 15])
    def test_an_interrupted_publish_leaves_nothing(
        self, staging: Staging, tmp_path: Path, after: int
    ) -> None:
        folder = tmp_path / "out" / "cache"
        with pytest.raises(KeyboardInterrupt):
            publish([staging], folder, self.backend, VIEWS, {}, [], progress=_Interrupt(after))
        assert os.listdir(tmp_path / "out") == []
        publish([staging], folder, self.backend, 1, {}, [])
        before = contents(folder)
        with pytest.raises(KeyboardInterrupt):
            publish([staging], folder, self.backend, VIEWS, {}, [], progress=_Interrupt(after))
        assert contents(folder) == before
        assert os.listdir(tmp_path / "out") == ["cache"]

    def test_ctrl_c_while_the_old_store_is_removed_leaves_only_the_new(
        self, staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "out" / "cache"
        publish([staging], folder, self.backend, 1, {}, [])
        remove = shutil.rmtree

        def interrupted(*arguments: object, **options: object) -> None:
            monkeypatch.undo()  # the next call removes
            (Path(str(arguments[0])) / "manifest.json").unlink()
            raise KeyboardInterrupt

        monkeypatch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publish([staging], folder, self.backend, 2, {}, [])
        assert shutil.rmtree is remove
        assert os.listdir(tmp_path / "out") == ["cache"]
        assert open_store(folder).layout.views == 2

    def test_a_killed_publish_is_swept_up_by_the_next(self, tmp_path: Path) -> None:
        staged(tmp_path / "staging").close()
        script = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from tests.contract.store_contract import Progress, publish, staged\n"
            "class Kill(Progress):\n"
            "    def advance(self, count=1, status=''):\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "root = Path(sys.argv[1])\n"
            "staging = staged(root / 'staging')\n"
            "publish([staging], root / 'out/cache', sys.argv[2], 1, {}, [], progress=Kill())\n"
        )
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path), self.backend], check=False)
        assert done.returncode == -signal.SIGKILL
        assert os.listdir(tmp_path / "out")  # what is to be swept up
        with staged(tmp_path / "staging") as staging:
            publish([staging], tmp_path / "out" / "cache", self.backend, 1, {}, [])
        assert os.listdir(tmp_path / "out") == ["cache"]
        assert verify(tmp_path / "out" / "cache") == []

    def test_a_store_moved_aside_by_a_killed_publish_is_put_back(
        self, staging: Staging, tmp_path: Path
    ) -> None:
        """A publish was killed between its two renames, and then the next one is interrupted as well."""
        publish([staging], tmp_path / "out" / "cache", self.backend, 1, {}, [])
        before = contents(tmp_path / "out" / "cache")
        (tmp_path / "out" / "cache").rename(tmp_path / "out" / ".cache.0123abcd.old")
        with pytest.raises(KeyboardInterrupt):
            publish([staging], tmp_path / "out" / "cache", self.backend, 1, {}, [], progress=_Interrupt(1))
        assert os.listdir(tmp_path / "out") == ["cache"]
        assert contents(tmp_path / "out" / "cache") == before

    def test_a_link_whose_disk_is_away_is_not_replaced(self, staging: Staging, tmp_path: Path) -> None:
        (tmp_path / "cache").symlink_to(tmp_path / "disk" / "cache")
        with pytest.raises(CacheError, match="cannot be written"):
            publish([staging], tmp_path / "cache", self.backend, 1, {}, [])
        assert os.readlink(tmp_path / "cache") == str(tmp_path / "disk" / "cache")
        assert list(tmp_path.glob(".cache*")) == []

    def test_a_store_that_is_not_whole_is_not_published(self, staging: Staging, tmp_path: Path) -> None:
        files = sorted(staging.folder.glob("*.block"))
        files[1].unlink()
        files[2].write_bytes(files[2].read_bytes()[:-1])
        with pytest.raises(CacheError) as caught:
            publish([staging], tmp_path / "cache", self.backend, VIEWS, {}, [])
        assert "view 0, samples 16-31" in str(caught.value)
        assert "view 0, samples 32-47" in str(caught.value)
        assert not (tmp_path / "cache").exists()

    def test_a_staged_block_damaged_inside_is_not_published(self, staging: Staging, tmp_path: Path) -> None:
        file = sorted(staging.folder.glob("*.block"))[4]
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        with pytest.raises(CacheError, match="view 1, samples 0-15 is damaged"):
            publish([staging], tmp_path / "out" / "cache", self.backend, VIEWS, {}, [])
        assert os.listdir(tmp_path / "out") == []

    def test_a_folder_that_is_no_cache_is_never_replaced(self, staging: Staging, tmp_path: Path) -> None:
        (tmp_path / "holiday").mkdir()
        (tmp_path / "holiday" / "photo.jpg").write_bytes(b"...")
        with pytest.raises(CacheError, match="holds something that is no cache"):
            publish([staging], tmp_path / "holiday", self.backend, 1, {}, [])
        assert os.listdir(tmp_path / "holiday") == ["photo.jpg"]

    def test_what_cannot_be_in_a_manifest_is_refused_before_writing(
        self, staging: Staging, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError):
            publish([staging], tmp_path / "cache", self.backend, 1, {"kl": float("nan")}, [])
        assert not (tmp_path / "cache").exists()

    def test_a_damaged_store_is_replaced(self, cache: Path, staging: Staging) -> None:
        (cache / "manifest.json").write_text("{")
        publish([staging], cache, self.backend, VIEWS, {}, [])
        assert verify(cache) == []

    def test_files_are_cut_into_runs_of_blocks_when_planes_are_large(
        self, staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_blocks = 2 * 16 * 2 * 7  # bytes of logits
        monkeypatch.setattr("stillroom.cache.format.layout.FILE_BYTES", two_blocks)
        publish([staging], tmp_path / "cache", self.backend, VIEWS, {}, [])
        store = open_store(tmp_path / "cache")
        assert len({store.file("logits", 1, part) for part in range(len(store.layout.parts("logits")))}) > 1
        assert verify(tmp_path / "cache") == []
        for view in range(VIEWS):
            np.testing.assert_array_equal(store.logits(view), outputs(view)["logits"])
        stacked = np.stack([values(view)["views/box"] for view in range(VIEWS)])
        np.testing.assert_array_equal(self.read_plainly(tmp_path / "cache", "views/box"), stacked)

    def test_the_manifest_names_everything_a_stranger_needs(self, original: Path) -> None:
        table = json.loads((original / "manifest.json").read_text())
        assert table["format"] == "stillroom-cache/1"
        assert table["identity"] == IDENTITY
        text = json.dumps(IDENTITY, sort_keys=True, separators=(",", ":"))
        assert table["id"] == hashlib.sha256(text.encode()).hexdigest()
        assert table["backend"] == self.backend
        assert table["extents"] == {"views": VIEWS, "samples": SAMPLES}
        assert table["arrays"]["views/box"] == {"dtype": "<u2", "shape": [4], "file_blocks": 4}
        assert [(block["views"], block["samples"]) for block in table["blocks"][:5]] == [
            ([0, 1], [0, 16]),
            ([0, 1], [16, 32]),
            ([0, 1], [32, 48]),
            ([0, 1], [48, 50]),
            ([1, 2], [0, 16]),
        ]

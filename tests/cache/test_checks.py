"""What `verify` reads, finds and says, whichever format a cache is in."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from stillroom.cache.format.manifest import Manifest
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.cache.write.publish import publish
from tests.contract.store_contract import ARRAYS, VIEWS, contents, staged, values

# What a reason may say. Words of a library's own are told by what is not among these.
REASONS = [
    r"is not there",
    r"is empty",
    r"is cut short: \d+ bytes, expected (at least )?\d+",
    r"is too long: \d+ bytes, expected (at most )?\d+",
    r"\d+ bytes cannot hold \d+",
    r"is no file",
    r"cannot be read: [A-Z][a-z ]+",
    r"cannot be decoded: its bytes are not what was written( \([^()]{1,60}\))?",
    r"does not have the digest in the manifest",
    r"[a-z0-9_/]+ does not have the digest in the manifest",
    r"keys and labels are not those of the manifest",
    r"belongs to no part of this cache",
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("originals")
    with staged(folder / "staging") as staging:
        for backend in ("zarr", "hdf5"):
            publish([staging], folder / backend, backend, VIEWS, {}, [])
    return {backend: folder / backend for backend in ("zarr", "hdf5")}


@pytest.fixture(params=["zarr", "hdf5"])
def cache(request: pytest.FixtureRequest, originals: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(originals[request.param], tmp_path / "cache")


@pytest.fixture
def alarm() -> Iterator[None]:
    """Whoever opens a pipe that nobody writes to waits for ever, and would tell nobody."""
    signal.alarm(20)
    yield
    signal.alarm(0)


def damaged(folder: Path, file: str, damage: Callable[[Path], Any]) -> list[dict[str, Any]]:
    """What `verify` says while one file is damaged."""
    path = folder / file
    good = path.read_bytes()
    try:
        damage(path)
        return verify(folder)
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(good)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "deleted": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "one byte": lambda path: path.write_bytes(b"?"),
    "first half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "without its last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "without its first byte": lambda path: path.write_bytes(path.read_bytes()[1:]),
    "a byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a kilobyte more": lambda path: path.write_bytes(path.read_bytes() + bytes(1024)),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size)),
    "a gigabyte of nothing": lambda path: os.truncate(path, 2**30),
    "a folder": _directory,
    "a pipe": _pipe,
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path.name)),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named_once_in_plain_words(cache: Path, kind: str, alarm: None) -> None:
    """Every kind of file in turn: metadata, rows, values; nothing but it is named."""
    store = open_store(cache)
    files = {*store.metadata_files(), *store.rows_files(), *(store.file(name, 1, 0) for name in ARRAYS)}
    for file in sorted(files):
        found = damaged(cache, file, DAMAGES[kind])
        assert file in {entry["file"] for entry in found}, file
        if file not in store.rows_files():  # keys and labels have one digest together
            assert {entry["file"] for entry in found} == {file}
        for entry in found:
            assert any(re.fullmatch(reason, entry["reason"]) for reason in REASONS), entry
        whole = [(entry["file"], str(entry["block"])) for entry in found if "digest" not in entry["reason"]]
        assert len(set(whole)) == len(whole), found


@pytest.mark.parametrize("kind, more", [("a byte more", 1), ("without its last byte", -1)])
def test_a_file_that_knows_its_length_is_refused_by_it(cache: Path, kind: str, more: int) -> None:
    """HDF5 keeps it at the start; a Zarr shard ends with its index, so another end is another index."""
    store = open_store(cache)
    file = store.file("logits", 1, 0)
    size = (cache / file).stat().st_size
    word = "too long" if more > 0 else "cut short"
    expected = f"is {word}: {size + more} bytes, expected {size}"
    if store.manifest.backend == "zarr":
        expected = "cannot be decoded: its bytes are not what was written (checksum of its index)"
    assert {entry["reason"] for entry in damaged(cache, file, DAMAGES[kind])} == {expected}


@pytest.mark.slow
def test_every_bit_of_the_metadata_counts(cache: Path) -> None:
    random = np.random.default_rng(3)
    for file in open_store(cache).metadata_files():
        good = (cache / file).read_bytes()
        for bit in random.integers(0, 8 * len(good), 20):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << (bit % 8)
            [*found] = damaged(cache, file, lambda path, bad=bad: path.write_bytes(bad))
            assert file in {entry["file"] for entry in found}, (file, bit)


@pytest.mark.slow
def test_what_verifies_is_read_by_other_programs_too(cache: Path) -> None:
    """A bit that changes nothing for us must change nothing for them."""
    random = np.random.default_rng(11)
    file = open_store(cache).file("views/box", 1, 0)
    good = (cache / file).read_bytes()
    for bit in random.integers(0, 8 * len(good), 200):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        (cache / file).write_bytes(bad)
        if not verify(cache):
            if Manifest.load(cache).backend == "zarr":
                read = zarr.open_group(cache, mode="r")["views/box"][1]  # type: ignore[index]
            else:
                with h5py.File(cache / file) as block:
                    read = block["views/box"][:]
            np.testing.assert_array_equal(read, values(1)["views/box"], err_msg=str(bit))


@pytest.mark.parametrize("name", ["views/box", "few_index", "logits"])
def test_damage_inside_one_block_leaves_the_other_blocks_of_its_file(cache: Path, name: str) -> None:
    """Whatever its decoder thinks of it."""
    store = open_store(cache)
    file = cache / store.file(name, 1, 0)
    good = file.read_bytes()
    if store.manifest.backend == "zarr":
        places = np.frombuffer(good[-68:-4], "<u8").reshape(4, 2)
        spots = [(int(offset), int(size)) for offset, size in places]
    else:
        with h5py.File(file) as block:
            data = block[name]
            if data.chunks:
                chunks = [data.id.get_chunk_info_by_coord((start, *[0] * (data.ndim - 1)))
                          for start in range(0, 50, 16)]  # fmt: skip
                spots = [(chunk.byte_offset, chunk.size) for chunk in chunks]
            else:
                row = data.dtype.itemsize * int(np.prod(data.shape[1:]))
                spots = [(data.id.get_offset() + start * row, row) for start in range(0, 50, 16)]
    offset, size = spots[1]
    for at in (*range(0, size, max(1, size // 20)), size - 1):
        bad = bytearray(good)
        bad[offset + at] ^= 255
        file.write_bytes(bad)
        plane, damage = open_store(cache).salvage(1, [name])
        assert [(fault.block.start, fault.block.stop) for fault in damage if fault.block] == [(16, 32)], at
        expected = values(1)[name].copy()
        expected[16:32] = 0
        np.testing.assert_array_equal(plane[name], expected)


def test_metadata_that_the_manifest_does_not_know_is_damage(cache: Path) -> None:
    manifest = Manifest.load(cache)
    for file in manifest.metadata:
        left = {name: digest for name, digest in manifest.metadata.items() if name != file}
        replace(manifest, metadata=left).save(cache)
        [fault] = verify(cache)
        assert (fault["file"], fault["reason"]) == (file, "the manifest has no digest of it")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "logits/../../secret", "", ".", "more.json"])
def test_the_manifest_names_no_file_that_is_not_of_the_store(cache: Path, name: str, alarm: None) -> None:
    os.mkfifo(cache.parent / "secret")  # who opens it hangs
    manifest = Manifest.load(cache)
    replace(manifest, metadata={**manifest.metadata, name: "0" * 64}).save(cache)
    [fault] = verify(cache)
    assert fault["file"] == "manifest.json"
    assert "which is no file of this store" in fault["reason"]


def test_whatever_else_lies_in_the_folder_is_named(cache: Path, tmp_path: Path, alarm: None) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "photo.jpg").write_bytes(b"...")
    inside = Path(open_store(cache).file("logits", 0, 0)).parent
    (cache / ".hidden").write_bytes(b"")
    (cache / inside / "0.tmp").write_bytes(b"...")
    (cache / "more" / "of" / "it").mkdir(parents=True)
    (cache / "more" / "of" / "it" / "file").write_bytes(b"...")
    (cache / "more" / "round").symlink_to(cache)  # a circle
    (cache / "album").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(cache / "pipe")
    found = verify(cache)
    assert {entry["reason"] for entry in found} == {"belongs to no part of this cache"}
    expected = [".hidden", f"{inside}/0.tmp", "album", "more/of/it/file", "more/round", "pipe"]
    assert sorted(entry["file"] for entry in found) == sorted(expected)


def test_an_empty_folder_is_no_damage(cache: Path) -> None:
    """It holds no byte; DVC leaves some where it removed files, and tracks none."""
    (cache / "views" / "left" / "c").mkdir(parents=True)
    assert verify(cache) == []


def test_files_and_folders_may_lie_behind_links(cache: Path, tmp_path: Path) -> None:
    """So DVC puts them there."""
    top = {Path(name).parts[0] for name in contents(cache)}
    (tmp_path / "kept").mkdir()
    for name in top:
        (cache / name).rename(tmp_path / "kept" / name)
        (cache / name).symlink_to(tmp_path / "kept" / name)
    assert verify(cache) == []
    (tmp_path / "kept" / Path(open_store(cache).file("logits", 0, 0)).parent / "more").write_bytes(b"...")
    [fault] = verify(cache)
    assert fault["reason"] == "belongs to no part of this cache"


def test_a_plane_of_no_array_is_empty(cache: Path) -> None:
    assert open_store(cache).read_plane(0, []) == {}

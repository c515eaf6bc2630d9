"""A manifest that is not sound is refused before anything is read by it."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.cache.format.digests import array_digest, block_digest, combine
from stillroom.cache.format.identity import canonical, identity_id
from stillroom.cache.format.layout import ArraySpec, Block, Layout, blocks_per_file, fault_in
from stillroom.cache.format.manifest import Manifest
from stillroom.errors import CacheError

IDENTITY = {"outputs": {"logits": {"encoding": "float16", "shape": [4]}}, "samples": {"count": 10}}


def manifest(views: int = 2, samples: int = 10, size: int = 4) -> Manifest:
    arrays = {"logits": ArraySpec("<f2", (4,)), "views/flip": ArraySpec("|b1", ())}
    layout = Layout(views, samples, size, arrays, dict.fromkeys(arrays, 1))
    identity = {**IDENTITY, "samples": {"count": samples}}
    digests = {block: dict.fromkeys(arrays, "0" * 64) for block in layout.blocks()}
    return Manifest(
        identity, "zarr", layout, 8, "1" * 64, digests, {"numpy": "2"}, [{"key": "a"}], {"kl": 1e-6}
    )


def write(folder: Path, tree: Any) -> None:
    """Write a tree as a manifest, with the seal that its author would give it."""
    if isinstance(tree, dict):
        tree["seal"] = hashlib.sha256(canonical({k: v for k, v in tree.items() if k != "seal"})).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(tree))


@given(views=st.integers(1, 3), samples=st.integers(1, 30), size=st.integers(1, 30))
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, views: int, samples: int, size: int
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    before = manifest(views, samples, min(size, samples))
    before.check()
    before.save(folder)
    assert Manifest.load(folder) == before


CHANGES: dict[str, Callable[[dict], Any]] = {
    "format =": lambda t: t.update(format="stillroom-cache/2"),
    "but its identity has": lambda t: t["identity"]["samples"].update(seed=1),
    "id =": lambda t: t.update(id="0" * 64),
    "backend =": lambda t: t.update(backend="../zarr"),
    "extents.views = True": lambda t: t["extents"].update(views=True),
    "extents.views = 0": lambda t: t["extents"].update(views=0),
    "extents.samples = 1e": lambda t: t["extents"].update(samples=1e30),
    "identity counts 10": lambda t: t["extents"].update(samples=11),
    "expected 9": lambda t: t["extents"].update(views=3),
    "'../evil' is no name": lambda t: t["arrays"].update({"../evil": t["arrays"]["logits"]}),
    "'/etc/passwd' is no name": lambda t: t["arrays"].update({"/etc/passwd": t["arrays"]["logits"]}),
    "lies inside another array": lambda t: t["arrays"].update({"logits/x": t["arrays"]["logits"]}),
    "dtype '|O'": lambda t: t["arrays"]["logits"].update(dtype="|O"),
    "has shape": lambda t: t["arrays"]["views/flip"].update(shape=[-1]),
    "rows of": lambda t: t["arrays"]["views/flip"].update(shape=[2**30, 2**30]),
    "the identity calls for": lambda t: t["arrays"]["logits"].update(shape=[5]),
    "file_blocks = 0": lambda t: t["arrays"]["logits"].update(file_blocks=0),
    "5 blocks, expected 6": lambda t: t["blocks"].pop(),
    "7 blocks, expected 6": lambda t: t["blocks"].append(t["blocks"][0]),
    "blocks[1] is views": lambda t: t["blocks"].__setitem__(1, t["blocks"][0]),
    "blocks[4] is views": lambda t: t["blocks"].__setitem__(slice(4, 6), t["blocks"][5:3:-1]),
    "blocks[0].digest": lambda t: t["blocks"][0].update(digest="2" * 64),
    "blocks[0].arrays": lambda t: t["blocks"][0]["arrays"].update(logits="zz"),
    "digests of other arrays": lambda t: t["blocks"][0]["arrays"].update(other="0" * 64),
    "no list of blocks": lambda t: t.update(blocks={}),
    "must have": lambda t: t.update(surprise=1),
    "probes[0] is no table": lambda t: t.update(probes=["x"]),
    "quality is no table": lambda t: t.update(quality=None),
    "key_bytes": lambda t: t["rows"].update(key_bytes=10**9),
}


@pytest.mark.parametrize("problem", CHANGES)
def test_an_unsound_field_is_refused_by_name(tmp_path: Path, problem: str) -> None:
    tree = json.loads(manifest().to_json())
    CHANGES[problem](tree)
    write(tmp_path, tree)
    with pytest.raises(CacheError) as caught:
        Manifest.load(tmp_path)
    assert problem in caught.value.why


def test_a_recorded_field_that_was_altered_breaks_the_seal(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(manifest().to_json().replace('"numpy": "2"', '"numpy": "3"'))
    with pytest.raises(CacheError, match="seal"):
        Manifest.load(tmp_path)


def test_an_unknown_encoding_or_output_is_refused(tmp_path: Path) -> None:
    for outputs, problem in (
        ({"logits": {"encoding": "float8", "shape": [4]}}, "'float8' is unknown"),
        ({"logits": {"shape": [4]}}, "encoding None is unknown"),
        ({"logits": {"encoding": "float16", "shape": [-4]}}, "shape is no shape"),
        ({}, "names no output"),
        (
            {
                "logits": {"encoding": "float16", "shape": [4]},
                "views/x": {"encoding": "float16", "shape": [4]},
            },
            "no name",
        ),
    ):
        tree = json.loads(manifest().to_json())
        tree["identity"]["outputs"] = outputs
        tree["id"] = identity_id(tree["identity"])
        write(tmp_path, tree)
        with pytest.raises(CacheError) as caught:
            Manifest.load(tmp_path)
        assert problem in caught.value.why


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": NaN}',
        "null",
        "[]",
        "",
        "\xff",
        '{"a": ' + "9" * 10_000 + "}",
        '{"format": "x"}',
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(CacheError, match="no manifest that this version reads"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_manifest_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / "manifest.json")
    else:
        (tmp_path / "manifest.json").mkdir()
    with pytest.raises(CacheError, match="is no file"):
        Manifest.load(tmp_path)


def test_a_huge_manifest_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(CacheError, match="larger than"):
        Manifest.load(tmp_path)


def test_a_digest_depends_on_values_dtype_shape_and_name_but_not_on_memory_order() -> None:
    values = np.arange(12, dtype="<i4").reshape(3, 4)
    digest = array_digest(values)
    assert array_digest(np.asfortranarray(values)) == digest
    assert array_digest(values.astype(">i4")) == digest
    assert array_digest(values.astype("<u4")) != digest
    assert array_digest(values.reshape(4, 3)) != digest
    assert block_digest({"a": values}) != block_digest({"b": values})
    assert block_digest({"a": values, "b": values}) == combine({"b": digest, "a": digest})


@given(views=st.integers(1, 4), samples=st.integers(1, 60), size=st.integers(1, 20), count=st.integers(1, 5))
def test_blocks_and_files_cover_every_row_once(views: int, samples: int, size: int, count: int) -> None:
    layout = Layout(views, samples, size, {}, {"x": count})
    covered = [(block.view, row) for block in layout.blocks() for row in range(block.start, block.stop)]
    assert covered == [(view, row) for view in range(views) for row in range(samples)]
    assert [row for start, stop in layout.parts("x") for row in range(start, stop)] == list(range(samples))
    starts = {block.start for block in layout.blocks()}
    assert all(start in starts for start, _ in layout.parts("x"))


@given(samples=st.integers(1, 10**7), size=st.integers(1, 10**5), row=st.integers(1, 10**5))
def test_files_are_of_tens_of_megabytes_or_one_block(samples: int, size: int, row: int) -> None:
    count = blocks_per_file(samples, size, row)
    length = count * size * row
    assert count == 1 or length <= 64 * 2**20
    planes = -(-samples // size)
    if planes > count:  # a plane of several files: none of them small, but for the last
        assert (count + 1) * size * row > 32 * 2**20


def test_names_are_safe_as_paths() -> None:
    spec = ArraySpec("<f2", ())
    for name in ("..", "a/../b", "a//b", "/a", "a/b/c", "A", "a b", "", "a" * 70, "keys", "views", "a\n"):
        assert fault_in({name: spec})
    assert fault_in({"views/crop_box": spec, "logits_scale": spec}) == ""
    assert str(Block(3, 0, 16)) == "view 3, samples 0-15"

"""`stillroom store` through the command line, on a real cache."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from stillroom.cache import stores
from stillroom.cache.format.digests import array_digest
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.modalities import load_samples
from stillroom.progress import Progress
from tests.conftest import run_in
from tests.stages.test_cache import files, unlink_links

BACKENDS = ("zarr", "hdf5")


@pytest.fixture
def damaged(request: pytest.FixtureRequest, project: Path) -> tuple[Path, Path]:
    """A project without staged blocks whose cache lost a file of view 1; the cache's folder as second."""
    cache = project / "artifacts/cache"
    if getattr(request, "param", "zarr") == "hdf5":
        run_in(project, "stillroom", "cache", "--set", "cache.store=hdf5")
    unlink_links(cache)
    shutil.rmtree(project / "artifacts/.staging")
    store = open_store(cache)
    (cache / store.file("logits", 1, 0)).unlink()
    return project, cache


# convert


def test_converting_there_and_back_gives_the_same_bytes(project: Path) -> None:
    cache = project / "artifacts/cache"
    before = files(cache)
    run_in(project, "stillroom", "store", "convert", "artifacts/cache", "five", "--to", "hdf5")
    told = run_in(project, "stillroom", "store", "convert", "five", "back", "--to", "zarr", "--json").stdout
    five, old = open_store(project / "five").manifest, open_store(cache).manifest
    assert json.loads(told)["id"] == five.id == old.id
    assert five.blocks == old.blocks and five.quality == old.quality and five.backend == "hdf5"
    with h5py.File(project / "five/store.h5") as file:
        np.testing.assert_array_equal(file["logits"][:], zarr.open_group(cache, mode="r")["logits"][:])
    assert files(project / "back") == before == files(cache)
    assert verify(project / "five") == []


def test_converting_replaces_nothing_and_copies_no_damage(damaged: tuple[Path, Path]) -> None:
    project, _ = damaged
    said = run_in(
        project, "stillroom", "store", "convert", "artifacts/cache", "pipeline", "--to", "zarr", code=1
    )
    assert "exists already" in said.stderr
    said = run_in(project, "stillroom", "store", "convert", "artifacts/cache", "new", "--to", "hdf5", code=1)
    assert "view 1, samples 0-31" in said.stderr
    assert not (project / "new").exists() and not list(project.glob(".new*"))


# repair


@pytest.mark.parametrize("damaged", BACKENDS, indirect=True)
def test_repair_computes_what_is_lost_and_nothing_else(damaged: tuple[Path, Path]) -> None:
    project, cache = damaged
    store = open_store(cache)
    before = files(cache)
    said = json.loads(run_in(project, "stillroom", "store", "repair", "--json").stdout)
    assert said["ok"] and said["kept"] == 6 and said["changed"] == []
    assert [(entry["views"], entry["samples"]) for entry in said["computed"]] == [
        ([1, 2], [0, 32]),
        ([1, 2], [32, 64]),
        ([1, 2], [64, 80]),
    ]
    assert verify(cache) == []
    after = files(cache)
    assert {name: after[name] for name in before if name != "manifest.json"} == {
        name: before[name] for name in before if name != "manifest.json"
    }
    assert open_store(cache).manifest.blocks == store.manifest.blocks
    assert "repaired" in open_store(cache).manifest.environment


def test_a_lost_block_is_not_repaired_by_another_teacher(damaged: tuple[Path, Path]) -> None:
    project, cache = damaged
    before = files(cache)
    run_in(project, "stillroom", "teacher", "--set", "teacher.seed=1")
    assert "teacher.digest" in run_in(project, "stillroom", "store", "repair", code=1).stderr
    shutil.rmtree(project / "artifacts/teacher")
    assert "teacher.json is not there" in run_in(project, "stillroom", "store", "repair", code=1).stderr
    assert files(cache) == before


def test_repair_needs_no_teacher_where_no_block_is_lost(project: Path) -> None:
    cache = project / "artifacts/cache"
    shutil.rmtree(project / "artifacts/teacher")
    assert "nothing to repair" in run_in(project, "stillroom", "store", "repair").stdout
    unlink_links(cache)
    before = files(cache)
    (cache / "logits/zarr.json").write_text("{")
    (cache / "foreign.txt").write_text("?")
    assert "is whole again" in run_in(project, "stillroom", "store", "repair").stdout
    assert files(cache) == before


def test_a_cache_whose_manifest_is_damaged_cannot_be_repaired(project: Path) -> None:
    cache = project / "artifacts/cache"
    unlink_links(cache)
    (cache / "manifest.json").write_text("{")
    said = run_in(project, "stillroom", "store", "repair", code=1).stderr
    assert "manifest.json" in said and "stillroom cache" in said


# audit


def forged(cache: Path, view: int) -> None:
    """A sound cache in which one view's logits are those of other samples."""
    unlink_links(cache)
    store = open_store(cache)
    layout, planes = store.layout, [store.read_plane(number) for number in range(store.layout.views)]
    planes[view]["logits"] = np.roll(planes[view]["logits"], 7, axis=0)
    blocks = {
        block: {
            name: array_digest(planes[block.view][name][block.start : block.stop]) for name in layout.arrays
        }
        for block in layout.blocks()
    }
    rows, manifest = store.rows, replace(store.manifest, blocks=blocks)
    shutil.rmtree(cache)
    cache.mkdir()
    stores.get("zarr").write(
        cache,
        layout,
        rows,
        lambda name, view, start, stop: planes[view][name][start:stop],
        lambda name, view, part: None,
        Progress(),
    )
    manifest.save(cache)
    assert verify(cache) == []


def test_an_audit_of_a_true_cache_finds_every_logit_again(project: Path) -> None:
    found = json.loads(run_in(project, "stillroom", "store", "audit", "--views", "40", "--json").stdout)
    assert found["ok"]
    [one] = found["outputs"]
    assert one["views"] > 30 and one["pixels"] == 0 and one["parameters"] == 0 and one["beyond"] == []
    assert one["largest"] <= one["noise"] < one["another_view"]


def test_an_audit_finds_logits_of_other_samples(project: Path) -> None:
    forged(project / "artifacts/cache", 2)
    done = run_in(project, "stillroom", "store", "audit", "--views", "60", "--json", code=1)
    [one] = json.loads(done.stdout)["outputs"]
    assert not one["ok"] and one["beyond"]
    assert {view for _, view, _ in one["beyond"]} == {2}
    said = run_in(project, "stillroom", "store", "audit", "--views", "60", code=1).stdout
    assert "view 2" in said and "not what the teacher says" in said


def test_an_audit_of_packed_logits_is_as_strict(project: Path) -> None:
    """They come back less their largest: a bound that took that for rounding would find nothing."""
    run_in(
        project, "stillroom", "cache", "--replace", "--set", "cache.encoding={name: packed, k: 8, bits: 6}"
    )
    found = json.loads(run_in(project, "stillroom", "store", "audit", "--views", "40", "--json").stdout)
    [one] = found["outputs"]
    assert found["ok"] and one["equal"] == one["views"] and one["largest"] == 0
    forged(project / "artifacts/cache", 2)
    done = run_in(project, "stillroom", "store", "audit", "--views", "60", "--json", code=1)
    assert {view for _, view, _ in json.loads(done.stdout)["outputs"][0]["beyond"]} == {2}


def test_an_audit_of_random_draws_is_refused(project: Path) -> None:
    run_in(project, "stillroom", "cache", "--replace", "--set", "cache.encoding=sampled")
    said = run_in(project, "stillroom", "store", "audit", code=1).stderr
    assert "logits is stored as sampled" in said and "stillroom store verify" in said


def test_an_audit_without_a_teacher_is_refused(project: Path) -> None:
    shutil.rmtree(project / "artifacts/teacher")
    assert "no teacher" in run_in(project, "stillroom", "store", "audit", code=1).stderr


# verify, info, show


def test_verify_says_what_to_do(damaged: tuple[Path, Path]) -> None:
    project, _ = damaged
    said = run_in(project, "stillroom", "store", "verify", code=1).stdout
    assert "view 1, samples 0-31" in said and "is not there" in said and "stillroom store repair" in said


def test_info_tells_what_the_cache_is_and_how_the_teacher_does_on_it(project: Path) -> None:
    found = json.loads(run_in(project, "stillroom", "store", "info", "--json").stdout)
    store = open_store(project / "artifacts/cache")
    right = [(store.logits(view).argmax(axis=1) == store.labels).mean() * 100 for view in range(3)]
    one = found["outputs"]["logits"]
    assert one["accuracy"] == pytest.approx(np.mean(right), abs=0.01)
    assert {"entropy", "calibration_error", "agreement"} <= set(one)
    assert found["id"] == store.manifest.id and found["views"] == 3 and found["samples"] == 80
    assert found["bytes"] == sum(len(content) for content in files(project / "artifacts/cache").values())
    said = run_in(project, "stillroom", "store", "info").stdout
    assert store.manifest.id[:16] in said and "float16" in said and "calibration" in said


def test_show_draws_a_sample_and_a_wrong_key_is_met_with_the_nearest(project: Path) -> None:
    from PIL import Image

    key = open_store(project / "artifacts/cache").keys[3]
    run_in(project, "stillroom", "store", "show", key, "--out", "sheet.png")
    with Image.open(project / "sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 400 and sheet.height > 200
    said = run_in(project, "stillroom", "store", "show", key[:-1] + "x", "--out", "no.png", code=2).stderr
    assert "did you mean" in said and not (project / "no.png").exists()
    tested = next(row.key for row in load_samples(project / "artifacts/data").rows if row.split == "test")
    assert "this one is of test" in run_in(project, "stillroom", "store", "show", tested, code=2).stderr

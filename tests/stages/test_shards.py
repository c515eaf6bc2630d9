"""Tar shards through the real commands: a pack gives the cache that its folder gave."""

import json
import os
import shutil
import tarfile
import time
from pathlib import Path

import pytest
from PIL import Image

from tests import tables
from tests.conftest import copy_project, run_in, until
from tests.stages.test_prepare import FOLDER, photos, table  # noqa: F401

SHARDS = ["--set", "data.name=shards", "--set", "data.path=packed"]


def identity(project: Path) -> tuple[str, dict]:
    manifest = json.loads((project / "artifacts/cache/manifest.json").read_text())
    return manifest["id"], manifest["identity"]["samples"]


def test_a_pack_gives_the_cache_that_its_data_set_gave(finished: Path, tmp_path: Path) -> None:
    """The drawn pictures with their boxes and a validation slice, and one teacher."""
    project = copy_project(finished, tmp_path / "project")
    keys = ["--set", "data.val_fraction=0.5"]
    run_in(project, "stillroom", "prepare", *keys)
    run_in(project, "stillroom", "teacher", *keys)
    run_in(project, "stillroom", "cache", "--replace", *keys)
    before, rows = identity(project), tables.read(project / "artifacts/data")["samples"]
    said = run_in(project, "stillroom", "prepare", "--pack", "packed", "--shard-mib", "1", *keys).stdout
    assert "use them: --set data.name=shards --set data.path=packed --set data.val_fraction=0" in said
    shutil.rmtree(project / "artifacts/data")
    said = run_in(project, "stillroom", "prepare", *SHARDS).stdout
    assert "shards: 120 images of 40 classes" in said
    for one, other in zip(rows, tables.read(project / "artifacts/data")["samples"], strict=True):
        assert {**one, "path": 0, "span": 0} == {**other, "path": 0, "span": 0}
        assert other["path"].endswith(".tar") and other["span"]
    shutil.rmtree(project / "artifacts/cache")
    run_in(project, "stillroom", "cache", *SHARDS)
    assert identity(project) == before
    run_in(project, "stillroom", "student", "--family", "vit", "--arm", "kd", *SHARDS)
    table_now = tables.read(project / "artifacts/data")["samples"]
    row = next(one for one in table_now if one["split"] == "train")
    run_in(project, "stillroom", "store", "show", row["key"], *SHARDS)
    shard = project / "packed" / row["path"]
    shard.write_bytes(shard.read_bytes()[: row["span"][0]])
    said = run_in(project, "stillroom", "cache", "--replace", "--set", "views.seed=7", *SHARDS, code=1).stderr
    assert f"packed/{row['path']}: the image of {row['key']} cannot be read" in said


def test_a_target_that_is_not_empty_is_refused(photos: Path) -> None:  # noqa: F811
    project = photos.parent
    run_in(project, "stillroom", "prepare", *FOLDER)
    said = run_in(project, "stillroom", "prepare", "--pack", "photos", *FOLDER, code=1).stderr
    assert "photos is there already, and not empty" in said
    said = run_in(project, "stillroom", "prepare", "--pack", "artifacts/data/packed", *FOLDER, code=2).stderr
    assert "artifacts/data" in said
    said = run_in(project, "stillroom", "prepare", "--pack", "packed", "--look", *FOLDER, code=2).stderr
    assert "give one of them" in said


def settled(folder: Path) -> None:
    """What was written a moment ago is not trusted."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    until(lambda: time.time() - max(file.stat().st_ctime for file in files) > 2.1)


def test_what_has_not_changed_is_not_read_again(photos: Path) -> None:  # noqa: F811
    project = photos.parent
    settled(photos)
    assert "unchanged" not in run_in(project, "stillroom", "prepare", *FOLDER).stdout
    first = (project / "artifacts/data/samples.parquet").read_bytes()
    memory = project / "artifacts/.staging/source.parquet"
    assert "18 of 18 files unchanged since 20" in run_in(project, "stillroom", "prepare", *FOLDER).stdout
    assert (project / "artifacts/data/samples.parquet").read_bytes() == first
    report = json.loads((project / "artifacts/data/report.json").read_text())
    assert report["formats"] == {"PNG": 18}
    Image.new("RGB", (9, 9)).save(photos / "train/cat/0.png")
    os.utime(photos / "train/dog/1.png")
    said = run_in(project, "stillroom", "prepare", *FOLDER).stdout
    assert "16 of 18 files unchanged since" in said
    assert "unchanged" not in run_in(project, "stillroom", "prepare", "--full", *FOLDER).stdout
    # looking and preparing share it, and neither forgets what the other knows
    settled(photos)
    run_in(project, "stillroom", "prepare", "--look", *FOLDER)
    assert "16 of 18" in run_in(project, "stillroom", "prepare", *FOLDER).stdout
    assert "18 of 18" in run_in(project, "stillroom", "prepare", *FOLDER).stdout
    run_in(project, "stillroom", "prepare", "--look", *FOLDER)
    assert "18 of 18" in run_in(project, "stillroom", "prepare", *FOLDER).stdout
    changed = table(project)
    content = bytearray(memory.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (bytes(content), content[:50], b""):
        memory.write_bytes(damaged)
        run_in(project, "stillroom", "prepare", *FOLDER)
        assert table(project) == changed


def test_shards_that_have_not_changed_are_not_decoded_again(photos: Path) -> None:  # noqa: F811
    project = photos.parent
    run_in(project, "stillroom", "prepare", *FOLDER)
    run_in(project, "stillroom", "prepare", "--pack", "packed", *FOLDER)
    settled(project / "packed")
    run_in(project, "stillroom", "prepare", *SHARDS)
    before = table(project)
    said = run_in(project, "stillroom", "prepare", *SHARDS).stdout
    assert "18 of 18 files unchanged since" in said and table(project) == before
    run_in(project, "stillroom", "prepare", "--look", *SHARDS)
    os.utime(project / "packed/test-000000.tar")
    assert "9 of 18 files unchanged since" in run_in(project, "stillroom", "prepare", *SHARDS).stdout
    assert table(project) == before


def test_a_bad_shard_is_one_message(photos: Path) -> None:  # noqa: F811
    project = photos.parent
    run_in(project, "stillroom", "prepare", *FOLDER)
    run_in(project, "stillroom", "prepare", "--pack", "packed", *FOLDER)
    before = table(project)
    shard = project / "packed/train-000000.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:5000])
    said = run_in(project, "stillroom", "prepare", *SHARDS, code=1).stderr
    assert "packed/train-000000.tar is a damaged tar file" in said and table(project) == before
    shard.unlink()
    said = run_in(project, "stillroom", "prepare", *SHARDS, code=1).stderr
    assert "no shard of train" in said
    with tarfile.open(project / "packed/train-000000.tar.gz", "w:gz"):
        pass
    said = run_in(project, "stillroom", "prepare", *SHARDS, code=1).stderr
    assert "train-000000.tar.gz" in said and "plain .tar" in said


@pytest.mark.parametrize("groups", [True, False])
def test_groups_survive_or_are_given_by_key(photos: Path, groups: bool) -> None:  # noqa: F811
    project = photos.parent
    (project / "groups.csv").write_text("file,group\ntrain/cat/0.png,ada\ntrain/dog/1.png,ada\n")
    keys = ["--set", "data.groups=groups.csv"] if groups else []
    run_in(project, "stillroom", "prepare", *FOLDER, *keys)
    run_in(project, "stillroom", "prepare", "--pack", "packed", *FOLDER, *keys)
    if not groups:
        (project / "groups.csv").write_text("file,group\ntrain/cat/0,ada\ntrain/dog/1,ada\n")
        keys = ["--set", "data.groups=groups.csv"]
    else:
        keys = []
    run_in(project, "stillroom", "prepare", *SHARDS, *keys)
    found = {row["key"] for row in table(project)["samples"] if row["group"] == "ada"}
    assert found == {"train/cat/0", "train/dog/1"}

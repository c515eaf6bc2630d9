"""Folders that stages replace: no input may lie in them, and nobody's file in them is deleted."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from stillroom import files
from tests.conftest import run_in
from tests.stages.test_access import stillroom

REPLACED = ("data", "teacher", "cache", "students", "report", ".staging")
STUDENT = ("student", "--family", "vit", "--arm", "kd")
FOLDERS = {
    "data": ("prepare",),
    "teacher": ("teacher",),
    "cache": ("cache", "--replace", "--set", "views.seed=1"),
    "students/vit-kd-0": STUDENT,
    "report": ("report",),
}
MINE = {
    "notes.md": "read me",
    "plots/mine.png": "a picture",
    "mine/deep/notes.txt": "read me too",
    "notes.md~": "an editor's",
    ".DS_Store": "a system's",
    ".gitignore": "/metrics.json",
}


def images(folder: Path) -> Path:
    for split in ("train", "test"):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (32, 32), (i, 60 * len(split), 0)).save(folder / split / name / f"{i}.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", REPLACED)
def test_images_in_a_folder_that_a_stage_replaces_are_refused(empty: Path, name: str) -> None:
    root = images(empty / "artifacts" / name / "mine")
    before = contents(empty)
    told = f"data.path = 'artifacts/{name}/mine' lies in artifacts/{name}"
    given = ("--set", f"data={{name: folder, path: artifacts/{name}/mine}}")
    for command in ("prepare", "teacher", "cache", "report", "plan"):
        done = run_in(empty, "stillroom", command, *given, code=2)
        assert told in done.stderr and "mv artifacts/" in done.stderr
    assert contents(empty) == before
    # ... by whatever name it goes
    (empty / "link").symlink_to(root)
    for path in ("link", f"../{empty.name}/artifacts/{name}/mine", str(root), f"artifacts/{name}"):
        done = run_in(empty, "stillroom", "prepare", "--set", f"data={{name: folder, path: {path}}}", code=2)
        assert f"lies in artifacts/{name}" in done.stderr
    assert contents(empty) == before


@pytest.mark.parametrize("key", ["teacher.weights", "student.model.weights", "student.model.family_weights"])
def test_weights_there_are_refused(empty: Path, key: str) -> None:
    file = empty / "artifacts/teacher/mine.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    name = str(file.relative_to(empty))
    value = f"{{vit: {name}}}" if key.endswith("family_weights") else name
    for command in (("prepare",), ("teacher",), STUDENT):
        done = run_in(empty, "stillroom", *command, "--set", f"{key}={value}", code=2)
        assert f"{key}" in done.stderr and f"{name!r} lies in artifacts/teacher" in done.stderr
        assert f"cp {name} start.safetensors" in done.stderr
    assert file.read_bytes() == b"mine"


def test_a_tilde_leads_into_a_folder_too(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(empty))
    file = empty / "artifacts/teacher/mine.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    for key, command in (("teacher.weights", "teacher"), ("student.model.weights", "prepare")):
        given = f"{key}=~/artifacts/teacher/mine.safetensors"
        said = run_in(empty, "stillroom", command, "--set", given, code=2).stderr
        assert "lies in artifacts/teacher" in said
    assert file.read_bytes() == b"mine"


def test_dvc_deletes_no_input_before_it_is_refused(project: Path) -> None:
    images(project / "artifacts/data/mine")
    params = project / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("{name: sketch40,", "{name: folder, path: artifacts/data/mine,"))
    # DVC removes it each time: the stage that writes it comes first
    (project / "artifacts/source.json").unlink()
    before = contents(project / "artifacts")
    done = run_in(project, "dvc", "repro", code=None)
    assert done.returncode != 0 and "lies in artifacts/data" in done.stdout + done.stderr
    assert contents(project / "artifacts") == before
    # weights beside the teacher's own files
    (project / "artifacts/teacher/mine.safetensors").write_bytes(b"mine")
    given = "  weights: artifacts/teacher/mine.safetensors\n  arch: convnext_atto\n"
    params.write_text(text.replace("  arch: convnext_atto\n", given))
    done = run_in(project, "dvc", "repro", code=None)
    assert done.returncode != 0 and "lies in artifacts/teacher" in done.stdout + done.stderr
    assert (project / "artifacts/teacher/mine.safetensors").read_bytes() == b"mine"
    # by the very name of an output too: what looks at the parameters first is run before DVC removes that
    shutil.rmtree(project / "artifacts/data/mine")
    own = project / "artifacts/teacher/model.safetensors"
    before = own.read_bytes()
    given = "  weights: artifacts/teacher/model.safetensors\n  arch: convnext_atto\n"
    params.write_text(text.replace("  arch: convnext_atto\n", given))
    done = run_in(project, "dvc", "repro", code=None)
    assert done.returncode != 0 and "lies in artifacts/teacher" in done.stdout + done.stderr
    assert own.read_bytes() == before


@pytest.mark.parametrize("name", FOLDERS)
def test_what_no_stage_wrote_stays(project: Path, name: str) -> None:
    folder = project / "artifacts" / name
    stages_own = contents(folder)
    for file, text in MINE.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    (folder / "elsewhere").symlink_to("/nowhere")
    (folder / "params").symlink_to("../")  # to a folder: it is a link that stays, not what lies behind it
    for _ in range(2):
        run_in(project, "stillroom", *FOLDERS[name])
    kept = project / "artifacts/cache.others1" if name == "cache" else folder  # in a cache each file counts
    found = contents(kept)
    assert {file: found[file].decode() for file in MINE} == MINE
    assert os.readlink(kept / "elsewhere") == "/nowhere" and os.readlink(kept / "params") == "../"
    assert contents(folder).keys() - MINE.keys() == stages_own.keys()
    if name == "cache":
        run_in(project, "stillroom", "store", "verify")
        assert not (project / "artifacts/cache.others2").exists()
    assert not list((project / "artifacts/.staging").glob(f"*.{8 * '?'}"))


@pytest.mark.parametrize("name", ["data", "teacher", "students/vit-kd-0", "report"])
def test_it_stays_under_dvc_too(project: Path, name: str) -> None:
    folder = project / "artifacts" / name
    (folder / "notes.md").write_text("read me")
    stage = {"data": "prepare", "students/vit-kd-0": "student@vit-kd-0"}.get(name, name)
    run_in(project, "dvc", "repro", "--force", "--single-item", stage)
    assert (folder / "notes.md").read_text() == "read me"


def test_files_of_an_older_run_do_not_stay(project: Path) -> None:
    """What a stage wrote is known by its name, not by what the stage writes this time."""
    root = images(project / "photos")
    run_in(project, "stillroom", "prepare", "--set", f"data={{name: folder, path: {root}}}")
    left = {file.name for file in (project / "artifacts/data").iterdir()}
    assert left == {"samples.parquet", "report.json"}
    run_in(project, "stillroom", "cache", "--set", "cache.store=hdf5", "--params", "params.yaml", code=2)
    run_in(project, "stillroom", "prepare")
    run_in(project, "stillroom", "cache", "--set", "cache.store=hdf5", "--replace")
    assert {file.name for file in (project / "artifacts/cache").iterdir()} == {
        "manifest.json",
        "store.h5",
        "blocks",
    }


def test_a_name_that_is_taken_loses_nothing(project: Path) -> None:
    folder = project / "artifacts/students/vit-kd-0"
    shutil.rmtree(folder / "plots")
    (folder / "plots").write_text("mine")
    before = contents(folder)
    done = run_in(project, "stillroom", *STUDENT, code=1)
    assert "artifacts/students/vit-kd-0 cannot be written" in done.stderr and "plots" in done.stderr
    assert contents(folder) == before


def test_a_file_in_a_folders_place_is_refused_before_any_work(empty: Path) -> None:
    (empty / "artifacts").mkdir()
    (empty / "artifacts/data").write_text("mine")
    done = run_in(empty, "stillroom", "prepare", code=1)
    assert "artifacts/data is a file" in done.stderr and "drawing" not in done.stdout
    assert (empty / "artifacts/data").read_text() == "mine"


def test_what_is_no_cache_is_refused_before_the_teacher_runs(project: Path) -> None:
    cache = project / "artifacts/cache"
    shutil.rmtree(cache)
    cache.mkdir()
    (cache / "thesis.tex").write_text("mine")
    shutil.rmtree(project / "artifacts/.staging")
    done = run_in(project, "stillroom", "cache", "--replace", code=1)
    assert "holds something that is no cache" in done.stderr and "thesis.tex" in done.stderr
    assert not list((project / "artifacts").glob(".staging/*/*.block"))
    (cache / "thesis.tex").rename(project / "thesis.tex")
    (cache / ".DS_Store").write_text("a system's")
    said = run_in(project, "stillroom", "cache").stdout
    assert "cache.others1:" in said and (cache / "manifest.json").exists()


def test_a_kill_between_the_two_renames_loses_nothing(project: Path) -> None:
    """As it is left by a kill when the old folder is away and the new one not yet there."""
    folder, staging = project / "artifacts/report", project / "artifacts/.staging"
    (folder / "notes.md").write_text("mine")
    left = staging / f"{files._prefix(folder, staging)}abcd1234"
    (left / "new").mkdir(parents=True)
    folder.rename(left / "old")
    run_in(project, "stillroom", "report")
    assert (folder / "notes.md").read_text() == "mine" and not left.exists()


def test_what_cannot_be_seen_is_not_replaced(project: Path) -> None:
    """Before the work begins: a folder that cannot be listed could not be carried over."""
    mine = project / "artifacts/data/mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    mine.chmod(0)
    try:
        done = stillroom(project, "prepare")
        assert done.returncode == 1 and "artifacts/data" in done.stderr and "ermission denied" in done.stderr
    finally:
        mine.chmod(0o755)
    assert (mine / "notes.txt").read_text() == "mine"
    run_in(project, "stillroom", "prepare")
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_folder_that_was_a_link_is_said_to_be_none_now(project: Path, tmp_path: Path) -> None:
    (project / "artifacts/report").rename(tmp_path / "elsewhere")
    (project / "artifacts/report").symlink_to(tmp_path / "elsewhere")
    said = run_in(project, "stillroom", "report").stderr
    assert "artifacts/report was a link to" in said
    assert not (project / "artifacts/report").is_symlink()
    assert (tmp_path / "elsewhere/index.html").exists()

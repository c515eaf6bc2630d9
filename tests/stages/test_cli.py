"""The command line: quick to answer, clear about what is wrong, and nothing half-written left behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests import warm
from tests.conftest import BIN, environment, run_in, until
from tests.warm import LONGEST


def leftovers(folder: Path) -> list[str]:
    """Everything below artifacts/ but staged blocks, which are meant to stay."""
    return sorted(
        str(file.relative_to(folder))
        for file in (folder / "artifacts").rglob("*")
        if ".staging" not in file.parts and not file.is_dir()
    )


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run([BIN / "stillroom", "--help"], capture_output=True, text=True, check=True)
    for command in ("prepare", "teacher", "cache", "student", "report", "store", "share", "preset"):
        assert f"\n  {command} " in done.stdout
    heavy = (
        "torch",
        "timm",
        "numpy",
        "PIL",
        "zarr",
        "h5py",
        "sklearn",
        "scipy",
        "dvc",
        "dvclive",
        "pydantic",
        "huggingface_hub",
        "fsspec",
    )
    code = f"import sys, stages.cli; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    [
        "folder",
        "poses",
        "sketch40",
        "stanford40",
        "stanford40-cpu",
        "stanford40-cpu-views",
        "stanford40-scratch",
    ],
)
def test_a_preset_is_printed_whole_and_can_be_used_at_once(tmp_path: Path, name: str) -> None:
    text = run_in(tmp_path, "stillroom", "preset", name).stdout
    assert text.startswith("# ")
    (tmp_path / "params.yaml").write_text(text)
    changed = run_in(tmp_path, "stillroom", "preset", name, "--set", "student.train.epochs=7").stdout
    assert "epochs: 7" in changed and changed.startswith(text.splitlines()[0])
    assert name in run_in(tmp_path, "stillroom", "preset").stdout


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["preset", "stanford4"], 2, ["stanford40?"]),
        (["preset", "sketch40", "--set", "views.cuont=3"], 2, ["views.count?"]),
        (["prepare", "--set", "data.nme=sketch40"], 2, ["data.name?"]),
        (["prepare", "--set", "views.count=many"], 2, ["views.count = 'many'", "integer"]),
        (["prepare", "--params", "nowhere.yaml"], 2, ["nowhere.yaml is not there", "preset"]),
        (["prepare", "--set", "data.name=folder", "--set", "data.path=nowhere"], 1, ["nowhere"]),
        (["prepare", "--set", "data.name=stanford40", "--set", "data.path=nowhere"], 1, ["nowhere"]),
        (["teacher"], 1, ["samples.parquet is not there", "stillroom prepare"]),
        (["cache"], 1, ["teacher.json is not there", "stillroom teacher"]),
        (["student", "--family", "vit", "--arm", "kd"], 1, ["samples.parquet is not there"]),
        (["student", "--family", "swim", "--arm", "kd"], 2, ["did you mean swin?"]),
        (["student", "--family", "vit", "--arm", "dk"], 2, ["valid: ce, kd"]),
        (["report", "--show"], 1, ["no report", "dvc repro"]),
        (["report"], 1, ["manifest.json"]),
        (["store", "info", "nowhere"], 1, ["nowhere"]),
        (["share", "artifacts/cache"], 2, ["Missing argument 'ADDRESS'"]),
        (["share", "artifacts/cache", "hf://datasets/lab/demo"], 1, ["artifacts/cache is no folder"]),
        (["frobnicate"], 2, ["frobnicate"]),
    ],
)
def test_what_is_wrong_is_said_with_the_documented_exit_code(
    empty: Path, command: list[str], code: int, words: list[str]
) -> None:
    done = run_in(empty, "stillroom", *command, code=code)
    for word in words:
        assert word in done.stderr
    assert leftovers(empty) == []


def test_an_unwritable_output_folder_is_said_before_any_work(empty: Path) -> None:
    (empty / "artifacts").write_text("in the way")
    done = run_in(empty, "stillroom", "prepare", code=1)
    assert "artifacts/data cannot be written" in done.stderr and "writable" in done.stderr
    assert (empty / "artifacts").read_text() == "in the way"


def test_damaged_images_are_all_named_and_nothing_is_written(empty: Path) -> None:
    root = empty / "images"
    for split in ("train", "test"):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (32, 32), (i, 0, 0)).save(folder / f"{i}.jpg")
    whole = (root / "train/a/1.jpg").read_bytes()
    (root / "train/a/1.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "test/b/2.jpg").write_bytes(b"")
    done = run_in(empty, "stillroom", "prepare", "--set", "data={name: folder, path: images}", code=1)
    assert "train/a/1.jpg" in done.stderr and "test/b/2.jpg" in done.stderr
    assert leftovers(empty) == []


def test_progress_is_plain_lines_where_there_is_no_terminal(empty: Path) -> None:
    done = run_in(empty, "stillroom", "prepare")
    assert "drawing sketch40: 120 of 120 images" in done.stdout and "images/s" in done.stdout
    assert "\x1b" not in done.stdout and "\r" not in done.stdout


def test_progress_is_a_bar_on_a_terminal(empty: Path) -> None:
    script = ["script", "-qec", "stillroom prepare", "/dev/null"]
    done = subprocess.run(
        script,
        cwd=empty,
        env={**environment(), "TERM": "xterm"},
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    assert done.returncode == 0 and "\x1b[" in done.stdout and "120/120" in done.stdout


def test_ctrl_c_ends_a_stage_cleanly(project: Path) -> None:
    before = leftovers(project)
    command = ("stillroom", "teacher", "--set", "teacher.train.epochs=100000")
    process = warm.start(command, project, environment())
    try:
        until(lambda: (project / "artifacts/.staging/live/teacher/plots/metrics/loss.tsv").exists(), process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 75 and "stopped" in said and "Traceback" not in said
    assert leftovers(project) == before
    left = {file.suffix for file in (project / "artifacts/.staging").glob("teacher.*")}
    assert left == {".lock", ".checkpoint"}  # what the same command goes on from

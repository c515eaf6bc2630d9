"""What becomes of a command where its output goes nowhere, or to a terminal of another encoding."""

import json
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from tests.conftest import environment, run_in


def piped(folder: Path, command: str, **variables: str) -> subprocess.CompletedProcess:
    """Run a shell line; the exit code is that of `stillroom`, not of what it is piped to."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env=environment() | variables,
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # of another encoding, on purpose
        timeout=300,
    )


def test_work_goes_on_where_nobody_reads_what_it_says(project: Path) -> None:
    record = project / "artifacts/teacher/teacher.json"
    before = record.stat().st_mtime
    done = piped(project, "stillroom teacher | head -c 0")
    assert done.returncode == 0 and done.stderr == ""
    assert record.stat().st_mtime > before


@pytest.mark.parametrize("command", ["preset sketch40", "store info", "plan --no-measure", "report --show"])
def test_a_reader_that_stops_early_is_no_failure(project: Path, command: str) -> None:
    done = piped(project, f"stillroom {command} | head -c 0")
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_lacks_letters_shows_the_table(project: Path, encoding: str) -> None:
    done = piped(project, "stillroom report --show", PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stderr == ""
    assert "vit_tiny_patch1." in done.stdout and "mean gain" in done.stdout


def test_what_a_terminal_cannot_show_is_an_escape(project: Path) -> None:
    command = "stillroom plan --no-measure --set 'cache.teachers={logits: 日本}'"
    done = piped(project, command, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0 and "there is none in \\u65e5\\u672c yet" in done.stdout


def test_classes_of_one_image_are_named_on_any_terminal(empty: Path) -> None:
    for split in ("train", "test"):
        for name in ("日本", "é"):
            (empty / "images" / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), (len(split), len(name), 0)).save(
                empty / "images" / split / name / "a.png"
            )
    data = "--set data.name=folder --set data.path=images"
    assert piped(empty, f"stillroom prepare {data}").returncode == 0
    done = piped(
        empty,
        f"stillroom prepare {data} --set data.val_fraction=0.5",
        PYTHONIOENCODING="latin-1",
    )
    assert (
        done.returncode == 1
        and "\\u65e5\\u672c: 1 in train" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert "raise data.val_fraction" not in done.stderr  # one image cannot be divided


def test_a_preset_is_utf_8_whatever_the_terminal_is(empty: Path) -> None:
    done = piped(
        empty,
        "stillroom preset sketch40 --set report.title=日本 > made.yaml",
        PYTHONIOENCODING="latin-1",
    )
    assert done.returncode == 0
    assert YAML(typ="safe").load((empty / "made.yaml").read_bytes())["report"]["title"] == "日本"


def test_students_that_the_parameters_do_not_name_are_said_to_be_left_out(project: Path) -> None:
    assert "note:" not in run_in(project, "stillroom", "report").stdout
    said = run_in(project, "stillroom", "report", "--set", "student.families=[pvt]").stdout
    assert "note: not in the table: vit-ce-0, vit-kd-0" in said
    held = json.loads((project / "artifacts/report/results.json").read_text())
    assert [line["family"] for line in held["summary"]] == ["pvt"]


def test_a_project_without_git_runs_every_stage(project: Path, tmp_path: Path) -> None:
    """As it is unpacked from a zip file; DVC is told so (`make demo` does it)."""
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for name in (".dvc", "artifacts", "dvc.yaml", "params.yaml", "pipeline", "stages"):
        (project / name).rename(folder / name)
    run_in(folder, "stillroom", "teacher")
    run_in(folder, "stillroom", "cache", "--replace")
    run_in(folder, "stillroom", "student", "--family", "vit", "--arm", "kd")
    run_in(folder, "dvc", "config", "--local", "core.no_scm", "true")
    run_in(folder, "dvc", "status", "prepare")

"""`stillroom doctor`: what this machine has and what of it will be a problem, on one screen."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import warm
from tests.confined import possible
from tests.conftest import BIN, environment, run_in

FACTS = {
    "versions",
    "codecs",
    "extras",
    "device",
    "project",
    "cores",
    "memory",
    "shm",
    "artifacts",
    "variables",
}


def doctor(
    folder: Path, *options: str, before: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    command = ("stillroom", "doctor", *options)
    done = warm.run(command, folder, environment() | variables, before=before)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def told(done: subprocess.CompletedProcess[str]) -> tuple[dict, dict[str, dict]]:
    """The facts, and the problems by what they are."""
    found = json.loads(done.stdout)
    assert found["ok"] is not any(one["stops"] for one in found["problems"])
    assert done.returncode == (0 if found["ok"] else 1)
    assert all(one["what"] and one["do"] for one in found["problems"])
    return found["facts"], {one["what"]: one for one in found["problems"]}


def test_it_needs_no_project_and_fits_on_one_screen(tmp_path: Path) -> None:
    lines = run_in(tmp_path, "stillroom", "doctor").stdout.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    said = "\n".join(lines)
    for word in (
        "stillroom ",
        "torch ",
        "jpeg-turbo ",
        "cores ",
        "memory ",
        "locks work",
        "HF_HUB_OFFLINE=1",
    ):
        assert word in said
    facts, _ = told(run_in(tmp_path, "stillroom", "doctor", "--json"))
    assert facts.keys() == FACTS
    assert facts["artifacts"]["locks"] is True and facts["artifacts"]["rename"] is True
    assert list(tmp_path.iterdir()) == []


def test_it_says_whether_the_parameters_can_be_used(empty: Path) -> None:
    facts, _ = told(run_in(empty, "stillroom", "doctor", "--json"))
    assert facts["project"] == {"git": False, "dvc": False, "params": "can be read"}
    text = (empty / "params.yaml").read_text()
    for wrong, what in (
        (text.replace("count: 3", "cuont: 3"), "views.cuont"),
        (text.replace("data: {", "data: {path: artifacts/data/mine, "), "lies in artifacts/data"),
        ("views: [", "is not valid YAML"),
    ):
        (empty / "params.yaml").write_text(wrong)
        done = run_in(empty, "stillroom", "doctor", code=1)
        assert what in done.stdout and "params.yaml cannot be used" in done.stdout


@pytest.mark.parametrize("packages", [["torch"], ["timm", "h5py", "dvc"]])
def test_a_package_that_cannot_be_imported_is_a_line(empty: Path, packages: list[str]) -> None:
    (empty / "broken").mkdir()
    for package in packages:
        (empty / f"broken/{package}.py").write_text(f"raise OSError('lib{package}.so.1: cannot open')\n")
    done = subprocess.run(  # from nothing: imports are what it is about
        [str(BIN / "stillroom"), "doctor", "--json"],
        cwd=empty,
        env=environment() | {"PYTHONPATH": str(empty / "broken")},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    facts, problems = told(done)
    for package in packages:
        assert f"lib{package}.so.1" in facts["versions"][package]
        assert problems[f"{package} cannot be imported"]["stops"] is True
        assert "pip install" in problems[f"{package} cannot be imported"]["do"]


def test_a_repository_without_a_commit_is_named(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    done = run_in(tmp_path, "stillroom", "doctor", code=1)
    assert "stops: the git repository has no commit" in done.stdout and "git commit" in done.stdout


def test_a_detached_checkout_has_a_commit(tmp_path: Path) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    for command in (
        ["init", "-q"],
        [*who, "commit", "-q", "--allow-empty", "-m", "start"],
        ["checkout", "-q", "--detach"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    for head in (tmp_path / ".git/refs/heads").iterdir():
        head.unlink()
    assert "no commit" not in run_in(tmp_path, "stillroom", "doctor").stdout


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0 and not possible("give_up_capabilities()"):
        pytest.skip("root may write anywhere, and that cannot be given up here")
    before = "give_up_capabilities()" if os.geteuid() == 0 else ""
    tmp_path.chmod(0o555)
    try:
        done = warm.run(("stillroom", "doctor"), tmp_path, environment(), before=before)
    finally:
        tmp_path.chmod(0o755)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"stops: nothing can be written in {tmp_path}" in " ".join(done.stdout.split())


def test_variables_that_slow_or_stop_are_named(tmp_path: Path) -> None:
    facts, problems = told(doctor(tmp_path, "--json", STILLROOM_WORKERS="5000", STILLROOM_LOCKS="off"))
    assert facts["variables"]["STILLROOM_WORKERS"] == "5000" and facts["cores"]["workers"] == 5000
    assert any(what.startswith("5000 workers share") for what in problems) and "locks are off" in problems
    facts, problems = told(doctor(tmp_path, "--json", STILLROOM_WORKERS="²", STILLROOM_LOCKS="no"))
    assert {"STILLROOM_WORKERS='²' is not a number of processes"} <= problems.keys()
    assert {"STILLROOM_LOCKS='no' is neither on nor off"} <= problems.keys()


def test_a_small_container_is_seen_as_it_is(tmp_path: Path, limited: list[Path]) -> None:
    """8 MB of /dev/shm, half a gibibyte of memory and one core of the machine's."""
    if not possible("shrink_shared_memory('8m')"):
        pytest.skip("mounts of one's own cannot be made here")
    before = f"shrink_shared_memory('8m'); enter({[*map(str, limited)]})"

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        done = doctor(tmp_path, *options, before=before, STILLROOM_WORKERS="2")
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    facts, problems = told(run("--json"))
    assert facts["shm"]["size"] == 2**23
    assert facts["memory"]["limit"] == 2**29 and facts["memory"]["images"] == 2**27
    assert facts["cores"]["quota"] == facts["cores"]["used"] == facts["cores"]["threads"] == 1
    assert not [what for what in problems if "shm" in what], "no view needs it"
    assert "512 MiB of memory" in problems
    lines = run().stdout.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    print("\n".join(lines))

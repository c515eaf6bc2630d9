"""Who may read: the umask holds for whatever a stage writes, and what may not be read is called just that."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests import warm
from tests.confined import possible
from tests.conftest import environment

STUDENT = ("student", "--family", "vit", "--arm", "ce")


def stillroom(folder: Path, *command: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody to whom a file's mode applies: as root without root's way around it."""
    before = f"os.umask({umask})"
    if os.geteuid() == 0:
        if not possible("give_up_capabilities()"):
            pytest.skip("root may read everything, and that cannot be given up here")
        before += "; give_up_capabilities()"
    done = warm.run(("stillroom", *command), folder, environment(), before=before)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_the_umask_holds_for_every_file(project: Path, umask: int) -> None:
    """Blocks and checkpoints too: a colleague may go on from them."""
    shutil.rmtree(project / "artifacts")
    for command in (
        ("prepare",),
        ("teacher",),
        ("cache", "--set", "cache.store=hdf5"),
        STUDENT,
    ):
        done = stillroom(project, *command, umask=umask)
        assert done.returncode == 0, done.stderr
    wrong = {
        str(path.relative_to(project)): oct(found)
        for path in (project / "artifacts").rglob("*")
        if (found := stat.S_IMODE(path.stat().st_mode)) != (0o777 if path.is_dir() else 0o666) & ~umask
    }
    assert wrong == {}


FILES = {
    "artifacts/data/samples.parquet": [STUDENT, ("teacher",), ("report",)],
    "artifacts/teacher/teacher.json": [("cache",), ("report",)],
    "artifacts/teacher/model.safetensors": [("cache", "--replace", "--set", "views.seed=3")],
    "artifacts/teacher/predictions.safetensors": [("report",)],
    "artifacts/students/vit-kd-0/student.json": [
        ("predict", "x.png", "--student", "artifacts/students/vit-kd-0")
    ],
    "artifacts/students/vit-kd-0/model.safetensors": [
        ("predict", "x.png", "--student", "artifacts/students/vit-kd-0")
    ],
    "artifacts/students/vit-kd-0": [
        ("report",),
        ("predict", "x.png", "--student", "artifacts/students/vit-kd-0"),
    ],
    "artifacts/report/results.json": [("report", "--show")],
    "artifacts/cache/manifest.json": [
        STUDENT,
        ("store", "info"),
        ("store", "verify"),
        ("cache", "--replace"),
    ],
    "artifacts/cache/views/box/c/0/0/0": [STUDENT, ("store", "verify")],
    "artifacts/cache/logits/c/0": [("student", "--family", "vit", "--arm", "kd")],
    "artifacts/data/sketch40/JPEGImages": [STUDENT],
    "weights.safetensors": [("teacher", "--set", "teacher.weights=weights.safetensors")],
}


@pytest.mark.parametrize("name", FILES)
def test_what_may_not_be_read_is_not_called_damaged(project: Path, name: str) -> None:
    shutil.copy(project / "artifacts/teacher/model.safetensors", project / "weights.safetensors")
    path = project / name
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        for command in FILES[name]:
            done = stillroom(project, *command)
            said = done.stdout + done.stderr
            assert done.returncode == 1 and "permission denied" in said and "chmod" in said, said
            assert name.removeprefix("artifacts/cache/") in said, said
            assert "fetch it again" not in said and "is damaged" not in said and "not there" not in said, said
    finally:
        path.chmod(mode)


def test_a_staged_block_that_may_not_be_read_is_kept(project: Path) -> None:
    block = min((project / "artifacts/.staging").glob("*/*.block"))
    shutil.rmtree(project / "artifacts/cache")
    content = block.read_bytes()
    block.chmod(0)
    done = stillroom(project, "cache")
    assert done.returncode == 1 and "permission denied" in done.stderr and block.name in done.stderr
    block.chmod(0o644)
    assert block.read_bytes() == content

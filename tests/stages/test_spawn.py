"""Workers that are spawned, as on macOS: the same bits; stopped, killed and failing as forked ones are."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests import warm
from tests.conftest import environment, run_in, until
from tests.processes import kill_all
from tests.stages.test_resume import KD, STEPS, checkpoints, weights
from tests.stages.test_workers import LONG

SPAWN = {"STILLROOM_START_METHOD": "spawn", "STILLROOM_WORKERS": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SPAWN.items():
        monkeypatch.setenv(name, value)


def test_a_cache_and_a_student_are_the_same_to_the_bit(project: Path) -> None:
    manifest = (project / "artifacts/cache/manifest.json").read_bytes()
    student = weights(project, "vit-kd-0")
    run_in(project, "stillroom", "cache", "--replace", "--set", "cache.store=hdf5")
    assert (project / "artifacts/cache/manifest.json").read_bytes() != manifest
    run_in(project, "stillroom", "cache", "--replace")
    assert (project / "artifacts/cache/manifest.json").read_bytes() == manifest
    run_in(project, "stillroom", *KD)
    assert weights(project, "vit-kd-0") == student


def workers(process: warm.Process) -> list[psutil.Process]:
    """Those that render: beside them Python has one that looks after what is shared."""
    return [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]


@pytest.mark.parametrize("begun", [False, True], ids=["at once", "mid-run"])
def test_ctrl_c_in_a_terminal_stops_the_run_and_not_its_workers_first(project: Path, begun: bool) -> None:
    """It reaches all processes of the group, also one that is still importing what it needs."""
    changed = {**environment(), **SPAWN, "STILLROOM_CHECKPOINT_SECONDS": "0"}
    process = warm.start(("stillroom", *KD, *LONG), project, changed)
    until(lambda: checkpoints(project, "vit-kd-0") if begun else workers(process), process)
    os.killpg(process.pid, signal.SIGINT)
    process.wait()
    assert process.returncode == 75, process.stderr
    assert "Traceback" not in process.stderr and "error:" not in process.stderr
    assert not begun or checkpoints(project, "vit-kd-0")


def test_a_killed_run_leaves_no_worker_and_no_lock(project: Path) -> None:
    process = warm.start(("stillroom", *KD, *LONG), project, {**environment(), **SPAWN})
    until(lambda: workers(process), process)
    left = workers(process)
    process.kill()  # it alone
    process.wait()
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in left))
    kill_all(process)
    run_in(project, "stillroom", *KD, *STEPS)  # the lock is free


def test_what_a_worker_raises_is_the_commands_message(project: Path) -> None:
    file = next((project / "artifacts/data/sketch40/JPEGImages").glob("*.jpg"))
    changed = {**environment(), **SPAWN}
    for one in file.parent.glob("*.jpg"):
        one.write_bytes(b"no image")
    done = warm.run(("stillroom", *KD), project, changed)
    assert done.returncode == 1 and done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr

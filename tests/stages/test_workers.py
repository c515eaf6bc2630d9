"""Processes that render views: what goes wrong in one, or with one, ends the command with one message."""

import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from stillroom.modalities import load_samples
from tests import warm
from tests.confined import possible
from tests.conftest import environment, until

KD = ["student", "--family", "vit", "--arm", "kd"]
NO_SHARED_MEMORY = "shrink_shared_memory('4k')"
FEW_FILES = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))"
LONG = ["--set", "student.train.epochs=4000", "--set", "student.train.batch_size=10"]


def start(project: Path, *command: str, workers: int = 2, before: str = "", **settings: str) -> warm.Process:
    changed = {"STILLROOM_WORKERS": str(workers), "OMP_NUM_THREADS": "1", **settings}
    return warm.start(("stillroom", *command), project, {**environment(), **changed}, before=before)


def a_worker(process: warm.Process) -> psutil.Process | None:
    return next(iter(psutil.Process(process.pid).children()), None)


def message(process: warm.Process) -> str:
    """What a command that failed said; it must have ended with exit code 1 and one message."""
    _, said = process.communicate()
    assert process.returncode == 1, said
    assert said.count("error: ") == 1 and said.startswith("error: ") and "Traceback" not in said, said
    return said


def reach(process: warm.Process, number: signal.Signals) -> bool:
    """Send a signal to a worker; they come and go with the epochs."""
    try:
        worker = next(iter(psutil.Process(process.pid).children()))
        if worker.status() != psutil.STATUS_ZOMBIE:
            worker.send_signal(number)
    except (StopIteration, psutil.NoSuchProcess):
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_killed_worker_ends_the_run_and_its_checkpoint_is_kept(
    project: Path, number: signal.Signals
) -> None:
    process = start(project, *KD, *LONG, STILLROOM_CHECKPOINT_SECONDS="0")
    until(lambda: checkpoints(project), process)
    while process.poll() is None:  # the first may have done its work already
        reach(process, number)
        time.sleep(0.05)
    said = message(process)
    assert f"killed by {number.name}" in said and "STILLROOM_WORKERS" in said and "same command" in said
    assert checkpoints(project)


def checkpoints(project: Path) -> list[Path]:
    return [*project.glob("artifacts/.staging/vit-kd-0*checkpoint")]


def test_a_killed_worker_ends_stage_one_and_blocks_are_kept(project: Path) -> None:
    shutil.rmtree(project / "artifacts/cache")
    shutil.rmtree(project / "artifacts/.staging")
    process = start(project, "cache", "--set", "views.count=4000")
    until(lambda: [*project.glob("artifacts/.staging/*/*.block")], process)
    while process.poll() is None:
        reach(process, signal.SIGKILL)
        time.sleep(0.05)
    assert "killed by SIGKILL" in message(process)
    assert [*project.glob("artifacts/.staging/*/*.block")]


@pytest.mark.parametrize("damage", ["vanished", "replaced"])
def test_an_image_that_a_worker_cannot_use_is_named_as_without_workers(project: Path, damage: str) -> None:
    samples = load_samples(project / "artifacts/data").in_splits("test")
    image = samples.file(samples.rows[0])
    if damage == "vanished":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes() + b" ")
    with_workers, without = (message(start(project, *KD, workers=workers)) for workers in (2, 0))
    assert with_workers == without and image.stem in with_workers


def test_workers_end_with_a_killed_parent(project: Path) -> None:
    process = start(project, *KD, *LONG)
    until(lambda: a_worker(process), process)
    parent = psutil.Process(process.pid)
    parent.suspend()  # its workers of this moment
    workers = parent.children()
    parent.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive


def test_where_no_process_can_be_started_the_message_says_what_to_set(project: Path) -> None:
    """Too few open files: a pipe for each."""
    process = start(project, *KD, "--set", "student.train.batch_size=2", workers=60, before=FEW_FILES)
    said = message(process)
    assert "cannot be started" in said and "set STILLROOM_WORKERS to fewer" in said


@pytest.mark.skipif(not possible(NO_SHARED_MEMORY), reason="needs root: mounts a /dev/shm")
def test_no_shared_memory_is_needed(project: Path) -> None:
    """Batches of 64 squares of 96 pixels are 1.8 MB; a container has 64 MB, this one a page."""
    big = ["--set", "views.size=96", "--set", "views.count=1", "--set", "teacher.train.batch_size=64"]
    big += ["--set", "teacher.overrides.patch_size=32", "--set", "student.train.batch_size=64"]
    big += ["--set", "student.train.epochs=1", "--set", "student.train.warmup_epochs=0"]
    big += ["--set", "cache.batch_size=64"]
    for command in (["teacher"], ["cache", "--replace"], KD):
        process = start(project, *command, *big, workers=4, before=NO_SHARED_MEMORY)
        said, wrong = process.communicate()
        assert process.returncode == 0, said + wrong
    assert "vit kd 0: accuracy" in said

"""SIGINT and SIGTERM end a run with one message, and what was done is kept to the last step."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.conftest import BIN, environment, run_in

KD = ["student", "--family", "pvt", "--arm", "kd", "--set", "student.train.drop_path=0.0"]
STEPS = ["--set", "student.train.batch_size=10", "--set", "student.train.epochs=400"]
SOON = ["--set", "student.train.batch_size=10", "--set", "student.train.epochs=6"]
STOPPED = "stopped; finished work is kept: the same command goes on from there\n"
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def heard() -> None:
    """A shell's background jobs, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(project: Path, *command: str, **settings: str) -> subprocess.Popen:
    """A command in a process group of its own; its output goes to a file that `said` reads."""
    return subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=project,
        env={**environment(), "OMP_NUM_THREADS": "1", **settings},
        stdout=(project / "out.log").open("wb"),
        stderr=(project / "err.log").open("wb"),
        start_new_session=True,
        preexec_fn=heard,
    )


def said(project: Path) -> str:
    return (project / "err.log").read_text()


def until(condition: Callable[[], object], process: subprocess.Popen, project: Path) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end, said(project)
        time.sleep(0.005)


def epochs(project: Path, name: str = "pvt-kd-0") -> int:
    """How many epochs its log has."""
    log = project / f"artifacts/.staging/live/{name}/plots/metrics/loss.tsv"
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0


def checkpoints(project: Path, name: str = "pvt-kd-0") -> list[Path]:
    return [*project.glob(f"artifacts/.staging/{name}*checkpoint*")]


def ended(process: subprocess.Popen) -> int:
    try:
        return process.wait(120)
    finally:
        process.kill()


@BOTH
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_student_goes_on_to_the_same_bits(
    project: Path, number: signal.Signals, workers: int
) -> None:
    """The signal reaches all its processes, as a terminal's Ctrl-C does; no checkpoint was due yet."""
    weights = project / "artifacts/students/pvt-kd-0/model.safetensors"
    run_in(project, "stillroom", *KD, *SOON)
    whole = weights.read_bytes()
    process = start(project, "stillroom", *KD, *SOON, STILLROOM_WORKERS=str(workers))
    until(lambda: epochs(project) >= 2, process, project)
    assert not checkpoints(project)
    os.killpg(process.pid, number)
    assert ended(process) == 1 and said(project) == STOPPED
    assert len(checkpoints(project)) == 1
    told = run_in(project, "stillroom", *KD, *SOON).stdout
    assert re.search(r"resumed: [2-6] of 6 epochs", told), told
    assert weights.read_bytes() == whole and not checkpoints(project)


def test_a_teacher_stopped_goes_on(project: Path) -> None:
    train = ["teacher", "--set", "teacher.train.batch_size=10", "--set", "teacher.train.epochs=400"]
    process = start(project, "stillroom", *train)
    until(lambda: epochs(project, "teacher") >= 1, process, project)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 1 and said(project) == STOPPED
    process = start(project, "stillroom", *train)
    until(lambda: "resumed: " in (project / "out.log").read_text(), process, project)
    process.send_signal(signal.SIGINT)
    assert ended(process) == 1 and said(project) == STOPPED


def test_a_second_signal_ends_a_step_that_does_not_end(project: Path) -> None:
    process = start(project, "stillroom", *KD, *STEPS, STILLROOM_WORKERS="1")
    until(lambda: epochs(project) >= 1, process, project)
    worker = None
    while worker is None or worker.status() != psutil.STATUS_STOPPED:  # they come and go with the epochs
        worker = next(iter(psutil.Process(process.pid).children()), worker)
        if worker is not None and worker.is_running():
            try:
                worker.suspend()
                time.sleep(0.05)
                worker.status()
            except psutil.NoSuchProcess:
                worker = None
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    process.send_signal(signal.SIGINT)
    assert ended(process) == 1 and said(project) == STOPPED


@BOTH
def test_a_stage_without_checkpoint_ends_with_one_message(project: Path, number: signal.Signals) -> None:
    process = start(project, "stillroom", "cache", "--set", "views.count=4000", STILLROOM_WORKERS="2")
    until(lambda: len([*project.glob("artifacts/.staging/*/*.block")]) > 12, process, project)
    os.killpg(process.pid, number)
    assert ended(process) == 1 and said(project) == STOPPED


@BOTH
def test_a_signal_while_the_model_is_made(project: Path, number: signal.Signals) -> None:
    process = start(project, "stillroom", *KD, *STEPS)
    lock = project / "artifacts/.staging/pvt-kd-0.lock"
    lock.unlink(missing_ok=True)
    until(lambda: lock.exists() and lock.read_text().strip(), process, project)
    process.send_signal(number)
    assert ended(process) == 1 and said(project) == STOPPED
    assert not [*project.glob(f"artifacts/.staging/pvt-kd-0.{8 * '?'}")]


def ranks_of(process: subprocess.Popen) -> list[psutil.Process]:
    """The processes that torchrun started, first and second."""
    found = psutil.Process(process.pid).children()
    return sorted((one for one in found if "RANK" in one.environ()), key=lambda one: one.environ()["RANK"])


@pytest.mark.parametrize("to", ["torchrun", "group", "one"])
def test_all_processes_of_a_run_stop_after_the_same_step(project: Path, to: str) -> None:
    torchrun = ["torchrun", "--no-python", "--nproc-per-node", "2", "stillroom"]
    process = start(project, *torchrun, *KD, *STEPS, STILLROOM_WORKERS="1")
    until(lambda: epochs(project) >= 1, process, project)
    if to == "torchrun":
        process.send_signal(signal.SIGTERM)
    elif to == "group":  # as Slurm does
        for one in [process, *ranks_of(process)]:
            one.send_signal(signal.SIGTERM)
    else:
        ranks_of(process)[1].terminate()
    assert ended(process) != 0
    assert said(project).count(STOPPED) == 1 and "error: " not in said(project)
    assert [file.suffix for file in checkpoints(project)] == [".checkpoint"]
    process = start(project, "stillroom", *KD, *STEPS)
    until(lambda: "resumed: " in (project / "out.log").read_text(), process, project)
    process.kill()
    process.wait()


def test_ctrl_c_of_repro_keeps_the_step(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 4, batch_size: 40", "epochs: 400, batch_size: 10"))
    process = start(project, "dvc", "repro", "--single-item", "student@pvt-kd-0")
    until(lambda: epochs(project) >= 1, process, project)
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) != 0
    assert STOPPED in said(project) and "Traceback" not in said(project)
    assert len(checkpoints(project)) == 1

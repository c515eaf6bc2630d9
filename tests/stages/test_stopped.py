"""SIGINT and SIGTERM end a run with one message, and what was done is kept to the last step."""

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from stillroom.stopping import EXIT_CODE
from tests import conftest, warm
from tests.conftest import BIN, copy_project, environment, run_in, until

KD = ["student", "--family", "pvt", "--arm", "kd", "--set", "student.train.drop_path=0.0"]
STEPS = ["--set", "student.train.batch_size=10", "--set", "student.train.epochs=400"]
SOON = ["--set", "student.train.batch_size=10", "--set", "student.train.epochs=6"]
STOPPED = "stopped; finished work is kept: the same command goes on from there\n"
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def start(project: Path, *command: str, **settings: str) -> warm.Process:
    return warm.start(command, project, {**environment(), "OMP_NUM_THREADS": "1", **settings})


def epochs(project: Path, name: str = "pvt-kd-0") -> int:
    """How many epochs its log has."""
    log = project / f"artifacts/.staging/live/{name}/plots/metrics/loss.tsv"
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0


def checkpoints(project: Path, name: str = "pvt-kd-0") -> list[Path]:
    return [*project.glob(f"artifacts/.staging/{name}*checkpoint*")]


@pytest.fixture(scope="module")
def undisturbed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a student that nothing stopped."""
    project = tmp_path_factory.mktemp("undisturbed") / "project"
    copy_project(finished, project)
    run_in(project, "stillroom", *KD, *SOON)
    return (project / "artifacts/students/pvt-kd-0/model.safetensors").read_bytes()


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGINT, 2), (signal.SIGTERM, 2)])
def test_a_stopped_student_goes_on_to_the_same_bits(
    project: Path, undisturbed: bytes, number: signal.Signals, workers: int
) -> None:
    """The signal reaches all its processes, as a terminal's Ctrl-C does; no checkpoint was due yet."""
    weights = project / "artifacts/students/pvt-kd-0/model.safetensors"
    process = start(project, "stillroom", *KD, *SOON, STILLROOM_WORKERS=str(workers))
    until(lambda: epochs(project) >= 2, process)
    assert not checkpoints(project)
    os.killpg(process.pid, number)
    assert process.wait() == EXIT_CODE and process.stderr == STOPPED
    assert len(checkpoints(project)) == 1
    told = run_in(project, "stillroom", *KD, *SOON).stdout
    assert re.search(r"resumed: [2-6] of 6 epochs", told), told
    assert weights.read_bytes() == undisturbed and not checkpoints(project)


def test_a_teacher_stopped_goes_on(project: Path) -> None:
    train = ["teacher", "--set", "teacher.train.batch_size=10", "--set", "teacher.train.epochs=400"]
    process = start(project, "stillroom", *train)
    until(lambda: epochs(project, "teacher") >= 1, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == EXIT_CODE and process.stderr == STOPPED
    process = start(project, "stillroom", *train)
    until(lambda: "resumed: " in process.stdout, process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == EXIT_CODE and process.stderr == STOPPED


def test_a_second_signal_ends_a_step_that_does_not_end(project: Path) -> None:
    steps = [*STEPS, "--set", "student.train.batch_size=2"]  # many to wait for
    process = start(project, "stillroom", *KD, *steps, STILLROOM_WORKERS="1")
    until(lambda: epochs(project) >= 1, process)
    here = psutil.Process(process.pid)

    def stuck() -> bool:
        """Its worker is suspended, and it waits for it: it does nothing, and could."""
        held = []
        for worker in here.children():
            with suppress(psutil.NoSuchProcess):  # it has ended since
                worker.suspend()
                held.append(worker)
        before = here.cpu_times()
        time.sleep(0.1)
        if not held or here.status() != psutil.STATUS_SLEEPING or here.cpu_times() != before:
            return False
        return all(one.is_running() and one.status() == psutil.STATUS_STOPPED for one in held)

    until(stuck, process)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)

    def pressed_again() -> bool:
        """One that comes soon after the first was noticed, however late that was, counts as the same."""
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        return process.poll() is not None

    until(pressed_again)
    assert process.wait() == EXIT_CODE and process.stderr == STOPPED


@BOTH
def test_a_stage_without_checkpoint_ends_with_one_message(project: Path, number: signal.Signals) -> None:
    process = start(project, "stillroom", "cache", "--set", "views.count=4000", STILLROOM_WORKERS="2")
    until(lambda: len([*project.glob("artifacts/.staging/*/*.block")]) > 12, process)
    os.killpg(process.pid, number)
    assert process.wait() == EXIT_CODE and process.stderr == STOPPED


@pytest.mark.parametrize("imported", [False, True])
def test_a_signal_while_the_model_is_made(project: Path, imported: bool) -> None:
    """Or while what makes it is imported: a command from nothing spends seconds on that."""
    lock = project / "artifacts/.staging/pvt-kd-0.lock"
    lock.unlink(missing_ok=True)
    process: subprocess.Popen | warm.Process
    if imported:
        process = start(project, "stillroom", *KD, *STEPS)
    else:
        process = subprocess.Popen(
            [str(BIN / "stillroom"), *KD, *STEPS],
            cwd=project,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
        )
    conftest.until(lambda: lock.exists() and lock.read_text().strip(), process)
    process.send_signal(signal.SIGTERM if imported else signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == EXIT_CODE and said == STOPPED
    assert not [*project.glob(f"artifacts/.staging/pvt-kd-0.{8 * '?'}")]


def ranks_of(process: warm.Process) -> list[psutil.Process]:
    """The processes that torchrun started, first and second."""
    found = psutil.Process(process.pid).children()
    return sorted((one for one in found if "RANK" in one.environ()), key=lambda one: one.environ()["RANK"])


@pytest.mark.parametrize("to", ["torchrun", "group", "one"])
def test_all_processes_of_a_run_stop_after_the_same_step(project: Path, to: str) -> None:
    torchrun = ["torchrun", "--no-python", "--nproc-per-node", "2", "stillroom"]
    process = start(project, *torchrun, *KD, *STEPS, STILLROOM_WORKERS="1")
    until(lambda: epochs(project) >= 1, process)
    if to == "torchrun":
        process.send_signal(signal.SIGTERM)
    elif to == "group":  # as Slurm does
        for one in [process, *ranks_of(process)]:
            one.send_signal(signal.SIGTERM)
    else:
        ranks_of(process)[1].terminate()
    assert process.wait() != 0
    assert process.stderr.count(STOPPED) == 1 and "error: " not in process.stderr
    assert [file.suffix for file in checkpoints(project)] == [".checkpoint"]
    process = start(project, "stillroom", *KD, *STEPS)
    until(lambda: "resumed: " in process.stdout, process)
    process.kill()
    process.wait()


def test_ctrl_c_of_repro_keeps_the_step(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 4, batch_size: 40", "epochs: 400, batch_size: 10"))
    process = start(project, "dvc", "repro", "--single-item", "student@pvt-kd-0")
    until(lambda: epochs(project) >= 1, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() != 0
    assert STOPPED in process.stderr and "Traceback" not in process.stderr
    assert len(checkpoints(project)) == 1

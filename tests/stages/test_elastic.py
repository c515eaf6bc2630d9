"""Elastic torchrun: an agent is lost in the middle, and the run ends by itself, with no hand on it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from stillroom.cache.read.backends import open_store
from tests.conftest import BIN, run_in, until
from tests.team.servers import free_port
from tests.warm import LONGEST

STUDENT = ["student", "--family", "pvt", "--arm", "kd", "--set", "student.train.epochs=40"]
CACHE = ["cache", "--set", "cache.block_samples=4", "--set", "views.count=24"]


class Agents:
    """Agents of torchrun with one process each, of which one may be lost. The first keeps the rendezvous."""

    def __init__(self, project: Path, *command: str, count: int = 3, **settings: str) -> None:
        self._kept = tempfile.TemporaryDirectory()
        port, self.agents = free_port(), []
        for number in range(count):
            conf = f"is_host={int(number == 0)}"
            words = [
                *("torchrun", "--no-python", "--nnodes", "2:3", "--nproc-per-node", "1"),
                *("--max-restarts", "3", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"),
                *("--rdzv-id", "elastic", "--rdzv-conf", conf, "--local-addr", "127.0.0.1"),
                *("stillroom", *command),
            ]
            changed = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
            changed |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "STILLROOM_WORKERS": "0"}
            with (Path(self._kept.name) / str(number)).open("w") as log:
                self.agents.append(
                    subprocess.Popen(
                        [str(BIN / words[0]), *words[1:]],
                        cwd=project,
                        env={**os.environ, **changed, **settings},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
            end = time.monotonic() + LONGEST
            while number == 0:  # the others find it
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                assert time.monotonic() < end
                time.sleep(0.1)

    def said(self) -> str:
        """By all of them."""
        return "\n".join(file.read_text() for file in sorted(Path(self._kept.name).iterdir()))

    def until(self, condition) -> None:
        """Wait, while the first lives."""
        try:
            until(condition, self.agents[0])
        except AssertionError as error:
            raise AssertionError(self.said()) from error

    def world(self) -> int:
        """How many processes work together now."""
        found = 0
        for agent in self.agents:
            with contextlib.suppress(psutil.Error):
                for one in psutil.Process(agent.pid).children():
                    found = max(found, int(one.environ().get("WORLD_SIZE", "0")))
        return found

    def send(self, number: int, what: signal.Signals) -> None:
        """A signal to an agent alone: what it started is left to itself."""
        self.agents[number].send_signal(what)

    def ended(self, *numbers: int) -> list[int]:
        """The exit codes of these."""
        return [self.agents[number].wait(LONGEST) for number in numbers]

    def close(self) -> None:
        """End what is left."""
        for agent in self.agents:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in psutil.Process(agent.pid).children(recursive=True):
                    one.kill()
            agent.kill()
            agent.wait()
        self._kept.cleanup()


def bare(project: Path) -> None:
    """Without a cache, whose blocks would be taken over."""
    for name in ("cache", ".staging"):
        shutil.rmtree(project / "artifacts" / name)


def test_a_cache_is_made_by_those_that_are_left(project: Path) -> None:
    bare(project)
    run_in(project, "stillroom", *CACHE)
    before = open_store(project / "artifacts/cache").manifest
    bare(project)
    agents = Agents(project, *CACHE)
    try:
        agents.until(lambda: agents.world() == 3 and any(project.glob("artifacts/.staging/*/*.block")))
        agents.send(2, signal.SIGKILL)
        assert agents.ended(0, 1) == [0, 0], agents.said()
    finally:
        agents.close()
    after = open_store(project / "artifacts/cache").manifest
    assert (after.id, after.blocks) == (before.id, before.blocks)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_student_goes_on_with_those_that_are_left(project: Path, number: signal.Signals) -> None:
    staging = project / "artifacts/.staging"
    agents = Agents(project, *STUDENT, STILLROOM_CHECKPOINT_SECONDS="0")
    try:
        agents.until(lambda: agents.world() == 3 and any(staging.glob("pvt-kd-0.*.checkpoint")))
        agents.send(2, number)
        assert agents.ended(0, 1) == [0, 0], agents.said()
        assert "resumed: " in agents.said()
    finally:
        agents.close()
    student = json.loads((project / "artifacts/students/pvt-kd-0/student.json").read_text())
    assert student["environment"]["processes"] == "2"
    assert [one["epoch"] for one in student["history"]] == [*range(1, 41)]

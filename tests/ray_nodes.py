"""A Ray cluster on this machine: real processes, a node each, that can be killed."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.team.servers import free_port
from tests.warm import LONGEST

RAY = Path(sys.executable).parent / "ray"
STORE = 2**27  # bytes of a node's object store
# Where a token lies in a home, `ray start` would ask drivers for it
OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
# A client server starts a process for each client, for which a busy machine may take more than half a minute
OPEN |= {"RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": str(int(LONGEST))}


class RayNodes:
    """A head without a CPU for tasks, and nodes with one each."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets want a short path
        self._logs: dict[int, Path] = {}  # by process id
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.client = f"ray://127.0.0.1:{(client := free_port())}"
        self.nodes: list[subprocess.Popen] = []
        self._head = self._start(
            *("--head", f"--port={port}", "--num-cpus=0", f"--ray-client-server-port={client}"),
            *("--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={self._folder}"),
        )
        end = time.monotonic() + LONGEST
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert self._head.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.05)

    def _start(self, *options: str, **settings: str) -> subprocess.Popen:
        env = {**os.environ, **OPEN, "OMP_NUM_THREADS": "1", **settings}
        file = self._folder / f"{len(self._logs)}.log"
        with file.open("w") as log:
            node = subprocess.Popen(
                [str(RAY), "start", "--block", f"--object-store-memory={STORE}", *options],
                env=env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._logs[node.pid] = file
        return node

    def log(self) -> str:
        """What the nodes said."""
        return "".join(file.read_text() for file in self._logs.values())

    def join(self, count: int = 1, cpus: int = 1, **settings: str) -> None:
        """So many nodes more, which have joined when this returns."""
        options = (f"--address={self.address}", f"--num-cpus={cpus}", "--include-log-monitor=false")
        for _ in range(count):  # one after the other: two at once may choose the same socket, and both die
            self.nodes.append(self._start(*options, **settings))
            log = self._logs[self.nodes[-1].pid]
            end = time.monotonic() + LONGEST
            while "Ray runtime started" not in log.read_text():
                assert self.nodes[-1].poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.05)

    def lose(self, number: int = 0) -> None:
        """SIGKILL for all processes of a node."""
        _kill(self.nodes.pop(number))

    def close(self) -> None:
        """End all of it."""
        while self.nodes:
            self.lose()
        _kill(self._head)
        shutil.rmtree(self._folder, ignore_errors=True)


def processes(above: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        first = psutil.Process(above)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(node: subprocess.Popen) -> None:
    found = processes(node.pid)
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    node.wait()
    psutil.wait_procs(found, timeout=60)

"""Processes: several that work together, and their end, all at once, as by a power cut."""

import contextlib
import os
import subprocess
import sys
import time

import psutil

from tests import warm
from tests.team.servers import free_port


def run_ranks(script: str, count: int, *arguments: object) -> None:
    """Run a script as so many processes that find each other as under torchrun; all have to end well."""
    port = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            cwd=warm.ROOT,
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            | {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
            | {"CUDA_VISIBLE_DEVICES": ""},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [one.communicate()[1] for one in started]
    assert not any(one.returncode for one in started), said


def kill_all(process: subprocess.Popen | warm.Process) -> None:
    """SIGKILL for a process and all that it started; returns when the last one's locks are free."""
    killed = [psutil.Process(process.pid)] if process.poll() is None else []
    for one in killed:  # those that its children start meanwhile, too
        with contextlib.suppress(psutil.NoSuchProcess):
            one.suspend()
            killed += one.children()
            fork = warm.fork_of(one.pid)
            killed += [psutil.Process(fork)] if fork else []
    for one in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    warm.settle()  # a fork that had been asked for, but had not begun
    end = time.monotonic() + warm.LONGEST
    while any(map(_holds, killed)):
        assert time.monotonic() < end, "a process outlives SIGKILL"
        time.sleep(0.005)


def _holds(process: psutil.Process) -> bool:
    """Whether it has files open: its last thread has not ended (its name may stay for longer)."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False

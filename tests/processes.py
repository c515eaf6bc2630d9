"""Ends of processes: all at once, as by a power cut."""

import contextlib
import subprocess
import time

import psutil

from tests import warm


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

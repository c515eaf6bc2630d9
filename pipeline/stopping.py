"""How SIGINT (Ctrl-C) and SIGTERM (Slurm, `docker stop`) end a process: at once, or where work can be kept.

What must not be cut in two runs in `later()`, looks at `asked()` and leaves by itself.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# How a command ends that was stopped: EX_TEMPFAIL of sysexits.h, "try again later". A scheduler tells by it
# what is to be started again from what has failed.
EXIT_CODE = 75
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds. One request may come more than once: `timeout` and Slurm send it to a process and to its group. A
# person who presses again takes longer.
_ECHO = 1.0

_first: float | None = None  # when the first signal came
_later = False


def listen() -> None:
    """From now on both signals raise KeyboardInterrupt, or wait where the work says so.

    What the process was started to ignore, such as Ctrl-C in a shell's background job, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _arrived)


def asked() -> bool:
    """Whether a signal has come."""
    return _first is not None


@contextmanager
def later() -> Iterator[None]:
    """In this block a first signal only makes `asked` true, and is raised after it; a second one at once."""
    with _set(True):
        yield
    if asked() and not _later:
        raise KeyboardInterrupt


@contextmanager
def now() -> Iterator[None]:
    """Within `later`: in this block a signal is raised at once, one that has come already too."""
    with _set(False):
        if asked():
            raise KeyboardInterrupt
        yield


@contextmanager
def blocked() -> Iterator[None]:
    """The signals wait in the system until the block ends; a process that starts here never gets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def over() -> None:
    """The command has reported everything: a further signal ends the process where it is."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is _arrived:
                signal.signal(number, lambda number, frame: os._exit(EXIT_CODE))


@contextmanager
def _set(value: bool) -> Iterator[None]:
    global _later
    before, _later = _later, value
    try:
        yield
    finally:
        _later = before


def _arrived(number: int, frame: FrameType | None) -> None:
    global _first
    if _first is None:
        _first = time.monotonic()
        if _later:
            if sys.stderr is not None and sys.stderr.isatty():
                os.write(2, b"stopping after this step; Ctrl-C again: at once\n")
            return
    elif time.monotonic() - _first < _ECHO:
        return
    elif number == signal.SIGTERM and "TORCHELASTIC_RUN_ID" in os.environ:
        return  # torchrun passes on, some time later, what its processes may have got already
    raise KeyboardInterrupt

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
_held = False  # whether a block says that even the handler must wait
_waiting: int | None = None  # the signal that came in such a block


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
    """The signals wait until the block ends; a process that starts here never gets them.

    They wait in the system as far as this thread goes; it may give them to another thread, and Python runs
    the handler in the main one all the same, so that waits too.
    """
    global _held, _waiting
    main = threading.current_thread() is threading.main_thread()
    held, mask = _held, signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    _held = held or main
    try:
        yield
    finally:
        _held = held if main else _held
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main and not _held and _waiting is not None:
            number, _waiting = _waiting, None
            _arrived(number, None)


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
    global _first, _waiting
    if _held:
        _waiting = number
        return
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

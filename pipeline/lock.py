"""A lock that ends with its process, however that ends: `flock` on a file that holds the process id.

Some network and cluster file systems have no such locks. STILLROOM_LOCKS=off does without.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stillroom.errors import CacheError, ParamsError, StillroomError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SWITCH = "STILLROOM_LOCKS"
# Seconds that a process waits for a lock where torchrun begins again (`--max-restarts`): the one whose place
# it takes may be dying still, or be on a machine whose locks a network file system takes a while to give up
RESTART = 90.0
_open: set[int] = set()  # descriptors of the locks that this process holds


def _forget() -> None:
    """Close a forked child's copies, or a data loader's worker would keep the lock of a killed parent."""
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def locks_off() -> bool:
    """Whether the environment variable STILLROOM_LOCKS does without locks.

    Raises:
        ParamsError: it is neither `on` nor `off`.
    """
    text = os.environ.get(SWITCH, "on")
    if text not in ("on", "off"):
        raise ParamsError(f"{SWITCH}={text!r} is neither on nor off", fix="set it to off, or leave it out")
    return text == "off"


@contextmanager
def in_turn(file: Path, patience: float = math.inf) -> Iterator[None]:
    """Waits until nobody else is in the block with this file, as far as the system has such locks: the work
    must be right without them too.

    Args:
        patience: seconds.

    Raises:
        TimeoutError: another one was in it all the time.
        OSError: the file cannot be opened; it may be a pipe.
    """
    end = time.monotonic() + patience
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o666)
    with open(descriptor, "w") as stream:
        while fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise TimeoutError(f"another process holds {file}") from None
                time.sleep(0.1)
                continue
            except OSError:  # no such locks here
                pass
            break
        yield


def claim(descriptor: int, file: Path, shared: bool = False) -> None:
    """Lock an open file or folder at once, until its last descriptor is closed; nothing if locks are off.

    Args:
        file: its name, for the message.

    Raises:
        BlockingIOError: another process holds it.
        StillroomError: its file system, or this system, has no such locks.
    """
    if locks_off():
        return
    if fcntl is None:
        raise StillroomError(
            f"{file} cannot be locked",
            "this system has no flock, which keeps two processes from writing the same thing",
            f"use Linux, macOS or WSL; or set {SWITCH}=off and run one command at a time",
        )
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:  # for want of space it never fails
        raise StillroomError(
            f"{file} cannot be locked",
            f"flock: {error.strerror or error}; it keeps two processes from writing the same thing, and some "
            "network file systems do not have it",
            "move the project to a file system that has it (NFS: mount option local_lock=flock), or set "
            f"{SWITCH}=off and run one command at a time",
        ) from None


def _claim_patiently(descriptor: int, file: Path, shared: bool) -> None:
    elastic = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
    end = time.monotonic() + (RESTART if elastic else 0.0)
    while True:
        try:
            return claim(descriptor, file, shared)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.1)


class Lock:
    """Held from construction to `release`, or to the end of the process. A forked child does not hold it."""

    def __init__(self, file: Path, what: str, shared: bool = False) -> None:
        """Take the lock or refuse at once; under an elastic torchrun after `RESTART`.

        Args:
            file: the lock's file; it is made if need be and never deleted (deleting would let two hold it).
            what: what the lock guards, for the message.
            shared: others may hold it too, if they also take it shared.

        Raises:
            CacheError: another process holds it; names that process.
            StillroomError: there are no locks here.
        """
        self._pid = os.getpid()
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _claim_patiently(descriptor, file, shared)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise CacheError(
                f"another process is writing {what} (process id {holder})",
                f"it holds the lock on {file}",
                "wait for it to end, or stop it; what it has committed is kept",
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{self._pid}\n".encode("ascii"), 0)
        self._descriptor = descriptor
        _open.add(descriptor)

    @property
    def held(self) -> bool:
        """Whether this very process holds it."""
        return self._pid == os.getpid() and self._descriptor in _open

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self.held:
            _open.discard(self._descriptor)
            os.close(self._descriptor)

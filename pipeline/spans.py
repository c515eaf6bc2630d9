"""Parts of files that hold many samples: read by their place, from files that stay open.

A process keeps the last few files open. Reads name their place (`pread`): threads and forks, which share a
descriptor, do not disturb each other.
"""

import os
import threading
from collections import OrderedDict
from pathlib import Path

OPEN = 64  # files that a process keeps open


class ShortError(OSError):
    """A file ends before the part that was asked for."""


class _File:
    """An open file, closed when nobody holds it any more: a thread may still read what another has let go."""

    def __init__(self, file: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


_open: OrderedDict[str, _File] = OrderedDict()
_lock = threading.Lock()


def _forked() -> None:
    """In a fork: a thread that is not here may have held the lock. The descriptors are good here too."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def read(file: Path, start: int, length: int) -> bytes:
    """A part of a file.

    Args:
        start: its first byte.
        length: how many there are. No memory is taken before the file is known to have them.

    Raises:
        ShortError: the file is shorter.
        OSError: it cannot be read.
    """
    try:
        return _read(_opened(file), start, length)
    except OSError:  # what is open for long may have been replaced, or lost by a network file system
        forget(file)
        return _read(_opened(file), start, length)


def forget(file: Path) -> None:
    """Open a file anew when it is next read: another one lies there."""
    with _lock:
        _open.pop(str(file), None)


def held() -> int:
    """How many files this process keeps open."""
    return len(_open)


def _opened(file: Path) -> _File:
    name = str(file)
    with _lock:
        if name in _open:
            _open.move_to_end(name)
            return _open[name]
    opened = _File(file)
    with _lock:
        _open[name] = opened
        _open.move_to_end(name)
        while len(_open) > OPEN:
            _open.popitem(last=False)
    return opened


def _read(opened: _File, start: int, length: int) -> bytes:
    size = os.fstat(opened.descriptor).st_size
    if start + length > size:
        raise ShortError(f"the file has {size:,} bytes, and the sample ends at byte {start + length:,}")
    parts = []
    while length:
        part = os.pread(opened.descriptor, length, start)
        if not part:
            raise ShortError(f"the file ends at byte {start:,}, {length:,} bytes too early")
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)

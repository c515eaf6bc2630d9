"""What a command may be denied: each is called in its process before it begins (`before` in `warm.start`)."""

import ctypes
import os
import struct
from pathlib import Path

FLOCK = {"x86_64": 73, "aarch64": 32}  # the number of that call of Linux


def give_up_capabilities() -> None:
    """To this process the modes of files apply, as if it were not root's."""
    head, none = struct.pack("Ii", 0x20080522, 0), bytes(24)  # version 3, this process; no capability
    assert ctypes.CDLL(None).capset(head, none) == 0


def refuse_flock(error: int) -> None:
    """The system answers each `flock` of this process, and of what it starts, with an error (seccomp)."""
    load, equal, end = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0), (equal, 0, 1, FLOCK[os.uname().machine])]  # the number of a call
    steps += [(end, 0, 0, 0x50000 | error), (end, 0, 0, 0x7FFF0000)]  # an error, or let it pass
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    no_new_privileges, set_seccomp, a_filter = 38, 22, 2
    system = ctypes.CDLL(None)
    assert system.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert system.prctl(set_seccomp, a_filter, program, 0, 0) == 0


def shrink_shared_memory(size: str) -> None:
    """Mount another /dev/shm, such as `4k`, which only this process and what it starts see; needs root."""
    new_mounts, private, everywhere_below = 0x20000, 1 << 18, 1 << 14
    system = ctypes.CDLL(None)
    assert system.unshare(new_mounts) == 0
    assert system.mount(None, b"/", None, private | everywhere_below, None) == 0
    assert system.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, f"size={size}".encode()) == 0


def enter(groups: list[str]) -> None:
    """Put this process into control groups, given as folders."""
    for group in groups:
        (Path(group) / "cgroup.procs").write_text(str(os.getpid()))


def possible(what: str) -> bool:
    """Whether a process may be confined so here, as `refuse_flock(1)`."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            exec(what)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0

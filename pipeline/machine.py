"""What this process may use of its machine: cores and memory, within what containers and schedulers allow.

Limits are those of every control group from the process's own up to the mount, in both versions
(https://docs.kernel.org/admin-guide/cgroup-v2.html), and the cores that it is bound to. No result depends on
any of it. What looks at limits takes the `root` of the file tree to look into.
"""

import ctypes
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stillroom.errors import ParamsError

ROOT = Path("/")
WORKERS = "STILLROOM_WORKERS"
START = "STILLROOM_START_METHOD"
MOST_WORKERS = 8
_UNKNOWN = 2**32  # bytes of memory of a machine that does not tell
# Where copies for this machine are kept; default: stillroom in the user's cache folder
FOLDER = "STILLROOM_FETCHED"


def give_back() -> None:
    """Return freed memory to the system, where the C library keeps it for later (glibc does)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def resident(root: Path = ROOT) -> int:
    """Bytes of memory that this process has now; 0 where the system does not tell."""
    with suppress(OSError, IndexError, ValueError):
        return int((root / "proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def local_folder() -> Path:
    """Where copies are kept that only this machine uses, and that may be deleted at any time."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.path.abspath(os.environ.get(FOLDER) or os.path.join(home, "stillroom")))


@dataclass(frozen=True)
class Cores:
    """Cores of the machine, those that the process is bound to, and its quota of their time (None: none)."""

    machine: int
    bound: int
    quota: float | None

    @property
    def used(self) -> int:
        """What is left of them, in whole cores, at least 1."""
        return max(1, min(self.bound, int(self.bound if self.quota is None else self.quota)))


@dataclass(frozen=True)
class Memory:
    """Bytes of the machine, and of its smallest control group (None: no limit)."""

    machine: int
    limit: int | None

    @property
    def used(self) -> int:
        """What this process and its kin may take."""
        return self.machine if self.limit is None else min(self.machine, self.limit)


def cores(root: Path = ROOT) -> Cores:
    """The cores, and what limits them: `taskset`, Slurm, a container's `--cpus`."""
    machine = os.cpu_count() or 1
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    bound = min([bound, *(count for folder in _groups(root, "cpuset") for count in _sets(folder))])
    quotas = [quota for folder in _groups(root, "cpu") for quota in _quotas(folder)]
    return Cores(machine, bound, min(quotas, default=None))


def memory(root: Path = ROOT) -> Memory:
    """The memory, and what limits it: a container's `--memory`, Slurm, systemd."""
    machine = _UNKNOWN
    with suppress(AttributeError, OSError, ValueError):  # a system that does not tell
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = []
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):  # above `high` a process crawls
            with suppress(OSError, ValueError):  # not there, or "max"
                limits.append(int((folder / name).read_text()))
        with suppress(OSError):  # of groups above that a container of version 1 does not see
            text = (folder / "memory.stat").read_text()
            limits += map(int, re.findall(r"^hierarchical_memory_limit (\d+)$", text, re.MULTILINE))
    limit = min(limits, default=machine)
    return Memory(machine, limit if limit < machine else None)  # version 1 says "none" by a huge number


def room(root: Path = ROOT) -> int:
    """Bytes of decoded images that this process may keep: a quarter of the memory that it may use, shared
    with the processes that torchrun started beside it.
    """
    return memory(root).used // 4 // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def worker_count(root: Path = ROOT) -> int:
    """Processes that render: the environment variable STILLROOM_WORKERS, else the cores that two leave over,
    up to 8; processes that torchrun started on one machine share its cores.

    A machine's setting, not a parameter: it changes no pixel.

    Raises:
        ParamsError: the variable is no number.
    """
    text = os.environ.get(WORKERS)
    if text is None:
        share = cores(root).used // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return min(MOST_WORKERS, max(0, share - 2))
    if not text.isdecimal():
        raise ParamsError(f"{WORKERS}={text!r} is not a number of processes", fix="set it to 0 or more")
    return int(text)


def start_method() -> str:
    """How processes that render start: the environment variable STILLROOM_START_METHOD, `fork` or `spawn`;
    else `fork` on Linux and `spawn` elsewhere.

    macOS can fork, but its own libraries may crash in a child that does more than start another program:
    https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods.

    A machine's setting, not a parameter: it changes no pixel. Forked processes share what their parent has
    read; spawned ones each read their own, and take some seconds to start.

    Raises:
        ParamsError: it is neither, or this system has no such way.
    """
    has = multiprocessing.get_all_start_methods()
    text = os.environ.get(START)
    if text is None:
        return "fork" if sys.platform == "linux" and "fork" in has else "spawn"
    if text not in ("fork", "spawn") or text not in has:
        both = " or ".join(one for one in ("fork", "spawn") if one in has)
        raise ParamsError(f"{START}={text!r} is no way to start processes here", fix=f"set it to {both}")
    return text


def _sets(folder: Path) -> Iterator[int]:
    """How many cores a control group is bound to, where it is: version 2, then version 1."""
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
        with suppress(OSError, ValueError):  # not there, or empty
            ranges = [one.split("-") for one in (folder / name).read_text().strip().split(",")]
            yield sum(int(last[-1]) - int(last[0]) + 1 for last in ranges)


def _quotas(folder: Path) -> Iterator[float]:
    """A control group's share of time in cores, where it has one: version 2, then version 1."""
    with suppress(OSError, ValueError):  # not there, or "max"
        quota, period = (folder / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(quota) > 0:  # -1: none
            yield int(quota) / int(period)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups that this process is in, of both versions, each up to its mount."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = [line.split() for line in (root / "proc/self/mountinfo").read_text().splitlines()]
    except OSError:  # no Linux
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        for mount in mounts:
            kind, _, options = mount[mount.index("-") + 1 :][:3]
            if kind != ("cgroup" if names else "cgroup2"):
                continue
            if names and controller not in options.split(","):
                continue
            top, mount_point = (_plain(text) for text in mount[3:5])
            start = root / mount_point.lstrip("/")
            # a container may see its own group as the top of the mount, by a path that is not below it
            below = os.path.relpath(path, top) if path.startswith("/") else "."
            inner = start if below.startswith("..") else start / below
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(start))


def _plain(text: str) -> str:
    """A path of mountinfo, in which spaces and the like are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)

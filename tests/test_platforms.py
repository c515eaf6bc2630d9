"""Other systems: what only Linux has stands in guarded places alone; Windows is answered with a sentence."""

import ast
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stillroom.errors import ParamsError
from stillroom.machine import start_method

ROOT = Path(__file__).parents[1]
FILES = sorted(file for name in ("pipeline", "stages") for file in (ROOT / name).rglob("*.py"))
# What macOS lacks: attributes of `os`, functions of the C library, and file trees of the kernel
LINUX = {
    *(
        "sched_getaffinity",
        "sched_setaffinity",
        "posix_fallocate",
        "posix_fadvise",
        "memfd_create",
        "eventfd",
    ),
    *("pidfd_open", "copy_file_range", "splice", "fdatasync", "setns", "unshare", "getrandom", "setresuid"),
    *("O_DIRECT", "O_TMPFILE", "O_PATH", "O_NOATIME", "MAP_POPULATE", "MADV_HUGEPAGE", "preadv", "pwritev"),
    *("prctl", "mallopt", "malloc_trim", "PR_SET_PDEATHSIG", "sigtimedwait", "sigwaitinfo", "signalfd"),
}
# ... and what Windows lacks, at import
POSIX = {"fork", "register_at_fork", "pthread_sigmask", "sysconf", "getuid", "geteuid", "pread", "pwrite"}
TREES = re.compile(r"^/?(proc|sys|dev/shm)(/|$)")
# file: what it may use, because it looks first whether it is there, or goes on without
GUARDED = {
    "pipeline/machine.py": {"sched_getaffinity", "malloc_trim", "proc/self/statm", "proc/self/cgroup"}
    | {"proc/self/mountinfo"},
    "pipeline/device.py": {"mallopt"},
    "pipeline/distributed.py": {"prctl"},
    "pipeline/cache/read/planes.py": {"posix_fallocate"},
    "pipeline/teaching/logits_files.py": {"posix_fallocate"},
    "pipeline/benchmarks/doctor/hardware.py": {"/dev/shm"},
    "pipeline/benchmarks/doctor/text.py": {"/dev/shm"},  # a word of its report
    # benchmarks of Linux, whose figures are in the pages
    "pipeline/benchmarks/measured.py": {"/proc/self/smaps_rollup"},
}
MODULES = {"fcntl", "resource", "grp", "pwd", "termios"}


def found(file: Path) -> set[str]:
    """What a file uses that only Linux has; a docstring uses nothing."""
    tree, used = ast.parse(file.read_text(encoding="utf-8")), set()
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and hasattr(node, "value")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in LINUX:
            used.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            text = node.value
            if text in LINUX or (TREES.match(text) and " " not in text):
                used.add(text)
    return used


def test_what_only_linux_has_stands_in_guarded_places_alone() -> None:
    uses = {file.relative_to(ROOT).as_posix(): found(file) for file in FILES}
    assert {name: one for name, one in uses.items() if one} == GUARDED


def test_modules_of_posix_are_imported_where_their_lack_is_met() -> None:
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module]
                wrong = {*names} & MODULES
                assert not wrong, f"{file} imports {wrong} at its top, without a way on"


WINDOWS = f"""
import builtins, os, signal, sys
import click, multiprocessing, re, pathlib  # of the standard library's own, as Linux has it
for name in {sorted(POSIX)}:
    for module in (os, signal):
        if hasattr(module, name):
            delattr(module, name)
real = builtins.__import__
def no_posix(name, *rest, **more):
    if name in {sorted(MODULES)} and not any("importlib" in one for one in rest):
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    return real(name, *rest, **more)
builtins.__import__ = no_posix
for name in {sorted(MODULES)}:
    sys.modules.pop(name, None)
from stillroom_stages.cli import main
sys.platform = "win32"
main(sys.argv[1:])
"""


def test_windows_is_told_in_one_sentence_what_to_use() -> None:
    done = subprocess.run([sys.executable, "-c", WINDOWS, "prepare"], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ") and "WSL2" in line and "Windows lacks" in line
    assert line.removeprefix("error: ") in (ROOT / "docs/README.md").read_text().replace("\n", " ")
    done = subprocess.run([sys.executable, "-c", WINDOWS, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "prepare" in done.stdout


def test_processes_are_forked_on_linux_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILLROOM_START_METHOD", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert start_method() == "fork"
    monkeypatch.setattr(sys, "platform", "darwin")  # which has fork, too
    assert start_method() == "spawn"
    monkeypatch.setenv("STILLROOM_START_METHOD", "fork")
    assert start_method() == "fork"
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(ParamsError, match="'fork' is no way to start processes here"):
        start_method()
    monkeypatch.setenv("STILLROOM_START_METHOD", "thread")
    with pytest.raises(ParamsError) as raised:
        start_method()
    assert raised.value.fix == "set it to spawn"

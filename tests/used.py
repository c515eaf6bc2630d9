"""Which files of the library a command uses: those of which a function runs while the command does."""

import atexit
import inspect
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).parents[1]
FOLDERS = {"stillroom": "pipeline", "stillroom_stages": "stages"}  # package -> its folder in the repository
LOG = "STILLROOM_TESTS_USED"  # environment: a file; `tests.warm` has its commands note there what they use


def note(log: str) -> None:
    """From now on, write each function of the library that is called, once, as `FILE NAME` into a file: in
    this thread, in those it starts and in forks, until the command ends. A module's own lines, which run when
    it is imported, are none.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ours = tuple(str(ROOT / "src" / name) + os.sep for name in FOLDERS)
    known: dict[int, CodeType] = {}

    def called(frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if id(code) not in known:
            known[id(code)] = code  # kept, or another could have its id
            if code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(ours):
                os.write(descriptor, f"{code.co_filename} {code.co_qualname}\n".encode())

    threading.settrace(called)
    sys.settrace(called)
    atexit.register(sys.settrace, None)  # what a library does at the end of any process is no use of it


def read(log: Path) -> dict[str, set[str]]:
    """What `note` wrote: the functions by file, which is named as in the repository."""
    found: dict[str, set[str]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        file, _, name = line.partition(" ")
        package, *parts = Path(file).relative_to(ROOT / "src").parts
        found.setdefault("/".join([FOLDERS[package], *parts]), set()).add(name)
    return found

"""Memory and time of processes of their own, for figures that depend on how large a data set is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def own_bytes(forked: bool = False) -> int:
    """Memory of this process that is not of a file: what files hold is the system's, which drops it or writes
    it out where memory is short.

    Args:
        forked: only what it does not share with its parent.
    """
    field = "Private_Dirty:" if forked else "Anonymous:"
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/smaps_rollup has no {field}")


def in_process(function: str, *arguments: object) -> dict[str, Any]:
    """What a function gives in a process that has done nothing else.

    Args:
        function: `module:name`; it takes text, and returns JSON.

    Raises:
        subprocess.CalledProcessError: it failed; what it said was printed.
    """
    module, name = function.split(":")
    code = f"import json, sys; from {module} import {name}; print(json.dumps({name}(*sys.argv[1:])))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found

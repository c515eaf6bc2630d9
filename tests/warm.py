"""Runs `stillroom` commands in forks of one process that has imported the heavy libraries already.

A command still has a process, a folder, an environment and an output of its own; what is saved is the three
seconds that every one would spend on importing. `dvc repro`, torchrun and what is killed start from nothing.
"""

import atexit
import gc
import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

_server: subprocess.Popen | None = None
LONGEST = 3600  # seconds: no machine is so slow


def run(
    command: tuple[str, ...], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `stillroom` with these words, as `subprocess.run` with captured text would."""
    global _server
    if _server is None:
        _server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            cwd=Path(__file__).parents[1],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    with tempfile.TemporaryDirectory() as kept:
        files = [f"{kept}/out", f"{kept}/err"]
        job = {"command": command, "folder": str(folder), "environment": environment, "files": files}
        assert _server.stdin is not None and _server.stdout is not None
        print(json.dumps(job), file=_server.stdin, flush=True)
        assert select.select([_server.stdout], [], [], LONGEST)[0], f"{command} did not end"
        code = int(_server.stdout.readline())
        out, err = (Path(file).read_text(encoding="utf-8") for file in files)
    return subprocess.CompletedProcess(command, code, out, err)


def serve() -> None:
    """Fork for every job that stdin brings, and answer with its exit code."""
    import timm  # noqa: F401 -- and torch with it

    from stillroom_stages.cli import main

    gc.freeze()  # what is imported is not looked through, nor copied for it, in any child
    while line := sys.stdin.readline():
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            streams = [os.open(os.devnull, os.O_RDONLY), *(os.open(file, flags) for file in job["files"])]
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            os.chdir(job["folder"])
            os.environ.clear()
            os.environ.update(job["environment"])
            sys.argv = list(job["command"])
            code = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
            atexit._run_exitfuncs()
            os._exit(code)  # to tear down what the parent imported takes a second
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()

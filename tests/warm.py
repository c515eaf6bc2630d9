"""Runs `stillroom`, `dvc` and `torchrun` in forks of one process that has imported what they need already.

A command still has a process, a folder, an environment and an output of its own, and may be killed; what is
saved are the ten seconds that it would spend on importing torch, timm and so on. `run` waits for a command,
`start` does not, and `path` is a folder for PATH whose commands ask for a fork too: a stage that DVC or a
shell starts is as fast. Where the start itself is the point, a test starts `BIN / "stillroom"`.
"""

import array
import atexit
import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from tests import used

LONGEST = 3600  # seconds: no machine is so slow
ROOT = Path(__file__).parents[1]
COMMANDS = ("stillroom", "dvc", "torchrun")

_folder: Path | None = None  # of the server of this process: its socket, and `bin` with the commands
_starting = threading.Lock()


class Process:
    """A command in a process group of its own, with the interface of `subprocess.Popen`.

    Its output is kept in files: `stdout` and `stderr` may be read while it runs.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        folder: Path,
        environment: dict[str, str],
        umask: int = -1,
        capable: bool = True,
    ) -> None:
        """Args:
        umask: of the command; -1: as it is.
        capable: False: root's way around the modes of files is given up.
        """
        self.args, self.returncode = command, None
        self._kept = tempfile.TemporaryDirectory()
        self._out, self._err = (Path(self._kept.name) / name for name in ("out", "err"))
        job = {"command": command, "folder": str(folder), "environment": environment}
        with open(os.devnull) as nothing, self._out.open("wb") as out, self._err.open("wb") as err:
            streams = [stream.fileno() for stream in (nothing, out, err)]
            self._socket = _ask(_server() / "socket", {**job, "umask": umask, "capable": capable}, streams)
        self.pid = _answer(self._socket)
        self.returncode: int | None

    @property
    def stdout(self) -> str:
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        return self._err.read_text(encoding="utf-8", errors="replace")

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._socket], [], [], 0)[0]:
            self.returncode = _answer(self._socket)
        return self.returncode

    def wait(self, timeout: float = LONGEST) -> int:
        """Raises: subprocess.TimeoutExpired."""
        if self.returncode is None and not select.select([self._socket], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, timeout: float = LONGEST) -> tuple[str, str]:
        self.wait(timeout)
        return self.stdout, self.stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(command: tuple[str, ...], folder: Path, environment: dict[str, str], **options: Any) -> Process:
    """Start a command; see `Process` for the options."""
    return Process(command, folder, environment, **options)


def run(
    command: tuple[str, ...], folder: Path, environment: dict[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command, as `subprocess.run` with captured text would."""
    process = Process(command, folder, environment, **options)
    try:
        code = process.wait()
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, code, process.stdout, process.stderr)


def path() -> str:
    """A folder with `COMMANDS`, each of which is run in a fork."""
    return str(_server() / "bin")


# The asking side: pytest, and the small commands in `path`


def _server() -> Path:
    """The folder of the server, which is started once."""
    global _folder
    with _starting:
        if _folder is None:
            kept = tempfile.TemporaryDirectory(prefix="warm-")
            folder = Path(kept.name)
            (folder / "bin").mkdir()
            for name in COMMANDS:  # isolated and without site-packages: they start in 20 ms
                code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests import warm"
                (folder / "bin" / name).write_text(
                    f"#!{sys.executable} -IS\n{code}; warm.client({str(folder / 'socket')!r}, {name!r})\n"
                )
                (folder / "bin" / name).chmod(0o755)
            server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(folder / "socket")],
                cwd=ROOT,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
                stdin=subprocess.PIPE,  # it ends when this process does
            )
            atexit.register(kept.cleanup)
            atexit.register(server.kill)
            end = time.monotonic() + LONGEST
            while not (folder / "socket").exists():
                assert server.poll() is None and time.monotonic() < end, "the warm server did not start"
                time.sleep(0.01)
            _folder = folder
    return _folder


def _ask(address: Path, job: dict[str, Any], streams: list[int]) -> socket.socket:
    asking = socket.socket(socket.AF_UNIX)
    asking.connect(str(address))
    text = json.dumps(job).encode("utf-8", "surrogateescape")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams).tobytes())]
    asking.sendmsg([struct.pack("Q", len(text))], rights)
    asking.sendall(text)
    return asking


def _answer(asking: socket.socket) -> int:
    text = _read(asking, 8)
    assert len(text) == 8, "the warm server is gone"
    return int(struct.unpack("q", text)[0])


def _read(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (part := stream.recv(size - len(found))):
        found += part
    return found


def client(address: str, name: str) -> NoReturn:
    """Be the command `name`: a fork does the work; signals are passed on, and the end is the fork's."""
    umask = os.umask(0)
    command = (name, *sys.argv[1:])
    job = {"command": command, "folder": os.getcwd(), "environment": dict(os.environ), "umask": umask}
    asking = _ask(Path(address), job, [0, 1, 2])
    pid = _answer(asking)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = _answer(asking)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


# The server


def serve(address: str) -> None:
    """Fork for each connection, and answer with the process id, then with the exit code."""
    _import_all()
    gc.collect()
    gc.freeze()  # what is imported is not looked through, nor copied for it, in any child
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(64)
    os.rename(f"{address}.new", address)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, wake, sys.stdin, *children.values()], [], [])
        if sys.stdin in ready:
            break
        if wake in ready:
            wake.recv(4096)
        for pid, asking in [*children.items()]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with contextlib.suppress(OSError):
                    asking.sendall(struct.pack("q", os.waitstatus_to_exitcode(status)))
                children.pop(pid).close()
            elif asking in ready:  # who asked was killed: so is all that it started
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                children.pop(pid).close()
        if listener in ready:
            asking, _ = listener.accept()
            head, rights, _, _ = asking.recvmsg(8, socket.CMSG_SPACE(3 * 4))
            streams = array.array("i", rights[0][2]).tolist()
            job = json.loads(_read(asking, struct.unpack("Q", head)[0]).decode("utf-8", "surrogateescape"))
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for one in (listener, wake, woken, asking, *children.values()):
                    one.close()
                _work(job, streams)
            for stream in streams:
                os.close(stream)
            children[pid] = asking
            with contextlib.suppress(OSError):
                asking.sendall(struct.pack("q", pid))
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


# What commands import when they need it
LATER = (
    "dvc.cli",
    "dvc.repo.reproduce",
    "dvclive",
    "h5py",
    "sklearn.metrics",
    "torch.distributed.run",
    "torch.utils.flop_counter",
    "zarr",
)


def _import_all() -> None:
    import importlib
    import pkgutil

    import timm

    import stillroom
    import stillroom_stages

    for name in LATER:
        importlib.import_module(name)
    for package in (stillroom, stillroom_stages):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    timm.layers.to_2tuple(1)  # the first time, Python looks through half a second of abstract classes


def _work(job: dict[str, Any], streams: list[int]) -> NoReturn:
    """Be the command in this fork."""
    code: Any = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        # what a stream is, a pipe or a file, Python has looked up when it started
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(job["environment"])
        os.chdir(job["folder"])
        if job["umask"] >= 0:
            os.umask(job["umask"])
        if not job.get("capable", True):
            _give_up_capabilities()
        if used.LOG in os.environ:
            used.note(os.environ[used.LOG])
        name, *words = job["command"]
        sys.argv = [name, *words]
        if name == "dvc":
            from dvc.cli import main as run_dvc

            code = run_dvc(words)
        elif name == "torchrun":
            from torch.distributed.run import main as run_torch

            code = run_torch(words)
        else:
            from stillroom_stages.cli import main

            code = main()
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    # to tear down what the parent imported takes a second
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _give_up_capabilities() -> None:
    """To this process the modes of files apply, as if it were not root's."""
    head, none = struct.pack("Ii", 0x20080522, 0), bytes(24)  # version 3, this process; no capability
    assert ctypes.CDLL(None).capset(head, none) == 0


if __name__ == "__main__":
    serve(sys.argv[1])

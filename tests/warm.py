"""Runs `stillroom`, `dvc` and `torchrun` in forks of one process that has imported what they need already.

A command still has a process, a folder, an environment and an output of its own, and may be killed; what is
saved are the ten seconds that it would spend on importing torch, timm and so on. `run` waits for a command,
`start` does not, and `path` is a folder for PATH whose commands ask for a fork too: a stage that DVC or a
shell starts is as fast. `python -c`, `python -m` and `python FILE` can be forks as well, with the library
imported already.
Where PYTHONPATH holds a copy of the library, it is that which is imported, beside what others made.
Where the start itself is the point, a test starts `BIN / "stillroom"`.
"""

import array
import atexit
import contextlib
import fcntl
import gc
import json
import os
import runpy
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
import types
from pathlib import Path
from typing import Any, NoReturn

from tests import used

LONGEST = 3600  # seconds: no machine is so slow
ROOT = Path(__file__).parents[1]
COMMANDS = ("stillroom", "dvc", "torchrun")
FOLDER = "WARM_SERVER"  # names the folder of a server: its socket, and `bin` with the commands
PYTHON = "python"  # not in PATH: what asks for some Python shall not get this one by chance

allowed = True  # whether a server may be started
_folder: Path | None = None  # of the server, once it is there
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
        before: str = "",
    ) -> None:
        """Args:
        before: Python that the process runs before it is the command; it may call what `confined` has.
        """
        self.args, self.returncode = command, None
        self._kept = tempfile.TemporaryDirectory()
        self._out, self._err = (Path(self._kept.name) / name for name in ("out", "err"))
        job = {"command": command, "folder": str(folder), "environment": environment, "before": before}
        with open(os.devnull) as nothing, self._out.open("wb") as out, self._err.open("wb") as err:
            streams = [stream.fileno() for stream in (nothing, out, err)]
            self._socket = _ask(_server() / "socket", job, streams)
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


def command(name: str) -> str:
    """One of `COMMANDS`, or `PYTHON`, as a file to be run in a shell, with pipes and so on, in a fork."""
    return str(_server() / ("python" if name == PYTHON else f"bin/{name}"))


def fork_of(client: int) -> int | None:
    """The process that does the work of a command from `path`, by the id of the one that asked for it."""
    try:
        return int((_server() / "forks" / str(client)).read_text())
    except (OSError, ValueError):
        return None


def settle() -> None:
    """Return when the forks of all commands that were killed are dead, too."""
    _answer(_ask(_server() / "socket", {"settle": True}, []))


# The asking side: pytest, and the small commands in `path`


def hold() -> Path:
    """A folder for a server that ends with this process; all that it starts use the same one."""
    kept = tempfile.TemporaryDirectory(prefix="warm-")
    folder = Path(kept.name)
    os.mkfifo(folder / "alive")
    alive = os.open(folder / "alive", os.O_RDWR)  # the server reads from it, until there is no writer
    atexit.register(kept.cleanup)
    atexit.register(os.close, alive)
    os.environ[FOLDER] = str(folder)
    return folder


def _server() -> Path:
    """The folder of the server, which the first that needs it starts."""
    global _folder
    assert allowed, "a test that starts commands is slow: @pytest.mark.slow"
    with _starting:
        if _folder is None:
            folder = Path(os.environ[FOLDER]) if FOLDER in os.environ else hold()
            with (folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (folder / "socket").exists():
                    _start_server(folder)
            _folder = folder
    return _folder


def _start_server(folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "forks").mkdir()
    for name in (*(f"bin/{name}" for name in COMMANDS), PYTHON):
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests import warm"
        code += f"; warm.client({str(folder)!r}, {Path(name).name!r})"
        # isolated and without site-packages it starts in 20 ms
        (folder / name).write_text(f"#!{sys.executable} -IS\n{code}\n")
        (folder / name).chmod(0o755)
    with (folder / "alive").open("rb", buffering=0) as alive:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(folder)],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"},
            stdin=alive,
            start_new_session=True,
        )
    end = time.monotonic() + LONGEST
    while not (folder / "socket").exists():
        assert server.poll() is None and time.monotonic() < end, "the warm server did not start"
        time.sleep(0.01)


def _ask(address: Path, job: dict[str, Any], streams: list[int]) -> socket.socket:
    asking = socket.socket(socket.AF_UNIX)
    asking.connect(str(address))
    text = json.dumps(job).encode("utf-8", "surrogateescape")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams).tobytes())]
    asking.sendmsg([struct.pack("Q", len(text))], rights if streams else [])
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


def client(folder: str, name: str) -> NoReturn:
    """Be the command `name`: a fork does the work; signals are passed on, and the end is the fork's."""
    umask = os.umask(0)
    words = (name, *sys.argv[1:])
    job = {"command": words, "folder": os.getcwd(), "environment": dict(os.environ), "client": os.getpid()}
    job["before"] = f"os.umask({umask})"
    asking = _ask(Path(folder) / "socket", job, [0, 1, 2])
    pid = _answer(asking)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = _answer(asking)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


# The server


class Server:
    """Forks for each connection, and answers with the process id, then with the exit code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.children: dict[int, tuple[socket.socket, str]] = {}  # who asked, and its process id if a client
        self._wake, woken = socket.socketpair()
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "new"))
        self._listener.listen(64)
        os.rename(folder / "new", folder / "socket")
        self._inherited = (self._wake, woken, self._listener)

    def serve(self) -> None:
        """Until standard input ends: then so does all that was started."""
        while True:
            asking = [one for one, _ in self.children.values()]
            ready, _, _ = select.select([self._listener, self._wake, sys.stdin, *asking], [], [])
            if sys.stdin in ready:
                break
            if self._wake in ready:
                self._wake.recv(4096)
            self._reap()
            if self._listener in ready:
                self._accept(self._listener.accept()[0])
        for pid in self.children:
            _kill_group(pid)

    def _reap(self) -> None:
        """Tell who asked what has ended; and end what nobody waits for."""
        gone, _, _ = select.select([one for one, _ in self.children.values()], [], [], 0)
        for pid, (asking, client) in [*self.children.items()]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with contextlib.suppress(OSError):
                    asking.sendall(struct.pack("q", os.waitstatus_to_exitcode(status)))
            elif asking in gone:  # who asked was killed: so is all that it started
                _kill_group(pid)
                os.waitpid(pid, 0)
            else:
                continue
            self.children.pop(pid)
            asking.close()
            (self.folder / "forks" / client).unlink() if client else None

    def _accept(self, asking: socket.socket) -> None:
        head, rights, _, _ = asking.recvmsg(8, socket.CMSG_SPACE(3 * 4))
        streams = array.array("i", rights[0][2] if rights else b"").tolist()
        try:
            text = _read(asking, struct.unpack("Q", head)[0])
            job = json.loads(text.decode("utf-8", "surrogateescape"))
        except (struct.error, ValueError, OSError):  # it was killed while it asked
            job = {"settle": True}
        if "settle" in job:
            self._reap()
            with contextlib.suppress(OSError):
                asking.sendall(struct.pack("q", 0))
            asking.close()
        else:
            self._fork(asking, job, streams)
        for stream in streams:
            os.close(stream)

    def _fork(self, asking: socket.socket, job: dict[str, Any], streams: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for one in (*self._inherited, asking, *(one for one, _ in self.children.values())):
                one.close()
            _work(job, streams)
        client = str(job.get("client", ""))
        if client:
            (self.folder / "forks" / client).write_text(str(pid))
        self.children[pid] = asking, client
        with contextlib.suppress(OSError):
            asking.sendall(struct.pack("q", pid))


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


# What commands import when they need it
LATER = (
    "aiobotocore.session",
    "aiohttp",
    "asyncssh",
    "dulwich.porcelain",
    "dvc.cli.parser",
    "dvc.render.convert",
    "dvc.repo.reproduce",
    "dvc_data.index.push",
    "dvclive",
    "flufl.lock",
    "h5py",
    "networkx",
    "pygit2",
    "pyparsing",
    "s3fs",
    "scmrepo.git",
    "sklearn.metrics",
    "sshfs",
    "torch.distributed.run",
    "torch.utils.flop_counter",
    "zarr",
)


def _import_all() -> None:
    import importlib
    import pkgutil

    import PIL.Image
    import timm

    import stillroom
    import stillroom_stages

    for name in LATER:
        importlib.import_module(name)
    for package in (stillroom, stillroom_stages):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    PIL.Image.init()
    timm.layers.to_2tuple(1)  # the first time, Python looks through half a second of abstract classes


def _work(job: dict[str, Any], streams: list[int]) -> NoReturn:
    """Be the command in this fork."""
    from tests import confined

    code: Any = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        # what a stream is, a pipe or a file, Python has looked up when it started
        os.environ.clear()
        os.environ.update(job["environment"])
        encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
        text: Any = {"encoding": encoding or None, "closefd": False}
        sys.stdin = open(0, errors=errors or sys.stdin.errors, **text)  # noqa: SIM115
        sys.stdout = open(1, "w", errors=errors or sys.stdout.errors, **text)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", **text)  # noqa: SIM115
        os.chdir(job["folder"])
        _read_again()
        exec(job["before"], {"os": os, **vars(confined)})
        _take_from_path()
        if used.LOG in os.environ:
            used.note(os.environ[used.LOG])
        name, *words = job["command"]
        sys.argv = [name, *words]
        if name == PYTHON:
            _python(words)
            code = 0
        elif name == "dvc":
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
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # as Python itself ends where its last words cannot be written
        traceback.print_exc()
        code = 120
    # to tear down what the parent imported takes a second
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _read_again() -> None:
    """Have huggingface_hub look at this environment: it did so when it was imported."""
    import importlib

    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        importlib.reload(constants)


def _take_from_path() -> None:
    """Have PYTHONPATH hold, and a library that is there take the place of ours."""
    folders = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:0] = folders
    if any(os.path.isabs(one) and os.path.isdir(os.path.join(one, "stillroom")) for one in folders):
        for name in [one for one in sys.modules if one.partition(".")[0] in used.FOLDERS]:
            del sys.modules[name]


def _python(words: list[str]) -> None:
    """Be `python -c CODE ...`, `python -m MODULE ...` or `python FILE ...`."""
    kind, what = words[0], words[1] if len(words) > 1 else ""
    sys.argv = words if kind not in ("-c", "-m") else words[1:] if kind == "-m" else ["-c", *words[2:]]
    sys.path.insert(0, "" if kind in ("-c", "-m") else os.path.dirname(os.path.abspath(kind)))
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif kind != "-c":
        runpy.run_path(kind, run_name="__main__")
    else:
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    _import_all()
    gc.collect()
    gc.freeze()  # what is imported is not looked through, nor copied for it, in any child
    Server(Path(sys.argv[1])).serve()

"""A cache that lies elsewhere (`s3://`, `ssh://`, `https://`, any address that fsspec knows), read in place.

A file is fetched when it is first read, once, into a local folder of bounded size, and then read and checked
there like any other cache's. What lies in that folder is trusted no more than the address is.
"""

import errno
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from stillroom.cache.format.manifest import LARGEST, NAME, Manifest
from stillroom.errors import CacheError
from stillroom.files import whole_file
from stillroom.machine import FOLDER, local_folder

GIB = "STILLROOM_FETCHED_GIB"  # how much they may take
PATIENCE = "STILLROOM_FETCH_SECONDS"  # how long a lost connection is tried again
_PIECE = 2**20
_SIDE_BY_SIDE = 4  # files fetched at once
_SILENCE = 30  # seconds without a byte after which a connection counts as lost
_NEEDED = {"s3": "s3", "s3a": "s3", "ssh": "ssh", "sftp": "ssh"}  # protocol -> our optional extra
# What trying again does not mend, beside OSError's own: names of errors in libraries that need not be here.
_FINAL_ERRORS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "InvalidRegionError",
    "PermissionDenied",
    "HostKeyNotVerifiable",
    "KeyImportError",
    "InvalidURL",
    "InvalidUrlClientError",
    "NotDvcRepoError",
}

Result = TypeVar("Result")


def is_address(location: object) -> bool:
    """Whether it is an address such as `s3://bucket/cache`, and no local path."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(location)))


class _UnfetchedError(Exception):
    """A file at the address cannot be taken; the text says why."""


class Remote:
    """The files of a cache at an address, and the local copies of those that were read.

    It holds no connection over fork, spawn or pickle.

    Attributes:
        address: as given, without a final slash and without `manifest.json`.
        shown: the same for messages: a password in it is left out.
    """

    def __init__(self, address: str) -> None:
        """
        Raises:
            CacheError: the environment variables of this module are not numbers.
        """
        self.address = re.sub(r"(?<=[^:/])/+$", "", address).removesuffix(f"/{NAME}")
        self.shown = re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", self.address)
        self._parent = local_folder()
        self._room = int(_number(GIB, 8.0) * 2**30)
        self._patience = _number(PATIENCE, 60.0)
        self._folder = self._parent
        self._in_use: set[str] = set()
        self._held: int | None = None  # bytes in the parent folder, as far as this process knows
        self._connected: tuple[int, Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connected": None}

    def open(self) -> tuple[Path, Manifest]:
        """Fetch the manifest and make the folder that its cache's files will go to.

        Raises:
            CacheError: it is not there, cannot be fetched, or is not sound.
        """
        try:
            self._parent.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            try:
                self._retried(lambda: self._copy(NAME, content, LARGEST))
            except _UnfetchedError as error:
                raise self._no_cache(str(error)) from None
            text = content.getvalue()
            manifest = Manifest.parse(text, f"{self.shown}/{NAME}", "put a sound cache there")
            # the folder is named by content: at whatever address a cache lies, it is fetched once
            self._folder = self._parent / f"{manifest.id[:16]}-{manifest.backend}"
            self._folder.mkdir(exist_ok=True)
            with whole_file(self._folder / NAME, durable=False) as stream:
                stream.write(text)
        except OSError as error:
            raise self._no_room(error) from None
        return self._folder, manifest

    def fetch(self, files: dict[str, int]) -> dict[str, str]:
        """Make sure that these files lie in the local folder, and let others go if there are too many.

        Args:
            files: by path relative to the cache, with the bytes that each may have at most.

        Returns:
            For each of them that was not fetched, why.

        Raises:
            CacheError: the address cannot be reached, or refuses.
        """
        self._in_use = set(files)
        absent = [file for file in files if not self._touch(file)]
        if not absent:
            return {}
        try:
            with self._exclusively():  # another process may be fetching the same
                absent = [file for file in absent if not self._touch(file)]
                with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
                    faults = list(pool.map(lambda file: self._fetch(file, files[file]), absent))
                self._shrink(absent)
        except OSError as error:
            raise self._no_room(error) from None
        return {file: fault for file, fault in zip(absent, faults, strict=True) if fault}

    def forget(self, files: set[str]) -> None:
        """Give up the local copies of these files: they are not what they should be."""
        for file in files:
            (self._folder / file).unlink(missing_ok=True)

    def size(self, files: list[str]) -> int:
        """Bytes of these files at the address.

        Raises:
            CacheError: as `fetch`; or one is not there.
        """

        def one(file: str) -> int:
            try:
                return self._retried(lambda: self._length(file))
            except FileNotFoundError:
                raise CacheError(f"{self.shown}/{file} is not there") from None

        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            return sum(pool.map(one, files))

    def _touch(self, file: str) -> bool:
        """Whether a local copy is there; if so it is marked as used."""
        try:
            os.utime(self._folder / file)
        except FileNotFoundError:
            return False
        return True

    def _fetch(self, file: str, most: int) -> str:
        target = self._folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with whole_file(target, durable=False) as stream:
                self._retried(lambda: self._copy(file, stream, most))
        except _UnfetchedError as error:
            return str(error)
        return ""

    def _copy(self, file: str, target: BinaryIO, most: int) -> None:
        """Fetch a file, never more of it than it may have, into an open one, whatever that holds so far.

        Raises:
            _UnfetchedError: it is not there, or too long.
        """
        target.seek(0)
        target.truncate()
        options = {"block_size": 0} if self.address.startswith("http") else {}  # as a stream
        try:
            source = self._file_system().open(f"{self._root()}/{file}", "rb", **options)
        except Exception as error:
            if not isinstance(_real_cause(error), FileNotFoundError):
                raise
            raise _UnfetchedError("is not there") from None
        with source:
            left = most
            while piece := source.read(min(_PIECE, left + 1)):
                left -= len(piece)
                if left < 0:
                    raise _UnfetchedError(f"is too long: more than {most} bytes")
                target.write(piece)

    def _length(self, file: str) -> int:
        path = f"{self._root()}/{file}"
        length = self._file_system().info(path)["size"]
        if length is None:  # DVC knows a folder's whole size only
            with self._file_system().open(path, "rb") as source:
                length = sum(len(piece) for piece in iter(lambda: source.read(_PIECE), b""))
        return int(length)

    def _retried(self, ask: Callable[[], Result]) -> Result:
        """What `ask` returns, tried again while the connection fails."""
        began, delay, tries = time.monotonic(), 0.5, 0
        while True:
            tries += 1
            try:
                return ask()
            except (CacheError, _UnfetchedError):
                raise
            except Exception as raised:  # each protocol's library has errors of its own
                error = _real_cause(raised)
                if isinstance(error, OSError) and (
                    isinstance(error, FileNotFoundError) or self._is_local(error)
                ):
                    raise
                self._connected = None
                why = f"{type(error).__name__}: {error}".removesuffix(": ")[:300]
                if _is_final(error):
                    fix = "check the address, and the credentials that this machine uses for it"
                    raise CacheError(f"{self.shown} refuses to be read", why, fix) from None
                waited = time.monotonic() - began
                if waited + delay > self._patience:
                    raise CacheError(
                        f"{self.shown} cannot be reached",
                        f"{why} (tried {tries} times in {waited:.0f} s)",
                        "check the network, and run the same command again: what was fetched is kept, and "
                        "training goes on from its last checkpoint",
                    ) from None
                time.sleep(delay)
                delay = min(2 * delay, 15.0)

    def _file_system(self) -> Any:
        """The file system, connected in this very process."""
        if self._connected is None or self._connected[0] != os.getpid():
            import fsspec

            protocol = self.address.partition(":")[0].lower()
            try:
                system, root = fsspec.core.url_to_fs(self.address, **_options(protocol))
            except (ImportError, ValueError) as error:
                if isinstance(error, ValueError) and "rotocol" not in str(error):
                    raise
                fix = "use s3://, ssh://, https:// or dvc://"
                if isinstance(error, ImportError):
                    extra = _NEEDED.get(protocol)
                    fix = f"pip install 'stillroom[{extra}]'" if extra else "install what it names"
                raise CacheError(f"{self.shown} cannot be read", str(error)[:300], fix) from None
            self._connected = os.getpid(), system, root.rstrip("/")
        return self._connected[1]

    def _no_cache(self, fault: str) -> CacheError:
        why = "every cache has one"
        fix = "give the address of a cache's folder, or of its manifest.json"
        if self.address.startswith("dvc:"):
            if self._file_system().isdvc(self._root()):
                why = "DVC knows this output, but holds it neither here nor in this project's remote"
                fix = "`dvc remote list` says where it looks; whoever made the cache must `dvc push` it there"
            else:
                why = "DVC knows no such output of this project"
                fix = "give the path of one, as dvc://artifacts/cache"
        return CacheError(f"{self.shown}/{NAME} {fault}", why, fix)

    def _root(self) -> str:
        self._file_system()
        assert self._connected is not None
        return self._connected[2]

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as file:
            # without locks two may fetch the same file, and each puts a whole one in its place
            with suppress(OSError, ImportError):
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _shrink(self, fetched: list[str]) -> None:
        """Delete what was not used for longest, of every cache here, but nothing that is in use."""
        if self._held is not None:
            self._held += sum((self._folder / file).stat().st_size for file in fetched if self._touch(file))
        if self._held is not None and self._held <= self._room:
            return
        files = []
        for path, _, names in os.walk(self._parent):
            for name in names:
                file = Path(path) / name
                if not name.startswith(".") and name != NAME:
                    try:
                        about = file.stat()
                    except FileNotFoundError:
                        continue
                    files.append((about.st_mtime_ns, about.st_size, file))
        self._held = sum(size for _, size, _ in files)
        keep = {self._folder / file for file in self._in_use}
        for _, size, file in sorted(files):
            if self._held <= self._room:
                return
            if file not in keep:
                file.unlink(missing_ok=True)
                self._held -= size

    def _is_local(self, error: OSError) -> bool:
        """Whether it is this machine's disk that is at fault."""
        if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
            return True
        return str(error.filename or "").startswith(str(self._parent))

    def _no_room(self, error: OSError) -> CacheError:
        return CacheError(
            f"what is fetched from {self.shown} cannot be kept in {self._parent}",
            error.strerror or str(error),
            f"free the disk, or set {FOLDER} to another folder ({GIB}: how much it may hold)",
        )


def _options(protocol: str) -> dict[str, Any]:
    """How a connection is made: a silent one must end, and a lost one must not be taken up again."""
    options: dict[str, Any] = {"skip_instance_cache": True}
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, connect=_SILENCE, sock_connect=_SILENCE, sock_read=_SILENCE)
        options["client_kwargs"] = {"timeout": timeout}
    elif protocol in ("s3", "s3a"):
        options["config_kwargs"] = {
            "connect_timeout": _SILENCE,
            "read_timeout": _SILENCE,
            "retries": {"max_attempts": 1},
        }
    elif protocol in ("ssh", "sftp"):
        options |= {"connect_timeout": _SILENCE, "keepalive_interval": _SILENCE // 2}
    return options


def _real_cause(error: Exception) -> Exception:
    """The error behind the one raised: to fsspec any failure of an HTTP connection is a missing file, and to
    DVC any failure of a remote.
    """
    cause = error.__cause__
    if type(error).__name__ == "DataIndexDirError" and isinstance(cause, Exception):
        return _real_cause(cause)
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
        foreign = isinstance(cause, OSError) or type(cause).__module__.startswith("aiohttp")
        if foreign and getattr(cause, "status", None) != 404:
            return cause
    return error


def _is_final(error: Exception) -> bool:
    if type(error).__module__ == "builtins" and not isinstance(error, OSError):
        return True  # no connection's fault
    if isinstance(error, PermissionError) or getattr(error, "status", None) in (400, 401, 403, 405, 410):
        return True
    return any(kind.__name__ in _FINAL_ERRORS for kind in type(error).__mro__)


def _number(name: str, default: float) -> float:
    try:
        value = float(os.environ.get(name) or default)
        if not 0 < value < 1e9:
            raise ValueError
        return value
    except ValueError:
        raise CacheError(f"{name} = {os.environ[name]!r} is no number above 0") from None

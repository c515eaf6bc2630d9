"""Files that lie elsewhere (`hf://`, `s3://`, `ssh://`, `https://`, any address that fsspec knows).

A file is fetched when it is first read, once, into a local folder of bounded size. What lies in that folder
is trusted no more than the address is: whoever reads it checks it.
"""

import errno
import hashlib
import io
import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar

from stillroom import hub, spans
from stillroom.errors import DataError, StillroomError
from stillroom.files import whole_file
from stillroom.lock import in_turn
from stillroom.machine import FOLDER, local_folder

GIB = "STILLROOM_FETCHED_GIB"  # how much they may take
PATIENCE = "STILLROOM_FETCH_SECONDS"  # how long a lost connection is tried again
_PIECE = 2**20
_STAYING = ("manifest.json",)  # small, and looked at first
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


def masked(text: str) -> str:
    """An address, or a text with addresses, for people: without passwords, tokens, and what follows a `?`."""
    text = re.sub(r"(://[^/@\s:]*):[^/\s]*@", r"\1:***@", text)
    text = re.sub(r"\b((?:https?|s3a?)://)[^/@\s]+@", r"\1***@", text)  # a user's name may be a token there
    text = re.sub(r"(://[^\s'\"?]*)\?[^\s'\"]*", r"\1?***", text)
    return re.sub(r"\bhf_[A-Za-z0-9]{16,}", "hf_***", text)


class UnfetchedError(Exception):
    """A file at the address cannot be taken; the text says why."""


class Address:
    """The files at an address, and the local copies of those that were read.

    It holds no connection over fork, spawn or pickle.

    Attributes:
        address: as given, without a final slash.
        shown: the same for messages, `masked`.
    """

    ERROR: ClassVar[type[StillroomError]] = DataError
    AGAIN: ClassVar[str] = "run the same command again: what was fetched is kept"  # when the network is back
    SUFFIX: ClassVar[str] = ""  # what an address may end in
    VERB: ClassVar[tuple[str, str]] = ("read", "read")  # what is done with it, and what it refuses to be

    def __init__(self, address: str) -> None:
        """
        Raises:
            StillroomError: the environment variables of this module are not numbers; or it is an address of
                the Hub that names no repository.
        """
        self.address = re.sub(r"(?<=[^:/])/+$", "", address).removesuffix(self.SUFFIX)
        self.shown = masked(self.address)
        try:
            self._hub = hub.place_of(self.address)
        except ValueError as error:
            raise self.ERROR(
                f"{self.shown} is no address of the Hub", str(error), f"give {hub.FORM}"
            ) from None
        self._commit: str | None = None  # of the Hub: the one that is read from the first connection on
        self._parent = local_folder()
        self._room = int(_number(GIB, 8.0, self.ERROR) * 2**30)
        self._patience = _number(PATIENCE, 60.0, self.ERROR)
        self._folder = self._parent
        self._in_use: set[str] | list[str] = set()
        self._held: int | None = None  # bytes in the parent folder, as far as this process knows
        self._connected: tuple[int, Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connected": None}

    def fetch(self, files: dict[str, int]) -> dict[str, str]:
        """Make sure that these files lie in the local folder, and let others go if there are too many.

        Args:
            files: by path relative to the cache, with the bytes that each may have at most.

        Returns:
            For each of them that was not fetched, why.

        Raises:
            StillroomError: the address cannot be reached, or refuses.
        """
        absent = [file for file in files if not self._touch(file)]
        if not absent:
            return {}
        try:
            # another process may be fetching the same; without locks each puts a whole one in its place
            with in_turn(self._folder / ".lock"):
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
            StillroomError: as `fetch`; or one is not there.
        """

        def one(file: str) -> int:
            try:
                return self._retried(lambda: self._length(file))
            except FileNotFoundError:
                raise self.ERROR(f"{self.shown}/{file} is not there") from None

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
        except UnfetchedError as error:
            return str(error)
        return ""

    def _copy(self, file: str, target: BinaryIO, most: int) -> None:
        """Fetch a file, never more of it than it may have, into an open one, whatever that holds so far.

        Raises:
            UnfetchedError: it is not there, or too long.
        """
        target.seek(0)
        target.truncate()
        try:
            source = self._opened(file)
        except Exception as error:
            if not isinstance(_real_cause(error), FileNotFoundError):
                raise
            raise UnfetchedError("is not there") from None
        with source:
            left = most
            while piece := source.read(min(_PIECE, left + 1)):
                left -= len(piece)
                if left < 0:
                    raise UnfetchedError(f"is too long: more than {most} bytes")
                target.write(piece)

    def _opened(self, file: str) -> Any:
        options = {"block_size": 0} if self.address.startswith("http") else {}  # as a stream
        return self._file_system().open(f"{self._root()}/{file}", "rb", **options)

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
            except (StillroomError, UnfetchedError):
                raise
            except Exception as raised:  # each protocol's library has errors of its own
                error = _real_cause(raised)
                if isinstance(error, OSError) and (
                    isinstance(error, FileNotFoundError) or self._is_local(error)
                ):
                    raise
                self._connected = None
                why = masked(" ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split()))[:300]
                refused = hub.refused(error, self._hub, self.VERB[0]) if self._hub else None
                if refused or _is_final(error):
                    fix = "check the address, and the credentials that this machine uses for it"
                    why, fix = refused or (why, fix)
                    raise self.ERROR(f"{self.shown} refuses to be {self.VERB[1]}", why, fix) from None
                waited = time.monotonic() - began
                if waited + delay > self._patience:
                    raise self.ERROR(
                        f"{self.shown} cannot be reached",
                        f"{why} (tried {tries} times in {waited:.0f} s)",
                        f"check the network, and {self.AGAIN}",
                    ) from None
                time.sleep(delay)
                delay = min(2 * delay, 15.0)

    def _file_system(self) -> Any:
        """The file system, connected in this very process."""
        if self._connected is None or self._connected[0] != os.getpid():
            if self._hub:
                files = hub.Files(self._hub, self._commit, **_options("https"))
                self._commit = files.commit
                self._connected = os.getpid(), files, self._hub.path
                return files
            import fsspec

            protocol = self.address.partition(":")[0].lower()
            try:
                system, root = fsspec.core.url_to_fs(self.address, **_options(protocol))
            except (ImportError, ValueError) as error:
                if isinstance(error, ValueError) and "rotocol" not in str(error):
                    raise
                fix = "use hf://, s3://, ssh://, https:// or dvc://"
                if isinstance(error, ImportError):
                    extra = _NEEDED.get(protocol)
                    fix = f"pip install 'stillroom[{extra}]'" if extra else "install what it names"
                raise self.ERROR(
                    f"{self.shown} cannot be {self.VERB[1]}", masked(str(error))[:300], fix
                ) from None
            self._connected = os.getpid(), system, root.rstrip("/")
        return self._connected[1]

    def _root(self) -> str:
        self._file_system()
        assert self._connected is not None
        return self._connected[2]

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
                if not name.startswith(".") and name not in _STAYING:
                    try:
                        about = file.stat()
                    except FileNotFoundError:
                        continue
                    files.append((about.st_mtime_ns, about.st_size, file))
        self._held = sum(size for _, size, _ in files)
        keep = {self._folder / file for file in [*self._in_use]}
        for _, size, file in sorted(files):
            if self._held <= self._room:
                return
            if file not in keep:
                file.unlink(missing_ok=True)
                spans.forget(file)  # or the disk would still hold it
                self._held -= size

    def _is_local(self, error: OSError) -> bool:
        """Whether it is this machine's disk that is at fault."""
        if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
            return True
        return str(error.filename or "").startswith(str(self._parent))

    def _no_room(self, error: OSError) -> StillroomError:
        return self.ERROR(
            f"what is fetched from {self.shown} cannot be kept in {self._parent}",
            error.strerror or str(error),
            f"free the disk, or set {FOLDER} to another folder ({GIB}: how much it may hold)",
        )


class Copies(Address):
    """Samples' files at an address: listed, streamed, or read in parts from local copies.

    A copy lies in `shards/` of the local folder, by its address. It is checked by whoever reads it.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._folder = self._parent / "shards" / hashlib.sha256(self.address.encode()).hexdigest()[:16]
        self._in_use: list[str] = []  # once for each thread that reads it

    def listing(self, known: Iterable[str] = ()) -> dict[str, tuple[int | None, str]]:
        """What lies there and one folder further down, but for hidden files.

        Args:
            known: files that are asked for one by one, where the address lists none: plain HTTP.

        Returns:
            For each path: its bytes (None: nobody says), and what tells that it changed: a tag, or a time.

        Raises:
            DataError: the address cannot be reached, refuses, or has nothing.
        """
        system, root = self._retried(self._file_system), self._root()
        try:
            found = self._retried(lambda: system.find(root, maxdepth=2, detail=True))
        except (FileNotFoundError, NotADirectoryError):
            found = {}
        about: dict[str, tuple[int | None, str]] = {}
        for name, info in sorted(found.items()):
            path = str(name).removeprefix(root).lstrip("/").partition("?")[0]
            if path and not any(part.startswith(".") for part in path.split("/")):
                about[path] = _described(info)
        for path in [*about, *known]:  # a page of links says no sizes
            if about.get(path, (None, ""))[0] is None:
                file = f"{root}/{path}"
                try:
                    about[path] = _described(self._retried(partial(system.info, file)))
                except FileNotFoundError:
                    about.pop(path, None)
        return about

    def small(self, path: str, most: int) -> bytes:
        """A small file.

        Raises:
            FileNotFoundError: it is not there.
            DataError: it has more than `most` bytes, or the address cannot be reached.
        """
        content = io.BytesIO()
        try:
            self._retried(lambda: self._copy(path, content, most))
        except UnfetchedError as error:
            if "not there" in str(error):
                raise FileNotFoundError(
                    errno.ENOENT, os.strerror(errno.ENOENT), f"{self.shown}/{path}"
                ) from None
            raise DataError(f"{self.shown}/{path} {error}") from None
        return content.getvalue()

    def stream(self, path: str) -> "Stream":
        """A file that is read once from its start; it goes on where a connection was lost.

        Raises:
            DataError: the address cannot be reached.
        """
        return Stream(self, path)

    def part(self, path: str, span: tuple[int, int] | None) -> bytes:
        """A part of a file, or all of it; the file is fetched if it is not here yet.

        Raises:
            DataError: it is not there, or cannot be reached.
            OSError: it is shorter than that.
        """
        file = self._folder / path
        self._in_use.append(path)
        try:
            for anew in (False, True):
                self._bring(path)
                try:
                    return file.read_bytes() if span is None else spans.read(file, *span)
                except (FileNotFoundError, spans.ShortError):  # deleted by another process; or an old copy
                    if anew:
                        raise
                    self.renew(path)
        finally:
            self._in_use.remove(path)
        raise AssertionError

    def renew(self, path: str) -> None:
        """Give up the local copy of a file: it is not what it should be."""
        self.forget({path})
        spans.forget(self._folder / path)

    def _bring(self, path: str) -> None:
        if self._touch(path):
            return
        spans.forget(self._folder / path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            most = self._retried(lambda: self._length(path))
            fault = self.fetch({path: most}).get(path)
        except FileNotFoundError:
            fault = "is not there"
        except OSError as error:
            raise self._no_room(error) from None
        if fault:
            raise DataError(
                f"{self.shown}/{path} {fault}", fix="put it back, or set data.path to where the shards lie"
            )


class Stream(io.RawIOBase):
    """A file at an address, from its start to its end."""

    def __init__(self, copies: Copies, path: str) -> None:
        super().__init__()
        self._copies, self._path = copies, path
        self._source: Any = None
        self._at = 0

    def read(self, length: int = -1) -> bytes:
        """The next bytes, fewer than asked for perhaps; none at the end.

        Raises:
            FileNotFoundError: it is not there.
            DataError: the address cannot be reached, or refuses.
        """
        content = self._copies._retried(lambda: self._next(length))
        self._at += len(content)
        return content

    def close(self) -> None:
        """Let the connection go."""
        if self._source is not None:
            with suppress(Exception):  # it may be lost already
                self._source.close()
            self._source = None
        super().close()

    def _next(self, length: int) -> bytes:
        try:
            if self._source is None:
                self._source = self._copies._opened(self._path)
                left = self._at
                while left and (skipped := self._source.read(min(_PIECE, left))):
                    left -= len(skipped)
            content: bytes = self._source.read(length)
            return content
        except Exception:
            self._source = None  # what is lost is not taken up again
            raise


_copies: dict[str, Copies] = {}


def copies(address: str) -> Copies:
    """The files at an address, as this process knows them.

    Raises:
        DataError: the environment variables of this module are not numbers.
    """
    if address not in _copies:
        _copies[address] = Copies(address)
    return _copies[address]


def _described(info: dict[str, Any]) -> tuple[int | None, str]:
    marks = ("ETag", "etag", "md5", "mtime", "LastModified", "last_modified", "updated")
    mark = next((str(info[name]) for name in marks if info.get(name)), "")
    size = info.get("size")
    return (int(size) if size is not None else None), mark


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
    response = getattr(error, "response", None)
    status = getattr(error, "status", None) or getattr(response, "status_code", None)
    if isinstance(error, PermissionError) or status in (400, 401, 403, 405, 410, 413, 422):
        return True
    return any(kind.__name__ in _FINAL_ERRORS for kind in type(error).__mro__)


def _number(name: str, default: float, error: type[StillroomError]) -> float:
    try:
        value = float(os.environ.get(name) or default)
        if not 0 < value < 1e9:
            raise ValueError
        return value
    except ValueError:
        raise error(f"{name} = {os.environ[name]!r} is no number above 0") from None

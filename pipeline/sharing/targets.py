"""Where things are shared: a repository of the Hub, or a folder at any address that can be written to."""

import errno
import hashlib
import io
import json
import os
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from stillroom import hub
from stillroom.errors import ParamsError, StillroomError
from stillroom.fetched import Address, Result, UnfetchedError, is_address, masked
from stillroom.files import read_small, whole_file
from stillroom.lock import claim
from stillroom.sharing.contents import CARD

TOGETHER = 256, 2 * 2**30  # files, and bytes of them, of a commit on the Hub at most
PART = 50 * 2**20  # bytes of the parts that s3fs cuts a large file into
_PIECE = 2**20
_SMALL = 64 * 2**20  # bytes of a record or a card that are read
_READ_ONLY = {
    "http": "a web server takes no files this way",
    "https": "a web server takes no files this way",
    "dvc": "DVC writes there itself: `dvc push`",
}


@dataclass(frozen=True)
class Upload:
    """What is written to a place, paths relative to it.

    Attributes:
        files: but for the record.
        record: the file that says that all of it is there.
        card: None: the one that is there stays.
        gone: files there that are no part of it any more.
        torn: files that an older record there speaks of are about to change, so it goes first.
        title: of the commit.
        check: called before the record is written; raises where the files are no longer those that were
            checked.
    """

    files: Sequence[tuple[str, Path]]
    record: tuple[str, Path]
    card: bytes | None
    gone: Sequence[str]
    torn: bool
    title: str
    check: Callable[[], None]


class Target(Address):
    """A place that is written to.

    `held` says what lies there; `same` whether one of those is what lies here. Paths are relative to the
    place. Each file gets there whole or not at all.
    """

    ERROR: ClassVar[type[StillroomError]] = StillroomError
    AGAIN: ClassVar[str] = "run the same command again: what was uploaded is kept"
    VERB: ClassVar[tuple[str, str]] = ("write", "written")

    @abstractmethod
    def held(self) -> dict[str, tuple[int, str]]:
        """What lies there: bytes and, as far as the place says it, a digest."""

    @abstractmethod
    def same(self, path: str, file: Path, digest: str) -> bool:
        """Whether a file there, of the same size, is this one."""

    @abstractmethod
    def upload(self, what: "Upload", done: Callable[[int], None]) -> None:
        """Write files, then the card and the record, so that nobody takes half of them for all.

        Args:
            done: told the bytes of what is there by now.

        Raises:
            StillroomError: the place cannot be reached, or refuses.
        """

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others on this machine from writing there meanwhile, where it lies on this machine.

        Raises:
            StillroomError: another process is at it, or the folder cannot be made.
        """
        yield

    def card(self) -> bytes | None:
        """The card that lies there."""
        return self.small(CARD)

    def small(self, path: str) -> bytes | None:
        """A small file that lies there, as far as there is one."""
        content = io.BytesIO()
        try:
            self._retried(lambda: self._copy(path, content, _SMALL))
        except UnfetchedError:
            return None
        return content.getvalue()

    def record(self, path: str) -> dict[str, Any]:
        """The JSON of a record that lies there; empty where it is none."""
        try:
            found = json.loads(self.small(path) or b"{}")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class Repository(Target):
    """A repository of the Hub, or a folder in one. The card lies at its top, where the Hub shows it."""

    def held(self) -> dict[str, tuple[int, str]]:
        assert self._hub is not None
        place = self._hub
        start = f"{place.path}/" if place.path else ""
        found = self._retried(lambda: hub.listing(hub.api(), place))
        return {path.removeprefix(start): about for path, about in found.items() if path.startswith(start)}

    def card(self) -> bytes | None:
        assert self._hub is not None
        at = f"@{quote(self._hub.revision, safe='')}" if self._hub.revision else ""
        return Repository(f"{self._hub.name}{at}").small(CARD)

    def same(self, path: str, file: Path, digest: str) -> bool:
        if len(digest) == 64:  # of a large file; git names others by a digest with their length
            return _digest(file, hashlib.sha256()) == digest
        start = hashlib.sha1(b"blob %d\0" % file.stat().st_size)
        return _digest(file, start) == digest

    def upload(self, what: "Upload", done: Callable[[int], None]) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        batches = list(_batches(what.files))
        for number, batch in enumerate(batches or [[]]):
            whole = number == max(0, len(batches) - 1)
            if whole:
                what.check()
            added: dict[str, Path | bytes] = {self._inside(path): file for path, file in batch}
            dropped = [self._inside(path) for path in what.gone] if whole else []
            if whole:
                added[self._inside(what.record[0])] = what.record[1]
                if what.card is not None:
                    added[CARD] = what.card
            elif number == 0 and what.torn:  # one commit alone needs no such care
                dropped = [self._inside(what.record[0])]
            part = "" if len(batches) < 2 else f" ({number + 1} of {len(batches)})"

            def commit(
                added: dict[str, Path | bytes] = added, dropped: list[str] = dropped, part: str = part
            ) -> None:
                assert self._hub is not None
                operations: list[Any] = [CommitOperationDelete(path_in_repo=path) for path in dropped]
                for path, content in added.items():
                    source = content if isinstance(content, bytes) else str(content)
                    operations.append(CommitOperationAdd(path_in_repo=path, path_or_fileobj=source))
                with hub.quiet():
                    hub.api().create_commit(
                        self._hub.repo,
                        operations,
                        commit_message=f"{what.title}{part}",
                        repo_type=self._hub.kind,
                        revision=self._hub.revision,
                    )

            self._retried(commit)
            done(sum(file.stat().st_size for _, file in [*batch, *([what.record] if whole else [])]))

    def _inside(self, path: str) -> str:
        assert self._hub is not None
        return f"{self._hub.path}/{path}" if self._hub.path else path


class Folder(Target):
    """A folder at any address that fsspec can write to, on this machine too."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._here = self.address.startswith("file:")
        if self._here:
            self.shown = self.address.removeprefix("file://")

    @contextmanager
    def alone(self) -> Iterator[None]:
        if not self._here:
            yield
            return
        try:
            os.makedirs(self.shown, exist_ok=True)
            descriptor = os.open(self.shown, os.O_RDONLY)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            claim(descriptor, Path(self.shown))
            yield
        except BlockingIOError:
            raise self.ERROR(
                f"another process is sharing something in {self.shown}", fix="wait for it to end"
            ) from None
        finally:
            os.close(descriptor)

    def small(self, path: str) -> bytes | None:
        if not self._here:
            return super().small(path)
        try:
            return read_small(Path(self.shown, path), _SMALL)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self.ERROR(
                f"{self.shown}/{path} cannot be read", str(error), "give another place, or move it away"
            ) from None

    def held(self) -> dict[str, tuple[int, str]]:
        def look() -> dict[str, Any]:
            system, root = self._file_system(), self._root()
            system.invalidate_cache()
            try:
                found: dict[str, Any] = system.find(root, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
            return found

        found = self._there(look)
        root = self._root()
        return {
            str(name).removeprefix(root).lstrip("/"): (
                int(info["size"]),
                str(info.get("ETag", "")).strip('"'),
            )
            for name, info in found.items()
        }

    def same(self, path: str, file: Path, digest: str) -> bool:
        if digest:
            return digest == (_digest_of_parts(file) if "-" in digest else _digest(file, hashlib.md5()))

        def there() -> str:
            total = hashlib.sha256()
            with self._opened(path) as source:
                while piece := source.read(_PIECE):
                    total.update(piece)
            return total.hexdigest()

        return bool(self._there(there) == _digest(file, hashlib.sha256()))

    def upload(self, what: "Upload", done: Callable[[int], None]) -> None:
        if what.torn:
            self._there(partial(self._remove, what.record[0]))
        for path, file in what.files:
            self._there(partial(self._put, path, file))
            done(file.stat().st_size)
        if what.card is not None:
            self._there(partial(self._put, CARD, what.card))
        what.check()
        self._there(partial(self._put, *what.record))
        done(what.record[1].stat().st_size)
        for path in what.gone:
            self._there(partial(self._remove, path))

    def _there(self, do: Callable[[], Any]) -> Any:
        try:
            return self._retried(do)
        except FileNotFoundError as error:  # a bucket that is not there
            raise self._unwritable(error) from None

    def _retried(self, ask: Callable[[], Result]) -> Result:
        if not self._here:
            return super()._retried(ask)
        try:
            return ask()
        except FileNotFoundError:
            raise
        except OSError as error:  # trying again does not mend a disk
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> StillroomError:
        return self.ERROR(
            f"{self.shown} cannot be written",
            masked(error.strerror or str(error))[:300],
            "check the address, and that this machine may write there",
        )

    def _within(self, path: str) -> Path:
        """A file here, which no link has lie elsewhere."""
        file = Path(self.shown, path)
        if not Path(os.path.realpath(file.parent)).is_relative_to(os.path.realpath(self.shown)):
            raise OSError(errno.ELOOP, f"{path} leads out of it by a link to a folder")
        return file

    def _put_here(self, path: str, content: Path | bytes) -> None:
        target = self._within(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target, alone=True) as stream:
            if isinstance(content, bytes):
                stream.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, stream, _PIECE)

    def _put(self, path: str, content: Path | bytes) -> None:
        if self._here:
            self._put_here(path, content)
            return
        system, target = self._file_system(), f"{self._root()}/{path}"
        if not self.address.startswith(("s3:", "s3a:", "gs:")):  # there a file appears when it is whole
            folder, _, name = target.rpartition("/")
            system.makedirs(folder, exist_ok=True)
            target = f"{folder}/.{name}.tmp"
        if isinstance(content, bytes):
            system.pipe_file(target, content)
        else:
            options = {"chunksize": PART} if self.address.startswith(("s3:", "s3a:")) else {}
            system.put_file(str(content), target, **options)
        if target != f"{self._root()}/{path}":
            system.mv(target, f"{self._root()}/{path}")

    def _remove(self, path: str) -> None:
        if self._here:
            self._within(path).unlink(missing_ok=True)
            return
        system, target = self._file_system(), f"{self._root()}/{path}"
        if system.exists(target):
            system.rm_file(target)


def target_of(address: str, kind: str) -> Target:
    """The place that an address names, for a `cache`, `student` or `teacher`.

    Raises:
        ParamsError: nothing of this kind can be shared there.
    """
    protocol = address.partition(":")[0].lower() if is_address(address) else "file"
    if protocol == hub.PROTOCOL:
        try:
            place = hub.place_of(address)
        except ValueError as error:
            raise ParamsError(
                f"{masked(address)} is no address of the Hub", str(error), f"give {hub.FORM}"
            ) from None
        assert place is not None
        wanted = "dataset" if kind == "cache" else "model"
        if place.kind != wanted:
            prefix = "datasets/" if wanted == "dataset" else ""
            raise ParamsError(
                f"{masked(address)} is no place for a {kind}",
                f"it is a {place.kind} repository of the Hub",
                f"give one for a {wanted}: hf://{prefix}{place.repo}",
            )
        return Repository(address)
    if protocol in _READ_ONLY:
        fix = "give hf://, s3://, ssh:// or a folder"
        raise ParamsError(f"{masked(address)} is read only", _READ_ONLY[protocol], fix)
    return Folder(
        address if protocol != "file" else f"file://{os.path.abspath(address.removeprefix('file://'))}"
    )


def _batches(files: Iterable[tuple[str, Path]]) -> Iterable[list[tuple[str, Path]]]:
    batch: list[tuple[str, Path]] = []
    size = 0
    for path, file in files:
        bytes_ = file.stat().st_size
        if batch and (len(batch) >= TOGETHER[0] or size + bytes_ > TOGETHER[1]):
            yield batch
            batch, size = [], 0
        batch.append((path, file))
        size += bytes_
    if batch:
        yield batch


def _digest(file: Path, total: Any) -> str:
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            total.update(piece)
    return str(total.hexdigest())


def _digest_of_parts(file: Path) -> str:
    """What S3 calls a file that was uploaded in parts."""
    digests = []
    with file.open("rb") as stream:
        while part := stream.read(PART):
            digests.append(hashlib.md5(part).digest())
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"

"""Files and folders that are replaced as a whole: the old one stays until the new one is complete.

What is new is written beside its place, or in a folder of unfinished work, and takes the place by a rename.
What lies in a folder and no stage wrote is carried over; and no input may lie in a folder that is replaced.
"""

import errno
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from stillroom import stopping
from stillroom.errors import StillroomError
from stillroom.lock import Lock


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write JSON that reads well and differs only where the content does."""
    file.write_bytes(as_json(content))


def as_json(content: dict[str, Any]) -> bytes:
    """The bytes that `write_json` writes."""
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()


def require_regular(file: Path) -> None:
    """Refuse what has no end or may never begin: a pipe, a device, a folder.

    Raises:
        ValueError: it is none.
        OSError: it is not there, or cannot be looked at.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("it is no regular file")


def read_small(file: Path, most: int) -> bytes:
    """The content of a file that is not larger than such a one should be.

    Args:
        most: bytes.

    Raises:
        ValueError: it is larger, or no regular file.
        OSError: it cannot be read.
    """
    require_regular(file)
    with file.open("rb") as stream:
        content = stream.read(most + 1) if os.fstat(stream.fileno()).st_size <= most else None
    if content is None or len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


@contextmanager
def whole_file(target: Path, durable: bool = True, alone: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which takes `target`'s place when the block ends well and is removed otherwise.

    It is written beside `target` under a hidden name of its own, which ends in `.tmp`, with the rights that
    the umask gives. A kill leaves it there: see `remove_unfinished`.

    Args:
        target: its folder must be there.
        durable: flush file and folder to the disk, so that a power cut leaves the old file or the new one.
        alone: nobody else writes this file meanwhile. Then the hidden name is always the same, and the next
            run writes over what a kill leaves.

    Raises:
        OSError: it cannot be written. The old file stays.
    """
    with whole_files([target], durable, alone) as [stream]:
        yield stream


@contextmanager
def whole_files(
    targets: Iterable[Path], durable: bool = True, alone: bool = False
) -> Iterator[Sequence[BinaryIO]]:
    """Several files as `whole_file`: all of them are complete before the first takes its place."""
    names = {
        target: target.with_name(f".{target.name}.{'' if alone else f'{secrets.token_hex(8)}.'}tmp")
        for target in targets
    }
    try:
        with ExitStack() as stack:
            # of a run that was killed; or a link, which leads elsewhere
            for unfinished in names.values() if alone else ():
                unfinished.unlink(missing_ok=True)
            streams = [stack.enter_context(unfinished.open("xb")) for unfinished in names.values()]
            yield streams
            for stream in streams if durable else ():
                stream.flush()
                os.fsync(stream.fileno())
        for target, unfinished in names.items():
            unfinished.replace(target)
        for folder in {target.parent for target in names} if durable else ():
            sync(folder)
    finally:
        for unfinished in names.values():
            unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed writers left half-written in a folder. Nobody may be writing there meanwhile."""
    for file in folder.glob("*.tmp"):
        file.unlink()


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_folder(target: Path, workplace: Path, ours: re.Pattern[str]) -> Iterator[Path]:
    """A new folder that takes `target`'s place when the block ends well, and is removed otherwise.

    It is made in the workplace, so that not even a kill leaves anything half-written beside `target`; what a
    kill left there is cleared away by the next run, and an old folder that it had moved aside is put back.
    What lies in `target` and no stage wrote stays.

    Args:
        target: a folder, a link to one, or nothing.
        workplace: on the same disk; it is made if need be. Other runs may use it too, for other targets.
        ours: matches the whole relative path of each file that a stage writes.

    Raises:
        StillroomError: the folder cannot be written to, or another process is at it; raised before the
            work begins.
    """
    with ExitStack() as stack:
        try:
            workplace.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            _check_target(target, workplace)
            list(others(target, ours))  # what cannot be seen could not be kept
            with stopping.blocked():  # or a signal between the lines would leave something behind
                lock = Lock(workplace / f"{target.name}.lock", str(target))
                stack.callback(lock.release)
                _clear_workplace(target, workplace)
                temporary = Path(tempfile.mkdtemp(prefix=_prefix(target, workplace), dir=workplace))
                stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        except OSError as error:
            raise StillroomError(
                f"{target} cannot be written",
                error.strerror or str(error),
                "make the folder writable, or free the disk",
            ) from None
        new, old = temporary / "new", temporary / "old"
        try:
            new.mkdir()
            yield new
            with stopping.blocked():  # or a signal between the two renames would cost the old one
                swap(new, target, old, lambda: carry(old, new, ours))
        except OSError as error:
            if isinstance(error, PermissionError) and not str(error.filename).startswith(str(temporary)):
                raise  # of something that the work reads
            raise StillroomError(
                f"{target} cannot be written",
                str(error),
                "free the disk or mend the folder, then run it again",
            ) from None


def swap(new: Path, target: Path, aside: Path, rescue: Callable[[], None]) -> None:
    """Move what is at `target` aside, if anything is, and put `new` there; undone if it fails half-way.

    Args:
        rescue: called once the old one lies aside, to save what is to stay of it.
    """
    try:
        if os.path.lexists(target):
            target.rename(aside)
            rescue()
        new.rename(target)
    finally:
        if os.path.lexists(aside) and not os.path.lexists(target):
            aside.rename(target)


def _clear_workplace(target: Path, workplace: Path) -> None:
    """Remove what killed runs left, and put back an old folder that they had moved aside."""
    for left in workplace.glob(f"{glob.escape(_prefix(target, workplace))}{8 * '?'}"):  # as of `mkdtemp`
        if os.path.lexists(left / "old") and not os.path.lexists(target):
            (left / "old").rename(target)  # killed between the two renames
        shutil.rmtree(left, ignore_errors=True)


def _prefix(target: Path, workplace: Path) -> str:
    """How the unfinished folders of a target begin: another one may have the same last name. The digest is of
    the way from the workplace, so that a project may be moved.
    """
    way = os.path.relpath(target, workplace)
    return f"{target.name}.{hashlib.sha256(os.fsencode(way)).hexdigest()[:8]}."


def _check_target(target: Path, workplace: Path) -> None:
    """Look at once whether a folder can take `target`'s place.

    Raises:
        OSError: it cannot; the message gives the reason.
    """
    if target.exists() and not target.is_dir():
        raise FileExistsError(errno.EEXIST, f"{target} is a file; move it away")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"no permission to write in {target.parent}")
    if target.parent.stat().st_dev != workplace.stat().st_dev:
        raise OSError(
            errno.EXDEV,
            f"{target.parent} and {workplace} lie on two disks: link {workplace.parent} as a whole",
        )


def others(folder: Path, ours: re.Pattern[str]) -> Iterator[str]:
    """Files and links in a folder that no stage wrote, as relative paths with slashes.

    They are known by their names: so it holds for a folder that an older version wrote, or that DVC fetched.

    Args:
        folder: may be missing. Behind a link nothing is looked for: what lies there is not replaced.
        ours: matches the whole relative path of each file that a stage writes.

    Raises:
        OSError: a folder inside cannot be listed: what is not seen would not be kept.
    """
    if folder.is_symlink() or not folder.exists():
        return
    for root, folders, files in os.walk(folder, onerror=_raise):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in sorted([*files, *links]):
            path = Path(root, name).relative_to(folder).as_posix()
            if not ours.fullmatch(path):
                yield path


def _raise(error: OSError) -> None:
    raise error


def carry(old: Path, new: Path, ours: re.Pattern[str]) -> None:
    """Give the new folder what lies in the old one and no stage wrote. The old one stays whole.

    Raises:
        OSError: a file cannot be taken over, or the new folder has something in its place.
    """
    for path in others(old, ours):
        source, target = old / path, new / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(source))
        try:
            os.link(source, target, follow_symlinks=False)
        except (OSError, NotImplementedError):  # a file system, or a system, without hard links
            shutil.copy2(source, target, follow_symlinks=False)


def replaced(path: Path, folders: Iterable[Path]) -> Path | None:
    """The folder among these that a path lies in, or is: by its name, and through links and `..`."""
    for folder in folders:
        for absolute in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
            for above in (absolute, *absolute.parents):
                if above == Path(os.path.abspath(folder)) or _same(above, folder):
                    return folder
    return None


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return False

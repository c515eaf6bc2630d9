"""What lies at `data.path`, as one digest: how DVC learns that files were added, taken away or replaced."""

import hashlib
import json
import os
import stat
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.errors import DataError
from stillroom.fetched import copies, is_address
from stillroom.modalities.remembered import Memory, stamp
from stillroom.params import Data


def look(
    data: Data,
    memory: Path,
    lists: Iterable[str | None] = (),
    noun: str = "image",
    one_file: bool = False,
    listed: Iterable[str] | None = None,
) -> dict[str, Any]:
    """The content of `source.json`: `files`, how many there are, and `digest` over their paths and bytes.

    Hidden files are left out, and the project's own `artifacts`, where `data.path` is above it. Without a
    `data.path` the samples are drawn or downloaded, and both are None, but for the digest of `data.groups`.

    Args:
        data: the `data` section of the parameters; `path` is a folder, or perhaps a file.
        memory: a file of this machine that keeps digests by path, size and times of change; only what is new
            there is read. It may be lost.
        lists: further files that `data` names.
        noun: what a sample is called.
        one_file: whether `data.path` may be a file.
        listed: the files of the data set, which lie in `data.path`; None: all that lie there.

    Raises:
        DataError: there is nothing.
    """
    if data.path is None:
        groups = Path(data.groups) if data.groups else None
        return {"files": None, "digest": _digest(groups).hex() if groups and groups.is_file() else None}
    if is_address(data.path):
        return _listed(data.path, [Path(name) for name in (data.skip, data.groups) if name is not None])
    root = Path(data.path)
    if not root.is_dir() and not (one_file and root.is_file()):
        raise DataError(
            f"{root} is not a folder" + (", and no file" if one_file else ""),
            fix=f"set data.path to the folder of the {noun}s; for experiments in folders of their own as an "
            "absolute path",
        )
    named = [Path(name) for name in (data.skip, *lists, data.groups) if name is not None]
    paths: list[str] = []
    stamps = array("q")
    found = _files(str(root)) if listed is None else ((path, _status(path)) for path in sorted(listed))
    for path, status in found:
        paths.append(path)
        stamps.extend(stamp(status) if status else _NOTHING)
    files = len(paths)
    for file in named:
        paths.append(str(file))
        status = _status(file)
        stamps.extend(stamp(status) if status else _NOTHING)
    marks = np.frombuffer(stamps, np.int64).reshape(-1, 4) if paths else np.empty((0, 4), np.int64)
    known = Memory(memory)
    rows = known.find(paths, marks)
    total = hashlib.sha256()
    start = len(os.path.join(root, "")) if root.is_dir() else len(str(root)) + 1
    for place, (path, row, mark) in enumerate(zip(paths, rows.tolist(), marks, strict=True)):
        name = os.fsencode(path[start:] or ".") if place < files else b"//" + os.fsencode(Path(path).name)
        total.update(len(name).to_bytes(4, "little") + name)
        if mark[-1] < 0:
            continue
        try:
            digest = known.sha256(row) if row >= 0 else _digest(Path(path))
        except OSError:  # `prepare` says so, if it is a sample
            continue
        if row < 0:
            known.note(path, mark.tolist(), digest)
        total.update(digest)
    known.save(seen=paths)
    return {"files": files, "digest": total.hexdigest()}


def _listed(address: str, named: list[Path]) -> dict[str, Any]:
    """What lies at an address, by names, sizes and tags: nothing is fetched."""
    found = copies(address).listing()
    if not found:
        raise DataError(f"{copies(address).shown} has no file", fix="set data.path to where the shards lie")
    total = hashlib.sha256(json.dumps(sorted(found.items())).encode())
    for file in named:
        if file.is_file():
            total.update(_digest(file))
    return {"files": len(found), "digest": total.hexdigest()}


_NOTHING = (-1, -1, -1, -1)  # the stamp of what cannot be looked at


def _files(folder: str, own: tuple[int, int] | None = None) -> Iterator[tuple[str, os.stat_result | None]]:
    """All files under a folder, in the order of the parts of their paths; links to files count, links to
    folders are not followed. Folders that cannot be listed count too, as if they were a file.
    """
    if own is None:
        status = _status(Path("artifacts"))
        own = (status.st_dev, status.st_ino) if status else (-1, -1)
        if (status := _status(folder)) is not None and stat.S_ISREG(status.st_mode):
            yield folder, status
            return
    try:
        with os.scandir(folder) as listed:
            entries = sorted(
                (entry for entry in listed if entry.name[:1] != "."), key=lambda entry: entry.name
            )
    except OSError:
        yield folder, _status(folder)
        return
    for entry in entries:
        path = os.path.join(folder, entry.name)
        if entry.is_dir(follow_symlinks=False):
            status = _status(path)
            if status is None or (status.st_dev, status.st_ino) != own:
                yield from _files(path, own)
            continue
        status = _status(path)
        if status is not None and stat.S_ISREG(status.st_mode):
            yield path, status


def _status(path: Path | str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()

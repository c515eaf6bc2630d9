"""What lies at `data.path`, as one digest: how DVC learns that files were added, taken away or replaced."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stillroom.errors import DataError
from stillroom.files import whole_file
from stillroom.params import Data

# A file written in the same moment as it was digested may be written once more without a later time stamp
SETTLED = 2_000_000_000  # nanoseconds


def look(
    data: Data, memory: Path, lists: Iterable[str | None] = (), noun: str = "image", one_file: bool = False
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

    Raises:
        DataError: there is nothing.
    """
    if data.path is None:
        groups = Path(data.groups) if data.groups else None
        return {"files": None, "digest": _digest(groups) if groups and groups.is_file() else None}
    root = Path(data.path)
    if not root.is_dir() and not (one_file and root.is_file()):
        raise DataError(
            f"{root} is not a folder" + (", and no file" if one_file else ""),
            fix=f"set data.path to the folder of the {noun}s; for experiments in folders of their own as an "
            "absolute path",
        )
    named = [Path(name) for name in (data.skip, *lists, data.groups) if name is not None]
    known = _remembered(memory)
    kept: dict[str, list[Any]] = {}
    total = hashlib.sha256()
    files = [root] if root.is_file() else _files(root)
    for file in [*files, *named]:
        name = os.fsencode(file.relative_to(root)) if file not in named else b"//" + os.fsencode(file.name)
        total.update(len(name).to_bytes(4, "little") + name)
        try:
            status = file.stat()
            path = str(file.absolute())
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            before = known.get(path)
            same = before is not None and before[:-1] == stamp
            digest = before[-1] if before is not None and same else _digest(file)
        except OSError:  # `prepare` says so, if it is a sample
            continue
        if time.time_ns() - status.st_ctime_ns > SETTLED:
            kept[path] = [*stamp, digest]
        total.update(bytes.fromhex(digest))
    with suppress(OSError):  # it only saves time
        memory.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(memory, durable=False) as stream:
            stream.write(json.dumps(kept).encode(errors="surrogateescape"))
    return {"files": len(files), "digest": total.hexdigest()}


def _files(root: Path) -> list[Path]:
    """All files under a folder, sorted; links to files count, links to folders are not followed. Folders that
    cannot be listed count too, as if they were a file.
    """
    files, closed = [], []
    own = Path("artifacts").resolve()
    for folder, inside, names in os.walk(root, onerror=lambda error: closed.append(Path(error.filename))):
        inside[:] = [
            name for name in inside if not name.startswith(".") and Path(folder, name).resolve() != own
        ]
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted([*closed, *(file for file in files if file.is_file())])


def _remembered(memory: Path) -> dict[str, list[Any]]:
    try:
        digests = json.loads(memory.read_text(encoding="utf-8", errors="surrogateescape"))
        return {
            name: value
            for name, value in digests.items()
            if len(value) == 5 and len(bytes.fromhex(value[4])) == 32
        }
    except (AttributeError, OSError, RecursionError, TypeError, ValueError):
        return {}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

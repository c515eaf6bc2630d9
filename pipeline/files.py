"""Folders that are written anew as a whole: what else lies in them stays, and no input may lie in them."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write JSON that reads well and differs only where the content does."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
        except OSError:  # a file system without hard links
            shutil.copy2(source, target, follow_symlinks=False)


def replaced(path: Path, folders: Iterable[Path]) -> Path | None:
    """The folder among these that a path lies in, or is: by its name, and through links and `..`."""
    for folder in folders:
        for place in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):
            for above in (place, *place.parents):
                if above == Path(os.path.abspath(folder)) or _same(above, folder):
                    return folder
    return None


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return False

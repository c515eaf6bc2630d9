"""Files that nobody vouches for, read within bounds."""

import json
import lzma
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

from stillroom.errors import DataError, ParamsError
from stillroom.modalities.skeletons.settings import Data

MOST_JSON = 2**28  # bytes of a JSON file of one clip


def path_of(data: Data, what: str) -> Path:
    """Where a data set lies that is not drawn.

    Args:
        what: that `data.path` must be, for the message.

    Raises:
        ParamsError: there is no `data.path`.
    """
    if data.path is None:
        raise ParamsError(
            f"data.name = {data.name!r} needs data.path, {what}", fix="for example --set data.path=my_clips"
        )
    return Path(data.path)


def listed(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, sorted by name.

    Raises:
        DataError: it cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed", error.strerror or str(error)) from None


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """The bytes of a file in a zip file.

    Raises:
        ValueError: it is damaged, encrypted, or has more than `most`.
    """
    if info.file_size > most:
        raise ValueError(f"more than {most:,} bytes")
    try:
        return archive.read(info)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise ValueError(f"cannot be unpacked ({error})") from None


def parse_json(content: bytes) -> Any:
    """What a JSON file holds; NaN is taken, as Python writes it.

    Raises:
        ValueError: it is no sound JSON in UTF-8; says why.
    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("no sound JSON: lists in lists without end") from None
    except UnicodeDecodeError:
        raise ValueError("no text in UTF-8") from None
    except ValueError as error:
        raise ValueError(f"no sound JSON, perhaps truncated ({error})") from None


def found_files(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files in a folder and those inside it that end so, in any case, sorted; hidden ones are left out,
    and links to folders are not followed.

    Raises:
        DataError: there is no such folder, or no such file in it.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", fix="set data.path to the folder of the data set")
    found: list[Path] = []
    for folder, inside, names in os.walk(root, onerror=_raise):
        inside[:] = [name for name in inside if not name.startswith(".")]
        found += [Path(folder, name) for name in names if _ends(name, suffixes)]
    if not found:
        raise DataError(
            f"{root} holds no {' or '.join(suffixes)} file", fix="set data.path to the folder of the data set"
        )
    return sorted(found)


def _ends(name: str, suffixes: tuple[str, ...]) -> bool:
    return not name.startswith(".") and name.lower().endswith(suffixes)


def _raise(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed", error.strerror or str(error)) from None

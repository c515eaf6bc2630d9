"""Penn Action: sports and exercise, 13 joints annotated in every frame, on the official split.

Zhang, Zhu, Derpanis: From Actemes to Action: A Strongly-supervised Representation for Detailed Action
Understanding, ICCV 2013; https://dreamdragon.github.io/PennAction/

`data.path` holds `labels/0001.mat` and so on, as a folder or as `labels.zip`, which is read as it is.
"""

import io
import math
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.errors import DataError, listing
from stillroom.files import read_small
from stillroom.modalities.entries import leave_out
from stillroom.modalities.skeletons import settings
from stillroom.modalities.skeletons.arrays import empty
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.preparation.clips import Account, Clips, Content, Entry
from stillroom.modalities.skeletons.preparation.files import listed, path_of, read_member
from stillroom.modalities.unzip import members_of
from stillroom.progress import Progress

LAYOUT = LAYOUTS["penn13"]
DIMS = 2
TAKES = ("skip",)  # of data's keys
TRAIN_CLIPS = 1_258
TEST_CLIPS = 1_068
CLASSES = 15
SPLITS = {1: "train", -1: "test"}  # what `train` means

# A joint that was not annotated is written as a constant near (1, 1), scaled with the clip's picture
NOWHERE = 3.0  # pixels; no annotated joint has both coordinates below
VISIBLE, OCCLUDED = 1.0, 0.5  # scores: where an occluded joint is, a person guessed

MOST_BYTES = 64 * 2**20  # of a file, unpacked; the largest official one has 200 kB
NUMBERS = range(6, 16)  # MATLAB's array classes: mxDOUBLE_CLASS to mxUINT64_CLASS
TEXT = 4  # mxCHAR_CLASS


class Data(settings.Data):
    """`data`: Penn Action."""

    official: bool = True  # check the counts against the published ones


def load(data: Data, progress: Progress, account: Account) -> Clips:
    """The data set at `data.path`; see `datasets.load`.

    Raises:
        ParamsError: there is no `data.path`.
    """
    root = path_of(data, "the folder that holds labels/ or labels.zip")
    contents = _files(root, account)
    files = [Entry(Path(name).stem, name, "train", 0) for name in sorted(contents)]
    files = leave_out(files, Path(data.skip) if data.skip else None, root, account, "labels/0001.mat")
    told, faults = {}, []
    progress.start("look at", len(files), "clips")
    for file in files:
        try:
            told[file.path] = _action_and_split(read_mat(contents[file.path](), ("action", "train")))
        except (OSError, ValueError) as error:
            faults.append(f"{file.path}: {error}")
        progress.advance()
    progress.finish()
    if faults:
        raise DataError(
            f"{len(faults):,} files of {root} cannot be used:\n{listing(faults)}",
            fix="get these files again; or write their names into a file, one a line, set data.skip to it, "
            "and data.official to false",
        )
    classes = tuple(sorted({action for action, _ in told.values()}))
    entries = [
        Entry(file.key, file.path, told[file.path][1], classes.index(told[file.path][0])) for file in files
    ]
    if data.official:
        _check_official(root, entries, classes)
    return Clips(
        "penn_action",
        classes,
        entries,
        lambda entry: parse(contents[entry.path]()),
        LAYOUT,
        DIMS,
        root,
        published=data.official,
    )


def _files(root: Path, account: Account) -> dict[str, Callable[[], bytes]]:
    """What gives the bytes of each file, by its path from `root`."""
    folder, packed = root / "labels", root / "labels.zip"
    if not root.is_dir() or not (folder.is_dir() or packed.is_file()):
        raise DataError(
            f"{root} holds neither labels/ nor labels.zip",
            fix="set data.path to the folder of Penn Action",
        )
    found: dict[str, Callable[[], bytes]] = {}
    if folder.is_dir():
        for file in listed(folder):
            if file.suffix == ".mat":
                found[f"labels/{file.name}"] = lambda file=file: read_small(file, MOST_BYTES)  # type: ignore[misc]
    else:
        for name, read in _members(packed, account).items():
            found[name] = read
    if not found:
        raise DataError(
            f"{folder if folder.is_dir() else packed} holds no .mat file",
            fix="get Penn Action's labels again",
        )
    return found


def _members(file: Path, account: Account) -> dict[str, Callable[[], bytes]]:
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{file} cannot be read", str(error), "get the file again") from None
    found: dict[str, Callable[[], bytes]] = {}
    others = []
    for info, path in members_of(file, archive, "labels"):
        if len(path.parts) == 1 and re.fullmatch(r".+\.mat", path.name):
            found[f"labels/{path}"] = lambda info=info: read_member(archive, info, MOST_BYTES)  # type: ignore[misc]
        else:
            others.append(info.filename)
    account.pass_over(f"no clip, in {file.name}", others)
    return found


def _action_and_split(fields: dict[str, np.ndarray]) -> tuple[str, str]:
    action, train = fields["action"], fields["train"]
    if action.dtype.kind != "U" or action.size != 1 or not str(action.item()).strip():
        raise ValueError("`action` is no text")
    if train.dtype.kind not in "iuf" or train.size != 1 or train.item() not in SPLITS:
        raise ValueError("`train` is neither 1 nor -1")
    return str(action.item()).strip(), SPLITS[train.item()]


def _check_official(root: Path, entries: list[Entry], classes: tuple[str, ...]) -> None:
    counts = Counter(entry.split for entry in entries)
    faults = [
        f"expected {expected:,} {what}, found {found:,}"
        for what, expected, found in (
            ("clips", TRAIN_CLIPS + TEST_CLIPS, len(entries)),
            ("clips in train", TRAIN_CLIPS, counts["train"]),
            ("clips in test", TEST_CLIPS, counts["test"]),
            ("actions", CLASSES, len(classes)),
        )
        if found != expected
    ]
    if faults:
        raise DataError(
            f"{root} is not the published Penn Action:\n{listing(faults)}",
            "results are compared with published ones only on the published clips and split",
            "use another copy, or set data.official: false if the data set is meant to differ",
        )


def parse(content: bytes) -> Content:
    """What is in a `.mat` file of Penn Action.

    `x`, `y` [frames, 13] in pixels, `visibility` [frames, 13] and `dimensions` (height, width, frames).
    MATLAB packs whole numbers small: they are made floats before anything is done with them.

    Raises:
        ValueError: it is no such file; says why.
    """
    fields = read_mat(content, ("x", "y", "visibility", "dimensions"))
    x, y, visible = (_numbers(fields, name) for name in ("x", "y", "visibility"))
    if x.ndim != 2 or x.shape != y.shape or x.shape != visible.shape:
        raise ValueError(
            f"x, y and visibility have the shapes {list(x.shape)}, {list(y.shape)} and "
            f"{list(visible.shape)}, expected [frames, {len(LAYOUT.joints)}] of each"
        )
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("a coordinate is not a number")
    clip = empty(len(x), 1, x.shape[1], DIMS)
    there = (x >= NOWHERE) | (y >= NOWHERE)
    clip[:, 0, :, 0] = x
    clip[:, 0, :, 1] = y
    clip[:, 0, :, 2] = np.where(there, np.where(visible > 0, VISIBLE, OCCLUDED), 0)
    size = _numbers(fields, "dimensions").ravel()
    if len(size) < 2 or not (size[:2] > 0).all() or not (size[:2] < 2**24).all():
        raise ValueError(f"`dimensions` is {size[:4].tolist()}, expected height, width and frames")
    return Content(clip, (int(size[1]), int(size[0])))


def _numbers(fields: dict[str, np.ndarray], name: str) -> np.ndarray:
    if fields[name].dtype.kind not in "iuf":
        raise ValueError(f"`{name}` holds no numbers")
    return fields[name].astype(np.float64)


def read_mat(content: bytes, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Variables of a MATLAB 5 file: arrays of numbers or text; others are not looked at.

    Raises:
        ValueError: it is no such file, truncated, too large unpacked, or lacks a variable.
    """
    import scipy.io  # here: it takes a while

    plain = content[:128] + b"".join(_elements(content))
    try:
        found: dict[str, Any] = scipy.io.loadmat(io.BytesIO(plain), variable_names=names)
    except Exception as error:  # whatever scipy runs into in a damaged file
        raise ValueError(f"no sound MATLAB file ({type(error).__name__}: {error})") from None
    lacking = [name for name in names if not isinstance(found.get(name), np.ndarray)]
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    return {name: found[name] for name in names}


def _elements(content: bytes) -> list[bytes]:
    """The arrays of numbers or text of a MATLAB 5 file, unpacked, within `MOST_BYTES`, and whole.

    https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf, chapter 1.
    """
    if len(content) < 128 or content[126:128] not in (b"IM", b"MI"):
        raise ValueError("no MATLAB 5 file" if content else "the file is empty")
    order = "<" if content[126:128] == b"IM" else ">"
    kept, place, room = [], 128, MOST_BYTES
    while place < len(content):
        if place + 8 > len(content):
            raise ValueError("truncated")
        kind, length = struct.unpack_from(f"{order}II", content, place)
        body = content[place + 8 : place + 8 + length]
        if len(body) < length:
            raise ValueError("truncated")
        element = content[place : place + 8] + body
        if kind == 15:  # miCOMPRESSED
            unpacker = zlib.decompressobj()
            try:
                element = unpacker.decompress(body, room)
            except zlib.error as error:
                raise ValueError(f"damaged ({error})") from None
        room -= len(element)
        if room <= 0:
            raise ValueError("more than a clip can have")
        if len(element) < 8 + struct.unpack_from(f"{order}I", element.ljust(8), 4)[0]:
            raise ValueError("truncated")
        if len(element) >= 24 and struct.unpack_from(f"{order}I", element, 0)[0] == 14:  # miMATRIX
            sort = struct.unpack_from(f"{order}I", element, 16)[0] & 0xFF
            if sort == TEXT or sort in NUMBERS:
                _require_values(element, order)
                kept.append(element)
        place += 8 + length
    return kept


def _require_values(element: bytes, order: str) -> None:
    """Refuse an array that promises more values than it has bytes: scipy would make room for them."""
    count = struct.unpack_from(f"{order}I", element, 28)[0] if len(element) >= 32 else 0
    if not 8 <= count <= 64 or len(element) < 32 + count:
        raise ValueError("damaged: an array without dimensions")
    shape = struct.unpack_from(f"{order}{count // 4}i", element, 32)
    if min(shape) < 0 or math.prod(shape) > len(element):
        raise ValueError(f"truncated: an array of {' x '.join(map(str, shape))} in {len(element):,} bytes")

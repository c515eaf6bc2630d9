"""One file with many clips, as people's own programs and the field's toolboxes write them."""

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from stillroom.errors import DataError
from stillroom.files import read_small
from stillroom.modalities import pickles
from stillroom.modalities.parquet_files import open_parquet, require_short
from stillroom.modalities.skeletons.arrays import MOST_BYTES, as_clip, npy_header, read_npy
from stillroom.modalities.skeletons.clip_files import from_json, size_of
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.preparation.clips import Content
from stillroom.modalities.skeletons.preparation.files import parse_json, read_member

SUFFIXES = (".npz", ".json", ".parquet", ".pkl", ".pickle")
MOST_FILE = 2**31  # bytes of a JSON file of many clips, or of an array of keys
AGAIN = "write the file again, or get it again"
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Row:
    """One clip of a file.

    Attributes:
        key: its name.
        splits: words for the splits that the file puts it into.
        label: a class by its name or number; None: the file does not say.
        group: of samples that are never divided between two folds; empty: none.
        there: whether anybody was found in it.
    """

    key: str
    splits: tuple[str, ...] = ()
    label: str | int | None = None
    group: str = ""
    there: bool = True


@dataclass(frozen=True)
class PoseFile:
    """What a file has.

    Attributes:
        rows: its clips.
        read: what is in the clip of a row, by its number; quickest in ascending order. ValueError says what
            is wrong with it.
        classes: names of labels that are numbers; None: the file does not say.
    """

    rows: list[Row]
    read: Callable[[int], Content]
    classes: tuple[str, ...] | None = None


class Forward(Generic[Kind]):
    """Things by number, of a file that is read from its beginning on; going back reads it again."""

    def __init__(self, begin: Callable[[], Iterator[Kind]]) -> None:
        self._begin = begin
        self._things, self._next = begin(), 0

    def __getitem__(self, number: int) -> Kind:
        if number < self._next:
            self._things, self._next = self._begin(), 0
        while True:
            try:
                thing = next(self._things)
            except StopIteration:
                raise ValueError("truncated: the file ends before this clip") from None
            self._next += 1
            if self._next > number:
                return thing


def open_file(file: Path, layout: Layout, dims: int) -> PoseFile:
    """A file of many clips, known by its suffix.

    Raises:
        DataError: it cannot be read, or does not hold what it should; says what that is.
        ParamsError: what reads it is not installed.
    """
    reader = {
        ".npz": _npz,
        ".json": _json,
        ".parquet": _parquet,
        ".pkl": _pickle,
        ".pickle": _pickle,
    }.get(file.suffix.lower())
    if reader is None:
        raise DataError(f"{file} ends in none of {', '.join(SUFFIXES)}", fix="convert it to one of these")
    try:
        return reader(file, layout, dims)
    except OSError as error:
        raise DataError(f"{file} cannot be read", error.strerror or str(error)) from None
    except ValueError as error:
        raise DataError(f"{file} cannot be used", str(error), AGAIN) from None


# .npz: `key` (or `stem`) [N], `keypoints` [N, ...], and perhaps `scores` [N, ...], `frames` [N], `split` [N],
# `label` [N], `classes` [C], `size` (or `size_wh`) [N, 2], `group` [N], `valid` [N]


def _npz(file: Path, layout: Layout, dims: int) -> PoseFile:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"no sound .npz file, perhaps truncated ({error})") from None
    arrays = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if "x_train" in arrays:
        return _ctrgcn(archive, arrays, layout, dims)

    def small(*names: str) -> np.ndarray | None:
        info = next((arrays[name] for name in names if name in arrays), None)
        return None if info is None else read_npy(read_member(archive, info, MOST_FILE))

    keys = small("key", "stem")
    if keys is None or keys.ndim != 1 or keys.dtype.kind not in "US" or "keypoints" not in arrays:
        raise ValueError(
            f"it holds {', '.join(arrays) or 'nothing'}; expected `key` [N] (text) and `keypoints` [N, "
            "frames, persons, joints, coordinates], and perhaps `scores`, `frames`, `split`, `label`, "
            "`classes`, `size`, `group` and `valid`"
        )
    columns = {name: small(name) for name in ("split", "label", "group", "valid", "frames")} | {
        "size": small("size", "size_wh")
    }
    for name, column in columns.items():
        shape = (len(keys), 2) if name == "size" else (len(keys),)
        if column is not None and column.shape != shape:
            raise ValueError(f"`{name}` has the shape {list(column.shape)}, and there are {len(keys):,} keys")
    frames, sizes = columns["frames"], columns["size"]
    if frames is not None and frames.dtype.kind not in "iu":
        raise ValueError("`frames` holds no whole numbers")
    joints = _stream(archive, arrays["keypoints"], len(keys))
    scores = _stream(archive, arrays["scores"], len(keys)) if "scores" in arrays else None

    def read(number: int) -> Content:
        one, score = joints[number], None if scores is None else scores[number]
        if frames is not None:
            count = int(frames[number])
            if one.ndim < 3 or not 0 <= count <= len(one):
                raise ValueError(f"`frames` says {count}, and `keypoints` has {len(one)}")
            one, score = one[:count], None if score is None else score[:count]
        return Content(as_clip(one, layout, dims, score), size_of(None if sizes is None else sizes[number]))

    names = small("classes")
    if names is not None and names.ndim != 1:
        raise ValueError(f"`classes` has the shape {list(names.shape)}, expected names in a row")
    rows = [
        Row(
            _text(key),
            () if (split := columns["split"]) is None else (_text(split[number]),),
            None if (label := columns["label"]) is None else _label(label[number]),
            "" if (group := columns["group"]) is None else _text(group[number]),
            True if (valid := columns["valid"]) is None else bool(valid[number]),
        )
        for number, key in enumerate(keys)
    ]
    return PoseFile(rows, read, None if names is None else tuple(_text(name) for name in names))


def _stream(archive: zipfile.ZipFile, info: zipfile.ZipInfo, rows: int) -> Forward[np.ndarray]:
    """The rows of an array in a zip file, read as they are asked for."""
    with archive.open(info) as stream:
        shape, dtype = npy_header(stream, info.file_size)  # type: ignore[arg-type]
    name = info.filename.removesuffix(".npy")
    if not shape or shape[0] != rows or dtype.kind not in "fiu":
        raise ValueError(f"`{name}` is {dtype} {list(shape)}, expected numbers in {rows:,} rows")
    size = math.prod(shape[1:]) * dtype.itemsize
    if size > MOST_BYTES:
        raise ValueError(f"a row of `{name}` has {size:,} bytes, more than a clip can have")

    def begin() -> Iterator[np.ndarray]:
        with archive.open(info) as stream:
            npy_header(stream, info.file_size)  # type: ignore[arg-type]
            for _ in range(rows):
                try:
                    raw = stream.read(size)
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    raise ValueError(f"`{name}` is damaged ({error})") from None
                if len(raw) < size:
                    return
                yield np.frombuffer(raw, dtype).reshape(shape[1:])

    return Forward(begin)


def _ctrgcn(
    archive: zipfile.ZipFile, arrays: dict[str, zipfile.ZipInfo], layout: Layout, dims: int
) -> PoseFile:
    """As CTR-GCN's scripts write NTU RGB+D.

    `x_train` [N, frames, persons x joints x dims], zeros where nobody is, and `y_train` [N, classes], 1 at
    the label; the same of `x_test`. Zeros at the end are no frames.
    """
    rows: list[Row] = []
    streams: list[tuple[Forward[np.ndarray], int]] = []
    for split in ("train", "test"):
        if f"x_{split}" not in arrays or f"y_{split}" not in arrays:
            raise ValueError(f"it lacks x_{split} or y_{split}")
        labels = read_npy(read_member(archive, arrays[f"y_{split}"], MOST_FILE))
        if labels.ndim != 2 or labels.shape[1] < 1 or labels.dtype.kind not in "fiub":
            raise ValueError(f"`y_{split}` is {labels.dtype} {list(labels.shape)}, expected [N, classes]")
        stream = _stream(archive, arrays[f"x_{split}"], len(labels))
        streams += [(stream, number) for number in range(len(labels))]
        rows += [
            Row(f"{split}_{number:06d}", (split,), int(label))
            for number, label in enumerate(labels.argmax(axis=1))
        ]

    def read(number: int) -> Content:
        stream, place = streams[number]
        flat = stream[place]
        body = len(layout.joints) * dims
        if flat.ndim != 2 or not flat.shape[1] or flat.shape[1] % body:
            raise ValueError(
                f"{list(flat.shape)} values, expected frames x (persons x "
                f"{len(layout.joints)} joints x {dims})"
            )
        seen = np.flatnonzero((flat != 0).any(axis=1))
        if not len(seen):
            raise ValueError("nobody is in it")
        clip = flat[: seen[-1] + 1].reshape(seen[-1] + 1, -1, len(layout.joints), dims)
        people = (clip != 0).any(axis=(0, 2, 3))
        return Content(as_clip(clip[:, people], layout, dims))

    return PoseFile(rows, read)


# .json: [{key, keypoints, scores?, split?, label?, size?, group?}, ...], or {classes, clips: [...]}


def _json(file: Path, layout: Layout, dims: int) -> PoseFile:
    tree = parse_json(read_small(file, MOST_FILE))
    classes = tree.get("classes") if isinstance(tree, dict) else None
    clips = tree.get("clips") if isinstance(tree, dict) else tree
    if not isinstance(clips, list) or not all(
        isinstance(clip, dict) and isinstance(clip.get("key"), str) and "keypoints" in clip for clip in clips
    ):
        raise ValueError('expected [{"key": ..., "keypoints": [...]}, ...], or such a list as `clips`')
    if classes is not None and not (
        isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    ):
        raise ValueError("`classes` is no list of names")
    rows = [_row(clip) for clip in clips]
    return PoseFile(
        rows,
        lambda number: from_json(clips[number], layout, dims),
        None if classes is None else tuple(classes),
    )


def _row(clip: dict[str, Any]) -> Row:
    split = clip.get("split")
    label = clip.get("label")
    return Row(
        _text(clip["key"]),
        () if split is None else (_text(split),),
        None if label is None else _label(label),
        _text(clip.get("group") or ""),
    )


# .parquet: the same, a column each


def _parquet(file: Path, layout: Layout, dims: int) -> PoseFile:
    from pyarrow import ArrowException

    try:
        opened = open_parquet(file, ("keypoints", "scores"))
        names = opened.schema_arrow.names
        lacking = [name for name in ("key", "keypoints") if name not in names]
        if lacking:
            raise ValueError(f"it has the columns {', '.join(names)}, and lacks {' and '.join(lacking)}")
        told = [name for name in ("key", "split", "label", "group") if name in names]
        rows = []
        for batch in opened.iter_batches(columns=told):
            require_short(batch)
            rows += [_row(row) for row in batch.to_pylist()]
    except (ArrowException, OverflowError, MemoryError) as error:
        raise ValueError(str(error)) from None

    def begin() -> Iterator[dict[str, Any]]:
        wanted = [name for name in ("keypoints", "scores", "size") if name in names]
        try:
            for batch in opened.iter_batches(batch_size=16, columns=wanted):
                yield from batch.to_pylist()
        except (ArrowException, OverflowError, MemoryError) as error:
            raise ValueError(str(error)) from None

    clips = Forward(begin)
    return PoseFile(rows, lambda number: from_json(clips[number], layout, dims))


# .pkl: of pyskl (https://github.com/kennymckormick/pyskl/blob/main/tools/data/README.md): {split: {name:
# [frame_dir, ...]}, annotations: [{frame_dir, label, img_shape, keypoint [M, T, V, C], keypoint_score}, ...]}


def _pickle(file: Path, layout: Layout, dims: int) -> PoseFile:
    tree = pickles.load(file)
    annotations = tree.get("annotations") if isinstance(tree, dict) else None
    splits = tree.get("split") if isinstance(tree, dict) else None
    if not isinstance(annotations, list) or not isinstance(splits, dict):
        raise ValueError("expected what pyskl writes: a dict with `split` and `annotations`")
    words: dict[str, list[str]] = {}
    for name, keys in splits.items():
        for key in keys if isinstance(keys, list) else []:
            words.setdefault(str(key), []).append(str(name))
    rows = []
    for number, clip in enumerate(annotations):
        if not isinstance(clip, dict) or not isinstance(clip.get("frame_dir"), str):
            raise ValueError(f"annotation {number} has no frame_dir")
        key, label = clip["frame_dir"], clip.get("label")
        rows.append(Row(key, tuple(words.get(key, ())), None if label is None else _label(label)))

    def read(number: int) -> Content:
        clip = annotations[number]
        joints, scores = clip.get("keypoint"), clip.get("keypoint_score")
        if not isinstance(joints, np.ndarray) or joints.ndim != 4:
            raise ValueError("it has no `keypoint` [persons, frames, joints, coordinates]")
        if scores is not None and (not isinstance(scores, np.ndarray) or scores.ndim != 3):
            raise ValueError("its `keypoint_score` is not [persons, frames, joints]")
        shape = clip.get("img_shape")
        size = size_of(None if shape is None else list(shape)[1::-1] if isinstance(shape, list) else shape)
        ordered = None if scores is None else scores.swapaxes(0, 1)
        return Content(as_clip(joints.swapaxes(0, 1), layout, dims, ordered), size)

    return PoseFile(rows, read)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{value!r:.80} is no text in UTF-8") from None
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} is no text")
    return str(value)


def _label(value: Any) -> str | int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        return _text(value)
    if not 0 <= value < 2**31:
        raise ValueError(f"the label {value} is no class")
    return int(value)

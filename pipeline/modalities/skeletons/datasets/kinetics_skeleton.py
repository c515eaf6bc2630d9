"""Kinetics-skeleton: OpenPose's joints of Kinetics-400's videos, in the format of ST-GCN's authors.

Yan, Xiong, Lin: Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition, AAAI
2018; https://github.com/yysijie/st-gcn

`data.path` holds `kinetics_train/ID.json` and `kinetics_train_label.json`, the same of `kinetics_val`, which
is the test split, and perhaps `label_name.txt`.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stillroom.errors import DataError, listing
from stillroom.files import read_small
from stillroom.modalities.entries import leave_out
from stillroom.modalities.skeletons import settings
from stillroom.modalities.skeletons.arrays import MOST_FRAMES, empty
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.preparation.clips import Account, Clips, Content, Entry
from stillroom.modalities.skeletons.preparation.files import (
    MOST_JSON,
    listed,
    parse_json,
    path_of,
)
from stillroom.progress import Progress

LAYOUT = LAYOUTS["openpose18"]
DIMS = 2
JOINTS = len(LAYOUT.joints)
TAKES = ("skip",)  # of data's keys
SIZE = (340, 256)  # pixels: the picture that coordinates are shares of
LOOKED_AT = 5  # people of a frame among whom the published reader chooses
SPLITS = {"kinetics_train": "train", "kinetics_val": "test"}
OFFICIAL = {"train": 240_436, "test": 19_796}  # clips that have a skeleton
CLASSES = 400


class Data(settings.Data):
    """`data`: Kinetics-skeleton."""

    bodies: Annotated[int, Field(ge=1, le=LOOKED_AT)] = 2  # that are kept of a frame: the surest
    official: bool = True  # check the counts against the published ones


def load(data: Data, progress: Progress, account: Account) -> Clips:
    """The data set at `data.path`; see `datasets.load`. Where it need not be the published one, a part may be
    missing, and labels without any clip are no classes.

    Raises:
        ParamsError: there is no `data.path`.
    """
    root = path_of(data, "the folder that holds kinetics_train and kinetics_val")
    parts = [name for name in SPLITS if (root / name).is_dir()]
    if not parts or (data.official and len(parts) < 2):
        raise DataError(
            f"{root} has {' and '.join(parts) or 'neither kinetics_train nor kinetics_val'}",
            fix="set data.path to the folder that holds kinetics_train and kinetics_val"
            + ("; for a part of the data set, data.official to false" if parts else ""),
        )
    entries: list[Entry] = []
    told: dict[int, str] = {}
    for part in parts:
        entries += _entries(root, part, told, account)
    entries = leave_out(
        entries, Path(data.skip) if data.skip else None, root, account, "kinetics_train/ID.json"
    )
    names = _names(root / "label_name.txt", told)
    present = sorted({entry.label for entry in entries})
    if data.official:
        _check_official(root, entries, names)
        present = list(range(CLASSES))
    classes = tuple(names[label] for label in present)
    return Clips(
        "kinetics_skeleton",
        classes,
        [replace(entry, label=present.index(entry.label)) for entry in entries],
        lambda entry: _read(root / entry.path, classes[entry.label], data.bodies),
        LAYOUT,
        DIMS,
        root,
        tuple(SPLITS[part] for part in parts),
        data.official,
    )


def _entries(root: Path, part: str, told: dict[int, str], account: Account) -> list[Entry]:
    """The clips of a part, as its label file lists them; `told` gets the names of labels."""
    table = root / f"{part}_label.json"
    faults: list[str] = []
    entries, without = [], []
    try:
        content = parse_json(read_small(table, MOST_JSON))
        if not isinstance(content, dict):
            raise ValueError("no object {ID: {has_skeleton, label, label_index}}")
    except FileNotFoundError:
        raise DataError(f"{table} is not there", fix="copy it beside the folders of the clips") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{table} cannot be read", str(error), "get the file again") from None
    there = {path.name for path in listed(root / part)} | {
        path.name for path in (root / part).glob(".*.json")
    }
    for key, row in content.items():
        label = row.get("label_index") if isinstance(row, dict) else None
        name = row.get("label") if isinstance(row, dict) else None
        if type(label) is not int or not 0 <= label < CLASSES or not isinstance(name, str) or "/" in key:
            faults.append(f"{key[:80]!r}: expected has_skeleton, label and label_index (0 to {CLASSES - 1})")
        elif told.setdefault(label, name) != name:
            faults.append(f"{key}: label {label} is {name!r}, and {told[label]!r} elsewhere")
        elif row.get("has_skeleton") is False:
            without.append(f"{part}/{key}.json")
        elif f"{key}.json" not in there:
            faults.append(f"{key}: {part}/{key}.json is not there")
        else:
            entries.append(Entry(key, f"{part}/{key}.json", SPLITS[part], label))
    if faults:
        raise DataError(
            f"{table} has {len(faults):,} entries that cannot be used:\n{listing(faults)}",
            fix="get the data set again, or take these entries out, with data.official: false",
        )
    account.pass_over("without a skeleton (has_skeleton is false)", without)
    listed_names = {Path(entry.path).name for entry in entries} | {Path(path).name for path in without}
    account.pass_over(f"not in {table.name}", [f"{part}/{name}" for name in there - listed_names])
    return entries


def _names(file: Path, told: dict[int, str]) -> dict[int, str]:
    """The name of each label: from `label_name.txt`, a line each, or else from the label files."""
    if not file.is_file():
        return told
    try:
        lines = file.read_bytes().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read", str(error), "get the file again") from None
    names = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    other = [
        f"line {label + 1}: {names.get(label, 'nothing')!r}, and {name!r} in the label file"
        for label, name in sorted(told.items())
        if names.get(label) != name
    ]
    if other or len(set(names.values())) < len(names):
        raise DataError(
            f"{file} does not fit the label files:\n{listing(other) or '    a name is there twice'}",
            "the number of a line, less one, is the label",
            "get the files again, or remove label_name.txt",
        )
    return names


def _check_official(root: Path, entries: list[Entry], names: dict[int, str]) -> None:
    counts = Counter(entry.split for entry in entries)
    faults = [
        f"expected {expected:,} {split} clips, found {counts[split]:,}"
        for split, expected in OFFICIAL.items()
        if counts[split] != expected
    ]
    if set(names) != set(range(CLASSES)):
        faults.append(f"expected {CLASSES} labels, found {len(names)}")
    if faults:
        raise DataError(
            f"{root} is not the published Kinetics-skeleton:\n{listing(faults)}",
            "results are compared with published ones only on the published clips and split",
            "use another copy, or set data.official: false if the data set is meant to differ",
        )


def _read(file: Path, label: str, bodies: int) -> Content:
    tree = parse_json(read_small(file, MOST_JSON))
    if isinstance(tree, dict) and tree.get("label", label) != label:
        raise ValueError(f"its label is {str(tree['label'])[:80]!r}, and {label!r} in the label file")
    return parse(tree, bodies)


def parse(tree: Any, bodies: int = 2) -> Content:
    """What is in a clip's JSON.

    `{"data": [{"frame_index": 1, "skeleton": [{"pose": [x0, y0, x1, ...], "score": [s0, ...]}, ...]}, ...]}`,
    with x and y as shares of a picture of 340 x 256 pixels.

    Frames are placed by their index, from the lesser of 1 and the first one. People are in no order and not
    followed: of the first five of a frame, the `bodies` of the largest sum of scores are kept, in that order,
    as the published reader does. A joint of score 0 was not found.

    Returns:
        with as many bodies as the fullest frame has of them, at most `bodies`.

    Raises:
        ValueError: it is no such clip; says why.
    """
    frames = tree.get("data") if isinstance(tree, dict) else None
    if not isinstance(frames, list):
        raise ValueError('no clip of Kinetics-skeleton: expected {"data": [...]}')
    if not frames:
        raise ValueError("no frame")
    people: dict[int, list[int]] = {}  # of each frame: rows of `told`
    told: list[list[float]] = []
    for place, frame in enumerate(frames, 1):
        index = frame.get("frame_index") if isinstance(frame, dict) else None
        skeletons = frame.get("skeleton") if isinstance(frame, dict) else None
        if type(index) is not int or not 0 <= index <= MOST_FRAMES or not isinstance(skeletons, list):
            raise ValueError(f"entry {place} of data: expected frame_index (a number) and skeleton (a list)")
        if index in people:
            raise ValueError(f"frame_index {index} is there twice")
        first = len(told)
        told += [_person(one, index) for one in skeletons[:LOOKED_AT]]
        people[index] = list(range(first, len(told)))
    if not told:
        raise ValueError("nobody is in it")
    try:
        values = np.array(told, np.float64)
    except OverflowError:
        raise ValueError("a number that is too large") from None
    if not np.isfinite(values).all():
        raise ValueError("a pose or score that is not finite")
    poses, scores = values[:, : 2 * JOINTS].reshape(-1, JOINTS, 2), values[:, 2 * JOINTS :]
    sums = scores.sum(axis=1).tolist()
    start = min(1, min(people))
    most = min(bodies, max(map(len, people.values())))
    clip = empty(max(people) - start + 1, most, JOINTS, DIMS)
    for index, rows in people.items():
        kept = sorted(rows, key=lambda row: -sums[row])[:bodies]
        clip[index - start, : len(kept), :, :DIMS] = poses[kept] * SIZE
        clip[index - start, : len(kept), :, DIMS] = scores[kept]
    return Content(clip, SIZE)


def _person(described: Any, index: int) -> list[float]:
    """x and y of each joint as shares of the picture, then the score of each."""
    pose = described.get("pose") if isinstance(described, dict) else None
    score = described.get("score") if isinstance(described, dict) else None
    if not (isinstance(pose, list) and isinstance(score, list)):
        raise ValueError(f"frame {index}: a person without pose or score")
    if len(pose) != 2 * JOINTS or len(score) != JOINTS:
        raise ValueError(
            f"frame {index}: {len(pose)} coordinates and {len(score)} scores, and the layout {LAYOUT.name} "
            f"has {JOINTS} joints"
        )
    values = pose + score
    if not {*map(type, values)} <= {int, float}:
        raise ValueError(f"frame {index}: a pose or score that is no number")
    return values

"""Your own clips: what a pose estimator wrote, as one file of many clips or as a file each.

One file: `.npz`, `.json`, `.parquet` or pyskl's `.pkl` with keys, joints and, unless `data.table` says them,
splits and labels (docs/skeletons.md has each). A folder:

    path/train/CLASS/CLIP and path/test/CLASS/CLIP, and path/val/CLASS/CLIP if there is one

or clips anywhere in it, and `data.table`. `data.layout` says which joints there are.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stillroom.errors import AccessError, DataError, listing
from stillroom.modalities.entries import MEANINGS, composed, leave_out
from stillroom.modalities.skeletons import layouts, settings
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.preparation.clips import Account, Clips, Content, Entry
from stillroom.modalities.skeletons.preparation.files import found_files, path_of
from stillroom.params import Folder
from stillroom.progress import Progress

TAKES = ("skip",)  # of data's keys


class Data(settings.Data):
    """`data`: people's own clips."""

    # which joints there are: a name (coco17, openpose18, openpose25, halpe26, mediapipe33, ntu25, penn13), or
    # a section with joints, bones, left_right and centre
    layout: str | dict[str, Any] = "coco17"
    # 2: pixels, y downwards; 3: metres, y upwards; None: as the layout usually has (3 of ntu25, else 2)
    dims: Literal[2, 3] | None = None
    # a table (CSV) with the columns key, split, label and perhaps group, where path does not say them
    table: Folder | None = None
    # what words for splits mean, as {xsub_train: train, xsub_val: test}; none: the usual words
    splits: dict[str, Literal["train", "val", "test"]] = {}


@dataclass(frozen=True)
class Listed:
    """A clip before anybody knows what its words mean; as of `pose_files.Row`, with its path."""

    key: str
    path: str
    splits: tuple[str, ...]
    label: str | int | None
    group: str
    read: Callable[[], Content]


def layout_of(data: Data) -> tuple[Layout, int]:
    """See `datasets.layout_of`."""
    layout = layouts.read(data.layout)
    return layout, data.dims or (3 if layout.name == "ntu25" else 2)


def load(data: Data, progress: Progress, account: Account) -> Clips:
    """The clips at `data.path`; see `datasets.load`. Labels without any clip are no classes.

    Raises:
        ParamsError: there is no `data.path`, no such layout, or what reads the file is not installed.
    """
    root = path_of(data, "a file of clips, or a folder of them")
    layout, dims = layout_of(data)
    names: tuple[str, ...] | None = None
    if root.is_file():
        listed, names = _in_file(root, layout, dims, account)
    else:
        listed = _in_folder(root, layout, dims)
    listed = leave_out(listed, Path(data.skip) if data.skip else None, root, account, "a key")
    if data.table:
        listed = _told(listed, Path(data.table), root, account)
    elif root.is_dir():
        listed = _by_folders(listed, root, account)
    placed = _placed(listed, data.splits, root, account)
    labels, classes = _labels([one for one, _ in placed], names, root)
    entries = [
        Entry(one.key, one.path, split, label, one.group)
        for (one, split), label in zip(placed, labels, strict=True)
    ]
    readers = {one.path: one.read for one, _ in placed}
    return Clips("poses", classes, entries, lambda entry: readers[entry.path](), layout, dims, root)


def _in_file(
    root: Path, layout: Layout, dims: int, account: Account
) -> tuple[list[Listed], tuple[str, ...] | None]:
    from stillroom.modalities.skeletons.preparation.pose_files import open_file

    found = open_file(root, layout, dims)
    account.pass_over("not valid", [row.key for row in found.rows if not row.there])
    return [
        Listed(row.key, row.key, row.splits, row.label, row.group, lambda number=number: found.read(number))  # type: ignore[misc]
        for number, row in enumerate(found.rows)
        if row.there
    ], found.classes


def _in_folder(root: Path, layout: Layout, dims: int) -> list[Listed]:
    from stillroom.modalities.skeletons.clip_files import SUFFIXES, read_content

    return [
        Listed(
            path.removesuffix(file.suffix),
            path,
            (),
            None,
            "",
            lambda file=file: read_content(file, layout, dims),  # type: ignore[misc]
        )
        for file in found_files(root, SUFFIXES)
        for path in [file.relative_to(root).as_posix()]
    ]


def _by_folders(listed: list[Listed], root: Path, account: Account) -> list[Listed]:
    """Splits and labels from SPLIT/CLASS/CLIP."""
    found, others = [], []
    for one in listed:
        parts = one.path.split("/")
        if len(parts) == 3:
            found.append(Listed(one.key, one.path, (parts[0],), composed(parts[1]), one.group, one.read))
        else:
            others.append(one.path)
    if not found:
        raise DataError(
            f"{root} has no clip in a class folder of a split",
            f"it has clips such as {others[0]}",
            f"make {root}/train/CLASS/ and {root}/test/CLASS/, or set data.table to a table with the columns "
            "key, split and label",
        )
    account.pass_over("in no class folder of a split", others)
    return found


def _told(listed: list[Listed], table: Path, root: Path, account: Account) -> list[Listed]:
    """Splits, labels and groups from a table; clips that it does not name are passed over."""
    rows = _lines(table)
    by_name = {composed(name): one for one in listed for name in (one.key, one.path)}
    gone = {composed(name) for names in account.passed_over.values() for name in names}
    gone |= {composed(name) for name in account.skipped}
    gone |= {composed(str(Path(name).with_suffix(""))) for name in account.skipped}
    found: dict[str, Listed] = {}
    unknown, twice = [], []
    for row in rows:
        one = by_name.get(composed(row["key"]))
        if one is None:
            if composed(row["key"]) not in gone:
                unknown.append(row["key"])
        elif one.key in found:
            twice.append(row["key"])
        else:
            label: str | int | None = row.get("label") or one.label
            split = (row["split"],) if row.get("split") else one.splits
            found[one.key] = Listed(one.key, one.path, split, label, row.get("group") or one.group, one.read)
    for what, names in (("that are not there", unknown), ("twice", twice)):
        if names:
            raise DataError(
                f"{table} names clips {what}:\n{listing(names)}",
                f"a key is one of {root}, such as {listed[0].key if listed else '(it has none)'}",
                "mend these lines",
            )
    account.pass_over(f"not in {table.name}", [one.path for one in listed if one.key not in found])
    return [found[one.key] for one in listed if one.key in found]  # as they are best read


def _lines(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = [name for name in reader.fieldnames or [] if name]
            if "key" not in header:
                raise DataError(
                    f"{table}, which data.table names, has the columns {', '.join(header) or 'none'}",
                    fix="give it a first line with the columns key, split and label",
                )
            return [{name: (line[name] or "").strip() for name in header} for line in reader]
    except FileNotFoundError:
        raise DataError(
            f"{table}, which data.table names, is not there", fix="set data.table to where it is"
        ) from None
    except PermissionError:
        raise AccessError(table) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table}, which data.table names, cannot be read", str(error), "give a CSV file in UTF-8"
        ) from None


def _placed(
    listed: list[Listed], meanings: dict[str, Any], root: Path, account: Account
) -> list[tuple[Listed, str]]:
    """Each clip with its split."""
    found, without, unknown, both = [], [], set(), []
    for one in listed:
        means = {meanings.get(word) if meanings else MEANINGS.get(word.casefold()) for word in one.splits} - {
            None
        }
        if len(means) > 1:
            both.append(f"{one.path}: {', '.join(one.splits)}")
        elif means:
            found.append((one, means.pop()))
        else:
            without.append(one.path)
            unknown |= set(one.splits)
    if both:
        raise DataError(
            f"{root} puts clips into two splits:\n{listing(both)}",
            "a model would be measured on what it was trained on",
            "say which words count: --set 'data.splits={train: train, test: test}'",
        )
    if without and not (meanings and found):
        words = ", ".join(sorted(unknown)[:12])
        raise DataError(
            f"{root} does not say whether these clips are train, val or test:\n{listing(without, 5)}",
            f"its words for splits are {words}" if words else "it has no splits",
            f"say what they mean: --set 'data.splits={{{sorted(unknown)[0]}: train, ...}}'"
            if words
            else "set data.table to a table (CSV) with the columns key, split and label",
        )
    splits = {split for _, split in found}
    if "val" in splits and "test" not in splits and not meanings:
        told = {word: MEANINGS[word.casefold()] for one, _ in found for word in one.splits}
        named = ", ".join(f"{word}: {'test' if split == 'val' else split}" for word, split in told.items())
        raise DataError(
            f"{root} has clips in train and val, and none in test",
            fix=f"to measure results on val: --set 'data.splits={{{named}}}'",
        )
    account.pass_over("in no split that data.splits names", without)
    return [(one, str(split)) for one, split in found]


def _labels(
    listed: list[Listed], names: tuple[str, ...] | None, root: Path
) -> tuple[list[int], tuple[str, ...]]:
    """The label of each clip, and the classes: in the order of their numbers, or of their names."""
    without = [one.path for one in listed if one.label is None]
    if without:
        raise DataError(
            f"{root} does not say of which class these clips are:\n{listing(without, 5)}",
            fix="set data.table to a table (CSV) with the columns key, split and label",
        )
    told = [str(one.label) for one in listed]
    if names is not None:
        numbers = {name: number for number, name in enumerate(names)}
        faults = sorted(
            {one for one in told if one not in numbers and not (one.isdecimal() and int(one) < len(names))}
        )
        if faults or len(numbers) < len(names):
            raise DataError(
                f"{root} has labels that are not among its classes:\n"
                + (listing(faults) or "    a class is there twice"),
                fix="mend its `classes`, or its labels",
            )
        told = [one if one in numbers else names[int(one)] for one in told]
        classes = tuple(name for name in names if name in set(told))
    elif all(one.isdecimal() for one in told):
        classes = tuple(str(number) for number in sorted({int(one) for one in told}))
        told = [str(int(one)) for one in told]
    else:
        classes = tuple(sorted(set(told)))
    return [classes.index(one) for one in told], classes

"""Hugging Face data sets of images that lie on disk: Parquet, or a folder that `save_to_disk` wrote (Arrow).

    path/train-00000-of-00001.parquet, path/data/test-00000-of-00001.parquet, path/train/0000.parquet    or
    path/train/data-00000-of-00001.arrow with its state.json

The bytes of images are kept as they are, and written once into tar shards below `artifacts/data`. The class
names are those of the schema's `ClassLabel`. pyarrow reads all of it: the library `datasets` is not needed.
"""

import json
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc, parquet

from stillroom.errors import AccessError, DataError, ParamsError, listing
from stillroom.files import read_small, require_regular
from stillroom.modalities.entries import (
    MEANINGS,
    composed,
    plain,
    require_every_class,
    require_two_classes,
    skip_list,
)
from stillroom.modalities.images.preparation import labelled
from stillroom.modalities.images.preparation.embedded import Embedded, write_out
from stillroom.modalities.images.preparation.scan import Account
from stillroom.modalities.images.settings import MISSING, Data
from stillroom.modalities.parquet_files import open_parquet, require_short, rows_together
from stillroom.modalities.remembered import stamp
from stillroom.progress import Progress
from stillroom.samples import SPLITS, Samples

TAKES = ("skip", "splits", "columns", "allow_missing_classes")  # of data's keys
ROLES = ("image", "label", "key")  # what data.columns may say
USUAL = {"image": ("image", "img"), "label": ("label", "labels", "class"), "key": ()}
EMBED = "save the data set with its images in it: save_to_disk of `datasets` does so"
BATCH = 32  # images that are read at a time


@dataclass
class Part:
    """A file of a data set.

    Attributes:
        file: where it lies.
        shown: its path from the data set's folder.
        columns: the name of the column of each role.
        names: of the classes, where its numbers stand for names.
        codes: of each row, which of the classes that were met it is of.
    """

    file: Path
    shown: str
    columns: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    codes: array = field(default_factory=lambda: array("i"))  # type: ignore[type-arg]

    def batches(self, roles: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Some of its columns, a little at a time, named by their roles.

        Raises:
            DataError: it is damaged, or cannot be read.
        """
        names = [self.columns[role] for role in roles]
        images = [self.columns["image"]] if "image" in roles else []
        with _reading(self.file):
            if self.file.suffix == ".parquet":
                with open_parquet(self.file, images, names) as opened:
                    if images:
                        rows = rows_together(opened, rows)
                    for batch in opened.iter_batches(rows, columns=names):
                        require_short(batch.select([name for name in names if name not in images]))
                        yield pa.record_batch([batch.column(name) for name in names], list(roles))
                return
            require_regular(self.file)
            with pa.memory_map(str(self.file)) as mapped:
                for batch in _arrow(mapped):
                    batch.validate(full=True)
                    require_short(batch.select([name for name in names if name not in images]))
                    chosen = pa.record_batch([batch.column(name) for name in names], list(roles))
                    yield from (chosen.slice(start, rows) for start in range(0, len(chosen), rows))

    def schema(self) -> pa.Schema:
        """What columns it has."""
        with _reading(self.file):
            require_regular(self.file)
            if self.file.suffix == ".parquet":
                found = parquet.read_schema(self.file)
            else:
                with pa.memory_map(str(self.file)) as mapped:
                    found = _arrow(mapped).schema
            for one in found:  # of a damaged file, names may be no text
                _ = one.name, [inner.name for inner in one.type] if pa.types.is_struct(one.type) else ()
            return found


def load(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    """The images of the files at `data.path`; see `datasets.load`.

    Raises:
        ParamsError: there is no `data.path`, or a name may mean two splits.
        DataError: files are damaged, columns are lacking, or images have no class or cannot be decoded.
    """
    if data.path is None:
        raise ParamsError(
            "data.name = 'huggingface' needs data.path, the folder of Parquet files, or of `save_to_disk`",
            fix="for example --set data.path=my_data_set",
        )
    odd = [role for role in data.columns if role not in ROLES]
    if odd:
        raise ParamsError(
            f"data.columns.{odd[0]}: images in Parquet or Arrow have no such column",
            fix=f"it may say where to find {', '.join(ROLES)}",
        )
    root = Path(data.path)
    parts = _split(root, _files(root), dict(data.splits), account)
    every = [part for some in parts.values() for part in some]
    for part in every:
        _find_columns(part, data.columns)
    classes, labels = _read_labels(every)
    require_two_classes(classes, root)
    pairs = {
        (split, int(labels[code]))
        for split, some in parts.items()
        for part in some
        for code in set(part.codes)
    }
    require_every_class(
        [SimpleNamespace(split=split, label=label) for split, label in sorted(pairs)],
        classes,
        MISSING,
        allowed=data.allow_missing_classes,
    )
    skip = skip_list(Path(data.skip)) if data.skip else {}
    unknown = dict(skip)
    images = {split: _images(split, some, labels, unknown, skip, account) for split, some in parts.items()}
    count = sum(len(part.codes) for part in every)
    rows, place = write_out("huggingface", classes, images, count, folder, progress, account)
    if unknown:
        raise DataError(
            f"{data.skip} names images that are not in the data set:\n{listing(sorted(unknown.values()))}",
            "a line is a key, such as train/00000000",
            "mend these lines",
        )
    return Samples("huggingface", classes, rows, place)


def _files(root: Path) -> list[Part]:
    """The files of a data set, in the order of their paths."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", fix="set data.path to the folder of the data set")
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        here = Path(folder)
        arrow = [name for name in names if name.endswith(".arrow")]
        if "state.json" in names:  # of `save_to_disk`; other files are what it has computed meanwhile
            arrow = [name for name in _data_files(here / "state.json") if name in arrow]
        parquets = [name for name in names if name.endswith(".parquet") and not name.startswith(".")]
        found += [
            Part(here / name, (here / name).relative_to(root).as_posix()) for name in [*parquets, *arrow]
        ]
    if not found:
        raise DataError(
            f"{root} has no .parquet and no .arrow file",
            fix="set data.path to the folder that has them; folders of images, also with metadata.csv: "
            "--set data.name=folder",
        )
    return sorted(found, key=lambda part: part.shown.split("/"))


def _data_files(state: Path) -> list[str]:
    """The files that a `state.json` names."""
    try:
        return [str(one["filename"]) for one in json.loads(read_small(state, 2**26))["_data_files"]]
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{state} does not name the files of the data set",
            f"{type(error).__name__}: {error}",
            "save it again",
        ) from None


def _split(root: Path, parts: list[Part], splits: dict[str, str], account: Account) -> dict[str, list[Part]]:
    """The files of each split, in the order of their paths."""
    found: dict[str, list[Part]] = {}
    words: dict[str, set[str]] = {}
    without = []
    for part in parts:
        means = _meanings(part.shown, splits)
        splits_of = set(means.values())
        if len(splits_of) > 1:
            raise ParamsError(
                f"{root / part.shown}: its split may be {' or '.join(sorted(splits_of))}",
                fix="say what the words in names mean: --set 'data.splits={train: train, test: test}'",
            )
        if not means:
            without.append(part.shown)
            continue
        [split] = splits_of
        found.setdefault(split, []).append(part)
        words.setdefault(split, set()).add(next(iter(means)))
    missing = [split for split in ("train", "test") if split not in found]
    if (without and not splits) or missing:
        names = without if without and not splits else [part.shown for part in parts]
        vals = sorted(words.get("val", ()))
        fix = "say what the words in names mean: --set 'data.splits={train: train, held_out: test}'"
        if missing == ["test"] and vals:
            fix = f"to measure results on {vals[0]}: --set 'data.splits={{train: train, {vals[0]}: test}}'"
        raise DataError(
            f"{root} has "
            + (
                "files of which nothing says the split"
                if without and not splits
                else f"no file of {' and '.join(missing)}"
            )
            + f":\n{listing(names)}",
            "expected a word in the name, as train-00000-of-00001.parquet, or folders, as train/0000.parquet",
            fix,
        )
    for split, own in words.items():
        if len(own) > 1:
            raise ParamsError(
                f"{root} has files of {' and '.join(sorted(own))}, and both mean {split}",
                fix=f"say which count: --set 'data.splits={{{min(own)}: {split}, ...}}'",
            )
    account.pass_over("of no split", without)
    return {split: found[split] for split in SPLITS if split in found}


def _meanings(shown: str, splits: dict[str, str]) -> dict[str, str]:
    """What words in the name of a file mean, or else those in the name of its folder, and so on upwards."""
    for name in reversed(shown.rpartition(".")[0].split("/")):
        own = [name, *re.split("[-.]", name), *re.split(r"[^A-Za-z]+", name)]
        means = {word: splits.get(word) if splits else MEANINGS.get(word.casefold()) for word in own}
        found = {word: split for word, split in means.items() if split is not None}
        if found:
            return found
    return {}


def _find_columns(part: Part, given: dict[str, str]) -> None:
    """Find what the file's columns are."""
    schema = part.schema()
    features = labelled.features(schema)
    kinds = {name: one.get("_type") for name, one in features.items() if isinstance(one, dict)}
    for role in ROLES:
        if role in given:
            if given[role] not in schema.names:
                raise DataError(
                    f"{part.file} has no column {given[role]!r}, which data.columns.{role} names",
                    fix=f"it has {', '.join(schema.names)}",
                )
            part.columns[role] = given[role]
            continue
        if role == "image":
            able = [one.name for one in schema if _holds_bytes(one.type)]
            sure = [name for name in able if kinds.get(name) == "Image"]
        elif role == "label":
            able = [name for name in schema.names if name.lower() in USUAL[role]]
            sure = [name for name in schema.names if kinds.get(name) == "ClassLabel"]
        else:
            continue
        found = _chosen(role, sure) or _chosen(role, able)
        if len(found) != 1:
            what = f"several columns that may be its {role}" if found else f"no column for its {role}"
            raise DataError(
                f"{part.file} has {what}: {', '.join(found or schema.names)}",
                fix=f"say which: --set 'data.columns={{{role}: {(found or schema.names or ['NAME'])[0]}}}'",
            )
        part.columns[role] = found[0]
    kind = schema.field(part.columns["image"]).type
    if not _holds_bytes(kind):
        raise DataError(
            f"{part.file}: the column {part.columns['image']} holds {kind!s:.80}, no bytes of files",
            fix=EMBED,
        )
    try:
        part.names = labelled.class_names(schema, part.columns["label"])
    except ValueError as error:
        raise DataError(f"{part.file}: {error}", fix="save the data set again") from None


def _chosen(role: str, names: list[str]) -> list[str]:
    """The one that has a usual name, where there are several."""
    usual = [name for name in names if name.lower() in USUAL[role]]
    return usual if len(usual) == 1 else names


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read_labels(parts: list[Part]) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes in label order, and the label of each of the classes that were met."""
    names = parts[0].names
    for part in parts:
        if part.names != names:
            raise DataError(
                f"{parts[0].file} and {part.file} name other classes, or in another order",
                fix="take files of one data set",
            )
    met: dict[int | str, int] = {}
    faults: list[str] = []
    without: list[str] = []
    wrong = lacking = 0
    for part in parts:
        for batch in part.batches(["label"], 2**14):
            for value in batch.column("label").to_pylist():
                where = f"{part.shown} row {len(part.codes) + 1}"
                try:
                    label = labelled.written(value)
                    if names is not None and isinstance(label, int) and label >= len(names):
                        raise ValueError(f"class {label}, and {len(names)} are named")
                except ValueError as error:
                    wrong += 1
                    faults += [f"{where}: {error}"] if wrong <= labelled.MOST_FAULTS else []
                    label = 0
                if label is None:
                    lacking += 1
                    without += [where] if lacking <= labelled.MOST_FAULTS else []
                    label = 0
                part.codes.append(met.setdefault(label, len(met)))
    if faults:
        raise DataError(
            f"{wrong:,} {'row has' if wrong == 1 else 'rows have'} no class that can be:\n"
            f"{listing(faults, count=wrong)}",
            fix="make the files anew",
        )
    if without:
        raise DataError(
            f"{lacking:,} rows without a class:\n{listing(without, count=lacking)}",
            "every row of Parquet or Arrow needs one",
            "give each a class, take the rows out, or list the images in a table (data.name=table), where "
            "they may be unlabelled",
        )
    classes, labels = labelled.order_of(list(met), names)
    return classes, np.array(labels or [0], np.int64)


def _images(
    split: str,
    parts: list[Part],
    labels: np.ndarray,
    unknown: dict[str, str],
    skip: dict[str, str],
    account: Account,
) -> Iterator[Embedded]:
    """The images of a split. A key is the split and the number of the row in it, or what a column says."""
    number = 0
    for part in parts:
        mark = stamp(os.stat(part.file))
        roles = ["image", *(["key"] if "key" in part.columns else [])]
        row = 0
        for batch in part.batches(roles, BATCH):
            column = batch.column("image")
            keys = batch.column("key").to_pylist() if "key" in roles else None
            content = column.field("bytes") if pa.types.is_struct(column.type) else column
            for place in range(len(batch)):
                key = f"{split}/{number:08d}" if keys is None else keys[place]
                number, row = number + 1, row + 1
                where = f"{part.shown} row {row}"
                if keys is not None:
                    key = str(key) if isinstance(key, int | str) and not isinstance(key, bool) else ""
                    if not key or not plain(key) or key.startswith("/") or ".." in key.split("/"):
                        raise DataError(f"{where}: {keys[place]!a:.80} is no key", fix="mend that column")
                if composed(key) in skip:
                    unknown.pop(composed(key), None)
                    account.skipped.append(key)
                    continue
                found = content[place].as_py() if column.is_valid()[place].as_py() else None
                if found is None:
                    path = column[place].as_py() if pa.types.is_struct(column.type) else None
                    named = path.get("path") if isinstance(path, dict) else None
                    raise DataError(
                        f"{where}: it holds no image"
                        + (f", and names a file, {named!r:.200}" if named else ""),
                        fix=f"{EMBED}; files that a table names: --set data.name=table",
                    )
                yield Embedded(key, int(labels[part.codes[row - 1]]), found, where, part.file, mark, row - 1)


def _arrow(mapped: Any) -> Any:
    """What reads a file of Arrow, as a stream (which `datasets` writes) or as a file."""
    try:
        return ipc.open_stream(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        opened = ipc.open_file(mapped)
        return _Batches(opened)


class _Batches:
    """The batches of a file of Arrow."""

    def __init__(self, opened: Any) -> None:
        self._opened, self.schema = opened, opened.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return (self._opened.get_batch(number) for number in range(self._opened.num_record_batches))


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """What reading a file raises, for people."""
    try:
        yield
    except PermissionError:
        raise AccessError(file) from None
    except (*labelled.UNREADABLE, pa.ArrowException) as error:
        raise DataError(
            f"{file} cannot be read",
            " ".join(str(error).split())[:300] or type(error).__name__,
            "get the file again, or save it again",
        ) from None

"""The samples table: what `prepare` writes and every later stage reads: one row a sample."""

import hashlib
import json
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stillroom import fetched, spans, tables
from stillroom.columns import MANY, Rows, rows_of, schema_of
from stillroom.errors import AccessError, DataError
from stillroom.files import whole_file

NAME = "samples.parquet"
FORMAT = "stillroom-samples/2"
OLD, OLD_FORMAT = "samples.json", "stillroom-samples/1"  # of earlier versions, which is still read
UNLABELLED = "unlabelled"
SPLITS = ("train", "val", "test", UNLABELLED)


class Sample:
    """One sample. Each modality has a frozen dataclass of its own, with these fields and more: text, numbers,
    or tuples of so many numbers.

    Attributes:
        key: its name, unique in the data set (`applauding_001`); positions are never used to name a sample.
        path: its file, relative to the table's root, with forward slashes.
        split: `train`, `val`, `test` or `unlabelled`.
        label: class index in [0, C); -1 in the split `unlabelled`, whatever the class is.
        sha256: digest of its bytes, hexadecimal.
        group: samples of one group are never divided between two folds (`data.groups`); empty: it has none.
        span: (first byte, how many) where its file holds other samples too; None: the file is its own.
    """

    key: str
    path: str
    split: str
    label: int
    sha256: str
    group: str = ""
    span: tuple[int, int] | None = None


_LATER = ("group", "span")  # columns that a modality may do without
# Paths that `_contained` looks at: absolute ones, those with .. in them, or a zero byte
_LEAVING = r"^/|(^|/)\.\.(/|$)|\x00"


def is_table(folder: Path) -> bool:
    """Whether a folder holds a samples table, of this version or an earlier one."""
    return (folder / NAME).exists() or (folder / OLD).exists()


# (the fields of a row, how many classes there are) -> the row; raises ValueError where it is not sound
Read = Callable[[dict[str, Any], int], Sample]


@dataclass(frozen=True)
class Samples:
    """A data set as rows sorted by key, with its class names in label order and the root of its paths.

    Attributes:
        rows: given as a sequence of samples; kept as columns, of which a row is made where it is looked at.
        modality: what kind of data it is, by name.
        address: where the files lie instead of `root`, such as `s3://bucket/shards`; they are fetched when
            they are read.
        fold: int [N], of each row, where samples may only be mixed with others of their fold; None: with any.
    """

    dataset: str
    classes: tuple[str, ...]
    rows: Any
    root: Path
    modality: str = "images"
    fold: np.ndarray | None = field(default=None, compare=False)
    address: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", rows_of(self.rows).by_key())

    def __len__(self) -> int:
        return len(self.rows)

    def in_splits(self, *splits: str) -> "Samples":
        """The rows of these splits only."""
        codes, words = self.rows.codes("split")
        wanted = [number for number, word in enumerate(words) if word in splits]
        return replace(self, rows=self.rows.at(np.flatnonzero(np.isin(codes, wanted))), fold=None)

    def in_cache(self) -> "Samples":
        """The rows that a cache is made of and students are trained on: train, and the unlabelled."""
        return self.in_splits("train", UNLABELLED)

    def class_of(self, row: Sample) -> str:
        """The name of a row's class; `unlabelled`: it has none."""
        return self.classes[row.label] if row.label >= 0 else UNLABELLED

    def unlabelled(self) -> int:
        """How many rows have no label."""
        return int((self.labels() < 0).sum())

    def at(self, rows: Iterable[int] | np.ndarray) -> "Samples":
        """Some rows only, by their number."""
        places = rows if isinstance(rows, np.ndarray) else np.fromiter(rows, np.int64)
        return replace(self, rows=self.rows.at(places), fold=None)

    def companions(self, row: int) -> np.ndarray | range:
        """The rows that may be mixed with one, itself among them, ascending."""
        return range(len(self.rows)) if self.fold is None else self._of_fold[self.fold[row]]

    @cached_property
    def _of_fold(self) -> list[np.ndarray]:
        assert self.fold is not None
        return [np.flatnonzero(self.fold == fold) for fold in range(int(self.fold.max()) + 1)]

    def row_of(self, key: str) -> int:
        """The number of a key's row.

        Raises:
            KeyError: there is no such key.
        """
        index = bisect_left(range(len(self.rows)), key, key=lambda place: self.rows.text("key", place))
        if index == len(self.rows) or self.rows.text("key", index) != key:
            raise KeyError(key)
        return index

    def keys(self) -> Iterator[str]:
        """The key of each row."""
        return self.rows.texts("key")  # type: ignore[no-any-return]

    def packed_keys(self) -> np.ndarray:
        """The keys as bytes of UTF-8, one length for all: dtype S, [N]."""
        return self.rows.packed("key")  # type: ignore[no-any-return]

    def longest_key(self) -> int:
        """Bytes of the longest key, in UTF-8; 0 where there is none."""
        return int(self.rows.lengths("key").max(initial=0))

    def labels(self) -> np.ndarray:
        """The class index of each row, int64 [N]; -1: it has no label."""
        return self.rows.numbers("label")  # type: ignore[no-any-return]

    def splits(self) -> dict[str, int]:
        """How many rows there are of each split that has any."""
        codes, words = self.rows.codes("split")
        counts = dict(zip(words, np.bincount(codes, minlength=len(words)).tolist(), strict=True))
        return {split: counts[split] for split in SPLITS if counts.get(split)}

    def file(self, row: Sample) -> Path:
        """Where a row's file lies, of files that lie on this machine."""
        return self.root / row.path

    def place(self, row: Sample) -> str:
        """Where a row's file lies, for messages."""
        if self.address is None:
            return str(self.file(row))
        return f"{fetched.copies(self.address).shown}/{row.path}"

    def content(self, row: Sample) -> bytes:
        """The bytes of a row, of its file or of its span of one.

        Raises:
            OSError: they cannot be read, or the file ends before them (`spans.ShortError`).
            DataError: the file is at an address, and cannot be fetched.
        """
        if self.address is not None:
            return fetched.copies(self.address).part(row.path, row.span)
        file = self.file(row)
        return file.read_bytes() if row.span is None else spans.read(file, *row.span)

    def renew(self, row: Sample) -> bool:
        """Give up what was fetched of a row's file, which is not what it should be; whether there was any."""
        if self.address is not None:
            fetched.copies(self.address).renew(row.path)
        return self.address is not None

    def digests(self) -> dict[str, str]:
        """Digests that a cache must agree with: `keys`, the files' bytes under the name of their modality
        (`images`), `labels`, `classes`.
        """
        digests, labels = self.rows.texts("sha256"), iter(self.labels().tolist())
        return {
            "keys": _digest(self.keys()),
            self.modality: _digest(map(" ".join, zip(self.keys(), digests, strict=True))),
            "labels": _digest(f"{key} {label}" for key, label in zip(self.keys(), labels, strict=True)),
            "classes": _digest(self.classes),
        }

    def save(self, folder: Path) -> None:
        """Write `samples.parquet` into `folder`, whole or not at all; an older table there goes.

        A root inside `folder` or the project is kept as a relative path, any other is left out: the same data
        gives the same file on every machine with the same pyarrow, and `data.path` says where it lies on this
        one.
        """
        here, root = Path(os.path.abspath(folder)), Path(os.path.abspath(self.root))
        inside = self.address is None and root.is_relative_to(here)
        start = here if inside else Path.cwd()
        head = {
            "format": FORMAT,
            "modality": self.modality,
            "dataset": self.dataset,
            "root": self._stored_root(root, start),
            "root_is": "relative to this file" if inside else "relative to the project, or data.path",
            "classes": list(self.classes),
        }
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / NAME, durable=False) as stream:
            tables.write(self.rows.whole(), head, stream)
        (folder / OLD).unlink(missing_ok=True)

    def _stored_root(self, root: Path, start: Path) -> str | None:
        here = self.address is None and root.is_relative_to(start)
        return root.relative_to(start).as_posix() if here else None

    @classmethod
    def load(cls, folder: Path, reads: Callable[[str], Read], root: Path | str | None = None) -> "Samples":
        """Read the table that `prepare` wrote.

        Args:
            folder: the folder that holds it.
            reads: gives, for the name of a modality, what makes its rows.
            root: where the files lie on this machine, or their address, where they are no part of `folder`.

        Raises:
            DataError: there is no table, or it is not one that this version reads.
            AccessError: this user may not read it.
        """
        file = folder / (NAME if (folder / NAME).exists() or not (folder / OLD).exists() else OLD)
        try:
            head, content = _read_old(file) if file.name == OLD else tables.read(file, partial(_check, file))
        except FileNotFoundError:
            raise DataError(
                f"{file} is not there", fix=f"run `stillroom prepare`, or fetch it (`dvc pull {folder}`)"
            ) from None
        except PermissionError:
            raise AccessError(file) from None
        except (KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            raise DataError(f"{file} cannot be read", str(error), "run `stillroom prepare` again") from None
        with _damaged(file):
            if head["format"] not in (FORMAT, OLD_FORMAT):
                raise DataError(
                    f"{file} has format {head['format']!r:.80}, expected {FORMAT!r}",
                    fix="run `stillroom prepare`, or install the version that wrote it",
                )
            classes, modality = _classes(head["classes"]), head.get("modality", "images")
            read = reads(modality)
            if isinstance(content, list):
                rows = rows_of(read(entry, len(classes)) for entry in content).by_key()
                _check_keys(rows.column("key"))
            else:
                rows = Rows(content, _Checked(read, len(classes), file), ordered=True)
            inside = head["root_is"] == "relative to this file"
            stored = None if head["root"] is None else _contained(head["root"])
            if not inside and root is not None and fetched.is_address(root):
                return cls(str(head["dataset"]), classes, rows, Path(), modality, address=str(root))
            base = folder / (stored or "") if inside else root or stored
            if base is None:
                raise DataError(
                    f"{file} does not say where its {modality} lie: outside the project",
                    fix="set data.path to their folder; in Python: root=FOLDER, the same",
                )
            return cls(str(head["dataset"]), classes, rows, Path(base), modality)


@dataclass(frozen=True)
class _Checked:
    """Makes a row of a file's fields, where they are what `prepare` writes."""

    read: Read
    classes: int
    file: Path

    def __call__(self, fields: dict[str, Any]) -> Sample:
        with _damaged(self.file):
            return self.read(fields, self.classes)


@contextmanager
def _damaged(file: Path) -> Iterator[None]:
    """What reading a table raises where it is not what `prepare` writes, for people."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DataError(
            f"{file} is damaged", f"{type(error).__name__}: {error}", "run `stillroom prepare` again"
        ) from None


def _read_old(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A table of an earlier version: what it says of itself, and its rows."""
    table = json.loads(file.read_text(encoding="utf-8"))
    with _damaged(file):
        return table, table["samples"]


def _check(file: Path, head: dict[str, Any], table: pa.Table) -> None:
    """Refuse a table whose columns are not what `prepare` writes, as far as all modalities share them."""
    with _damaged(file):
        _check_columns(head, table)


def _check_columns(head: dict[str, Any], table: pa.Table) -> None:
    expected = schema_of(Sample)
    for name in expected.names:
        if name in _LATER and name not in table.column_names:
            continue
        if name not in table.column_names or table.schema.field(name).type != expected.field(name).type:
            raise ValueError(f"it has no column {name} of {expected.field(name).type}")
        if name != "span" and table.column(name).null_count:
            raise ValueError(f"its column {name} has gaps")
    rows, classes = Rows(table, dict), _classes(head["classes"])
    _check_keys(rows.column("key"))
    labels, (_, words) = rows.numbers("label"), rows.codes("split")
    if not set(words) <= set(SPLITS):
        raise ValueError(f"its splits are {', '.join(words)}, expected some of {', '.join(SPLITS)}")
    known = rows.differing("split", UNLABELLED)
    with_label, without = labels[known], labels[~known]
    if len(with_label) and (with_label.min() < 0 or with_label.max() >= len(classes)):
        raise ValueError(
            f"its labels are from {with_label.min()} to {with_label.max()}, of {len(classes)} classes"
        )
    if (without != -1).any():
        raise ValueError(f"the split {UNLABELLED} has labels")
    leaving = pc.indices_nonzero(pc.match_substring_regex(rows.column("path"), _LEAVING))
    if len(leaving):
        _contained(rows.text("path", leaving[0].as_py()))


def _check_keys(keys: pa.Array) -> None:
    if len(keys) > 1 and not pc.all(pc.less(keys.slice(0, len(keys) - 1), keys.slice(1))).as_py():
        raise ValueError("a key is there twice, or they are not in their order")


def _contained(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError(f"the path {path!r} leaves its folder")
    return path


def _classes(names: list[Any]) -> tuple[str, ...]:
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError("the classes are not distinct names")
    return tuple(names)


def checked(entry: dict[str, Any], classes: int) -> dict[str, Any]:
    """What all samples have, of the fields of a row.

    Raises:
        KeyError, TypeError, ValueError: it is not one that `prepare` writes.
    """
    row = {name: entry[name] for name in ("key", "path", "split", "label", "sha256")}
    label, digest, span = row["label"], row["sha256"], entry.get("span")
    sound = (
        *(isinstance(row[name], str) for name in ("key", "path", "sha256")),
        row["split"] in SPLITS,
        type(label) is int and (label == -1 if row["split"] == UNLABELLED else 0 <= label < classes),
        isinstance(entry.get("group", ""), str),
        span is None or (len(span) == 2 and all(type(one) is int and one >= 0 for one in span)),
    )
    if not all(sound) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise unsound(row["key"])
    more = {name: entry[name] for name in ("group", "span") if entry.get(name)}  # a modality may know of none
    return row | {"path": _contained(row["path"])} | more


def unsound(key: Any) -> ValueError:
    """What is raised of a row that `prepare` does not write."""
    return ValueError(f"the sample {key!r:.80} is not one that `prepare` writes")


def _digest(lines: Iterable[str]) -> str:
    """Of lines with a line feed between each two."""
    digest, lines = hashlib.sha256(), iter(lines)
    between = ""
    while some := list(islice(lines, MANY)):
        digest.update((between + "\n".join(some)).encode())
        between = "\n"
    return digest.hexdigest()

"""The samples table: what `prepare` writes and every later stage reads: one row a sample."""

import hashlib
import json
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.errors import AccessError, DataError
from stillroom.files import whole_file

FORMAT = "stillroom-samples/1"
SPLITS = ("train", "val", "test")


class Sample:
    """One sample. Each modality has a frozen dataclass of its own, with these fields and more.

    Attributes:
        key: its name, unique in the data set (`applauding_001`); positions are never used to name a sample.
        path: its file, relative to the table's root, with forward slashes.
        split: `train`, `val` or `test`.
        label: class index in [0, C).
        sha256: digest of the file's bytes, hexadecimal.
        group: samples of one group are never divided between two folds (`data.groups`); empty: it has none.
    """

    key: str
    path: str
    split: str
    label: int
    sha256: str
    group: str = ""


# (the JSON of a row, how many classes there are) -> the row; raises ValueError where it is not sound
Read = Callable[[dict[str, Any], int], Sample]


@dataclass(frozen=True)
class Samples:
    """A data set as rows sorted by key, with its class names in label order and the root of its paths.

    Attributes:
        modality: what kind of data it is, by name.
        fold: int [N], of each row, where samples may only be mixed with others of their fold; None: with any.
    """

    dataset: str
    classes: tuple[str, ...]
    rows: tuple[Any, ...]
    root: Path
    modality: str = "images"
    fold: np.ndarray | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=lambda row: row.key)))

    def __len__(self) -> int:
        return len(self.rows)

    def in_splits(self, *splits: str) -> "Samples":
        """The rows of these splits only."""
        return replace(self, rows=tuple(row for row in self.rows if row.split in splits), fold=None)

    def at(self, rows: Iterable[int]) -> "Samples":
        """Some rows only, by their number."""
        return replace(self, rows=tuple(self.rows[row] for row in rows), fold=None)

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
        index = bisect_left(self.rows, key, key=lambda row: row.key)
        if index == len(self.rows) or self.rows[index].key != key:
            raise KeyError(key)
        return index

    def labels(self) -> list[int]:
        """The class index of each row."""
        return [row.label for row in self.rows]

    def file(self, row: Sample) -> Path:
        """Where a row's file lies."""
        return self.root / row.path

    def digests(self) -> dict[str, str]:
        """Digests that a cache must agree with: `keys`, the files' bytes under the name of their modality
        (`images`), `labels`, `classes`.
        """
        return {
            "keys": _digest(row.key for row in self.rows),
            self.modality: _digest(f"{row.key} {row.sha256}" for row in self.rows),
            "labels": _digest(f"{row.key} {row.label}" for row in self.rows),
            "classes": _digest(self.classes),
        }

    def save(self, folder: Path) -> None:
        """Write `samples.json` into `folder`, whole or not at all.

        A root inside `folder` or the project is kept as a relative path, any other is left out: the same data
        gives the same file on every machine, and `data.path` says where it lies on this one.
        """
        here, root = Path(os.path.abspath(folder)), Path(os.path.abspath(self.root))
        inside = root.is_relative_to(here)
        start = here if inside else Path.cwd()
        table = {
            "format": FORMAT,
            **({} if self.modality == "images" else {"modality": self.modality}),  # it came later
            "dataset": self.dataset,
            "root": root.relative_to(start).as_posix() if root.is_relative_to(start) else None,
            "root_is": "relative to this file" if inside else "relative to the project, or data.path",
            "classes": list(self.classes),
            "samples": [_entry(row) for row in self.rows],
        }
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / "samples.json", durable=False) as stream:
            stream.write(f"{json.dumps(table, indent=0)}\n".encode())

    @classmethod
    def load(cls, folder: Path, reads: Callable[[str], Read], root: Path | None = None) -> "Samples":
        """Read the table that `prepare` wrote.

        Args:
            folder: the folder that holds `samples.json`.
            reads: gives, for the name of a modality, what reads its rows.
            root: where the files lie on this machine, where they are no part of `folder`.

        Raises:
            DataError: there is no table, or it is not one that this version reads.
            AccessError: this user may not read it.
        """
        file = folder / "samples.json"
        try:
            table = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(
                f"{file} is not there", fix=f"run `stillroom prepare`, or fetch it (`dvc pull {folder}`)"
            ) from None
        except PermissionError:
            raise AccessError(file) from None
        except (OSError, RecursionError, ValueError) as error:
            raise DataError(f"{file} cannot be read", str(error), "run `stillroom prepare` again") from None
        try:
            if table["format"] != FORMAT:
                raise DataError(
                    f"{file} has format {table['format']!r}, expected {FORMAT!r}",
                    fix="run `stillroom prepare`",
                )
            classes = _classes(table["classes"])
            modality = table.get("modality", "images")
            read = reads(modality)
            rows = tuple(read(entry, len(classes)) for entry in table["samples"])
            if len({row.key for row in rows}) < len(rows):
                raise ValueError("a key is there twice")
            inside = table["root_is"] == "relative to this file"
            stored = None if table["root"] is None else _contained(table["root"])
            base = folder / (stored or "") if inside else root or stored
            if base is None:
                raise DataError(
                    f"{file} does not say where its {modality} lie", fix="set data.path to their folder"
                )
            return cls(str(table["dataset"]), classes, rows, Path(base), modality)
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise DataError(
                f"{file} is damaged", f"{type(error).__name__}: {error}", "run `stillroom prepare` again"
            ) from None


def _entry(row: Any) -> dict[str, Any]:
    """A row as JSON; the key `group` came later, and most have none."""
    entry = asdict(row)
    return entry if row.group else {name: value for name, value in entry.items() if name != "group"}


def _contained(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
        raise ValueError(f"the path {path!r} leaves its folder")
    return path


def _classes(names: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError("the classes are not distinct names")
    return tuple(names)


def checked(entry: dict[str, Any], classes: int) -> dict[str, Any]:
    """What all samples have, of the JSON of a row.

    Raises:
        KeyError, TypeError, ValueError: it is not one that `prepare` writes.
    """
    row = {name: entry[name] for name in ("key", "path", "split", "label", "sha256")}
    label, digest = row["label"], row["sha256"]
    sound = (
        *(isinstance(row[name], str) for name in ("key", "path", "sha256")),
        row["split"] in SPLITS,
        type(label) is int and 0 <= label < classes,
        isinstance(entry.get("group", ""), str),
    )
    if not all(sound) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise unsound(row["key"])
    grouped = {"group": entry["group"]} if entry.get("group") else {}  # a modality may know of none
    return row | {"path": _contained(row["path"])} | grouped


def unsound(key: Any) -> ValueError:
    """What is raised of a row that `prepare` does not write."""
    return ValueError(f"the sample {key!r:.80} is not one that `prepare` writes")


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

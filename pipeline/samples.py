"""The samples table: what `prepare` writes and every later stage reads: one row a sample."""

import hashlib
import json
import os
import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stillroom.errors import AccessError, DataError

FORMAT = "stillroom-samples/1"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        key: its name, unique in the data set (`applauding_001`); positions are never used to name a sample.
        path: its file, relative to the table's root, with forward slashes.
        split: `train`, `val` or `test`.
        label: class index in [0, C).
        box: the annotated person, (xmin, ymin, xmax, ymax) in pixels of the image, or None.
        size: (width, height) in pixels, EXIF orientation applied.
        sha256: digest of the file's bytes, hexadecimal.
    """

    key: str
    path: str
    split: str
    label: int
    box: tuple[int, int, int, int] | None
    size: tuple[int, int]
    sha256: str


@dataclass(frozen=True)
class Samples:
    """A data set as rows sorted by key, with its class names in label order and the root of its paths."""

    dataset: str
    classes: tuple[str, ...]
    rows: tuple[Sample, ...]
    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=lambda row: row.key)))

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, *splits: str) -> "Samples":
        """The rows of these splits only."""
        return replace(self, rows=tuple(row for row in self.rows if row.split in splits))

    def place(self, key: str) -> int:
        """The number of a key's row.

        Raises:
            KeyError: there is no such key.
        """
        found = bisect_left(self.rows, key, key=lambda row: row.key)
        if found == len(self.rows) or self.rows[found].key != key:
            raise KeyError(key)
        return found

    def labels(self) -> list[int]:
        """The class index of each row."""
        return [row.label for row in self.rows]

    def file(self, row: Sample) -> Path:
        """Where a row's file lies."""
        return self.root / row.path

    def digests(self) -> dict[str, str]:
        """Digests that a cache must agree with: `keys`, `images` (their bytes), `labels`, `classes`."""
        return {
            "keys": _digest(row.key for row in self.rows),
            "images": _digest(f"{row.key} {row.sha256}" for row in self.rows),
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
            "dataset": self.dataset,
            "root": root.relative_to(start).as_posix() if root.is_relative_to(start) else None,
            "root_is": "relative to this file" if inside else "relative to the project, or data.path",
            "classes": list(self.classes),
            "samples": [asdict(row) for row in self.rows],
        }
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / "samples.json.tmp"
        temporary.write_text(json.dumps(table, indent=0) + "\n", encoding="utf-8")
        temporary.replace(folder / "samples.json")

    @classmethod
    def load(cls, folder: Path, root: Path | None = None) -> "Samples":
        """Read the table that `prepare` wrote.

        Args:
            folder: the folder that holds `samples.json`.
            root: where the images lie on this machine, where they are no part of `folder`.

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
            rows = tuple(_row(entry, len(classes)) for entry in table["samples"])
            if len({row.key for row in rows}) < len(rows):
                raise ValueError("a key is there twice")
            inside = table["root_is"] == "relative to this file"
            stored = None if table["root"] is None else _contained(table["root"])
            found = folder / (stored or "") if inside else root or stored
            if found is None:
                raise DataError(
                    f"{file} does not say where its images lie", fix="set data.path to their folder"
                )
            return cls(str(table["dataset"]), classes, rows, Path(found))
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise DataError(
                f"{file} is damaged", f"{type(error).__name__}: {error}", "run `stillroom prepare` again"
            ) from None


def _contained(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"the path {path!r} leaves its folder")
    return path


def _classes(names: list) -> tuple[str, ...]:
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError("the classes are not distinct names")
    return tuple(names)


def _row(entry: dict, classes: int) -> Sample:
    key, path, split, label, box = (entry[name] for name in ("key", "path", "split", "label", "box"))
    (width, height), digest = entry["size"], entry["sha256"]
    sound = (
        *(isinstance(text, str) for text in (key, path, digest)),
        split in SPLITS,
        type(label) is int and 0 <= label < classes,
        type(width) is int and type(height) is int and 0 < width < 2**31 and 0 < height < 2**31,
        box is None or (len(box) == 4 and all(type(edge) is int for edge in box)),
        bool(re.fullmatch("[0-9a-f]{64}", digest)),
    )
    if not all(sound):
        raise ValueError(f"the sample {key!r:.80} is not one that `prepare` writes")
    return Sample(key, _contained(path), split, label, tuple(box) if box else None, (width, height), digest)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()

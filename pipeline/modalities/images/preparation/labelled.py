"""Tables that say of image files which class and split they are of: CSV, JSON Lines or Parquet.

They are read line by line; what cannot be used is named with its line, all of a kind at once.
"""

import csv
import difflib
import itertools
import json
import os
import posixpath
import re
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.errors import AccessError, DataError, ParamsError, listing
from stillroom.files import read_small, require_regular
from stillroom.modalities.entries import LARGEST_LIST, composed, one_form, plain
from stillroom.modalities.images.decode import SUFFIXES
from stillroom.modalities.images.preparation.scan import Entry
from stillroom.modalities.parquet_files import open_parquet, require_short
from stillroom.samples import UNLABELLED

# The usual names of columns, in small letters, by what they say
USUAL = {
    "file": ("file_name", "path", "file", "filename", "filepath", "file_path", "image_path"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split",),
    "group": ("group",),
    "box": ("box", "bbox"),
}
KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
LONGEST = 2**20  # bytes of a line
FIRST = 1000  # lines of a .jsonl that are asked which keys there are
Meaning = Callable[[str], str | None]  # the split that a word means; None: none
NUMBER = re.compile(r"\d{1,9}(\.0+)?")  # a class as a number; pandas writes 3.0 where some lines have none
# What reading a damaged table raises, beside Arrow's own: dates that Python does not know are OverflowErrors
UNREADABLE = (OSError, ValueError, RecursionError, OverflowError, MemoryError)
MOST_FAULTS = 1000  # that a message may name


@dataclass(frozen=True, slots=True)
class Line:
    """What a line says, as it is written there.

    Attributes:
        number: of the line, or of the row of a Parquet file, from 1.
        file, label, split, group, box: None: nothing, or there is no such column.
    """

    number: int
    file: Any
    label: Any
    split: Any
    group: Any
    box: Any


class Table:
    """A file of lines.

    Args:
        file: of one of `KINDS`.
        columns: which column says what (a key of `USUAL`), where it has no usual name.
        key: what names the file in the parameters; empty: it was found.

    Raises:
        ParamsError: `columns` says of something else.
        DataError: it cannot be read, or has no column of files, or two that might be it.
        AccessError: this user may not read it.
    """

    def __init__(self, file: Path, columns: dict[str, str], key: str = "") -> None:
        self.file = file
        self._called = f"{file}, which {key} names," if key else str(file)
        odd = [role for role in columns if role not in USUAL]
        if odd:
            raise ParamsError(
                f"data.columns.{odd[0]}: a table has no such column",
                fix=f"it may say where to find {', '.join(USUAL)}",
            )
        if file.suffix.lower() not in KINDS:
            raise DataError(
                f"{self._called} is no table", f"expected {', '.join(KINDS)}", "save it as one of these"
            )
        with self._read():
            require_regular(file)
            self.header = self._header()
        self.columns = self._columns(columns)

    def has(self, role: str) -> bool:
        """Whether a column says this."""
        return role in self.columns

    def lines(self) -> Iterator[Line]:
        """Its lines.

        Raises:
            DataError: it cannot be read to its end.
        """
        with self._read():
            for number, values in self._values():
                said = {role: values.get(name) for role, name in self.columns.items()}
                yield Line(number, *(said.get(role) for role in USUAL))

    def _header(self) -> list[str]:
        kind = self.file.suffix.lower()
        if kind == ".parquet":
            from pyarrow import parquet

            return list(parquet.read_schema(self.file).names)
        with closing(self._text()) as text:
            if kind == ".jsonl":
                some = (_object(*one) for one in itertools.islice(text, FIRST) if one[1].strip())
                return list(dict.fromkeys(key for one in some for key in one))
            reader = csv.reader((line for _, line in text), delimiter=self._delimiter, strict=True)
            header = next(reader, [])
        twice = sorted({name for name in header if header.count(name) > 1 and name})
        if twice:
            raise DataError(f"{self._called} has the column {twice[0]} twice", fix="take one of them out")
        return header

    def _columns(self, columns: dict[str, str]) -> dict[str, str]:
        """The column of each role that there is."""
        found = {}
        for role, usual in USUAL.items():
            if role in columns:
                if columns[role] not in self.header:
                    near = difflib.get_close_matches(columns[role], self.header, n=1)
                    raise DataError(
                        f"{self._called} has no column {columns[role]!r}, which data.columns.{role} names",
                        f"it has {', '.join(self.header) or 'none'}",
                        f"did you mean {near[0]}?" if near else "name one of these",
                    )
                found[role] = columns[role]
                continue
            here = [name for name in self.header if name.strip().lower() in usual]
            if len(here) > 1:
                raise DataError(
                    f"{self._called} has the columns {' and '.join(here)}, and each may be the {role}",
                    fix=f"say which: --set 'data.columns={{{role}: {here[0]}}}'",
                )
            if here:
                found[role] = here[0]
        return found

    def lacks(self, role: str) -> DataError:
        """What to say where there is no such column."""
        usual = USUAL[role]
        others = [name for name in self.header if name not in self.columns.values()]
        near = [
            name for name in others if difflib.get_close_matches(name.strip().lower(), usual, 1, cutoff=0.75)
        ]
        hint = f"{near[0]} may be meant" if near else ""
        if len(self.header) == 1 and re.search(r"[;\t]", self.header[0]):
            hint = "is it separated by commas? (.tsv: by tabs)"
        return DataError(
            f"{self._called} has no column for the {role}: it has {', '.join(self.header) or 'none'}",
            hint or f"expected {' or '.join(usual)}",
            "rename it, or say which it is: --set "
            f"'data.columns={{{role}: {(near or others or ['NAME'])[0]}}}'",
        )

    @property
    def _delimiter(self) -> str:
        return "\t" if self.file.suffix.lower() == ".tsv" else ","

    def _values(self) -> Iterator[tuple[int, dict[str, Any]]]:
        kind = self.file.suffix.lower()
        if kind == ".parquet":
            yield from self._rows()
            return
        with closing(self._text()) as text:
            if kind == ".jsonl":
                yield from ((number, _object(number, line)) for number, line in text if line.strip())
                return
            reader = csv.DictReader((line for _, line in text), delimiter=self._delimiter, strict=True)
            for row in reader:
                if None in row or None in row.values():
                    much = "more" if None in row else "fewer"
                    raise ValueError(f"line {reader.line_num} has {much} values than the first")
                yield reader.line_num, row

    def _text(self) -> Generator[tuple[int, str], None, None]:
        return text_lines(self.file)

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        wanted = list(self.columns.values())
        with open_parquet(self.file, columns=wanted) as opened:
            names = class_names(opened.schema_arrow, self.columns.get("label", ""))
            number = 0
            for batch in opened.iter_batches(4096, columns=wanted):
                require_short(batch)
                for row in batch.to_pylist():
                    number += 1
                    if names is not None and type(row[self.columns["label"]]) is int:
                        row[self.columns["label"]] = _named(row[self.columns["label"]], names, number)
                    yield number, row

    def _read(self) -> "_Reading":
        return _Reading(self)


def text_lines(file: Path) -> Generator[tuple[int, str], None, None]:
    """The lines of a file with their numbers from 1.

    Raises:
        ValueError: one is longer than `LONGEST`, or no UTF-8; or it is no regular file.
        OSError: it cannot be read.
    """
    require_regular(file)
    with file.open("rb") as stream:
        for number in itertools.count(1):
            line = stream.readline(LONGEST + 1)
            if not line:
                return
            if len(line) > LONGEST:
                raise ValueError(f"line {number} has more than {LONGEST:,} bytes")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"line {number} is no UTF-8: byte {line[error.start]:#04x} at {error.start + 1}"
                ) from None


class _Reading:
    """What reading a table raises, for people."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        import pyarrow as pa

        called, file = self._table._called, self._table.file
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{called} is not there", fix="set it to where it is") from None
        if isinstance(error, PermissionError):
            raise AccessError(file) from None
        if isinstance(error, (*UNREADABLE, csv.Error, pa.ArrowException)):
            fix = "save it again" if file.suffix.lower() == ".parquet" else "mend it, and save it in UTF-8"
            why = " ".join(str(error).split())[:300] or type(error).__name__
            raise DataError(f"{called} cannot be read", why, fix) from None


def _object(number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"line {number} is no JSON object")
    return found


def _named(number: int, names: Sequence[str], row: int) -> str | None:
    """A class of a Parquet file that names its classes; -1 is none."""
    if number == -1:
        return None
    if not 0 <= number < len(names):
        raise ValueError(f"row {row} is of class {number}, and the file names {len(names)}")
    return names[number]


def class_names(schema: Any, column: str) -> tuple[str, ...] | None:
    """The names of the classes that a column's numbers stand for, as Hugging Face's `datasets` writes them
    into a schema of Arrow; None: it says nothing.

    Raises:
        ValueError: they are no distinct names.
    """
    feature = features(schema).get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    if names is None:
        return None
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) and name and plain(name) for name in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f"the classes of the column {column} are no distinct names")
    return tuple(names)


def features(schema: Any) -> dict[str, Any]:
    """What Hugging Face's `datasets` says of the columns of a schema of Arrow; empty: nothing."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def class_list(file: Path) -> tuple[str, ...]:
    """The names of classes in label order, a name a line.

    Raises:
        DataError: it cannot be read, or names one twice, or fewer than two.
    """
    called = f"{file}, which data.classes names,"
    try:
        text = read_small(file, LARGEST_LIST).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{called} is not there", fix="set data.classes to where it is") from None
    except PermissionError:
        raise AccessError(file) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{called} cannot be read", str(error), "give a text file in UTF-8") from None
    names = [line for line in text.splitlines() if line.strip()]
    twice = sorted(name for name, count in Counter(map(composed, names)).items() if count > 1)
    if twice or len(names) < 2 or not all(map(plain, names)):
        why = f"it names {twice[0]!a} twice" if twice else f"it has {len(names)} names in plain text"
        raise DataError(f"{called} does not name the classes", why, "give it a name a line, in label order")
    return tuple(names)


def order_of(found: Sequence[Any], given: tuple[str, ...] | None) -> tuple[tuple[str, ...], list[int]]:
    """The classes in label order, and the label of each class as it was found.

    Numbers keep their order, with a gap where no image is of one; names are sorted, in one form of Unicode.

    Args:
        found: numbers or names, each once, as `written` gives them.
        given: the names of the classes; None: those that were found.

    Returns:
        the classes, and of each of `found` its label; -1: it is none of `given`.
    """
    numbers = all(isinstance(one, int) for one in found)
    if given is not None:
        places = {composed(name): place for place, name in enumerate(given)}
        labels = []
        for one in found:
            place = places.get(composed(str(one)), -1)
            if place < 0 and isinstance(one, int) and one < len(given):
                place = one
            labels.append(place)
        return given, labels
    if numbers:
        order = sorted(found)
        by_number = {one: place for place, one in enumerate(order)}
        return tuple(map(str, order)), [by_number[one] for one in found]
    forms = one_form(str(one) for one in found)
    classes = tuple(sorted(forms.values()))
    by_name = {name: place for place, name in enumerate(classes)}
    return classes, [by_name[forms[composed(str(one))]] for one in found]


def written(label: Any) -> int | str | None:
    """A class as a number or a name; None: the line has none.

    Raises:
        ValueError: it is neither.
    """
    if label is None or label == -1 or (isinstance(label, str) and label.strip() in ("", "-1")):
        return None
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float):
        if label != label:  # as pandas has what is not there
            return None
        if not label.is_integer():
            raise ValueError(f"the class {label!r} is no whole number")
        label = int(label)
    if isinstance(label, int):
        if not 0 <= label < 10**9:
            raise ValueError(f"the class {label} is no number from 0 on")
        return label
    if not isinstance(label, str):
        raise ValueError(f"the class is {type(label).__name__}, expected a number or a name")
    if not plain(label):
        raise ValueError(f"a class with control characters: {label!a:.80}")
    return label


@dataclass
class Found:
    """The images that tables name.

    Attributes:
        entries: one a line.
        classes: names, in label order.
        groups: of each entry; empty where it has none.
        lines: of each entry, TABLE:NUMBER.
    """

    entries: list[Entry]
    classes: tuple[str, ...]
    groups: list[str]
    lines: Callable[[int], str]


@dataclass
class Gathered:
    """Puts the lines of tables together.

    Args:
        root: the folder that the paths of entries start from.
        meaning: the split that a word means; None: none.
        known: words that mean a split, for messages.
        classes: see `order_of`.
        split_of: the split of each path, in composed form, where another file says it; None: none does.
    """

    root: Path
    meaning: Meaning
    known: str
    classes: tuple[str, ...] | None = None
    split_of: dict[str, str] | None = None
    _entries: list[Entry] = field(default_factory=list)
    _groups: list[str] = field(default_factory=list)
    _codes: dict[int | str, int] = field(default_factory=dict)
    _numbers: array = field(default_factory=lambda: array("q"))  # type: ignore[type-arg]
    _tables: list[tuple[Table, int]] = field(default_factory=list)  # with the number of its first entry
    _inside: dict[str, bool] = field(default_factory=dict)

    def add(self, table: Table, folder: str, split: str | None) -> None:
        """Take the lines of a table.

        Args:
            folder: from `root`, that its paths start from; empty: `root` itself.
            split: of all its lines; None: a column says it, or the first folder of a path does.

        Raises:
            DataError: lines cannot be used: all are named, of a kind at once; or a column is lacking.
        """
        for role in ("file",) if split == UNLABELLED else ("file", "label"):
            if not table.has(role):
                raise table.lacks(role)
        self._tables.append((table, len(self._entries)))
        faults: list[str] = []
        words, count = False, 0
        for line in table.lines():
            try:
                path = self._path(line.file, folder)
                word = line.split.strip() if isinstance(line.split, str) else line.split
                if word is not None and not isinstance(word, str):
                    raise ValueError(f"the split {word!r:.40} is no word")
                label = written(line.label)
                means = self._unlabelled(path, word, split, table, label) or self._split(
                    path, word, split, table
                )
                box = _box(line.box)
                group = "" if line.group is None or line.group != line.group else str(line.group).strip()
                if not plain(group):
                    raise ValueError(f"the group {group!a:.80} has control characters")
            except ValueError as error:
                words = words or str(error).startswith("unknown split")
                count += 1
                if len(faults) < MOST_FAULTS:
                    faults.append(f"line {line.number}: {error}")
                continue
            code = -1
            if means != UNLABELLED and label is not None:
                code = self._codes.setdefault(label, len(self._codes))
            self._entries.append(Entry(key_of(path), path, means, code, box))
            self._groups.append(group)
            self._numbers.append(line.number)
        if faults:
            raise DataError(
                f"{table.file} has {count:,} lines that cannot be used:\n{listing(faults, count=count)}",
                fix="mend these lines, or say what the words mean: "
                "--set 'data.splits={train: train, held_out: test}'"
                if words
                else "mend these lines",
            )

    def found(self) -> Found:
        """All of them.

        Raises:
            DataError: a file is named twice, or with two labels; or a class is none of those that are given.
        """
        self._require_once()
        found: list[int | str] = list(self._codes)
        as_numbers = [int(float(one)) if NUMBER.fullmatch(str(one)) else one for one in found]
        texts = [one for one in as_numbers if isinstance(one, str)]
        if texts and self.classes is None and any(isinstance(one, int) for one in found):
            raise DataError(
                f"{self._tables[0][0].file}: the class of some lines is a number, and of others a name "
                f"({texts[0]!r:.80})",
                fix="give all of them names, or numbers; or name the classes in data.classes",
            )
        if not texts or self.classes is not None:
            found = as_numbers
        distinct = list(dict.fromkeys(found))
        classes, labels = order_of(distinct, self.classes)
        label_of = dict(zip(distinct, labels, strict=True))
        table = np.array([label_of[one] for one in found] or [0], np.int64)
        unknown = [code for code, label in enumerate(table.tolist()) if label < 0] if found else []
        if unknown:
            names = list(self._codes)
            lines = [
                f"{self.line(place)}: {names[entry.label]!r}"
                for place, entry in enumerate(self._entries)
                if entry.label in unknown
            ]
            raise DataError(
                f"{len(lines):,} {'line names a class' if len(lines) == 1 else 'lines name classes'} "
                f"that data.classes has not:\n{listing(lines)}",
                f"it has {len(classes):,}: {', '.join(classes[:5])}{', ...' * (len(classes) > 5)}"
                f"; numbers are from 0 to {len(classes) - 1}",
                "mend these lines, or add the classes",
            )
        for place, entry in enumerate(self._entries):
            if entry.label >= 0:
                self._entries[place] = replace(entry, label=int(table[entry.label]))
        return Found(self._entries, classes, self._groups, self.line)

    def line(self, place: int) -> str:
        """Where an entry stands: TABLE:NUMBER."""
        table = next(table for table, first in reversed(self._tables) if first <= place)
        return f"{table.file.name} line {self._numbers[place]}"

    def _path(self, file: Any, folder: str) -> str:
        """A path from `root`.

        Raises:
            ValueError: it is none, or leaves the folder that it starts from.
        """
        if not isinstance(file, str) or not file.strip():
            raise ValueError("it names no file")
        if "\\" in file:
            raise ValueError(f"{file!r:.200} has \\, expected / between folders")
        if not plain(file):
            raise ValueError(f"{file!a:.200} has control characters, or is no text")
        if file.startswith(("/", "~")) or re.match("[A-Za-z][A-Za-z0-9+.-]*:", file):
            raise ValueError(f"{file!r:.200} is no path from the folder of the images")
        if ".." in file.split("/"):
            raise ValueError(f"{file!r:.200} leaves its folder")
        path = posixpath.normpath(posixpath.join(folder, file))
        within = posixpath.dirname(path)
        if within not in self._inside:
            real = os.path.realpath(self.root)
            self._inside[within] = Path(os.path.realpath(self.root / within)).is_relative_to(real)
        if not self._inside[within]:
            raise ValueError(f"{file!r:.200} leads out of {self.root} by a link to a folder")
        return path

    def _unlabelled(
        self, path: str, word: str | None, split: str | None, table: Table, label: int | str | None
    ) -> str | None:
        """`unlabelled`, where a line has no label, or its split says so; None: it is like all others.

        Raises:
            ValueError: it is to be measured on, and has no label; or its split's word means none.
        """
        if word and self.meaning(word) == UNLABELLED:
            return UNLABELLED
        if label is not None:
            return UNLABELLED if split == UNLABELLED else None
        if self.split_of is not None:
            means = self.split_of.get(composed(path))
        elif word:
            means = self._split(path, word, split, table)
        else:
            within = path.split("/")[0] if "/" in path and not table.has("split") else ""
            means = split or (self.meaning(within) if within else None)
        if means in ("val", "test"):
            raise ValueError(f"{path}: it has no label, and is of the split {means}")
        return UNLABELLED

    def _split(self, path: str, word: str | None, split: str | None, table: Table) -> str:
        """The split of a line.

        Raises:
            ValueError: nothing says it, or two say something else.
        """
        if self.split_of is not None:
            if composed(path) not in self.split_of:
                raise ValueError(f"{path}: data.split_file does not name it")
            return self.split_of[composed(path)]
        if word:
            means = self.meaning(word)
            if means is None:
                raise ValueError(f"unknown split {word!r:.80}, expected {self.known}")
            if split not in (None, means):
                raise ValueError(f"{path}: its split is {word}, and it lies in that of {split}")
            return means
        if split is not None:
            return split
        within = path.split("/")[0] if "/" in path else ""
        means = self.meaning(within) if within and not table.has("split") else None
        if means is None:
            raise ValueError(f"{path}: nothing says its split")
        return means

    def _require_once(self) -> None:
        """Refuse a file that is named twice."""
        first: dict[str, int] = {}
        labels, splits = [], []
        names = list(self._codes)

        def called(entry: Entry) -> int | str:
            return names[entry.label] if entry.label >= 0 else UNLABELLED

        for place, entry in enumerate(self._entries):
            before = first.setdefault(composed(entry.path), place)
            if before == place:
                continue
            other = self._entries[before]
            both = f"{self.line(before)} and {self.line(place)}: {entry.path}"
            if other.label != entry.label:
                labels.append(f"{both} ({called(other)} and {called(entry)})")
            else:
                splits.append(f"{both} ({other.split} and {entry.split})")
        for what, lines in (("with two labels", labels), ("twice", splits)):
            if lines:
                raise DataError(
                    f"{len(lines):,} {'file is' if len(lines) == 1 else 'files are'} named {what}:\n"
                    f"{listing(lines)}",
                    "a file is one sample, of one class and one split",
                    "take one line of each out",
                )


def require_there(found: Found, entries: list[Entry], root: Path) -> list[Entry]:
    """The entries with their paths as the file system writes them (accents are written in two ways).

    Args:
        found: what tables name.
        entries: those of it that are not left out.

    Raises:
        DataError: a file is not there; all are named, with their lines.
    """
    listed: dict[str, dict[str, str]] = {}
    missing, mended = set(), {}
    for place, entry in enumerate(entries):
        if os.path.isfile(root / entry.path):
            continue
        folder, _, name = entry.path.rpartition("/")
        if folder not in listed:
            try:
                listed[folder] = {composed(one): one for one in os.listdir(root / folder)}
            except OSError:
                listed[folder] = {}
        there = listed[folder].get(composed(name))
        if there is not None and os.path.isfile(root / folder / there):
            path = posixpath.join(folder, there)
            mended[place] = replace(entry, path=path, key=key_of(path))
        else:
            missing.add(entry.path)
    if missing:
        lines = [
            f"{found.lines(place)}: {entry.path}"
            for place, entry in enumerate(found.entries)
            if entry.path in missing
        ]
        raise DataError(
            f"{len(lines):,} {'image is' if len(lines) == 1 else 'images are'} not found under {root}:\n"
            f"{listing(lines)}",
            "nothing is there, or a link that leads nowhere, or no regular file",
            "set data.path to the folder that the paths start from, take the lines out, or write the paths "
            "into a file and set data.skip to it",
        )
    return [mended.get(place, entry) for place, entry in enumerate(entries)]


def _box(box: Any) -> tuple[int, int, int, int] | None:
    """[xmin, ymin, xmax, ymax], as JSON or as numbers.

    Raises:
        ValueError: it is something else.
    """
    if box is None or box == "":
        return None
    try:
        values = json.loads(box) if isinstance(box, str) else box
        left, top, right, bottom = (int(one) for one in values)
        sound = all(abs(float(one)) < 2**31 and float(one) == int(one) for one in values)
    except (TypeError, ValueError, OverflowError, RecursionError):
        sound = False
    if not sound or left >= right or top >= bottom:
        raise ValueError(f"the box {box!r:.80} is not [xmin, ymin, xmax, ymax]")
    return left, top, right, bottom


def key_of(path: str) -> str:
    """The key of an image by its path: without the suffix of a format that is read."""
    suffix = Path(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in SUFFIXES else path


def groups_of(found: Found, kept: Iterable[Entry]) -> list[str]:
    """The groups of those entries that are kept, in their order."""
    by_path = {
        composed(entry.path): group for entry, group in zip(found.entries, found.groups, strict=True) if group
    }
    return [by_path.get(composed(entry.path), "") for entry in kept]

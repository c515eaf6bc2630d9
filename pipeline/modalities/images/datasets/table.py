"""Images that a table lists, wherever they lie below one folder: their files, classes and splits.

    data: {name: table, table: labels.csv}                                   paths from the table's folder
    data: {name: table, table: {train: train.csv, test: test.csv}, path: photos}     paths from photos

CSV, TSV, JSON Lines or Parquet; `preparation.labelled` says which columns it has.
"""

import csv
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from stillroom.errors import AccessError, DataError, ParamsError, listing
from stillroom.modalities.entries import (
    MEANINGS,
    WITHOUT_LABELS,
    composed,
    leave_out,
    require_every_class,
    require_two_classes,
)
from stillroom.modalities.images import settings
from stillroom.modalities.images.preparation import labelled
from stillroom.modalities.images.preparation.scan import Account, scan
from stillroom.modalities.images.settings import MISSING
from stillroom.params import Folder
from stillroom.progress import Progress
from stillroom.samples import Samples

TAKES = ("skip", "split_file", "splits", "classes", "columns", "allow_missing_classes")  # of data's keys


class Data(settings.Data):
    """`data` of a table."""

    # the table, or one of each split: {train: FILE, test: FILE}
    table: Folder | dict[str, Folder] | None = None

    def tables(self) -> dict[str, str]:
        """The tables, by the word for the split of all their lines; one of several splits has none."""
        if self.table is None:
            return {}
        return {"": self.table} if isinstance(self.table, str) else dict(self.table)

    def files(self) -> dict[str, str | None]:
        """As of every data set, and the tables."""
        own = {f"data.table{'.' * bool(word)}{word}": file for word, file in self.tables().items()}
        return super().files() | own

    def place(self) -> str | None:
        """The folder that paths start from."""
        first = next(iter(self.tables().values()), None)
        return self.path or (os.path.dirname(first) or "." if first else None)


def load(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    """The images that the table lists; see `datasets.load`.

    Raises:
        ParamsError: there is no `data.table`, or a word means no split.
        DataError: a table cannot be used, or files are missing or unreadable: all of a kind are named.
    """
    root, found = gathered(data)
    entries = leave_out(found.entries, Path(data.skip) if data.skip else None, root, account, "CLASS/IMAGE")
    groups = labelled.groups_of(found, entries)
    if data.groups and any(groups):
        raise ParamsError(
            "data.groups names groups, and a column of the table does too",
            fix="remove data.groups, or take the column out",
        )
    entries = labelled.require_there(found, entries, root)
    require_two_classes(found.classes, next(iter(data.tables().values())))
    require_every_class(entries, found.classes, MISSING, allowed=data.allow_missing_classes)
    rows = scan(entries, root, progress, account)
    return Samples("table", found.classes, rows.with_texts("group", groups) if any(groups) else rows, root)


def listed(data: Data) -> Iterator[str]:
    """The files that the table lists, as paths that can be opened: what `--look` looks at."""
    root, found = gathered(data)
    return (os.path.join(root, entry.path) for entry in found.entries)


def gathered(data: Data) -> tuple[Path, labelled.Found]:
    """The folder that paths start from, and what the table lists; no image is looked at.

    Raises:
        ParamsError, DataError: see `load`.
    """
    tables, place = data.tables(), data.place()
    if not tables or place is None:
        raise ParamsError(
            "data.name = 'table' needs data.table, the file that lists the images",
            fix="for example --set data.table=labels.csv",
        )
    root = Path(place)
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder", fix="set data.path to the folder that the paths start from"
        )
    splits = dict(data.splits)

    def meaning(word: str) -> str | None:
        return splits.get(word) if splits else (MEANINGS | WITHOUT_LABELS).get(word.casefold())

    known = ", ".join(splits or ("train", "val", "test"))
    given = labelled.class_list(Path(data.classes)) if data.classes else None
    split_of = split_list(Path(data.split_file), meaning, known) if data.split_file else None
    found = labelled.Gathered(root, meaning, known, given, split_of)
    means = {word: meaning(word) if word else None for word in tables}
    unknown = [word for word in means if word and means[word] is None]
    twice = [word for word in means if word and list(means.values()).count(means[word]) > 1]
    if unknown or len(twice) > 1:
        what = f"{unknown[0]!r} means no split" if unknown else f"{' and '.join(twice)} mean one split"
        raise ParamsError(f"data.table: {what}", fix=f"name each table by its split: {known}")
    for word, file in tables.items():
        key = f"data.table{'.' * bool(word)}{word}"
        found.add(labelled.Table(Path(file), dict(data.columns), key), "", means[word])
    return root, found.found()


def split_list(file: Path, meaning: labelled.Meaning, known: str) -> dict[str, str]:
    """The split of each file that `data.split_file` names, by its path in composed form.

    Raises:
        DataError: it cannot be read, or has lines that cannot be used.
        AccessError: this user may not read it.
    """
    called = f"{file}, which data.split_file names,"
    found: dict[str, str] = {}
    faults = []
    try:
        with closing(labelled.text_lines(file)) as text:
            reader = csv.DictReader((line for _, line in text), strict=True)
            if not {"file", "split"} <= set(reader.fieldnames or []):
                raise DataError(
                    f"{called} has the columns {', '.join(reader.fieldnames or []) or '(none)'}; expected "
                    "file,split",
                    fix="make file,split its first line, with commas between",
                )
            for row in reader:
                path, word = composed(row["file"] or ""), (row["split"] or "").strip()
                split = meaning(word)
                if split is None or found.setdefault(path, split) != split:
                    what = f"unknown split {word!r:.80}, expected {known}" if split is None else "two splits"
                    faults.append(f"line {reader.line_num}: {path}: {what}")
    except FileNotFoundError:
        raise DataError(f"{called} is not there", fix="set data.split_file to where it is") from None
    except PermissionError:
        raise AccessError(file) from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{called} cannot be read", str(error), "save it as CSV in UTF-8") from None
    if faults:
        raise DataError(f"{called} has lines that cannot be used:\n{listing(faults)}", fix="mend these lines")
    return found

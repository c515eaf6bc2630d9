"""Which samples belong together, as a table of the user says it."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from stillroom.errors import AccessError, DataError, listing
from stillroom.modalities.entries import composed
from stillroom.samples import Samples

COLUMNS = ("file", "group")


def grouped(samples: Samples, table: Path | None, skipped: Iterable[str] = ()) -> Samples:
    """The samples with the groups that a table names; those that it does not name have none.

    Args:
        samples: of a data set.
        table: see `groups_of`. None: there is none.
        skipped: files of the data set that are left out; the table may name them.

    Raises:
        DataError, AccessError: see `groups_of`.
    """
    if table is None:
        return samples
    parts = pc.any(pc.is_valid(samples.rows.column("span"))).as_py()  # of files that hold many: their keys
    files = list(samples.keys() if parts else samples.rows.texts("path"))
    groups = groups_of(files, table, samples.root, skipped)
    return replace(samples, rows=samples.rows.with_texts("group", [groups[file] for file in files]))


def groups_of(files: Sequence[str], table: Path, root: Path, skipped: Iterable[str] = ()) -> dict[str, str]:
    """The group of each file, empty where the table names none.

    Args:
        files: of a data set, at least one, as paths from its folder.
        table: CSV, UTF-8, with the columns `file` (a path from the data set's folder) and `group`, and
            perhaps more.
        root: the data set's folder, for the message.
        skipped: files of the data set that are left out; the table may name them.

    Raises:
        DataError: it cannot be read, has no such columns, names a file that is not there, or one twice.
        AccessError: this user may not read it.
    """
    groups: dict[str, str] = {}
    known = {composed(file) for file in files} | {composed(file) for file in skipped}
    unknown, twice = [], []
    for file, group in _lines(table):
        name = composed(file)
        if name not in known:
            unknown.append(file)
        elif name in groups:
            twice.append(file)
        groups[name] = group
    for what, names in (("that are not in the data set", unknown), ("twice", twice)):
        if names:
            raise DataError(
                f"{table} names files {what}:\n{listing(names)}",
                f"a file is a path from {root}, such as {files[0]}",
                "mend these lines",
            )
    return {file: groups.get(composed(file), "") for file in files}


def _lines(table: Path) -> list[tuple[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            names = reader.fieldnames or []
            if not set(COLUMNS) <= set(names):
                raise DataError(
                    f"{table}, which data.groups names, has the columns {', '.join(names) or 'none'}",
                    fix="give it a first line with the columns file and group",
                )
            return [((line["file"] or "").strip(), (line["group"] or "").strip()) for line in reader]
    except FileNotFoundError:
        raise DataError(
            f"{table}, which data.groups names, is not there", fix="set data.groups to where it is"
        ) from None
    except PermissionError:
        raise AccessError(table) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{table}, which data.groups names, cannot be read", str(error), "give a CSV file in UTF-8"
        ) from None

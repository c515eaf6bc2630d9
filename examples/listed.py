"""A data set: the images that a table lists, with the columns file, class and split (train, val or test).
As pipeline/modalities/images/datasets/listed.py it is chosen by `data: {name: listed, path: FOLDER}`.
"""

import csv
from pathlib import Path

from stillroom.errors import DataError
from stillroom.modalities.images import settings
from stillroom.modalities.images.preparation.scan import Account, Entry, scan
from stillroom.progress import Progress
from stillroom.samples import Samples


class Data(settings.Data):
    """`data`, with the keys that this data set adds; without any, this class may be left out."""

    table: str = "list.csv"  # in `path`


def load(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    """The samples, every image opened by `scan`. `folder` is for data sets that draw their own.

    Raises:
        DataError: there is no table; or images are missing or unreadable: all are named.
    """
    root = Path(data.path or ".")
    try:
        with (root / data.table).open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{root / data.table} cannot be read", str(error)) from None
    classes = tuple(sorted({row["class"] for row in rows}))
    entries = [
        Entry(Path(file).with_suffix("").as_posix(), file, row["split"], classes.index(row["class"]))
        for row in rows
        for file in [row["file"]]
    ]
    return Samples("listed", classes, scan(entries, root, progress, account), root)

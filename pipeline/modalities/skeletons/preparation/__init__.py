"""From files of joints (or drawn figures) to the samples table, whatever the data set."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from stillroom.errors import DataError, ParamsError
from stillroom.files import swap
from stillroom.modalities.duplicates import settle
from stillroom.modalities.groups import groups_of
from stillroom.modalities.holdout import hold_out
from stillroom.modalities.skeletons import datasets
from stillroom.modalities.skeletons.preparation.clips import FOLDER, Account, check, write
from stillroom.modalities.skeletons.settings import Data
from stillroom.modalities.summary import NAME, Prepared
from stillroom.progress import Progress
from stillroom.samples import NAME as TABLE
from stillroom.samples import OLD, Samples

MODALITY = "skeletons"


def prepare(data: Data, folder: Path, progress: Progress) -> Prepared:
    """Find, check and read the data set that `data.name` asks for, and set its validation slice aside.

    Args:
        data: the `data` section of the parameters, of the class that `datasets.section` says.
        folder: gets `clips/`, of few files, when all of them are there. The table itself is the caller's
            to write, with `samples.save(folder)`; an older one is removed before its clips are replaced.
        progress: gets the steps of drawing and of reading.

    Raises:
        ParamsError: a key is given that the data set does not take, one is lacking, or the validation split
            is given twice.
        DataError: clips, splits or labels are missing, unreadable or not what they should be.
    """
    account = Account()
    found = datasets.load(data, progress, account)
    if data.groups:
        files = [entry.path for entry in found.entries]
        groups = groups_of(files, Path(data.groups), found.root, account.skipped) if files else {}
        found = replace(found, entries=[replace(entry, group=groups[entry.path]) for entry in found.entries])
    check(found)
    if data.val_fraction and any(entry.split == "val" for entry in found.entries):
        raise ParamsError(
            f"data.val_fraction = {data.val_fraction}, and the data set has a validation split of its own",
            fix="set data.val_fraction to 0",
        )
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{FOLDER}.", dir=folder))
    new, old = staging / "new", staging / "old"
    try:
        new.mkdir()
        rows = write(found, new, progress, account)
        samples = Samples(found.dataset, found.classes, rows, folder / FOLDER, MODALITY)
        samples = hold_out(samples, data.val_fraction, data.seed, "clip")
        samples, duplicates = settle(samples, data.duplicates, found.published, "clip")
        for name in (TABLE, OLD, NAME):  # a table must never stand beside clips that it is not of
            (folder / name).unlink(missing_ok=True)
        swap(new, folder / FOLDER, old, lambda: None)
    except OSError as error:
        raise DataError(
            f"the clips cannot be written to {folder}",
            error.strerror or str(error),
            "free the disk, or make the folder writable",
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Prepared(samples, account, duplicates)

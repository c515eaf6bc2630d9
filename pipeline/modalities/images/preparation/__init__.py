"""From images on disk (or drawn, or downloaded) to the samples table, whatever the data set."""

from pathlib import Path

from stillroom.errors import ParamsError
from stillroom.modalities.duplicates import settle
from stillroom.modalities.few_labels import few_labels, without_unlabelled
from stillroom.modalities.groups import grouped
from stillroom.modalities.holdout import hold_out
from stillroom.modalities.images import datasets
from stillroom.modalities.images.preparation.scan import Account
from stillroom.modalities.images.settings import Data
from stillroom.modalities.remembered import Memory
from stillroom.modalities.summary import Prepared
from stillroom.progress import Progress


def prepare(data: Data, folder: Path, progress: Progress, memory: Memory | None = None) -> Prepared:
    """Find, check and read the data set that `data.name` asks for, set its validation slice aside, and forget
    the labels that `data.labels_per_class` does not leave.

    Args:
        data: the `data` section of the parameters.
        folder: what `prepare` writes; the drawn set goes to `folder/sketch40`, images that
            lie in no files of their own to `folder/images`.
            The table itself is the caller's to write, with `samples.save(folder)`.
        progress: gets the steps of downloads, of drawing and of the scan of the images.
        memory: what earlier runs found; None: nothing.

    Raises:
        ParamsError: `data.name` is `folder` and there is no `data.path`, a key is given that the data set
            does not take, or the validation split is given twice.
        DataError: the images, splits or annotations are missing, unreadable or not what they should be.
    """
    account = Account(memory=memory or Memory(None))
    samples = datasets.load(data, folder, progress, account)
    samples = grouped(samples, Path(data.groups) if data.groups else None, account.skipped)
    if data.val_fraction and len(samples.in_splits("val")):
        raise ParamsError(
            f"data.val_fraction = {data.val_fraction}, and the data set has a validation split of its own",
            fix="set data.val_fraction to 0",
        )
    samples = hold_out(samples, data.val_fraction, data.seed)
    samples = few_labels(samples, data.labels_per_class, data.seed)
    if data.unlabelled == "leave":
        samples = without_unlabelled(samples)
    samples, duplicates = settle(samples, data.duplicates, data.name == "stanford40" and data.official)
    return Prepared(samples, account, duplicates)

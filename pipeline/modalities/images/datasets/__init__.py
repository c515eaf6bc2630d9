"""Data sets: from images on disk (or drawn, or downloaded) to the samples table."""

from dataclasses import dataclass
from pathlib import Path

from stillroom.errors import ParamsError
from stillroom.modalities.images.datasets.duplicates import Duplicates, settle
from stillroom.modalities.images.datasets.scan import Account
from stillroom.modalities.images.settings import Data
from stillroom.progress import Progress
from stillroom.samples import Samples


@dataclass(frozen=True)
class Prepared:
    """The samples table, and what was come across on the way to it."""

    samples: Samples
    account: Account
    duplicates: Duplicates


def prepare(data: Data, folder: Path, progress: Progress) -> Prepared:
    """Find, check and read the data set that `data.name` asks for, and set its validation slice aside.

    Args:
        data: the `data` section of the parameters.
        folder: what `prepare` writes; the drawn set goes to `folder/sketch40`, the others leave it untouched.
            The table itself is the caller's to write, with `samples.save(folder)`.
        progress: told of downloads, drawing and the scan of the images.

    Raises:
        ParamsError: `data.name` is `folder` and there is no `data.path`, a key is given that the data set
            does not take, or the validation split is told twice.
        DataError: the images, splits or annotations are missing, unreadable or not what they should be.
    """
    from stillroom.modalities.images.datasets.validation import hold_out

    account = Account()
    samples = _read(data, folder, progress, account)
    if data.val_fraction and len(samples.in_splits("val")):
        raise ParamsError(
            f"data.val_fraction = {data.val_fraction}, and the data set has a validation split of its own",
            fix="set data.val_fraction to 0",
        )
    samples = hold_out(samples, data.val_fraction, data.seed)
    samples, duplicates = settle(samples, data.duplicates, data.name == "stanford40" and data.official)
    return Prepared(samples, account, duplicates)


def _read(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    _refuse_unused(data)
    # Imported where they are used: `folder` needs no HTTP client, and `stanford40` no drawing.
    if data.name == "sketch40":
        from stillroom.modalities.images.datasets import sketch40, stanford40

        if data.path is not None:
            raise ParamsError(
                f"data.path = {data.path!r}, but data.name = 'sketch40' is drawn and reads no folder",
                fix="remove data.path, or set data.name to stanford40 or folder",
            )
        root = folder / "sketch40"
        sketch40.draw(
            root,
            seed=data.seed,
            train_per_class=data.train_per_class,
            test_per_class=data.test_per_class,
            size=data.image_size,
            progress=progress,
        )
        return stanford40.read(root, official=False, progress=progress, dataset="sketch40", account=account)
    if data.name == "stanford40":
        from stillroom.modalities.images.datasets import stanford40

        if data.path is None:
            root = stanford40.DOWNLOADS
            stanford40.download(root, progress=progress)
        else:
            root = Path(data.path)
        skip = Path(data.skip) if data.skip else None
        return stanford40.read(root, official=data.official, progress=progress, skip=skip, account=account)
    from stillroom.modalities.images.datasets import folder as class_folders

    if data.path is None:
        raise ParamsError(
            "data.name = 'folder' needs data.path, the folder of the images",
            fix="for example --set data.path=my_images",
        )
    options = class_folders.Options(
        splits=dict(data.splits),
        split_file=Path(data.split_file) if data.split_file else None,
        skip=Path(data.skip) if data.skip else None,
        accept_unread=data.unread == "accept",
    )
    return class_folders.read(Path(data.path), progress=progress, options=options, account=account)


def _refuse_unused(data: Data) -> None:
    """Refuse keys that the data set does not look at: they would be heeded by nobody, in silence."""
    takes = {"sketch40": (), "stanford40": ("skip",), "folder": ("skip", "split_file", "splits")}[data.name]
    for name in ("skip", "split_file", "splits"):
        if getattr(data, name) and name not in takes:
            raise ParamsError(
                f"data.{name} = {getattr(data, name)!r}, but data.name = {data.name!r} takes no such key",
                fix=f"remove data.{name}, or set data.name to folder",
            )

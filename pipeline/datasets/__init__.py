"""Data sets: from images on disk (or drawn, or downloaded) to the samples table."""

from pathlib import Path

from pipeline.config import Data
from pipeline.errors import ParamsError
from pipeline.progress import Progress
from pipeline.samples import Samples


def prepare(data: Data, folder: Path, progress: Progress) -> Samples:
    """Find, check and read the data set that `data.name` asks for, and set its validation slice aside.

    Args:
        data: the `data` section of the parameters.
        folder: what `prepare` writes; the drawn set goes to `folder/sketch40`, the others leave it untouched.
            The table itself is the caller's to write, with `samples.save(folder)`.
        progress: told of downloads, drawing and the scan of the images.

    Raises:
        ParamsError: `data.name` is `folder` and there is no `data.path`, or a path is given that nothing
            reads.
        DataError: the images, splits or annotations are missing, unreadable or not what they should be.
    """
    from pipeline.datasets.validation import hold_out

    return hold_out(_read(data, folder, progress), data.val_fraction, data.seed)


def _read(data: Data, folder: Path, progress: Progress) -> Samples:
    # Imported where they are used: `folder` needs no HTTP client, and `stanford40` no drawing.
    if data.name == "sketch40":
        from pipeline.datasets import sketch40, stanford40

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
        return stanford40.read(root, official=False, progress=progress, dataset="sketch40")
    if data.name == "stanford40":
        from pipeline.datasets import stanford40

        if data.path is None:
            root = stanford40.DOWNLOADS
            stanford40.download(root, progress=progress)
        else:
            root = Path(data.path)
        return stanford40.read(root, official=data.official, progress=progress)
    from pipeline.datasets import folder as class_folders

    if data.path is None:
        raise ParamsError(
            "data.name = 'folder' needs data.path, the folder of the images",
            fix="for example --set data.path=my_images",
        )
    return class_folders.read(Path(data.path), progress=progress)

"""Data sets of images, one a file: `NAME.py` holds `load(data, folder, progress, account)`, as here.

A new file is a new value of `data.name`. Parameters of its own are the fields of a class `Data` in it, a
subclass of `settings.Data`; `TAKES` names those of the shared keys `SOME` that it looks at.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom import registry
from stillroom.modalities import data_sets
from stillroom.modalities.images import settings
from stillroom.progress import Progress
from stillroom.samples import Samples

if TYPE_CHECKING:
    from stillroom.modalities.images.preparation.scan import Account

FIRST = (
    "sketch40",
    "stanford40",
    "folder",
    "table",
    "shards",
    "huggingface",
    "torchvision",
)  # of a list of names
# Keys of `data` that a data set looks at if its TAKES names them
SOME = ("skip", "split_file", "splits", "classes", "columns", "allow_missing_classes")


def names() -> list[str]:
    """The names of all data sets. Nothing is imported."""
    return registry.names(__name__, FIRST)


def section(name: str) -> type[settings.Data]:
    """What `params.yaml` may say of a data set, which must be there."""
    return data_sets.section(__name__, name, settings.Data)


def listed(data: settings.Data) -> Iterable[str] | None:
    """The files of a data set that `prepare --look` looks at; None: all that lie at its place.

    Raises:
        ParamsError, DataError: as `load`, as far as that can be seen without opening an image.
    """
    own = getattr(registry.load(__name__, data.name), "listed", None)
    return None if own is None else own(data)  # type: ignore[no-any-return]


def load(data: settings.Data, folder: Path, progress: Progress, account: "Account") -> Samples:
    """The samples of the data set that `data.name` asks for, without a validation slice.

    Args:
        data: the `data` section of the parameters, of the class that `section` says.
        folder: what `prepare` writes: a data set that is drawn, or whose images lie in no files of
            their own, may write into it.
        progress: gets the steps of downloads, of drawing and of the scan of the images.
        account: gets the formats, and what is passed over or skipped.

    Raises:
        ParamsError: a key is given that the data set does not look at: nobody would heed it, in silence.
        DataError: the images, splits or annotations are missing, unreadable or not what they should be.
        StillroomError: the file of the data set holds none.
    """
    return data_sets.load(
        __name__,
        data,
        SOME,
        "load(data, folder, progress, account)",
        Samples,
        data,
        folder,
        progress,
        account,
    )

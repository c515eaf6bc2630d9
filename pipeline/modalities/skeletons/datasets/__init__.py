"""Data sets of skeletons, one a file: `NAME.py` holds `load(data, progress, account)`, as here, and the
constants `LAYOUT` and `DIMS`, or `layout_of(data)` where the parameters decide.

A new file is a new value of `data.name`. Parameters of its own are the fields of a class `Data` in it, a
subclass of `settings.Data`; `TAKES` names those of the shared keys `SOME` that it looks at.
"""

from typing import TYPE_CHECKING, Any

from stillroom import registry
from stillroom.errors import StillroomError
from stillroom.modalities import data_sets
from stillroom.modalities.skeletons import settings
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.progress import Progress

if TYPE_CHECKING:
    from stillroom.modalities.skeletons.preparation.clips import Account, Clips

FIRST = ("sketch_skeletons", "penn_action", "ntu", "kinetics_skeleton", "poses")  # of a list of names
SOME = ("skip",)  # keys of `data` that a data set looks at if its TAKES names them


def names() -> list[str]:
    """The names of all data sets. Nothing is imported."""
    return registry.names(__name__, FIRST)


def section(name: str) -> type[settings.Data]:
    """What `params.yaml` may say of a data set, which must be there."""
    return data_sets.section(__name__, name, settings.Data)


def layout_of(data: settings.Data) -> tuple[Layout, int]:
    """The layout and the dimensions (2 or 3) of a data set's clips, by the parameters alone.

    Raises:
        ParamsError: they do not say.
        StillroomError: the file of the data set does not.
    """
    module = registry.load(__name__, data.name)
    decide: Any = getattr(module, "layout_of", None)
    try:
        layout, dims = decide(data) if decide is not None else (module.LAYOUT, module.DIMS)
    except AttributeError as error:
        raise StillroomError(
            f"{module.__file__} does not say its layout",
            str(error),
            "define LAYOUT and DIMS in it, or layout_of(data)",
        ) from None
    return layout, dims


def load(data: settings.Data, progress: Progress, account: "Account") -> "Clips":
    """The data set that `data.name` asks for, its clips not read yet, without a validation slice.

    Args:
        data: the `data` section of the parameters, of the class that `section` says.
        progress: gets the steps of what is read before the clips.
        account: gets what is passed over or skipped.

    Raises:
        ParamsError: a key is given that the data set does not look at: nobody would heed it, in silence.
        DataError: files, splits or labels are missing, unreadable or not what they should be.
        StillroomError: the file of the data set holds none.
    """
    from stillroom.modalities.skeletons.preparation.clips import Clips

    return data_sets.load(
        __name__, data, SOME, "load(data, progress, account)", Clips, data, progress, account
    )

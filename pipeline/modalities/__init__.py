"""The kinds of data, a folder each. The data set says which one."""

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stillroom.modalities.base import Modality, Model
    from stillroom.samples import Read, Samples


def names() -> list[str]:
    """The names of all modalities."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def get(name: str) -> "Modality":
    """A modality by its name, which must be there."""
    found: Modality = importlib.import_module(f"{__name__}.{name}").MODALITY
    return found


def of_data_set(name: str) -> "Modality":
    """The modality that a data set belongs to, which must be there."""
    return next(get(one) for one in names() if name in get(one).data_sets())


def of_model(folder: Path) -> "Modality":
    """The modality that the model in a folder is of, by its JSON (`Modality.load` says what is wrong)."""
    import json
    from contextlib import suppress

    for name in ("student.json", "teacher.json"):
        with suppress(OSError, ValueError, AttributeError, RecursionError):
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("modality", "images")
            if found in names():
                return get(found)
    return get("images")


def load_model(folder: Path | str) -> "Model":
    """The model in a folder that `stillroom student` or `stillroom teacher` wrote, on the CPU, in eval mode.

    It is called with prepared inputs and returns outputs by name; `prepare` makes inputs of rendered views.

    Raises:
        DataError, WeightsError, AccessError: see `Modality.load`.
    """
    return of_model(Path(folder)).load(Path(folder))[0]


def load_samples(folder: Path, root: Path | None = None) -> "Samples":
    """Read the samples table that `prepare` wrote; see `Samples.load`."""
    from stillroom.samples import Samples

    def reads(modality: str) -> "Read":
        if modality not in names():
            raise ValueError(f"this version knows no {modality!r:.40}, but {', '.join(names())}")
        return get(modality).sample

    return Samples.load(folder, reads, root)

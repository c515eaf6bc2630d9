"""The kinds of data, a folder each. The data set says which one."""

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillroom.modalities.base import Modality, Model
    from stillroom.samples import Samples

LARGEST_RECORD = 64 * 2**20  # bytes of a student.json or teacher.json that are read


def names() -> list[str]:
    """The names of all modalities."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def get(name: str) -> "Modality":
    """A modality by its name.

    Raises:
        DataError: there is none of that name: what says so was made by another version, or is damaged.
    """
    if name not in names():
        from stillroom.errors import DataError

        raise DataError(
            f"there is no modality {name!r:.40}",
            f"this version knows {', '.join(names())}",
            "install the version that this was made with",
        )
    modality: Modality = importlib.import_module(f"{__name__}.{name}").MODALITY
    return modality


def of_data_set(name: str) -> "Modality":
    """The modality that a data set belongs to, which must be there."""
    return next(get(one) for one in names() if name in get(one).data_sets())


def of_record(record: dict[str, Any]) -> "Modality":
    """The modality that a `teacher.json` or `student.json` is of; the key came later than the first of them.

    Raises:
        DataError: see `get`.
    """
    return get(record.get("modality", "images"))


def of_identity(identity: dict[str, Any]) -> "Modality | None":
    """The modality of a cache's samples, which have a digest of its name; None: this version knows none."""
    samples = identity.get("samples")
    known = [name for name in names() if isinstance(samples, dict) and name in samples]
    return get(known[0]) if known else None


def of_model(folder: Path) -> "Modality":
    """The modality that the model in a folder is of, by its JSON; where that cannot be read the usual one,
    whose `load` says what is wrong.

    Raises:
        DataError: see `get`.
        WeightsError: it is a cross-fitted teacher without a model of all samples.
    """
    import json
    from contextlib import suppress

    from stillroom.files import read_small

    for file in (folder / "student.json", folder / "teacher.json"):
        with suppress(OSError, ValueError, RecursionError):
            record = json.loads(read_small(file, LARGEST_RECORD))
            record = record if isinstance(record, dict) else {}
            if "folds" in record and not (folder / "model.safetensors").exists():
                raise _only_folds(folder)
            return of_record(record)
    return get("images")


def _only_folds(folder: Path) -> Exception:
    from stillroom.errors import WeightsError

    return WeightsError(
        f"{folder} has a model for each fold, and none of all training samples",
        "it was cross-fitted without teacher.folds_and_whole: which of its models is to answer?",
        "set teacher.folds_and_whole to true and run `stillroom teacher`, or name another folder",
    )


def load_model(folder: Path | str, trust: str | None = None) -> "Model":
    """The model in a folder that `stillroom student` or `stillroom teacher` wrote, on the CPU, in eval mode.

    It is called with prepared inputs and returns outputs by name; `prepare` makes inputs of rendered views.

    Args:
        trust: a function of Python, `module:function`, that may be called where the folder names it as what
            makes its model.

    Raises:
        ParamsError: the folder names a function that is not trusted, or not to be found.
        DataError, WeightsError, AccessError: see `Modality.load`.
    """
    if trust is not None:
        from stillroom.trust import trust as trust_it

        trust_it(trust)
    return of_model(Path(folder)).load(Path(folder)).model


def load_samples(folder: Path, root: Path | str | None = None) -> "Samples":
    """Read the samples table that `prepare` wrote; see `Samples.load`."""
    from stillroom.samples import Samples

    return Samples.load(folder, lambda modality: get(modality).sample, root)

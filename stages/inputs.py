"""What commands read of the artifacts: the samples table, the cache, a finished model."""

from pathlib import Path
from typing import TYPE_CHECKING

from stillroom_stages.artifacts import DATA, STUDENTS

if TYPE_CHECKING:
    from stillroom.cache.read.store import Store
    from stillroom.params import Params
    from stillroom.samples import Samples


def cache_to_read(params: "Params") -> "Store":
    """The cache that `cache.path` names.

    Raises:
        CacheError: it is not there, not sound, or cannot be reached.
    """
    from stillroom.cache.read.backends import open_store
    from stillroom.errors import CacheError
    from stillroom.fetched import masked

    path = params.cache.path
    try:
        return open_store(path)
    except CacheError as error:
        if error.what.endswith("is not there"):
            error.why = f"cache.path is {masked(path)}"
        raise


def samples_to_read(params: "Params") -> "Samples":
    """The samples table, which is of the data set that the parameters name.

    Raises:
        DataError: it is missing or damaged.
        ParamsError: it is of another data set.
    """
    from stillroom import modalities
    from stillroom.errors import ParamsError

    samples = modalities.load_samples(DATA, data_root(params))
    if samples.dataset != params.data.name:
        raise ParamsError(
            f"data.name = {params.data.name!r}, and {DATA} holds {samples.dataset!r}",
            "`stillroom prepare` was run with other parameters",
            f"run `stillroom prepare`, or set data.name to {samples.dataset}",
        )
    modalities.get(samples.modality).check_table(params.data, samples)
    return samples


def data_root(params: "Params") -> Path | str | None:
    """Where this machine's files lie, or their address, if the parameters say."""
    from stillroom.fetched import is_address

    path = params.data.place()
    return Path(path) if path and not is_address(path) else path


def chosen_model(folder: Path | None) -> Path:
    """The folder of a finished model: the one that was named, else the only student that there is.

    Raises:
        ParamsError: none was named, and there is none or more than one.
    """
    from stillroom.errors import ParamsError

    if folder is not None:
        return folder
    there = sorted(file.parent for file in STUDENTS.glob("*/student.json"))
    if len(there) == 1:
        return there[0]
    raise ParamsError(
        "which student?",
        f"there are {len(there)} in {STUDENTS}"
        + (f": {', '.join(one.name for one in there)}" if there else ""),
        f"name one: --student {there[0]}"
        if there
        else "train one: `stillroom student --family vit --arm kd`",
    )

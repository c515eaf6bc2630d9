"""`views.json`: what rendered views are of, so that logits for them come home to the very same ones."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillroom import modalities
from stillroom.cache.format import identity as identities
from stillroom.cache.format.manifest_checks import refuse_bloat, refuse_constant
from stillroom.device import environment
from stillroom.errors import AccessError, DataError
from stillroom.modalities.base import Spec
from stillroom.params import Params
from stillroom.provenance.identity import of_data
from stillroom.provenance.probes import make_probes
from stillroom.provenance.probes import read as read_probe
from stillroom.samples import Samples

NAME = "views.json"
LARGEST = 16 * 2**20  # bytes of it
MOST_PROBES = 16

_Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Record(BaseModel):
    """Strict in type, open to further keys: a later version may write more."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class Drawn(_Record):
    """Which views: the recipe and seed of an identity, and the numbers from `first`, `count` of them."""

    recipe: dict[str, Any]
    seed: int
    first: _Count
    count: Annotated[int, Field(ge=1, lt=2**31)]

    @property
    def stop(self) -> int:
        """The number behind the last one's."""
        return self.first + self.count


class Exported(_Record):
    """The content of `views.json`.

    Attributes:
        modality, dataset: of the samples.
        samples: as an identity has them: their count and digests.
        views: which views of each.
        input: the spec that they were rendered for.
        classes: names, in label order.
        files: `format` (tar or parquet), `suffix` of a view's file, and the names of all `shards`.
        probes, environment: of where they were rendered, as a manifest has them.
    """

    format: Literal["stillroom-views/1"] = "stillroom-views/1"
    modality: str
    dataset: str
    samples: dict[str, Any]
    views: Drawn
    input: dict[str, Any]
    classes: list[str]
    files: dict[str, Any]
    probes: Annotated[list[dict[str, Any]], Field(max_length=MOST_PROBES)]
    environment: Annotated[dict[str, Annotated[str, Field(max_length=1000)]], Field(max_length=100)]


def describe(train: Samples, params: Params, spec: Spec, first: int, files: dict[str, Any]) -> Exported:
    """What `views.json` says of views that are written now.

    Args:
        train: the samples of a cache.
        spec: what they are rendered for.
        first: the first view's number; `views.count` is behind the last one's.
        files: see `Exported`.
    """
    modality, data = modalities.get(train.modality), of_data(train, params.views)
    return Exported(
        modality=train.modality,
        dataset=train.dataset,
        samples=data["samples"],
        views=Drawn(**data["views"], first=first, count=params.views.count - first),
        input=dict(spec),
        classes=list(train.classes),
        files=files,
        probes=make_probes(train, params.views, spec),
        environment=environment(modality.environment()),
    )


def read(place: Path) -> Exported:
    """The `views.json` of a folder, or that file itself.

    Raises:
        DataError: it is not there, or damaged.
        AccessError: this user may not read it.
    """
    file = place / NAME if place.is_dir() else place
    again = "write the views again (`stillroom cache export-views`)"
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{place if not place.is_dir() else file} is not there",
            f"{NAME}, which `stillroom cache export-views` writes beside the views, says which views these "
            "logits are of",
            f"name the folder of the views, or its {NAME}: --views FOLDER",
        ) from None
    except PermissionError:
        raise AccessError(file) from None
    except OSError as error:
        raise DataError(f"{file} cannot be read", error.strerror or str(error), again) from None
    try:
        if len(text) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes")
        refuse_bloat(text)
        found = Exported.model_validate(json.loads(text, parse_constant=refuse_constant))
        if found.modality not in modalities.names():
            raise ValueError(f"modality = {found.modality!r:.80}")
        wrong = modalities.get(found.modality).check_spec(found.input)
        if wrong:
            raise ValueError(wrong)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        why = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise DataError(f"{file} is damaged, or no {NAME} of ours", why, again) from None
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise DataError(f"{file} is damaged, or no {NAME} of ours", f"{error}"[:200], again) from None
    return found


def check(exported: Exported, train: Samples, params: Params, where: Path) -> None:
    """Refuse views of other samples, or drawn otherwise, than a cache of these parameters would have.

    Args:
        where: the folder or file that it was read from, for the message.

    Raises:
        DataError: names each field that differs, with both values and what to do.
        CacheError: the clips have other joints.
        ParamsError: they were rendered for another input than the parameters ask for.
    """
    modality = modalities.get(train.modality)
    if exported.modality != train.modality:
        raise DataError(
            f"{where} holds views of {exported.modality}, and the samples are {train.modality}",
            fix=f"name views of {train.modality}: --views FOLDER",
        )
    there = {
        "samples": exported.samples,
        "views": {"recipe": exported.views.recipe, "seed": exported.views.seed},
    }
    faults = identities.differences(of_data(train, params.views), there)
    if faults:
        raise DataError(
            f"{where} holds other views than the parameters ask for ({identities.told(faults, NAME)}",
            "the logits would be taken for those of other views",
            "put back the data and parameters that the views were written with, or write the views again and "
            "ask the teacher of those",
        )
    again = "write the views again (`stillroom cache export-views`)"
    if tuple(exported.classes) != train.classes:
        raise DataError(
            f"{where} names other classes than the samples have, or in another order",
            f"there {', '.join(exported.classes[:3])!r:.80}, here {', '.join(train.classes[:3])!r:.80}",
            again,
        )
    for index, probe in enumerate(exported.probes):
        try:
            read_probe(probe, train)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            why = f"{type(error).__name__}: {error}"[:200]
            raise DataError(f"{where}: probe {index} of {NAME} is damaged", why, again) from None
    modality.check_seen(train, exported.input)
    asked = modality.asked(params.views)
    differ = [name for name, value in asked.items() if exported.input.get(name) != value]
    if differ:
        raise DataError(
            f"{where} holds views of {modality.shown(exported.input)}, and views.size asks for "
            f"{modality.shown(asked)}",
            "students see what the teacher saw",
            "set views.size to that, or write the views again",
        )

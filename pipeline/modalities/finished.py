"""What is common to finished models of all kinds of data: their record, and whether their weights fit."""

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stillroom.errors import AccessError, DataError, WeightsError, listing
from stillroom.files import read_small
from stillroom.modalities import LARGEST_RECORD
from stillroom.params import Amp

Kind = TypeVar("Kind", bound="Described")


class Part(BaseModel):
    """A part of a record that is looked at; the rest of the record is not."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Train(Part):
    """How it was trained, as far as it concerns what the model answers."""

    amp: Amp = "none"


class Config(Part):
    """Its configuration, likewise."""

    train: Train = Train()


class Described(Part):
    """What `student.json` or `teacher.json` says of its model; what its input is, each modality says."""

    arch: str
    overrides: dict[str, Any]
    classes: Annotated[list[str], Field(min_length=1, max_length=2**20)]
    input: Any
    config: Config = Config()


def faults(error: ValidationError) -> str:
    """What a record's fields are refused for, a line each."""
    return listing([f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()])


def read_record(folder: Path, kind: type[Kind], family: str) -> tuple[Path, Kind]:
    """The JSON file of a finished model, and what it says.

    Args:
        family: one of the modality's, for the command that makes a model.

    Raises:
        DataError: there is none, or it is damaged or describes no model.
        AccessError: this user may not read it.
    """
    files = [folder / name for name in ("student.json", "teacher.json") if (folder / name).is_file()]
    if not files:
        raise DataError(
            f"{folder} holds no finished model",
            "there is neither a student.json nor a teacher.json in it",
            f"train one (`stillroom student --family {family} --arm kd`), or fetch one (`dvc pull`)",
        )
    try:
        return files[0], kind.model_validate(json.loads(read_small(files[0], LARGEST_RECORD)))
    except ValidationError as error:
        raise DataError(
            f"{files[0]} does not describe a model:\n{faults(error)}", fix="fetch it again"
        ) from None
    except PermissionError:
        raise AccessError(files[0]) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{files[0]} cannot be read", str(error)[:200], "fetch it again") from None


def check_tensors(
    tensors: dict[str, torch.Tensor], own: dict[str, torch.Size], weights: Path, arch: str, record: Path
) -> None:
    """Refuse weights that are not of the model that the record beside them describes.

    Args:
        own: the shapes of the model's tensors by name.
        weights, record: the files, for the message.

    Raises:
        WeightsError: names the tensors.
    """
    faults = [f"{name}: not in the file" for name in own.keys() - tensors.keys()]
    faults += [f"{name}: not in the model" for name in tensors.keys() - own.keys()]
    faults += [
        f"{name}: model {list(own[name])}, file {list(tensors[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name] != tensors[name].shape
    ]
    if faults:
        raise WeightsError(
            f"{weights} does not fit {arch} as {record.name} describes it:\n" + listing(sorted(faults), 6),
            fix="put back the two files that belong together",
        )

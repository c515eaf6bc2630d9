"""A finished model from the folder that a stage wrote, on this machine or a stranger's."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import DataError, WeightsError, listing
from pipeline.models.create import Model, create, read_weights

LARGEST = 64 * 2**20  # bytes of a student.json
Side = Annotated[int, Field(ge=16, le=4096)]
Triple = Annotated[list[float], Field(min_length=3, max_length=3)]


class Input(BaseModel):
    """What a model sees: the side in pixels, and mean and standard deviation of values in [0, 1]."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    size: Side
    mean: Triple
    std: Triple


class Described(BaseModel):
    """What `student.json` or `teacher.json` says of its model."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    arch: str
    overrides: dict[str, Any]
    classes: Annotated[list[str], Field(min_length=1, max_length=2**20)]
    input: Input


def load(folder: Path) -> tuple[Model, Described]:
    """The model in a folder, on the CPU, in eval mode. Nothing is unpickled and no network is asked.

    Raises:
        DataError: there is no such folder, or its JSON is missing or damaged.
        WeightsError: the weights are missing, damaged, or not of this model: names the tensors.
        ParamsError: timm does not have that model.
    """
    files = [folder / name for name in ("student.json", "teacher.json") if (folder / name).is_file()]
    if not files:
        raise DataError(
            f"{folder} holds no finished model",
            "there is neither a student.json nor a teacher.json in it",
            "train one (`stillroom student --family vit --arm kd`), or fetch one (`dvc pull`)",
        )
    try:
        if files[0].stat().st_size > LARGEST:
            raise ValueError(f"it has {files[0].stat().st_size} bytes")
        described = Described.model_validate(json.loads(files[0].read_text(encoding="utf-8")))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise DataError(
            f"{files[0]} does not describe a model:\n{listing(faults)}", fix="fetch it again"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{files[0]} cannot be read", str(error)[:200], "fetch it again") from None
    tensors = read_weights(folder / "model.safetensors")
    model = create(described.arch, len(described.classes), described.overrides, size=described.input.size)
    own = model.net.state_dict()
    faults = [f"{name}: not in the file" for name in own.keys() - tensors.keys()]
    faults += [f"{name}: not in the model" for name in tensors.keys() - own.keys()]
    faults += [
        f"{name}: model {list(own[name].shape)}, file {list(tensors[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if faults:
        raise WeightsError(
            f"{folder / 'model.safetensors'} does not fit {described.arch} as {files[0].name} describes it:\n"
            + listing(sorted(faults), 6),
            fix="put back the two files that belong together",
        )
    model.net.load_state_dict(tensors)
    model.net.eval()
    model.mean, model.std = tuple(described.input.mean), tuple(described.input.std)
    return model, described

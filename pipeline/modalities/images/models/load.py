"""A finished model from the folder that a stage wrote, on this machine or a stranger's."""

import inspect
import json
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import timm
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stillroom.errors import AccessError, DataError, ParamsError, WeightsError, listing
from stillroom.modalities import LARGEST_RECORD
from stillroom.modalities.images.models.create import Model, create
from stillroom.modalities.weights import read_weights

Side = Annotated[int, Field(ge=16, le=4096)]
Spread = Annotated[float, Field(gt=0)]

# timm's own arguments fetch weights from the hub, an address or a (pickled) file; an architecture's do not.
TIMMS_OWN = set(inspect.signature(timm.create_model).parameters) - {"kwargs"} | {"num_classes"}


def _of_the_architecture(overrides: dict[str, Any]) -> dict[str, Any]:
    refused = [name for name in overrides if name in TIMMS_OWN or name.startswith("pretrained")]
    if refused:
        raise ValueError(f"{', '.join(sorted(refused))} cannot be set here")
    return overrides


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Input(_Part):
    """What a model sees: the side in pixels, and mean and standard deviation of values in [0, 1]."""

    size: Side
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[Spread], Field(min_length=3, max_length=3)]


class Train(_Part):
    """How it was trained, as far as it concerns what the model answers."""

    amp: Literal["none", "bf16"] = "none"


class Config(_Part):
    """Its configuration, likewise."""

    train: Train = Train()


class Described(_Part):
    """What `student.json` or `teacher.json` says of its model."""

    arch: str
    overrides: Annotated[dict[str, Any], AfterValidator(_of_the_architecture)]
    classes: Annotated[list[str], Field(min_length=1, max_length=2**20)]
    input: Input
    config: Config = Config()


def load(folder: Path) -> tuple[Model, Described]:
    """The model in a folder, on the CPU, in eval mode. Nothing is unpickled and no network is asked.

    Raises:
        DataError: there is no such folder, or its JSON is missing, damaged, or describes no model of timm's.
        WeightsError: the weights are missing, damaged, or not of this model: names the tensors.
        AccessError: this user may not read them.
    """
    files = [folder / name for name in ("student.json", "teacher.json") if (folder / name).is_file()]
    if not files:
        raise DataError(
            f"{folder} holds no finished model",
            "there is neither a student.json nor a teacher.json in it",
            "train one (`stillroom student --family vit --arm kd`), or fetch one (`dvc pull`)",
        )
    try:
        if files[0].stat().st_size > LARGEST_RECORD:
            raise ValueError(f"it has {files[0].stat().st_size} bytes")
        described = Described.model_validate(json.loads(files[0].read_text(encoding="utf-8")))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise DataError(
            f"{files[0]} does not describe a model:\n{listing(faults)}", fix="fetch it again"
        ) from None
    except PermissionError:
        raise AccessError(files[0]) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{files[0]} cannot be read", str(error)[:200], "fetch it again") from None
    tensors = read_weights(folder / "model.safetensors")
    own = _shapes(described, files[0])
    faults = [f"{name}: not in the file" for name in own.keys() - tensors.keys()]
    faults += [f"{name}: not in the model" for name in tensors.keys() - own.keys()]
    faults += [
        f"{name}: model {list(own[name])}, file {list(tensors[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name] != tensors[name].shape
    ]
    if faults:
        raise WeightsError(
            f"{folder / 'model.safetensors'} does not fit {described.arch} as {files[0].name} describes it:\n"
            + listing(sorted(faults), 6),
            fix="put back the two files that belong together",
        )
    model = _made(described)
    model.net.load_state_dict(tensors)
    model.net.eval()
    model.mean, model.std = tuple(described.input.mean), tuple(described.input.std)
    return model, described


def _made(described: Described) -> Model:
    return create(described.arch, len(described.classes), described.overrides, size=described.input.size)


def _shapes(described: Described, file: Path) -> dict[str, torch.Size]:
    """The shapes of a model's tensors by name. It is made and run without memory: what a stranger's file asks
    for may be larger than the machine.

    Raises:
        DataError: timm makes no model of the description, or none that takes its input and names its classes.
    """
    side, count = described.input.size, len(described.classes)
    try:
        with torch.device("meta"), torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = _made(described).net.eval()
            answer = net(torch.zeros(1, 3, side, side))
        if not isinstance(answer, torch.Tensor) or answer.shape[:1] != (1,) or answer.ndim != 2:
            raise ValueError("it gives no logits")
    except Exception as error:  # architectures raise what their arguments run into
        if isinstance(error, ParamsError):
            why = "; ".join(part for part in (error.what, error.why, error.fix) if part)
        else:
            why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{file}: timm makes no {described.arch} of this description, for {count} classes and images of "
            f"{side} x {side} pixels",
            why[:300],
            "fetch it again, or install the timm that it was made with (environment.timm in that file)",
        ) from None
    return {name: value.shape for name, value in net.state_dict().items()}

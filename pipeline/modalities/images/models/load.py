"""A finished model from the folder that a stage wrote, on this machine or a stranger's."""

import warnings
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationInfo, field_validator

from stillroom.errors import DataError, ParamsError
from stillroom.modalities import finished
from stillroom.modalities.finished import Part, check_tensors, read_record
from stillroom.modalities.images.models.create import Model, create, create_own
from stillroom.modalities.images.models.timm_folder import Side, Spread, of_the_architecture
from stillroom.modalities.images.settings import is_entry
from stillroom.modalities.weights import read_weights


class Input(Part):
    """What a model sees: the side in pixels, and mean and standard deviation of values in [0, 1]."""

    size: Side
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[Spread], Field(min_length=3, max_length=3)]


class Described(finished.Described):
    """What `student.json` or `teacher.json` says of its model."""

    input: Input

    @field_validator("overrides")
    @classmethod
    def _arguments(cls, overrides: dict[str, Any], rest: ValidationInfo) -> dict[str, Any]:
        # a function's arguments are its own; it is called if it is trusted
        return overrides if is_entry(rest.data.get("arch", "")) else of_the_architecture(overrides)


def load(folder: Path) -> tuple[Model, Described]:
    """The model in a folder, on the CPU, in eval mode. Nothing is unpickled and no network is asked; a
    function that makes it is called only if this user has named it (`stillroom.trust`).

    Raises:
        DataError: there is no such folder, or its JSON is missing, damaged, or describes no model of timm's.
        ParamsError: its model is made by a function that was not named, or that makes no such model here.
        WeightsError: the weights are missing, damaged, or not of this model: names the tensors.
        AccessError: this user may not read them.
    """
    record, described = read_record(folder, Described, "vit")
    weights = folder / "model.safetensors"
    tensors = read_weights(weights)
    if is_entry(described.arch):
        model = _made(described)
        own = {name: value.shape for name, value in model.net.state_dict().items()}
    else:
        model, own = None, _shapes(described, record)
    check_tensors(tensors, own, weights, described.arch, record)
    model = model or _made(described)
    model.net.load_state_dict(tensors)
    model.net.eval()
    model.mean, model.std = tuple(described.input.mean), tuple(described.input.std)
    return model, described


def _made(described: Described) -> Model:
    if is_entry(described.arch):
        return create_own(described.arch, described.classes, described.overrides, size=described.input.size)
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

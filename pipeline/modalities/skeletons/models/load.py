"""A finished model from the folder that a stage wrote, on this machine or a stranger's."""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator

from stillroom.errors import DataError, ParamsError
from stillroom.modalities import finished
from stillroom.modalities.base import Architecture, Finished
from stillroom.modalities.finished import check_tensors, read_record
from stillroom.modalities.skeletons.models.create import Model, check_spec, create
from stillroom.modalities.weights import read_weights


def _sound(spec: Any) -> Any:
    wrong = check_spec(spec)
    if wrong:
        raise ValueError(wrong)
    return spec


class Described(finished.Described):
    """What `student.json` or `teacher.json` says of its model."""

    input: Annotated[Any, AfterValidator(_sound)]


def load(folder: Path) -> Finished:
    """The model in a folder, on the CPU, in eval mode. Nothing is unpickled and no network is asked.

    Raises:
        DataError: there is no such folder, or its JSON is missing, damaged, or describes no model.
        WeightsError: the weights are missing, damaged, or not of this model: names the tensors.
        AccessError: this user may not read them.
    """
    record, described = read_record(folder, Described, "stgcn")
    weights = folder / "model.safetensors"
    tensors = read_weights(weights)
    check_tensors(tensors, _shapes(described, record), weights, described.arch, record)
    model = _made(described)
    model.net.load_state_dict(tensors)
    model.net.eval()
    return Finished(model, described.classes, described.config.train.amp)


def _made(described: Described) -> Model:
    return create(Architecture(described.arch, described.overrides, described.input), len(described.classes))


def _shapes(described: Described, record: Path) -> dict[str, torch.Size]:
    """The shapes of a model's tensors by name. It is made without memory: what a stranger's file asks for may
    be larger than the machine.

    Raises:
        DataError: there is no such model.
    """
    try:
        with torch.device("meta"):
            net = _made(described).net
    except ParamsError as error:
        why = "; ".join(part for part in (error.why, error.fix) if part)
        raise DataError(f"{record} does not describe a model: {error.what}", why) from None
    return {name: value.shape for name, value in net.state_dict().items()}

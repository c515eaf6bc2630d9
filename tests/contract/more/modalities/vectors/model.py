"""Two layers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stillroom.errors import DataError, ParamsError, WeightsError
from stillroom.modalities import base
from stillroom.modalities.base import Architecture, Finished, Loaded
from stillroom.modalities.vectors.settings import WIDTHS
from stillroom.modalities.weights import read_weights


@dataclass
class Model(base.Model):
    """A perceptron for points of `length` numbers."""

    net: nn.Module
    arch: str
    overrides: dict[str, Any]
    length: int
    loaded: Loaded

    @property
    def spec(self) -> base.Spec:
        """`length`."""
        return {"length": self.length}

    def prepare(self, raw: torch.Tensor) -> torch.Tensor:
        """float32 [B, L], as it is."""
        return raw.float()

    def example(self, count: int) -> torch.Tensor:
        """float32 [count, L], all zero."""
        return torch.zeros(count, self.length)

    def layers(self) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
        """`hidden`: what the last layer is given, [W]; `grid`: the same as [W / 4, 4], of four nodes."""
        last: Any = self.net[-1]  # type: ignore[index]
        return {"hidden": (last, (last.in_features,)), "grid": (last, (last.in_features // 4, 4))}


def create(architecture: Architecture, classes: int, weights: str, seed: int) -> Model:
    """Make a model, and fill in what `weights` gives."""
    if architecture.arch not in WIDTHS or architecture.overrides:
        raise ParamsError(f"there is no {architecture.arch} with {architecture.overrides}")
    torch.manual_seed(seed)
    length, width = architecture.spec["length"], WIDTHS[architecture.arch]
    net = nn.Sequential(nn.Linear(length, width), nn.Tanh(), nn.Linear(width, classes))
    loaded = Loaded()
    if weights != "none":
        try:
            net.load_state_dict(read_weights(Path(weights)))
        except RuntimeError as error:
            raise WeightsError(f"{weights} is not of {architecture.arch}", str(error)) from None
        loaded = Loaded(Path(weights).name)
    return Model(net, architecture.arch, {}, length, loaded)


def load(folder: Path) -> Finished:
    """The model in a folder."""
    files = [folder / name for name in ("student.json", "teacher.json") if (folder / name).is_file()]
    if not files:
        raise DataError(f"{folder} holds no finished model")
    try:
        found = json.loads(files[0].read_text(encoding="utf-8"))
        spec = {"length": int(found["input"]["length"])}
        architecture = Architecture(found["arch"], found["overrides"], spec)
        classes, amp = list(found["classes"]), found["config"]["train"]["amp"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{files[0]} cannot be read", str(error)) from None
    model = create(architecture, len(classes), str(folder / "model.safetensors"), 0)
    model.net.eval()
    return Finished(model, classes, amp)

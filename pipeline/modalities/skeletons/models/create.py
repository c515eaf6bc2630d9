"""Models of skeletons with their weights: fresh, or from a safetensors file."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import nn

from stillroom.errors import ParamsError, WeightsError
from stillroom.modalities import base
from stillroom.modalities.base import Architecture, Loaded
from stillroom.modalities.skeletons import layouts
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.models import ctrgcn, shiftgcn, spacetime, stgcn
from stillroom.modalities.skeletons.models.blocks import Classifier
from stillroom.modalities.skeletons.models.input import Input, channels
from stillroom.modalities.skeletons.settings import FAMILIES, Shown, wrong_in
from stillroom.modalities.weights import fill_in, read_weights
from stillroom.params import Section
from stillroom.validation import validated

# The graph networks' base is their papers'; smaller ones are for clips of tens of frames.
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "stgcn": {
        "micro": {"widths": [8, 16, 24], "depths": [1, 1, 1], "kernel": 5},
        "tiny": {"widths": [16, 32, 48], "depths": [2, 2, 2], "kernel": 5},
        "small": {"widths": [32, 64, 96], "depths": [2, 2, 2], "kernel": 5},
        "base": {"widths": [64, 128, 256], "depths": [4, 3, 3], "kernel": 9},
    },
    "shiftgcn": {
        "micro": {"widths": [8, 16, 24], "depths": [1, 1, 1]},
        "tiny": {"widths": [16, 32, 48], "depths": [2, 2, 2]},
        "small": {"widths": [32, 64, 96], "depths": [2, 2, 2]},
        "base": {"widths": [64, 128, 256], "depths": [4, 3, 3]},
    },
    "ctrgcn": {
        "micro": {"widths": [8, 16, 24], "depths": [1, 1, 1]},
        "tiny": {"widths": [16, 32, 48], "depths": [2, 2, 2]},
        "small": {"widths": [32, 64, 96], "depths": [2, 2, 2]},
        "base": {"widths": [64, 128, 256], "depths": [4, 3, 3]},
    },
    "spacetime": {
        "micro": {"width": 24, "depth": 2, "heads": 2, "patch": 4, "ratio": 2},
        "tiny": {"width": 32, "depth": 4, "heads": 2, "patch": 4, "ratio": 2},
        "small": {"width": 64, "depth": 5, "heads": 4, "patch": 4, "ratio": 2},
        "base": {"width": 192, "depth": 8, "heads": 6, "patch": 4, "ratio": 2},
    },
}


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("must be odd")
    return kernel


def _branched(widths: list[int]) -> list[int]:
    if any(width % ctrgcn.BRANCHES for width in widths):
        raise ValueError(f"must be multiples of {ctrgcn.BRANCHES}")
    return widths


Width = Annotated[int, Field(ge=1, le=1024)]
Depth = Annotated[int, Field(ge=1, le=32)]


class Shiftgcn(Section):
    """What may be set of a Shift-GCN: a width and a number of units for each stage."""

    widths: Annotated[list[Width], Field(min_length=1, max_length=6)]
    depths: Annotated[list[Depth], Field(min_length=1, max_length=6)]

    @model_validator(mode="after")
    def _alike(self) -> "Shiftgcn":
        if len(self.widths) != len(self.depths):
            raise ValueError("widths and depths must have a number for each stage")
        return self


class Stgcn(Shiftgcn):
    """What may be set of an ST-GCN."""

    kernel: Annotated[int, Field(ge=1, le=63), AfterValidator(_odd)]  # frames


class Ctrgcn(Shiftgcn):
    """What may be set of a CTR-GCN."""

    widths: Annotated[list[Width], Field(min_length=1, max_length=6), AfterValidator(_branched)]


class Spacetime(Section):
    """What may be set of a transformer."""

    width: Width
    depth: Depth
    heads: Annotated[int, Field(ge=1, le=64)]
    patch: Annotated[int, Field(ge=1, le=64)]  # frames a token
    ratio: Annotated[int, Field(ge=1, le=8)]  # width of the perceptrons over `width`

    @model_validator(mode="after")
    def _divides(self) -> "Spacetime":
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self


# Of each family: what may be set, and what makes its trunk of that
KINDS: dict[str, tuple[type[Section], Callable[..., nn.Module]]] = {
    "stgcn": (Stgcn, stgcn.trunk),
    "shiftgcn": (Shiftgcn, shiftgcn.trunk),
    "ctrgcn": (Ctrgcn, ctrgcn.trunk),
    "spacetime": (Spacetime, spacetime.Transformer),
}


@dataclass
class Model(base.Model):
    """A network of one of the families for clips of one joint layout."""

    net: nn.Module
    arch: str
    overrides: dict[str, Any]
    seen: base.Spec
    loaded: Loaded

    def __post_init__(self) -> None:
        self.layout = layouts.read(self.seen["layout"])
        self._input = Input.of(self.seen, self.layout)

    @property
    def spec(self) -> base.Spec:
        """`frames`, `persons`, `dims`, `layout`, `stream`, `score` and `fill`."""
        return dict(self.seen)

    def prepare(self, raw: torch.Tensor) -> torch.Tensor:
        """float32 [B, M, T, J, D + 1] to float32 [B, M, T, J, C], on the device that holds them."""
        return self._input(raw)

    def example(self, count: int) -> torch.Tensor:
        """float32 [count, M, T, J, C], all zero."""
        persons, frames = self.seen["persons"], self.seen["frames"]
        return torch.zeros(count, persons, frames, len(self.layout.joints), channels(self.seen))

    def layers(self) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
        """Of the last block, means over those persons that are there: `full` [C, T', J], `pooled` over frames
        [C, J], and `edges` [J * (J - 1) / 2], the distances between pooled joints over their mean.
        """
        net: Any = self.net
        width, frames, joints = net.trunk.width, self.seen["frames"], len(self.layout.joints)
        return {
            "pooled": (net.pooled, (width, joints)),
            "full": (net.full, (width, -(-frames // net.trunk.stride), joints)),
            "edges": (net.edges, (joints * (joints - 1) // 2,)),
        }


def architecture(family: str, size: str, overrides: dict[str, Any], spec: base.Spec) -> Architecture:
    """A model of a family at a size.

    Args:
        overrides: what is to be another than that size has it, see `SIZES`.

    Raises:
        ParamsError: there is no such family or size, or it does not take these overrides.
    """
    made = Architecture(family, {"size": size} | overrides, spec)
    _settings(made)
    _check_stream(spec)
    return made


def _check_stream(spec: base.Spec) -> None:
    """Refuse a stream that is 0 for every clip."""
    if spec["stream"] == "motion" and spec["frames"] < 2:
        raise ParamsError(
            "the stream motion of one frame is nothing",
            "it is the difference of each frame to the next",
            "take more frames (views.size, student.model.frames), or the stream joint or bone",
        )
    layout = layouts.read(spec["layout"])
    if spec["stream"] == "bone" and not layout.bones:
        raise ParamsError(
            f"the stream bone of the layout {layout.name} is nothing",
            "it has no bones",
            "give it some (data.layout.bones), or take the stream joint or motion",
        )


def check_family(name: str, key: str) -> None:
    """Refuse what is no family.

    Args:
        key: what names it, for the message.

    Raises:
        ParamsError: names the nearest one.
    """
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, FAMILIES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParamsError(
            f"{key}: there is no family {name!r:.80}", fix=f"{hint}families: {', '.join(FAMILIES)}"
        )


def check_spec(spec: Any) -> str:
    """What is wrong with a spec that a file holds, as `name = value`; empty: nothing."""
    return wrong_in(spec, Shown)


def create(
    architecture: Architecture,
    classes: int,
    *,
    weights: str = "none",
    drop_path: float = 0.0,
    seed: int = 0,
) -> Model:
    """Make a model, its fresh weights a function of `seed`, then fill in what `weights` gives.

    Args:
        classes: the width of the head.
        weights: `none`, or a path to a `.safetensors` file.
        drop_path: stochastic depth: how often the last block is left out; earlier ones less often.
        seed: torch's global generator is used, and put back: call it where nothing else is drawing.

    Raises:
        ParamsError: there is no such family, it does not take these overrides, or the spec is not sound.
        WeightsError: `hub`, no file, a file that is no safetensors, or one of another architecture.
    """
    arch, spec = architecture.arch, architecture.spec
    values = _settings(architecture)
    wrong = check_spec(spec)
    if wrong:
        raise ParamsError(f"{arch} cannot be made for {wrong}")
    if weights == "hub":
        raise WeightsError(
            f"there are no hub weights of {arch}", fix="set the weights to `none` or to a .safetensors file"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = _net(arch, values, layouts.read(spec["layout"]), spec, classes, drop_path)
    loaded = Loaded()
    if weights != "none":
        file = Path(os.path.expanduser(weights))
        loaded = fill_in(net, read_weights(file), file.name, arch, ("head.weight", "head.bias"))
    return Model(net, arch, architecture.overrides, spec, loaded)


def _settings(architecture: Architecture) -> dict[str, Any]:
    """The arguments of the trunk: its size's, and the overrides."""
    family, values = architecture.arch, dict(architecture.overrides)
    check_family(family, "arch")
    size = values.pop("size", None)
    if not isinstance(size, str) or size not in SIZES[family]:
        raise ParamsError(
            f"{family}: there is no size {size!r:.80}", fix=f"valid sizes: {', '.join(SIZES[family])}"
        )
    kind, usual = KINDS[family][0], SIZES[family][size]
    return validated(kind, usual | values, f"{family} ({size})", ("overrides",)).model_dump()


def _net(
    family: str, values: dict[str, Any], layout: Layout, spec: base.Spec, classes: int, drop_path: float
) -> Classifier:
    seen = channels(spec)
    shape = (layout, seen, spec["frames"]) if family == "spacetime" else (layout, seen)
    trunk = KINDS[family][1](*shape, **values, drop_path=drop_path)
    return Classifier(trunk, seen, len(layout.joints), classes)

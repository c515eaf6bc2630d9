"""What the tests of skeleton models are shown."""

from typing import Any

import torch

from stillroom.modalities.skeletons.models.create import Model, architecture, create


def spec(layout: Any = "penn13", **changed: Any) -> dict[str, Any]:
    """A spec, small unless it is changed."""
    usual = {
        "frames": 8,
        "persons": 1,
        "dims": 2,
        "layout": layout,
        "stream": "joint",
        "score": False,
        "fill": "neighbour",
    }
    return usual | changed


def model(family: str, size: str = "micro", classes: int = 5, seed: int = 0, **changed: Any) -> Model:
    """A fresh model."""
    return create(architecture(family, size, {}, spec(**changed)), classes, seed=seed)


def settled(model: Model) -> Model:
    """A model in eval mode whose batch norms have seen inputs, so that they do something."""
    draw = torch.Generator().manual_seed(9)
    model.net.train()
    with torch.no_grad():
        for _ in range(3):
            model.net(2 * torch.randn(model.example(8).shape, generator=draw) + 0.5)
    model.net.eval()
    return model


def clips(count: int, seed: int = 1, **changed: Any) -> torch.Tensor:
    """Rendered clips with all joints there: float32 [count, M, T, J, D + 1]."""
    from stillroom.modalities.skeletons.layouts import read

    about = spec(**changed)
    joints = len(read(about["layout"]).joints)
    draw = torch.Generator().manual_seed(seed)
    shape = (count, about["persons"], about["frames"], joints, about["dims"] + 1)
    raw = torch.randn(shape, generator=draw)
    raw[..., -1] = raw[..., -1].abs().clamp(0.1, 1)
    return raw

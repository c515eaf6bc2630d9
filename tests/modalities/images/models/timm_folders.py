"""Folders as stages write them, without the training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stillroom.modalities.images.models.create import Model, create
from stillroom.modalities.weights import save_weights

VIT = "vit_tiny_patch16_224"
MICRO = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
CLASSES = ("cat", "dog", "emu", "fox", "gnu")


def write(folder: Path, model: Model, classes: Sequence[str] = CLASSES) -> Path:
    """A student's folder; the weights are made to be anything but those of a fresh model."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in model.net.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=draw))
    folder.mkdir(parents=True)
    save_weights(model.net, folder / "model.safetensors")
    config = model.config(classes)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    record = {
        "arch": model.arch,
        "overrides": model.overrides,
        "classes": list(classes),
        "input": model.spec,
        **model.made_by(),
    }
    (folder / "student.json").write_text(json.dumps(record))
    return folder


def small(folder: Path, classes: Sequence[str] = CLASSES, arch: str = VIT, **more: Any) -> Path:
    """A folder with a ViT of 32 pixels."""
    return write(folder, create(arch, len(classes), MICRO | more, seed=1, size=32), classes)


def change(folder: Path, **values: Any) -> None:
    """Change what its `config.json` says; None takes a key away."""
    file = folder / "config.json"
    tree = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({name: value for name, value in tree.items() if value is not None}))

"""What is kept of a finished model beside its weights: its answers on the test split, and a description."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from stillroom.files import write_json
from stillroom.modalities.base import Model
from stillroom.samples import Samples


def described(model: Model, samples: Samples) -> dict[str, Any]:
    """What `student.json` and `teacher.json` record of how to make the model again."""
    return {
        **({} if samples.modality == "images" else {"modality": samples.modality}),  # the key came later
        "arch": model.arch,
        "overrides": model.overrides,
        "classes": list(samples.classes),
        "input": model.spec,
        **model.made_by(),
    }


def write_config(folder: Path, model: Model, samples: Samples) -> None:
    """Write `config.json`, from which timm makes the model again, beside its weights."""
    config = model.config(samples.classes)
    if config is not None:
        write_json(folder / "config.json", config)


def tested(test: Samples) -> dict[str, str]:
    """What they record of the test split that the model was measured on."""
    return {name: digest for name, digest in test.digests().items() if name != "classes"}


def write_predictions(folder: Path, logits: np.ndarray, test: Samples) -> None:
    """Keep a model's predictions on the test split: `predictions.safetensors`, and `plots/confusion.csv`
    for plots.

    Args:
        logits: float32 [N, C], rows as in `test`; or [D, N, C] of D draws of a corruption.
    """
    # `save_file` gives nobody else the right to read it, whatever the umask
    (folder / "predictions.safetensors").write_bytes(save({"logits": logits}))
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    with (plots / "confusion.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("actual", "predicted"))
        for draw in logits.argmax(axis=-1).reshape(-1, len(test)):
            for label, answer in zip(test.labels(), draw, strict=True):
                writer.writerow((test.classes[label], test.classes[answer]))


def weights_lines(model: Model) -> list[str]:
    """The messages about a model's weights file: which tensors it did not give."""
    loaded = model.loaded
    if loaded.source == "none":
        return []
    lines = [f"weights: {loaded.source}"]
    for what, names in (
        ("missing in the file, made fresh", loaded.missing),
        ("of another shape, made fresh", loaded.remade),
        ("in the file only, left out", loaded.unexpected),
    ):
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            lines.append(f"  {what}: {', '.join(names[:8])}{more}")
    return lines

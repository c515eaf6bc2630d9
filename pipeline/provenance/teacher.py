"""The teacher that a folder with `teacher.json` and `model.safetensors` holds."""

from pathlib import Path
from typing import Any

from stillroom import modalities
from stillroom.errors import WeightsError
from stillroom.modalities.base import Architecture, Model
from stillroom.modalities.weights import weights_digest


def load_teacher(folder: Path, described: dict[str, Any]) -> Model:
    """Make the model that `teacher.json` describes, with its weights.

    Args:
        folder: the one that `stillroom teacher` wrote.
        described: the content of its `teacher.json`.

    Raises:
        WeightsError: the weights are missing, or not those that `teacher.json` describes.
    """
    file = folder / "model.safetensors"
    modality = modalities.of_record(described)
    architecture = Architecture(described["arch"], described["overrides"], described["input"])
    model = modality.create(architecture, len(described["classes"]), weights=str(file))
    digest = weights_digest(model.net)
    if digest != described["digest"]:
        raise WeightsError(
            f"{file} does not hold the weights that teacher.json describes",
            f"digest expected {described['digest'][:16]}..., found {digest[:16]}...",
            "run `stillroom teacher` again, or put the right weights back",
        )
    return model

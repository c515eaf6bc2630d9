"""The teacher that a folder with `teacher.json` and `model.safetensors` holds."""

from pathlib import Path
from typing import Any

from stillroom.errors import WeightsError
from stillroom.modalities.images.models.create import Model, create, weights_digest


def load_teacher(folder: Path, described: dict[str, Any]) -> Model:
    """Make the model that `teacher.json` describes, with its weights.

    Args:
        folder: the one that `stillroom teacher` wrote.
        described: the content of its `teacher.json`.

    Raises:
        WeightsError: the weights are missing, or not those that `teacher.json` describes.
    """
    file = folder / "model.safetensors"
    model = create(
        described["arch"],
        len(described["classes"]),
        described["overrides"],
        size=described["input"]["size"],
        weights=str(file),
    )
    found = weights_digest(model.net)
    if found != described["digest"]:
        raise WeightsError(
            f"{file} does not hold the weights that teacher.json describes",
            f"digest expected {described['digest'][:16]}..., found {found[:16]}...",
            "run `stillroom teacher` again, or put the right weights back",
        )
    return model

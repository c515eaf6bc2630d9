"""Clips for tests: somebody who walks on the spot, with joints missing here and there."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.draw import uniforms
from stillroom.modalities.skeletons.layouts import LAYOUTS, Layout
from stillroom.modalities.skeletons.samples import Sample
from stillroom.samples import Samples


def clip(
    seed: int = 0,
    frames: int = 60,
    persons: int = 1,
    dims: int = 2,
    layout: str = "penn13",
    missing: float = 0.1,
) -> np.ndarray:
    """float32 [T, M, J, D + 1], in pixels or in metres; each person moves more than the one before."""
    body: Layout = LAYOUTS[layout]
    count = len(body.joints)

    def random(what: str, *shape: int) -> np.ndarray:
        return uniforms(seed, what, 0, int(np.prod(shape))).reshape(shape)

    time = np.linspace(0, 4 * np.pi, frames)[:, None, None, None]
    rest = random("rest", 1, persons, count, dims) * 4 - 2
    reach = random("swing", 1, persons, count, dims) * np.arange(1, persons + 1)[:, None, None]
    points = rest + 0.3 * reach * np.sin(time + 6 * random("phase", 1, persons, count, 1))
    points = points * 60 + 300 if dims == 2 else points * 0.4 + 2
    score = 0.3 + 0.7 * random("score", frames, persons, count, 1)
    made = np.concatenate([points, score], axis=-1).astype(np.float32)
    lose(made, random("missing", frames, persons, count) < missing)
    return made


def lose(made: np.ndarray, lost: Any) -> None:
    """Joints of a clip that are not there."""
    made[..., :-1][lost] = np.nan
    made[..., -1][lost] = 0


def spec(frames: int = 32, persons: int = 1, dims: int = 2, layout: Any = "penn13") -> dict[str, Any]:
    """What decides the rendering."""
    return {"frames": frames, "persons": persons, "dims": dims, "layout": layout}


def sample(made: np.ndarray, key: str = "clip", layout: str = "penn13", digest: str = "0" * 64) -> Sample:
    """The row of a clip."""
    frames, persons, joints, channels = made.shape
    return Sample(
        key, f"{key}.npy", "train", 0, frames, persons, joints, channels - 1, layout, (0, 0), digest
    )


def written(folder: Path, clips: list[np.ndarray]) -> Samples:
    """A table of clips, with their files."""
    rows = []
    for number, made in enumerate(clips):
        key = f"clip_{number}"
        np.save(folder / f"{key}.npy", made)
        rows.append(
            sample(made, key, digest=hashlib.sha256((folder / f"{key}.npy").read_bytes()).hexdigest())
        )
    return Samples("drawn", ("a", "b"), tuple(rows), folder, "skeletons")

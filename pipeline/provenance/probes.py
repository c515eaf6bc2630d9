"""Probes: rendered pixels of a few fixed views, kept in the manifest: does this machine render alike?

Decoders and resizers differ between versions, by a level or two. What differs by more is another picture.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillroom.cache.read.store import Store
from stillroom.errors import CacheError, fetch_again
from stillroom.modalities.images.fields import FIELDS, View, pack, unpack
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.policies import make_recipe
from stillroom.modalities.images.render import render
from stillroom.params import Views
from stillroom.samples import Sample, Samples

PROBES = 4  # samples, spread over the keys, of whose view 0 pixels are kept
SIDE = 16  # a probe keeps a digest of its pixels, and a grid of SIDE x SIDE of them to say how far others are
# Mean difference in levels of 255 beyond which views count as other pictures. Decoders differ by about 0.5; a
# flip, a neighbouring crop or another colour by 10 and more.
BOUND = 2.0


@dataclass(frozen=True)
class Difference:
    """How far the probes rendered here are from those of the manifest.

    Attributes:
        probes: how many there are.
        differing: how many of them are not equal bit for bit.
        largest: the largest difference of a colour value of the grids, in levels of 255.
        mean: the mean difference of the probe that differs most, in levels of 255.
    """

    probes: int
    differing: int
    largest: int
    mean: float


def make_probes(samples: Samples, views: Views, size: int) -> list[dict[str, Any]]:
    """The probes of the training samples at `size` pixels a side: JSON for the manifest."""
    recipe = make_recipe(views.recipe)
    step = max(1, len(samples) // PROBES)
    found = []
    for row in samples.rows[::step][:PROBES]:
        drawn = recipe.draw(views.seed, row, 0)  # unmixed: mixing is whole numbers, the same everywhere
        pixels = _pixels(samples, row, drawn, size)
        found.append(
            {
                "key": row.key,
                "view": 0,
                "parameters": {
                    name: values[0].tolist() for name, values in pack([drawn], recipe.KEEPS).items()
                },
                "size": size,
                "sha256": _digest(pixels),
                "grid": base64.b64encode(_grid(pixels).tobytes()).decode("ascii"),
            }
        )
    return found


def difference(store: Store, samples: Samples) -> Difference:
    """Render a cache's probes here, from the parameters that they keep, and compare.

    Raises:
        CacheError: a probe in the manifest is not sound.
    """
    by_key = {row.key: row for row in samples.rows}
    differing, largest, mean = 0, 0, 0.0
    for index, probe in enumerate(store.manifest.probes):
        try:
            row, size, digest = by_key[probe["key"]], probe["size"], str(probe["sha256"])
            if type(size) is not int or not 1 <= size <= 4096:
                raise ValueError(f"size {size!r:.40}")
            kept = np.frombuffer(base64.b64decode(probe["grid"], validate=True), np.uint8)
            kept = kept.reshape(min(SIDE, size), min(SIDE, size), 3)
            drawn = {
                name: np.array(probe["parameters"][name], dtype).reshape(1, *shape)
                for name, (dtype, shape) in FIELDS.items()
                if name in probe["parameters"]
            }
            pixels = _pixels(samples, row, unpack(drawn, 0), size)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CacheError(
                f"probe {index} of {store.folder} is damaged",
                f"{type(error).__name__}: {error}"[:200],
                f"{fetch_again(store.place)}, or run `stillroom cache --replace`",
            ) from None
        if _digest(pixels) != digest:
            apart = np.abs(_grid(pixels).astype(int) - kept)
            differing += 1
            largest, mean = max(largest, int(apart.max())), max(mean, float(apart.mean()))
    return Difference(len(store.manifest.probes), differing, largest, mean)


def check_probes(store: Store, samples: Samples) -> str:
    """Refuse a machine that renders other pictures than the cache's writer did.

    Returns:
        what to say where the pixels differ by less than the bound; empty where they are equal.

    Raises:
        CacheError: they differ by more than `BOUND`.
    """
    found = difference(store, samples)
    if not found.differing:
        return ""
    made = ", ".join(
        f"{name} {store.manifest.environment.get(name)}" for name in ("pillow", "jpeg", "machine")
    )
    told = (
        f"{found.differing} of {found.probes} probes render to other pixels here than where the cache was "
        f"made ({made}): by {found.largest} of 255 levels at most, {found.mean:.2f} in the mean"
    )
    if found.mean > BOUND:
        raise CacheError(
            told,
            f"a mean above {BOUND} levels is another picture: the logits do not belong to it",
            "install the versions named above, or run `stillroom cache --replace` here",
        )
    return f"warning: {told}: the logits fit these views, but not bit for bit"


def _pixels(samples: Samples, row: Sample, view: View, size: int) -> np.ndarray:
    return render(Pixels(samples, budget=0)[row], view, size)


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _grid(pixels: np.ndarray) -> np.ndarray:
    """Evenly spread pixels, uint8 [SIDE, SIDE, 3], or all of a smaller square."""
    side = len(pixels)
    count = min(SIDE, side)
    places = (np.arange(count) * side) // count
    return np.ascontiguousarray(pixels[np.ix_(places, places)])

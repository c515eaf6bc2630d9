"""What a cache is made from, said from the project's side, and the check of a cache against it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.cache import identity as identities
from pipeline.cache.layout import VIEWS
from pipeline.cache.manifest import Manifest
from pipeline.cache.store import Store
from pipeline.config import Views
from pipeline.errors import CacheError
from pipeline.samples import Sample, Samples
from pipeline.views.pixels import Pixels
from pipeline.views.recipe import FIELDS, View, make_recipe, unpack
from pipeline.views.render import render

PROBES = 4  # samples whose first view's pixels are digested in the manifest

FIXES = {
    "teacher": "put the old artifacts/teacher back, or run `stillroom cache` to cache this teacher",
    "input": "run `stillroom cache` to cache the teacher at its present input size and normalisation",
    "samples.images": "put the old images back, or run `stillroom prepare` and `stillroom cache` again",
    "samples": "use the data, split and class order that the cache was made from, or run `stillroom cache`",
    "views": "set views.recipe and views.seed to what the cache was made with, or run `stillroom cache`",
    "outputs": "set cache.encoding to what the cache was made with, or run `stillroom cache`",
}


def of_data(train: Samples, views: Views) -> dict[str, Any]:
    """The part of an identity that a student can know: its samples and its recipe."""
    return {
        "samples": {"count": len(train), **train.digests()},
        "views": {"recipe": views.recipe.model_dump(mode="json"), "seed": views.seed},
    }


def of_teacher(described: dict[str, Any]) -> dict[str, Any]:
    """The part of an identity that `teacher.json` tells."""
    return {
        "teacher": {
            "arch": described["arch"],
            "overrides": described["overrides"],
            "digest": described["digest"],
            "classes": len(described["classes"]),
        },
        "input": described["input"],
    }


def read_teacher(file: Path) -> dict[str, Any]:
    """The content of `teacher.json`.

    Raises:
        CacheError: it is missing or damaged.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        of_teacher(found)
        return found
    except FileNotFoundError:
        raise CacheError(f"{file} is not there", fix="run `stillroom teacher` first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"{file} cannot be read", f"{type(error).__name__}: {error}", "run `stillroom teacher`"
        ) from None


def check_against_cache(manifest: Manifest, train: Samples, views: Views, teacher_file: Path) -> None:
    """Refuse a cache that does not belong to these samples and this recipe, nor to the teacher if one is at
    hand.

    Raises:
        CacheError: names each field that differs, with both values and what to do.
    """
    expected = of_data(train, views)
    if teacher_file.exists():
        expected |= of_teacher(read_teacher(teacher_file))
    identities.check(expected, manifest.identity, FIXES)


def make_probes(samples: Samples, views: Views, size: int) -> list[dict[str, Any]]:
    """Digests of the rendered pixels of view 0 of a few samples, spread over the keys."""
    recipe = make_recipe(views.recipe.model_dump())
    step = max(1, len(samples) // PROBES)
    rows = samples.rows[::step][:PROBES]
    drawn = [recipe.draw(views.seed, row.key, 0, row.size) for row in rows]
    return [
        {"key": row.key, "view": 0, "sha256": _pixels_digest(samples, row, view, size)}
        for row, view in zip(rows, drawn, strict=True)
    ]


def differing_probes(store: Store, samples: Samples) -> list[str]:
    """What to say where this machine renders other pixels than the cache's writer did; empty if not."""
    manifest = store.manifest
    size = manifest.identity["input"]["size"]
    number = {row.key: i for i, row in enumerate(samples.rows)}
    differing = 0
    for probe in manifest.probes:
        plane = store.read_plane(probe["view"], [f"{VIEWS}{name}" for name in FIELDS])
        row = number[probe["key"]]
        view = unpack({name: plane[f"{VIEWS}{name}"] for name in FIELDS}, row)
        differing += _pixels_digest(samples, samples.rows[row], view, size) != probe["sha256"]
    if not differing:
        return []
    made = ", ".join(f"{name} {manifest.environment.get(name)}" for name in ("pillow", "jpeg", "machine"))
    return [
        f"warning: {differing} of {len(manifest.probes)} probes render to other pixels here than where the "
        f"cache was made ({made}): the logits fit these views, but not bit for bit"
    ]


def _pixels_digest(samples: Samples, row: Sample, view: View, size: int) -> str:
    return hashlib.sha256(render(Pixels(samples, budget=0)[row], view, size).tobytes()).hexdigest()

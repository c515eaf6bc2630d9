"""Probes: rendered views of a few samples, kept in the manifest: does this machine render alike?

Decoders and resizers differ between versions, by a level or two. What differs by more is another picture.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.cache.read.store import Store
from stillroom.errors import CacheError, fetch_again
from stillroom.modalities.base import Modality, Spec, ViewRequest
from stillroom.params import Views
from stillroom.samples import Sample, Samples

PROBES = 4  # samples, spread over the keys, of whose view 0 a digest and an excerpt are kept


@dataclass(frozen=True)
class Difference:
    """How far the probes rendered here are from those of the manifest.

    Attributes:
        probes: how many there are.
        differing: how many of them are not equal bit for bit.
        largest: the largest difference of a value of the excerpts, in the modality's units.
        mean: the mean difference of the probe that differs most, likewise.
    """

    probes: int
    differing: int
    largest: float
    mean: float


def make_probes(samples: Samples, views: Views, spec: Spec) -> list[dict[str, Any]]:
    """The probes of the training samples, as a teacher of this spec sees them: JSON for the manifest."""
    modality = modalities.get(samples.modality)
    policy = modality.policy(views.recipe)
    step = max(1, len(samples) // PROBES)
    probes = []
    for sample in samples.rows[::step][:PROBES]:
        drawn = policy.draw(views.seed, sample, 0)  # unmixed: mixing is whole numbers, the same everywhere
        rendered = _rendered(modality, samples, sample, drawn, spec)
        packed = modality.pack([drawn], policy.KEEPS)
        probes.append(
            {
                "key": sample.key,
                "view": 0,
                "parameters": {name: values[0].tolist() for name, values in packed.items()},
                **modality.rendering(spec),
                "sha256": _digest(rendered),
                "grid": base64.b64encode(modality.excerpt(rendered).tobytes()).decode("ascii"),
            }
        )
    return probes


def read(
    probe: dict[str, Any], samples: Samples
) -> tuple[Sample, str, Spec, np.ndarray, dict[str, np.ndarray]]:
    """What a probe of a manifest says: its sample, its digest, what it was rendered for, a few of its
    numbers, and the parameters of its view, in arrays of one row.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: it is not sound.
    """
    modality = modalities.get(samples.modality)
    sample, digest = samples.rows[samples.row_of(probe["key"])], probe["sha256"]
    if not isinstance(digest, str):
        raise ValueError(f"sha256 = {digest!r:.80}")
    spec = modality.rendering(probe)
    dtype, shape = modality.rendered(spec)
    blank = modality.excerpt(np.zeros(shape, dtype))
    kept = np.frombuffer(base64.b64decode(probe["grid"], validate=True), blank.dtype).reshape(blank.shape)
    drawn = {
        name: np.array(probe["parameters"][name], kind).reshape(1, *form)
        for name, (kind, form) in modality.FIELDS.items()
        if name in probe["parameters"]
    }
    modality.unpack(drawn, 0)
    return sample, digest, spec, kept, drawn


def difference(store: Store, samples: Samples) -> Difference:
    """Render a cache's probes here, from the parameters that they keep, and compare.

    Raises:
        CacheError: a probe in the manifest is not sound.
    """
    modality = modalities.get(samples.modality)
    differing, largest, mean = 0, 0.0, 0.0
    for index, probe in enumerate(store.manifest.probes):
        try:
            sample, digest, spec, kept, drawn = read(probe, samples)
            rendered = _rendered(modality, samples, sample, modality.unpack(drawn, 0), spec)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CacheError(
                f"probe {index} of {store.folder} is damaged",
                f"{type(error).__name__}: {error}"[:200],
                f"{fetch_again(store.location)}, or run `stillroom cache --replace`",
            ) from None
        if _digest(rendered) != digest:
            apart = np.abs(modality.excerpt(rendered).astype(float) - kept)
            differing += 1
            largest, mean = max(largest, float(apart.max())), max(mean, float(apart.mean()))
    return Difference(len(store.manifest.probes), differing, largest, mean)


def check_probes(store: Store, samples: Samples) -> str:
    """Refuse a machine that renders other views than the cache's writer did.

    Returns:
        the message where they differ by less than the bound; empty where they are equal.

    Raises:
        CacheError: they differ by more than the modality's `PROBE_BOUND`.
    """
    modality = modalities.get(samples.modality)
    compared = difference(store, samples)
    if not compared.differing:
        return ""
    names = [*modality.environment(), "machine"]
    mean = f"{compared.mean:.2f}" if compared.mean >= 0.01 else f"{compared.mean:.2g}"
    made = ", ".join(f"{name} {store.manifest.environment.get(name)}" for name in names)
    warning = (
        f"{compared.differing} of {compared.probes} probes render to other {modality.INPUTS} here than where "
        f"the cache was made ({made}): by {compared.largest:g} {modality.UNITS} at most, "
        f"{mean} in the mean"
    )
    if compared.mean > modality.PROBE_BOUND:
        raise CacheError(
            warning,
            f"a mean above {modality.PROBE_BOUND} {modality.UNIT}s is another {modality.VIEW}: the logits do "
            "not belong to it",
            "install the versions named above, or run `stillroom cache --replace` here",
        )
    return f"warning: {warning}: the logits fit these views, but not bit for bit"


def _rendered(modality: Modality, samples: Samples, sample: Any, parameters: Any, spec: Spec) -> np.ndarray:
    return modality.render(modality.reader(samples, budget=0), ViewRequest(sample, parameters), spec)


def _digest(rendered: np.ndarray) -> str:
    return hashlib.sha256(rendered.tobytes()).hexdigest()

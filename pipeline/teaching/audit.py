"""Does a cache hold what this teacher says of these views? A random sample is rendered and computed again."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.outputs import layers, source_of
from stillroom.cache.read.store import Store
from stillroom.draw import words
from stillroom.errors import CacheError
from stillroom.progress import Progress
from stillroom.provenance.probes import difference
from stillroom.provenance.teacher import Teacher
from stillroom.samples import Samples
from stillroom.teaching.forward import Asking
from stillroom.views.planes import drawn

# What another machine's arithmetic may change of a logit, as a share of its view's largest logit: float32
# with sums in another order (or TensorFloat-32), and autocast to bfloat16 or, of three more bits, float16.
NOISE = {"none": 2e-3, "bf16": 5e-2, "fp16": 1e-2}


@dataclass(frozen=True)
class Audit:
    """What an audit of one output found.

    Attributes:
        output: its name.
        views: how many (sample, view) pairs were computed again.
        parameters: how many of them the recipe draws otherwise than stored. No fault: what is stored counts.
        pixels: largest difference of what the probes render to, in the modality's units (images: levels of
            255).
        pixels_mean: the mean difference of the probe that differs most, likewise.
        equal: how many views' stored values are what encoding the new logits gives, bit for bit.
        largest, mean: of the absolute differences of logits, stored and encoded anew.
        noise: the largest difference that float arithmetic and the encoding explain.
        here: the largest difference between two runs on this machine, cut into other batches.
        another_view: what a wrong view would look like: the median, over the sample, of the largest
            difference between two views of an image; None if there is only one view.
        beyond: the keys and views whose difference is more than noise.
        ok: whether none is beyond, and the probes' pixels are within their bound.
    """

    output: str
    views: int
    parameters: int
    pixels: float
    pixels_mean: float
    equal: int
    largest: float
    mean: float
    noise: float
    here: float
    another_view: float | None
    beyond: list[tuple[str, int, float]]
    ok: bool

    def to_json(self) -> dict[str, Any]:
        """What `stillroom store audit --json` prints of it."""
        return asdict(self)


def audit(
    store: Store,
    output: str,
    samples: Samples,
    teacher: Teacher,
    count: int,
    seed: int,
    batch_size: int,
    progress: Progress,
) -> Audit:
    """Render `count` random views from their stored parameters, run the teacher, and compare.

    Args:
        store: the cache; its identity must have been checked against the samples and the teacher.
        output: which output the teacher made.
        samples: the training samples.
        teacher: on its device.
        seed: chooses the sample.
        batch_size: see `Forward`.

    Raises:
        CacheError: the cache is damaged, or the output is stored as random draws.
    """
    identity, layout = store.manifest.identity, store.layout
    entry = identity["outputs"][output]
    codec, shape = encoding_for(entry), tuple(entry["shape"])
    if codec.draws_rows:
        raise CacheError(
            f"{output} is stored as {entry['encoding']}, which cannot be audited",
            "it holds classes drawn at random: what another run rounds otherwise has other draws",
            "`stillroom store verify` says whether it is as it was written",
        )
    total = layout.views * layout.samples
    positions = words(seed, "audit", 0, min(count, total)) % np.uint64(total)
    chosen = sorted({divmod(int(position), layout.samples) for position in positions})
    modality = modalities.get(samples.modality)
    recipe = modality.policy(identity["views"]["recipe"], "manifest.json")
    drawing = identity["views"]["seed"]
    jobs, stored, others, redrawn = [], [], [], 0
    by_view: dict[int, list[int]] = {}
    for view, row in chosen:
        by_view.setdefault(view, []).append(row)
    for view, rows in by_view.items():
        plane = modality.stored(store.parameters(view), samples)
        fresh_shots = drawn(recipe, drawing, samples, [samples.rows[row] for row in rows], view)
        logits = store.logits(view, output)
        other = store.logits((view + 1) % layout.views, output) if layout.views > 1 else None
        for row, redraw in zip(rows, fresh_shots, strict=True):
            redrawn += plane[row] != redraw
            jobs.append(plane[row])
            stored.append(logits[row])
            if other is not None:
                others.append(other[row])
    held = np.stack(stored)
    reader = modality.reader(samples, budget=0)
    progress.start("audit", 2 * len(jobs), "views")
    amp = str(store.manifest.environment.get("amp", "none"))
    asking = Asking(teacher, reader, modality, batch_size, amp, layers({output: entry}))

    def run(length: int) -> np.ndarray:
        return asking(jobs, np.array([row for _, row in chosen]), progress, length)[source_of(entry)]

    fresh, again = run(asking.batch_size), run(max(1, asking.batch_size // 2 + 1))
    progress.finish()
    encoded = codec.decode(output, shape, codec.encode(output, fresh))
    apart, here = np.abs(held - encoded), np.abs(fresh - again)
    size = np.abs(fresh).max(axis=tuple(range(1, fresh.ndim)))
    if codec.shifts:
        fresh = fresh - fresh.max(axis=1, keepdims=True)
    if "k" in entry:  # where two logits are close, noise decides which one is the k-th
        first = np.argsort(-fresh, axis=1)[:, : max(1, entry["k"] // 2)]
        apart = np.take_along_axis(apart, first, axis=1)
        coarse = np.take_along_axis(np.abs(encoded - fresh), first, axis=1)
    else:
        coarse = np.abs(encoded - fresh)
    axes = tuple(range(1, apart.ndim))
    bound = NOISE.get(amp, NOISE["bf16"]) * size + 2 * coarse.max(axis=axes)
    worst = apart.max(axis=axes)
    beyond = [
        (job.sample.key, view, float(worst[i]))
        for i, (job, (view, _)) in enumerate(zip(jobs, chosen, strict=True))
        if worst[i] > bound[i]
    ]
    probes = difference(store, samples)
    return Audit(
        output=output,
        views=len(jobs),
        parameters=redrawn,
        pixels=int(probes.largest) if probes.largest == int(probes.largest) else probes.largest,
        pixels_mean=float(f"{probes.mean:.4g}"),
        equal=int((apart.reshape(len(jobs), -1) == 0).all(axis=1).sum()),
        largest=float(worst.max()),
        mean=float(apart.mean()),
        noise=float(bound.max()),
        here=float(here.max()),
        another_view=float(np.median(np.abs(held - np.stack(others)).reshape(len(jobs), -1).max(axis=1)))
        if others
        else None,
        beyond=sorted(beyond, key=lambda one: -one[2]),
        ok=not beyond and probes.mean <= modality.PROBE_BOUND,
    )

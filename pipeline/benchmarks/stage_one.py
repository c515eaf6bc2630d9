"""Stage one, whole, against the bare forward pass of the same teacher."""

import statistics
from pathlib import Path

import numpy as np
import torch

from stillroom.benchmarks.figure import Amp, Figure, alternate, ratios, rounded
from stillroom.benchmarks.rendering import RECIPE, SIZE
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.device import device
from stillroom.folds import Folds
from stillroom.modalities.images import MODALITY
from stillroom.modalities.images.models.create import create
from stillroom.modalities.images.settings import Views
from stillroom.params import Cache
from stillroom.progress import Progress
from stillroom.provenance.identity import of_data, of_output
from stillroom.provenance.teacher import Teacher
from stillroom.samples import Samples
from stillroom.teaching.forward import Forward
from stillroom.teaching.generate import array_specs, generate

FOLDS = 5


def stage_one(
    folder: Path, samples: Samples, teacher: str, repeats: int, batch_size: int, amp: Amp
) -> tuple[list[Figure], float]:
    """Views a second of `generate` and `publish` (decoding, rendering, the teacher, encoding, digests,
    writing), and of `Forward` on tensors that are there already; and of the former with a cross-fitted
    teacher. Each image is decoded for the first of two views.

    Returns:
        the figures, and seconds a view of the bare teacher.
    """
    recipe = MODALITY.policy(RECIPE)
    with torch.random.fork_rng():
        models = [create(teacher, len(samples.classes), {}, size=SIZE) for _ in range(FOLDS)]
    model = models[0]
    target = device()
    one = Teacher([model]).to(target)
    folds = Folds(FOLDS, 0, np.arange(len(samples)) % FOLDS, "")
    divided = Teacher(models, folds).to(target)
    silent = Progress()
    described = {
        "arch": teacher,
        "overrides": {},
        "digest": "0" * 64,
        "classes": list(samples.classes),
        "input": model.spec,
    }
    outputs = {"logits": of_output(described, Cache())}
    keys, labels = samples.packed_keys(), samples.labels()
    forward = Forward(model, batch_size, amp)
    blank = [
        torch.zeros(len(rows), SIZE, SIZE, 3, dtype=torch.uint8, device=target)
        for rows in torch.arange(len(samples)).split(forward.batch_size)
    ]
    views = 2

    def cached(asked: Teacher, repeat: int) -> None:
        identity = {**of_data(samples, Views(recipe=RECIPE, seed=repeat + 1)), "outputs": outputs}
        with Staging(
            folder / "staging", identity, array_specs(identity, MODALITY), keys, labels, 1024
        ) as staging:
            blocks = staging.blocks(views)
            generate(asked, samples, recipe, repeat + 1, staging, blocks, batch_size, amp, silent)
            publish([staging], folder / f"cache-{len(asked.models)}-{repeat}", "zarr", views, {}, [])

    def whole(repeat: int) -> None:
        cached(one, repeat)

    def crossed(repeat: int) -> None:
        cached(divided, repeat)

    def bare(repeat: int) -> None:
        for _ in range(views):
            forward(blank, silent)

    mine, theirs = alternate(repeats, whole, bare)
    ratio, spread = ratios(theirs, mine)
    single, crossfit = alternate(max(1, repeats // 2), whole, crossed)
    fold_ratio, fold_spread = ratios(single, crossfit)
    count = views * len(samples)
    rates = [count / statistics.median(seconds) for seconds in (mine, theirs)]
    goal = 0.97 if target.type == "cpu" else 0.90
    figure = Figure(
        "stage one, whole",
        rounded(rates[0]),
        "views/s",
        f"the bare teacher: {rounded(rates[1])}",
        round(ratio, 4),
        f">= {goal}",
        spread,
        f"{teacher} at {SIZE} pixels; bare: its forward pass on tensors that are there",
    )
    fold_figure = Figure(
        f"stage one, a model for each of {FOLDS} folds",
        rounded(count / statistics.median(crossfit)),
        "views/s",
        f"one model: {rounded(count / statistics.median(single))}",
        round(fold_ratio, 4),
        ">= 0.97",
        fold_spread,
        "each view is looked at once, by the model that was not fitted to its sample",
    )
    return [figure, fold_figure], 1 / rates[1]

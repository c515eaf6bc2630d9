"""Stage one, whole, against the bare forward pass of the same teacher."""

import statistics
from pathlib import Path

import torch

from pipeline.benchmarks.figure import Amp, Figure, alternate, ratios, rounded
from pipeline.benchmarks.rendering import RECIPE, SIZE
from pipeline.cache.publish import publish
from pipeline.cache.staging import Staging
from pipeline.config import Cache, Views
from pipeline.device import device
from pipeline.generation.forward import Forward
from pipeline.generation.generate import array_specs, generate
from pipeline.generation.identity import of_data, of_output
from pipeline.models.create import create
from pipeline.progress import Progress
from pipeline.samples import Samples
from pipeline.views.policies import make_recipe
from pipeline.views.recipe import Policy


def stage_one(
    folder: Path, samples: Samples, teacher: str, repeats: int, batch_size: int, amp: Amp
) -> tuple[Figure, float]:
    """Views a second of `generate` and `publish` (decoding, rendering, the teacher, encoding, digests,
    writing), and of `Forward` on tensors that are there already. Each image is decoded for the first of two
    views.

    Returns:
        the figure, and seconds a view of the bare teacher.
    """
    recipe: Policy = make_recipe(RECIPE)
    with torch.random.fork_rng():
        model = create(teacher, len(samples.classes), {}, size=SIZE)
    where = device()
    model.net.to(where)
    silent = Progress()
    described = {
        "arch": teacher,
        "overrides": {},
        "digest": "0" * 64,
        "classes": list(samples.classes),
        "input": {"size": SIZE, "mean": list(model.mean), "std": list(model.std)},
    }
    outputs = {"logits": of_output(described, Cache())}
    keys, labels = [row.key for row in samples.rows], samples.labels()
    forward = Forward(model, batch_size, amp)
    blank = [
        torch.zeros(len(rows), SIZE, SIZE, 3, dtype=torch.uint8, device=where)
        for rows in torch.arange(len(samples)).split(forward.batch_size)
    ]
    views = 2

    def whole(repeat: int) -> None:
        identity = {**of_data(samples, Views(recipe=RECIPE, seed=repeat + 1)), "outputs": outputs}
        with Staging(folder / "staging", identity, array_specs(identity), keys, labels, 1024) as staging:
            blocks = staging.blocks(views)
            generate(model, samples, recipe, repeat + 1, staging, blocks, batch_size, amp, silent)
            publish([staging], folder / f"cache{repeat}", "zarr", views, {}, [])

    def bare(repeat: int) -> None:
        for _ in range(views):
            forward(blank, silent)

    mine, theirs = alternate(repeats, whole, bare)
    ratio, spread = ratios(theirs, mine)
    count = views * len(samples)
    rates = [count / statistics.median(seconds) for seconds in (mine, theirs)]
    goal = 0.97 if where.type == "cpu" else 0.90
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
    return figure, 1 / rates[1]

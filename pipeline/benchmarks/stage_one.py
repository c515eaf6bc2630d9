"""Stage one, whole, against the bare forward pass of the same teacher."""

from pathlib import Path

import torch

from pipeline.benchmarks.figure import Amp, Figure, alternate, ratios, rounded
from pipeline.benchmarks.rendering import RECIPE, SIZE
from pipeline.cache.publish import publish
from pipeline.cache.staging import Staging
from pipeline.device import device
from pipeline.generation.forward import Forward
from pipeline.generation.generate import array_specs, generate
from pipeline.models.create import create
from pipeline.progress import Progress
from pipeline.samples import Samples
from pipeline.views.policies import make_recipe
from pipeline.views.recipe import Policy


def stage_one(
    folder: Path, samples: Samples, teacher: str, repeats: int, batch_size: int, amp: Amp
) -> tuple[Figure, float]:
    """Views a second of `generate` and `publish` (rendering, the teacher, encoding, digests, writing), and of
    `Forward` on tensors that are there already. Images are decoded before, once for all views.

    Returns:
        the figure, and seconds a view of the bare teacher.
    """
    recipe: Policy = make_recipe(RECIPE)
    with torch.random.fork_rng():
        model = create(teacher, len(samples.classes), {}, size=SIZE)
    where = device()
    model.net.to(where)
    silent = Progress()
    described = {"arch": teacher, "overrides": {}, "digest": "0" * 64, "classes": len(samples.classes)}
    output = {
        "kind": "logits",
        "encoding": "float16",
        "shape": [len(samples.classes)],
        "teacher": described,
        "input": {"size": SIZE, "mean": list(model.mean), "std": list(model.std)},
    }
    keys, labels = [row.key for row in samples.rows], samples.labels()
    forward = Forward(model, batch_size, amp)
    blank = [
        torch.zeros(len(rows), SIZE, SIZE, 3, dtype=torch.uint8, device=where)
        for rows in torch.arange(len(samples)).split(forward.batch_size)
    ]
    views = 2  # the first decodes, as in every cache; it is left out of what is timed

    def whole(repeat: int) -> None:
        identity = {
            "samples": {"count": len(samples), **samples.digests()},
            "views": {"recipe": recipe.describe(), "seed": repeat + 1},
            "outputs": {"logits": output},
        }
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
    rates = [count / sorted(seconds)[len(seconds) // 2] for seconds in (mine, theirs)]
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

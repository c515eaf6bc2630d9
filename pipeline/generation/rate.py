"""How fast is stage one here? A short measurement of its two parts on real samples."""

import statistics
import time
from dataclasses import dataclass

import torch

from pipeline.generation.forward import Forward
from pipeline.models.create import Model
from pipeline.progress import Progress
from pipeline.samples import Samples
from pipeline.views.loader import batches
from pipeline.views.pixels import Pixels
from pipeline.views.recipe import Recipe

REPEATS = 3
SECONDS = 6.0  # the measurement ends after about so long


@dataclass(frozen=True)
class Rate:
    """Seconds a view on this machine, medians.

    Attributes:
        render: to draw and render it from decoded pixels.
        forward: of the teacher.
        whole: of both together, as stage one runs them.
    """

    render: float
    forward: float
    whole: float


def measure(model: Model, samples: Samples, recipe: Recipe, seed: int, batch_size: int, amp: str) -> Rate:
    """Time rendering, the teacher, and both, in turns, on the first samples.

    Args:
        model: the teacher, on its device.
        samples, recipe, seed: as `generate` takes them.
        batch_size, amp: see `Forward`.
    """
    forward = Forward(model, batch_size, amp)
    threads = torch.get_num_threads()
    rows = samples.rows[: forward.batch_size * max(2, threads)]
    pixels = Pixels(samples)
    pixels.preload(rows)

    def rendered(view: int) -> list[torch.Tensor]:
        pairs = [(row, recipe.draw(seed, row.key, view, row.size)) for row in rows]
        cut = [pairs[i : i + forward.batch_size] for i in range(0, len(pairs), forward.batch_size)]
        return list(batches(pixels, cut, model.size))

    silent = Progress()
    forward(rendered(0), silent)  # the first pass also tunes kernels
    times: dict[str, list[float]] = {"render": [], "forward": [], "whole": []}
    began = time.perf_counter()
    for turn in range(REPEATS):
        start = time.perf_counter()
        squares = rendered(turn)
        middle = time.perf_counter()
        forward(squares, silent)
        end = time.perf_counter()
        pairs = [(row, recipe.draw(seed, row.key, turn, row.size)) for row in rows]
        cut = [pairs[i : i + forward.batch_size] for i in range(0, len(pairs), forward.batch_size)]
        forward(batches(pixels, cut, model.size), silent)
        last = time.perf_counter()
        for name, seconds in (("render", middle - start), ("forward", end - middle), ("whole", last - end)):
            times[name].append(seconds / len(rows))
        if last - began > SECONDS:
            break
    render, alone, whole = (statistics.median(times[name]) for name in ("render", "forward", "whole"))
    return Rate(render, alone, whole)

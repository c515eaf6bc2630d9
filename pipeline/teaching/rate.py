"""How fast is stage one on this machine? A measurement of a few seconds, on real samples."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from stillroom import modalities
from stillroom.machine import room
from stillroom.modalities.base import Modality, Model, Policy
from stillroom.progress import Progress
from stillroom.samples import Samples
from stillroom.teaching.forward import Forward
from stillroom.teaching.slabs import together
from stillroom.views.loader import Job, batches, in_batches
from stillroom.views.planes import drawn

TURNS = 5
PART = 0.3  # seconds: a part of a turn takes about so long, or as long as a block where that is less
MOST = 8.0  # seconds: no turn begins after them


@dataclass(frozen=True)
class Rate:
    """Seconds on this machine, medians.

    Attributes:
        decode: to read, check and decode a sample, on one core.
        render: to draw a view and render it from a decoded sample, on one core.
        forward: of the teacher, a view, rendered already.
        whole: a view of a sample that is decoded already, as stage one runs: rendering beside the teacher.
        first: a view of a sample that is yet to be decoded, likewise.
    """

    decode: float
    render: float
    forward: float
    whole: float
    first: float

    def seconds(self, samples: Samples, views: int, block_samples: int, mixes: bool) -> float:
        """Of stage one: all views of all samples. Each is decoded for its first view; those that memory
        is kept for only then (`Pixels`), the others for every view, or for every few that are computed at
        once (`Slabs`).

        Args:
            block_samples: rows of a block.
            mixes: whether views are mixed with those of other samples.
        """
        kept = _kept(samples, modalities.get(samples.modality))
        block = self.whole * min(block_samples, len(samples))
        turns = views if mixes else -(-views // together(block))
        cold = len(samples) + (turns - 1) * (len(samples) - kept)
        return cold * self.first + (views * len(samples) - cold) * self.whole


def measure(
    model: Model,
    samples: Samples,
    recipe: Policy,
    seed: int,
    batch_size: int,
    amp: str,
    block_samples: int,
) -> Rate:
    """Time the teacher alone, and stage one on decoded and on fresh samples, in turns.

    Blocks are cut into the batches that `generate` cuts them into; only where one would take more than about
    half a second it is smaller. No global random number generator is read or moved. Encoding and writing are
    left out: some milliseconds a block.

    Args:
        model: the teacher, on its device; put into eval mode.
        samples: the training samples, at least one; a few hundred at most are looked at, evenly spread.
        recipe, seed: as `generate` takes them.
        batch_size, amp: see `Forward`.
        block_samples: rows of a block.

    Raises:
        DataError: a sample is missing, unreadable, or not the one that `prepare` saw.
    """
    silent = Progress()
    modality = modalities.get(samples.modality)
    device = next(model.net.parameters()).device
    streams = torch.get_num_threads() if device.type == "cpu" else 1  # passes at a time
    forward = Forward(model, batch_size, amp)

    def blank(inputs: int) -> list[torch.Tensor]:
        dtype, shape = modality.rendered(model.spec)
        return [torch.from_numpy(np.zeros((inputs, *shape), dtype))] * streams

    # `Forward` fetches each batch's logits, so a GPU has finished when it returns.
    single = _seconds(lambda: forward(blank(1), silent), warm_up=True)
    forward = Forward(model, min(forward.batch_size, max(1, int(2 * PART / single))), amp)
    batch = forward.batch_size
    pass_ = _seconds(lambda: forward(blank(batch), silent), warm_up=True) / (batch * streams)

    block = min(block_samples, len(samples))
    views = min(block, max(batch * streams, int(PART / pass_)))
    views = block if 2 * views > block else views  # a whole one ends as a block does, with a shorter batch
    some = [_seconds(partial(modality.reader(samples).__getitem__, row)) for row in _spread(samples.rows, 8)]
    decode = statistics.median(some)
    rows = _spread(samples.rows, min(views, max(batch, int(PART / decode))))
    reader = modality.reader(samples)
    reader.preload(rows)

    def jobs(turn: int, count: int) -> list[Job]:
        """`count` views of these rows, other ones in each turn."""
        rounds = -(-count // len(rows))
        requests = [
            request
            for turned in range(-(-count // len(rows)))
            for request in drawn(recipe, seed, samples, rows, turn * rounds + turned)
        ][:count]
        return in_batches(requests, batch)

    rendered = list(batches(modality, reader, jobs(0, views), model.spec))
    few = min(views, 32)
    parts: dict[str, tuple[int, Callable[[int], object]]] = {
        "render": (
            few,
            lambda turn: [
                modality.render(reader, request, model.spec) for job in jobs(turn, few) for request in job
            ],
        ),
        "forward": (views, lambda turn: forward(rendered, silent)),
        "whole": (
            views,
            lambda turn: forward(batches(modality, reader, jobs(turn, views), model.spec), silent),
        ),
        "first": (
            len(rows),
            lambda turn: forward(
                batches(modality, modality.reader(samples), jobs(turn, len(rows)), model.spec), silent
            ),
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    began = time.perf_counter()
    for turn in range(TURNS):
        # there and back: what slows down or speeds up meanwhile does so for all
        for name in list(parts)[:: 1 if turn % 2 == 0 else -1]:
            count, part = parts[name]
            seconds[name].append(_seconds(partial(part, turn)) / count)
        if time.perf_counter() - began > MOST:
            break
    return Rate(decode, **{name: statistics.median(values) for name, values in seconds.items()})


def _seconds(work: Callable[[], object], warm_up: bool = False) -> float:
    if warm_up:
        work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _spread(rows: tuple[Any, ...], count: int) -> list[Any]:
    """So many rows, evenly spread: neighbours are of one class, and often of one camera."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def _kept(samples: Samples, modality: Modality) -> int:
    """How many samples a reader keeps."""
    left = room()
    kept = 0
    for row in samples.rows:
        left -= modality.kept_bytes(row)
        if left < 0:
            break
        kept += 1
    return kept

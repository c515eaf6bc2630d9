"""What a large stage one takes on more devices like this machine's, from what was measured here."""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.layout import VIEWS, ArraySpec
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.machine import room, worker_count
from stillroom.modalities.base import Modality, Spec
from stillroom.samples import Samples
from stillroom.teaching.slabs import BYTES
from stillroom.views.loader import AHEAD

ROWS, MANY = 1024, 17  # of the block that is written to measure how fast that is, and how often


@dataclass(frozen=True)
class Outlook:
    """Stage one on some devices.

    Attributes:
        devices: how many, each with as many cores as this one has here.
        idle: those of them that get no block.
        seconds: until the cache is published.
        device_hours: of all devices together.
        cost: `device_hours` times what one costs; None: nobody said.
    """

    devices: int
    idle: int
    seconds: float
    device_hours: float
    cost: float | None


def outlook(devices: int, computing: float, publishing: float, blocks: int, price: float | None) -> Outlook:
    """How long so many devices take.

    Blocks are divided evenly, so that some may have a block more than others, for whom all are held; then one
    process assembles the store, while the others have gone.

    Args:
        computing: seconds of all blocks on one device.
        publishing: seconds that the store takes to be assembled.
        blocks: of all views.
        price: of a device, an hour.
    """
    used = min(devices, blocks)
    busy = computing * math.ceil(blocks / used) / blocks
    hours = (devices * busy + publishing) / 3600
    return Outlook(
        devices, devices - used, busy + publishing, hours, None if price is None else hours * price
    )


def publishing_rate(backend: str, identity: dict[str, Any], arrays: dict[str, ArraySpec]) -> float:
    """Seconds a view that a store takes to be assembled, measured on a block of made-up answers.

    Args:
        backend: the store's format.
        identity: of the cache.
        arrays: what each array holds a row.
    """
    random = np.random.default_rng(0)
    values: dict[str, np.ndarray] = {}
    for name, output in identity["outputs"].items():
        rows = random.normal(0, 3, (ROWS, *output["shape"])).astype(np.float32)
        values |= encoding_for(output).encode(name, rows)
    for name, spec in arrays.items():
        if name.startswith(VIEWS):
            values[name] = random.integers(0, 100, (ROWS, *spec.shape)).astype(spec.dtype)
    made_up = {**identity, "samples": {**identity["samples"], "count": ROWS}}
    keys = [f"key-{number:06d}" for number in range(ROWS)]
    with (
        tempfile.TemporaryDirectory() as place,
        Staging(Path(place) / "staging", made_up, arrays, keys, [0] * ROWS, ROWS) as staging,
    ):
        for block in staging.blocks(MANY):
            staging.commit(block, values, {})
        seconds = []
        for views in (1, MANY):  # what a store takes however many views it has falls out of the difference
            began = time.perf_counter()
            publish([staging], Path(place) / f"cache-{views}", backend, views, {}, [])
            seconds.append(time.perf_counter() - began)
    return max(0.0, seconds[1] - seconds[0]) / ((MANY - 1) * ROWS)


def memory(
    process: int,
    samples: Samples,
    modality: Modality,
    spec: Spec,
    batch: int,
    answers: int,
    blocks: int,
) -> int:
    """Bytes that a process of stage one has with its workers, at most, where views are not mixed.

    Args:
        process: of a process that has the teacher in memory and does nothing.
        spec: what the teacher sees.
        batch: views a forward pass.
        answers: bytes of a block's, as float32.
        blocks: of all views.
    """
    dtype, shape = modality.rendered(spec)
    rendered = batch * math.prod(shape) * np.dtype(dtype).itemsize
    some = samples.rows[:: max(1, len(samples) // 64)]
    each = sum(map(modality.kept_bytes, some)) // len(some)
    lanes = max(1, worker_count())
    waiting = min(BYTES + answers, answers * (blocks + 2))
    kept = min(room(), len(samples) * each)  # so much of what is read stays, for the next views
    return process + waiting + kept + lanes * (batch * each + (AHEAD + 1) * rendered)

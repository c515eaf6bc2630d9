"""Lists of shots to batches of rendered pixels, in worker processes where cores are left."""

import multiprocessing
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.machine import worker_count
from pipeline.views.pixels import Pixels
from pipeline.views.shots import Shot, square

Job = Sequence[Shot]


class _Jobs(Dataset):
    def __init__(self, pixels: Pixels, jobs: Sequence[Job], size: int) -> None:
        self._pixels, self._jobs, self._size = pixels, jobs, size

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(
            np.stack([square(self._pixels, shot, self._size) for shot in self._jobs[index]])
        )


def batches(
    pixels: Pixels, jobs: Sequence[Job], size: int, workers: int | None = None, method: str | None = None
) -> Iterator[torch.Tensor]:
    """Render each job as one batch, in order; the number of workers changes nothing but the speed.

    Args:
        pixels: the decoded images. Forked workers share those that are decoded before, spawned ones each
            decode their own.
        jobs: the shots of each batch.
        size: side of the squares in pixels.
        workers: processes; None: `worker_count()`.
        method: how workers start; None: `fork` where the system has it, else `spawn`.

    Yields:
        uint8 [B, size, size, 3].
    """
    workers = min(worker_count() if workers is None else workers, len(jobs))
    method = method or ("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    if workers and method == "fork":
        pixels.preload(row for job in jobs for shot in job for row in shot.rows())
    return iter(
        DataLoader(
            _Jobs(pixels, jobs, size),
            batch_size=None,
            num_workers=workers,
            multiprocessing_context=method if workers else None,
            # DataLoader would draw a seed from torch's global generator
            generator=torch.Generator(),
        )
    )

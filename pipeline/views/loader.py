"""Lists of views to batches of rendered ones, in worker processes where cores are left."""

import atexit
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from stillroom import stopping
from stillroom.errors import StillroomError
from stillroom.machine import worker_count
from stillroom.modalities.base import Modality, Reader, Spec, ViewRequest

Job = Sequence[ViewRequest]


def in_batches(requests: Sequence[ViewRequest], size: int) -> list[Job]:
    """Cut requests into jobs of `size`, the last one shorter where it does not divide."""
    return [requests[i : i + size] for i in range(0, len(requests), size)]


def batches(
    modality: Modality,
    reader: Reader,
    jobs: Sequence[Job],
    spec: Spec,
    workers: int | None = None,
    method: str | None = None,
) -> Iterator[torch.Tensor]:
    """Render each job as one batch, in order; the number of workers changes nothing but the speed.

    Args:
        reader: of the samples. Forked workers share what is read before, spawned ones each read their own.
        jobs: the views of each batch.
        spec: what the model sees.
        workers: processes; None: `worker_count()`. They start with the first batch that is asked for.
        method: how workers start; None: `fork` where the system has it, else `spawn`.

    Yields:
        [B, ...], as `Modality.rendered` of the spec.

    Raises:
        StillroomError: what rendering raised, the same as without workers; or a worker could not be started,
            was killed, or had no memory left.
    """
    count = min(worker_count() if workers is None else workers, len(jobs))
    if count == 0:
        for job in jobs:
            yield torch.from_numpy(_rendered(modality, reader, job, spec))
        return
    method = method or ("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    if method == "fork":
        reader.preload(sample for job in jobs for request in job for sample in request.samples())
    started: list[_Worker] = []
    try:
        for number in range(count):
            started.append(_Worker(modality, reader, jobs[number::count], spec, method))
        dtype, shape = modality.rendered(spec)
        for number, job in enumerate(jobs):
            batch = np.empty((len(job), *shape), dtype)
            started[number % count].receive(batch, count)
            yield torch.from_numpy(batch)
    finally:
        for worker in started:
            worker.end()


class _Worker:
    """A process that renders jobs one after the other, each ready before it is asked for.

    Batches come through a pipe: shared memory would be faster by some milliseconds a batch, which is nothing
    beside rendering it, but containers have 64 MB of it.
    """

    def __init__(
        self, modality: Modality, reader: Reader, jobs: Sequence[Job], spec: Spec, method: str
    ) -> None:
        self._parent = os.getpid()
        context: Any = multiprocessing.get_context(method)
        try:
            self._line, theirs = context.Pipe(duplex=False)
            forked = self._line if method == "fork" else None
            self._process = context.Process(
                target=_serve, args=(modality, reader, jobs, spec, theirs, forked), daemon=True
            )
            with stopping.blocked():  # and so for good in the worker: its parent decides when it ends
                self._process.start()
                _running.add(self)
            theirs.close()  # or the end of the worker could not be seen
        except OSError as error:
            raise StillroomError(
                "a process that renders views cannot be started",
                error.strerror or str(error),
                "set STILLROOM_WORKERS to fewer processes (0: views are rendered without any), or raise the "
                "limit on processes, open files or memory",
            ) from None

    def receive(self, batch: np.ndarray, count: int) -> None:
        """Put the next job's views into `batch`; there are `count` workers."""
        try:
            problem = self._line.recv()
            if problem is None:
                self._line.recv_bytes_into(batch.data.cast("B"))
                return
        except (EOFError, OSError):
            problem = self._lost(count)
        raise problem

    def _lost(self, count: int) -> StillroomError:
        self._process.join()
        code = self._process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return StillroomError(
            f"a process that renders views ended before its work was done ({how})",
            "a system that is short of memory kills processes (SIGKILL, or SIGBUS in a container)",
            f"free memory, or set STILLROOM_WORKERS to fewer than {count} (0: views are rendered without "
            "processes of their own), then run the same command: finished work is kept",
        )

    def end(self) -> None:
        """Whatever it is at."""
        if os.getpid() != self._parent:  # a worker that started later has copies of this
            return
        _running.discard(self)
        self._process.kill()
        self._process.join()
        self._line.close()


_running: set[_Worker] = set()


@atexit.register
def _end_all() -> None:
    """multiprocessing would wait for those that a failed command left behind, and they for their reader."""
    for worker in list(_running):
        worker.end()


def _serve(
    modality: Modality,
    reader: Reader,
    jobs: Sequence[Job],
    spec: Spec,
    line: Connection,
    forked: Connection | None,
) -> None:
    """A worker's life: batches for as long as somebody reads them, or what kept it from making one."""
    if forked is not None:
        forked.close()  # the reader's end: with it the pipe would outlive a killed parent
    torch.set_num_threads(1)
    with suppress(BrokenPipeError):
        try:
            for job in jobs:
                batch = _rendered(modality, reader, job, spec)
                line.send(None)
                line.send_bytes(batch.data.cast("B"))
        except BrokenPipeError:
            raise
        except Exception as error:
            line.send(_raised_by_parent(error))


def _raised_by_parent(error: Exception) -> Exception:
    """What a worker's parent raises."""
    if isinstance(error, StillroomError):
        return error
    if isinstance(error, MemoryError):
        return StillroomError(
            "a process that renders views has no memory left",
            str(error),
            "free memory, or set STILLROOM_WORKERS to fewer processes, then run the same command: finished "
            "work is kept",
        )
    return RuntimeError("a process that renders views failed:\n" + "".join(traceback.format_exception(error)))


def _rendered(modality: Modality, reader: Reader, job: Job, spec: Spec) -> np.ndarray:
    return np.stack([modality.render(reader, request, spec) for request in job])

"""Views to batches of rendered ones, in worker processes where cores are left."""

import atexit
import gc
import itertools
import math
import mmap
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillroom import stopping
from stillroom.errors import StillroomError
from stillroom.machine import start_method, worker_count
from stillroom.modalities.base import Listed, Modality, Part, Reader, Spec, ViewRequest
from stillroom.samples import Samples

_Context = tuple[Modality, Reader, Samples, Spec]
NO_TABLE = Samples("", (), (), Path())  # for views that have their samples with them

Job = Sequence[ViewRequest]
AHEAD = 2  # batches that a worker is asked for before they are wanted: one is rendered while one is sent


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
    """Render each job as one batch, in order, by workers that end with the last: see `Renderers`.

    Args:
        jobs: the views of each batch.
        workers: processes; None: `worker_count()`. They start with the first batch that is asked for.
    """
    count = min(worker_count() if workers is None else workers, len(jobs))
    seen = (sample for job in jobs for request in job for sample in request.samples())
    renderers = Renderers(modality, reader, NO_TABLE, spec, count, method, seen)
    try:
        yield from renderers(map(Listed, jobs))
    finally:
        renderers.close()


class Renderers:
    """Renders batch after batch, in processes that live until `close`, where cores are left.

    The number of workers changes nothing but the speed.

    Args:
        reader: of the samples. Forked workers share what is read before, spawned ones each read their own.
        samples: the table that parts are of.
        spec: what the model sees.
        workers: processes; None: `worker_count()`. They start with the first batch that is asked for.
        method: how workers start, `fork` or `spawn`; None: `start_method()`.
        seen: samples that are read before workers are forked; None: those of the table.
    """

    def __init__(
        self,
        modality: Modality,
        reader: Reader,
        samples: Samples,
        spec: Spec,
        workers: int | None = None,
        method: str | None = None,
        seen: Iterable[Any] | None = None,
    ) -> None:
        self._started: list[_Worker] = []
        self._context = (modality, reader, samples, spec)
        self._count = worker_count() if workers is None else workers
        self._method = method or start_method()
        self._seen = samples.rows if seen is None else seen

    @property
    def lanes(self) -> int:
        """How many batches are rendered side by side: a batch and the so-manieth after it are rendered by the
        same process.
        """
        return max(1, self._count)

    def __call__(self, parts: Iterable[Part]) -> Iterator[torch.Tensor]:
        """The batches of `stream` alone."""
        with closing(self.stream(parts)) as stream:
            for inputs, _ in stream:
                yield inputs

    def stream(self, parts: Iterable[Part]) -> Generator[tuple[torch.Tensor, dict[str, np.ndarray]]]:
        """
        Args:
            parts: the views of each batch; taken one by one, a few batches ahead. One stream at a time.

        Yields:
            [B, ...], as `Modality.rendered` of the spec; where a GPU is in use, in memory that it copies from
            by itself. And the parameters that the part is to `tell`, by field, [B, ...] each.

        Raises:
            StillroomError: what rendering raised, the same as without workers; or a worker could not be
                started, was killed, or had no memory left.
        """
        if self._count == 0:
            for part in parts:
                inputs = self._empty(len(part))
                yield inputs, _render(self._context, part, inputs.numpy())
            return
        waiting: deque[tuple[_Worker, int]] = deque()

        def receive() -> tuple[torch.Tensor, dict[str, np.ndarray]]:
            worker, length = waiting.popleft()
            inputs = self._empty(length)
            return inputs, worker.receive(inputs.numpy(), self._count)

        whole = False
        turns: Iterator[_Worker] | None = None
        try:
            for part in parts:
                if turns is None:
                    self._start(len(part) * self._bytes())
                    turns = itertools.cycle(self._started)
                if len(waiting) == AHEAD * self._count:
                    yield receive()
                worker = next(turns)
                worker.ask(part, self._count)
                waiting.append((worker, len(part)))
            while waiting:
                last = receive()
                whole = not waiting  # who takes the last one may never ask whether there is another
                yield last
        finally:
            if not whole:  # what was asked for and never fetched would be taken for what is asked next
                self.close()

    def _empty(self, length: int) -> torch.Tensor:
        """Memory for a batch."""
        modality, _, _, spec = self._context
        dtype, shape = modality.rendered(spec)
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty((length, *shape), dtype=kind, pin_memory=torch.cuda.is_initialized())

    def _bytes(self) -> int:
        """Of a view."""
        modality, _, _, spec = self._context
        dtype, shape = modality.rendered(spec)
        return math.prod(shape) * np.dtype(dtype).itemsize

    def _start(self, size: int) -> None:
        """Start the workers, if there are none yet.

        Args:
            size: bytes of a batch, as most are.
        """
        if self._started:
            return
        if self._method == "fork":
            self._context[1].preload(self._seen)
        try:
            for _ in range(self._count):
                self._started.append(_Worker(self._context, self._method, size))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers; the next stream starts others."""
        for worker in self._started:
            worker.end()
        self._started = []

    def __del__(self) -> None:
        self.close()


class _Worker:
    """A process that renders what it is asked for, in order.

    A forked one puts its batches into memory that it shares with its parent. That has no name, so it is none
    of the 64 MB of /dev/shm that a container has. What is larger than expected, and what a spawned one makes,
    comes through the socket.
    """

    def __init__(self, context: _Context, method: str, size: int) -> None:
        self._parent, self._turns = os.getpid(), itertools.cycle(range(AHEAD))
        processes: Any = multiprocessing.get_context(method)
        if method == "spawn":  # where this begins to run later, it lets the signals through that are blocked
            resource_tracker.ensure_running()
        try:
            self._line, theirs = processes.Pipe()
            forked = self._line if method == "fork" else None
            self._shared = [mmap.mmap(-1, max(1, size)) for _ in range(AHEAD if forked else 0)]
            arguments = (context, theirs, forked, self._shared)
            self._process = processes.Process(target=_serve, args=arguments, daemon=True)
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

    def ask(self, part: Part, count: int) -> None:
        """Ask for a batch; there are `count` workers."""
        try:
            self._line.send(part)
        except (BrokenPipeError, ConnectionError):
            raise self._lost(count) from None

    def receive(self, batch: np.ndarray, count: int) -> dict[str, np.ndarray]:
        """Put the next batch that was asked for into `batch`; there are `count` workers.

        Returns:
            the parameters that it is to tell.
        """
        turn = next(self._turns)
        try:
            told = self._line.recv()
            if not isinstance(told, Exception):
                slot = _slot(self._shared, turn, batch)
                if slot is None:
                    self._line.recv_bytes_into(batch.data.cast("B"))
                else:
                    np.copyto(batch, slot)
                return told  # type: ignore[no-any-return]
            problem = told
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


def _slot(shared: list[mmap.mmap], turn: int, batch: np.ndarray) -> np.ndarray | None:
    """An array like `batch` in memory that is shared; None: it does not fit."""
    if not shared or batch.nbytes > len(shared[turn]):
        return None
    return np.frombuffer(shared[turn], batch.dtype, batch.size).reshape(batch.shape)


def _serve(context: _Context, line: Connection, forked: Connection | None, shared: list[mmap.mmap]) -> None:
    """A worker's life: batches for as long as somebody asks for them, or what kept it from making one."""
    if forked is not None:
        forked.close()  # the parent's end: with it the line would outlive a killed parent
    torch.set_num_threads(1)
    gc.freeze()  # a collection would write to every object of the parent's, and so copy its memory
    asked: queue.SimpleQueue[Part | Exception | None] = queue.SimpleQueue()

    def listen() -> None:
        """What is asked for never waits, or both sides could wait for each other to read."""
        try:
            while True:
                asked.put(line.recv())
        except (EOFError, OSError):
            asked.put(None)
        except Exception as error:  # views of a class that this process does not find
            asked.put(error)

    threading.Thread(target=listen, daemon=True).start()
    with suppress(BrokenPipeError, ConnectionError):
        try:
            modality, _, _, spec = context
            dtype, shape = modality.rendered(spec)
            turns = itertools.cycle(range(AHEAD))
            while (part := asked.get()) is not None:
                if isinstance(part, Exception):
                    raise part
                own = np.empty((len(part), *shape), dtype)  # nobody writes to it where there is a slot
                slot = _slot(shared, next(turns), own)
                told = _render(context, part, own if slot is None else slot)
                line.send(told)
                if slot is None:
                    line.send_bytes(own.data.cast("B"))
        except (BrokenPipeError, ConnectionError):
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


def _render(context: _Context, part: Part, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Render views into `batch`; gives the parameters that the part is to tell."""
    modality, reader, samples, spec = context
    requests = part.requests(samples)
    for place, request in enumerate(requests):
        batch[place] = modality.render(reader, request, spec)
    if not part.tell:
        return {}
    return modality.pack([request.parameters for request in requests], part.tell)

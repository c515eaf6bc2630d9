"""A teacher's outputs for rendered views: the same bits on any number of cores and in any process."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from stillroom.evaluation.forward import fetched, outputs_of
from stillroom.modalities.base import Modality, Model, Reader, ViewRequest
from stillroom.progress import Progress
from stillroom.provenance.teacher import Teacher
from stillroom.views.loader import batches, in_batches

# On a CPU a sum may be split otherwise where more threads share it, and then its last bit differs. So each
# pass takes one thread, and as many run at once as there are cores, each small enough for its core's cache.


class Forward:
    """Runs a teacher, in eval mode, over batches of views.

    Attributes:
        batch_size: inputs a pass. What a batch holds decides a logit's last bits, so callers always cut the
            same rows into the same batches.
    """

    def __init__(self, model: Model, batch_size: int, amp: str, take: Sequence[str] = ()) -> None:
        """
        Args:
            model: the teacher, on its device; it is put into eval mode.
            batch_size: inputs a pass on a GPU; a CPU takes at most `Model.per_core()`.
            amp: `none`, `bf16` or `fp16`.
            take: which layers' features, beside the logits.
        """
        self._model, self._amp, self._take = model, amp, take
        self._cpu = next(model.net.parameters()).device.type == "cpu"
        self.batch_size = min(batch_size, model.per_core()) if self._cpu else batch_size
        model.net.eval()

    def __call__(self, batches: Iterable[torch.Tensor], progress: Progress) -> dict[str, np.ndarray]:
        """
        Args:
            batches: rendered views, [B, ...] each, of the model's spec.

        Returns:
            float32 [sum of B, C], raw `logits`, and [sum of B, ...] of each layer that is taken.
        """
        return _joined(list(self.stream(((self._model, raw) for raw in batches), progress)))

    def stream(
        self, batches: Iterable[tuple[Model, torch.Tensor]], progress: Progress
    ) -> Iterator[dict[str, np.ndarray]]:
        """
        Args:
            batches: models like this one, in eval mode on its device, and rendered views for each, [B, ...];
                taken a few ahead.

        Yields:
            of each batch, in order: float32 [B, C], raw `logits`, and [B, ...] of each layer that is taken.
        """
        if not self._cpu:
            yield from self._ahead(batches, progress)
            return
        threads = torch.get_num_threads()
        waiting: deque[Future[Any]] = deque()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                try:
                    for model, raw in batches:
                        waiting.append(pool.submit(self._one, model, raw))
                        if len(waiting) > 2 * threads:  # rendered batches must not pile up
                            yield self._counted(waiting.popleft().result(), progress)
                    while waiting:
                        yield self._counted(waiting.popleft().result(), progress)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        finally:
            torch.set_num_threads(threads)

    def _ahead(
        self, batches: Iterable[tuple[Model, torch.Tensor]], progress: Progress
    ) -> Iterator[dict[str, np.ndarray]]:
        """On a GPU: a pass is asked for before the answers of the one before are fetched, so that it never
        waits for what is done with them.
        """
        begun: deque[dict[str, torch.Tensor]] = deque()
        for model, raw in batches:
            with torch.inference_mode():
                begun.append(model.run(raw, self._amp, take=self._take))
            if len(begun) > 1:
                yield self._counted(fetched(begun.popleft()), progress)
        while begun:
            yield self._counted(fetched(begun.popleft()), progress)

    def _one(self, model: Model, raw: torch.Tensor) -> dict[str, np.ndarray]:
        return outputs_of(model, raw, self._amp, self._take)

    @staticmethod
    def _counted(outputs: dict[str, np.ndarray], progress: Progress) -> dict[str, np.ndarray]:
        progress.advance(len(outputs["logits"]))
        return outputs


class Asking:
    """Asks a teacher of views of training samples: of each the model that was not fitted to it.

    Attributes:
        batch_size: see `Forward`.
    """

    def __init__(
        self,
        teacher: Teacher,
        reader: Reader,
        modality: Modality,
        batch_size: int,
        amp: str,
        take: Sequence[str],
    ) -> None:
        """
        Args:
            teacher: on its device; its models are put into eval mode.
            reader: of the samples.
            batch_size, amp, take: see `Forward`.
        """
        self._teacher, self._reader, self._modality = teacher, reader, modality
        self._forward = {id(one): Forward(one, batch_size, amp, take) for one in teacher.models}
        self.batch_size = self._forward[id(teacher.models[0])].batch_size

    def __call__(
        self, requests: Sequence[ViewRequest], rows: np.ndarray, progress: Progress, length: int | None = None
    ) -> dict[str, np.ndarray]:
        """
        Args:
            requests: n views.
            rows: those of their samples in the table, int [n].
            length: views a batch; None: `batch_size`.

        Returns:
            float32 [n, C], raw `logits`, and [n, ...] of each layer that is taken.
        """
        parts, order = [], []
        for model, asked in self._teacher.asked(rows):
            jobs = in_batches([requests[number] for number in asked], length or self.batch_size)
            rendered = batches(self._modality, self._reader, jobs, model.spec)
            parts.append(self._forward[id(model)](rendered, progress))
            order.append(asked)
        if len(parts) == 1:
            return parts[0]
        back = np.argsort(np.concatenate(order))
        return {name: one[back] for name, one in _joined(parts).items()}


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}

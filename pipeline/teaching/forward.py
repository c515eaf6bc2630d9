"""A teacher's outputs for rendered views: the same bits on any number of cores and in any process."""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from stillroom.evaluation.forward import outputs_of
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
            amp: `none` or `bf16`.
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
        parts: list[dict[str, np.ndarray]] = []

        def keep(outputs: dict[str, np.ndarray]) -> None:
            parts.append(outputs)
            progress.advance(len(outputs["logits"]))

        if not self._cpu:
            for raw in batches:
                keep(self._one(raw))
            return _joined(parts)
        threads = torch.get_num_threads()
        waiting: deque[Future[Any]] = deque()
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                try:
                    for raw in batches:
                        waiting.append(pool.submit(self._one, raw))
                        if len(waiting) > 2 * threads:  # rendered batches must not pile up
                            keep(waiting.popleft().result())
                    while waiting:
                        keep(waiting.popleft().result())
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        finally:
            torch.set_num_threads(threads)
        return _joined(parts)

    def _one(self, raw: torch.Tensor) -> dict[str, np.ndarray]:
        return outputs_of(self._model, raw, self._amp, self._take)


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

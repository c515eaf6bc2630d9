"""A model's logits on the evaluation view of a split."""

from collections.abc import Sequence

import numpy as np
import torch

from stillroom import modalities
from stillroom.distributed import Ranks
from stillroom.errors import StillroomError
from stillroom.modalities.base import EVALUATION_DRAWS, Corruption, Modality, Model, Reader, ViewRequest
from stillroom.progress import Progress
from stillroom.samples import Samples
from stillroom.views.loader import batches, in_batches

KEPT = 2**28  # bytes of samples that are kept while they are looked at in several draws


def outputs_of(model: Model, raw: torch.Tensor, amp: str, take: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """A model's outputs of a batch of rendered views, without gradients.

    Args:
        model: in eval mode, on its device.
        raw: rendered views, on any device.
        amp: `none`, `bf16` or `fp16`.
        take: which layers' features, beside the logits.

    Returns:
        float32 [B, C] `logits`, and [B, ...] of each layer.
    """
    with torch.inference_mode():
        return fetched(model.run(raw, amp, take=take))


def fetched(outputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """A model's outputs as float32 on the CPU; waits for a GPU that computes them."""
    return {name: one.float().cpu().numpy() for name, one in outputs.items()}


def outputs_of_all(
    model: Model,
    modality: Modality,
    reader: Reader,
    requests: Sequence[ViewRequest],
    batch_size: int,
    amp: str,
    progress: Progress,
    take: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """A model's outputs of views, in their order; `progress` is advanced.

    Args:
        model: in any mode; it is put into eval mode.
        batch_size: views a forward pass.
        amp, take: see `outputs_of`.

    Returns:
        likewise, over all; nothing of no view.

    Raises:
        StillroomError: with `fp16`, an output is not finite.
    """
    model.net.eval()
    parts = []
    for raw in batches(modality, reader, in_batches(requests, batch_size), model.spec):
        parts.append(outputs_of(model, raw, amp, take))
        progress.advance(len(raw))
    whole = {name: np.concatenate([one[name] for one in parts]) for name in parts[0]} if parts else {}
    for name, one in whole.items():
        if amp == "fp16" and not np.isfinite(one).all():
            raise StillroomError(
                f"the model's {name} are not finite",
                "amp = fp16 holds nothing above 65504, and it needs more",
                "set amp to bf16 or none",
            )
    return whole


def evaluation_logits(
    model: Model,
    samples: Samples,
    batch_size: int,
    amp: str,
    progress: Progress,
    what: str,
    ranks: Ranks | None = None,
    corruption: Corruption | None = None,
    reader: Reader | None = None,
) -> np.ndarray:
    """Raw logits on each sample's evaluation view, in the table's order, each sample once.

    Args:
        model: in any mode; it is put into eval mode.
        samples: the rows to look at.
        batch_size: samples a forward pass.
        amp: `none`, `bf16` or `fp16`.
        ranks: the processes that share the work, each row by one of them; None: this one alone.
        corruption: what makes each view worse, in `draws` ways that are the same for every model; None: none.
        reader: of these samples; None: one of its own.

    Returns:
        float32 [N, C]; under a corruption [D, N, C], D its draws.

    Raises:
        StillroomError: see `outputs_of_all`.
    """
    modality = modalities.get(samples.modality)
    rows = samples.rows if ranks is None else samples.rows[ranks.rank :: ranks.world]
    views = [ViewRequest(row, modality.evaluation(row)) for row in rows]
    draws = 1 if corruption is None else corruption.draws
    requests = views
    if corruption is not None:
        numbers = range(EVALUATION_DRAWS, EVALUATION_DRAWS + draws)
        requests = [corruption.request(view, number) for number in numbers for view in views]
    # without draws each sample is looked at once
    reader = reader or modality.reader(samples, budget=0 if corruption is None else KEPT)
    progress.start(what, len(requests), modality.SAMPLES if draws == 1 else "views")
    outputs = outputs_of_all(model, modality, reader, requests, batch_size, amp, progress)
    progress.finish()
    logits = outputs.get("logits", np.zeros((0, len(samples.classes)), np.float32))
    each = logits.reshape(draws, len(rows), logits.shape[-1])
    whole = np.stack([one if ranks is None else ranks.interleave(one, len(samples)) for one in each])
    return whole[0] if corruption is None else whole

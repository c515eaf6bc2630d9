"""A model's logits on the centre view of a split."""

import numpy as np
import torch

from stillroom.device import autocast
from stillroom.distributed import Ranks
from stillroom.modalities.images.fields import centre
from stillroom.modalities.images.models.create import Model
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.render import to_input
from stillroom.progress import Progress
from stillroom.samples import Samples
from stillroom.views.loader import batches
from stillroom.views.planes import Shot


def centre_logits(
    model: Model,
    samples: Samples,
    batch_size: int,
    amp: str,
    progress: Progress,
    what: str,
    ranks: Ranks | None = None,
) -> np.ndarray:
    """Raw logits on each sample's centre view, in the table's order, each sample once.

    Args:
        model: in any mode; it is put into eval mode.
        samples: the rows to look at.
        batch_size: images a forward pass.
        amp: `none` or `bf16`.
        ranks: the processes that share the work, each row by one of them; None: this one alone.

    Returns:
        float32 [N, C].
    """
    where = next(model.net.parameters()).device
    model.net.eval()
    rows = samples.rows if ranks is None else samples.rows[ranks.rank :: ranks.world]
    jobs = [
        [Shot(row, centre(row.size)) for row in rows[i : i + batch_size]]
        for i in range(0, len(rows), batch_size)
    ]
    progress.start(what, len(rows), "images")
    found = []
    with torch.inference_mode(), autocast(where, amp):
        # each image is looked at once: nothing is kept
        for squares in batches(Pixels(samples, budget=0), jobs, model.size):
            logits = model.net(to_input(squares.to(where), model.mean, model.std))
            found.append(logits.float().cpu().numpy())
            progress.advance(len(squares))
    progress.finish()
    logits = np.concatenate(found) if found else np.zeros((0, model.net.num_classes), np.float32)
    return logits if ranks is None else ranks.interleave(logits, len(samples))

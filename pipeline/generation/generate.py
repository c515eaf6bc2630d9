"""Stage one: the teacher runs once over every view of every training sample, block by block."""

import numpy as np
import torch

from pipeline.cache.encoding import UnstorableError, encoding
from pipeline.cache.layout import VIEWS, ArraySpec, Block
from pipeline.cache.staging import Staging
from pipeline.device import autocast
from pipeline.errors import CacheError
from pipeline.models.create import Model
from pipeline.progress import Progress
from pipeline.samples import Samples
from pipeline.views.loader import batches
from pipeline.views.pixels import Pixels
from pipeline.views.recipe import FIELDS, Recipe, pack
from pipeline.views.render import to_input

OUTPUT = "logits"


def array_specs(encoding_name: str, num_classes: int) -> dict[str, ArraySpec]:
    """What the cache holds a view: the encoded logits, and the view's parameters under `views/`."""
    drawn = {
        f"{VIEWS}{name}": ArraySpec(np.dtype(dtype).str, shape) for name, (dtype, shape) in FIELDS.items()
    }
    return encoding(encoding_name).fields(OUTPUT, (num_classes,)) | drawn


def generate(
    model: Model,
    samples: Samples,
    recipe: Recipe,
    seed: int,
    staging: Staging,
    views: int,
    encoding_name: str,
    batch_size: int,
    amp: str,
    progress: Progress,
) -> int:
    """Compute and commit every block that is not committed yet.

    A block is always cut into the same batches, so that a resumed run computes what an undisturbed one would.

    Args:
        model: the teacher, on its device; put into eval mode.
        samples: the training samples, rows as in the staging folder.
        recipe, seed: what views draw.
        staging: an open staging folder.
        views: V.
        encoding_name: how logits are kept.
        batch_size: images a forward pass.
        amp: `none` or `bf16`.

    Returns:
        the number of blocks that were committed before.

    Raises:
        CacheError: the teacher gave a value that cannot be kept; the message names sample and view.
    """
    blocks = staging.blocks(views)
    done = staging.committed()
    missing = [block for block in blocks if block not in done]
    before = len(blocks) - len(missing)
    if staging.dropped:
        progress.note(f"damaged: {staging.dropped} staged blocks; they are computed anew")
    if before:
        progress.note(f"resumed: {before} of {len(blocks)} blocks")
    where = next(model.net.parameters()).device
    model.net.eval()
    pixels = Pixels(samples)
    progress.start("cache", sum(block.stop - block.start for block in missing), "views")
    for block in missing:
        rows = samples.rows[block.start : block.stop]
        drawn = [recipe.draw(seed, row.key, block.view, row.size) for row in rows]
        pairs = list(zip(rows, drawn, strict=True))
        jobs = [pairs[i : i + batch_size] for i in range(0, len(pairs), batch_size)]
        found = []
        with torch.inference_mode(), autocast(where, amp):
            for squares in batches(pixels, jobs, model.size):
                logits = model.net(to_input(squares.to(where), model.mean, model.std))
                found.append(logits.float().cpu().numpy())
                progress.advance(len(squares))
        encoded = _encode(encoding_name, np.concatenate(found), samples, block)
        parameters = {f"{VIEWS}{name}": values for name, values in pack(drawn).items()}
        staging.commit(block, encoded | parameters)
    progress.finish()
    return before


def _encode(encoding_name: str, logits: np.ndarray, samples: Samples, block: Block) -> dict[str, np.ndarray]:
    try:
        return encoding(encoding_name).encode(OUTPUT, logits)
    except UnstorableError as error:
        key = samples.rows[block.start + error.row].key
        raise CacheError(
            f"the teacher's logits for {key}, view {block.view}, hold {error.value}",
            error.reason,
            "look at the teacher: it diverged, or its weights are damaged; committed blocks are kept",
        ) from None

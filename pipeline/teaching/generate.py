"""Stage one: a teacher runs once over every view of every training sample, block by block."""

from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.cache.encodings import UnstorableError, encoding_for
from stillroom.cache.format.divergence import measure
from stillroom.cache.format.layout import VIEWS, ArraySpec, Block
from stillroom.cache.format.outputs import layers, source_of
from stillroom.cache.write.staging import Staging
from stillroom.distributed import Ranks
from stillroom.errors import CacheError
from stillroom.modalities.base import Modality, Policy
from stillroom.progress import Progress
from stillroom.provenance.teacher import Teacher
from stillroom.samples import Samples
from stillroom.teaching.forward import Asking
from stillroom.views.planes import drawn


def array_specs(identity: dict[str, Any], modality: Modality) -> dict[str, ArraySpec]:
    """What a cache holds a view: its encoded outputs, and what the recipe draws under `views/`."""
    fields = modality.policy(identity["views"]["recipe"], "identity").fields()
    specs = {
        f"{VIEWS}{name}": ArraySpec(np.dtype(dtype).str, shape) for name, (dtype, shape) in fields.items()
    }
    for name, output in identity["outputs"].items():
        specs |= encoding_for(output).fields(name, tuple(output["shape"]))
    return specs


def divide(staging: Staging, views: int, ranks: Ranks, progress: Progress) -> list[Block]:
    """The blocks that this process has to compute: every n-th of those that are neither staged nor published.

    The first process looks, adopts what an earlier cache holds, and sends the list to the others, so that all
    divide the same one.

    Args:
        staging: an open staging folder, in every process.
        views: V.
    """
    blocks = staging.blocks(views)
    missing = np.ones(len(blocks), bool)
    if ranks.first:
        done = staging.committed()
        adopted = staging.adopt(views, done)
        missing = np.array([block not in done and block not in adopted for block in blocks])
        if staging.dropped:
            progress.note(f"damaged: {staging.dropped} staged blocks; they are computed anew")
        if adopted:
            progress.note(f"adopted: {len(adopted)} blocks of the cache that is there")
        if not missing.all():
            progress.note(f"resumed: {len(blocks) - missing.sum()} of {len(blocks)} blocks")
    todo = [block for block, open_ in zip(blocks, ranks.share(missing), strict=True) if open_]
    return todo[ranks.rank :: ranks.world]


def generate(
    teacher: Teacher,
    samples: Samples,
    recipe: Policy,
    seed: int,
    staging: Staging,
    todo: list[Block],
    batch_size: int,
    amp: str,
    progress: Progress,
) -> None:
    """Compute and commit blocks.

    A block is always cut into the same batches, so that a resumed run computes what an undisturbed one would.

    Args:
        teacher: on its device; its models are put into eval mode.
        samples: the training samples, rows as in the staging folder.
        recipe, seed: what views draw.
        staging: an open staging folder, of outputs of this teacher; one forward pass gives all of them.
        todo: the blocks, as `divide` gives them.
        batch_size, amp: see `Forward`.

    Raises:
        CacheError: the teacher gave a value that cannot be kept; the message names sample and view.
    """
    modality = modalities.get(samples.modality)
    outputs = staging.identity["outputs"]
    asking = Asking(teacher, modality.reader(samples), modality, batch_size, amp, layers(outputs))
    what = "cache" if "logits" in outputs else f"cache {next(iter(outputs))}"
    progress.start(what, sum(map(_length, todo)), "views")
    for block in todo:
        rows = samples.rows[block.start : block.stop]
        requests = drawn(recipe, seed, samples, rows, block.view)
        given = asking(requests, np.arange(block.start, block.stop), progress)
        packed = modality.pack([request.parameters for request in requests], recipe.fields())
        arrays = {f"{VIEWS}{field}": values for field, values in packed.items()}
        measured = {}
        for name, output in outputs.items():
            encoded, measured[name] = _encode(name, output, given[source_of(output)], samples, block)
            arrays |= encoded
        staging.commit(block, arrays, measured)
    progress.finish()


def _length(block: Block) -> int:
    return block.stop - block.start


def _encode(
    name: str, output: dict[str, Any], values: np.ndarray, samples: Samples, block: Block
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of an output, and how far what they hold is from what the teacher gave."""
    codec = encoding_for(output)
    try:
        encoded = codec.encode(name, values)
    except UnstorableError as error:
        key = samples.rows[block.start + error.row].key
        raise CacheError(
            f"the teacher's {name} for {key}, view {block.view}, hold {error.value}",
            error.reason,
            "look at the teacher: it diverged, or its weights are damaged; committed blocks are kept",
        ) from None
    return encoded, measure(output, values, codec.decode(name, values.shape[1:], encoded))

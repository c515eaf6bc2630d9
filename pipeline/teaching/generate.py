"""Stage one: a teacher runs once over every view of every sample of a cache."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from stillroom import modalities
from stillroom.cache.encodings import UnstorableError, encoding_for
from stillroom.cache.format.divergence import measure
from stillroom.cache.format.layout import VIEWS, ArraySpec, Block
from stillroom.cache.format.outputs import layers, source_of
from stillroom.cache.write.staging import Staging
from stillroom.distributed import Ranks
from stillroom.errors import CacheError
from stillroom.modalities.base import Modality, Model, Part, Policy
from stillroom.progress import Progress
from stillroom.provenance.teacher import Teacher
from stillroom.samples import Samples
from stillroom.teaching.forward import Forward
from stillroom.teaching.slabs import Behind, Slabs
from stillroom.views.loader import Renderers
from stillroom.views.planes import DrawnPart
from stillroom.views.recent import reading


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
    todo.sort(key=lambda block: (block.start, block.view))  # one process reads a range of samples
    ends = np.linspace(0, len(todo), ranks.world + 1).astype(int)
    return todo[ends[ranks.rank] : ends[ranks.rank + 1]]


class Kept(Protocol):
    """Where computed blocks go: a staging folder, or the memory of a process that sends them to one.

    Attributes:
        identity: of the cache that they belong to.
        block_samples: rows of a block.
    """

    identity: dict[str, Any]
    block_samples: int

    def commit(
        self, block: Block, arrays: dict[str, np.ndarray], measured: dict[str, Any] | None = None
    ) -> None:
        """Take a block: see `Staging.commit`."""


def generate(
    teacher: Teacher,
    samples: Samples,
    recipe: Policy,
    seed: int,
    staging: Kept,
    todo: list[Block],
    batch_size: int,
    amp: str,
    progress: Progress,
) -> None:
    """Compute and commit blocks.

    Of a range of samples several views are computed at once, so that each sample is read and decoded for all
    of them: so many as take about a minute, which is what a kill costs at most, or a block if that takes
    longer. A block is always cut into the same batches, so that a resumed run computes what an undisturbed
    one would.

    Args:
        teacher: on its device; its models are put into eval mode.
        samples: the training samples, rows as in the staging folder.
        recipe, seed: what views draw.
        staging: takes the blocks, of outputs of this teacher; one forward pass gives all of them.
        todo: the blocks, as `divide` gives them.
        batch_size, amp: see `Forward`.

    Raises:
        CacheError: the teacher gave a value that cannot be kept; the message names sample and view.
    """
    modality = modalities.get(samples.modality)
    outputs = staging.identity["outputs"]
    forwards = [Forward(model, batch_size, amp, layers(outputs)) for model in teacher.models]
    size = forwards[0].batch_size
    reader, seen = reading(modality, samples, recipe, size)
    renderers = Renderers(modality, reader, samples, teacher.spec, seen=seen)
    fields = tuple(recipe.fields())
    asked: deque[_Ask] = deque()
    answered: deque[tuple[_Ask, dict[str, np.ndarray]]] = deque()
    slabs = Slabs(todo, bytes_of_block(outputs, staging.block_samples))

    def parts() -> Iterator[Part]:
        for slab in slabs:
            for ask in _asks(teacher, slab, size, renderers.lanes):
                asked.append(ask)
                yield DrawnPart(recipe, seed, ask.block.view, ask.rows, fields)

    def passes() -> Iterator[tuple[Model, torch.Tensor]]:
        with closing(renderers.stream(parts())) as stream:
            for raw, told in stream:
                answered.append((asked.popleft(), told))
                yield answered[-1][0].model, raw

    what = "cache" if "logits" in outputs else f"cache {next(iter(outputs))}"
    progress.start(what, sum(map(_length, todo)), "views")
    commit = partial(_commit, staging, samples)
    open_: dict[Block, _Answers] = {}
    with closing(renderers), Behind() as behind:
        for given in forwards[0].stream(passes(), progress):
            ask, told = answered.popleft()
            answers = open_.setdefault(ask.block, _Answers(_length(ask.block)))
            if answers.keep(ask, given, told):
                behind.do(partial(commit, ask.block, open_.pop(ask.block)))
                slabs.done()
    progress.finish()


@dataclass(frozen=True)
class _Ask:
    """A batch: which model is asked of which rows of the table, in the view of a block."""

    model: Model
    block: Block
    rows: np.ndarray


def _asks(teacher: Teacher, slab: Sequence[Block], size: int, lanes: int) -> Iterator[_Ask]:
    """The batches of blocks of one range of samples. So many rows as have a lane are gone through view by
    view, side by side: the process that renders a lane decodes its rows once.
    """
    start = slab[0].start
    rows = np.arange(start, slab[0].stop)
    batches = [
        (model, rows[own[i : i + size]])
        for model, own in teacher.asked(rows)
        for i in range(0, len(own), size)
    ]
    for first in range(0, len(batches), lanes):
        for block in slab:
            for model, some in batches[first : first + lanes]:
                yield _Ask(model, block, some)


class _Answers:
    """What a teacher says of the rows of a block, as it comes in, and the views that it was shown."""

    def __init__(self, length: int) -> None:
        self.values: dict[str, np.ndarray] = {}
        self.views: dict[str, np.ndarray] = {}
        self._length = self._missing = length

    def keep(self, ask: _Ask, given: dict[str, np.ndarray], told: dict[str, np.ndarray]) -> bool:
        """Take a batch's, and the parameters of its views; whether all are there now."""
        places = ask.rows - ask.block.start
        for arrays, batch in ((self.values, given), (self.views, told)):
            for name, values in batch.items():
                if name not in arrays:
                    arrays[name] = np.empty((self._length, *values.shape[1:]), values.dtype)
                arrays[name][places] = values
        self._missing -= len(places)
        return self._missing == 0


def _commit(
    staging: Kept,
    samples: Samples,
    block: Block,
    answers: _Answers,
) -> None:
    arrays = {f"{VIEWS}{name}": values for name, values in answers.views.items()}
    measured = {}
    for name, output in staging.identity["outputs"].items():
        encoded, measured[name] = _encode(name, output, answers.values[source_of(output)], samples, block)
        arrays |= encoded
    staging.commit(block, arrays, measured)


def _length(block: Block) -> int:
    return block.stop - block.start


def bytes_of_block(outputs: dict[str, Any], length: int) -> int:
    """What the teacher's answers to a block take as float32."""
    return sum(4 * length * math.prod(output["shape"]) for output in outputs.values())


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
            "look at the teacher: it diverged, its weights are damaged, or it is beyond cache.amp: fp16; "
            "committed blocks are kept",
        ) from None
    return encoded, measure(output, values, codec.decode(name, values.shape[1:], encoded))

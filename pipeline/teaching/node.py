"""What a process on a node of a Ray cluster does for stage one: some blocks of a range of samples."""

import os
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.cache.format.layout import Block
from stillroom.device import environment, keep_memory
from stillroom.errors import AccessError, DataError, StillroomError
from stillroom.machine import WORKERS, cores
from stillroom.modalities.base import Modality, Policy
from stillroom.progress import Progress
from stillroom.provenance.teacher import Teacher, load_teacher
from stillroom.samples import Samples
from stillroom.teaching.generate import generate
from stillroom.trust import trust

DATA = "STILLROOM_DATA"  # on a node: where the samples' files lie, if not where the driver has them
_MACHINE = ("machine", "device")  # what may differ between nodes


@dataclass(frozen=True)
class Work:
    """All that a node needs beside the samples' files; sent once.

    Attributes:
        samples: the training samples, with an absolute root.
        described: the teacher's `teacher.json`.
        weights: the files of its folder by name, uint8 [bytes].
        identity: of the cache that the blocks belong to.
        block_samples: rows of a block.
        batch_size, amp: see `Forward`.
        seed: of the views.
        gpu: whether a task has a GPU, or a part of one.
        versions: of what decodes, renders and computes, as the driver has them.
    """

    samples: Samples
    described: dict[str, Any]
    weights: dict[str, np.ndarray]
    identity: dict[str, Any]
    block_samples: int
    batch_size: int
    amp: str
    seed: int
    gpu: bool
    versions: dict[str, str]


@dataclass(frozen=True)
class Done:
    """What a task gives.

    Attributes:
        node: Ray's id of the node.
        device: what computed, for people.
        seconds: that the blocks took, without loading the teacher.
        blocks: what `Staging.commit` takes.
    """

    node: str
    device: str
    seconds: float
    blocks: list[tuple[Block, dict[str, np.ndarray], dict[str, Any]]]


class _Collected:
    """A `Kept` that only collects: the driver alone writes, so nodes need no file system in common."""

    def __init__(self, work: Work) -> None:
        self.identity, self.block_samples = work.identity, work.block_samples
        self.blocks: list[tuple[Block, dict[str, np.ndarray], dict[str, Any]]] = []

    def commit(
        self, block: Block, arrays: dict[str, np.ndarray], measured: dict[str, Any] | None = None
    ) -> None:
        self.blocks.append((block, arrays, measured or {}))


@dataclass
class _Ready:
    """What this process keeps from task to task."""

    work: Work
    samples: Samples
    teacher: Teacher
    recipe: Policy
    device: str


_ready: dict[str, _Ready] = {}  # by the id of a `Work`: one at a time


def compute(work: Sequence[Any], blocks: list[Block]) -> Done | StillroomError:
    """The task: compute blocks. A fault of ours comes back as a value, and Ray retries nothing.

    Args:
        work: a reference to the `Work` in Ray's object store, in a list: so it is fetched where this process
            has not seen it yet, not for each task.
        blocks: of one range of samples.
    """
    import ray

    [reference] = work
    name = reference.hex()
    try:
        if name not in _ready:
            _ready.clear()  # before the next teacher is loaded
            _ready[name] = _prepare(ray.get(reference))
        ready = _ready[name]
        began = time.monotonic()
        kept = _Collected(ready.work)
        work_ = ready.work
        generate(
            ready.teacher,
            ready.samples,
            ready.recipe,
            work_.seed,
            kept,
            blocks,
            work_.batch_size,
            work_.amp,
            Progress(),
        )
        node = ray.get_runtime_context().get_node_id()
        return Done(node, ready.device, time.monotonic() - began, kept.blocks)
    except StillroomError as error:
        return _here(error)
    except Exception as error:
        return _here(StillroomError("a task failed", f"{type(error).__name__}: {error}"))


def _prepare(work: Work) -> _Ready:
    """Load the teacher on this task's device.

    Raises:
        StillroomError: this node has other versions, or no GPU that torch can use.
    """
    import torch

    # Renders in this process: Ray has as many of them as it finds resources, and its own are not to be forked
    os.environ[WORKERS] = "0"
    os.environ["LOCAL_WORLD_SIZE"] = str(cores().used)  # they share the memory for decoded samples
    torch.set_num_threads(1)
    keep_memory()
    modality = modalities.get(work.samples.modality)
    _check_versions(work.versions, modality)
    samples = work.samples
    if os.environ.get(DATA):
        samples = replace(samples, root=Path(os.environ[DATA]), address=None)
    with tempfile.TemporaryDirectory(prefix="stillroom-") as folder:
        for name, content in work.weights.items():
            (Path(folder) / name).write_bytes(content.data)
        trust(work.described["arch"])  # as the driver does, which has loaded it
        teacher = load_teacher(Path(folder), work.described, samples)
    device = _gpu() if work.gpu else torch.device("cpu")
    shown = torch.cuda.get_device_name(device) if work.gpu else "cpu"
    recipe = modality.policy(work.identity["views"]["recipe"], "identity")
    return _Ready(work, samples, teacher.to(device), recipe, shown)


def _gpu() -> Any:
    """The GPU that Ray has given to this task, as torch counts.

    The driver has Ray leave CUDA_VISIBLE_DEVICES alone (a process that has begun on one GPU would not notice
    that its next task has another): so it still lists what the node offers, and Ray's ids are from that list.
    """
    import ray
    import torch

    ids = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    listed = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    if not ids or not torch.cuda.is_available():
        raise StillroomError(
            "this node offers a GPU that torch cannot use",
            f"Ray counts {len(ids)} here, torch {torch.cuda.device_count()}",
            "install a torch with CUDA for its driver there, or run with --task-gpus 0",
        )
    return torch.device("cuda", listed.index(ids[0]) if listed else int(ids[0]))


def versions_here(modality: Modality) -> dict[str, str]:
    """Versions of what decodes, renders and computes in this process."""
    found = environment(modality.environment())
    return {name: version for name, version in found.items() if name not in _MACHINE}


def _check_versions(expected: dict[str, str], modality: Modality) -> None:
    here = versions_here(modality)
    others = [
        f"{name} {here.get(name)} and not {one}" for name, one in expected.items() if here.get(name) != one
    ]
    if others:
        raise StillroomError(
            "this node has other versions than the driver",
            f"it has {', '.join(others)}; a cache is made with one of each",
            "install the same on every node: `pip install -c constraints.txt 'stillroom[ray]'`",
        )


def _here(error: StillroomError) -> StillroomError:
    """An error that names the node where it came up."""
    import ray

    address = ray.util.get_node_ip_address()
    error.what = f"on the node {socket.gethostname()} ({address}): {error.what}"
    if isinstance(error, (DataError, AccessError)):
        error.fix += (
            f"; every node needs the files where the driver has them, or {DATA} set to where they lie"
        )
    return error

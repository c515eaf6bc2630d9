"""Stage one on the nodes of a Ray cluster (https://docs.ray.io/en/latest/ray-core/fault-tolerance.html).

Tasks compute, the driver commits. They are plain tasks and no actors: a task runs wherever something is free,
on nodes that join later too, and one that is lost is simply asked for again; a pool of actors would have to
be grown, shrunk and mended by us for the same. What actors would be for, the teacher in memory, a worker
process of Ray's keeps from task to task as well (`node.py`).
"""

import importlib.util
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stillroom import modalities, stopping
from stillroom.cache.format.layout import Block
from stillroom.cache.write.staging import Staging
from stillroom.errors import ParamsError, StillroomError
from stillroom.machine import cores
from stillroom.progress import Progress
from stillroom.provenance.teacher import weight_files
from stillroom.teaching.generate import bytes_of_block
from stillroom.teaching.node import Done, Work, compute, versions_here
from stillroom.teaching.slabs import Slabs
from stillroom.teaching.stage_one import Request

PATIENCE = 30.0  # seconds that an address has to answer
CRASHES = 5  # of one task's process, on nodes that live on: then it is the task's fault
_MOST_TASKS_A_GPU = 4


class Cluster:
    """An `Engine`: has a Ray cluster compute blocks. It connects when there is something to compute.

    Attributes:
        devices: names of those that have computed so far.
    """

    def __init__(self, address: str, gpus: float | None = None) -> None:
        """
        Args:
            address: `local` (a cluster of this machine alone, which ends with `close`), `auto` (the cluster
                that RAY_ADDRESS names, or that this machine is a node of), `HOST:PORT` of a cluster that this
                machine is a node of, or `ray://HOST:PORT` of a Ray client server.
            gpus: of a task: 1, part of one, or 0: it computes on a CPU. None: by what the cluster has when
                the work begins, a GPU for up to four tasks, as the CPUs suffice, or CPUs where there is none.

        Raises:
            StillroomError: Ray is not installed.
            ParamsError: `gpus` is no part of a GPU.
        """
        if importlib.util.find_spec("ray") is None:
            raise StillroomError(
                "Ray is not installed",
                "--engine ray computes on a Ray cluster",
                "run `pip install 'stillroom[ray]'`, here and on every node",
            )
        if gpus is not None and not 0 <= gpus <= 1:
            raise ParamsError(f"--task-gpus {gpus:g} is no part of a GPU", fix="give 0 to 1, such as 0.5")
        self.devices: set[str] = set()
        self._address, self._gpus = address, gpus
        self._ray: Any = None

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._ray is not None:
            ray, self._ray = self._ray, None
            ray.shutdown()

    def __call__(
        self, request: Request, teacher: str, staging: Staging, todo: list[Block], progress: Progress
    ) -> None:
        """See `Engine`.

        Raises:
            StillroomError: the cluster does not answer, or a task failed; names the node.
            CacheError: a block cannot be kept, or the teacher gave a value that cannot.
        """
        ray = self._connected(progress)
        train, cache = request.train, request.params.cache
        folder, described = Path(cache.folders[teacher]), request.described[teacher]
        gpus = self._share() if self._gpus is None else self._gpus
        work = Work(
            samples=replace(train, root=Path(os.path.abspath(train.root))),
            described=described,
            weights={
                file: np.frombuffer((folder / file).read_bytes(), np.uint8)
                for file in weight_files(described)
            },
            identity=staging.identity,
            block_samples=staging.block_samples,
            batch_size=cache.batch_size,
            amp=cache.amp,
            seed=request.params.views.seed,
            gpu=gpus > 0,
            versions=versions_here(modalities.get(train.modality)),
        )
        run = _Run(ray, work, gpus, staging, todo, progress)
        try:
            run.to_the_end()
        except BaseException:
            run.cancel()
            if stopping.asked():  # in the middle of a call of Ray's it may have become an error of Ray's
                raise KeyboardInterrupt from None
            raise
        finally:
            self.devices |= run.devices

    def _share(self) -> float:
        """What a task takes of a GPU, if the cluster has any now."""
        have = self._ray.cluster_resources()
        if not have.get("GPU"):
            return 0.0
        tasks = have.get("CPU", 0.0) / have["GPU"]
        return 1 / min(_MOST_TASKS_A_GPU, max(1, int(tasks)))

    def _connected(self, progress: Progress) -> Any:
        if self._ray is not None:
            return self._ray
        # ours to say, before Ray is imported: no figures to its makers, one warning less
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        address = self._address
        if address == "auto":
            address = os.environ.get("RAY_ADDRESS") or address
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address == "local":
            quiet |= {"num_cpus": cores().used, "include_dashboard": False}
        elif address != "auto":
            _check_answers(address)
        try:
            ray.init(address=address, **quiet)
        except SystemExit:  # Ray's handler of SIGTERM, for as long as it is there
            raise KeyboardInterrupt from None
        except Exception as error:
            raise _no_cluster(address, str(error)) from None
        finally:
            stopping.listen()  # Ray has put a handler of its own for SIGTERM in the place of ours
        worker: Any = sys.modules.get("ray._private.worker")
        if hasattr(worker, "_worker_logs_enabled"):  # no public switch: what a node's end means, we say
            worker._worker_logs_enabled = False
        self._ray = ray
        alive = sum(node["Alive"] for node in ray.nodes())
        progress.note(f"ray: {alive} node{'s' * (alive != 1)}, {_free(ray)}")
        return ray


class _Run:
    """The tasks of one teacher."""

    def __init__(
        self, ray: Any, work: Work, gpus: float, staging: Staging, todo: list[Block], progress: Progress
    ) -> None:
        self._ray, self._staging, self._progress, self._gpus = ray, staging, progress, gpus
        # What is lost is asked for again here: Ray's own max_retries=-1 would also go on for ever with a task
        # that kills its process each time, and nobody would see it. max_calls: for GPUs Ray would end the
        # process, and the teacher in it, after each task
        options: dict[str, Any] = {"num_cpus": 1, "max_retries": 0, "max_calls": 0}
        if gpus:
            leave = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}  # see `node._gpu`
            options |= {"num_gpus": gpus, "runtime_env": {"env_vars": leave}}
        self._task = ray.remote(**options)(compute)
        self._work = [ray.put(work)]
        self._portions = _Portions(todo, bytes_of_block(work.identity["outputs"], work.block_samples))
        self._open: dict[Any, list[Block]] = {}
        self._again: list[list[Block]] = []
        self._crashed: dict[Block, int] = {}
        self._views = sum(block.stop - block.start for block in todo)
        self._tasks = self._lost = 0
        self._nodes: set[str] = set()
        self.devices: set[str] = set()

    def to_the_end(self) -> None:
        """Until every block is committed."""
        name = "cache" if "logits" in self._staging.identity["outputs"] else "cache features"
        self._progress.start(name, self._views, "views")
        portions, told = iter(self._portions), False
        more = True
        while more or self._again or self._open:
            slots = self._slots()
            if not slots and not told:
                self._progress.note("ray: no node has a CPU for a task, or a GPU: waiting for one to join")
                told = True
            self._portions.slots = max(1, slots)
            # as many again as can run now: a node is never without work, and one that joins finds some
            while len(self._open) < 2 * max(1, slots):
                blocks = self._again.pop() if self._again else next(portions, None) if more else None
                if blocks is None:
                    more = False
                    break
                self._open[self._task.remote(self._work, blocks)] = blocks
            # now and then without an answer: nodes may have joined
            ready, _ = self._ray.wait([*self._open], num_returns=1, timeout=2.0) if self._open else ([], [])
            for reference in ready:
                self._take(reference)
        self._progress.finish()
        lost = f"; {self._lost} lost with their nodes or processes, and done again" if self._lost else ""
        nodes = len(self._nodes)
        self._progress.note(f"ray: {self._tasks} tasks on {nodes} node{'s' * (nodes != 1)}{lost}")

    def cancel(self) -> None:
        """What runs, and what waits to run."""
        for reference in self._open:
            with suppress(self._ray.exceptions.RayError):  # the cluster may be gone
                self._ray.cancel(reference, force=True)

    def _slots(self) -> int:
        """Tasks that the nodes of now can run at a time."""
        have = self._ray.cluster_resources()
        slots = int(have.get("CPU", 0))
        return min(slots, int(have.get("GPU", 0) / self._gpus)) if self._gpus else slots

    def _take(self, reference: Any) -> None:
        """Commit what a task gives, or ask for it again."""
        exceptions = self._ray.exceptions
        blocks = self._open.pop(reference)
        try:
            done: Done | StillroomError = self._ray.get(reference)
        except (exceptions.RayTaskError, exceptions.RuntimeEnvSetupError) as error:  # it did not even begin
            raise StillroomError(
                "a task cannot begin on a node of the Ray cluster",
                str(error).strip().splitlines()[-1][:300],
                "install the same stillroom[ray] on every node, in the Python that runs `ray start`",
            ) from None
        except (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError) as error:
            self._crashed[blocks[0]] = self._crashed.get(blocks[0], 0) + 1
            if self._crashed[blocks[0]] >= CRASHES:
                raise StillroomError(
                    f"the process of a task ended before its work was done, {CRASHES} times ({blocks[0]})",
                    str(error).strip().splitlines()[0][:300],
                    "mostly memory is short: give a node fewer CPUs (`ray start --num-cpus`), or set "
                    "cache.batch_size lower; committed blocks are kept",
                ) from None
            self._lose(blocks)
        except exceptions.RayError:  # its node is gone, or took the answer with it
            self._lose(blocks)
        else:
            if isinstance(done, StillroomError):
                raise done
            self._tasks += 1
            self._nodes.add(done.node)
            self.devices.add(done.device)
            for block, arrays, measured in done.blocks:
                self._staging.commit(block, arrays, measured)
                self._progress.advance(block.stop - block.start)
            self._portions.took(done.seconds, len(done.blocks))

    def _lose(self, blocks: list[Block]) -> None:
        self._lost += 1
        self._again.append(blocks)


class _Portions(Slabs):
    """What one task computes: as `Slabs`, by the time that tasks have measured; and never so much that others
    would have nothing to do.
    """

    def __init__(self, todo: Sequence[Block], size: int) -> None:
        self._spent, self.slots = 0.0, 1
        super().__init__(todo, size, lambda: self._spent)
        self._left = len(todo)

    def took(self, seconds: float, blocks: int) -> None:
        """A task is done."""
        self._spent += seconds
        for _ in range(blocks):
            self.done()

    def __iter__(self) -> Iterator[list[Block]]:
        for slab in super().__iter__():
            self._left -= len(slab)
            yield slab

    def _next(self, views: int) -> int:
        return max(1, min(super()._next(views), math.ceil(self._left / (4 * self.slots))))


def _free(ray: Any) -> str:
    have = ray.cluster_resources()
    gpus = f", {have['GPU']:g} GPUs" if have.get("GPU") else ""
    return f"{have.get('CPU', 0):g} CPUs{gpus}"


def _check_answers(address: str) -> None:
    """Refuse what does not answer: Ray itself would wait for minutes, and then end the process.

    Raises:
        StillroomError: nothing answers there, or something else than Ray.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ParamsError(
            f"--address {address} is no address of a Ray cluster",
            fix="give HOST:PORT, ray://HOST:PORT, auto or local",
        )
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None
    if address.startswith("ray://"):  # a client's patience has an end of its own
        return
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    end = time.monotonic() + PATIENCE
    while (left := end - time.monotonic()) > 0:  # a head that has just begun listens before it is healthy
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, timeout=left)
            # this command brings no token, where the cluster asks for one; `ray.init` does
            if done.returncode == 0 or b"Unauthenticated" in done.stderr:
                return
        time.sleep(0.5)
    raise _no_cluster(address, f"what listens there was no healthy Ray within {PATIENCE:g} s")


def _no_cluster(address: str, why: str) -> StillroomError:
    return StillroomError(
        f"no Ray cluster answers at {address}",
        " ".join(why.split())[:300],
        "start one (`ray start --head`, on other machines `ray start --address HEAD:6379`), give its address "
        "(--address HOST:PORT or ray://HOST:10001), or --address local for this machine alone",
    )

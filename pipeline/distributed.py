"""The processes that `torchrun` starts: which one this is, and the few things they exchange."""

import ctypes
import importlib
import os
import signal
import sys
import time
import uuid
from datetime import timedelta
from types import TracebackType
from typing import Any

import numpy as np

from stillroom import stopping
from stillroom.errors import StillroomError

# One process may compute for hours before another reaches the same point; torchrun ends all where one dies.
_PATIENCE = timedelta(days=7)


class Ranks:
    """One process, or those that torchrun started: `torchrun --no-python --nproc-per-node 2 stillroom cache`.

    Attributes:
        rank: of this process, in [0, world).
        world: how many there are.
        local: number of this process on its machine.
        local_world: how many processes share this machine.
    """

    def __init__(self) -> None:
        """Join the others; alone, nothing is opened.

        Raises:
            ValueError: torchrun's environment variables are not numbers.
        """
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.local = int(os.environ.get("LOCAL_RANK", "0"))
        self.local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        _end_with_the_agent()
        if self.world > 1:
            import torch
            from torch import distributed

            # a GPU each: its own transport for gradients; else one that does for all
            own = torch.cuda.is_available() and torch.cuda.device_count() >= self.local_world
            backend = "cpu:gloo,cuda:nccl" if own else "gloo"
            store = _common_store(self.rank, self.world)
            distributed.init_process_group(
                backend, store=store, rank=self.rank, world_size=self.world, timeout=_PATIENCE
            )
            if own:
                torch.cuda.set_device(self.local)

    @classmethod
    def alone(cls) -> "Ranks":
        """This process by itself, whatever torchrun started."""
        ranks = cls.__new__(cls)
        ranks.rank, ranks.world, ranks.local, ranks.local_world = 0, 1, 0, 1
        return ranks

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.world == 1:
            return
        if error is None:  # after an error the others may never answer
            from torch import distributed

            distributed.destroy_process_group()
        elif _lost(error):
            if stopping.asked():  # so was the other
                raise KeyboardInterrupt from None
            kept = "committed blocks and the last checkpoint are kept"
            fix = (
                "look at what it said before it ended (torchrun names it), then run the same command again, "
                f"on as many machines as there are: {kept}"
            )
            if restarts_left():
                fix = f"nothing: torchrun begins again with those that are left; {kept}"
            raise StillroomError(
                "another process of this run is gone", str(error).splitlines()[0][:200], fix
            ) from None

    @property
    def first(self) -> bool:
        """Whether this process opens, plans, reports and publishes for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.world > 1:
            from torch import distributed

            distributed.barrier()

    def any(self, here: bool) -> bool:
        """Whether it holds in any process; all have to ask."""
        if self.world == 1:
            return here
        import torch
        from torch import distributed

        anywhere = torch.tensor([int(here)])
        distributed.all_reduce(anywhere, distributed.ReduceOp.MAX)
        return bool(anywhere)

    def share(self, mask: np.ndarray) -> np.ndarray:
        """The first process's bool array [n]; the others' content is not looked at."""
        if self.world == 1:
            return mask
        import torch
        from torch import distributed

        shared = torch.from_numpy(mask.astype(np.uint8))
        distributed.broadcast(shared, src=0)
        return shared.numpy().astype(bool)

    def interleave(self, mine: np.ndarray, count: int) -> np.ndarray:
        """Put together what each process made of its rows, every `world`-th from its `rank` on.

        Args:
            mine: float32 [n, C], of this process's rows.
            count: N, the rows of all.

        Returns:
            float32 [N, C], each row once, in every process.
        """
        if self.world == 1:
            return mine
        import torch
        from torch import distributed

        padded = torch.zeros((-(-count // self.world), mine.shape[1]))
        padded[: len(mine)] = torch.from_numpy(mine)
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:count].numpy()


def _common_store(rank: int, world: int) -> Any:
    """A store for those that begin together now, and no earlier ones.

    torchrun has one store for a whole run, and tells its processes only how many restarts there were; where
    machines join or go that number stays, and a process would find there, and wait for, the addresses of
    those that it takes the place of. So they agree on a name first: each leaves a word of its own, the first
    answers all of these with a name, and each agrees to the name that answers its own word.
    """
    distributed: Any = importlib.import_module("torch.distributed")  # its types leave half of it out
    opened = next(distributed.rendezvous("env://", rank, world, timeout=_PATIENCE))[0]
    store = distributed.PrefixStore("stillroom", opened)

    def read(key: str) -> str:
        return store.get(key).decode() if store.check([key]) else ""

    word, words, name = uuid.uuid4().hex, "", ""
    store.set(f"word {rank}", word)
    while True:
        if rank == 0:
            found = " ".join(read(f"word {other}") or "-" for other in range(world))
            if found != words:  # some are new: those that were answered before may have been others
                words, name = found, uuid.uuid4().hex
                store.set("answer", f"{name} {words}")
            if all(store.check([f"{name} {other}"]) for other in range(1, world)):
                store.set(f"{name} begins", "yes")
                return distributed.PrefixStore(name, opened)
        else:
            name, *answered = read("answer").split() or [""]
            if answered[rank : rank + 1] == [word]:
                store.set(f"{name} {rank}", "yes")
                if store.check([f"{name} begins"]):
                    return distributed.PrefixStore(name, opened)
        time.sleep(0.05)


def restarts_left() -> int:
    """How often torchrun will begin again by itself (`--max-restarts`) where a process ends."""
    done = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) - done


def _end_with_the_agent() -> None:
    """Have Linux kill this process when its agent dies, as if the machine were gone.

    Left behind, it would go on with the others; these would wait for its agent at the end, and one that
    begins in its place would meet its locks.
    """
    if sys.platform != "linux" or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGKILL))


def _lost(error: BaseException) -> bool:
    """Whether it is what a transport raises when another process does not answer any more."""
    from torch import distributed

    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(
        word in str(error) for word in ("by peer", "gloo", "Gloo", "NCCL", "TCPStore", "Broken pipe")
    )

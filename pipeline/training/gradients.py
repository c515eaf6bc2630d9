"""How the gradients of a loss's terms are put together, over the parts of a batch and over processes.

A way is made for a network, and for what is trained beside it; for each part of a batch its `part` is entered
and its `add` is given the terms; `finish` leaves the gradients in `.grad`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import distributed
from torch._functorch import config
from torch.nn.parallel import DistributedDataParallel

from stillroom.device import widest
from stillroom.distributed import Ranks


class Gradients(ABC):
    """See the module's docstring.

    Attributes:
        net: what stands for the network in the forward passes.
        looks: whether it says what opposed the task.
    """

    net: Any
    looks = False

    @abstractmethod
    def part(self, last: bool) -> AbstractContextManager[Any]:
        """What a part's forward pass and its `add` happen in; `last`: of its batch."""

    @abstractmethod
    def add(self, terms: Mapping[str, torch.Tensor], scale: float | torch.Tensor) -> torch.Tensor:
        """Take in the terms of a part.

        Args:
            terms: scalars by name.
            scale: what gradients are multiplied by, a number or a scalar.

        Returns:
            their sum, detached.
        """

    @abstractmethod
    def finish(self) -> torch.Tensor | None:
        """Leave the batch's gradients in `.grad`, the same in all processes.

        Returns:
            whether a term opposed the task, bool []; None: it does not look.
        """


class Summed(Gradients):
    """One backward pass of the sum of all terms."""

    def __init__(self, net: torch.nn.Module, ranks: Ranks, beside: torch.nn.Module | None = None) -> None:
        self.net = DistributedDataParallel(net) if ranks.world > 1 else net
        self._ranks, self._beside = ranks, [] if beside is None else list(beside.parameters())

    def part(self, last: bool) -> AbstractContextManager[Any]:
        found: AbstractContextManager[Any] = nullcontext()
        return self.net.no_sync() if self._ranks.world > 1 and not last else found

    def add(self, terms: Mapping[str, torch.Tensor], scale: float | torch.Tensor) -> torch.Tensor:
        value = _sum(terms.values())
        (value * scale).backward()
        return value.detach()

    def finish(self) -> None:
        """They are there; torch's wrapper leaves to us what is beside the network."""
        for one in self._beside if self._ranks.world > 1 else ():
            if one.grad is not None:
                distributed.all_reduce(one.grad)
                one.grad /= self._ranks.world


class Revised(Gradients):
    """Gradients of which none opposes that of the task (Bian, Feng, Wan, Wang 2021, "gradient revision").

    With g0 the task's gradient over the whole network and g that of another term, g - (<g, g0> / <g0, g0>) g0
    takes the place of g where <g, g0> < 0; the sum of them and g0 is what the optimiser gets. So
    <sum, g0> >= |g0|^2: to first order the task gets on at least as fast as by itself. It is the projection
    of A-GEM (Chaudhry et al. 2019, "Efficient lifelong learning with A-GEM", equation 11), and that of PCGrad
    (Yu et al. 2020, "Gradient surgery for multi-task learning", algorithm 1) from one side alone: g0 stays as
    it is, and all are held against it unchanged.

    The gradients are those of the whole batch, of all its parts and all processes; weight decay, momentum and
    clipping come after. A backward pass is taken of the task, and one of each other term (the paper's), or
    one of the sum of all others.

    Args:
        net: is not wrapped: in several processes all have to use the same way.
        beside: what is trained beside it. The task says nothing of that, so it decides nothing.
        task: the name of its term.
        each: hold each other term against the task by itself; False: their sum.
    """

    looks = True

    def __init__(
        self,
        net: torch.nn.Module,
        ranks: Ranks,
        beside: torch.nn.Module | None = None,
        *,
        task: str,
        each: bool,
    ) -> None:
        self.net, self._ranks, self._task, self._each = net, ranks, task, each
        values = [*net.parameters(), *([] if beside is None else beside.parameters())]
        self._parameters = [one for one in values if one.requires_grad]
        self._found: dict[str, list[torch.Tensor | None]] = {}
        self._begun = False
        # a compiled backward pass of a torch that reuses its inputs' memory refuses a second one of a graph
        config.donated_buffer = False
        if ranks.world > 1:  # as torch's wrapper does where it is made
            _from_first([one.detach() for one in values])

    def part(self, last: bool) -> AbstractContextManager[Any]:
        if not self._begun and self._ranks.world > 1:  # once a step, as torch's wrapper does
            _from_first(self.net.buffers())
        self._begun = True
        return nullcontext()

    def add(self, terms: Mapping[str, torch.Tensor], scale: float | torch.Tensor) -> torch.Tensor:
        others = {name: one for name, one in terms.items() if name != self._task}
        if not self._each and others:
            others = {"others": _sum(others.values())}
        held = {"": terms[self._task], **others}  # "": no term is called that
        sought = {name: one for name, one in held.items() if one.requires_grad}
        for left, (name, one) in enumerate(sought.items(), start=1 - len(sought)):
            new = torch.autograd.grad(one * scale, self._parameters, retain_graph=left < 0, allow_unused=True)
            old = self._found.get(name, [None] * len(new))
            self._found[name] = [_plus(*pair) for pair in zip(old, new, strict=True)]
        return _sum(terms.values()).detach()

    def finish(self) -> torch.Tensor:
        found, self._found, self._begun = self._found, {}, False
        has = [[one is not None for one in parts] for parts in found.values()]
        used = [any(there) for there in zip(*has, strict=True)]
        taken = [place for place, there in enumerate(used) if there]  # others keep no gradient, as ever
        flat = {name: self._flat([found[name][place] for place in taken], taken) for name in sorted(found)}
        if self._ranks.world > 1:
            for one in flat.values():  # each process has those of its own rows
                distributed.all_reduce(one)
                one /= self._ranks.world
        total, conflict = revised(flat.pop("", None), list(flat.values()))
        parameters = [self._parameters[place] for place in taken]
        for one, part in zip(parameters, total.split([one.numel() for one in parameters]), strict=True):
            one.grad = part.view_as(one)
        return conflict

    def _flat(self, parts: list[torch.Tensor | None], places: list[int]) -> torch.Tensor:
        """A gradient as one vector."""
        full = [
            torch.zeros_like(self._parameters[place]) if part is None else part
            for part, place in zip(parts, places, strict=True)
        ]
        return torch.cat([one.flatten() for one in full])


def revised(task: torch.Tensor | None, others: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of gradients, without what opposes the task's: see `Revised`.

    Args:
        task: float [P]; None: there is none, as where it is zero.
        others: float [P] each.

    Returns:
        float [P], and whether any of the others opposed it, bool [].
    """
    total = torch.zeros_like(others[0]) if task is None else task.clone()
    conflict = torch.zeros((), dtype=torch.bool, device=total.device)
    exact = None if task is None else task.to(widest(task.device))  # squares of small ones are no float32
    for one in others:
        if exact is None or task is None:
            total += one
            continue
        along, size = torch.dot(one.to(exact.dtype), exact), torch.dot(exact, exact)
        opposed = (along < 0) & (size > 0)
        # chosen on the device: to ask for it here would be to wait
        total += one - torch.where(opposed, along / size, 0.0).to(task.dtype) * task
        conflict |= opposed
    return total, conflict


def _sum(values: Iterable[torch.Tensor]) -> torch.Tensor:
    first, *others = values
    return sum(others, first)


def _plus(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    return other if one is None else one if other is None else one + other


def _from_first(tensors: Iterable[torch.Tensor]) -> None:
    """Give all processes the first one's, in place; a message for each type."""
    listed = list(tensors)
    for dtype in dict.fromkeys(one.dtype for one in listed):
        same = [one for one in listed if one.dtype == dtype]
        flat = torch.cat([one.detach().flatten() for one in same])
        distributed.broadcast(flat, 0)
        for one, part in zip(same, flat.split([one.numel() for one in same]), strict=True):
            one.detach().copy_(part.view_as(one))

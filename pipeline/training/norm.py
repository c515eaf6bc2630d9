"""Batch norm over the whole batch, where several processes have a part of it each.

torch's own (`SyncBatchNorm`) is for GPUs alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn.modules.batchnorm import _BatchNorm

from stillroom.distributed import Ranks


@contextmanager
def over_all(net: torch.nn.Module, ranks: Ranks) -> Iterator[None]:
    """While this is entered, the network's batch norms in training mode take the statistics of all processes'
    rows, so that they train as one process does; all must run the same passes.
    """
    norms = [one for one in net.modules() if isinstance(one, _BatchNorm)] if ranks.world > 1 else []
    for norm in norms:
        norm.forward = partial(_forward, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward  # the class's again


def _forward(norm: _BatchNorm, x: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, x)
    exact = x.float()  # bf16 would lose the sums
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1, *(1 for _ in axes[1:])]
    count = _sum(exact.new_tensor([x.numel() / x.shape[1]]))
    mean = _sum(exact.sum(axes)) / count
    away = exact - mean.view(shape)
    variance = _sum(away.square().sum(axes)) / count
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked += 1
            share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(variance * count / (count - 1), share)
    found = away * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        found = found * norm.weight.view(shape) + norm.bias.view(shape)
    return found.to(x.dtype)


def _sum(values: Tensor) -> Tensor:
    """Over all processes, with its gradient."""
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """Each process's share is in every process's sum, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total

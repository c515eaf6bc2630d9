"""What a model costs: parameters, floating-point operations and time."""

import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode


def parameters(net: torch.nn.Module) -> int:
    """Number of trainable values."""
    return sum(value.numel() for value in net.parameters())


def flops(net: torch.nn.Module, size: int) -> int:
    """Floating-point operations of one forward pass of one image of size x size pixels.

    Counted by torch's counter: products of matrices, convolutions and attention, a multiply-add as two.
    """
    where = next(net.parameters()).device
    was_training = net.training
    net.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, size, size, device=where))
    net.train(was_training)
    return counter.get_total_flops()


def latency(net: torch.nn.Module, size: int, batch: int) -> float:
    """Median milliseconds of a forward pass of `batch` images of size x size pixels, in eval mode, on its
    device.

    One pass warms up; then as many as fit into about a second, at least 3 and at most 20.
    """
    where = next(net.parameters()).device
    was_training = net.training
    net.eval()
    images = torch.zeros(batch, 3, size, size, device=where)

    def once() -> float:
        began = time.perf_counter()
        net(images)
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        return time.perf_counter() - began

    with torch.inference_mode():
        once()
        found = [once() for _ in range(3)]
        while len(found) < 20 and sum(found) < 1:
            found.append(once())
    net.train(was_training)
    return round(1000 * statistics.median(found), 3)

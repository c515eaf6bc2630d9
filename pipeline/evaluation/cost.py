"""What a model costs: parameters, floating-point operations and time."""

import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from stillroom.modalities.base import Model


def parameters(net: torch.nn.Module) -> int:
    """Number of trainable values."""
    return sum(value.numel() for value in net.parameters())


def flops(model: Model) -> int:
    """Floating-point operations of one forward pass of one input.

    Counted by torch's counter: products of matrices, convolutions and attention, a multiply-add as two.
    """
    net, device = model.net, next(model.net.parameters()).device
    was_training = net.training
    net.eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(model.example(1).to(device))
    net.train(was_training)
    return int(counter.get_total_flops())


def latency(model: Model, batch: int) -> float:
    """Median milliseconds of a forward pass of `batch` inputs, in eval mode, on the model's device.

    One pass warms up; then as many as fit into about a second, at least 3 and at most 20.
    """
    net, device = model.net, next(model.net.parameters()).device
    was_training = net.training
    net.eval()
    inputs = model.example(batch).to(device)

    def once() -> float:
        began = time.perf_counter()
        net(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter() - began

    with torch.inference_mode():
        once()
        seconds = [once() for _ in range(3)]
        while len(seconds) < 20 and sum(seconds) < 1:
            seconds.append(once())
    net.train(was_training)
    return round(1000 * statistics.median(seconds), 3)

"""What a model costs: parameters and floating-point operations."""

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

"""What a layer of a network is given, or gives, in a forward pass, noted on the way; several threads may be
at it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

_taps: "dict[bool, WeakKeyDictionary[nn.Module, threading.local]]" = {
    False: WeakKeyDictionary(),
    True: WeakKeyDictionary(),
}
_placing = threading.Lock()


@contextmanager
def noted(modules: Sequence[tuple[nn.Module, bool]]) -> Iterator[list[Any]]:
    """Note what these modules are given, or give, in the pass that this thread makes in the block.

    Args:
        modules: each with whether its output is noted; False: its first input.

    Yields:
        a list that holds them, in the modules' order, when the block is left; None for one that did not run.
    """
    taps = [_tap(module, gives) for module, gives in modules]
    values: list[Any] = []
    for tap in taps:
        tap.open, tap.value = True, None
    try:
        yield values
        values += [tap.value for tap in taps]
    finally:
        for tap in taps:
            tap.open, tap.value = False, None


def _tap(module: nn.Module, gives: bool) -> threading.local:
    """Where a module's input or output is noted. Its hook stays: no other may run while one is placed."""
    with _placing:
        if module not in _taps[gives]:
            tap = _taps[gives][module] = threading.local()

            # functions: copies of the module share them
            def note_input(_: nn.Module, given: tuple[Any, ...]) -> None:
                if getattr(tap, "open", False):
                    tap.value = given[0]

            def note_output(_: nn.Module, given: tuple[Any, ...], found: Any) -> None:
                if getattr(tap, "open", False):
                    tensor = tensor_of(found)  # copied: what comes next may change it in place
                    tap.value = None if tensor is None else tensor.clone()

            if gives:
                module.register_forward_hook(note_output)
            else:
                module.register_forward_pre_hook(note_input)
        return _taps[gives][module]


def tensor_of(output: Any) -> Tensor | None:
    """A module's output, or the first of several; None where that is no tensor."""
    first = output[0] if isinstance(output, tuple | list) and output else output
    return first if isinstance(first, Tensor) else None


def given_by_all(net: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """The shapes of what the modules of a network give, by their names, in the order in which they end.

    One pass is made, in eval mode; neither the network nor torch's random numbers are changed by it.

    Args:
        inputs: prepared inputs, on the network's device.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []
    for name, module in net.named_modules():

        def note(_: nn.Module, given: tuple[Any, ...], found: Any, name: str = name) -> None:
            tensor = tensor_of(found)
            if tensor is not None:
                shapes.pop(name, None)
                shapes[name] = tuple(tensor.shape)

        if name:
            handles.append(module.register_forward_hook(note))
    modes = {module: module.training for module in net.modules()}
    net.eval()
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            net(inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return shapes

"""What a layer of a network is given in a forward pass, noted on the way; several threads may be at it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

_taps: "WeakKeyDictionary[nn.Module, threading.local]" = WeakKeyDictionary()
_placing = threading.Lock()


@contextmanager
def given_to(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Note the first input of each of these modules in the pass that this thread makes in the block.

    Yields:
        a list that holds them, in the modules' order, when the block is left.
    """
    taps = [_tap(module) for module in modules]
    given: list[Tensor] = []
    for tap in taps:
        tap.open = True
    try:
        yield given
        given += [tap.value for tap in taps]
    finally:
        for tap in taps:
            tap.open, tap.value = False, None


def _tap(module: nn.Module) -> threading.local:
    """Where a module's input is noted. Its hook stays: to place one is not safe while others run."""
    with _placing:
        if module not in _taps:
            tap = _taps[module] = threading.local()

            def note(
                _: nn.Module, given: tuple[Any, ...]
            ) -> None:  # a function: copies of the module share it
                if getattr(tap, "open", False):
                    tap.value = given[0]

            module.register_forward_pre_hook(note)
        return _taps[module]

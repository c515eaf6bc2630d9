"""A figure beside its comparison, and how both are measured: alternately, as medians."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Amp = Literal["none", "bf16"]


@dataclass(frozen=True)
class Figure:
    """One line of `stillroom bench`.

    Attributes:
        name: what was measured.
        value: the figure, in `unit`.
        comparison: what it is held against, with its own value, in words; empty: the goal alone.
        ratio: the figure over its comparison; None where there is none.
        goal: what the ratio (or, without one, the value) is to be: `>= 10`, `<= 1.02`; empty: there is none.
        spread: the lowest and highest ratio (or value) among the repeats.
        note: with what it was measured.
        more: further numbers that `comparison` or `note` tells in words.
    """

    name: str
    value: float
    unit: str
    comparison: str
    ratio: float | None
    goal: str
    spread: tuple[float, float] | None = None
    note: str = ""
    more: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the goal is reached, if there is one."""
        if not self.goal:
            return True
        sign, limit = self.goal.split()
        value = self.value if self.ratio is None else self.ratio
        return value >= float(limit) if sign == ">=" else value <= float(limit)

    def to_json(self) -> dict[str, Any]:
        """An entry of `stillroom bench --json`."""
        return asdict(self) | {"met": self.met}


def alternate(repeats: int, *works: Callable[[int], object]) -> list[list[float]]:
    """Seconds of each work in each repeat, one after the other, there and back: what slows a machine down
    meanwhile does so for all.

    Args:
        works: called with the repeat's number; the first call of each, with -1, is not counted.

    Returns:
        seconds [work][repeat].
    """
    for work in works:
        work(-1)
    seconds: list[list[float]] = [[] for _ in works]
    for repeat in range(repeats):
        order = list(enumerate(works))
        for number, work in order if repeat % 2 == 0 else reversed(order):
            gc.collect()
            began = time.perf_counter()
            work(repeat)
            seconds[number].append(time.perf_counter() - began)
    return seconds


def ratios(over: list[float], under: list[float]) -> tuple[float, tuple[float, float]]:
    """The median of the repeats' ratios, and the lowest and highest."""
    values = [one / other for one, other in zip(over, under, strict=True)]
    return statistics.median(values), (rounded(min(values)), rounded(max(values)))


def rounded(value: float) -> float:
    """To four significant digits."""
    return float(f"{value:.4g}") if math.isfinite(value) else value

"""How far stored logits are from the teacher's: the Kullback-Leibler divergence of their softened probabilities."""

from collections.abc import Iterable
from typing import Any

import numpy as np

TEMPERATURES = (1, 4)
_VALUES = 2**21  # taken at a time


def measure(truth: np.ndarray, stored: np.ndarray) -> dict[str, dict[str, float]]:
    """KL(softmax(truth / T) || softmax(stored / T)) of each row, in nats, for T = 1 and 4.

    Args:
        truth: float32 [n, C], the teacher's raw logits.
        stored: float32 [n, C], what a cache gives back of them.

    Returns:
        {"T=1": {"mean": m, "max": x}, "T=4": {...}}; empty where the output is no vector of logits, or n is 0.
    """
    if truth.ndim != 2 or not len(truth):
        return {}
    rows = max(1, _VALUES // truth.shape[1])
    found = {
        temperature: np.concatenate(
            [
                _divergence(truth[i : i + rows], stored[i : i + rows], temperature)
                for i in range(0, len(truth), rows)
            ]
        )
        for temperature in TEMPERATURES
    }
    return {f"T={t}": {"mean": float(kl.mean()), "max": float(kl.max())} for t, kl in found.items()}


def _divergence(truth: np.ndarray, stored: np.ndarray, temperature: float) -> np.ndarray:
    """In log space and float64: the divergences looked for are near the rounding of float32."""
    p, q = (_log_softmax(values.astype(np.float64) / temperature) for values in (truth, stored))
    return np.maximum(0, (np.exp(p) * (p - q)).sum(axis=1))


def _log_softmax(values: np.ndarray) -> np.ndarray:
    values -= values.max(axis=1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=1, keepdims=True))


def merge(parts: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """The measures of several sets of rows as that of all: (rows, `measure`'s result) each."""
    rows: dict[str, int] = {}
    merged: dict[str, dict[str, float]] = {}
    for count, measured in parts:
        for name, found in measured.items():
            before = merged.setdefault(name, {"mean": 0.0, "max": 0.0})
            total = rows.get(name, 0) + count
            before["mean"] += (found["mean"] - before["mean"]) * count / total
            before["max"] = max(before["max"], found["max"])
            rows[name] = total
    return merged

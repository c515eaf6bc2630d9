"""How far stored outputs are from the teacher's: of logits the KL divergence of their softened probabilities,
of features the distance as a share of their length.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from stillroom.cache.format.outputs import kind_of

_VALUES = 2**15  # taken at a time: a quarter of a megabyte of float64 stays in a core's cache


def measure(output: Mapping[str, Any], truth: np.ndarray, stored: np.ndarray) -> dict[str, dict[str, float]]:
    """How far what is stored of an output is from what the teacher gave.

    Args:
        output: its entry in `identity["outputs"]`; its `kind` says what is measured.
        truth: float32 [n, ...], finite.
        stored: the same, as a cache gives it back.

    Returns:
        by measure `mean` and `max` over the rows: see `kl` and `relative`.
    """
    return relative(truth, stored) if kind_of(output) == "features" else kl(truth, stored)


def relative(truth: np.ndarray, stored: np.ndarray) -> dict[str, dict[str, float]]:
    """|truth - stored| / |truth| of each row, Euclidean, float64; 0 where both are zero.

    Returns:
        {"relative": {"mean": m, "max": x}}; empty where n = 0.
    """
    if not len(truth):
        return {}
    flat, apart = truth.reshape(len(truth), -1), (truth - stored).reshape(len(truth), -1)
    length, error = (np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64)) for x in (flat, apart))
    share = error / np.where(length > 0, length, 1)
    return {"relative": {"mean": float(share.mean()), "max": float(share.max())}}


def kl(truth: np.ndarray, stored: np.ndarray) -> dict[str, dict[str, float]]:
    """KL(softmax(truth / T) || softmax(stored / T)) of each row, in nats, for T = 1 and 4.

    In log space and float64: exact to about 1e-15 nats times the largest |truth - stored| of a row.

    Args:
        truth: float32 [n, C], the teacher's raw logits, finite.
        stored: float32 [n, C], what a cache gives back of them, finite.

    Returns:
        {"T=1": {"mean": m, "max": x}, "T=4": {...}}; empty where the output is no vector of logits, or n = 0.
    """
    if truth.ndim != 2 or not len(truth):
        return {}
    rows = max(1, _VALUES // truth.shape[1])
    parts = [_divergences(truth[i : i + rows], stored[i : i + rows]) for i in range(0, len(truth), rows)]
    columns = zip(*parts, strict=True)
    at = {name: np.concatenate(cut) for name, cut in zip(("T=1", "T=4"), columns, strict=True)}
    return {name: {"mean": float(values.mean()), "max": float(values.max())} for name, values in at.items()}


def _divergences(truth: np.ndarray, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The divergence of each row at T = 1 and at T = 4, float64 [n] each.

    KL(p || q) = sum(p * (x - y)) - log(sum(exp(x))) + log(sum(exp(y))), x and y the logits / T, each less its
    largest, so that every exponential is in (0, 1]. exp(x) is exp(x / 4)^4: one exponential does for both T.
    """
    x, y = _quarter(truth), _quarter(stored)
    apart = x - y
    raised, stored_raised = np.exp(x, out=x), np.exp(y, out=y)
    at_4 = _kl(raised, stored_raised, apart)
    for values in (raised, stored_raised):
        for _ in range(2):
            np.multiply(values, values, out=values)
    return _kl(raised, stored_raised, 4 * apart), at_4


def _quarter(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    values *= 0.25
    return values


def _kl(raised: np.ndarray, stored: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """From exp(x), exp(y) and x - y; what rounding takes below zero is zero."""
    total = raised.sum(axis=1)
    mean = np.vecdot(raised, apart) / total
    kl: np.ndarray = np.maximum(0, mean - np.log(total) + np.log(stored.sum(axis=1)))
    return kl


def merge(parts: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """The measures of several sets of rows as that of all: (rows, `measure`'s result) each."""
    rows: dict[str, int] = {}
    merged: dict[str, dict[str, float]] = {}
    for count, measured in parts:
        for name, stats in measured.items():
            before = merged.setdefault(name, {"mean": 0.0, "max": 0.0})
            total = rows.get(name, 0) + count
            before["mean"] += (stats["mean"] - before["mean"]) * count / total
            before["max"] = max(before["max"], stats["max"])
            rows[name] = total
    return merged

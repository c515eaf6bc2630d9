"""Bytes against divergence."""

from pathlib import Path

import numpy as np

from stillroom.benchmarks.encodings import BEFORE, SETTINGS, SMALL, curve, imagenet_like


def test_made_up_logits_are_as_sure_as_they_say() -> None:
    values = imagenet_like(np.random.default_rng(0), 2000, 1000).astype(np.float64)
    p = np.exp(values - values.max(axis=1, keepdims=True))
    p = -np.sort(-p / p.sum(axis=1, keepdims=True), axis=1)
    assert 0.75 < p[:, 0].mean() < 0.82
    assert 0.02 < p[:, 16:].sum(axis=1).mean() < 0.05


def test_a_setting_is_measured_in_both_formats_and_at_two_temperatures(tmp_path: Path) -> None:
    few = tuple(one for one in SETTINGS if one.get("k") in (16, 17))
    figures = {one.name: one for one in curve(tmp_path / "curve", few, samples=500)}
    assert {BEFORE, SMALL} < figures.keys()
    small = figures[SMALL]
    assert small.more["arrays"] == 24 < small.value and small.more["bytes_hdf5"] > 24
    assert small.more["kl_t1"] > 0 and small.more["kl_t4"] > 0 and small.goal == "<= 32"
    assert figures[BEFORE].value > small.value + 24 and figures[BEFORE].goal == ""
    assert not any((tmp_path / "curve").iterdir())
    last = figures[f"mean KL at T = 1, {SMALL}"]
    assert last.ratio is not None and last.met == (last.ratio <= 1)

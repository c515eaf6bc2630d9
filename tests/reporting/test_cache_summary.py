"""The numbers that describe a cache are those of its content."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from stillroom.cache.read.backends import open_store
from stillroom.cache.write.publish import publish
from stillroom.reporting import cache_summary as summary
from tests.contract.store_contract import LABELS, VIEWS, staged


@pytest.mark.parametrize("values", [2**22, 50])
def test_a_summary_is_what_the_logits_say(
    tmp_path: Path, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "_VALUES", values)  # a few rows at a time give the same
    with staged(tmp_path / "staging") as staging:
        publish([staging], tmp_path / "cache", "zarr", VIEWS, {}, [])
    store = open_store(tmp_path / "cache")
    facts = summary.summarise(store)
    assert set(facts["outputs"]) == {
        "logits",
        "small",
        "few",
        "fewer",
        "drawn",
    }  # `features` is no vector of logits
    shares = np.stack([softmax(store.logits(view).astype(np.float64), axis=1) for view in range(VIEWS)])
    one = facts["outputs"]["logits"]
    hits = shares.argmax(axis=2) == np.array(LABELS)
    assert one["accuracy_by_view"] == pytest.approx(100 * hits.mean(axis=1))
    assert one["accuracy"] == pytest.approx(100 * hits.mean(), abs=1e-3)
    assert one["entropy"] == pytest.approx(-(shares * np.log(shares)).sum(axis=2).mean(), abs=1e-5)
    assert one["confidence"] == pytest.approx(shares.max(axis=2).mean(), abs=1e-5)
    assert 0 <= one["agreement"] <= 100 and 0 < one["calibration_error"] < 100
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert (facts["files"], facts["bytes"]) == (len(files), sum(file.stat().st_size for file in files))

"""The numbers that describe a cache are those of its content."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from pipeline.cache import summary
from pipeline.cache.backends import open_store
from pipeline.cache.estimate import estimate
from pipeline.cache.publish import publish
from tests.contract.store_contract import ARRAYS, BLOCK, KEYS, LABELS, SAMPLES, VIEWS, staged


@pytest.mark.parametrize("values", [2**22, 50])
def test_a_summary_is_what_the_logits_say(
    tmp_path: Path, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "_VALUES", values)  # a few rows at a time give the same
    with staged(tmp_path / "staging") as staging:
        publish([staging], tmp_path / "cache", "zarr", VIEWS, {}, [])
    store = open_store(tmp_path / "cache")
    facts = summary.summarise(store)
    assert set(facts["outputs"]) == {"logits", "small", "few"}  # `features` is no vector of logits
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


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
@pytest.mark.parametrize("views", [1, 3])
def test_an_estimate_names_the_files_that_there_will_be(tmp_path: Path, backend: str, views: int) -> None:
    width = max(len(key.encode()) for key in KEYS)
    told = estimate(backend, views, SAMPLES, BLOCK, ARRAYS, width)
    with staged(tmp_path / "staging", views) as staging:
        publish([staging], tmp_path / "cache", backend, views, {}, [])
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert told.files == len(files)


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_an_estimate_is_an_upper_bound_and_no_wild_guess(tmp_path: Path, backend: str) -> None:
    from pipeline.cache.layout import ArraySpec
    from pipeline.cache.staging import Staging

    rows, arrays = 4000, {"logits": ArraySpec("<f2", (40,)), "views/box": ArraySpec("<u2", (4,))}
    keys = [f"sample_{index:05d}" for index in range(rows)]
    random = np.random.default_rng(0)
    identity = {"outputs": {"logits": {"encoding": "float16", "shape": [40]}}}
    with Staging(tmp_path / "staging", identity, arrays, keys, [0] * rows, 1024) as staging:
        for block in staging.blocks(2):
            count = block.stop - block.start
            logits = random.normal(0, 3, (count, 40)).astype("<f2")
            box = random.integers(0, 400, (count, 4)).astype("<u2")
            staging.commit(block, {"logits": logits, "views/box": box})
        publish([staging], tmp_path / "cache", backend, 2, {}, [])
    size = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file())
    told = estimate(backend, 2, rows, 1024, arrays, 12)
    assert size <= told.bytes < 1.35 * size

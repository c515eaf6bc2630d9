"""What an image teacher gives beside its logits is cached with them, from one forward pass."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import stillroom
from stillroom.cache.read.backends import open_store
from tests.conftest import run_in

pytestmark = pytest.mark.slow

FEATURES = ("--set", "cache.teachers={logits: artifacts/teacher, features: {of: logits, take: pooled}}")


def test_features_are_what_the_classifier_is_given(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both formats and from two processes the same digests; the logits' are what they were without."""
    cache = project / "artifacts/cache"
    alone = open_store(cache).manifest
    run_in(project, "stillroom", "cache", *FEATURES)
    store = open_store(cache)
    views, samples = store.layout.views, store.layout.samples
    assert all(
        store.manifest.blocks[block]["logits"] == alone.blocks[block]["logits"] for block in alone.blocks
    )
    weights = load_file(project / "artifacts/teacher/model.safetensors")
    head, bias = weights["head.fc.weight"], weights["head.fc.bias"]
    for view in range(views):
        features = store.logits(view, "features")
        assert features.shape == (samples, head.shape[1])
        np.testing.assert_allclose(features @ head.T + bias, store.logits(view), atol=0.05)
    monkeypatch.chdir(project)
    dataset = stillroom.CachedDataset(cache, output="features")
    dataset.set_epoch(1)
    assert torch.equal(dataset[3]["teacher_features"], torch.from_numpy(store.logits(1, "features")[3]))
    whole = store.manifest
    for command in (
        ("stillroom", "cache", "--set", "cache.store=hdf5"),
        ("torchrun", "--no-python", "--nproc-per-node", "2", "stillroom", "cache"),
    ):
        shutil.rmtree(project / "artifacts/.staging")
        shutil.rmtree(cache)
        run_in(project, *command, *FEATURES)
        again = open_store(cache).manifest
        assert (again.id, again.blocks) == (whole.id, whole.blocks)
    assert again.quality["features"]["relative"]["max"] < 2**-10
    assert set(again.quality["logits"]) == {"T=1", "T=4"}


def test_a_layer_that_is_not_there_is_named_before_any_work(project: Path) -> None:
    wrong = ("--set", "cache.teachers={logits: artifacts/teacher, features: {take: deep}}")
    for command in (("cache", *wrong), ("plan", "--no-measure", *wrong)):
        said = run_in(project, "stillroom", *command, code=2).stderr
        assert "has no features 'deep'" in said and "it gives pooled" in said


def test_plan_counts_the_features(project: Path) -> None:
    def outputs(*options: str) -> int:
        said = run_in(project, "stillroom", "plan", "--no-measure", "--json", *options).stdout
        return int(json.loads(said)["bytes_raw"]["outputs"])

    store = open_store(project / "artifacts/cache")
    width = load_file(project / "artifacts/teacher/model.safetensors")["head.fc.weight"].shape[1]
    assert outputs(*FEATURES) - outputs() == 2 * width * store.layout.views * store.layout.samples

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
from tests.stages.test_resume import checkpoints, history, killed, weights

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


BOTH = (
    "cache.teachers={logits: artifacts/teacher, features: {from: ./artifacts/teacher/, layer: pooled}, "
    "maps: {from: artifacts/teacher, layer: stages.1}}"
)
MAPS = ("--set", BOTH)
OLD = BOTH.replace("from: ./artifacts/teacher/, layer", "of: logits, take").replace(
    "from: artifacts/teacher, layer", "take"
)
STUDENT = (*MAPS, "--set", "student.losses.at={features: maps, layer: blocks.1}")


def record(project: Path, name: str) -> dict:
    return json.loads((project / "artifacts/students" / name / "student.json").read_text())


@pytest.fixture
def mapped(project: Path) -> Path:
    """A project whose cache has what a stage of the teacher gave, as maps."""
    run_in(project, "stillroom", "cache", *MAPS)
    return project


def test_maps_are_stored_and_the_spelling_is_no_part_of_a_cache(
    mapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = mapped / "artifacts/cache"
    manifest = open_store(cache).manifest
    entry = manifest.identity["outputs"]["maps"]
    channels, height, width = entry["shape"]
    assert (entry["kind"], entry["take"], height) == ("features", "stages.1", width) and height > 1
    said = run_in(mapped, "stillroom", "cache", "--set", OLD).stdout  # nothing is left to do, nor refused
    assert "views/s" not in said and open_store(cache).manifest.id == manifest.id
    monkeypatch.chdir(mapped)
    item = stillroom.CachedDataset(cache, output="maps")[3]
    assert item["teacher_maps"].shape == (channels, height, width) and item["teacher_maps"].std() > 0
    shown = run_in(mapped, "stillroom", "store", "info").stdout
    assert f"[{channels}, {height}, {width}], by stages.1" in " ".join(shown.split())
    run_in(mapped, "stillroom", "store", "verify")
    run_in(mapped, "stillroom", "store", "audit")
    run_in(mapped, "stillroom", "store", "show", item["key"])
    facts = json.loads(run_in(mapped, "stillroom", "plan", "--no-measure", "--json", *MAPS).stdout)
    count = facts["views"] * facts["samples"]
    assert facts["bytes_of_outputs"]["maps"] == 2 * channels * height * width * count
    assert sum(facts["bytes_of_outputs"].values()) == facts["bytes_raw"]["outputs"]
    assert "outputs logits" in " ".join(
        run_in(mapped, "stillroom", "plan", "--no-measure", *MAPS).stdout.split()
    )


def test_students_learn_from_them_and_are_paired_with_others(mapped: Path) -> None:
    """From the cache and with the teacher in the loop; the projection is nowhere in what is kept."""
    few = ("--set", "student.train.epochs=2")
    run = ("student", "--family", "vit", "--arm")
    run_in(mapped, "stillroom", *run, "ce", *STUDENT, *few)
    plain = record(mapped, "vit-ce-0")
    terms = {"fitnet": {"hint"}, "rkd": {"distances", "angles"}, "at": {"attention"}}
    for arm, own in terms.items():
        run_in(mapped, "stillroom", *run, arm, *STUDENT, *few)
        found = record(mapped, f"vit-{arm}-0")
        assert found["digests"] == plain["digests"], "the initial weights, the order and the pixels"
        assert (found["params"], found["flops"]) == (plain["params"], plain["flops"])
        assert set(found["history"][0]["terms"]) == {*own, "labels"}
        assert set(found["cache_parts"]) == {"data", "logits", "maps" if arm == "at" else "features"}
    names = [set(load_file(mapped / f"artifacts/students/vit-{arm}-0/model.safetensors")) for arm in terms]
    assert names == [set(load_file(mapped / "artifacts/students/vit-ce-0/model.safetensors"))] * 3
    assert record(mapped, "vit-fitnet-0")["config"]["loss"]["layer"] == "pooled"
    for arm in ("fitnet", "at"):
        run_in(mapped, "stillroom", *run, arm, "--online", *STUDENT, *few)
        cached, online = record(mapped, f"vit-{arm}-0"), record(mapped, f"vit-{arm}-0-online")
        assert online["digests"] == cached["digests"]
        assert [epoch["loss"] for epoch in online["history"]] == pytest.approx(
            [epoch["loss"] for epoch in cached["history"]], rel=1e-2
        )


def test_a_student_with_a_projection_goes_on_to_the_same_bits(mapped: Path) -> None:
    command = ["student", "--family", "vit", "--arm", "fitnet", *STUDENT]
    command += ["--set", "student.train.batch_size=10", "--set", "student.train.ema=0.9"]
    run_in(mapped, "stillroom", *command)
    whole, log = weights(mapped, "vit-fitnet-0"), history(mapped, "vit-fitnet-0")
    killed(mapped, command, "vit-fitnet-0", 7)
    [file] = checkpoints(mapped, "vit-fitnet-0")
    state = torch.load(file, weights_only=True)["state"]
    assert set(state["beside"]) == {"weight", "bias"} and not set(state["beside"]) & set(state["average"])
    assert "resumed: " in run_in(mapped, "stillroom", *command).stdout
    assert weights(mapped, "vit-fitnet-0") == whole and history(mapped, "vit-fitnet-0") == log


def test_what_a_student_cannot_compare_is_refused_before_any_work(mapped: Path) -> None:
    run = ("student", "--family", "vit", "--arm", "at")
    said = run_in(
        mapped, "stillroom", *run, *STUDENT, "--set", "student.losses.at.layer=block.1", code=2
    ).stderr
    assert "the loss at: vit_tiny_patch16_224 has no features 'block.1'" in said and "blocks.1" in said
    said = run_in(
        mapped, "stillroom", *run, *MAPS, "--set", "student.losses.at={features: features}", code=2
    ).stderr
    assert "have no places to attend to" in said
    said = run_in(mapped, "stillroom", *run, "--set", "student.losses.at={features: none}", code=1).stderr
    assert "the cache has no features 'none'" in said and "features, maps" in said
    assert not (mapped / "artifacts/students/vit-at-0").exists()

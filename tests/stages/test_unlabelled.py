"""Samples without a label, by the real commands: the teacher is asked of them, nobody learns their class."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stillroom import CachedDataset
from stillroom.cache.read.backends import open_store
from stillroom.modalities import load_samples
from tests.conftest import TINY, clean, copy_project, run_in

KEPT, HIDDEN = 80, 40  # of 40 classes, three training pictures each
PARAMS = (
    TINY.replace("train_per_class: 2", "train_per_class: 3, labels_per_class: 2")
    .replace("families: [vit, pvt]", "families: [pvt]")
    .replace("arms: [ce, kd]", "arms: [ce, kd, dkd]")
    .replace("losses: {ce: {},", "losses: {ce: {}, dkd: {},")
    .replace("{epochs: 4, batch_size: 40, warmup_epochs: 1", "{epochs: 2, batch_size: 40, warmup_epochs: 0")
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after `dvc repro`, a third of whose training pictures are unlabelled. Not to be changed."""
    folder = copy_project(finished, tmp_path_factory.mktemp("unlabelled") / "project")
    (folder / "params.yaml").write_text(PARAMS)
    shutil.rmtree(folder / "artifacts/.staging")
    run_in(folder, "dvc", "repro")
    return folder


def student(project: Path, arm: str, *more: str) -> dict:
    run_in(project, "stillroom", "student", "--family", "pvt", "--arm", arm, *more)
    return json.loads((project / f"artifacts/students/pvt-{arm}-0/student.json").read_text())


def weights(project: Path, arm: str) -> dict[str, torch.Tensor]:
    return load_file(project / f"artifacts/students/pvt-{arm}-0/model.safetensors")


def test_the_cache_holds_all_and_says_whose_class_is_known(made: Path) -> None:
    samples = load_samples(made / "artifacts/data")
    assert samples.splits() == {"train": KEPT, "test": 40, "unlabelled": HIDDEN}
    store = open_store(made / "artifacts/cache")
    assert store.layout.samples == KEPT + HIDDEN and (store.labels == -1).sum() == HIDDEN
    assert store.manifest.identity["samples"] == {"count": KEPT + HIDDEN, **samples.in_cache().digests()}
    info = json.loads(run_in(made, "stillroom", "store", "info", "--json").stdout)
    known = store.labels >= 0
    right = [(store.logits(view)[known].argmax(1) == store.labels[known]).mean() for view in range(3)]
    assert info["unlabelled"] == HIDDEN
    assert info["outputs"]["logits"]["accuracy_by_view"] == pytest.approx(
        [100 * one for one in right], abs=1e-3
    )
    assert info["outputs"]["logits"]["accuracy"] == pytest.approx(100 * np.mean(right), abs=1e-3)
    assert "40 of the samples have none" in run_in(made, "stillroom", "store", "info").stdout
    assert json.loads(run_in(made, "stillroom", "store", "audit", "--views", "16", "--json").stdout)["ok"]
    facts = json.loads(run_in(made, "stillroom", "plan", "--no-measure", "--json").stdout)
    assert facts["samples"] == KEPT + HIDDEN
    hidden = next(row.key for row in samples.rows if row.label < 0)
    shown = run_in(made, "stillroom", "store", "show", hidden, "--out", "sheet.png").stdout
    assert f"views of {hidden} (unlabelled)" in shown
    assert clean(made)


def test_an_epoch_is_all_of_the_cache_for_every_arm(made: Path) -> None:
    records = [
        json.loads((made / f"artifacts/students/pvt-{arm}-0/student.json").read_text())
        for arm in ("ce", "kd", "dkd")
    ]
    assert all(one["digests"] == records[0]["digests"] and one["unlabelled"] == HIDDEN for one in records)
    results = json.loads((made / "artifacts/report/results.json").read_text())
    assert results["cache"]["unlabelled"] == HIDDEN and results["mean_gain_interval"] is not None
    said = "40 of the 120 images that students see have no label"
    for page in ("results.md", "index.html"):
        assert said in (made / "artifacts/report" / page).read_text()
    dataset = CachedDataset(made / "artifacts/cache", made / "artifacts/data")
    labels = [int(dataset[row]["labels"]) for row in range(len(dataset))]
    assert labels == open_store(made / "artifacts/cache").labels.tolist()


def test_the_teacher_is_fitted_to_labelled_samples_alone(made: Path, tmp_path: Path) -> None:
    """Without the unlabelled pictures it is the same, bit for bit."""
    project = copy_project(made, tmp_path / "project")
    leave = ("--set", "data.unlabelled=leave")
    run_in(project, "stillroom", "prepare", *leave)
    assert load_samples(project / "artifacts/data").splits() == {"train": KEPT, "test": 40}
    run_in(project, "stillroom", "teacher")
    digests = [
        json.loads((folder / "artifacts/teacher/teacher.json").read_text())["digest"]
        for folder in (made, project)
    ]
    assert digests[0] == digests[1]


def test_labels_teach_of_labelled_samples_alone(made: Path, tmp_path: Path) -> None:
    """ce never looks at what the teacher said, and kd does at all of it."""
    project = copy_project(made, tmp_path / "project")
    labels = load_samples(project / "artifacts/data").in_cache().labels()
    ce, kd = (
        json.loads((project / f"artifacts/students/pvt-{arm}-0/student.json").read_text())
        for arm in ("ce", "kd")
    )
    # untrained, an unlabelled sample costs nothing: two thirds of log C
    assert 0 < ce["history"][0]["loss"] < 1.2 * np.log(40) * (labels >= 0).mean()
    assert kd["history"][0]["terms"]["labels"] < 0.2 * ce["history"][0]["loss"]
    before = {arm: weights(project, arm) for arm in ("ce", "kd")}
    # batches of four: some have no label at all
    small = student(project, "ce", "--set", "student.train.batch_size=4", "--set", "student.train.epochs=1")
    assert np.isfinite(small["history"][0]["loss"])
    for arm, same in (("ce", True), ("kd", False)):
        student(project, arm, "--set", "student.losses.kd.temperature=5")
        after = weights(project, arm)
        assert all(torch.equal(before[arm][name], one) for name, one in after.items()) == same


def test_a_cross_fitted_teacher_and_one_in_the_loop(made: Path, tmp_path: Path) -> None:
    """Each unlabelled sample is in a fold, and the model of that fold is asked: none was fitted to it."""
    project = copy_project(made, tmp_path / "project")
    params = (project / "params.yaml").read_text()
    mixed = params.replace("{name: crop, scale: [0.5, 1.0]}", "{name: crop, scale: [0.5, 1.0], mixup: 0.8}")
    assert mixed != params
    (project / "params.yaml").write_text(
        mixed.replace("  arch: convnext_atto\n", "  arch: convnext_atto\n  folds: 2\n")
    )
    run_in(project, "stillroom", "teacher")
    run_in(project, "stillroom", "cache", "--replace")
    described = json.loads((project / "artifacts/teacher/teacher.json").read_text())
    assert described["folds"]["samples"] == [KEPT - KEPT // 2, KEPT // 2]
    store = open_store(project / "artifacts/cache")
    info = json.loads(run_in(project, "stillroom", "store", "info", "--json").stdout)
    assert len(info["outputs"]["logits"]["folds"]) == 2
    assert (store.labels < 0).sum() == HIDDEN
    assert json.loads(run_in(project, "stillroom", "store", "audit", "--views", "16", "--json").stdout)["ok"]
    cached = student(project, "kd")
    run_in(project, "stillroom", "student", "--family", "pvt", "--arm", "kd", "--online")
    online = json.loads((project / "artifacts/students/pvt-kd-0-online/student.json").read_text())
    # three views and two epochs: the cache's views, and what is said of them but for float16
    assert online["history"][0]["loss"] == pytest.approx(cached["history"][0]["loss"], rel=1e-2)

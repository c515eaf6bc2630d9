"""Classes of uneven sizes, by the real commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import balanced_accuracy_score, f1_score

from stillroom.modalities import load_samples
from tests.conftest import TINY, run_in

COUNTS = {"cat": (24, 6), "dog": (8, 3), "owl": (3, 2)}
PARAMS = (
    TINY.replace(
        "name: sketch40, train_per_class: 2, test_per_class: 1, image_size: 64", "name: folder, path: photos"
    )
    .replace("families: [vit, pvt]", "families: [pvt]")
    .replace("{epochs: 4, batch_size: 40, warmup_epochs: 1", "{epochs: 2, batch_size: 9, warmup_epochs: 0")
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imbalance")
    (folder / "params.yaml").write_text(PARAMS)
    random = np.random.default_rng(0)
    for shade, (name, counts) in enumerate(COUNTS.items()):
        for split, count in zip(("train", "test"), counts, strict=True):
            for number in range(count):
                file = folder / f"photos/{split}/{name}/{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 120, (40, 40, 3), dtype=np.uint8) + np.uint8(60 * shade)
                Image.fromarray(pixels).save(file)
    said = run_in(folder, "stillroom", "prepare").stdout
    assert "8 times as many images of cat as of owl" in said
    run_in(folder, "stillroom", "teacher")
    run_in(folder, "stillroom", "cache", "--set", "cache.k=3")
    return folder


def test_results_have_scores_that_classes_share_alike(project: Path) -> None:
    for arm in ("ce", "kd"):
        run_in(project, "stillroom", "student", "--family", "pvt", "--arm", arm)
    labels = load_samples(project / "artifacts/data", project / "photos").in_splits("test").labels()
    for folder in ("teacher", "students/pvt-ce-0", "students/pvt-kd-0"):
        scores = json.loads((project / "artifacts" / folder / "metrics.json").read_text())
        said = (
            load_file(project / "artifacts" / folder / "predictions.safetensors")["logits"]
            .reshape(-1, 3)
            .argmax(1)
        )
        assert scores["balanced_accuracy"] == pytest.approx(
            100 * balanced_accuracy_score(labels, said), abs=1e-3
        )
        expected = f1_score(labels, said, labels=np.unique(labels), average="macro", zero_division=0)
        assert scores["macro_f1"] == pytest.approx(100 * expected, abs=1e-3)
    run_in(project, "stillroom", "report", "--set", "student.families=[pvt]", "--set", "student.arms=[ce,kd]")
    results = json.loads((project / "artifacts/report/results.json").read_text())
    assert results["rows"][0]["macro_f1"] is not None and results["teacher"]["balanced_accuracy"] is not None
    record = json.loads((project / "artifacts/students/pvt-ce-0/student.json").read_text())
    assert not {"class_weights", "order"} & {*record["config"]["train"]}  # as in earlier versions


def test_weights_and_order_change_what_is_learned_and_are_recorded(project: Path) -> None:
    seen = {}
    for key in ("class_weights", "order"):
        run_in(
            project,
            "stillroom",
            "student",
            "--family",
            "pvt",
            "--arm",
            "kd",
            "--set",
            f"student.train.{key}=balanced",
        )
        record = json.loads((project / "artifacts/students/pvt-kd-0/student.json").read_text())
        assert record["config"]["train"][key] == "balanced"
        seen[key] = record
    assert seen["order"]["digests"]["order"] != seen["class_weights"]["digests"]["order"]
    assert seen["order"]["history"] != seen["class_weights"]["history"]
    both = [f"--set=student.train.{key}=balanced" for key in seen]
    said = run_in(project, "stillroom", "student", "--family", "pvt", "--arm", "ce", *both, code=2).stderr
    assert "student.train.class_weights and student.train.order are both balanced" in said


def test_a_teacher_is_fitted_so_too_whole_or_its_head_alone(project: Path, tmp_path: Path) -> None:
    weights = project / "artifacts/teacher/model.safetensors"
    given = tmp_path / "trunk.safetensors"
    given.write_bytes(weights.read_bytes())
    digests = []
    for more in (
        ("teacher.train.order=balanced",),
        ("teacher.train.class_weights=balanced",),
        ("teacher.train.freeze=trunk", f"teacher.weights={given}"),
        ("teacher.train.freeze=trunk", f"teacher.weights={given}", "teacher.train.class_weights=balanced"),
    ):
        run_in(project, "stillroom", "teacher", *(f"--set={one}" for one in more))
        digests.append(json.loads((project / "artifacts/teacher/teacher.json").read_text())["digest"])
    assert len({*digests}) == 4
    both = ("--set=teacher.train.order=balanced", "--set=teacher.train.class_weights=balanced")
    assert "are both balanced" in run_in(project, "stillroom", "teacher", *both, code=2).stderr

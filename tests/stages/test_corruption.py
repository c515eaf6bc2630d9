"""What students see worse than their teacher, through the real commands: `student.corruption`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import tables
from tests.conftest import ran, run_in

LOW = "student.corruption={name: low_resolution, side: 8, draws: 2}"


def record(project: Path, name: str) -> dict[str, Any]:
    return json.loads((project / f"artifacts/students/{name}/student.json").read_text())


def student(project: Path, arm: str, *settings: str, family: str = "vit", code: int = 0) -> str:
    options = [part for one in settings for part in ("--set", one)]
    done = run_in(project, "stillroom", "student", "--family", family, "--arm", arm, *options, code=code)
    return done.stdout + done.stderr


def test_it_is_recorded_and_changes_the_inputs_alone(project: Path) -> None:
    before = record(project, "vit-kd-0")
    student(project, "kd", LOW)
    after = record(project, "vit-kd-0")
    assert after["config"]["corruption"] == {
        "name": "low_resolution",
        "side": 8,
        "seed": 0,
        "draw_at": "epoch",
        "draws": 2,
    }
    assert "corruption" not in before["config"]
    assert after["cache"] == before["cache"] and after["cache_parts"] == before["cache_parts"]
    assert after["digests"]["pixels"] != before["digests"]["pixels"]
    assert all(after["digests"][name] == before["digests"][name] for name in ("init", "order"))
    # the test split is seen corrupted too, in so many draws, and the scores are their mean
    logits = load_file(project / "artifacts/students/vit-kd-0/predictions.safetensors")["logits"]
    clean = load_file(project / "artifacts/students/vit-ce-0/predictions.safetensors")["logits"]
    assert logits.shape == (2, *clean.shape)
    table = tables.read(project / "artifacts/data")["samples"]
    labels = np.array([one["label"] for one in table if one["split"] == "test"])
    scores = json.loads((project / "artifacts/students/vit-kd-0/metrics.json").read_text())
    assert scores["accuracy"] == pytest.approx(100 * (logits.argmax(-1) == labels).mean(), abs=1e-3)


def test_no_corruption_at_all_is_what_it_was(project: Path) -> None:
    before = record(project, "vit-ce-0")
    student(project, "ce", "student.corruption={}")
    assert record(project, "vit-ce-0")["digests"] == before["digests"]


def test_the_draw_is_the_epochs_or_fixed(project: Path) -> None:
    blur = "student.corruption={{name: occlusion, share: 0.3, draw_at: {}}}"
    losses = {}
    for draw_at in ("epoch", "fixed"):
        student(project, "ce", blur.format(draw_at), "student.train.warmup_epochs=0")
        losses[draw_at] = [one["loss"] for one in record(project, "vit-ce-0")["history"]]
    assert losses["epoch"][0] == losses["fixed"][0]  # draw 0 both
    assert losses["epoch"][1:] != losses["fixed"][1:]


def test_a_teacher_in_the_loop_sees_the_clean_view(project: Path) -> None:
    student(project, "kd", LOW)
    cached = record(project, "vit-kd-0")
    run_in(project, "stillroom", "student", "--family", "vit", "--arm", "kd", "--online", "--set", LOW)
    online = record(project, "vit-kd-0-online")
    for name in ("init", "pixels"):
        assert online["digests"][name] == cached["digests"][name]
    first, again = cached["history"][0], online["history"][0]
    assert abs(first["loss"] - again["loss"]) < 2e-3


def test_arms_under_different_corruptions_are_not_compared(project: Path) -> None:
    student(project, "kd", LOW)
    said = run_in(project, "stillroom", "report", code=1).stderr
    assert "arms cannot be compared" in said and "config.corruption" in said


def test_dvc_trains_the_students_again_and_nothing_else(project: Path) -> None:
    file = project / "params.yaml"
    file.write_text(
        file.read_text().replace("corruption: {}", "corruption: {name: blur, radius: 12.0, draws: 2}")
    )
    done = ran(run_in(project, "dvc", "repro").stdout)
    assert set(done) == {
        "student@vit-ce-0",
        "student@vit-kd-0",
        "student@pvt-ce-0",
        "student@pvt-kd-0",
        "report",
    }
    results = json.loads((project / "artifacts/report/results.json").read_text())
    assert results["corruption"]["name"] == "blur"
    teacher = results["teacher"]
    assert set(teacher["corrupted"]) >= {"accuracy", "mAP"}
    assert teacher["corrupted"]["mAP"] != teacher["mAP"]
    page = (project / "artifacts/report/index.html").read_text()
    assert "What students saw" in page and "blur (radius 12.0), drawn anew each epoch" in page
    assert "Teacher, on what students see" in page
    text = (project / "artifacts/report/results.md").read_text()
    assert "| teacher, on what students see |" in text and "Students see their views corrupted: blur" in text
    shutil.rmtree(project / "artifacts/teacher")  # a teammate has none; its records come with the cache
    run_in(project, "dvc", "checkout", "-q", code=None)


def test_what_is_wrong_is_named(project: Path) -> None:
    said = student(project, "ce", "student.corruption={name: low_resolutoin}", code=2)
    assert "there is no such corruption" in said and "did you mean low_resolution?" in said
    said = student(project, "ce", "student.corruption={name: blur, radus: 3}", code=2)
    assert "unknown key student.corruption.radus; did you mean student.corruption.radius" in said
    said = student(project, "ce", "student.corruption={name: blur, draws: 0}", code=2)
    assert "student.corruption.draws" in said


def test_a_stopped_run_is_not_taken_up_under_another_corruption(project: Path) -> None:
    shutil.rmtree(project / "artifacts/students/vit-ce-0")
    student(project, "ce", LOW)
    assert "resumed" not in student(project, "ce", "student.corruption={name: blur, radius: 4.0}")

"""`stillroom student --online`: the teacher in the loop, on the views that the cache would hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import run_in

ONLINE = ["student", "--family", "vit", "--arm", "kd", "--online"]


def record(folder: Path) -> dict:
    return json.loads((folder / "student.json").read_text())


def test_as_many_epochs_as_views_are_those_of_the_cache(project: Path) -> None:
    """Same start, order and pixels; the targets differ by the cache's float16 alone."""
    few = ["--set", "student.train.epochs=3"]
    run_in(project, "stillroom", "student", "--family", "vit", "--arm", "kd", *few)
    run_in(project, "stillroom", *ONLINE, *few)
    students = project / "artifacts/students"
    cached, online = record(students / "vit-kd-0"), record(students / "vit-kd-0-online")
    assert online["online"] is True and "online" not in cached
    assert online["digests"] == cached["digests"]
    assert [epoch["loss"] for epoch in online["history"]] == pytest.approx(
        [epoch["loss"] for epoch in cached["history"]], rel=1e-2
    )
    assert online["history"] != [dict(epoch) for epoch in cached["history"]]
    one, two = (load_file(students / name / "predictions.safetensors")["logits"] for name in
                ("vit-kd-0", "vit-kd-0-online"))  # fmt: skip
    assert not np.array_equal(one, two) and np.allclose(one, two, atol=0.2)


def test_it_needs_the_teacher_and_the_cache_does_not(project: Path) -> None:
    (project / "artifacts/teacher/model.safetensors").unlink()
    done = run_in(project, "stillroom", *ONLINE, code=1)
    assert "model.safetensors" in done.stderr
    run_in(
        project, "stillroom", "student", "--family", "vit", "--arm", "kd", "--set", "student.train.epochs=1"
    )


def test_the_terms_of_the_loss_are_in_the_history(project: Path) -> None:
    history = record(project / "artifacts/students/vit-kd-0")["history"]
    for epoch in history:
        assert epoch["loss"] == pytest.approx(sum(epoch["terms"].values()), abs=2e-6)
        assert set(epoch["terms"]) == {"teacher", "labels"}
    assert "terms" not in record(project / "artifacts/students/vit-ce-0")["history"][0]

"""Students that see worse than their teacher, in the report: what stands in one table, and what is read."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stillroom.errors import DataError
from stillroom.evaluation.metrics import summarise, summarise_draws
from stillroom.reporting import bootstrap, figures, page, wording
from stillroom.reporting.markdown import as_markdown
from stillroom.reporting.reading import read
from stillroom.reporting.table import summarise as table_of
from tests.reporting import artifacts, test_intervals

WORSE = {"name": "blur", "radius": 4.0, "seed": 0, "draw_at": "epoch", "draws": 3}


def corrupt(folder: Path, name: str, **changes: object) -> None:
    file = folder / "students" / name / "student.json"
    record = json.loads(file.read_text())
    record["config"]["corruption"] = WORSE | changes
    file.write_text(json.dumps(record))


def test_students_under_different_corruptions_are_not_one_table(tmp_path: Path) -> None:
    entries = [("vit", arm, seed) for seed in (0, 1) for arm in ("ce", "kd")]
    folder = artifacts.make(tmp_path, entries)
    for family, arm, seed in entries:
        corrupt(folder, f"{family}-{arm}-{seed}")
    assert read(folder, entries).corruption == WORSE
    for arm in ("ce", "kd"):  # each pair is one by itself
        corrupt(folder, f"vit-{arm}-1", radius=8.0)
    with pytest.raises(DataError, match=r"config\.corruption\.radius is 4\.0 and 8\.0"):
        read(folder, entries)
    for arm in ("ce", "kd"):
        file = folder / f"students/vit-{arm}-1/student.json"
        record = json.loads(file.read_text())
        del record["config"]["corruption"]
        file.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"config\.corruption"):
        read(folder, entries)


@pytest.mark.parametrize("draws", [1, 2, 4])
def test_predictions_have_as_many_draws_as_the_record_says(tmp_path: Path, draws: int) -> None:
    entries = [("vit", "ce", 0)]
    test = test_intervals.made(tmp_path, entries)
    corrupt(tmp_path, "vit-ce-0")  # of three
    folder = tmp_path / "students/vit-ce-0"
    shape = (draws, len(test), len(test.classes))
    logits = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    save_file({"logits": logits}, folder / "predictions.safetensors")
    right = 100 * float((logits.argmax(-1) == np.array(test.labels())).mean())
    artifacts.edit(folder / "metrics.json", accuracy=right)
    with pytest.raises(DataError, match=r"expected F32 \[3, |expected about"):
        read(tmp_path, entries, test)
    corrupt(tmp_path, "vit-ce-0", draws=draws)
    np.testing.assert_array_equal(read(tmp_path, entries, test).logits["vit", "ce", 0], logits)
    artifacts.edit(folder / "metrics.json", accuracy=right + 1)
    with pytest.raises(DataError, match="it gives an accuracy of"):
        read(tmp_path, entries, test)


def test_scores_of_draws_are_their_mean() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 40, 4)).astype(np.float32)
    labels, classes = np.arange(40) % 3, tuple("abcd")  # nobody is of class d
    each = [summarise(one, labels, classes) for one in logits]
    found = summarise_draws(logits, labels, classes)
    for name in ("accuracy", "mAP", "top5", "calibration_error"):
        assert found[name] == pytest.approx(np.mean([one[name] for one in each]), abs=1e-4)
    assert set(found["per_class_ap"]) == {"a", "b", "c"}
    assert (
        summarise_draws(logits[0], labels, classes) == each[0] == summarise_draws(logits[:1], labels, classes)
    )


def test_gains_are_means_over_draws_and_paired(tmp_path: Path) -> None:
    entries = [("vit", "ce", 0), ("vit", "kd", 0)]
    test = test_intervals.made(tmp_path, entries)
    labels, drawn = np.array(test.labels()), {}
    for number, (_, arm, _) in enumerate(entries):
        corrupt(tmp_path, f"vit-{arm}-0", draws=2)
        folder = tmp_path / f"students/vit-{arm}-0"
        noise = np.random.default_rng(5).normal(size=(2, len(test), len(test.classes)))
        drawn[arm] = (noise + (0.5 + number) * np.eye(len(test.classes))[labels]).astype(np.float32)
        save_file({"logits": drawn[arm]}, folder / "predictions.safetensors")
        scores = summarise_draws(drawn[arm], labels, test.classes)
        artifacts.edit(folder / "student.json", per_class_ap=scores.pop("per_class_ap"))
        artifacts.put(folder / "metrics.json", scores)
    runs = read(tmp_path, entries, test)
    results = table_of(runs)
    resamples = bootstrap.Resamples(len(test))
    one, other = (
        bootstrap.score(list(drawn[arm]), labels, resamples).mean(0, keepdims=True) for arm in ("ce", "kd")
    )
    expected = bootstrap.gain(one, other, resamples)
    assert results["summary"][0]["gain_interval"] == list(expected.accuracy_interval)
    assert results["summary"][0]["gain"] == pytest.approx(expected.accuracy, abs=1e-3)
    teacher = runs.teacher_logits
    assert teacher is not None
    agreed = np.mean([(draw.argmax(1) == teacher.argmax(1)).mean() for draw in drawn["kd"]])
    assert results["rows"][1]["agreement"] == pytest.approx(100 * agreed, abs=1e-3)
    results["teacher"]["corrupted"] = results["teacher"] | {"accuracy": 12.34}
    results |= {"labelled": 0.1, "levels": LEVELS}
    text = as_markdown(results)
    html = page.page(results, runs.students, runs.teacher, [], "t", [], runs.manifest)
    for shown in (text, html):
        assert "blur (radius 4.0), drawn anew each epoch" in shown and "means over 2 draws" in shown.replace(
            "\n", " "
        )
        assert "12.34" in shown and "one draw a level" in shown.lower() and "on what students see" in shown
    assert "labels of 10% of the training samples" in text and "labels of 10 % of the training images" in html


LEVELS = {"key": "radius", "values": [4, 0, 8], "draws": 1, "teacher": [50.0, 90.0, 10.0]}
LEVELS |= {"students": {"vit": {"ce": [40.0, 60.0, 20.0], "kd": [41.0, 61.0, 21.0]}}}


def test_a_curve_has_its_levels_where_they_are() -> None:
    drawn = figures.level_curves(LEVELS, "vit", "kd")
    assert 'points="0.00,0.00 50.00,50.00 100.00,100.00"' in drawn  # the teacher, from level 0 on
    assert (
        figures.level_curves(LEVELS | {"values": [4, 0, 16]}, "vit", "kd").count('points="0.00,0.00 25.00,')
        == 1
    )


def test_a_corruption_in_words() -> None:
    mixed = {"name": "mixture", "of": [{"name": "jitter", "size": 0.1}, {"name": "joint_loss", "joints": 3}]}
    said = wording.corruption(mixed | {"together": False, "seed": 0, "draw_at": "fixed", "draws": 4})
    assert said == "mixture (of jitter size 0.1 + joint_loss joints 3), one fixed draw a sample"

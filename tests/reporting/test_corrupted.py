"""Students that see worse than their teacher, in the report: what stands in one table, and what is read."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tests.reporting.test_table import terminal

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


def drawn_students(
    folder: Path, drawn: dict[str, np.ndarray]
) -> tuple[dict[str, Any], np.ndarray, Callable[[dict[str, Any]], str]]:
    """The results of students of one seed with these predictions [D, N, C] by arm; labels; and their page."""
    entries = [("vit", arm, 0) for arm in drawn]
    test = test_intervals.made(folder, entries)
    labels = np.array(test.labels())
    for arm, logits in drawn.items():
        corrupt(folder, f"vit-{arm}-0", draws=len(logits))
        student = folder / f"students/vit-{arm}-0"
        save_file({"logits": logits}, student / "predictions.safetensors")
        scores = summarise_draws(logits, labels, test.classes)
        artifacts.edit(student / "student.json", per_class_ap=scores.pop("per_class_ap"))
        artifacts.put(student / "metrics.json", scores)
    runs = read(folder, entries, test)

    def shown(results: dict[str, Any]) -> str:
        return page.page(results, runs.students, runs.teacher, [], "t", [], runs.manifest)

    return table_of(runs), labels, shown


def answers(skill: float, seed: int, draws: int = 3) -> np.ndarray:
    labels = np.array(test_intervals.samples().labels())
    noise = np.random.default_rng(seed).normal(size=(draws, len(labels), 6))
    return (noise + skill * np.eye(6)[labels]).astype(np.float32)


def test_a_gain_over_draws_is_the_mean_over_draws_of_what_each_gains(tmp_path: Path) -> None:
    drawn = {"ce": answers(0.5, 1), "kd": answers(1.5, 2)}
    results, labels, _ = drawn_students(tmp_path, drawn)
    right = {arm: logits.argmax(-1) == labels for arm, logits in drawn.items()}
    by_hand = [100 * (right["kd"][draw].mean() - right["ce"][draw].mean()) for draw in range(3)]
    [line] = results["summary"]
    assert len(set(by_hand)) > 1 and line["gain"] == pytest.approx(np.mean(by_hand), abs=1e-3)
    low, high = line["gain_interval"]
    assert low < line["gain"] < high


def test_what_both_arms_share_in_all_draws_is_not_in_the_interval(tmp_path: Path) -> None:
    """Two arms that answer alike but for ten samples of 120: unpaired, the interval is many points wide."""
    same = answers(0.8, 3)
    other = same.copy()
    labels = np.array(test_intervals.samples().labels())
    other[:, :10] += 20 * np.eye(6, dtype=np.float32)[labels[:10]]
    [line] = drawn_students(tmp_path, {"ce": same, "kd": other})[0]["summary"]
    low, high = line["gain_interval"]
    right = (same.argmax(-1) == labels).mean(0)
    alone = 2 * 1.96 * np.sqrt(2) * 100 * right.std() / np.sqrt(len(labels))  # two independent samples
    assert 0 < low < line["gain"] < high and high - low < 0.6 * alone
    folder = tmp_path / "equal"
    [line] = drawn_students(folder, {"ce": same, "kd": same.copy()})[0]["summary"]
    assert line["gain"] == 0 and line["gain_interval"] == [0, 0] == line["mAP_gain_interval"]


def test_the_report_says_what_its_scores_are_means_of(tmp_path: Path) -> None:
    results, _, html = drawn_students(tmp_path, {"ce": answers(0.5, 1), "kd": answers(1.5, 2)})
    own = "gets the same corruption of its own input"
    for shown in (as_markdown(results), html(results)):  # the teacher was not asked: nothing of it
        assert "blur (radius 4.0), drawn anew each epoch" in shown
        assert "means over 3 draws of it on the test split, the same for all" in shown
        assert own not in shown and "were given the labels" not in shown
    results["teacher"]["corrupted"] = results["teacher"] | {"accuracy": 12.34, "mAP": 23.45}
    for shown in (as_markdown(results), html(results), terminal(results, color=False)):
        assert "12.34" in shown and "23.45" in shown and "students see" in shown
    for shown in (as_markdown(results), html(results)):
        assert own in shown and "on what students see" in shown
    assert re.search(r"^teacher +as students see +12\.34 +23\.45 *$", terminal(results, color=False), re.M)
    assert max(map(len, terminal(results, color=False).splitlines())) <= 80
    results["corruption"] = results["corruption"] | {"draws": 1}
    assert "means over one draw of it" in as_markdown(results) and "means over one draw of it" in html(
        results
    )


@pytest.mark.parametrize(("share", "said"), [(0.1, "10"), (0.07, "7"), (0.005, "0.5")])
def test_the_share_of_labels_keeps_its_decimals(tmp_path: Path, share: float, said: str) -> None:
    results, _, html = drawn_students(tmp_path, {"ce": answers(0.5, 1), "kd": answers(1.5, 2)})
    results["labelled"] = share
    assert f"given the labels of {said}% of the training samples" in as_markdown(results)
    assert f"given the labels of {said} % of the training images" in html(results)


@pytest.mark.parametrize(
    ("levels", "said"), [({}, "one draw"), ({"draws": 1}, "one draw"), ({"draws": 4}, "4 draws")]
)
def test_levels_say_how_many_draws_each_has(tmp_path: Path, levels: dict[str, int], said: str) -> None:
    results, _, html = drawn_students(tmp_path, {"ce": answers(0.5, 1), "kd": answers(1.5, 2)})
    results["levels"] = {name: value for name, value in LEVELS.items() if name != "draws"} | levels
    assert f"{said} a level." in as_markdown(results).lower()
    assert f"percent, {said} a level;" in html(results)


def test_every_loss_is_on_the_page_with_its_scores_and_intervals(tmp_path: Path) -> None:
    drawn = {"ce": answers(0.5, 1), "kd": answers(1.5, 2), "gm": answers(1.0, 3), "skd": answers(2.0, 4)}
    results, _, html = drawn_students(tmp_path, drawn)
    [line] = results["summary"]
    body = html(results).split('aria-label="Every loss"')[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = body.split("<tr>")[1:]
    assert [re.findall(r'class="text">(\w+)</td>', one)[0] for one in rows] == list(drawn)
    text = as_markdown(results).split("## Every loss")[1].split("##")[0]
    for row, arm in zip(rows, drawn, strict=True):
        gains = line["gains"].get(arm)
        assert (gains is None) == (arm == "ce")
        for metric in ("accuracy", "mAP"):
            score = wording.percent(line[f"{metric}_{arm}"])
            assert f"<td>{score}</td>" in row
            if gains is None:
                assert f"| {score} |  |" in text
                continue
            low, high = (figures.minus(wording.signed(one)) for one in gains[f"{metric}_interval"])
            assert figures.minus(wording.signed(gains[metric])) in row
            assert f"{low} to {high}" in row
            shown = wording.between(gains[metric], gains[f"{metric}_interval"])
            assert f"| {score} | {shown} |" in text


def test_nothing_is_said_of_logits_crops_or_fine_tuning_where_there_may_be_none(tmp_path: Path) -> None:
    results, _, html = drawn_students(tmp_path, {"ce": answers(0.5, 1), "gm": answers(1.5, 2)})
    assert "what the teacher said" in as_markdown(results) and "what the teacher said" in html(results)
    for words in ("the logits help", "cached logits", "raw logits", "very crop", "<figcaption>fine-tuning"):
        assert words not in html(results) and words not in as_markdown(results)


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


def test_a_single_level_is_a_dot_for_each(tmp_path: Path) -> None:
    one = LEVELS | {"values": [4], "teacher": [50.0]}
    one |= {"students": {"vit": {"ce": [30.0], "kd": [40.0], "gm": [35.0]}}}
    drawn = figures.level_curves(one, "vit", "kd")
    dots = dict(re.findall(r'class="dot (\w+)" cx="50.00%" cy="([\d.]+)"', drawn))
    assert set(dots) == {"teacher", "kd", "term", "ce"} and "<polyline" not in drawn
    assert float(dots["teacher"]) < float(dots["kd"]) < float(dots["term"]) < float(dots["ce"])
    assert "gm: 35.0" in drawn and "<circle" not in figures.level_curves(LEVELS, "vit", "kd")
    results, _, html = drawn_students(tmp_path, {"ce": answers(0.5, 1), "kd": answers(1.5, 2)})
    assert "small: other arms" in html(results | {"levels": one})
    assert "dashed: other arms" in html(results | {"levels": LEVELS})

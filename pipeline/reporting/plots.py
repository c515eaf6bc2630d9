"""What DVC plots and compares: the report's figures as tables, a row a point, and its numbers as metrics.

`dvc.yaml` names these files, `.dvc/plots` has the Vega-Lite templates that draw them; `dvc plots diff` and
`dvc metrics diff` compare them between commits and experiments.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from stillroom.evaluation.calibration import Calibration
from stillroom.evaluation.metrics import confusion, softmax
from stillroom.reporting.records import Runs
from stillroom.reporting.table import METRICS
from stillroom.reporting.wording import family_name

_BINS = 10  # of confidence, in the reliability diagram

Row = tuple[Any, ...]
Table = tuple[tuple[str, ...], list[Row]]


def tables(runs: Runs, results: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Table]:
    """The tables by file name: columns, and rows."""
    return {
        "training.csv": (("family", "arm", "seed", "epoch", "loss"), list(_training(runs))),
        "terms.csv": (("family", "arm", "seed", "epoch", "term", "loss"), list(_terms(runs))),
        "gain.csv": (("family", "arm", "metric", "gain", "low", "high"), list(_gains(results))),
        "per_class_ap.csv": (("class", "arm", "ap"), list(_precisions(runs))),
        "confusion.csv": (("arm", "actual", "predicted", "share"), list(_confusion(runs, classes))),
        "reliability.csv": (
            ("family", "arm", "confidence", "accuracy", "images"),
            list(_reliability(runs)),
        ),
    }


def metrics(results: dict[str, Any]) -> dict[str, Any]:
    """The few numbers that an experiment is judged by, in percent and points on the test split."""
    teacher, arm = results["teacher"], results["arm"]
    numbers: dict[str, Any] = {}
    if teacher["accuracy"] is not None:
        numbers["teacher"] = {metric: teacher[metric] for metric, _ in METRICS}
    if results["mean_gain"] is not None:
        numbers["mean_gain"] = {metric: results[f"mean_{gain}"] for metric, gain in METRICS}
    for line in results["summary"]:
        values = {"ce": line["accuracy_ce"], arm: line[f"accuracy_{arm}"], "gain": line["gain"]}
        numbers[line["family"]] = {name: value for name, value in values.items() if value is not None}
    return {name: {key: round(value, 4) for key, value in values.items()} for name, values in numbers.items()}


def write(folder: Path, runs: Runs, results: dict[str, Any], classes: tuple[str, ...]) -> None:
    """Write `metrics.json` and `plots/*.csv` into the report's folder."""
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    for name, (columns, rows) in tables(runs, results, classes).items():
        with (plots / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
    text = json.dumps(metrics(results), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")


def _training(runs: Runs) -> Iterable[Row]:
    for epoch in runs.teacher.history if runs.teacher is not None else ():
        yield "teacher", "ce", 0, epoch.epoch, round(epoch.loss, 5)
    for student in runs.students:
        for epoch in student.history:
            yield family_name(student.family), student.arm, student.seed, epoch.epoch, round(epoch.loss, 5)


def _terms(runs: Runs) -> Iterable[Row]:
    for student in runs.students:
        for epoch in student.history:
            for name, value in epoch.terms.items():
                who = family_name(student.family), student.arm, student.seed
                yield *who, epoch.epoch, name, round(value, 5)


def _gains(results: dict[str, Any]) -> Iterable[Row]:
    for line in results["summary"]:
        for arm, gains in line["gains"].items():
            for metric, _ in METRICS:
                if gains[metric] is not None:
                    low, high = gains[f"{metric}_interval"] or ("", "")
                    yield family_name(line["family"]), arm, metric, gains[metric], low, high


def _precisions(runs: Runs) -> Iterable[Row]:
    """Average precision of each class in percent: an arm's mean over families and seeds."""
    for arm in dict.fromkeys(student.arm for student in runs.students):
        scores = [student.per_class_ap for student in runs.students if student.arm == arm]
        for name in dict.fromkeys(name for one in scores for name in one):
            present = [one[name] for one in scores if one.get(name) is not None]
            if present:
                yield name, arm, round(fmean(float(value or 0) for value in present), 4)


def _answers(runs: Runs) -> Iterable[tuple[str, str, np.ndarray]]:
    if runs.teacher_logits is not None:
        yield "teacher", "teacher", runs.teacher_logits
    for (family, arm, _), logits in runs.logits.items():
        for drawn in logits:
            yield family_name(family), arm, drawn


def _confusion(runs: Runs, classes: tuple[str, ...]) -> Iterable[Row]:
    """What share of a class's test images was given each class, in percent, over an arm's students."""
    counts: dict[str, np.ndarray] = {}
    for _, arm, logits in _answers(runs):
        assert runs.labels is not None
        counts[arm] = counts.get(arm, 0) + confusion(logits, runs.labels)
    for arm, table in counts.items():
        for actual, predicted in np.argwhere(table).tolist():
            share = 100 * table[actual, predicted] / table[actual].sum()
            yield arm, classes[actual], classes[predicted], round(float(share), 3)


def _reliability(runs: Runs) -> Iterable[Row]:
    """Accuracy in percent among the test images of like confidence, over a family's seeds."""
    bins: dict[tuple[str, str], Calibration] = {}
    for family, arm, logits in _answers(runs):
        shares = softmax(logits)
        calibration = bins.setdefault((family, arm), Calibration(_BINS))
        calibration.add(shares.max(axis=1), logits.argmax(axis=1) == runs.labels)
    for (family, arm), calibration in bins.items():
        for confidence, accuracy, images in calibration.curve():
            yield family, arm, round(confidence, 3), round(accuracy, 3), images

"""The report's numbers: what students reached, what distillation changed."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.cache.format.outputs import imported
from stillroom.evaluation.agreement import agreement
from stillroom.reporting import bootstrap
from stillroom.reporting.records import Folds, Runs, Student

METRICS = (("accuracy", "gain"), ("mAP", "mAP_gain"))  # and what results call a gain in it


def summarise(runs: Runs) -> dict[str, Any]:
    """What `results.json` holds. Scores are percent on the test split, gains are against `ce`, in points.

    `teacher`, `cache`, `rows` (one a student), `arm` (the one that `gain` is of: `kd`, or the first that is
    not `ce`), `corruption` (what students see worse than the teacher, whose scores on that are
    `teacher.corrupted`; without one neither is there), `labelled` (the share of training samples whose labels
    students were given, where it is not all), `cache.unlabelled` (how many of its samples have no label,
    where some have none), `summary` (one a family), `mean_gain`, `mean_mAP_gain` and their intervals,
    `bootstrap` (how many images and resamples the 95% intervals are of;
    None where predictions were not kept), `words` (what the modality calls its samples and inputs).

    A family's values are means over its seeds. Where an arm and `ce` have a seed in common only the common
    seeds count, so that a gain is always the difference of the two means beside it. A missing arm, and what
    needs it, is None.
    """
    arms = list(dict.fromkeys(student.arm for student in runs.students))
    taught = [arm for arm in arms if arm != "ce"]
    main = "kd" if "kd" in taught or not taught else taught[0]
    gains = _gains(runs, taught)
    summary = [
        _family([one for one in runs.students if one.family == name], arms, main, gains)
        for name in dict.fromkeys(student.family for student in runs.students)
    ]
    modality = modalities.of_identity(runs.manifest.identity) or modalities.get("images")
    counted = [line["family"] for line in summary if line["gain"] is not None]
    known = bool(counted) and all((family, main) in gains for family in counted)
    mean = bootstrap.mean([gains[family, main] for family in counted]) if known else None
    return {
        "teacher": _teacher(runs),
        "cache": {
            "id": runs.manifest.id,
            "views": runs.manifest.extents.views,
            "samples": runs.manifest.extents.samples,
            "bytes": runs.cache_bytes,
            **({} if runs.unlabelled == 0 else {"unlabelled": runs.unlabelled}),
        },
        "rows": [_row(runs, student) for student in runs.students],
        "arm": main,
        "summary": summary,
        "mean_gain": _mean(line["gain"] for line in summary),
        "mean_mAP_gain": _mean(line["mAP_gain"] for line in summary),
        "mean_gain_interval": list(mean.accuracy_interval) if mean else None,
        "mean_mAP_gain_interval": list(mean.mAP_interval) if mean else None,
        "bootstrap": {"images": len(runs.labels), "resamples": bootstrap.COUNT}
        if gains and runs.labels is not None
        else None,
        **({} if runs.corruption is None else {"corruption": runs.corruption}),
        **({} if runs.levels is None else {"levels": runs.levels}),
        **({} if runs.labelled == 1 else {"labelled": runs.labelled}),
        "words": {"samples": modality.SAMPLES, "inputs": modality.INPUTS},
    }


def _teacher(runs: Runs) -> dict[str, Any]:
    """What results say of the teacher; of one elsewhere no score is known."""
    teacher = runs.teacher
    if teacher is None:
        origins = "; ".join(imported(runs.manifest.identity["outputs"]).values())
        scores = ("accuracy", "mAP", "top5", "calibration_error", "balanced_accuracy", "macro_f1")
        unknown = dict.fromkeys((*scores, "params", "flops"))
        return {"arch": f"imported: {origins}", **unknown}
    return {
        "arch": teacher.arch,
        "accuracy": teacher.metrics.accuracy,
        "mAP": teacher.metrics.mAP,
        "top5": teacher.metrics.top5,
        "calibration_error": teacher.metrics.calibration_error,
        "balanced_accuracy": teacher.metrics.balanced_accuracy,
        "macro_f1": teacher.metrics.macro_f1,
        "params": teacher.params,
        "flops": teacher.flops,
        **({} if runs.corrupted is None else {"corrupted": runs.corrupted}),
    }


def _row(runs: Runs, student: Student) -> dict[str, Any]:
    agreed, logits = None, runs.logits.get((student.family, student.arm, student.seed))
    if logits is not None and runs.teacher_logits is not None:
        clean = runs.teacher_logits.argmax(axis=1)
        shares = [agreement(np.stack([draw.argmax(axis=1), clean])) for draw in logits]
        agreed = fmean(share for share in shares if share is not None)
    return {
        "family": student.family,
        "arch": student.arch,
        "arm": student.arm,
        "seed": student.seed,
        "accuracy": student.metrics.accuracy,
        "mAP": student.metrics.mAP,
        "top5": student.metrics.top5,
        "calibration_error": student.metrics.calibration_error,
        "balanced_accuracy": student.metrics.balanced_accuracy,
        "macro_f1": student.metrics.macro_f1,
        "agreement": agreed if agreed is None else round(agreed, 4),
        "params": student.params,
        "flops": student.flops,
        "latency_ms": student.latency_ms,
        "seconds": student.seconds,
        "train_seconds_per_image": student.metrics.train_seconds_per_image,
    }


def _gains(runs: Runs, arms: Sequence[str]) -> dict[tuple[str, str], bootstrap.Gain]:
    """The gain over `ce` of each family and arm whose predictions were kept, all on the same resamples."""
    if runs.labels is None:
        return {}
    resamples = bootstrap.Resamples(len(runs.labels))
    measured = {}
    for family in dict.fromkeys(student.family for student in runs.students):
        students = [student for student in runs.students if student.family == family]
        scored: dict[tuple[str, int], np.ndarray] = {}
        for arm in arms:
            seeds = _seeds(students, arm)
            needed = [(name, seed) for name in ("ce", arm) for seed in seeds]
            if not seeds or any((family, *one) not in runs.logits for one in needed):
                continue
            for name, seed in needed:
                if (name, seed) not in scored:
                    logits = runs.logits[family, name, seed]
                    drawn = bootstrap.score(list(logits), runs.labels, resamples)
                    scored[name, seed] = drawn.mean(axis=0, keepdims=True)
            one, other = (np.concatenate([scored[name, seed] for seed in seeds]) for name in ("ce", arm))
            measured[family, arm] = bootstrap.gain(one, other, resamples)
    return measured


def _seeds(students: Iterable[Student], arm: str) -> list[int]:
    """The seeds that an arm and `ce` have in common."""
    seeds = {name: {one.seed for one in students if one.arm == name} for name in ("ce", arm)}
    return sorted(seeds["ce"] & seeds[arm])


def _family(
    students: list[Student], present: Sequence[str], main: str, gains: dict[tuple[str, str], bootstrap.Gain]
) -> dict[str, Any]:
    family = students[0].family
    arms, seeds = _arms(students, main)
    line: dict[str, Any] = {"family": family, "arch": students[0].arch}
    for metric, name in METRICS:
        for arm in dict.fromkeys(("ce", "kd", main, *present)):
            own = arms[arm] if arm in arms else [one for one in students if one.arm == arm]
            line[f"{metric}_{arm}"] = _mean(getattr(one.metrics, metric) for one in own)
        line[name] = _gain(students, main, metric)
        line[f"{name}_interval"] = _interval(gains.get((family, main)), metric)
    line["gains"] = {}
    for arm in present:
        if arm != "ce" and any(one.arm == arm for one in students):
            gain: dict[str, float | list[float] | None] = {}
            line["gains"][arm] = gain
            for metric, _ in METRICS:
                gain[metric] = _gain(students, arm, metric)
                gain[f"{metric}_interval"] = _interval(gains.get((family, arm)), metric)
    return line | {"seeds": seeds}


def _gain(students: Sequence[Student], arm: str, metric: str) -> float | None:
    """An arm's mean less that of `ce`, over the seeds that both have; None where they have none in common."""
    seeds = _seeds(students, arm)
    one, other = (
        _mean(getattr(one.metrics, metric) for one in students if one.arm == name and one.seed in seeds)
        for name in ("ce", arm)
    )
    return None if one is None or other is None else round(other - one, 10)


def _interval(gain: bootstrap.Gain | None, metric: str) -> list[float] | None:
    return None if gain is None else list(getattr(gain, f"{metric}_interval"))


def _arms(students: list[Student], main: str) -> tuple[dict[str, list[Student]], list[int]]:
    """One family's compared students by arm, and their seeds: the common ones where there are any."""
    arms = {arm: [student for student in students if student.arm == arm] for arm in ("ce", main)}
    common = {student.seed for student in arms["ce"]} & {student.seed for student in arms[main]}
    seeds = common or {student.seed for student in students}
    return {arm: [student for student in arms[arm] if student.seed in seeds] for arm in arms}, sorted(seeds)


def class_gains(students: Iterable[Student], arm: str = "kd") -> list[tuple[str, float]]:
    """Change of average precision a class, `arm` - ce in points: mean over families of means over seeds.

    Returns:
        (class, change), largest change first; empty where no family has both arms of a seed.
    """
    students = list(students)
    changes: dict[str, list[float]] = {}
    for family in dict.fromkeys(student.family for student in students):
        arms, _ = _arms([student for student in students if student.family == family], arm)
        ce = {student.seed: student.per_class_ap for student in arms["ce"]}
        kd = {student.seed: student.per_class_ap for student in arms[arm]}
        if ce.keys() != kd.keys():
            continue
        for name in dict.fromkeys(name for scores in ce.values() for name in scores):
            pairs = [(ce[seed].get(name), kd[seed].get(name)) for seed in sorted(ce)]
            mean = _mean(two - one for one, two in pairs if one is not None and two is not None)
            if mean is not None:
                changes.setdefault(name, []).append(mean)
    gains = [(name, round(fmean(values), 10)) for name, values in changes.items()]
    return sorted(gains, key=lambda pair: (-pair[1], pair[0]))


def class_memory(folds: Folds) -> list[tuple[str, float, float]]:
    """Accuracy of a cross-fitted teacher's models by class, in percent, on samples of train.

    Returns:
        (class, of those that a model was not fitted to, of those that it was), the largest difference first.
    """
    seen = folds.in_fold.per_class
    pairs = [(name, unseen, seen.get(name, unseen)) for name, unseen in folds.out_of_fold.per_class.items()]
    return sorted(pairs, key=lambda pair: (pair[1] - pair[2], pair[0]))


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of those that are there; ten decimals, which drops nothing but the noise of the sum."""
    present = [value for value in values if value is not None]
    return round(fmean(present), 10) if present else None

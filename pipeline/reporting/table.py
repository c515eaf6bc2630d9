"""The report's numbers: what students reached, what distillation changed; JSON, Markdown, terminal table."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from stillroom.evaluation.agreement import agreement
from stillroom.reporting import bootstrap
from stillroom.reporting.records import Runs, Student

FAMILY_NAMES = {
    "vit": "ViT",
    "pvt": "PVT",
    "convit": "ConViT",
    "mvit": "MViT",
    "swin": "Swin",
    "twins": "Twins",
}


METRICS = (("accuracy", "gain"), ("mAP", "mAP_gain"))  # and what results call a gain in it
FEW_SEEDS = 5  # with fewer the intervals are too narrow (measured: pipeline/reporting/bootstrap.py)


def summarise(runs: Runs) -> dict[str, Any]:
    """What `results.json` holds. Scores are percent on the test split, gains are against `ce`, in points.

    `teacher`, `cache`, `rows` (one a student), `arm` (the one that `gain` is of: `kd`, or the first that is
    not `ce`), `summary` (one a family), `mean_gain`, `mean_mAP_gain` and their intervals, `bootstrap` (how
    many images and resamples the 95% intervals are of; None where predictions were not kept).

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
    counted = [line["family"] for line in summary if line["gain"] is not None]
    known = bool(counted) and all((family, main) in gains for family in counted)
    mean = bootstrap.mean([gains[family, main] for family in counted]) if known else None
    return {
        "teacher": {
            "arch": runs.teacher.arch,
            "accuracy": runs.teacher.metrics.accuracy,
            "mAP": runs.teacher.metrics.mAP,
            "top5": runs.teacher.metrics.top5,
            "calibration_error": runs.teacher.metrics.calibration_error,
            "params": runs.teacher.params,
            "flops": runs.teacher.flops,
        },
        "cache": {
            "id": runs.manifest.id,
            "views": runs.manifest.extents.views,
            "samples": runs.manifest.extents.samples,
            "bytes": runs.cache_bytes,
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
    }


def _row(runs: Runs, student: Student) -> dict[str, Any]:
    agreed, logits = None, runs.logits.get((student.family, student.arm, student.seed))
    if logits is not None and runs.teacher_logits is not None:
        agreed = agreement(np.stack([logits.argmax(axis=1), runs.teacher_logits.argmax(axis=1)]))
    return {
        "family": student.family,
        "arch": student.arch,
        "arm": student.arm,
        "seed": student.seed,
        "accuracy": student.metrics.accuracy,
        "mAP": student.metrics.mAP,
        "top5": student.metrics.top5,
        "calibration_error": student.metrics.calibration_error,
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
    found = {}
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
                    scored[name, seed] = bootstrap.score([logits], runs.labels, resamples)
            one, other = (np.concatenate([scored[name, seed] for seed in seeds]) for name in ("ce", arm))
            found[family, arm] = bootstrap.gain(one, other, resamples)
    return found


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
            found: dict[str, float | list[float] | None] = {}
            line["gains"][arm] = found
            for metric, _ in METRICS:
                found[metric] = _gain(students, arm, metric)
                found[f"{metric}_interval"] = _interval(gains.get((family, arm)), metric)
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


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of those that are there; ten decimals, which drops nothing but the noise of the sum."""
    present = [value for value in values if value is not None]
    return round(fmean(present), 10) if present else None


def family_name(family: str) -> str:
    """A family as papers write it."""
    return FAMILY_NAMES.get(family, family)


def percent(value: float | None) -> str:
    """Two decimals, or a dash for what was not measured."""
    return "-" if value is None else f"{value:.2f}"


def signed(value: float | None, decimals: int = 2) -> str:
    """A gain with its sign; one that rounds to nothing has none."""
    if value is None:
        return "-"
    rounded = round(value, decimals) + 0.0
    return f"{rounded:+.{decimals}f}" if rounded else f"{0:.{decimals}f}"


def size(count: float) -> str:
    """Bytes in decimal units, as `ls --si` shows them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def quantity(count: float | None) -> str:
    """A number of parameters or operations: `5.52 M`, `1.26 G`."""
    if count is None:
        return "-"
    for unit in ("", " k", " M", " G"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} T"


def markdown(results: dict[str, Any]) -> str:
    """`results.md`: the teacher and the families; every loss and every student, where there are several."""
    teacher, cache, arm = results["teacher"], results["cache"], results["arm"]
    lines = [
        "# Results",
        "",
        f"Percent on the test split. `ce`: trained on the labels alone; `{arm}`: with the teacher's cached",
        f"logits. Initial weights, pixels, order and schedule are the same; gain is {arm} - ce in points.",
    ]
    if method(results):
        lines.append(method(results))
    lines += [
        "",
        f"| family | model | accuracy ce | accuracy {arm} | gain | mAP ce | mAP {arm} | mAP gain | seeds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
        f"| teacher | {_cell(teacher['arch'])} | {percent(teacher['accuracy'])} | | "
        f"| {percent(teacher['mAP'])} | | | |",
    ]
    for line in results["summary"]:
        cells = [_cell(family_name(line["family"])), _cell(line["arch"])]
        for metric, gain in METRICS:
            cells += [percent(line[f"{metric}_ce"]), percent(line[f"{metric}_{arm}"])]
            cells += [between(line[gain], line[f"{gain}_interval"])]
        lines.append(f"| {' | '.join(cells)} | {', '.join(str(seed) for seed in line['seeds'])} |")
    if results["mean_gain"] is not None:
        gains = [between(results[f"mean_{gain}"], results[f"mean_{gain}_interval"]) for _, gain in METRICS]
        lines.append(f"| mean gain | | | | {gains[0]} | | | {gains[1]} | |")
    bytes_a_view = cache["bytes"] / (cache["views"] * cache["samples"])
    lines += [
        "",
        f"Cache `{cache['id']}`: {cache['views']} views of {cache['samples']} samples, {size(cache['bytes'])}"
        f" ({bytes_a_view:.0f} bytes a view).",
    ]
    arms = list(dict.fromkeys(name for line in results["summary"] for name in line["gains"]))
    if len(arms) > 1:
        lines += ["", "## Every loss", "", "Gain in accuracy over `ce`.", ""]
        lines += [f"| family | {' | '.join(arms)} |", f"|---|{'---:|' * len(arms)}"]
        for line in results["summary"]:
            found = [line["gains"].get(name, {}) for name in arms]
            cells = [between(one.get("accuracy"), one.get("accuracy_interval")) for one in found]
            lines.append(f"| {_cell(family_name(line['family']))} | {' | '.join(cells)} |")
    if len({row["seed"] for row in results["rows"]}) > 1 or len(arms) > 1:
        lines += [
            "",
            "## Every student",
            "",
            "| family | arm | seed | accuracy | top-5 | mAP | calibration error | agreement with teacher |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
        ]
        for row in results["rows"]:
            names = ("accuracy", "top5", "mAP", "calibration_error", "agreement")
            scores = " | ".join(percent(row[name]) for name in names)
            lines.append(f"| {_cell(family_name(row['family']))} | {row['arm']} | {row['seed']} | {scores} |")
    return "\n".join(lines) + "\n"


def method(results: dict[str, Any]) -> str:
    """What the intervals are and which are missing, in a sentence or two; empty where there is no gain."""
    gains = [
        (family_name(line["family"]), arm, found)
        for line in results["summary"]
        for arm, found in line["gains"].items()
        if found["accuracy"] is not None
    ]
    without = [f"{family} {arm}" for family, arm, found in gains if found["accuracy_interval"] is None]
    if not gains:
        return ""
    if len(without) == len(gains):
        return "No intervals: the students' predictions were not kept. Students trained again keep theirs."
    made = results["bootstrap"]
    fewest, most = (f(len(line["seeds"]) for line in results["summary"]) for f in (min, max))
    of = f"{made['images']:,} test images" + (f" and {most} seeds" if most > 1 else "")
    said = f"Intervals: 95%, paired bootstrap, {made['resamples']:,} resamples of {of} (`stillroom report`)"
    if most == 1:
        said += "; with one seed, what another would change is not in them"
    elif fewest < FEW_SEEDS:
        said += "; so few seeds tell too little of what others would change"
    if without:
        said += f". None for {', '.join(without)}: a student's predictions were not kept"
    return said + "."


def between(gain: float | None, interval: Sequence[float] | None) -> str:
    """A gain with its interval, where there is one: `+3.42 [+1.10, +5.70]`."""
    if gain is None or interval is None:
        return signed(gain)
    return f"{signed(gain)} [{signed(interval[0])}, {signed(interval[1])}]"


def _cell(text: str) -> str:
    """Text that can neither end a table cell nor start markup."""
    text = " ".join(text.split()).replace("\\", "\\\\")
    for mark in "|<`*[":
        text = text.replace(mark, f"\\{mark}")
    return text


def rich_table(results: dict[str, Any]) -> Table:
    """The summary for a terminal: fits 80 columns, and reads without colour since gains carry their sign.

    A star marks a gain whose 95% interval leaves out zero.
    """
    # 9 + 16 + 6 + 6 + 7 + 6 + 6 + 7 characters, and 2 between columns: 79.
    arm, known = results["arm"], results["bootstrap"] is not None
    caption = "* 95% interval (paired bootstrap) without 0; results.md has them all" if known else None
    if not known and results["mean_gain"] is not None:
        caption = "no intervals: the students' predictions were not kept"
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), caption=caption, caption_justify="left"
    )
    table.add_column("", no_wrap=True, overflow="ellipsis", width=9)
    table.add_column("\nmodel", no_wrap=True, overflow="ellipsis", max_width=16, style="dim")
    for metric in ("acc.", "mAP"):
        for name in (f"{metric}\nce", f"\n{arm[:6]}", "\ngain" + " " * known):
            table.add_column(name, justify="right", no_wrap=True, min_width=6)
    teacher = results["teacher"]
    scores = [percent(teacher["accuracy"]), "", "", percent(teacher["mAP"]), "", ""]
    table.add_row(Text("teacher"), Text(teacher["arch"]), *scores, end_section=True, style="bold")
    last = len(results["summary"]) - 1
    for index, line in enumerate(results["summary"]):
        cells: list[Text | str] = [Text(family_name(line["family"])), Text(line["arch"])]
        for metric, gain in METRICS:
            cells += [percent(line[f"{metric}_ce"]), percent(line[f"{metric}_{arm}"])]
            cells += [_coloured(line[gain], line[f"{gain}_interval"], known)]
        table.add_row(*cells, end_section=index == last)
    if results["mean_gain"] is not None and last > 0:
        mean, mean_ap = (
            _coloured(results[f"mean_{gain}"], results[f"mean_{gain}_interval"], known) for _, gain in METRICS
        )
        table.add_row("mean gain", "", "", "", mean, "", "", mean_ap)
    return table


def _coloured(gain: float | None, interval: Sequence[float] | None, starred: bool) -> Text:
    text = signed(gain)
    style = "green" if text.startswith("+") else "red" if text.startswith("-") and gain else ""
    sure = interval is not None and not interval[0] <= 0 <= interval[1]
    return Text(text + ("*" if sure else " ") * starred, style=style)

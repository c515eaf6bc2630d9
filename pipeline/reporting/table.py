"""The report's numbers: what students reached, what distillation changed; JSON, Markdown, terminal table."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.reporting.records import Entry, Runs, Student, read

FAMILY_NAMES = {
    "vit": "ViT",
    "pvt": "PVT",
    "convit": "ConViT",
    "mvit": "MViT",
    "swin": "Swin",
    "twins": "Twins",
}


def collect(artifacts: Path, entries: Sequence[Entry]) -> dict[str, Any]:
    """What `results.json` holds, from the files that the stages wrote.

    Args:
        artifacts: the folder that holds `teacher/`, `cache/` and `students/`.
        entries: (family, arm, seed) of the students to report.

    Returns:
        `teacher`, `cache`, `rows` (one a student, in the order of `entries`), `summary` (one a family),
        `mean_gain` and `mean_mAP_gain`; see `summarise`.

    Raises:
        DataError, CacheError: as `records.read` does.
    """
    return summarise(read(artifacts, entries))


def summarise(runs: Runs) -> dict[str, Any]:
    """What `results.json` holds. Accuracy and mAP are percent on the test split, gains are kd - ce in points.

    A family's values are means over its seeds. Where both arms have a seed in common only the common seeds
    count, so that a gain is always the difference of the two means beside it. A missing arm, and what needs
    it, is None.
    """
    families = dict.fromkeys(student.family for student in runs.students)
    summary = [_family([student for student in runs.students if student.family == name]) for name in families]
    return {
        "teacher": {
            "arch": runs.teacher.arch,
            "accuracy": runs.teacher.metrics.accuracy,
            "mAP": runs.teacher.metrics.mAP,
            "params": runs.teacher.params,
            "flops": runs.teacher.flops,
        },
        "cache": {
            "id": runs.manifest.id,
            "views": runs.manifest.extents.views,
            "samples": runs.manifest.extents.samples,
            "bytes": runs.cache_bytes,
        },
        "rows": [_row(student) for student in runs.students],
        "summary": summary,
        "mean_gain": _mean(line["gain"] for line in summary),
        "mean_mAP_gain": _mean(line["mAP_gain"] for line in summary),
    }


def _row(student: Student) -> dict[str, Any]:
    return {
        "family": student.family,
        "arch": student.arch,
        "arm": student.arm,
        "seed": student.seed,
        "accuracy": student.metrics.accuracy,
        "mAP": student.metrics.mAP,
        "params": student.params,
        "flops": student.flops,
        "seconds": student.seconds,
        "train_seconds_per_image": student.metrics.train_seconds_per_image,
    }


def _family(students: list[Student]) -> dict[str, Any]:
    arms, seeds = _arms(students)
    ce, kd = arms["ce"], arms["kd"]
    paired = {student.seed for student in ce} == {student.seed for student in kd}
    line: dict[str, Any] = {"family": students[0].family, "arch": students[0].arch}
    for metric, gain in (("accuracy", "gain"), ("mAP", "mAP_gain")):
        one = _mean(getattr(student.metrics, metric) for student in ce)
        two = _mean(getattr(student.metrics, metric) for student in kd)
        line |= {f"{metric}_ce": one, f"{metric}_kd": two, gain: None}
        if one is not None and two is not None and paired:
            line[gain] = round(two - one, 10)
    return line | {"seeds": seeds}


def _arms(students: list[Student]) -> tuple[dict[str, list[Student]], list[int]]:
    """One family's compared students by arm, and their seeds: the common ones where there are any."""
    arms = {arm: [student for student in students if student.arm == arm] for arm in ("ce", "kd")}
    common = {student.seed for student in arms["ce"]} & {student.seed for student in arms["kd"]}
    seeds = common or {student.seed for student in students}
    return {arm: [student for student in arms[arm] if student.seed in seeds] for arm in arms}, sorted(seeds)


def class_gains(students: Iterable[Student]) -> list[tuple[str, float]]:
    """Change of average precision a class, kd - ce in points: mean over families of means over seeds.

    Returns:
        (class, change), largest change first; empty where no family has both arms of a seed.
    """
    students = list(students)
    changes: dict[str, list[float]] = {}
    for family in dict.fromkeys(student.family for student in students):
        arms, _ = _arms([student for student in students if student.family == family])
        ce = {student.seed: student.per_class_ap for student in arms["ce"]}
        kd = {student.seed: student.per_class_ap for student in arms["kd"]}
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


METRICS = (("accuracy", "gain"), ("mAP", "mAP_gain"))


def markdown(results: dict[str, Any]) -> str:
    """`results.md`: the teacher, the families and, with several seeds, every student."""
    teacher, cache = results["teacher"], results["cache"]
    lines = [
        "# Results",
        "",
        "Percent on the test split. `ce`: trained on the labels alone; `kd`: on the labels and the teacher's",
        "cached logits. Initial weights, pixels, order and schedule are the same; gain is kd - ce in points.",
        "",
        "| family | model | accuracy ce | accuracy kd | gain | mAP ce | mAP kd | mAP gain | seeds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
        f"| teacher | {_cell(teacher['arch'])} | {percent(teacher['accuracy'])} | | "
        f"| {percent(teacher['mAP'])} | | | |",
    ]
    for line in results["summary"]:
        cells = [_cell(family_name(line["family"])), _cell(line["arch"])]
        for metric, gain in METRICS:
            cells += [percent(line[f"{metric}_ce"]), percent(line[f"{metric}_kd"]), signed(line[gain])]
        lines.append(f"| {' | '.join(cells)} | {', '.join(str(seed) for seed in line['seeds'])} |")
    if results["mean_gain"] is not None:
        gains = f"{signed(results['mean_gain'])} | | | {signed(results['mean_mAP_gain'])}"
        lines.append(f"| mean gain | | | | {gains} | |")
    bytes_a_view = cache["bytes"] / (cache["views"] * cache["samples"])
    lines += [
        "",
        f"Cache `{cache['id']}`: {cache['views']} views of {cache['samples']} samples, {size(cache['bytes'])}"
        f" ({bytes_a_view:.0f} bytes a view).",
    ]
    if len({row["seed"] for row in results["rows"]}) > 1:
        lines += [
            "",
            "## Every student",
            "",
            "| family | arm | seed | accuracy | mAP |",
            "|---|---|---:|---:|---:|",
        ]
        for row in results["rows"]:
            scores = f"{percent(row['accuracy'])} | {percent(row['mAP'])}"
            lines.append(f"| {_cell(family_name(row['family']))} | {row['arm']} | {row['seed']} | {scores} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that can neither end a table cell nor start markup."""
    text = " ".join(text.split()).replace("\\", "\\\\")
    for mark in "|<`*[":
        text = text.replace(mark, f"\\{mark}")
    return text


def rich_table(results: dict[str, Any]) -> Table:
    """The summary for a terminal: fits 80 columns, and reads without colour since gains carry their sign."""
    # 9 + 18 + 6 * 6 characters, and 2 between columns: 77.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True, overflow="ellipsis", width=9)
    table.add_column("\nmodel", no_wrap=True, overflow="ellipsis", max_width=18, style="dim")
    for metric in ("acc.", "mAP"):
        for name in (f"{metric}\nce", "\nkd", "\ngain"):
            table.add_column(name, justify="right", no_wrap=True, min_width=6)
    teacher = results["teacher"]
    scores = [percent(teacher["accuracy"]), "", "", percent(teacher["mAP"]), "", ""]
    table.add_row(Text("teacher"), Text(teacher["arch"]), *scores, end_section=True, style="bold")
    last = len(results["summary"]) - 1
    for index, line in enumerate(results["summary"]):
        cells: list[Text | str] = [Text(family_name(line["family"])), Text(line["arch"])]
        for metric, gain in METRICS:
            cells += [percent(line[f"{metric}_ce"]), percent(line[f"{metric}_kd"]), _coloured(line[gain])]
        table.add_row(*cells, end_section=index == last)
    if results["mean_gain"] is not None and last > 0:
        mean, mean_ap = _coloured(results["mean_gain"]), _coloured(results["mean_mAP_gain"])
        table.add_row("mean gain", "", "", "", mean, "", "", mean_ap)
    return table


def _coloured(gain: float | None) -> Text:
    text = signed(gain)
    return Text(
        text, style="green" if text.startswith("+") else "red" if text.startswith("-") and gain else ""
    )

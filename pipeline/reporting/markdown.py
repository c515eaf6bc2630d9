"""The report's table as Markdown: `results.md`."""

from typing import Any

from stillroom.reporting.table import METRICS
from stillroom.reporting.wording import (
    between,
    corruption,
    draws,
    family_name,
    method,
    percent,
    share,
    size,
    uneven,
    without_label,
    word,
)


def as_markdown(results: dict[str, Any]) -> str:
    """`results.md`: the teacher and the families; every loss and every student, where there are several."""
    arms = list(dict.fromkeys(arm for line in results["summary"] for arm in line["gains"]))
    lines = [*_families(results), *_cache(results["cache"])]
    if len(arms) > 1:
        lines += _losses(results, arms)
    if "levels" in results:
        lines += _levels(results["levels"])
    if len({row["seed"] for row in results["rows"]}) > 1 or len(arms) > 1:
        lines += _students(results)
    return "\n".join(lines) + "\n"


def _families(results: dict[str, Any]) -> list[str]:
    teacher, arm = results["teacher"], results["arm"]
    lines = [
        "# Results",
        "",
        f"Percent on the test split. `ce`: trained on the labels alone; `{arm}`: with what the teacher said,",
        f"cached. Initial weights, {word(results, 'inputs')}, order and schedule are the same; "
        f"gain is {arm} - ce in points.",
    ]
    if "corruption" in results:
        lines.append(
            f"Students see their views corrupted: {corruption(results['corruption'])}. Their scores are "
            f"means over {draws(results['corruption']['draws'])} of it on the test split, the same for all."
        )
        if "corrupted" in teacher:
            lines.append('The teacher "on what students see" gets the same corruption of its own input.')
    if results.get("labelled", 1) < 1:
        lines.append(f"They were given the labels of {share(results['labelled'])}% of the training samples.")
    if without_label(results):
        lines.append(without_label(results))
    if method(results):
        lines.append(method(results))
    lines += [
        "",
        f"| family | model | accuracy ce | accuracy {arm} | gain | mAP ce | mAP {arm} | mAP gain | seeds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
        f"| teacher | {_cell(teacher['arch'])} | {percent(teacher['accuracy'])} | | "
        f"| {percent(teacher['mAP'])} | | | |",
    ]
    if corrupted := teacher.get("corrupted"):
        lines.append(
            f"| teacher, on what students see | | {percent(corrupted['accuracy'])} | | "
            f"| {percent(corrupted['mAP'])} | | | |"
        )
    for line in results["summary"]:
        cells = [_cell(family_name(line["family"])), _cell(line["arch"])]
        for metric, gain in METRICS:
            cells += [percent(line[f"{metric}_ce"]), percent(line[f"{metric}_{arm}"])]
            cells += [between(line[gain], line[f"{gain}_interval"])]
        lines.append(f"| {' | '.join(cells)} | {', '.join(str(seed) for seed in line['seeds'])} |")
    if results["mean_gain"] is not None:
        gains = [between(results[f"mean_{gain}"], results[f"mean_{gain}_interval"]) for _, gain in METRICS]
        lines.append(f"| mean gain | | | | {gains[0]} | | | {gains[1]} | |")
    return lines


def _cache(cache: dict[str, Any]) -> list[str]:
    bytes_a_view = cache["bytes"] / (cache["views"] * cache["samples"])
    return [
        "",
        f"Cache `{cache['id']}`: {cache['views']} views of {cache['samples']} samples, {size(cache['bytes'])}"
        f" ({bytes_a_view:.0f} bytes a view).",
    ]


def _losses(results: dict[str, Any], arms: list[str]) -> list[str]:
    lines = ["", "## Every loss", "", "Gains are over `ce`, in points.", ""]
    lines += ["| family | arm | accuracy | gain | mAP | mAP gain |", "|---|---|---:|---:|---:|---:|"]
    for line in results["summary"]:
        for arm in ("ce", *arms):
            gain = line["gains"].get(arm, {})
            cells = [_cell(family_name(line["family"])), arm]
            for metric, _ in METRICS:
                cells.append(percent(line.get(f"{metric}_{arm}")))
                cells.append("" if arm == "ce" else between(gain.get(metric), gain.get(f"{metric}_interval")))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _levels(levels: dict[str, Any]) -> list[str]:
    said = f"{draws(levels.get('draws', 1)).capitalize()} a level."
    lines = ["", f"## Accuracy over {levels['key']}", "", said, ""]
    lines += [f"| | {' | '.join(str(value) for value in levels['values'])} |"]
    lines += [f"|---|{'---:|' * len(levels['values'])}"]
    rows = {"teacher": levels["teacher"]} if levels["teacher"] else {}
    for family, arms in levels["students"].items():
        rows |= {f"{_cell(family_name(family))} {arm}": line for arm, line in arms.items()}
    return [*lines, *(f"| {name} | {' | '.join(map(percent, line))} |" for name, line in rows.items())]


def _students(results: dict[str, Any]) -> list[str]:
    columns = {
        "accuracy": "accuracy",
        **({"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"} if uneven(results) else {}),
        "top5": "top-5",
        "mAP": "mAP",
        "calibration_error": "calibration error",
        "agreement": "agreement with teacher",
    }
    lines = [
        "",
        "## Every student",
        "",
        f"| family | arm | seed | {' | '.join(columns.values())} |",
        f"|---|---|---:|{'---:|' * len(columns)}",
    ]
    for row in results["rows"]:
        scores = " | ".join(percent(row.get(name)) for name in columns)
        lines.append(f"| {_cell(family_name(row['family']))} | {row['arm']} | {row['seed']} | {scores} |")
    return lines


def _cell(text: str) -> str:
    """Text that can neither end a table cell nor start markup."""
    text = " ".join(text.split()).replace("\\", "\\\\")
    for mark in "|<`*[":
        text = text.replace(mark, f"\\{mark}")
    return text

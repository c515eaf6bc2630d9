"""The report's table for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from stillroom.reporting.table import METRICS
from stillroom.reporting.wording import family_name, percent, signed


def rich_table(results: dict[str, Any]) -> Table:
    """The summary for a terminal: fits 80 columns, and reads without colour since gains carry their sign.

    A star marks a gain whose 95% interval leaves out zero.
    """
    # 9 + 16 + 6 + 6 + 7 + 6 + 6 + 7 characters, and 2 between columns: 79.
    arm, known = results["arm"], results["bootstrap"] is not None
    caption = "* 95% interval (paired bootstrap) that excludes 0; results.md has them all" if known else None
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
    table.add_row(
        Text("teacher"), Text(teacher["arch"]), *scores, end_section="corrupted" not in teacher, style="bold"
    )
    if corrupted := teacher.get("corrupted"):
        scores = [percent(corrupted["accuracy"]), "", "", percent(corrupted["mAP"]), "", ""]
        table.add_row(Text("teacher"), Text("as students see"), *scores, end_section=True)
    last = len(results["summary"]) - 1
    for index, line in enumerate(results["summary"]):
        cells: list[Text | str] = [Text(family_name(line["family"])), Text(line["arch"])]
        for metric, gain in METRICS:
            cells += [percent(line[f"{metric}_ce"]), percent(line[f"{metric}_{arm}"])]
            cells += [_coloured(line[gain], line[f"{gain}_interval"], known)]
        others = [other for other in line["gains"] if other != arm]
        table.add_row(*cells, end_section=index == last and not others)
        for other in others:  # in the column of the arm that the table is of
            cells = ["", Text(f"  {other}")]
            for metric, _ in METRICS:
                found = line["gains"][other]
                cells += ["", percent(line[f"{metric}_{other}"])]
                cells += [_coloured(found.get(metric), found.get(f"{metric}_interval"), known)]
            table.add_row(*cells, end_section=index == last and other == others[-1])
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

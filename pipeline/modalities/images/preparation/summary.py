"""What a data set holds, for people: by split and class, formats, sizes, what is not read, equal files."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from stillroom.modalities.images.preparation import Prepared
from stillroom.modalities.images.preparation.duplicates import KINDS
from stillroom.samples import SPLITS, Samples

FORMAT = "stillroom-data/1"
NAME = "report.json"
MOST = 1000  # names or groups that are kept of a kind; counts are whole


def describe(prepared: Prepared, table: Path) -> dict[str, Any]:
    """The content of `report.json`.

    Args:
        prepared: what `datasets.prepare` returned.
        table: the `samples.json` that it belongs to, written already.
    """
    account, duplicates = prepared.account, prepared.duplicates
    return {
        "format": FORMAT,
        "table": hashlib.sha256(table.read_bytes()).hexdigest(),
        **of_samples(prepared.samples),
        "formats": dict(Counter(account.formats[row.key] for row in prepared.samples.rows).most_common()),
        "passed_over": {why: _some(names) for why, names in account.passed_over.items()},
        "skipped": _some(account.skipped),
        "dropped": _some(list(duplicates.dropped)),
        "leaks": _leaks(prepared),
        "duplicates": {
            kind: {"pairs": duplicates.count(kind), "groups": duplicates.groups[kind][:MOST]}
            for kind in KINDS
        },
    }


def of_samples(samples: Samples) -> dict[str, Any]:
    """A report of what the table alone shows."""
    splits = {}
    for split in SPLITS:
        counts = Counter(samples.classes[row.label] for row in samples.rows if row.split == split)
        if counts:
            splits[split] = {
                "images": counts.total(),
                "classes": {name: counts[name] for name in samples.classes},
            }
    by_area = sorted((row.size for row in samples.rows), key=lambda size: (size[0] * size[1], size))
    sizes = {"smallest": by_area[0], "median": by_area[len(by_area) // 2], "largest": by_area[-1]}
    return {
        "dataset": samples.dataset,
        "images": len(samples),
        "splits": splits,
        "sizes": {name: list(size) for name, size in sizes.items()},
    }


def write(report: dict[str, Any], folder: Path) -> None:
    """Put a report beside the table that it is of."""
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / NAME).write_text(f"{text}\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any] | None:
    """The `report.json` of a samples table, or None where there is none that belongs to it."""
    try:
        report = json.loads((folder / NAME).read_text(encoding="utf-8"))
        table = hashlib.sha256((folder / "samples.json").read_bytes()).hexdigest()
        lines(report)  # raises where something is missing
        return dict(report) if report["format"] == FORMAT and report["table"] == table else None
    except (AttributeError, IndexError, KeyError, OSError, RecursionError, TypeError, ValueError):
        return None


def lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """A short table of a report: (name, value)."""
    rows = []
    for split, entry in report["splits"].items():
        ranked = sorted(entry["classes"].items(), key=lambda item: (item[1], item[0]))
        few, many = ranked[0], ranked[-1]
        span = (
            f"{few[1]} each" if few[1] == many[1] else f"{few[1]} ({few[0]}) to {many[1]} ({many[0]}) a class"
        )
        rows.append((split, f"{entry['images']:,} images of {len(ranked)} classes, {span}"))
    small, middle, large = (
        "{} x {}".format(*report["sizes"][name]) for name in ("smallest", "median", "largest")
    )
    rows.append(("sizes", small if small == large else f"{small} to {large} pixels, median {middle}"))
    if report.get("formats"):
        rows.append(("formats", ", ".join(f"{kind} {count:,}" for kind, count in report["formats"].items())))
    for why, entry in report.get("passed_over", {}).items():
        entries = "1 entry" if entry["count"] == 1 else f"{entry['count']:,} entries"
        rows.append(("not read", f"{entries} {why} ({_shown(entry['names'], entry['count'])})"))
    for name, key in (("skipped", "skip"), ("dropped", "duplicates")):
        entry = report.get(name, {"count": 0})
        if entry["count"]:
            rows.append(
                (name, f"{entry['count']:,} by data.{key} ({_shown(entry['names'], entry['count'])})")
            )
    for kind, what in KINDS.items():
        entry = report.get("duplicates", {}).get(kind, {"pairs": 0})
        if entry["pairs"]:
            pairs = "1 pair" if entry["pairs"] == 1 else f"{entry['pairs']:,} pairs"
            some = _shown([" = ".join(keys) for keys in entry["groups"]], len(entry["groups"]))
            rows.append(("equal files", f"{pairs} {what} ({some})"))
    return rows


def _leaks(prepared: Prepared) -> int:
    """How many test images have an equal file in another split."""
    split = {row.key: row.split for row in prepared.samples.rows}
    groups = [*prepared.duplicates.groups["splits"], *prepared.duplicates.groups["classes"]]
    leaks = 0
    for keys in groups:
        splits = [split[key] for key in keys if key in split]
        leaks += splits.count("test") if len(set(splits)) > 1 else 0
    return leaks


def _some(names: list[str]) -> dict[str, Any]:
    return {"count": len(names), "names": sorted(names)[:MOST]}


def _shown(names: list[str], count: int) -> str:
    return ", ".join(names[:3]) + (f" and {count - 3:,} more" if count > 3 else "")

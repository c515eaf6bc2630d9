"""What a data set of images holds, for people: formats and sizes beside what every data set has."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from stillroom.modalities import summary
from stillroom.modalities.images.preparation.scan import Account
from stillroom.modalities.summary import Prepared, account_lines, by_split, split_lines
from stillroom.samples import Samples


def describe(prepared: Prepared, table: Path) -> dict[str, Any]:
    """The content of `report.json`.

    Args:
        prepared: what `datasets.prepare` returned.
        table: the table's file that it belongs to, written already.
    """
    account, samples = prepared.account, prepared.samples
    assert isinstance(account, Account)
    found = account.formats.rows()
    kept = pc.is_in(found.column("key"), value_set=samples.rows.column("key"))
    counts = Counter(
        {
            one["values"]: one["counts"]
            for one in found.column("format").filter(kept).value_counts().to_pylist()
        }
    )
    formats = dict(counts.most_common())
    return summary.describe(prepared, table, of_samples(samples) | {"formats": formats})


def of_samples(samples: Samples) -> dict[str, Any]:
    """A report of what the table alone shows."""
    sizes = samples.rows.numbers("size")
    width, height = sizes.T
    by_area = np.lexsort((height, width, width * height))
    places = {"smallest": by_area[0], "median": by_area[len(by_area) // 2], "largest": by_area[-1]}
    report = by_split(samples, "image") | {
        "sizes": {name: sizes[one].tolist() for name, one in places.items()}
    }
    absent = {
        split: [name for name, count in report["splits"][split]["classes"].items() if not count]
        for split in ("train", "test")
        if split in report["splits"]
    }
    return report | ({"absent": absent} if any(absent.values()) else {})


def read(folder: Path) -> dict[str, Any] | None:
    """The `report.json` of a samples table, or None where there is none that belongs to it."""
    return summary.read(folder, lines)


def lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """A short table of a report: (name, value)."""
    rows = split_lines(report, "image")
    small, middle, large = (
        "{} x {}".format(*report["sizes"][name]) for name in ("smallest", "median", "largest")
    )
    rows.append(("sizes", small if small == large else f"{small} to {large} pixels, median {middle}"))
    if report.get("formats"):
        rows.append(("formats", ", ".join(f"{kind} {count:,}" for kind, count in report["formats"].items())))
    absent = report.get("absent", {})
    if absent.get("train"):
        rows.append(("not learnt", f"{_names(absent['train'])}: no image in train"))
    if absent.get("test"):
        measured = len(report["splits"]["test"]["classes"]) - len(absent["test"])
        rows.append(
            ("not measured", f"{_names(absent['test'])}: no image in test; mAP is of the other {measured:,}")
        )
    return rows + account_lines(report)


def _names(names: list[str]) -> str:
    """How many classes there are, and some of them."""
    some = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
    return f"{len(names):,} {'class' if len(names) == 1 else 'classes'} ({some})"

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
    return by_split(samples, "image") | {"sizes": {name: sizes[one].tolist() for name, one in places.items()}}


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
    return rows + account_lines(report)

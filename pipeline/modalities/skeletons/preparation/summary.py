"""What a data set of skeletons holds, for people: frames, bodies and what is missing of them."""

from pathlib import Path
from typing import Any

import numpy as np

from stillroom.modalities import summary
from stillroom.modalities.skeletons.preparation.clips import Account
from stillroom.modalities.summary import Prepared, account_lines, by_split, split_lines
from stillroom.samples import Samples


def describe(prepared: Prepared, table: Path) -> dict[str, Any]:
    """The content of `report.json`.

    Args:
        prepared: what `prepare` returned.
        table: the table's file that it belongs to, written already.
    """
    account, classes = prepared.account, prepared.samples.classes
    assert isinstance(account, Account)
    missing = {
        "frames": account.frames,
        "nobody": account.nobody,
        "joints": sum(account.joints.values()),
        "missing": sum(account.missing.values()),
        "classes": {
            classes[one]: account.missing[one] / account.joints[one] for one in sorted(account.joints)
        },
    }
    return summary.describe(prepared, table, of_samples(prepared.samples) | {"missing": missing})


def of_samples(samples: Samples) -> dict[str, Any]:
    """A report of what the table alone shows."""
    frames = np.sort(samples.rows.numbers("frames")).tolist()
    persons = dict(zip(*np.unique(samples.rows.numbers("persons"), return_counts=True), strict=True))
    return by_split(samples, "clip") | {
        "frames": {"fewest": frames[0], "median": frames[len(frames) // 2], "most": frames[-1]},
        "persons": {str(count): int(clips) for count, clips in persons.items()},
        "joints": {
            "layout": samples.rows[0].layout,
            "count": samples.rows[0].joints,
            "dims": samples.rows[0].dims,
        },
    }


def read(folder: Path) -> dict[str, Any] | None:
    """The `report.json` of a samples table, or None where there is none that belongs to it."""
    return summary.read(folder, lines)


def lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """A short table of a report: (name, value)."""
    rows = split_lines(report, "clip")
    few, middle, many = (report["frames"][name] for name in ("fewest", "median", "most"))
    rows.append(("frames", str(few) if few == many else f"{few:,} to {many:,} a clip, median {middle:,}"))
    bodies = [f"{count}: {clips:,} clips" for count, clips in report["persons"].items()]
    rows.append(("persons", bodies[0].split(":")[0] if len(bodies) == 1 else ", ".join(bodies)))
    joints = report["joints"]
    rows.append(("joints", f"{joints['count']} of {joints['layout']}, {joints['dims']}-D"))
    if "missing" in report:
        rows.append(("missing", _missing(report["missing"])))
    return rows + account_lines(report)


def _missing(counts: dict[str, Any]) -> str:
    """Whether it depends on the class is worth knowing: a model that is shown what is missing can read it."""
    share = counts["missing"] / counts["joints"]
    ranked = sorted((one, name) for name, one in counts["classes"].items())
    text = f"{share:.1%} of the joints"
    if ranked[-1][0] > 0:
        text += f", {ranked[0][0]:.1%} ({ranked[0][1]}) to {ranked[-1][0]:.1%} ({ranked[-1][1]}) by class"
    nobody = f"; nobody in {counts['nobody']:,} of {counts['frames']:,} frames" if counts["nobody"] else ""
    return text + nobody

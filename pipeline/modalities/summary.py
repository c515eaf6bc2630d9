"""What a data set holds, for people: by split and class, what is not read, equal files."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stillroom.modalities.base import DataAccount
from stillroom.modalities.duplicates import KINDS, Duplicates
from stillroom.modalities.entries import Account
from stillroom.progress import Progress
from stillroom.samples import NAME as TABLE
from stillroom.samples import OLD, UNLABELLED, Samples

FORMAT = "stillroom-data/1"
NAME = "report.json"
UNEVEN = 2  # times as many samples as of the smallest class: more than that is said
MOST = 1000  # names or groups that are kept of a kind; counts are whole
Lines = list[tuple[str, str]]


@dataclass(frozen=True)
class Prepared:
    """The samples table, and what was come across on the way to it."""

    samples: Samples
    account: Account
    duplicates: Duplicates


class Summary(Protocol):
    """What a modality's own `preparation.summary` holds."""

    def describe(self, prepared: Prepared, table: Path) -> dict[str, Any]:
        """The content of `report.json`."""

    def of_samples(self, samples: Samples) -> dict[str, Any]:
        """A report of what the table alone shows."""

    def read(self, folder: Path) -> dict[str, Any] | None:
        """The `report.json` of a samples table; None where there is none that belongs to it."""

    def lines(self, report: dict[str, Any]) -> Lines:
        """A short table of a report."""


def finish(prepared: Prepared, folder: Path, progress: Progress, own: Summary) -> Samples:
    """Write the table, then what was come across; say the latter."""
    prepared.samples.save(folder)
    report = own.describe(prepared, folder / TABLE)
    write(report, folder)
    for name, value in own.lines(report):
        progress.note(f"{name:<12} {value}")
    return prepared.samples


def accounted(folder: Path, samples: Samples, noun: str, own: Summary) -> DataAccount:
    """What the table in a folder holds; see `Modality.account`.

    Args:
        noun: what its samples are called.
    """
    report = own.read(folder) or own.of_samples(samples)
    groups = [report.get("duplicates", {}).get(kind, {"groups": []}) for kind in ("splits", "classes")]
    equal = [keys for entry in groups for keys in entry["groups"]]
    return DataAccount(noun, own.lines(report), equal, report.get("leaks", 0))


def describe(prepared: Prepared, table: Path, own: dict[str, Any]) -> dict[str, Any]:
    """The content of `report.json`.

    Args:
        prepared: what was prepared.
        table: the table's file that it belongs to, written already.
        own: what the modality says of it.
    """
    account, duplicates = prepared.account, prepared.duplicates
    return {
        "format": FORMAT,
        "table": hashlib.sha256(table.read_bytes()).hexdigest(),
        **own,
        "passed_over": {why: _some(names) for why, names in account.passed_over.items()},
        "skipped": _some(account.skipped),
        "dropped": _some(list(duplicates.dropped)),
        "leaks": _leaks(prepared),
        "duplicates": {
            kind: {"pairs": duplicates.count(kind), "groups": duplicates.groups[kind][:MOST]}
            for kind in KINDS
        },
    }


def by_split(samples: Samples, noun: str) -> dict[str, Any]:
    """How many samples there are of each split and class.

    Args:
        noun: what a sample is called.
    """
    splits: dict[str, Any] = {}
    for split, count in samples.splits().items():
        splits[split] = {f"{noun}s": count, "classes": {}}
        if split != UNLABELLED:
            counts = np.bincount(samples.in_splits(split).labels(), minlength=len(samples.classes)).tolist()
            splits[split]["classes"] = dict(zip(samples.classes, counts, strict=True))
    return {"dataset": samples.dataset, f"{noun}s": len(samples), "splits": splits}


def write(report: dict[str, Any], folder: Path) -> None:
    """Put a report beside the table that it is of."""
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / NAME).write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")


def read(folder: Path, lines: Callable[[dict[str, Any]], Lines]) -> dict[str, Any] | None:
    """The `report.json` of a samples table, or None where there is none that belongs to it.

    Args:
        lines: raises where something is missing in a report.
    """
    try:
        report = json.loads((folder / NAME).read_text(encoding="utf-8"))
        file = folder / (TABLE if (folder / TABLE).exists() else OLD)
        with file.open("rb") as stream:
            table = hashlib.file_digest(stream, "sha256").hexdigest()
        lines(report)
        return dict(report) if report["format"] == FORMAT and report["table"] == table else None
    except (AttributeError, IndexError, KeyError, OSError, RecursionError, TypeError, ValueError):
        return None


def split_lines(report: dict[str, Any], noun: str) -> Lines:
    """A line a split: how many samples and classes it has."""
    rows = []
    for split, entry in report["splits"].items():
        if split == UNLABELLED:
            rows.append((split, f"{entry[f'{noun}s']:,} {noun}s without a label"))
            continue
        ranked = sorted(entry["classes"].items(), key=lambda item: (item[1], item[0]))
        few, many = ranked[0], ranked[-1]
        span = (
            f"{few[1]} each" if few[1] == many[1] else f"{few[1]} ({few[0]}) to {many[1]} ({many[0]}) a class"
        )
        rows.append((split, f"{entry[f'{noun}s']:,} {noun}s of {len(ranked)} classes, {span}"))
        least = next((one for one in ranked if one[1]), many)
        if split == "train" and many[1] > UNEVEN * least[1]:
            rows.append(("imbalance", _imbalance(many, least, noun)))
    return rows


def _imbalance(many: tuple[str, int], few: tuple[str, int], noun: str) -> str:
    """How uneven classes are, and which keys make up for it."""
    times = f"{many[1] / few[1]:.3g} times as many {noun}s of {many[0]} as of {few[0]}"
    return f"{times}: see class_weights and order of student.train and teacher.train"


def account_lines(report: dict[str, Any]) -> Lines:
    """What was not read, skipped or dropped, and equal files."""
    rows = []
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
    samples = prepared.samples
    groups = [*prepared.duplicates.groups["splits"], *prepared.duplicates.groups["classes"]]
    leaks, dropped = 0, {*prepared.duplicates.dropped}
    for keys in groups:
        splits = [samples.rows[samples.row_of(key)].split for key in keys if key not in dropped]
        leaks += splits.count("test") if len(set(splits)) > 1 else 0
    return leaks


def _some(names: list[str]) -> dict[str, Any]:
    return {"count": len(names), "names": sorted(names)[:MOST]}


def _shown(names: list[str], count: int) -> str:
    return ", ".join(names[:3]) + (f" and {count - 3:,} more" if count > 3 else "")

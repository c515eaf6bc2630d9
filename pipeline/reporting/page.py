"""The report as one HTML file that opens from disk without script or network, and how it is written."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stillroom.files import whole_files
from stillroom.modalities.base import DataAccount
from stillroom.reporting import figures, table, wording
from stillroom.reporting.records import Manifest, Student, Teacher


@dataclass(frozen=True)
class View:
    """One view as the teacher saw it.

    Attributes:
        png: the picture, PNG bytes.
        top: the teacher's likeliest classes, (class, probability in [0, 1]), likeliest first.
    """

    png: bytes
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Picture:
    """A sample to show: its key, its true class and some of its views."""

    key: str
    label: str
    views: tuple[View, ...]


@dataclass(frozen=True)
class Seen:
    """A test sample clean, and as students see it.

    Attributes:
        clean, worse: pictures, PNG bytes.
        answers: (who, the likeliest class, its probability in [0, 1]) of the teacher and of students.
    """

    key: str
    label: str
    clean: bytes
    worse: bytes
    answers: tuple[tuple[str, str, float], ...]


def page(
    results: dict[str, Any],
    students: Sequence[Student],
    teacher: Teacher | None,
    pictures: Sequence[Picture],
    title: str,
    commands: Sequence[str],
    manifest: Manifest | None = None,
    data: DataAccount | None = None,
    seen: Sequence[Seen] = (),
) -> str:
    """The whole of `index.html`; the same arguments give the same text.

    Args:
        results: what `table.summarise` returns.
        students, teacher: what `reading.read` returned.
        pictures: samples with their views; may be empty.
        title: heading of the page; any text, it is escaped like everything else.
        commands: shell lines that make these results again, in order.
        manifest: the cache's, for its backend, quality and the versions it was made with.
        data: what is in the data set.
        seen: test samples as students see them, where they see them corrupted.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=lambda value: "–" if value is None else wording.percent(value),
        signed=lambda value: "–" if value is None else figures.minus(wording.signed(value)),
        interval=_interval,
        quantity=wording.quantity,
        draws=wording.draws,
        share=wording.share,
        size=wording.size,
        family=wording.family_name,
        spaced=lambda name: name.replace("_", " "),
        short=lambda digest: digest if len(digest) <= 16 else f"{digest[:12]}…",
        pretty=lambda tree: json.dumps(tree, indent=2, ensure_ascii=False, sort_keys=True),
        data_uri=lambda png: "data:image/png;base64," + b64encode(png).decode("ascii"),
    )
    gains = table.class_gains(students, results["arm"])
    rows = results["rows"]
    teacher_curve = figures.teacher_curve(teacher) if teacher else None
    curves: dict[str, list[tuple[str, Markup, str]]] = {}
    for curve in figures.loss_curves(students):
        terms = " + ".join(f"{name} {value:.2f}" for name, value in curve.terms)
        curves.setdefault(curve.name, []).append((curve.arm, Markup(curve.svg), terms))
    return environment.get_template("page.html.j2").render(
        title=title,
        style=Markup(figures.STYLE),
        lead=_lead(results),
        results=results,
        best=_best(results["summary"], results["arm"]),
        arms={row["arm"] for row in rows},
        losses=list(dict.fromkeys(name for line in results["summary"] for name in line["gains"])),
        method=wording.method(results).replace("`", ""),
        columns=[
            (name, head)
            for name, head in (*(_UNEVEN if wording.uneven(results) else ()), *_COLUMNS)
            if any(row[name] is not None for row in rows)
        ],
        several_seeds=len({row["seed"] for row in rows}) > 1,
        bytes_a_view=results["cache"]["bytes"] / (results["cache"]["views"] * results["cache"]["samples"]),
        dumbbells=[(name, Markup(figures.dumbbell(results, metric))) for name, metric in _METRICS],
        # The pieces below come out of figures.py, which escapes every text itself.
        class_change=Markup(figures.class_change(gains)) if gains else None,
        class_gains=gains,
        class_memory=Markup(figures.class_memory(table.class_memory(teacher.folds)))
        if teacher and teacher.folds
        else None,
        curves=curves,
        teacher_curve=Markup(teacher_curve.svg) if teacher_curve else None,
        pictures=pictures,
        seen=seen,
        level_curves={
            family: Markup(figures.level_curves(results["levels"], family, results["arm"]))
            for family in results.get("levels", {}).get("students", {})
        },
        without_label=wording.without_label(results),
        corruption=wording.corruption(results["corruption"]) if "corruption" in results else None,
        teacher=teacher,
        manifest=manifest,
        facts=_facts(manifest),
        pairs=_pairs(students),
        digest_names=list(students[0].digests),
        students=students,
        # One student an arm is enough to show the settings: they differ in the loss.
        settings=list({student.arm: student for student in reversed(students)}.values())[::-1],
        student_seconds=fmean(student.seconds for student in students),
        commands=commands,
        data=data,
    )


_METRICS = (("Accuracy", "accuracy"), ("Mean average precision", "mAP"))
# of the table of every student; a column that none has is left out, and some where classes are even
_UNEVEN = (("balanced_accuracy", "Balanced accuracy, %"), ("macro_f1", "Macro F1, %"))
_COLUMNS = (
    ("top5", "Top-5, %"),
    ("calibration_error", "Calibration error, %"),
    ("agreement", "Agreement with teacher, %"),
)


def _lead(results: dict[str, Any]) -> str:
    """The result in two sentences, whichever way it went."""
    summary, gain = results["summary"], results["mean_gain"]
    names = [wording.family_name(line["family"]) for line in summary]
    if gain is None:
        arms = sorted({row["arm"] for row in results["rows"]})
        held = f"only the {arms[0]} arm" if len(arms) == 1 else "no family and seed with both arms"
        return f"{_listed(names)}: there is {held} so far, so there is no gain to report yet."
    measured = [line for line in summary if line["gain"] is not None]
    points, arm = figures.minus(wording.signed(gain)), results["arm"]
    changed = f"{wording.percent(abs(gain))} points {'lower' if gain < 0 else 'higher'}"
    if len(measured) == 1:
        line = measured[0]
        reached = wording.percent(line[f"accuracy_{arm}"])
        return (
            f"{wording.family_name(line['family'])} reaches {reached} % with what its "
            f"teacher said, cached, and {wording.percent(line['accuracy_ce'])} % with the labels alone: "
            f"{points} points."
        )
    gained = sum(line["gain"] > 0 for line in measured)
    share = (
        "all of them gain"
        if gained == len(measured)
        else f"{gained} of {len(measured)} gain"
        if gained
        else "none gains"
    )
    named = f" ({arm})" if len({row["arm"] for row in results["rows"]}) > 2 else ""
    return (
        f"{_number(len(measured)).capitalize()} families were trained on the labels alone, and "
        f"again with what a teacher said, cached. With it{named} accuracy is {changed} on average; "
        f"{share}."
    )


def _number(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[count] if count < len(words) else str(count)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _interval(interval: list[float] | None) -> str:
    """`; +1.10 to +5.70`, or nothing."""
    if interval is None:
        return ""
    low, high = (figures.minus(wording.signed(value)) for value in interval)
    return f"; {low} to {high}"


def _best(summary: list[dict[str, Any]], arm: str) -> dict[str, float | None]:
    """The values that the table marks: best of both arms, and the largest gain; None without competition."""
    best: dict[str, float | None] = {}
    for metric, gain in (("accuracy", "gain"), ("mAP", "mAP_gain")):
        scores = [line[f"{metric}_{name}"] for line in summary for name in ("ce", arm)]
        for name, values in ((metric, scores), (gain, [line[gain] for line in summary])):
            present = [value for value in values if value is not None]
            best[name] = max(present) if len(present) > 1 else None
    return best


def _facts(manifest: Manifest | None) -> list[tuple[str, str]]:
    """Versions and quality as the manifest has them, as (dotted name, value)."""
    if manifest is None:
        return []
    return _flat(manifest.environment, "") + _flat(manifest.quality, "quality")


def _flat(tree: Any, prefix: str) -> list[tuple[str, str]]:
    if isinstance(tree, dict):
        inner = [(f"{prefix}.{name}" if prefix else str(name), tree[name]) for name in sorted(tree)]
        return [fact for name, value in inner for fact in _flat(value, name)]
    if tree is None:
        return []
    return [(prefix or "environment", f"{tree:.4g}" if isinstance(tree, float) else str(tree))]


def _pairs(students: Sequence[Student]) -> list[dict[str, Any]]:
    """One line a family and seed: its arms and the digests they share (`reading.read` made sure of it)."""
    pairs: dict[tuple[str, int], dict[str, Any]] = {}
    for student in students:
        line = pairs.setdefault(
            (student.family, student.seed),
            {
                "family": student.family,
                "seed": student.seed,
                "arms": [],
                "digests": dict(student.digests),
            },
        )
        line["arms"].append(student.arm)
    return list(pairs.values())


def write(folder: Path, results: dict[str, Any], html: str, markdown: str) -> None:
    """Write `results.json`, `results.md` and `index.html` into `folder`.

    Each is written in full beside its place before the first is moved there, so that a full disk or an error
    leaves the old three as they were. The same arguments give the same bytes.
    """
    texts = {
        "index.html": html,
        "results.md": markdown,
        "results.json": json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with whole_files([folder / name for name in texts]) as streams:
        for stream, text in zip(streams, texts.values(), strict=True):
            stream.write(text.encode())

"""`stillroom report`: the table family x arm, as JSON, Markdown and a page to open from disk."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import ARTIFACTS, DATA, REPORT, STUDENTS, whole_folder
from stillroom_stages.console import shown
from stillroom_stages.inputs import cache_to_read, data_root
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    import numpy as np

    from stillroom.cache.read.store import Store
    from stillroom.modalities.base import Spec
    from stillroom.params import Params, Student
    from stillroom.reporting.page import Picture, Seen
    from stillroom.reporting.records import Runs
    from stillroom.samples import Samples

PICTURES = 3  # samples shown on the page
VIEWS_SHOWN = 6


@click.command(epilog=about("stillroom report", "report"))
@click.option("--show", is_flag=True, help="Print the table of the report that is there; write nothing.")
@stage
def report(params: "Params", show: bool) -> None:
    """Write artifacts/report/ (results.json, results.md, index.html, plots) and print the table."""
    from rich.console import Console

    from stillroom.errors import AccessError, DataError
    from stillroom.reporting import terminal

    if show:
        file = REPORT / "results.json"
        try:
            results = json.loads(file.read_text(encoding="utf-8"))
        except PermissionError:
            raise AccessError(file) from None
        except (OSError, ValueError):
            raise DataError(
                f"there is no report in {REPORT}", fix="run `stillroom report`, or `dvc repro`"
            ) from None
        try:
            shown = terminal.rich_table(results)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{file} cannot be shown",
                f"it was edited, or written by another version ({type(error).__name__}: {error})",
                "run `stillroom report`, or `dvc repro`",
            ) from None
    else:
        with whole_folder(REPORT) as folder:
            shown = terminal.rich_table(_write(params, folder))
    Console().print(shown)
    if left_out := ", ".join(_left_out(params)):
        click.echo(f"note: not in the table: {left_out} (student.families, arms and seeds do not name them)")
    click.echo(f"report: {REPORT / 'index.html'}")


def _left_out(params: "Params") -> list[str]:
    """The finished students that the parameters do not name."""
    matrix = params.student
    named = {f"{family}-{arm}-{seed}" for family, arm, seed in _entries(matrix)}
    return sorted({file.parent.name for file in STUDENTS.glob("*/student.json")} - named)


def _entries(matrix: "Student") -> list[tuple[str, str, int]]:
    return [(family, arm, seed) for family in matrix.families for arm in matrix.arms for seed in matrix.seeds]


def _write(params: "Params", folder: Path) -> dict[str, Any]:
    from stillroom import modalities
    from stillroom.device import settle
    from stillroom.fetched import is_address
    from stillroom.provenance.identity import check_samples, input_of
    from stillroom.reporting import markdown, page, plots, reading, table
    from stillroom.reporting.corrupted import with_corrupted
    from stillroom.samples import is_table

    settle()
    entries = _entries(params.student)
    # all that is missing is named at once, before the table is looked for
    samples = modalities.load_samples(DATA, data_root(params)) if is_table(DATA) else None
    test = samples.in_splits("test") if samples is not None else None
    if is_address(params.cache.path):
        store = cache_to_read(params)
        runs = reading.read(ARTIFACTS, entries, test, store.folder, store.size_on_disk()[1])
    else:
        runs = reading.read(ARTIFACTS, entries, test, Path(params.cache.path))
        store = cache_to_read(params)
    samples = samples or modalities.load_samples(DATA, data_root(params))
    check_samples(store.manifest, samples.in_cache())
    with shown() as console:
        runs = with_corrupted(runs, ARTIFACTS, samples.in_splits("test"), params.report.levels, console)
    results = table.summarise(runs)
    html = page.page(
        results,
        runs.students,
        runs.teacher,
        _pictures(store, samples.in_cache()),
        params.report.title,
        ["dvc repro"],
        runs.manifest,
        modalities.get(samples.modality).account(DATA, samples),
        _seen(runs, samples.in_splits("test"), runs.students[0].input or input_of(store.manifest)),
    )
    page.write(folder, results, html, markdown.as_markdown(results))
    plots.write(folder, runs, results, samples.classes)
    return results


def _pictures(store: "Store", train: "Samples") -> "list[Picture]":
    """A few samples as the teacher saw them, with what it made of each view."""
    from stillroom import modalities
    from stillroom.evaluation.metrics import softmax
    from stillroom.provenance.identity import input_of
    from stillroom.reporting.page import Picture, View

    spec, modality = input_of(store.manifest), modalities.get(train.modality)
    reader = modality.reader(train)
    output = store.teachers()[0]
    count = min(PICTURES, len(train))
    chosen = [(2 * i + 1) * len(train) // (2 * count) for i in range(count)]
    shown: dict[int, list[View]] = {number: [] for number in chosen}
    for view in range(min(VIEWS_SHOWN, store.manifest.layout.views)):
        views = modality.stored(store.parameters(view), train)
        probabilities = softmax(store.logits(view, output)[chosen])
        for number, row in zip(chosen, probabilities, strict=True):
            picture = modality.picture(modality.render(reader, views[number], spec), spec)
            top = tuple(
                (train.classes[label], float(row[label])) for label in row.argsort()[::-1][:3].tolist()
            )
            shown[number].append(View(picture, top))
    return [
        Picture(train.rows[number].key, train.class_of(train.rows[number]), tuple(views))
        for number, views in shown.items()
    ]


def _seen(runs: "Runs", test: "Samples", spec: "Spec") -> "list[Seen]":
    """A few test samples, clean and as students see them, with what teacher and students make of each."""
    from stillroom import modalities
    from stillroom.evaluation.metrics import softmax
    from stillroom.modalities.base import EVALUATION_DRAWS, ViewRequest
    from stillroom.reporting.page import Seen
    from stillroom.reporting.wording import family_name

    modality = modalities.get(test.modality)
    corruption = None if runs.corruption is None else modality.corruption(runs.corruption, "student.json")
    if corruption is None:
        return []
    reader, count = modality.reader(test), min(PICTURES, len(test))
    answers: dict[str, np.ndarray | None] = {"teacher, clean": runs.teacher_logits}
    for (family, arm, _), logits in runs.logits.items():
        answers.setdefault(f"{family_name(family)} {arm}", logits[0])  # of the first seed
    seen = []
    for number in [(2 * i + 1) * len(test) // (2 * count) for i in range(count)]:
        row = test.rows[number]
        clean = ViewRequest(row, modality.evaluation(row))
        pictures = [
            modality.picture(modality.render(reader, one, spec), spec)
            for one in (clean, corruption.request(clean, EVALUATION_DRAWS))
        ]
        said = []
        for who, answer in answers.items():
            if answer is not None:
                shares = softmax(answer[number][None])[0]
                best = int(shares.argmax())
                said.append((who, test.classes[best], float(shares[best])))
        seen.append(Seen(row.key, test.classes[row.label], pictures[0], pictures[1], tuple(said)))
    return seen

"""`stillroom predict`: the predictions of a finished model for images, or clips."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import STUDENTS
from stillroom_stages.inputs import chosen_model
from stillroom_stages.options import about, trusting

if TYPE_CHECKING:
    from stillroom.modalities.base import Finished, Modality, Model

BATCH = 32
NAME_ONE = "name files or folders, or - for a list on stdin"


@click.command(
    epilog=about("stillroom predict photo.jpg photos/ --student artifacts/students/vit-kd-0 --json")
)
@click.argument("images", nargs=-1, type=click.Path(path_type=Path, allow_dash=True), metavar="FILE...")
@click.option(
    "--student",
    type=click.Path(path_type=Path, readable=False),
    help=f"Its folder; default: the only one in {STUDENTS}.",
)
@trusting
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes to name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@click.pass_context
def predict(
    ctx: click.Context, images: tuple[Path, ...], student: Path | None, top: int, as_json: bool
) -> None:
    """Name the likeliest classes of images or clips: files, folders, or - for a list of paths on stdin.

    It looks at each as evaluation does (the centre square of an image, the whole of a clip), at the precision
    (amp) of the model's evaluation. A file that cannot be read is named, the others are still predicted, and
    the exit code is then 1.
    """
    from stillroom import modalities
    from stillroom.device import device, settle
    from stillroom.errors import ParamsError

    settle()
    if not images and sys.stdin.isatty():
        raise ParamsError("there is no file to look at", fix=NAME_ONE)
    folder = chosen_model(student)
    modality = modalities.of_model(folder)
    finished = modality.load(folder)
    finished.model.net.to(device())
    top = min(top, len(finished.classes))
    unread: list[str] = []
    files = _files(images or (Path("-"),), modality, unread)
    answers = _answers(modality, finished, files, top, unread)
    try:
        first = next(answers, None)
        if first is None and not unread:
            raise ParamsError("there is no file to look at", fix=NAME_ONE)
        predictions = answers if first is None else chain([first], answers)
        if as_json:
            _print_json(predictions, modality.NAME)
        else:
            _print_table(predictions)
    except KeyboardInterrupt:  # nothing is kept that a second run could go on from
        unread.append(f"stopped: not all {modality.SAMPLES} were looked at")
    finally:
        for line in unread:
            click.echo(f"error: {line}", err=True)
    ctx.exit(1 if unread else 0)


def _files(named: Iterable[Path], modality: "Modality", unread: list[str]) -> Iterator[Path]:
    """The files that were named, folders searched, in order."""
    suffixes = modality.suffixes()
    for path in named:
        if str(path) == "-":
            # bytes: a name need not be text
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
            yield from _files((Path(line) for line in lines if line and line != "-"), modality, unread)
        elif os.path.isdir(path):  # of a path too long to be one, Path.is_dir raises
            inside = [
                file for file in sorted(path.rglob("*")) if file.suffix.lower() in suffixes and file.is_file()
            ]
            if not inside:
                unread.append(
                    f"{_plain(path)}: the folder holds no {modality.SAMPLES} ({', '.join(suffixes)})"
                )
            yield from inside
        else:
            yield path


def _answers(
    modality: "Modality", finished: "Finished", files: Iterable[Path], top: int, unread: list[str]
) -> Iterator[tuple[Path, list[tuple[str, float]]]]:
    """Each file that can be read, with its likeliest classes and their probabilities; a batch at a time."""
    import numpy as np
    import torch

    from stillroom.evaluation.forward import outputs_of
    from stillroom.evaluation.metrics import softmax

    def answer(batch: list[tuple[Path, Any]]) -> Iterator[tuple[Path, list[tuple[str, float]]]]:
        views = torch.from_numpy(np.stack([view for _, view in batch]))
        logits = outputs_of(finished.model, views, finished.amp)["logits"]
        for (file, _), row in zip(batch, softmax(logits), strict=True):
            first = np.argsort(-row, kind="stable")[:top]
            yield file, [(finished.classes[label], float(row[label])) for label in first]

    batch: list[tuple[Path, Any]] = []
    for file in files:
        view = _rendered(modality, finished.model, file, unread)
        if view is None:
            continue
        batch.append((file, view))
        if len(batch) == BATCH:
            yield from answer(batch)
            batch = []
    if batch:
        yield from answer(batch)


def _rendered(modality: "Modality", model: "Model", file: Path, unread: list[str]) -> Any:
    """What the model sees of a file, or None and a line in `unread`."""
    try:
        return modality.from_file(file, model.spec)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError as error:  # `UnreadableError`, or a name with a zero in it
        reason = str(error)
    unread.append(f"{_plain(file)}: {reason}")
    return None


def _plain(name: object) -> str:
    """A name as a terminal can show it: control characters and bytes that are no text are written out."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(name))


def _print_json(predictions: Iterable[tuple[Path, list[tuple[str, float]]]], modality: str) -> None:
    """One list, written as it comes: `[{"file", "top": [{"class", "probability"}]}]`; of images also
    `image`, which is the same.
    """
    click.echo("[", nl=False)
    for number, (file, top) in enumerate(predictions):
        named = {"image": str(file)} if modality == "images" else {}
        likeliest = [{"class": name, "probability": share} for name, share in top]
        entry = {**named, "file": str(file), "top": likeliest}
        click.echo((",\n " if number else "") + json.dumps(entry), nl=False)
    click.echo("]")


def _print_table(predictions: Iterable[tuple[Path, list[tuple[str, float]]]]) -> None:
    """A file a paragraph, a class a line, likeliest first."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for file, top in predictions:
        console.print(Text(_plain(file), style="bold"), soft_wrap=True)
        table = Table.grid(padding=(0, 2))
        for rank, (name, share) in enumerate(top):
            bar = Text("█" * round(20 * share) or "▏", style="green" if rank == 0 else "dim")
            table.add_row("", Text(f"{100 * share:5.1f} %"), Text(_plain(name.replace("_", " "))), bar)
        console.print(table)

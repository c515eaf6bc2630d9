"""`stillroom prepare`: the samples table of a data set."""

from typing import TYPE_CHECKING

import click

from stages.console import DATA, about, shown, stage, whole_folder

if TYPE_CHECKING:
    from pipeline.config import Params


@click.command(epilog=about("stillroom prepare --set data.name=folder --set data.path=photos", "prepare"))
@stage
def prepare(params: "Params") -> None:
    """Read, draw or download the images; write artifacts/data/samples.json."""
    from collections import Counter

    from pipeline.datasets import prepare as prepare_data

    with shown() as console, whole_folder(DATA) as folder:
        samples = prepare_data(params.data, folder, console)
        samples.save(folder)
        splits = Counter(row.split for row in samples.rows)
        parts = ", ".join(f"{splits[name]} {name}" for name in ("train", "val", "test") if splits[name])
        console.note(f"{samples.dataset}: {len(samples)} images of {len(samples.classes)} classes ({parts})")

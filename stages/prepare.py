"""`stillroom prepare`: the samples table of a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import (
    ARTIFACTS,
    CACHE,
    DATA,
    REPORT,
    STAGING,
    STUDENTS,
    TEACHER,
    whole_folder,
)
from stillroom_stages.console import shown
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params

# What files held when they were last read. No output: it may be lost
MEMORY = STAGING / "source.parquet"


@click.command(
    epilog=about(
        "stillroom prepare --set data.name=folder --set data.path=photos", "prepare; source, with --look"
    )
)
@click.option(
    "--look",
    is_flag=True,
    help="Only digest what lies at data.path, and write artifacts/source.json, for DVC to see changes.",
)
@click.option(
    "--full", is_flag=True, help="Read all files, also those that have not changed since last time."
)
@click.option(
    "--pack",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Only write the data set of artifacts/data as tar shards (WebDataset) into a new folder.",
)
@click.option(
    "--shard-mib",
    type=click.IntRange(1, 2**20),
    default=256,
    show_default=True,
    help="With --pack: the size of a shard.",
)
@stage
def prepare(params: "Params", look: bool, full: bool, pack: Path | None, shard_mib: int) -> None:
    """Read, draw or download a data set; write artifacts/data/: samples.parquet, and a report on it."""
    from stillroom import modalities
    from stillroom.errors import ParamsError

    if look + full + (pack is not None) > 1:
        raise ParamsError("--look, --full and --pack do different things", fix="give one of them")
    modality = modalities.of_data_set(params.data.name)
    if look:
        _keep(modality.look(params.data, MEMORY))
        return
    if pack is not None:
        _pack(params, pack, shard_mib * 2**20)
        return
    with shown() as console, whole_folder(DATA) as folder:
        samples = modality.prepare(params.data, folder, console, MEMORY, full)
        parts = ", ".join(f"{count} {name}" for name, count in samples.splits().items())
        console.note(
            f"{samples.dataset}: {len(samples)} {modality.SAMPLES} of {len(samples.classes)} classes "
            f"({parts})"
        )


def _pack(params: "Params", folder: Path, shard_bytes: int) -> None:
    """Write the data set as shards, and say how to use them."""
    from stillroom import files, modalities
    from stillroom.errors import ParamsError

    replaced = files.replaced(folder, (DATA, TEACHER, CACHE, STUDENTS, REPORT, STAGING))
    if replaced is not None:
        raise ParamsError(
            f"--pack {folder} lies in {replaced}",
            "stages replace what is in that folder",
            "name a folder outside artifacts",
        )
    samples = samples_to_read(params)
    modality = modalities.get(samples.modality)
    with shown() as console:
        count = modality.write_shards(samples, folder, shard_bytes, console)
        console.note(f"{folder}: {len(samples):,} {modality.SAMPLES} in {count:,} shards")
        more = " --set data.val_fraction=0" if params.data.val_fraction else ""
        console.note(f"use them: --set data.name=shards --set data.path={folder}{more}")


def _keep(content: dict[str, Any]) -> None:
    """Write `artifacts/source.json`, whole or not at all."""
    from stillroom.errors import StillroomError
    from stillroom.files import as_json, whole_file

    file = ARTIFACTS / "source.json"
    try:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        with whole_file(file, durable=False) as stream:
            stream.write(as_json(content))
    except OSError as error:
        raise StillroomError(
            f"{file} cannot be written",
            error.strerror or str(error),
            "free the disk, make the folder writable, or move away what lies in its place",
        ) from None

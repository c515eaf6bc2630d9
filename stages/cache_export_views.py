"""`stillroom cache export-views`: the rendered views as files, for a teacher elsewhere."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stillroom_stages.artifacts import CACHE, DATA, REPORT, STAGING, STUDENTS, TEACHER, VIEWS
from stillroom_stages.console import shown, tell_locks
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, parameters, read_parameters

if TYPE_CHECKING:
    from stillroom.params import Params


@click.command("export-views", epilog=about("stillroom cache export-views --format parquet"))
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    default=VIEWS,
    show_default=True,
    metavar="FOLDER",
    help="Where they are written.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["tar", "parquet"]),
    default="tar",
    show_default=True,
    help="Shards in WebDataset's layout, or Parquet.",
)
@click.option(
    "--size", type=click.IntRange(1), default=None, help="As --set views.size=SIZE; default: the teacher's."
)
@click.option(
    "--from",
    "first",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The first view, where those before it were written earlier.",
)
@click.option(
    "--shard-mib", type=click.IntRange(1, 2**20), default=256, show_default=True, help="The size of a shard."
)
@parameters
def export_views(
    folder: Path,
    kind: str,
    size: int | None,
    first: int,
    shard_mib: int,
    params_file: Path,
    overrides: tuple[str, ...],
) -> None:
    """Write the views as files, for a teacher elsewhere.

    Those of all samples of train, and of those without a label, bit for bit what a teacher of ours would see:
    PNG (clips: .npy). In a tar shard a sample is KEY.json, KEY.0.png, KEY.1.png, ...; in Parquet a row has
    key, view, image, label.
    views.json says which views they are; `stillroom cache import` wants it back with the logits.
    """
    more = () if size is None else (f"views.size={size}",)
    _export(read_parameters(params_file, (*overrides, *more)), folder, kind, first, shard_mib * 2**20)


def _export(params: "Params", folder: Path, kind: str, first: int, shard_bytes: int) -> None:
    from stillroom import files, modalities
    from stillroom.device import settle
    from stillroom.errors import DataError, ParamsError
    from stillroom.teaching.export_views import export_views as write

    replaced = files.replaced(folder, (DATA, TEACHER, CACHE, STUDENTS, REPORT, STAGING))
    if replaced is not None:
        raise ParamsError(
            f"--to {folder} lies in {replaced}",
            "stages replace what is in that folder",
            f"name another folder, as {VIEWS}",
        )
    samples = samples_to_read(params)
    train = samples.in_cache()
    if not len(train):
        raise DataError("no sample is in train", "there is nothing to write", "mend the split")
    settle()
    tell_locks()
    modality = modalities.get(samples.modality)
    spec = modality.teacher_of(params, train.classes).spec
    with shown() as console:
        shards = write(train, params, spec, folder, _workplace(folder), first, kind, shard_bytes, console)
        console.note(
            f"{folder}: views {first} to {params.views.count - 1} of {len(train):,} {modality.SAMPLES}, "
            f"{modality.shown(spec)}, in {shards:,} {'shard' if shards == 1 else 'shards'}"
        )
        console.note(
            f"logits for them, [{params.views.count}, {len(train)}, {len(train.classes)}] in this order or "
            f"Parquet with key, view, logits: stillroom cache import FILE --views {folder}"
        )


def _workplace(folder: Path) -> Path:
    """Where they are unfinished: on the disk that they are to be on."""
    above = next(one for one in Path(os.path.abspath(folder)).parents if one.exists())
    here = next(one for one in Path(os.path.abspath(STAGING)).parents if one.exists())
    same = above.stat().st_dev == here.stat().st_dev
    return STAGING if same else folder.with_name(f".{folder.name}.unfinished")

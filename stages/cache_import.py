"""`stillroom cache import`: a cache of logits that a teacher elsewhere gave."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stillroom_stages.artifacts import STAGING, VIEWS
from stillroom_stages.console import shown, tell_locks
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params


@click.command("import", epilog=about("stillroom cache import logits.npy --origin 'my API, 3 May'"))
@click.argument("logits", type=click.Path(path_type=Path))
@click.option(
    "--views",
    "views",
    type=click.Path(path_type=Path),
    default=VIEWS,
    show_default=True,
    metavar="FOLDER",
    help="The views that they are of, or their views.json.",
)
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the columns in their order, one a line or as JSON.",
)
@click.option("--origin", metavar="TEXT", help="Where they come from; default: the digest of the file.")
@click.option("--replace", is_flag=True, help="Give up another cache that is there.")
@stage
def import_(
    params: "Params", logits: Path, views: Path, classes: Path | None, origin: str | None, replace: bool
) -> None:
    """Make a cache of logits that were computed elsewhere.

    LOGITS is an array [views, samples, classes], the samples in the order of their keys, as .npy or
    .safetensors; or Parquet with the columns key, view, logits, in any order. Columns are put in label order
    by name where --classes or the file's metadata (`classes`, a JSON list) name them.

    The cache goes to cache.path, where students read it. Keys, views, classes and values are all checked
    before.
    """
    from stillroom.device import settle
    from stillroom.errors import ParamsError
    from stillroom.fetched import is_address
    from stillroom.teaching.import_logits import Import, import_logits

    path = params.cache.path
    if is_address(path):
        raise ParamsError(
            f"cache.path = {path!r} is an address",
            "a cache is made in a folder",
            "name the folder: --set cache.path=artifacts/imported",
        )
    samples = samples_to_read(params)
    settle()
    tell_locks()
    train = samples.in_cache()
    asked = Import(params, samples, train, logits, views, classes, origin, Path(path), replace)
    with shown() as console:
        console.note(import_logits(asked, STAGING, console))

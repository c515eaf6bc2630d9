"""`stillroom store`: look into a cache, check it, mend it, change its format."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.console import CACHE, DATA, STAGING, data_root, shown, stage

if TYPE_CHECKING:
    from pipeline.cache.store import Store
    from pipeline.config import Params
    from pipeline.samples import Samples

as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")
place = click.argument("path", type=click.Path(path_type=Path), default=CACHE)


@click.group()
def store() -> None:
    """Look into a cache, check every byte of it, mend it. PATH is artifacts/cache where it is left out."""


@store.command()
@place
@as_json
@click.pass_context
def verify(ctx: click.Context, path: Path, as_json: bool) -> None:
    """Read every byte of the cache in PATH; list the damage; exit code 1 if there is any."""
    from pipeline.cache.checks import verify as check

    if as_json:
        damage = check(path)
        click.echo(json.dumps({"ok": not damage, "damage": damage}, indent=2))
    else:
        with shown() as console:
            damage = check(path, console)
        for entry in damage:
            click.echo(f"damaged: {_where(entry['block'])}{entry['file']}: {entry['reason']}")
        if damage:
            click.echo(
                f"  do:  fetch the cache again from where it came (`dvc pull --force`), or run "
                f"`stillroom store repair {path}`"
            )
        else:
            click.echo(f"{path} is whole")
    ctx.exit(1 if damage else 0)


@store.command()
@place
@stage
@as_json
def repair(params: "Params", path: Path, as_json: bool) -> None:
    """Compute again what `verify` condemns in PATH, and nothing else. Needs the teacher if a block is lost."""
    from pipeline.cache.backends import open_store
    from pipeline.cache.checks import verify as check
    from pipeline.device import keep_memory
    from pipeline.generation.repair import repair as mend
    from pipeline.progress import Progress
    from pipeline.samples import Samples

    keep_memory()
    opened = open_store(path)
    train = Samples.load(DATA, data_root(params)).of("train")
    with shown() as console:
        progress = Progress() if as_json else console
        damage = check(path, progress)
        if damage:
            done = mend(opened, train, params.cache.teachers, STAGING, params.cache.batch_size, progress)
        left = check(path, progress) if damage else []
    total = len(opened.manifest.blocks)
    facts: dict[str, Any] = {"ok": not left, "damage": damage, "kept": total, "computed": [], "changed": []}
    if damage:
        facts |= {
            "kept": done.kept,
            "computed": [_range(block) for block in done.computed],
            "changed": [_range(block) for block in done.changed],
        }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    elif not damage:
        click.echo(f"{path} is whole: nothing to repair")
    else:
        for block in done.computed:
            same = (
                "other bits than before (float noise)" if block in done.changed else "bit for bit as before"
            )
            click.echo(f"computed again: {block}: {same}")
        click.echo(
            f"{path} is whole again: {done.kept} of {total} blocks kept, {len(done.computed)} computed"
        )


@store.command()
@place
@click.option("--views", type=click.IntRange(1, 100_000), default=64, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Which ones.")
@stage
@as_json
@click.pass_context
def audit(ctx: click.Context, params: "Params", path: Path, views: int, seed: int, as_json: bool) -> None:
    """Render random views of PATH again, run the teacher on them, compare; exit code 1 if it is not noise."""
    from pipeline.cache.backends import open_store
    from pipeline.device import device, keep_memory
    from pipeline.errors import CacheError
    from pipeline.generation.audit import audit as look
    from pipeline.generation.identity import check_against_cache, read_teacher
    from pipeline.generation.teacher import load_teacher
    from pipeline.progress import Progress
    from pipeline.samples import Samples

    keep_memory()
    opened = open_store(path)
    train = Samples.load(DATA, data_root(params)).of("train")
    check_against_cache(opened.manifest, train, params)
    here = [
        name
        for name in opened.manifest.identity["outputs"]
        if (Path(params.cache.teachers.get(name, "/")) / "teacher.json").exists()
    ]
    if not here:
        raise CacheError(
            "no teacher of this cache is at hand",
            "an audit runs the teacher again; cache.teachers says where it lies",
            "`dvc pull` the teacher, or let somebody audit who has it",
        )
    found = []
    with shown() as console:
        for name in here:
            folder = Path(params.cache.teachers[name])
            model = load_teacher(folder, read_teacher(folder / "teacher.json"))
            model.net.to(device())
            progress = Progress() if as_json else console
            found.append(look(opened, name, train, model, views, seed, params.cache.batch_size, progress))
    ok = all(one.ok for one in found)
    if as_json:
        click.echo(json.dumps({"ok": ok, "outputs": [one.to_json() for one in found]}, indent=2))
    else:
        for one in found:
            _print_audit(one)
    ctx.exit(0 if ok else 1)


@store.command()
@place
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--to", "backend", type=click.Choice(["zarr", "hdf5"]), required=True)
@as_json
def convert(path: Path, target: Path, backend: str, as_json: bool) -> None:
    """Write the cache in PATH to the new folder TARGET in the other format; id and digests stay."""
    from pipeline.cache.backends import open_store
    from pipeline.cache.convert import convert as write
    from pipeline.progress import Progress

    with shown() as console:
        manifest = write(open_store(path), target, backend, Progress() if as_json else console)
    if as_json:
        click.echo(json.dumps({"id": manifest.id, "backend": backend, "path": str(target)}, indent=2))
    else:
        click.echo(f"{target}: cache {manifest.id[:16]} as {backend}, every block checked on the way")


def _where(block: dict | None) -> str:
    if block is None:
        return ""
    return f"view {block['views'][0]}, samples {block['samples'][0]}-{block['samples'][1] - 1}: "


def _range(block: Any) -> dict[str, list[int]]:
    return {"views": [block.view, block.view + 1], "samples": [block.start, block.stop]}


def _print_audit(found: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "found", "means", title=f"audit of {found.output}: {found.views} views")
    if found.pixels:
        pixels = f"by {found.pixels} of 255 levels at most, {found.pixels_mean} in the mean"
    else:
        pixels = "equal bit for bit"
    table.add_row("pixels of the probes", pixels, "rendered here, against the manifest")
    table.add_row(
        "parameters",
        f"{found.parameters} drawn otherwise",
        "by this version's generator; the stored ones count",
    )
    table.add_row("logits equal", f"{found.equal} of {found.views}", "bit for bit, after encoding")
    table.add_row("largest difference", f"{found.largest:.2e}", f"mean {found.mean:.2e}")
    table.add_row("this machine's noise", f"{found.here:.2e}", "the same views in other batches")
    table.add_row("explained by noise", f"up to {found.noise:.2e}", "float arithmetic and the encoding")
    if found.another_view is not None:
        table.add_row(
            "a wrong view", f"{found.another_view:.2e}", "median difference between views of an image"
        )
    Console().print(table)
    for key, view, apart in found.beyond[:20]:
        click.echo(f"beyond noise: {key}, view {view}: {apart:.3g}")
    if len(found.beyond) > 20:
        click.echo(f"... and {len(found.beyond) - 20} more")
    click.echo("the cache holds what this teacher says" if found.ok else "this is not what the teacher says")

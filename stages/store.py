"""`stillroom store`: look into a cache, check it, mend it, change its format."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom.cache import stores
from stillroom_stages.artifacts import DATA, STAGING
from stillroom_stages.console import shown, tell_locks
from stillroom_stages.inputs import data_root
from stillroom_stages.options import about, stage
from stillroom_stages.store_options import as_json, cache_path
from stillroom_stages.store_show import show
from stillroom_stages.store_text import print_audit, print_info

if TYPE_CHECKING:
    from stillroom.params import Params
    from stillroom.samples import Samples


@click.group()
def store() -> None:
    """Look into a cache, check every byte of it, mend it.

    PATH is artifacts/cache where it is left out; an address (hf://, s3://, ssh://, https://, dvc://) does
    too.
    """


@store.command(epilog=about("stillroom store info"))
@cache_path
@as_json
def info(path: Path | str, as_json: bool) -> None:
    """Show what a cache was made from and what it holds.

    Also how large it is, and how its teachers do on the cached views: reads all of it.
    """
    from stillroom.cache.read.backends import open_store
    from stillroom.progress import Progress
    from stillroom.provenance.teacher import folds_in
    from stillroom.reporting.cache_summary import summarise

    opened = open_store(path)
    folds = folds_in(opened, _train_at_hand())
    with shown() as console:
        facts = summarise(opened, Progress() if as_json else console, folds)
    manifest = opened.manifest
    if as_json:
        more = {"identity": manifest.identity, "environment": manifest.environment}
        click.echo(json.dumps(facts | more, indent=2))
    else:
        print_info(path, facts, manifest)


def _train_at_hand() -> "Samples | None":
    """The training samples of this project, if it has any: a cache may be looked at anywhere."""
    from stillroom import modalities
    from stillroom.errors import StillroomError

    try:
        return modalities.load_samples(DATA, Path()).in_cache()
    except StillroomError:
        return None


store.add_command(show)


@store.command(epilog=about("stillroom store verify s3://bucket/cache --json"))
@cache_path
@as_json
@click.pass_context
def verify(ctx: click.Context, path: Path | str, as_json: bool) -> None:
    """Check every byte against the manifest.

    Lists the damage by block; exit code 1 if there is any.
    """
    from stillroom.cache.read.checks import verify as check
    from stillroom.cache.read.damage import UNALLOWED
    from stillroom.errors import ALLOW, fetch_again
    from stillroom.fetched import is_address, masked

    if as_json:
        damage = check(path)
        click.echo(json.dumps({"ok": not damage, "damage": damage}, indent=2))
    else:
        with shown() as console:
            damage = check(path, console)
        for entry in damage:
            click.echo(f"damaged: {_where(entry['block'])}{entry['file']}: {entry['reason']}")
        if damage and all(entry["reason"] == UNALLOWED for entry in damage):
            click.echo(f"  do:  {ALLOW}")
        elif damage:
            mend = "" if is_address(path) else f", or run `stillroom store repair {path}`"
            click.echo(f"  do:  {fetch_again(path)}{mend}")
        else:
            click.echo(f"{masked(str(path))} is whole")
    ctx.exit(1 if damage else 0)


@store.command(epilog=about("stillroom store repair"))
@cache_path
@stage
@as_json
def repair(params: "Params", path: Path | str, as_json: bool) -> None:
    """Compute again what `verify` condemns.

    Nothing else is computed, and the files that are whole keep their bytes. A lost block needs the teacher
    that made it, whose identity is checked first.
    """
    from stillroom import modalities
    from stillroom.cache.read.backends import open_store
    from stillroom.cache.read.checks import verify as check
    from stillroom.device import settle
    from stillroom.errors import CacheError
    from stillroom.progress import Progress
    from stillroom.teaching.repair import repair as mend

    settle()
    opened = open_store(path)
    if opened.remote:
        raise CacheError(
            f"{opened.location} is read only",
            "only a cache in a folder is mended",
            "run it where the cache lies",
        )
    train = modalities.load_samples(DATA, data_root(params)).in_cache()
    tell_locks()
    with shown() as console:
        progress = Progress() if as_json else console
        damage = check(path, progress)
        if damage:
            done = mend(opened, train, params.cache, STAGING, progress)
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


@store.command(epilog=about("stillroom store audit --views 256"))
@cache_path
@click.option("--views", type=click.IntRange(1, 100_000), default=64, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Which ones.")
@stage
@as_json
@click.pass_context
def audit(
    ctx: click.Context, params: "Params", path: Path | str, views: int, seed: int, as_json: bool
) -> None:
    """Compare random views with what the teacher says.

    Renders them again from their stored parameters and runs the teacher. Exit code 1 if a difference is more
    than float arithmetic and the encoding explain.
    """
    from stillroom import modalities
    from stillroom.cache.format.outputs import refuse_imported
    from stillroom.cache.read.backends import open_store
    from stillroom.device import device, settle
    from stillroom.errors import CacheError
    from stillroom.progress import Progress
    from stillroom.provenance.identity import check_against_cache, read_teacher
    from stillroom.provenance.teacher import load_teacher, with_folds
    from stillroom.teaching.audit import audit as look

    settle()
    opened = open_store(path)
    train = modalities.load_samples(DATA, data_root(params)).in_cache()
    check_against_cache(opened.manifest, train, params)
    outputs = opened.manifest.identity["outputs"]
    refuse_imported(outputs, outputs, "an audit runs one again")
    folders = {name: params.cache.folder_of(name) for name in outputs}
    here = {name: folder for name, folder in folders.items() if folder and (folder / "teacher.json").exists()}
    if not here:
        raise CacheError(
            "no teacher of this cache is at hand",
            "an audit runs the teacher again; cache.teachers says where it lies",
            "fetch the teacher (`dvc pull teacher`), or let somebody audit who has it",
        )
    audits = []
    with shown() as console:
        for name, folder in here.items():
            described = read_teacher(folder / "teacher.json")
            policy = modalities.get(train.modality).policy(params.views.recipe)
            train = with_folds(train, {name: described}, policy)
            teacher = load_teacher(folder, described, train).to(device())
            progress = Progress() if as_json else console
            audits.append(look(opened, name, train, teacher, views, seed, params.cache.batch_size, progress))
    ok = all(one.ok for one in audits)
    if as_json:
        click.echo(json.dumps({"ok": ok, "outputs": [one.to_json() for one in audits]}, indent=2))
    else:
        for one in audits:
            print_audit(one, modalities.get(train.modality))
    ctx.exit(0 if ok else 1)


@store.command(epilog=about("stillroom store convert artifacts/cache as_hdf5 --to hdf5"))
@cache_path
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--to", "backend", type=click.Choice(stores.names()), required=True)
@as_json
def convert(path: Path | str, target: Path, backend: str, as_json: bool) -> None:
    """Write a cache to a new folder in the other format.

    Its id and the digests of its blocks stay, and every block is checked on the way.
    """
    from stillroom.cache.read.backends import open_store
    from stillroom.cache.write.convert import convert as write
    from stillroom.progress import Progress

    tell_locks()
    with shown() as console:
        manifest = write(open_store(path), target, backend, Progress() if as_json else console)
    if as_json:
        click.echo(json.dumps({"id": manifest.id, "backend": backend, "path": str(target)}, indent=2))
    else:
        click.echo(f"{target}: cache {manifest.id[:16]} as {backend}, every block checked on the way")


def _where(block: dict[str, Any] | None) -> str:
    if block is None:
        return ""
    return f"view {block['views'][0]}, samples {block['samples'][0]}-{block['samples'][1] - 1}: "


def _range(block: Any) -> dict[str, list[int]]:
    return {"views": [block.view, block.view + 1], "samples": [block.start, block.stop]}

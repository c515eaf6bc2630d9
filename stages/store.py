"""`stillroom store`: look into a cache, check it, mend it, change its format."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import CACHE, DATA, STAGING
from stillroom_stages.console import shown, tell_locks
from stillroom_stages.inputs import data_root
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params

as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")


class Place(click.ParamType):
    """A folder, or an address such as `s3://bucket/cache`, whose two slashes a path would lose."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        from stillroom.cache.read.remote import is_address

        return value if is_address(value) else Path(value)


place = click.argument("path", type=Place(), default=CACHE)


@click.group()
def store() -> None:
    """Look into a cache, check every byte of it, mend it.

    PATH is artifacts/cache where it is left out; an address (s3://, ssh://, https://, dvc://) does too.
    """


@store.command(epilog=about("stillroom store info"))
@place
@as_json
def info(path: Path | str, as_json: bool) -> None:
    """Show what a cache was made from and what it holds.

    Also how large it is, and how its teachers do on the cached views: reads all of it.
    """
    from stillroom.cache.read.backends import open_store
    from stillroom.progress import Progress
    from stillroom.reporting.cache_summary import summarise

    opened = open_store(path)
    with shown() as console:
        facts = summarise(opened, Progress() if as_json else console)
    manifest = opened.manifest
    if as_json:
        more = {"identity": manifest.identity, "environment": manifest.environment}
        click.echo(json.dumps(facts | more, indent=2))
    else:
        _print_info(path, facts, manifest)


@store.command(epilog=about("stillroom store show applauding_013 --out applauding.png"))
@click.argument("key")
@place
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The PNG file; KEY.png if left out."
)
@click.option("--output", "output", default=None, help="Of which teacher, where the cache has several.")
@stage
@as_json
def show(
    params: "Params", key: str, path: Path | str, out: Path | None, output: str | None, as_json: bool
) -> None:
    """Draw a sample's views and the teacher's answers.

    KEY is the sample's name, as `applauding_013`. The PNG shows where each view was cut, the view as the
    teacher saw it, and its five likeliest classes. It needs the images, and no teacher.
    """
    import difflib

    import numpy as np

    from stillroom.cache.read.backends import open_store
    from stillroom.errors import ParamsError, StillroomError
    from stillroom.evaluation.metrics import softmax
    from stillroom.modalities.images.pixels import Pixels
    from stillroom.modalities.images.sheet import MOST, TOP, contact_sheet
    from stillroom.provenance.identity import check_against_cache, input_of
    from stillroom.samples import Samples
    from stillroom.views.planes import Stored, square

    opened = open_store(path)
    outputs = opened.manifest.identity["outputs"]
    output = output or ("logits" if "logits" in outputs else min(outputs))
    samples = Samples.load(DATA, data_root(params))
    train = samples.of("train")
    check_against_cache(opened.manifest, train, params, [output])
    number = {name: index for index, name in enumerate(opened.keys)}
    if key not in number:
        near = difflib.get_close_matches(key, opened.keys, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"for example {opened.keys[0]}"
        why = f"it holds the {len(number)} of the train split"
        split = next((f"; this one is of {row.split}" for row in samples.rows if row.key == key), "")
        raise ParamsError(f"the cache has no sample {key!r}", why + split, hint)
    row = number[key]
    count = min(MOST, opened.layout.views)
    shots, logits = [], []
    for view in range(count):
        shots.append(Stored(opened.parameters(view), train)[row])
        logits.append(opened.logits(view, output)[row])
    sample, shares = train.rows[row], softmax(np.stack(logits))
    size, pixels = outputs[output].get("input", input_of(opened.manifest))["size"], Pixels(train)
    sheet = contact_sheet(
        pixels[sample],
        [shot.view for shot in shots],
        [square(pixels, shot, size) for shot in shots],
        shares,
        train.classes,
        sample.label,
        key,
        f"{outputs[output].get('teacher', {}).get('arch', output)}, cache {opened.manifest.id[:16]}, "
        f"{count} of {opened.layout.views} views",
    )
    target = out or Path(f"{Path(key).name}.png")
    try:
        sheet.save(target, "PNG")
    except OSError as error:
        target.unlink(missing_ok=True)
        raise StillroomError(f"{target} cannot be written", error.strerror or str(error)) from None
    if as_json:
        found = [
            {
                "view": view,
                "box": list(shots[view].view.box),
                "flip": shots[view].view.flip,
                "mixed_with": partner[0].key if (partner := shots[view].partner) else None,
                "top": [[train.classes[c], float(shares[view][c])] for c in np.argsort(-shares[view])[:TOP]],
            }
            for view in range(count)
        ]
        about = {"key": key, "label": train.classes[sample.label], "file": str(target), "views": found}
        click.echo(json.dumps(about, indent=2))
    else:
        click.echo(f"{target}: {count} views of {key} ({train.classes[sample.label]})")


@store.command(epilog=about("stillroom store verify s3://bucket/cache --json"))
@place
@as_json
@click.pass_context
def verify(ctx: click.Context, path: Path | str, as_json: bool) -> None:
    """Check every byte against the manifest.

    Lists the damage by block; exit code 1 if there is any.
    """
    from stillroom.cache.read.checks import verify as check
    from stillroom.cache.read.damage import UNALLOWED
    from stillroom.cache.read.remote import is_address
    from stillroom.errors import ALLOW, fetch_again

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
            click.echo(f"{path} is whole")
    ctx.exit(1 if damage else 0)


@store.command(epilog=about("stillroom store repair"))
@place
@stage
@as_json
def repair(params: "Params", path: Path | str, as_json: bool) -> None:
    """Compute again what `verify` condemns.

    Nothing else is computed, and the files that are whole keep their bytes. A lost block needs the teacher
    that made it, whose identity is checked first.
    """
    from stillroom.cache.read.backends import open_store
    from stillroom.cache.read.checks import verify as check
    from stillroom.device import settle
    from stillroom.errors import CacheError
    from stillroom.progress import Progress
    from stillroom.samples import Samples
    from stillroom.teaching.repair import repair as mend

    settle()
    opened = open_store(path)
    if opened.remote:
        raise CacheError(
            f"{opened.place} is read only",
            "only a cache in a folder is mended",
            "run it where the cache lies",
        )
    train = Samples.load(DATA, data_root(params)).of("train")
    tell_locks()
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


@store.command(epilog=about("stillroom store audit --views 256"))
@place
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
    from stillroom.cache.read.backends import open_store
    from stillroom.device import device, settle
    from stillroom.errors import CacheError
    from stillroom.progress import Progress
    from stillroom.provenance.identity import check_against_cache, read_teacher
    from stillroom.provenance.teacher import load_teacher
    from stillroom.samples import Samples
    from stillroom.teaching.audit import audit as look

    settle()
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
            "fetch the teacher (`dvc pull teacher`), or let somebody audit who has it",
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


@store.command(epilog=about("stillroom store convert artifacts/cache as_hdf5 --to hdf5"))
@place
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--to", "backend", type=click.Choice(["zarr", "hdf5"]), required=True)
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


def _where(block: dict | None) -> str:
    if block is None:
        return ""
    return f"view {block['views'][0]}, samples {block['samples'][0]}-{block['samples'][1] - 1}: "


def _range(block: Any) -> dict[str, list[int]]:
    return {"views": [block.view, block.view + 1], "samples": [block.start, block.stop]}


def _print_info(path: Path | str, facts: dict[str, Any], manifest: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, title=f"cache {facts['id'][:16]} in {path}", title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    identity = manifest.identity
    table.add_row("id", facts["id"])
    table.add_row(
        "extents", f"{facts['views']} views x {facts['samples']} samples, in {facts['blocks']} blocks"
    )
    table.add_row(
        "size",
        f"{facts['bytes'] / 2**20:.2f} MiB in {facts['files']} files ({facts['backend']}): "
        f"{facts['bytes_per_view']} bytes a view",
    )
    samples, views = identity.get("samples", {}), identity.get("views", {})
    # enough of a digest to compare by eye; --json has them whole
    for name, value in samples.items():
        if name != "count":
            table.add_row(f"samples.{name}", f"{value}"[:16])
    table.add_row("views.recipe", ", ".join(f"{k} {v}" for k, v in views.get("recipe", {}).items()))
    table.add_row("views.seed", f"{views.get('seed')}")
    for name, entry in identity["outputs"].items():
        made, seen = entry.get("teacher", {}), entry.get("input", {})
        kept = f"{entry['encoding']}{entry.get('k', '')} x {entry['shape']}"
        table.add_row(name, f"{kept}, by {made.get('arch', 'unknown')} at {seen.get('size', '?')} pixels")
        table.add_row("  teacher", made.get("digest", "unknown")[:16])
        one = facts["outputs"].get(name)
        if one is None:
            continue
        if one["accuracy"] is not None:
            by_view = f"{min(one['accuracy_by_view']):.2f}-{max(one['accuracy_by_view']):.2f}% by view"
            table.add_row("  accuracy", f"{one['accuracy']:.2f}% over all views, {by_view}")
            table.add_row("  calibration error", f"{one['calibration_error']:.2f}%")
        table.add_row(
            "  entropy", f"{one['entropy']:.3f} nats, mean confidence {100 * one['confidence']:.1f}%"
        )
        if one["agreement"] is not None:
            table.add_row("  agreement between views", f"{one['agreement']:.2f}% of pairs")
        for temperature, kl in one["divergence"].items():
            table.add_row(
                f"  KL to float32, {temperature}", f"{kl['mean']:.2e} mean, {kl['max']:.2e} largest"
            )
    versions = (f"{name} {value}" for name, value in manifest.environment.items() if isinstance(value, str))
    table.add_row("written with", ", ".join(versions))
    Console().print(table, markup=False, highlight=False)


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

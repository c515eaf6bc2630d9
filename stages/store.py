"""`stillroom store`: look into a cache and check it."""

import json
from pathlib import Path

import click

from stages.console import CACHE, shown


@click.group()
def store() -> None:
    """Look into a cache (info) and check every byte of it (verify)."""


@store.command()
@click.argument("path", type=click.Path(path_type=Path), default=CACHE)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def info(path: Path, as_json: bool) -> None:
    """Show what the cache in PATH was made from and what it holds."""
    from pipeline.cache.backends import open_store

    manifest = open_store(path).manifest
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    layout = manifest.layout
    facts = {
        "id": manifest.id,
        "backend": manifest.backend,
        "views": layout.views,
        "samples": layout.samples,
        "blocks": len(manifest.blocks),
        "bytes": stored,
        "bytes_per_view": round(stored / (layout.views * layout.samples), 2),
        "identity": manifest.identity,
        "environment": manifest.environment,
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("field", "value", title=str(path))

    def add(prefix: str, values: dict) -> None:
        for name, value in values.items():
            if isinstance(value, dict) and value:
                add(f"{prefix}{name}.", value)
            else:
                table.add_row(f"{prefix}{name}", str(value))

    add("", facts)
    Console().print(table)


@store.command()
@click.argument("path", type=click.Path(path_type=Path), default=CACHE)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
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
            block = entry["block"]
            place = f"view {block['views'][0]}, samples from {block['samples'][0]}" if block else "the store"
            click.echo(f"damaged: {place}: {entry['file']}: {entry['reason']}")
        if not damage:
            click.echo(f"{path} is whole")
    ctx.exit(1 if damage else 0)

"""`stillroom bench`: each figure of speed and size beside its comparison, measured in the same run."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.console import shown
from stillroom_stages.options import about

if TYPE_CHECKING:
    from stillroom.benchmarks.figure import Figure

# The keys of `stillroom.benchmarks.run.PARTS`, which imports torch
PARTS = ("views", "training", "loop", "clips", "plane", "memory", "bytes", "encodings", "scale", "commands")
LONG = ("scale",)  # only where it is asked for


@click.command(epilog=about("stillroom bench --only views --only plane"))
@click.option(
    "--only", type=click.Choice(PARTS), multiple=True, help="These parts; all but scale if left out."
)
@click.option("--repeats", type=click.IntRange(1, 100), default=5, show_default=True, help="In turns.")
@click.option(
    "--batch-size", type=click.IntRange(1, 4096), default=None, help="Of steps; 16 on a CPU, 256 on a GPU."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def bench(only: tuple[str, ...], repeats: int, batch_size: int | None, as_json: bool) -> None:
    """Measure what the cache costs and saves, on this machine.

    It makes its own pictures, of the size of Stanford 40's, and clips, in a temporary folder. In a
    finished project it also times `dvc repro`, if that has nothing to do. Each figure and its comparison
    are run in turns; shown is the median of the repeats' ratios, and their range. Some minutes on
    two cores.
    """
    from stillroom import modalities
    from stillroom.benchmarks import run
    from stillroom.device import environment, settle
    from stillroom.machine import cores

    settle()
    parts = only or [part for part in PARTS if part not in LONG]
    figures: list[Figure] = []
    folder = Path(tempfile.mkdtemp(prefix="stillroom-bench-"))
    try:
        with shown() as console:
            for part in parts:
                if not as_json:
                    console.note(f"measuring: {part}")
                figures += run.PARTS[part](folder / part, repeats, batch_size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    machine = environment(modalities.get("images").environment()) | {"cores": cores().used}
    if as_json:
        click.echo(json.dumps({"machine": machine, "figures": [one.to_json() for one in figures]}, indent=2))
        return
    _show(figures, machine)


def _show(figures: "list[Figure]", machine: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("", "value", "against", title_justify="left")
    table.add_column("ratio", overflow="fold")
    table.add_column("goal", no_wrap=True)
    table.add_column("")
    table.title = f"{machine['device']} ({machine['machine']}), {machine['cores']} cores"
    for one in figures:
        spread = (
            f" ({one.spread[0]:.3g} to {one.spread[1]:.3g})" if one.spread and one.ratio is not None else ""
        )
        ratio = "" if one.ratio is None else f"{one.ratio:.4g}{spread}"
        met = ("met" if one.met else "MISSED") if one.goal else ""
        table.add_row(one.name, f"{one.value:.4g} {one.unit}", one.comparison, ratio, one.goal, met)
    console.print(table, markup=False, highlight=False)
    for one in figures:
        if one.note:
            console.print(f"{one.name}: {one.note}", markup=False, highlight=False)

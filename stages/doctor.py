"""`stillroom doctor`: what this machine has, and what of it will be a problem."""

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stillroom_stages.artifacts import ARTIFACTS
from stillroom_stages.checks import check_choices, check_inputs
from stillroom_stages.options import about

if TYPE_CHECKING:
    from stillroom.params import Params

WIDTH = 100
PARAMS = Path("params.yaml")


@click.command(epilog=about("stillroom doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Say what this machine has, and what of it will be a problem.

    The first thing to put into a bug report. Cores, memory, disk and locks are those that the stages get
    here, within a container's limits. Exit code 1 if something will stop the stages from working, else 0.
    """
    from stillroom.benchmarks.doctor import examine
    from stillroom.benchmarks.doctor.text import lines

    findings = examine(ARTIFACTS, _read_params, PARAMS)
    if as_json:
        click.echo(json.dumps(findings.to_json(), indent=2))
    else:
        for name, text in lines(findings):
            _print(f"{name:<11}", text)
        click.echo("" if findings.problems else "no problem was found")
        for one in findings.problems:
            _print("stops: " if one.stops else "mind:  ", f"{one.what}: {one.why}" if one.why else one.what)
            _print("       do: ", one.do)
    ctx.exit(0 if findings.ok else 1)


def _read_params() -> "Params":
    from stillroom.modalities.params import load_params

    params = load_params(PARAMS)
    check_choices(params, str(PARAMS))
    check_inputs(params)
    return params


def _print(head: str, text: str) -> None:
    flat = " ".join(text.split())
    lines = textwrap.fill(
        flat,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,  # a path is to be copied
        break_long_words=False,
    )
    click.echo(lines)

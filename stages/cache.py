"""`stillroom cache`: stage one, the teachers' outputs for every view, as a store with a manifest."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import CACHE, STAGING, TEACHER
from stillroom_stages.cache_export_views import export_views
from stillroom_stages.cache_import import import_
from stillroom_stages.console import shown, tell_locks
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, parameters, read_parameters

if TYPE_CHECKING:
    from stillroom.params import Params


@click.group(invoke_without_command=True, epilog=about("stillroom cache --set views.count=16", "cache"))
@click.option("--replace", is_flag=True, help="Give up a cache of something else in artifacts/cache.")
@click.option(
    "--engine",
    type=click.Choice(["process", "ray"]),
    default="process",
    show_default=True,
    help="Who computes: this process (each, under torchrun), or the nodes of a Ray cluster.",
)
@click.option(
    "--address",
    default="auto",
    show_default=True,
    help="The Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for one of this machine alone.",
)
@click.option(
    "--task-gpus",
    type=float,
    default=None,
    help="GPUs of a Ray task, 0 to 1. By default up to four share one, if the cluster has any at the start.",
)
@parameters
@click.pass_context
def cache(ctx: click.Context, /, params_file: Path, overrides: tuple[str, ...], **arguments: Any) -> None:
    """Run the teacher once over all views; write artifacts/cache/. A stopped run goes on.

    On several GPUs, or several machines: torchrun --no-python --nproc-per-node 4 stillroom cache
    or on a Ray cluster: stillroom cache --engine ray

    For a teacher in another framework, or behind an API, the two commands below.
    """
    if ctx.invoked_subcommand is None:
        _run(read_parameters(params_file, overrides), **arguments)
        return
    given = [one.opts[0] for one in cache.params if one.name and _given(one.name)]
    if given:
        raise click.UsageError(
            f"{given[0]} stands before {ctx.invoked_subcommand}: write options behind it", ctx
        )


cache.add_command(export_views)
cache.add_command(import_)


def _run(params: "Params", replace: bool, engine: str, address: str, task_gpus: float | None) -> None:
    """Stage one."""
    from contextlib import ExitStack

    from stillroom.errors import ParamsError

    given = [f"--{name.replace('_', '-')}" for name in ("address", "task_gpus") if _given(name)]
    if engine != "ray" and given:
        raise ParamsError(f"{given[0]} is of a Ray cluster", fix="add --engine ray, or leave it out")

    from stillroom.device import settle
    from stillroom.distributed import Ranks
    from stillroom.progress import Progress
    from stillroom.teaching.stage_one import ask, make, read_teachers

    cluster = None
    if engine == "ray":
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ParamsError(
                "--engine ray under torchrun", "both would divide the work", "start it without torchrun"
            )
        from stillroom.teaching.cluster import Cluster

        cluster = Cluster(address, task_gpus)
    settle()
    described = read_teachers(params)
    request = ask(params, described, samples_to_read(params), CACHE, TEACHER, replace)
    with Ranks() as ranks, ExitStack() as stack:
        console = stack.enter_context(shown()) if ranks.first else Progress()
        if ranks.first:
            tell_locks()
        for line in request.notes:
            console.note(line)
        if cluster is not None:
            stack.enter_context(cluster)
        message = make(request, CACHE, STAGING, ranks, console, cluster)
        if message:
            console.note(message)


def _given(name: str) -> bool:
    """Whether an option was typed."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE

"""`stillroom cache`: stage one, the teachers' outputs for every view, as a store with a manifest."""

from typing import TYPE_CHECKING

import click

from stillroom_stages.artifacts import CACHE, STAGING, TEACHER
from stillroom_stages.console import shown, tell_locks
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params


@click.command(epilog=about("stillroom cache --set views.count=16", "cache"))
@click.option("--replace", is_flag=True, help="Give up a cache of something else in artifacts/cache.")
@stage
def cache(params: "Params", replace: bool) -> None:
    """Run the teacher once over all views; write artifacts/cache/. A stopped run goes on.

    On several GPUs, or several machines: torchrun --no-python --nproc-per-node 4 stillroom cache
    """
    from contextlib import ExitStack

    from stillroom.device import settle
    from stillroom.distributed import Ranks
    from stillroom.progress import Progress
    from stillroom.teaching.stage_one import ask, make, read_teachers

    settle()
    described = read_teachers(params)
    request = ask(params, described, samples_to_read(params), CACHE, TEACHER, replace)
    with Ranks() as ranks, ExitStack() as stack:
        console = stack.enter_context(shown()) if ranks.first else Progress()
        if ranks.first:
            tell_locks()
        for line in request.notes:
            console.note(line)
        message = make(request, CACHE, STAGING, ranks, console)
        if message:
            console.note(message)

"""`stillroom student`: train one student from the cache, with or without the teacher's logits."""

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

from stillroom_stages.artifacts import STAGING, STUDENTS, followed, whole_folder
from stillroom_stages.checks import check_family
from stillroom_stages.console import shown
from stillroom_stages.inputs import cache_to_read, samples_to_read
from stillroom_stages.options import about, some_arms, some_families, stage

if TYPE_CHECKING:
    from stillroom.params import Params


@click.command(
    epilog=about("stillroom student --family swin --arm kd --seed 0", "student (dvc repro student@swin-kd-0)")
)
@click.option(
    "--family",
    required=True,
    shell_complete=some_families,
    help="vit, pvt, convit, mvit, swin, twins, any timm model's name, local-dir:FOLDER or hf-hub:USER/REPO.",
)
@click.option(
    "--arm",
    required=True,
    shell_complete=some_arms,
    help="ce (labels only), kd (labels and cached logits), or another loss.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--online",
    is_flag=True,
    help="As if there were no cache: a view of its own each epoch, and the teacher in the loop. Writes "
    "FAMILY-ARM-SEED-online/.",
)
@stage
def student(params: "Params", family: str, arm: str, seed: int, online: bool) -> None:
    """Train one student; write artifacts/students/FAMILY-ARM-SEED/. It needs no teacher and no network.

    A stopped run goes on where it was. On several GPUs: torchrun --no-python --nproc-per-node 4 stillroom
    student ...
    """
    from stillroom import losses, trackers

    losses.check(arm, "--arm")  # what is wrong or missing is reported before torch is loaded
    trackers.ready(params.track)
    params, family = check_family(params, family, "--family")
    samples = samples_to_read(params)
    store = cache_to_read(params)

    from stillroom.device import settle
    from stillroom.distributed import Ranks
    from stillroom.progress import Progress
    from stillroom.training.student import Job, train_student

    settle()
    job = Job(params, family, arm, seed, samples, store, online)
    with Ranks() as ranks, ExitStack() as stack:
        console = stack.enter_context(shown()) if ranks.first else Progress()
        folder = stack.enter_context(whole_folder(STUDENTS / job.name)) if ranks.first else None
        log = partial(followed, params.track, folder, job.name, console.note)
        _, checkpoint = train_student(job, folder, STAGING, console, log, ranks)
        if folder is None:
            return
    checkpoint.remove()

"""`stillroom teacher`: fine-tune a model, or adopt given weights as they are (epochs: 0)."""

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

from stillroom_stages.artifacts import STAGING, TEACHER, followed, whole_folder
from stillroom_stages.console import shown
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params


@click.command(epilog=about("stillroom teacher --set teacher.arch=convnext_tiny", "teacher"))
@stage
def teacher(params: "Params") -> None:
    """Train the teacher, or adopt it; write artifacts/teacher/. A stopped run goes on where it was.

    Several folds (teacher.folds) side by side: torchrun --no-python --nproc-per-node 4 stillroom teacher
    """
    from stillroom import modalities, trackers

    trackers.ready(params.track)  # before torch is loaded
    from stillroom.device import settle
    from stillroom.distributed import Ranks
    from stillroom.progress import Progress
    from stillroom.training.teacher import check_ahead, train_teacher

    settle()
    samples = samples_to_read(params)
    architecture = modalities.get(samples.modality).teacher_of(params, samples.classes)
    notes = check_ahead(params, samples, architecture)
    with Ranks() as ranks, ExitStack() as stack:
        console = stack.enter_context(shown()) if ranks.first else Progress()
        folder = stack.enter_context(whole_folder(TEACHER)) if ranks.first else None
        for line in notes:
            console.note(line)
        log = partial(followed, params.track, folder, "teacher", console.note)
        job = (params, samples, architecture, folder, STAGING)
        scores, kept = train_teacher(*job, console, log, ranks)
        if folder is None:
            return
        console.note(
            f"teacher {architecture.arch}: accuracy {scores['accuracy']:.2f}%, mAP {scores['mAP']:.2f}% on "
            "test"
        )
    for one in kept:
        one.remove()

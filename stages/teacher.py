"""`stillroom teacher`: fine-tune a model, or adopt given weights as they are (epochs: 0)."""

from functools import partial
from typing import TYPE_CHECKING

import click

from stillroom_stages.artifacts import STAGING, TEACHER, epoch_log, whole_folder
from stillroom_stages.console import shown
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params


@click.command(epilog=about("stillroom teacher --set teacher.arch=convnext_tiny", "teacher"))
@stage
def teacher(params: "Params") -> None:
    """Train the teacher, or adopt it; write artifacts/teacher/. A stopped run goes on where it was."""
    from stillroom import modalities
    from stillroom.device import settle
    from stillroom.training.teacher import check_ahead, train_teacher

    settle()
    samples = samples_to_read(params)
    architecture = modalities.get(samples.modality).teacher(params)
    notes = check_ahead(params, samples, architecture)
    with shown() as console, whole_folder(TEACHER) as folder:
        for line in notes:
            console.note(line)
        log = partial(epoch_log, folder, "teacher")
        scores, checkpoint = train_teacher(params, samples, architecture, folder, STAGING, console, log)
        console.note(
            f"teacher {architecture.arch}: accuracy {scores['accuracy']:.2f}%, mAP {scores['mAP']:.2f}% on "
            "test"
        )
    checkpoint.remove()

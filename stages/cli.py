"""The `stillroom` command: one subcommand a stage or tool, nothing heavy imported before one runs."""

import click

from stillroom_stages.bench import bench
from stillroom_stages.cache import cache
from stillroom_stages.doctor import doctor
from stillroom_stages.export import export
from stillroom_stages.output import Group
from stillroom_stages.plan import plan
from stillroom_stages.predict import predict
from stillroom_stages.prepare import prepare
from stillroom_stages.preset import preset
from stillroom_stages.report import report
from stillroom_stages.share import share
from stillroom_stages.store import store
from stillroom_stages.student import student
from stillroom_stages.teacher import teacher


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stillroom")
def main() -> None:
    """Distil a teacher into students from what it said, cached once: images, or skeletons.

    The stages, in order: prepare, teacher, cache, student, report. `dvc repro` runs them all.
    Exit codes: 0 done, 1 failed or damage was found, 2 wrong usage or parameters, 75 stopped by a signal
    (SIGTERM, Ctrl-C): what was done is kept, and the same command goes on.
    """


for command in (
    prepare,
    teacher,
    cache,
    student,
    report,
    store,
    plan,
    bench,
    predict,
    export,
    share,
    preset,
    doctor,
):
    main.add_command(command)

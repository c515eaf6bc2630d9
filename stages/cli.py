"""The `stillroom` command: one subcommand a stage or tool, nothing heavy imported before one runs."""

import click

from stages.bench import bench
from stages.cache import cache
from stages.console import Group
from stages.doctor import doctor
from stages.export import export
from stages.plan import plan
from stages.predict import predict
from stages.prepare import prepare
from stages.preset import preset
from stages.report import report
from stages.store import store
from stages.student import student
from stages.teacher import teacher


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stillroom")
def main() -> None:
    """Distil a CNN teacher into transformer students from cached logits.

    The stages, in order: prepare, teacher, cache, student, report. `dvc repro` runs them all.
    Exit codes: 0 done, 1 failed, stopped or damage was found, 2 wrong usage or parameters.
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
    preset,
    doctor,
):
    main.add_command(command)

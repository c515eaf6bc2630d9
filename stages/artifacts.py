"""Where stages write, and how: a stage's folder is replaced as a whole, when all of it is there."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stillroom_stages.console import tell_locks

if TYPE_CHECKING:
    from stillroom.trackers import Following, Run

ARTIFACTS = Path("artifacts")
DATA = ARTIFACTS / "data"
TEACHER = ARTIFACTS / "teacher"
CACHE = ARTIFACTS / "cache"
STUDENTS = ARTIFACTS / "students"
REPORT = ARTIFACTS / "report"
VIEWS = ARTIFACTS / "views"
# What stages write into each, as relative paths: all else is somebody's own, and stays
_SKETCHES = r"sketch40/(JPEGImages/\w+\.jpg|ImageSplits/\w+\.txt|XMLAnnotations/\w+\.xml)"
_CLIPS = r"clips/(\d{5,}\.npys|([0-9a-f]{2}/)?[^/]+\.npy)"  # the latter: a file a clip, in earlier versions
_SHARDS = r"images/([a-z]+-\d{6,}\.tar|dataset\.json)"  # of images that lay in no files of their own
_DATA_FILES = re.compile(rf"samples\.(parquet|json)|report\.json|{_SKETCHES}|{_CLIPS}|{_SHARDS}")
_MODEL_FILES = re.compile(
    r"(model|predictions|fold-\d+)\.safetensors|(teacher|student|metrics|config)\.json|plots/confusion\.csv|plots/metrics/\w+\.tsv"
)
_REPORT_FILES = re.compile(r"results\.(json|md)|index\.html|metrics\.json|plots/\w+\.csv")
# No DVC output: DVC deletes outputs before it runs a stage, and committed blocks must outlive that.
STAGING = ARTIFACTS / ".staging"
# Curves of training runs, a folder a tracker: nobody's output and nobody's input
RUNS = ARTIFACTS / "runs"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes `target`'s place when the block ends well (`stillroom.files.whole_folder`).

    Args:
        target: one of the folders named here, or a student's.

    Raises:
        StillroomError: the folder cannot be written to, or another process is at it; raised before the
            work begins.
    """
    from stillroom import files

    tell_locks()
    ours = {DATA: _DATA_FILES, REPORT: _REPORT_FILES}.get(target, _MODEL_FILES)
    with files.whole_folder(target, STAGING, ours) as folder:
        if target.is_symlink():
            linked = os.readlink(target)
            click.echo(f"{target} was a link to {linked}: it becomes a folder, and {linked} stays", err=True)
        yield folder


@contextmanager
def followed(
    chosen: list[str], folder: Path | None, name: str, note: Callable[[str], None], run: "Run"
) -> Iterator["Following"]:
    """What follows a training run: the trackers that `track` names; nothing without a folder.

    Args:
        folder: the new one of the model.
        name: of the run.
        note: shows a line to people.

    Raises:
        StillroomError: a tracker that the run cannot begin with.
    """
    from stillroom.trackers import Following, following

    if folder is None:
        yield Following()
        return
    with following(chosen, name, run, RUNS, STAGING / "live" / name, folder, note) as one:
        yield one

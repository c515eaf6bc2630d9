"""Where stages write, and how: a stage's folder is replaced as a whole, when all of it is there."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom.errors import StillroomError
from stillroom_stages.console import tell_locks

if TYPE_CHECKING:
    pass

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
def epoch_log(folder: Path | None, name: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that logs an epoch's record with DVCLive: `plots/metrics/<what>.tsv` in `folder` in the end;
    without a folder it logs nothing.

    Until then they grow in `artifacts/.staging/live/<name>`, where `dvc plots show` can see them: a stage's
    outputs must not be there before they are whole.

    Raises:
        StillroomError: the project is a git repository without a commit.
    """
    if folder is None:
        yield lambda record: None
        return
    from dvclive import Live
    from scmrepo.exceptions import SCMError

    growing = STAGING / "live" / name
    shutil.rmtree(growing, ignore_errors=True)  # of a run that was killed
    try:
        opened = Live(str(growing), save_dvc_exp=False, dvcyaml=None, report=None)
    except SCMError as error:
        raise StillroomError(
            "the training log cannot be opened",
            f"DVCLive asks git which commit this is ({error})",
            "make a first commit: git commit --allow-empty -m start",
        ) from None
    with opened as live:

        def log(record: dict[str, Any]) -> None:
            for name in ("loss", "val_accuracy"):
                if name in record:
                    live.log_metric(name, record[name])
            for name, value in record.get("terms", {}).items():
                live.log_metric(f"loss_{name}", value)
            live.next_step()

        yield log
    if (growing / "plots").exists():
        shutil.copytree(growing / "plots", folder / "plots", dirs_exist_ok=True)
    shutil.rmtree(growing, ignore_errors=True)

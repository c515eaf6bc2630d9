"""Where stages write, and how: a stage's folder is replaced as a whole, when all of it is there."""

import json
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
    import numpy as np

    from stillroom.samples import Samples

ARTIFACTS = Path("artifacts")
DATA = ARTIFACTS / "data"
TEACHER = ARTIFACTS / "teacher"
CACHE = ARTIFACTS / "cache"
STUDENTS = ARTIFACTS / "students"
REPORT = ARTIFACTS / "report"
# What stages write into each, as relative paths: all else is somebody's own, and stays
_SKETCHES = r"sketch40/(JPEGImages/\w+\.jpg|ImageSplits/\w+\.txt|XMLAnnotations/\w+\.xml)"
_DATA_FILES = re.compile(rf"(samples|report)\.json|{_SKETCHES}")
_MODEL_FILES = re.compile(
    r"(model|predictions)\.safetensors|(teacher|student|metrics)\.json|plots/confusion\.csv|plots/metrics/\w+\.tsv"
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
        StillroomError: the place cannot be written to, or another process is at it; said before the work
            begins.
    """
    from stillroom import files

    tell_locks()
    ours = {DATA: _DATA_FILES, REPORT: _REPORT_FILES}.get(target, _MODEL_FILES)
    with files.whole_folder(target, STAGING, ours) as folder:
        if target.is_symlink():
            place = os.readlink(target)
            click.echo(f"{target} was a link to {place}: it becomes a folder, and {place} stays", err=True)
        yield folder


@contextmanager
def epoch_log(folder: Path, name: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that logs an epoch's record with DVCLive: `plots/metrics/<what>.tsv` in `folder` in the end.

    Until then they grow in `artifacts/.staging/live/<name>`, where `dvc plots show` can see them: a stage's
    outputs must not be there before they are whole.

    Raises:
        StillroomError: the project is a git repository without a commit.
    """
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
            live.next_step()

        yield log
    if (growing / "plots").exists():
        shutil.copytree(growing / "plots", folder / "plots", dirs_exist_ok=True)
    shutil.rmtree(growing, ignore_errors=True)


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write JSON that reads well and differs only where the content does."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_predictions(folder: Path, logits: "np.ndarray", test: "Samples") -> None:
    """Keep what a model said of the test split: `predictions.safetensors`, and `plots/confusion.csv` for
    plots.

    Args:
        logits: float32 [N, C], rows as in `test`.
    """
    import csv

    from safetensors.numpy import save

    # `save_file` gives nobody else the right to read it, whatever the umask
    (folder / "predictions.safetensors").write_bytes(save({"logits": logits}))
    plots = folder / "plots"
    plots.mkdir(exist_ok=True)
    with (plots / "confusion.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("actual", "predicted"))
        for row, answer in zip(test.rows, logits.argmax(axis=1), strict=True):
            writer.writerow((test.classes[row.label], test.classes[answer]))


def tested(test: "Samples") -> dict[str, str]:
    """What `student.json` and `teacher.json` say of the test split that they were measured on."""
    return {name: digest for name, digest in test.digests().items() if name in ("keys", "labels", "images")}

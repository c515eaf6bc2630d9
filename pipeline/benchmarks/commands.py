"""How long the command line takes to answer."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from stillroom.benchmarks.figure import Figure, alternate, rounded


def commands(repeats: int) -> list[Figure]:
    """`stillroom --help` against an empty Python, and `dvc repro` with nothing to do against `dvc status`."""
    empty = [sys.executable, "-c", "pass"]
    help_ = [
        sys.executable,
        "-c",
        "import sys; sys.argv[1:] = ['--help']; from stillroom_stages.cli import main; main()",
    ]
    figures = [_timed("stillroom --help", help_, "an empty Python", empty, "<= 0.5", repeats)]
    dvc = str(Path(sys.executable).with_name("dvc"))
    if Path("dvc.lock").exists() and _is_clean(dvc):
        name = "dvc repro with nothing to do"
        figures.append(_timed(name, [dvc, "repro"], "dvc status", [dvc, "status"], "<= 3", repeats))
    return figures


def _timed(name: str, command: list[str], other: str, against: list[str], goal: str, repeats: int) -> Figure:
    mine, theirs = alternate(repeats, _runner(command), _runner(against))
    value, compared = rounded(statistics.median(mine)), rounded(statistics.median(theirs))
    spread = rounded(min(mine)), rounded(max(mine))
    return Figure(name, value, "s", f"{other}: {compared} s", None, goal, spread)


def _runner(command: list[str]) -> Callable[[int], None]:
    def run(repeat: int) -> None:
        subprocess.run(command, check=True, capture_output=True)

    return run


def _is_clean(dvc: str) -> bool:
    """Whether there is nothing to do, but for `source`, which looks each time."""
    done = subprocess.run([dvc, "status", "--json"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and set(json.loads(done.stdout)) <= {"source"}

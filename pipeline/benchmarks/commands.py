"""How long the command line takes to answer."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.benchmarks.figure import Figure, alternate, rounded


def commands(repeats: int) -> list[Figure]:
    """`stillroom --help` against an empty Python; and, in a project with nothing to do, `dvc repro` against
    `dvc status`."""
    empty = [sys.executable, "-c", "pass"]
    help_ = [
        sys.executable,
        "-c",
        "import sys; sys.argv[1:] = ['--help']; from stages.cli import main; main()",
    ]
    mine, theirs = alternate(repeats, _runner(help_), _runner(empty))
    found = [
        Figure(
            "stillroom --help",
            rounded(sorted(mine)[len(mine) // 2]),
            "s",
            f"an empty Python: {rounded(sorted(theirs)[len(theirs) // 2])} s",
            None,
            "<= 0.5",
            (rounded(min(mine)), rounded(max(mine))),
        )
    ]
    dvc = str(Path(sys.executable).with_name("dvc"))
    if Path("dvc.lock").exists() and "up to date" in _said([dvc, "status"]):
        repro, status = alternate(repeats, _runner([dvc, "repro"]), _runner([dvc, "status"]))
        found.append(
            Figure(
                "dvc repro with nothing to do",
                rounded(sorted(repro)[len(repro) // 2]),
                "s",
                f"dvc status: {rounded(sorted(status)[len(status) // 2])} s",
                None,
                "<= 3",
                (rounded(min(repro)), rounded(max(repro))),
            )
        )
    return found


def _runner(command: list[str]) -> Callable[[int], None]:
    def run(repeat: int) -> None:
        subprocess.run(command, check=True, capture_output=True)

    return run


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout

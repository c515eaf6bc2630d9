"""`dvc repro`, killed in each stage with all that it started, goes on where it was."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests import warm
from tests.conftest import TINY, clean, environment, ran, run_in, until
from tests.processes import kill_all

STAGING = "artifacts/.staging"


@pytest.fixture
def unfinished(project: Path) -> Path:
    """A project whose every stage is to run anew, and takes a while."""
    text = TINY.replace("{epochs: 1, batch_size: 40,", "{epochs: 12, batch_size: 20,")
    text = text.replace("block_samples: 32", "block_samples: 4").replace("count: 3", "count: 8")
    text = text.replace("families: [vit, pvt]", "families: [pvt]").replace("arms: [ce, kd]", "arms: [kd]")
    text = text.replace("epochs: 4, batch_size: 40", "epochs: 30, batch_size: 20")
    (project / "params.yaml").write_text(text.replace("train_per_class: 2", "train_per_class: 3"))
    shutil.rmtree(project / STAGING)
    return project


class Repro:
    """A running `dvc repro`, in a process group of its own."""

    def __init__(self, project: Path) -> None:
        variables = environment() | {"STILLROOM_CHECKPOINT_SECONDS": "0"}
        self.process = warm.start(("dvc", "repro"), project, variables)

    def wait_for(self, condition: Callable[[], object]) -> None:
        until(condition, self.process)

    @property
    def said(self) -> str:
        return self.process.stdout + self.process.stderr

    def kill(self) -> None:
        kill_all(self.process)


def test_repro_goes_on_in_every_stage(unfinished: Path) -> None:
    staging = unfinished / STAGING
    changed: list[int] = []

    def newer(name: str) -> bool:
        """A checkpoint was written a second time."""
        for file in staging.glob(f"{name}.*.checkpoint"):
            if file.stat().st_mtime_ns not in changed:
                changed.append(file.stat().st_mtime_ns)
        return len(changed) > 2

    def blocks() -> int:
        return len(list(staging.glob("*/*.block")))

    moments: dict[str, Callable[[Repro], bool]] = {
        "prepare": lambda repro: any(staging.glob("data.*/new/*")),
        "teacher": lambda repro: newer("teacher"),
        "cache": lambda repro: blocks() > 3,
        "student@pvt-kd-0": lambda repro: newer("pvt-kd-0"),
        "report": lambda repro: "Running stage 'report'" in repro.said,
    }
    resumed = {
        "teacher": r"resumed: \d+ of 12 epochs",
        "cache": r"resumed: [1-9]\d* of 240 blocks",
        "student@pvt-kd-0": r"resumed: \d+ of 30 epochs",
    }
    for stage, moment in moments.items():
        changed.clear()
        repro = Repro(unfinished)
        repro.wait_for(lambda repro=repro, moment=moment: moment(repro))  # type: ignore[misc]
        repro.kill()
        said = repro.said
        assert ran(said)[-1] == stage, said
        for earlier, told in resumed.items():  # by the run after the one that was killed there
            if list(moments).index(stage) == list(moments).index(earlier) + 1:
                assert re.search(told, said), said
    said = run_in(unfinished, "dvc", "repro").stdout
    assert ran(said) == ["report"]
    assert clean(unfinished)
    assert not list(staging.glob("*.checkpoint"))
    assert not list(staging.glob(f"*.{8 * '?'}"))  # temporary folders of what was killed
    run_in(unfinished, "stillroom", "store", "verify")


def test_a_stage_that_outlives_its_dvc_is_named(unfinished: Path) -> None:
    params = unfinished / "params.yaml"
    params.write_text(
        params.read_text().replace("{epochs: 12,", "{epochs: 3000,")
    )  # it shall not end by itself
    repro = Repro(unfinished)
    repro.wait_for(lambda: any((unfinished / STAGING).glob("teacher.*.checkpoint")))
    [stage] = [
        pid
        for process in psutil.Process(repro.process.pid).children(recursive=True)
        if (pid := warm.fork_of(process.pid))
    ]
    repro.process.kill()
    repro.process.wait()
    said = run_in(unfinished, "dvc", "repro", code=None)
    assert said.returncode != 0
    told = f"another process is writing artifacts/teacher (process id {stage})"
    assert told in said.stdout + said.stderr
    os.killpg(stage, signal.SIGKILL)

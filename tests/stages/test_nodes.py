"""Work divided among machines (here: torchrun agents on one), and what is left when one of them dies."""

import fcntl
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from stillroom.cache.read.backends import open_store
from tests import warm
from tests.conftest import ROOT, environment, ran, run_in, until
from tests.processes import kill_all
from tests.team.servers import free_port
from tests.warm import LONGEST


class Nodes:
    """Two machines: an agent of torchrun each, with one process."""

    def __init__(self, project: Path, *command: str, **settings: str) -> None:
        port = free_port()
        self.agents = [
            warm.start(
                (
                    *("torchrun", "--no-python", "--nnodes", "2", "--nproc-per-node", "1"),
                    *("--node-rank", str(rank), "--master-addr", "127.0.0.1", "--master-port", str(port)),
                    *("stillroom", *command),
                ),
                project,
                {**environment(), "OMP_NUM_THREADS": "1", **settings},
            )
            for rank in range(2)
        ]

    def said(self, rank: int) -> str:
        return self.agents[rank].stdout + self.agents[rank].stderr

    def lose(self, rank: int) -> None:
        """The machine is gone at once, with all that ran on it."""
        kill_all(self.agents[rank])

    def ended(self, rank: int, seconds: float = LONGEST) -> int:
        return self.agents[rank].wait(seconds)

    def close(self) -> None:
        for rank, agent in enumerate(self.agents):
            if agent.poll() is None:
                self.lose(rank)
                agent.wait()


def test_two_machines_make_the_cache_that_one_makes(project: Path) -> None:
    before = open_store(project / "artifacts/cache").manifest
    for name in ("cache", ".staging"):
        shutil.rmtree(project / "artifacts" / name)
    nodes = Nodes(project, "cache")
    try:
        assert [nodes.ended(rank) for rank in range(2)] == [0, 0], nodes.said(0) + nodes.said(1)
    finally:
        nodes.close()
    after = open_store(project / "artifacts/cache").manifest
    assert (after.id, after.blocks) == (before.id, before.blocks)


@pytest.mark.parametrize("lost", [0, 1])
def test_when_a_machine_dies_the_other_ends_and_one_alone_goes_on(project: Path, lost: int) -> None:
    command = ["student", "--family", "pvt", "--arm", "kd"]
    command += ["--set", "student.train.epochs=8", "--set", "student.train.drop_path=0.0"]
    nodes = Nodes(project, *command, STILLROOM_CHECKPOINT_SECONDS="0")
    staging = project / "artifacts/.staging"
    try:
        until(lambda: any(staging.glob("pvt-kd-0.*.checkpoint")))
        [checkpoint] = staging.glob("pvt-kd-0.*.checkpoint")
        first = checkpoint.stat().st_mtime_ns
        until(lambda: checkpoint.stat().st_mtime_ns > first)
        nodes.lose(lost)
        assert nodes.ended(1 - lost) != 0
        said = nodes.said(1 - lost)
        assert "error: another process of this run is gone" in said and "run the same command again" in said
    finally:
        nodes.close()
    said = run_in(project, "stillroom", *command).stdout
    assert re.search(r"resumed: \d+ of 8 epochs", said)


def test_students_of_a_job_array_run_side_by_side(project: Path) -> None:
    """The script of docs/scale.md, three of its jobs at once in a clone that others keep busy."""
    page = (ROOT / "docs/scale.md").read_text()
    script = next(block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "--array" in block)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("epochs: 4", "epochs: 3"))
    with (project / ".dvc/tmp/lock").open("a") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        jobs = [
            subprocess.Popen(
                ["bash", "-c", script],
                cwd=project,
                env={**environment(), "SLURM_ARRAY_TASK_ID": str(number), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number in (0, 1, 3)  # vit ce, vit kd, pvt kd
        ]
        time.sleep(5)  # longer than DVC's own patience of three seconds after its start
    for job in jobs:
        said, _ = job.communicate(timeout=LONGEST)
        assert job.returncode == 0, said
    left = run_in(project, "dvc", "repro", "--dry").stdout
    assert set(ran(left)) == {"student@pvt-ce-0", "report"}

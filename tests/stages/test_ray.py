"""Stage one on a Ray cluster: real nodes on this machine, some of which are killed."""

import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stillroom.cache.format.manifest import Manifest
from stillroom.cache.read.backends import open_store
from stillroom.modalities import load_samples
from stillroom.stopping import EXIT_CODE
from tests import warm
from tests.conftest import environment, run_in, until
from tests.faults.damage import Tmpfs
from tests.ray_nodes import OPEN, RayNodes, processes
from tests.team.servers import free_port

pytest.importorskip("ray")

MANY = ["--set", "cache.block_samples=4", "--set", "views.count=8"]  # 160 blocks


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    made = RayNodes()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def nodes(cluster: RayNodes) -> Iterator[RayNodes]:
    """A cluster without nodes; a test lets join what it wants."""
    yield cluster
    while cluster.nodes:
        cluster.lose()


@pytest.fixture
def bare(project: Path) -> Path:
    """A project without a cache."""
    for name in ("cache", ".staging"):
        shutil.rmtree(project / "artifacts" / name)
    return project


def start(project: Path, *words: str, before: str = "", **settings: str) -> warm.Process:
    command = ("stillroom", "cache", "--engine", "ray", *words)
    return warm.start(
        command, project, {**environment(), **OPEN, "OMP_NUM_THREADS": "1", **settings}, before=before
    )


def blocks(project: Path) -> list[Path]:
    return [*project.glob("artifacts/.staging/*/*.block")]


def manifest(project: Path) -> Manifest:
    return open_store(project / "artifacts/cache").manifest


def message(process: warm.Process, code: int = 1) -> str:
    """What a command that failed said: one message."""
    _, said = process.communicate()
    assert process.returncode == code, process.stdout + said
    assert said.count("error: ") == 1 and said.startswith("error: ") and "Traceback" not in said, said
    return said


def lost(said: str) -> int:
    """How many tasks were done twice."""
    found = re.search(r"(\d+) lost with their nodes", said)
    return int(found[1]) if found else 0


@pytest.mark.parametrize("client", [False, True])
def test_nodes_make_the_cache_that_one_process_makes(project: Path, nodes: RayNodes, client: bool) -> None:
    before = manifest(project)
    for name in ("cache", ".staging"):
        shutil.rmtree(project / "artifacts" / name)
    nodes.join(2)
    process = start(project, "--address", nodes.client if client else nodes.address)
    assert process.wait() == 0, process.stdout + process.stderr
    assert (manifest(project).id, manifest(project).blocks) == (before.id, before.blocks)
    assert manifest(project).measured == before.measured
    assert process.stderr == "" and "raylet" not in process.stdout


def test_a_node_that_dies_costs_its_running_task_and_one_may_join(bare: Path, nodes: RayNodes) -> None:
    run_in(bare, "stillroom", "cache", *MANY)
    before = manifest(bare)
    for name in ("cache", ".staging"):
        shutil.rmtree(bare / "artifacts" / name)
    nodes.join(2)
    process = start(bare, "--address", nodes.address, *MANY)
    until(lambda: len(blocks(bare)) > 10, process)
    nodes.lose()
    nodes.join()
    until(lambda: len(blocks(bare)) > 30, process)
    nodes.lose()
    assert process.wait() == 0, process.stdout + process.stderr
    assert (manifest(bare).id, manifest(bare).blocks) == (before.id, before.blocks)
    assert lost(process.stdout) <= 2  # a task at a time ran on each
    assert process.stderr == "" and "raylet" not in process.stdout
    run_in(bare, "stillroom", "store", "verify")


def test_a_run_without_nodes_waits_for_one(bare: Path, nodes: RayNodes) -> None:
    process = start(bare, "--address", nodes.address)
    until(lambda: "waiting for one to join" in process.stdout, process)
    nodes.join()
    assert process.wait() == 0, process.stdout + process.stderr


def test_a_node_that_lacks_a_file_is_named(bare: Path, nodes: RayNodes, tmp_path: Path) -> None:
    samples = load_samples(bare / "artifacts/data")
    there = tmp_path / "there"
    shutil.copytree(samples.root, there)
    victim = samples.in_splits("train").rows[5]
    (there / victim.path).unlink()
    nodes.join(STILLROOM_DATA=str(there))
    said = message(start(bare, "--address", nodes.address))
    assert f"on the node {socket.gethostname()} (" in said
    assert str(there / victim.path) in said and "STILLROOM_DATA" in said


def test_two_drivers_do_not_mix(bare: Path, nodes: RayNodes) -> None:
    first = start(bare, "--address", nodes.address)  # no node: it waits
    until(lambda: "waiting for one to join" in first.stdout, first)
    assert f"process id {first.pid}" in message(start(bare, "--address", nodes.address))
    first.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_driver_keeps_its_blocks_and_ends_its_cluster(bare: Path, number: signal.Signals) -> None:
    process = start(bare, "--address", "local", "--set", "views.count=4000")
    until(lambda: len(blocks(bare)) > 3, process)
    started = processes(process.pid)[1:]
    assert any("raylet" in one.name() for one in started)
    process.send_signal(number)
    assert process.wait() == EXIT_CODE, process.stderr
    assert process.stderr.startswith("stopped; finished work is kept")
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive and len(blocks(bare)) > 3


def test_a_full_disk_ends_the_run_and_keeps_the_blocks(bare: Path, nodes: RayNodes) -> None:
    nodes.join()
    try:
        small = Tmpfs(bare / "artifacts/.staging", "200k")
    except PermissionError as error:
        pytest.skip(f"no small file system can be made: {error}")
    with small:
        said = message(start(bare, "--address", nodes.address, *MANY))
        assert "No space left" in said and "committed blocks are kept" in said
        assert len(blocks(bare)) > 10


@pytest.mark.parametrize("kind", ["closed", "silent", "auto", "client"])
def test_an_address_that_does_not_answer(bare: Path, kind: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        port = silent.getsockname()[1] if kind == "silent" else free_port()
        address = f"{'ray://' if kind == 'client' else ''}127.0.0.1:{port}"
        if kind == "auto":
            said = message(start(bare, RAY_ADDRESS=address))
        else:
            said = message(start(bare, "--address", address))
    assert f"no Ray cluster answers at {address}" in said and "--address local" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--address", "nowhere"], "--address nowhere is no address"),
        (["--task-gpus", "2"], "--task-gpus 2 is no part of a GPU"),
    ],
)
def test_wrong_usage(bare: Path, words: list[str], told: str) -> None:
    assert told in message(start(bare, *words), code=2)


def test_options_of_a_cluster_want_the_engine(bare: Path) -> None:
    assert "add --engine ray" in run_in(bare, "stillroom", "cache", "--address", "local", code=2).stderr


def test_without_ray_the_message_names_the_extra(bare: Path) -> None:
    said = message(start(bare, before="import sys; sys.modules['ray'] = None"))
    assert "Ray is not installed" in said and "pip install 'stillroom[ray]'" in said


def test_ray_is_imported_for_the_engine_alone(bare: Path) -> None:
    stop = "import sys; sys.modules['ray'] = None"  # an import of it would fail
    process = warm.start(("stillroom", "cache"), bare, environment(), before=stop)
    assert process.wait() == 0, process.stderr


def test_not_under_torchrun_too(bare: Path) -> None:
    changed = {**environment(), "WORLD_SIZE": "2", "RANK": "0"}
    done = warm.run(("stillroom", "cache", "--engine", "ray"), bare, changed)
    assert done.returncode == 2 and "--engine ray under torchrun" in done.stderr
    assert os.environ.get("WORLD_SIZE") is None

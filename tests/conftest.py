"""A finished tiny project, made once by `dvc repro`, and ways to run commands in a copy of it."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import warm

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

# Tests run side by side, one a core: threads of their own would only wait for each other
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# On a busy machine a first example may take a second to draw
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# Small enough to run in seconds, and every stage does its real work.
TINY = """
data: {name: sketch40, train_per_class: 2, test_per_class: 1, image_size: 64, val_fraction: 0.0}
views: {count: 3, size: 32, recipe: {name: crop, scale: [0.5, 1.0]}}
teacher:
  arch: convnext_atto
  overrides: {patch_size: 4, depths: [1, 1, 1, 1], dims: [8, 16, 24, 32]}
  train: {epochs: 1, batch_size: 40, warmup_epochs: 0}
cache:
  path: artifacts/cache
  store: zarr
  encoding: float16
  k: 16
  block_samples: 32
  batch_size: 32
  amp: none
  teachers: {logits: artifacts/teacher}
student:
  families: [vit, pvt]
  arms: [ce, kd]
  seeds: [0]
  model: {size: micro}
  train: {epochs: 4, batch_size: 40, warmup_epochs: 1, drop_path: 0.1}
  family_train: {}
  losses: {ce: {}, kd: {alpha: 0.9, temperature: 2.0}}
  corruption: {}
report: {title: tiny}
"""

# The same of skeletons
TINY_SKELETONS = """
data: {name: sketch_skeletons, train_per_class: 4, test_per_class: 2}
views: {count: 3, size: 16, recipe: {name: move, crop: [0.7, 1.0]}}
teacher:
  arch: stgcn
  size: tiny
  train: {epochs: 3, batch_size: 28, warmup_epochs: 0}
cache:
  path: artifacts/cache
  store: zarr
  encoding: float16
  k: 16
  block_samples: 32
  batch_size: 32
  amp: none
  teachers: {logits: artifacts/teacher, features: {take: pooled}}
student:
  families: [stgcn]
  arms: [ce, kd, gm, skd]
  seeds: [0]
  model: {size: micro}
  train: {epochs: 4, batch_size: 28, warmup_epochs: 1}
  family_train: {}
  losses: {ce: {}, kd: {}, gm: {}, skd: {}}
  corruption: {name: joint_loss, joints: 5, draws: 2}
report: {title: tiny skeletons, levels: {joints: [0, 5]}}
"""

Run = Callable[..., subprocess.CompletedProcess]


# Tests that start commands are in these folders, use one of these fixtures, or are marked: they are slow
SLOW_FOLDERS, SLOW_FIXTURES = ("team", "faults", "stages"), {"finished", "skeletons", "empty"}


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        warm.hold()  # one server for all workers


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    def folder(item: pytest.Item) -> str:
        return item.path.relative_to(ROOT / "tests").parts[0]

    for item in items:
        if folder(item) in SLOW_FOLDERS or SLOW_FIXTURES & {*item.fixturenames}:
            item.add_marker(pytest.mark.slow)
    # The longest files first, so that no worker is left alone with one (`--no-loadscope-reorder`); one of the
    # first two does not wait for the project that the other makes
    order = {name: place for place, name in enumerate(SLOW_FOLDERS)}
    items.sort(
        key=lambda item: order.get(folder(item), len(order)) if item.path.name != "test_page.py" else -1
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    warm.allowed = item.get_closest_marker("slow") is not None


_shared: set[Path] = set()  # folders that other workers may be copying


def environment() -> dict[str, str]:
    """No network is asked, and a stage finds the tools of this Python first, as forks."""
    changed = {
        "PATH": os.pathsep.join([warm.path(), str(BIN), os.environ["PATH"]]),
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),  # 0: there is a stand-in (tests/team/hub.py)
        "PYTHONWARNINGS": "ignore",
    }
    return {**os.environ, **changed}


def run_in(folder: Path, *command: str, code: int | None = 0) -> subprocess.CompletedProcess:
    """Run a command in a folder; the exit code must be `code` (None: any), and no traceback may be shown."""
    # DVC writes to its own folder even where it only looks: a copy made just then would have half a file
    assert command[0] != "dvc" or folder not in _shared, "`dvc` in `finished`: take `project`, a copy of it"
    # The queue's process goes on when the command has ended, and a fork's would not
    if command[0] in warm.COMMANDS and command[:2] != ("dvc", "queue"):
        done = warm.run(command, folder, environment())
    else:
        done = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=warm.LONGEST,
        )
    said = f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert code is None or done.returncode == code, said
    assert "Traceback" not in done.stdout + done.stderr, said
    return done


def ran(said: str) -> list[str]:
    """The stages that DVC says it runs, but for `source`, which looks each time."""
    return [name for name in re.findall(r"Running stage '([^']+)'", said) if name != "source"]


def clean(project: Path) -> bool:
    """Whether DVC finds nothing to do, but to look."""
    return json.loads(run_in(project, "dvc", "status", "--json").stdout) == {"source": ["always changed"]}


def copy_library(folder: Path) -> dict[str, str]:
    """Copy the library into `folder`, to be changed; the environment in which Python imports that copy."""
    for name, package in (("pipeline", "stillroom"), ("stages", "stillroom_stages")):
        shutil.copytree(ROOT / name, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return {**os.environ, "PYTHONPATH": str(folder)}


def until(condition: Callable[[], object], process: subprocess.Popen | warm.Process | None = None) -> None:
    """Wait for something to come to pass, however slow the machine is, while a process lives."""
    end = time.monotonic() + warm.LONGEST
    while not _holds(condition):
        assert process is None or process.poll() is None, "the process ended before"
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except FileNotFoundError:  # a folder went away while it was looked through
        return False


# Of a project, what nobody writes to in place: git and DVC name these files by their digests
OBJECTS = (".git/objects", ".dvc/cache/files")


def copy_project(source: Path, target: Path) -> Path:
    """A copy that may be changed; a thousand small files, which `shutil` takes four times as long for.

    Half of them are links to the same `OBJECTS`: hundreds of copies would fill a disk.
    """
    _copy(source, target, [source / part for part in OBJECTS])
    return target


def _copy(source: Path, target: Path, linked: list[Path]) -> None:
    """`cp -a`, but links for what is in these folders."""
    target.mkdir()
    whole, parts = [], []
    for entry in source.iterdir():
        (parts if any(folder.is_relative_to(entry) for folder in linked) else whole).append(entry)
    if whole:
        subprocess.run(["cp", "-a", *whole, target], check=True)
    for entry in parts:
        if entry in linked:
            subprocess.run(["cp", "-al", entry, target], check=True)
        else:
            _copy(entry, target / entry.name, linked)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A project after `dvc repro`. Not to be changed: use `project` for a copy."""
    return _once(tmp_path_factory.getbasetemp(), worker_id, "finished", TINY)


@pytest.fixture(scope="session")
def skeletons(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The same of skeletons. Not to be changed: `copy_project` copies it."""
    return _once(tmp_path_factory.getbasetemp(), worker_id, "skeletons", TINY_SKELETONS)


def _once(base: Path, worker_id: str, name: str, params: str) -> Path:
    """A finished project, one for all workers."""
    parent = (base if worker_id == "master" else base.parent) / name
    parent.mkdir(exist_ok=True)
    with (parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (parent / "project/repro.log").exists():
            _finish(parent / "project", params)
    _shared.add(parent / "project")
    return parent / "project"


def _finish(folder: Path, params: str) -> None:
    folder.mkdir()
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "pipeline", "stages"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    shutil.copy(ROOT / ".dvc" / ".gitignore", folder / ".dvc" / ".gitignore")
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    (folder / "params.yaml").write_text(params)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    done = run_in(folder, "dvc", "repro")
    (folder / "repro.log").write_text(done.stdout + done.stderr)


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project that a test may change."""
    return copy_project(finished, tmp_path / "project")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with parameters and nothing else."""
    (tmp_path / "params.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture
def limited() -> Iterator[list[Path]]:
    """Real control groups of half a gibibyte and one core, each inside another without a limit."""
    if not Path("/sys/fs/cgroup").is_dir():
        pytest.skip("no control groups here")
    hierarchies = {"memory": "memory.limit_in_bytes", "cpu": "cpu.cfs_quota_us"}
    if (Path("/sys/fs/cgroup") / "cgroup.controllers").exists():
        hierarchies = {"": ""}
    made: list[Path] = []
    inner = []
    try:
        for name, file in hierarchies.items():
            outer = Path("/sys/fs/cgroup") / name / f"stillroom-test-{os.getpid()}"
            for folder in (outer, outer / "inner"):
                folder.mkdir()
                made.append(folder)
            limits = {file: 2**29 if name == "memory" else 100_000}
            if not file:
                (outer / "cgroup.subtree_control").write_text("+memory +cpu")
                limits = {"memory.max": 2**29, "cpu.max": "100000 100000"}
            for one, value in limits.items():
                (outer / one).write_text(str(value))
            inner.append(outer / "inner")
        yield inner
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    finally:
        for folder in reversed(made):
            folder.rmdir()

"""What the machine allows: limits of nested control groups, quotas, bound cores; and what is made of them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import ParamsError
from stillroom.machine import cores, memory, room, worker_count

V2 = "31 23 0:28 {top} {place} rw,relatime shared:7 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {top} {place} rw - cgroup cgroup rw,{names}\n"


def tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A file tree as a process sees it, with what its control groups say."""
    about = root / "proc/self"
    about.mkdir(parents=True)
    (about / "cgroup").write_text(groups)
    (about / "mountinfo").write_text("22 1 254:1 / / rw - ext4 /dev/vda rw\n" + mounts)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize("level", ["", "/user.slice", "/user.slice/job", "/user.slice/job/step"])
def test_a_limit_counts_at_every_level(tmp_path: Path, level: str) -> None:
    place = "sys/fs/cgroup"
    files = {f"{place}{each}/memory.max": "max" for each in ("/user.slice", "/user.slice/job")}
    files |= {f"{place}{each}/cpu.max": "max 100000" for each in ("/user.slice", "/user.slice/job")}
    files |= {f"{place}{level}/memory.max": str(2**26), f"{place}{level}/cpu.max": "50000 100000"}
    mounts = V2.format(top="/", place=f"/{place}")
    root = tree(tmp_path, "0::/user.slice/job/step\n", mounts, files)
    assert memory(root).limit == memory(root).used == 2**26 and room(root) == 2**24
    assert cores(root).quota == 0.5 and cores(root).used == 1


def test_the_smallest_of_several_limits_counts(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/a/memory.max": str(2**27), "sys/fs/cgroup/a/b/memory.max": str(2**28)}
    root = tree(tmp_path, "0::/a/b\n", V2.format(top="/", place="/sys/fs/cgroup"), files)
    assert memory(root).limit == 2**27


@pytest.mark.parametrize("level", ["", "/user.slice", "/user.slice/job"])
def test_what_slows_a_process_down_counts_at_every_level(tmp_path: Path, level: str) -> None:
    """`memory.high` of version 2: no more than that without a stall."""
    place = "sys/fs/cgroup"
    files = {f"{place}/user.slice/job/memory.max": str(2**28), f"{place}{level}/memory.high": str(2**26)}
    root = tree(tmp_path, "0::/user.slice/job\n", V2.format(top="/", place=f"/{place}"), files)
    assert memory(root).limit == 2**26 and room(root) == 2**24


@pytest.mark.parametrize("level", ["", "/user.slice", "/user.slice/job"])
def test_cores_of_a_set_count_at_every_level(tmp_path: Path, level: str, monkeypatch: Any) -> None:
    """Where the system does not bind the process itself, as some sandboxes do."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    place = "sys/fs/cgroup"
    files = {f"{place}/cpuset.cpus.effective": "0-63", f"{place}{level}/cpuset.cpus.effective": "0-3,8,10-11"}
    root = tree(tmp_path / "2", "0::/user.slice/job\n", V2.format(top="/", place=f"/{place}"), files)
    assert cores(root).bound == cores(root).used == 7
    mounts = V1.format(top="/", place="/sys/fs/cgroup/cpuset", names="cpuset")
    files = {"sys/fs/cgroup/cpuset/a/cpuset.effective_cpus": "2,5", "sys/fs/cgroup/cpuset/x": ""}
    assert cores(tree(tmp_path / "1", "3:cpuset:/a\n", mounts, files)).used == 2


def test_version_1_tells_of_limits_above_what_a_container_sees(tmp_path: Path) -> None:
    mounts = V1.format(top="/docker/4f", place="/sys/fs/cgroup/memory", names="memory")
    files = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.stat": f"cache 0\nhierarchical_memory_limit {2**26}\nrss 1",
    }
    assert memory(tree(tmp_path, "5:memory:/docker/4f\n", mounts, files)).limit == 2**26


def test_version_1_has_a_hierarchy_for_each(tmp_path: Path) -> None:
    groups = "5:memory:/slurm/job\n4:cpu,cpuacct:/slurm/job\n1:name=systemd:/x\n0::/x\n"
    mounts = V1.format(top="/", place="/sys/fs/cgroup/memory", names="memory")
    mounts += V1.format(top="/", place="/sys/fs/cgroup/cpu,cpuacct", names="cpu,cpuacct")
    files = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/slurm/memory.limit_in_bytes": str(2**26),
        "sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/cpu,cpuacct/slurm/job/cpu.cfs_quota_us": "150000",
        "sys/fs/cgroup/cpu,cpuacct/slurm/job/cpu.cfs_period_us": "100000",
    }
    root = tree(tmp_path, groups, mounts, files)
    assert memory(root).limit == 2**26
    assert cores(root).quota == 1.5 and cores(root).used == 1


@pytest.mark.parametrize(
    ("group", "top", "place"),
    [
        ("/docker/4f", "/docker/4f", "/sys/fs/cgroup"),  # a container that sees the host's names
        ("/", "/", "/sys/fs/cgroup"),  # ... one with names of its own
        ("/../../4f", "/", "/sys/fs/cgroup"),  # ... and a process that was moved into it
        ("/4f", "/other", "/sys/fs/cgroup"),
        ("/", "/", "/mnt/a\\040place"),
    ],
)
def test_a_container_finds_its_own_group(tmp_path: Path, group: str, top: str, place: str) -> None:
    file = f"{place.removeprefix('/')}/memory.max".replace("\\040", " ")
    root = tree(tmp_path, f"0::{group}\n", V2.format(top=top, place=place), {file: str(2**26)})
    assert memory(root).limit == 2**26


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    for root in (tmp_path, tree(tmp_path / "v2", "0::/a\n", V2.format(top="/", place="/sys"), {})):
        assert memory(root).limit is None and memory(root).used == memory(root).machine > 2**26
        assert cores(root).quota is None and cores(root).used == cores(root).bound


def test_workers_are_the_cores_that_two_leave_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILLROOM_WORKERS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    place = "sys/fs/cgroup/cpu.max"
    for quota, workers in (("max 100000", 8), ("700000 100000", 5), ("250000 100000", 0), ("1000 100000", 0)):
        root = tree(tmp_path / quota, "0::/\n", V2.format(top="/", place="/sys/fs/cgroup"), {place: quota})
        assert worker_count(root) == workers
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # processes of torchrun on one machine
    assert worker_count(tmp_path) == 8 and room(tmp_path) == memory(tmp_path).used // 16
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    assert worker_count(tmp_path) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {7}, raising=False)
    assert worker_count(tmp_path) == 0
    monkeypatch.setenv("STILLROOM_WORKERS", "3")
    assert worker_count(tmp_path) == 3
    monkeypatch.setenv("STILLROOM_WORKERS", "many")
    with pytest.raises(ParamsError, match="STILLROOM_WORKERS='many' is not a number"):
        worker_count(tmp_path)


ASK = """
import os, sys
for file in sys.argv[1:]:
    open(file, "w").write(str(os.getpid()))
from stillroom.machine import cores, memory, room
print(cores().used, memory().used, room())
"""


def ask(*groups: Path, bound: set[int] | None = None, code: str = ASK) -> list[str]:
    """What a process says that puts itself into control groups and is bound to some cores."""
    done = subprocess.run(
        [sys.executable, "-c", code, *(str(group / "cgroup.procs") for group in groups)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        preexec_fn=None if bound is None else lambda: os.sched_setaffinity(0, bound),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_bound_process_uses_its_cores_alone() -> None:
    assert ask(bound={min(os.sched_getaffinity(0))})[0] == "1"


def test_a_real_limit_of_an_outer_group_is_found(limited: list[Path]) -> None:
    assert ask(*limited) == ["1", str(2**29), str(2**27)]


@pytest.mark.slow
def test_torch_runs_no_more_threads_than_the_quota_pays_for(limited: list[Path]) -> None:
    code = ASK.partition("from stillroom")[0] + (
        "from stillroom.device import settle; settle(); import torch; print(torch.get_num_threads())"
    )
    assert ask(*limited, code=code) == ["1"]

"""What this machine gives: cores, memory, and a disk on which files can be locked and renamed."""

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stillroom.benchmarks.doctor.findings import Findings, readable_size
from stillroom.errors import StillroomError
from stillroom.lock import claim, locks_off
from stillroom.machine import WORKERS, cores, memory, room, worker_count

LITTLE = 2**30  # bytes of free disk under which a run is likely to end early
NCCL_MEMORY = 2**26  # bytes of /dev/shm that several GPUs may want


def look_at_machine(findings: Findings) -> None:
    """Cores, workers, threads and memory, within the limits of a container or a job."""
    here = cores()
    facts = {**asdict(here), "used": here.used, "workers": None, "threads": None}
    findings.facts["cores"] = facts
    try:
        facts["workers"] = worker_count()
    except StillroomError as error:
        findings.problem(error.what, error.why, error.fix, stops=True)
    with suppress(Exception):  # reported above
        import torch

        facts["threads"] = min(torch.get_num_threads(), here.used)
    if (facts["workers"] or 0) > here.used and WORKERS in os.environ:
        findings.problem(
            f"{facts['workers']} workers share {here.used} cores",
            f"{WORKERS} says so; they wait for each other",
            f"unset {WORKERS}",
        )
    if os.environ.get("OMP_NUM_THREADS") == "1" and here.used > 1 and not findings.facts["device"]["gpus"]:
        findings.problem(
            f"torch computes on one core of {here.used}",
            "OMP_NUM_THREADS=1 says so",
            "unset OMP_NUM_THREADS, unless several commands share this machine",
        )
    with suppress(AttributeError, OSError, ValueError):  # no such question on Windows
        size = memory()
        findings.facts["memory"] = {**asdict(size), "used": size.used, "images": room()}
        if size.used < 2 * 2**30:
            findings.problem(
                f"{readable_size(size.used)} of memory",
                "importing torch takes half a gibibyte, a training step of a small model as much again",
                "give the container or the job more (docker --memory, sbatch --mem)",
            )


def look_at_shared_memory(findings: Findings) -> None:
    """Views need none; NCCL, through which several GPUs train as one, takes some megabytes a GPU."""
    findings.facts["shm"] = None
    with suppress(OSError):
        usage = shutil.disk_usage("/dev/shm")
        findings.facts["shm"] = {"size": usage.total, "free": usage.free}
        if len(findings.facts["device"]["gpus"]) > 1 and usage.free < NCCL_MEMORY:
            findings.problem(
                f"/dev/shm has {readable_size(usage.free)} free, and there are several GPUs",
                "NCCL, through which they train as one, shares memory there",
                "docker run --shm-size=1g (or --ipc=host); one GPU needs none",
            )


def look_at_folder(findings: Findings, artifacts: Path) -> None:
    """What the file system at the artifacts can do is tried, in a folder that goes again."""
    path = next(folder for folder in (artifacts / ".staging", artifacts, Path()) if folder.is_dir())
    facts: dict[str, Any] = {"path": str(path), "free": None, "locks": None, "rename": None, "links": []}
    findings.facts["artifacts"] = facts
    with suppress(OSError):
        facts["free"] = shutil.disk_usage(path).free
        if facts["free"] < LITTLE:
            findings.problem(
                f"{readable_size(facts['free'])} of disk are free in {path}",
                "checkpoints and caches go there (`stillroom plan` says how large a cache will be)",
                "free the disk, or put artifacts on a larger one",
            )
    try:
        folder = Path(tempfile.mkdtemp(prefix=".stillroom-doctor-", dir=path))
    except OSError as error:
        facts["locks"] = facts["rename"] = False
        findings.problem(
            f"nothing can be written in {path.resolve()}",
            error.strerror or str(error),
            "make the folder writable, or free the disk",
            stops=True,
        )
        return
    try:
        _try_files(findings, facts, folder)
    except OSError as error:
        findings.problem(
            f"files in {path.resolve()} cannot be written and renamed",
            error.strerror or str(error),
            "put the project on another file system",
            stops=True,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try_files(findings: Findings, facts: dict[str, Any], folder: Path) -> None:
    facts["rename"] = False
    file = folder / "file"
    with file.open("wb") as stream:
        stream.write(b"stillroom")
        try:
            off = locks_off()
            claim(stream.fileno(), folder.parent / "a file")
            facts["locks"] = "off" if off else True
        except (StillroomError, BlockingIOError) as error:
            facts["locks"] = False
            problem = error if isinstance(error, StillroomError) else StillroomError(str(error))
            findings.problem(problem.what, problem.why, problem.fix, stops=True)
    file.replace(folder / "renamed")
    (folder / "old").mkdir()
    (folder / "old").rename(folder / "new")
    facts["rename"] = True
    for kind, link in (("hard", os.link), ("symbolic", os.symlink)):
        with suppress(OSError):
            link(folder / "renamed", folder / kind)
            facts["links"].append(kind)
    if facts["locks"] == "off":
        findings.problem(
            "locks are off",
            "STILLROOM_LOCKS=off: two commands at once may write the same thing",
            "run one command at a time, or unset it where locks work",
        )

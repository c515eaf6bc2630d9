"""What this machine has, what of it will be a problem, and what to do: nothing here ends in a traceback."""

import importlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import StillroomError
from stillroom.lock import claim, locks_off
from stillroom.machine import WORKERS, cores, memory, room, worker_count

if TYPE_CHECKING:
    from stillroom.params import Params

PACKAGES = ("torch", "torchvision", "timm", "numpy", "PIL", "safetensors", "zarr", "h5py", "dvc", "dvclive")
DISTRIBUTIONS = {"PIL": "pillow"}
EXTRAS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "s3": ("dvc_s3",), "ssh": ("dvc_ssh",)}
VARIABLES = re.compile(
    r"STILLROOM_\w+|HF_HUB_OFFLINE|HF_HOME|OMP_NUM_THREADS|CUDA_VISIBLE_DEVICES|LOCAL_WORLD_SIZE"
)
LITTLE = 2**30  # bytes of free disk under which a run is likely to end early
NCCL_MEMORY = 2**26  # bytes of /dev/shm that several GPUs may want


@dataclass(frozen=True)
class Problem:
    """One thing that will be a problem; `stops`: stages cannot work before it is mended."""

    what: str
    why: str
    do: str
    stops: bool


@dataclass
class Findings:
    """Facts by name, each a JSON value, and the problems."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, what: str, why: str, do: str, stops: bool = False) -> None:
        self.problems.append(Problem(what, why, do, stops))

    @property
    def ok(self) -> bool:
        """Whether nothing stops the stages."""
        return not any(one.stops for one in self.problems)

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "facts": self.facts, "problems": [asdict(one) for one in self.problems]}


def examine(artifacts: Path, read_params: Callable[[], "Params"], params_file: Path) -> Findings:
    """Look at everything.

    Args:
        artifacts: where stages write; it need not be there.
        read_params: reads and checks the parameters.
        params_file: their file; it need not be there.
    """
    found = Findings()
    _versions(found)
    _torch(found)
    _images(found)
    _extras(found)
    _project(found, read_params, params_file)
    _machine(found)
    _shared_memory(found)
    _folder(found, artifacts)
    _variables(found)
    return found


def _versions(found: Findings) -> None:
    versions = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    with suppress(metadata.PackageNotFoundError):
        versions["stillroom"] = metadata.version("stillroom")
    for name in PACKAGES:
        shown = DISTRIBUTIONS.get(name, name)
        try:
            importlib.import_module(name)
            versions[shown] = metadata.version(shown)
        except Exception as error:  # a broken build raises anything
            why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            versions[shown] = f"cannot be imported ({why})"
            found.problem(
                f"{shown} cannot be imported",
                why,
                f"pip install --force-reinstall {shown} (in a clone: make install, or pip install -e .)",
                stops=True,
            )
    found.facts["versions"] = versions


def _torch(found: Findings) -> None:
    try:
        import torch

        gpus = [
            {
                "name": torch.cuda.get_device_name(number),
                "memory": torch.cuda.get_device_properties(number).total_memory,
            }
            for number in range(torch.cuda.device_count())
        ]
        bf16 = bool(gpus) and torch.cuda.is_bf16_supported()
        found.facts["device"] = {"gpus": gpus, "bf16": bf16, "cuda": torch.version.cuda}
    except Exception as error:  # torch itself is missing, or a driver does not fit it
        found.facts["device"] = {"gpus": [], "bf16": False, "cuda": None}
        if "torch" in found.facts["versions"] and "cannot" not in found.facts["versions"]["torch"]:
            found.problem(
                "torch cannot ask for GPUs",
                f"{type(error).__name__}: {error}".splitlines()[0][:200],
                "mend the driver, or hide the GPUs: CUDA_VISIBLE_DEVICES=",
                stops=True,
            )
        return
    if not gpus and Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        found.problem(
            "this machine has an NVIDIA GPU that torch does not see",
            f"torch is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else "torch is built for CPUs",
            "install a torch for the driver's CUDA version (nvidia-smi shows it)",
        )


def _images(found: Findings) -> None:
    codecs: dict[str, str | None] = {}
    with suppress(Exception):  # said above
        from PIL import features

        codecs["jpeg-turbo"] = features.version_feature("libjpeg_turbo")
        for name in ("webp", "avif"):
            codecs[name] = features.version_module(name) if features.check(name) else None
        if not features.check("jpg"):
            found.problem(
                "Pillow has no JPEG",
                "it was built without libjpeg",
                "pip install --force-reinstall pillow",
                stops=True,
            )
    found.facts["codecs"] = codecs


def _extras(found: Findings) -> None:
    found.facts["extras"] = {
        extra: all(util.find_spec(name) is not None for name in names) for extra, names in EXTRAS.items()
    }


def _project(found: Findings, read_params: Callable[[], "Params"], file: Path) -> None:
    here = Path.cwd()
    git = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)
    project = {"git": git is not None, "dvc": (here / ".dvc").is_dir(), "params": "is not there"}
    found.facts["project"] = project
    if git is not None and (git / ".git").is_dir() and _has_no_commit(git / ".git"):
        found.problem(
            "the git repository has no commit",
            "DVCLive, which logs the training, asks git for one",
            "git commit --allow-empty -m start",
            stops=True,
        )
    if not file.exists():
        return
    try:
        read_params()
    except Exception as error:
        if not isinstance(error, StillroomError):
            error = StillroomError(f"{file} cannot be read", f"{type(error).__name__}: {error}")
        project["params"] = "cannot be used"
        found.problem(error.what, error.why, error.fix or f"mend {file}", stops=True)
        return
    project["params"] = "can be read"


def _has_no_commit(git: Path) -> bool:
    with suppress(OSError):
        if re.fullmatch(r"[0-9a-f]{40,64}", (git / "HEAD").read_text().strip()):  # detached, as CI checks out
            return False
    heads = git / "refs/heads"
    return heads.is_dir() and not any(heads.rglob("*")) and not (git / "packed-refs").exists()


def _machine(found: Findings) -> None:
    here = cores()
    facts = {**asdict(here), "used": here.used, "workers": None, "threads": None}
    found.facts["cores"] = facts
    try:
        facts["workers"] = worker_count()
    except StillroomError as error:
        found.problem(error.what, error.why, error.fix, stops=True)
    with suppress(Exception):  # said above
        import torch

        facts["threads"] = min(torch.get_num_threads(), here.used)
    if (facts["workers"] or 0) > here.used and WORKERS in os.environ:
        found.problem(
            f"{facts['workers']} workers share {here.used} cores",
            f"{WORKERS} says so; they wait for each other",
            f"unset {WORKERS}",
        )
    if os.environ.get("OMP_NUM_THREADS") == "1" and here.used > 1 and not found.facts["device"]["gpus"]:
        found.problem(
            f"torch computes on one core of {here.used}",
            "OMP_NUM_THREADS=1 says so",
            "unset OMP_NUM_THREADS, unless several commands share this machine",
        )
    with suppress(AttributeError, OSError, ValueError):  # no such question on Windows
        size = memory()
        found.facts["memory"] = {**asdict(size), "used": size.used, "images": room()}
        if size.used < 2 * 2**30:
            found.problem(
                f"{_size(size.used)} of memory",
                "importing torch takes half a gibibyte, a training step of a small model as much again",
                "give the container or the job more (docker --memory, sbatch --mem)",
            )


def _shared_memory(found: Findings) -> None:
    """Views need none; NCCL, through which several GPUs train as one, takes some megabytes a GPU."""
    found.facts["shm"] = None
    with suppress(OSError):
        usage = shutil.disk_usage("/dev/shm")
        found.facts["shm"] = {"size": usage.total, "free": usage.free}
        if len(found.facts["device"]["gpus"]) > 1 and usage.free < NCCL_MEMORY:
            found.problem(
                f"/dev/shm has {_size(usage.free)} free, and there are several GPUs",
                "NCCL, through which they train as one, shares memory there",
                "docker run --shm-size=1g (or --ipc=host); one GPU needs none",
            )


def _folder(found: Findings, artifacts: Path) -> None:
    """What the file system at the artifacts can do is tried, in a folder that goes again."""
    place = next(folder for folder in (artifacts / ".staging", artifacts, Path()) if folder.is_dir())
    facts: dict[str, Any] = {"path": str(place), "free": None, "locks": None, "rename": None, "links": []}
    found.facts["artifacts"] = facts
    with suppress(OSError):
        facts["free"] = shutil.disk_usage(place).free
        if facts["free"] < LITTLE:
            found.problem(
                f"{_size(facts['free'])} of disk are free in {place}",
                "checkpoints and caches go there (`stillroom plan` says how large a cache will be)",
                "free the disk, or put artifacts on a larger one",
            )
    try:
        folder = Path(tempfile.mkdtemp(prefix=".stillroom-doctor-", dir=place))
    except OSError as error:
        facts["locks"] = facts["rename"] = False
        found.problem(
            f"nothing can be written in {place.resolve()}",
            error.strerror or str(error),
            "make the folder writable, or free the disk",
            stops=True,
        )
        return
    try:
        _try(found, facts, folder)
    except OSError as error:
        found.problem(
            f"files in {place.resolve()} cannot be written and renamed",
            error.strerror or str(error),
            "put the project on another file system",
            stops=True,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try(found: Findings, facts: dict[str, Any], folder: Path) -> None:
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
            told = error if isinstance(error, StillroomError) else StillroomError(str(error))
            found.problem(told.what, told.why, told.fix, stops=True)
    file.replace(folder / "renamed")
    (folder / "old").mkdir()
    (folder / "old").rename(folder / "new")
    facts["rename"] = True
    for kind, link in (("hard", os.link), ("symbolic", os.symlink)):
        with suppress(OSError):
            link(folder / "renamed", folder / kind)
            facts["links"].append(kind)
    if facts["locks"] == "off":
        found.problem(
            "locks are off",
            "STILLROOM_LOCKS=off: two commands at once may write the same thing",
            "run one command at a time, or unset it where locks work",
        )


def _variables(found: Findings) -> None:
    found.facts["variables"] = {
        name: value for name, value in sorted(os.environ.items()) if VARIABLES.fullmatch(name)
    }


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def lines(found: Findings) -> list[tuple[str, str]]:
    """The facts as a reader wants them: a name and a text, a line each."""
    facts = found.facts
    versions = dict(facts["versions"])
    head = ", ".join(f"{name} {versions.pop(name, 'unknown')}" for name in ("stillroom", "python"))
    told = [
        ("versions", f"{head}, {versions.pop('system')}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("images", ", ".join(f"{name} {version or 'no'}" for name, version in facts["codecs"].items())),
        ("extras", ", ".join(_extra(name, there) for name, there in facts["extras"].items())),
        ("device", _device(facts["device"])),
        ("cores", _cores(facts["cores"])),
    ]
    if "memory" in facts:
        size = facts["memory"]
        limit = "no limit" if size["limit"] is None else f"limited to {_size(size['limit'])}"
        images = _size(size["images"])
        told.append(("memory", f"{_size(size['machine'])}, {limit}; up to {images} for decoded images"))
    if facts["shm"]:
        size, free = (_size(facts["shm"][name]) for name in ("size", "free"))
        told.append(("/dev/shm", f"{size}, {free} free (views need none)"))
    place = facts["artifacts"]
    free = "unknown" if place["free"] is None else _size(place["free"])
    locks = {True: "locks work", "off": "locks are off", False: "no locks", None: "locks not tried"}
    able = "files can be renamed" if place["rename"] else "files cannot be renamed"
    links = f"{' and '.join(place['links']) or 'no'} links"
    told.append(("artifacts", f"{free} free in {place['path']}; {locks[place['locks']]}, {able}, {links}"))
    project = facts["project"]
    told.append(
        (
            "project",
            f"{'git' if project['git'] else 'no git'}, {'DVC' if project['dvc'] else 'no DVC'}, "
            f"params.yaml {project['params']}",
        )
    )
    variables = ", ".join(f"{name}={value}" for name, value in facts["variables"].items())
    return [*told, ("variables", variables or "none that count")]


def _extra(name: str, there: bool) -> str:
    return f"{name} installed" if there else f"{name} missing (pip install 'stillroom[{name}]')"


def _device(device: dict[str, Any]) -> str:
    if not device["gpus"]:
        return "the CPU; no GPU that torch sees"
    names = ", ".join(f"{gpu['name']} ({_size(gpu['memory'])})" for gpu in device["gpus"])
    return f"{names}, bf16 {'supported' if device['bf16'] else 'not supported'}, CUDA {device['cuda']}"


def _cores(facts: dict[str, Any]) -> str:
    quota = "no quota" if facts["quota"] is None else f"quota of {facts['quota']:g}"
    return (
        f"{facts['machine']} of the machine, {facts['bound']} bound, {quota}: {facts['used']} used; "
        f"{facts['workers']} workers, {facts['threads']} threads of torch"
    )

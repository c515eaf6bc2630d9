"""What is installed, and how this project and its environment are set up."""

import importlib
import os
import platform
import re
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.benchmarks.doctor.findings import Findings
from stillroom.errors import StillroomError

if TYPE_CHECKING:
    from stillroom.params import Params

PACKAGES = ("torch", "torchvision", "timm", "numpy", "PIL", "safetensors", "zarr", "h5py", "dvc", "dvclive")
DISTRIBUTIONS = {"PIL": "pillow"}
EXTRAS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "ray": ("ray", "grpc"),
    "s3": ("dvc_s3",),
    "ssh": ("dvc_ssh",),
}
VARIABLES = re.compile(
    r"STILLROOM_\w+|HF_HUB_OFFLINE|HF_HOME|OMP_NUM_THREADS|CUDA_VISIBLE_DEVICES|LOCAL_WORLD_SIZE"
)


def look_at_versions(findings: Findings) -> None:
    """The packages that stages import, with their versions: each is imported to see that it can be."""
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
            findings.problem(
                f"{shown} cannot be imported",
                why,
                f"pip install --force-reinstall {shown} (in a clone: make install, or pip install -e .)",
                stops=True,
            )
    findings.facts["versions"] = versions


def look_at_torch(findings: Findings) -> None:
    """The GPUs that torch sees, and whether it misses one."""
    try:
        import torch

        gpus = [
            {
                "name": torch.cuda.get_device_name(number),
                "memory": torch.cuda.get_device_properties(number).total_memory,
            }
            for number in range(torch.cuda.device_count())
        ]
        bf16 = bool(gpus) and torch.cuda.is_bf16_supported(including_emulation=False)
        mps = torch.backends.mps.is_available()
        findings.facts["device"] = {"gpus": gpus, "bf16": bf16, "cuda": torch.version.cuda, "mps": mps}
    except Exception as error:  # torch itself is missing, or a driver does not fit it
        findings.facts["device"] = {"gpus": [], "bf16": False, "cuda": None, "mps": False}
        if "torch" in findings.facts["versions"] and "cannot" not in findings.facts["versions"]["torch"]:
            findings.problem(
                "torch cannot ask for GPUs",
                f"{type(error).__name__}: {error}".splitlines()[0][:200],
                "mend the driver, or hide the GPUs: CUDA_VISIBLE_DEVICES=",
                stops=True,
            )
        return
    if not gpus and Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        findings.problem(
            "this machine has an NVIDIA GPU that torch does not see",
            f"torch is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else "torch is built for CPUs",
            "install a torch for the driver's CUDA version (nvidia-smi shows it)",
        )


def look_at_images(findings: Findings) -> None:
    """The codecs that Pillow has."""
    codecs: dict[str, str | None] = {}
    with suppress(Exception):  # reported above
        from PIL import features

        codecs["jpeg-turbo"] = features.version_feature("libjpeg_turbo")
        for name in ("webp", "avif"):
            codecs[name] = features.version_module(name) if features.check(name) else None
        if not features.check("jpg"):
            findings.problem(
                "Pillow has no JPEG",
                "it was built without libjpeg",
                "pip install --force-reinstall pillow",
                stops=True,
            )
    findings.facts["codecs"] = codecs


def look_at_extras(findings: Findings) -> None:
    """Which optional extras are installed."""
    findings.facts["extras"] = {
        extra: all(util.find_spec(name) is not None for name in names) for extra, names in EXTRAS.items()
    }


def look_at_project(findings: Findings, read_params: Callable[[], "Params"], file: Path) -> None:
    """Whether this is a git and DVC project, and whether its parameters can be read."""
    here = Path.cwd()
    git = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)
    project = {"git": git is not None, "dvc": (here / ".dvc").is_dir(), "params": "is not there"}
    findings.facts["project"] = project
    if git is not None and (git / ".git").is_dir() and _has_no_commit(git / ".git"):
        findings.problem(
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
        findings.problem(error.what, error.why, error.fix or f"mend {file}", stops=True)
        return
    project["params"] = "can be read"


def _has_no_commit(git: Path) -> bool:
    with suppress(OSError):
        if re.fullmatch(r"[0-9a-f]{40,64}", (git / "HEAD").read_text().strip()):  # detached, as CI checks out
            return False
    heads = git / "refs/heads"
    return heads.is_dir() and not any(heads.rglob("*")) and not (git / "packed-refs").exists()


def look_at_variables(findings: Findings) -> None:
    """The environment variables that change what stages do."""
    findings.facts["variables"] = {
        name: value for name, value in sorted(os.environ.items()) if VARIABLES.fullmatch(name)
    }

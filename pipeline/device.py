"""Which device computes here, and what is recorded of the machine beside results."""

import ctypes
import platform
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def device() -> "torch.device":
    """The GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def keep_memory() -> None:
    """Let glibc keep freed memory for the next tensor, instead of handing it back to the system page by page.

    By default it maps each block above 32 MiB anew, and a forward pass with large activations can spend as
    long in those page faults as in its arithmetic. The peak stays as it is. Nothing is done without a glibc.
    """
    mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def autocast(where: "torch.device", amp: str) -> Any:
    """A context: bfloat16 autocast if `amp` is "bf16", else none."""
    import torch

    return torch.autocast(where.type, torch.bfloat16, enabled=amp == "bf16")


def environment() -> dict[str, str]:
    """Versions and device, recorded beside a result; never part of an identity."""
    import numpy
    import PIL
    import timm
    import torch
    from PIL import features

    where = device()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "jpeg": features.version_feature("libjpeg_turbo") or features.version_codec("jpg") or "unknown",
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
    }

"""Which device computes here, and what is recorded of the machine beside results."""

import ctypes
import platform
import sys
from typing import TYPE_CHECKING, Any

from stillroom.machine import cores

if TYPE_CHECKING:
    import torch


def device(local: int = 0) -> "torch.device":
    """The GPU of a machine's process number `local` (they share where there are fewer), else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local % torch.cuda.device_count())


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


def settle() -> None:
    """Make the most of this machine; called once, before a command computes."""
    keep_memory()
    keep_to_quota()


def keep_to_quota() -> None:
    """Let torch run no more threads than a container's quota pays for: more would wait for each other.

    To what cores the process is bound torch knows itself.
    """
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), cores().used))


def autocast(target: "torch.device", amp: str) -> Any:
    """A context: bfloat16 autocast if `amp` is "bf16", else none."""
    import torch

    return torch.autocast(target.type, torch.bfloat16, enabled=amp == "bf16")


def environment(versions: dict[str, str]) -> dict[str, str]:
    """Versions and device, recorded beside a result; never part of an identity.

    Args:
        versions: of what the modality decodes and renders with.
    """
    import numpy
    import timm
    import torch

    used = device()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": numpy.__version__,
        **versions,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(used) if used.type == "cuda" else "cpu",
    }

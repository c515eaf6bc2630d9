"""Which device computes here, and what is recorded of the machine beside results."""

import ctypes
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

from stillroom.machine import cores

if TYPE_CHECKING:
    import torch


def device(local: int = 0) -> "torch.device":
    """The GPU of a machine's process number `local` (they share where there are fewer), Apple's GPU (`mps`),
    else the CPU.

    Several processes that train as one take the CPU rather than `mps`: nothing there carries gradients from
    one to another.
    """
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", local % torch.cuda.device_count())
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    return torch.device("mps" if alone and torch.backends.mps.is_available() else "cpu")


def widest(target: "torch.device") -> "torch.dtype":
    """The most exact type that a device computes with: float64, but on `mps`, which has none, float32."""
    import torch

    return torch.float32 if target.type == "mps" else torch.float64


def moved(values: "torch.Tensor", target: "torch.device") -> "torch.Tensor":
    """A tensor on a device; where the copy is safe, nobody waits for it."""
    # Elsewhere it may read what has been freed: docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html
    return values.to(target, non_blocking=target.type == "cuda")


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
    """A context: autocast to bfloat16 if `amp` is "bf16", to float16 if it is "fp16", else none."""
    import torch

    half = torch.float16 if amp == "fp16" else torch.bfloat16
    return torch.autocast(target.type, half, enabled=amp != "none")


def about_precision(amp: str, key: str) -> list[str]:
    """What to say of a precision that this machine's GPU does not compute with.

    Args:
        amp: what is asked for.
        key: the parameter that asks for it.
    """
    import torch

    if amp != "bf16" or device().type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return []
    name = torch.cuda.get_device_name()
    return [f"note: {key} = bf16, and {name} has no bfloat16: it is emulated, slowly; set {key} to fp16"]


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
        "device": torch.cuda.get_device_name(used) if used.type == "cuda" else used.type,
    }

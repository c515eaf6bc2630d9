"""Where what the modules of image networks give has its places: maps [C, H, W] and tokens [C, N]."""

import math
from contextlib import suppress
from typing import Any

import torch

# Where timm's `feature_info` names no module: what networks call their stages, the last of which is meant
STAGES = ("stages", "layers", "blocks", "layer4", "features")


def last_stage(net: torch.nn.Module) -> str | None:
    """The module whose output is the last that has places, before they are pooled.

    timm's `feature_info` says it for most networks; of the others it is the first of `STAGES` that there is,
    and of what is a list of modules, the last of these.

    Returns:
        its name in the network; None: it is not known.
    """
    names = dict(net.named_modules())
    info: Any = getattr(net, "feature_info", None)
    found = ""
    with suppress(TypeError, KeyError, IndexError, AttributeError):  # MViT's and Twins' cannot be read
        found = str(list(info)[-1]["module"])
    if not found or found not in names:
        found = next((one for one in STAGES if one in names), "")
        if not found:
            return None
    while isinstance(names[found], torch.nn.ModuleList):
        children = [name for name, _ in names[found].named_children()]
        if not children:
            return None
        found = f"{found}.{children[-1]}"
    return found


def channels_first(output: torch.Tensor, net: torch.nn.Module) -> torch.Tensor:
    """What a module gives of a batch, channels first.

    Tokens [B, N, D] become [B, D, N]. Of a map, [B, C, H, W] or [B, H, W, C], H and W are the two that are
    alike: views are square. Where all three are, or none, `output_fmt` of timm's network says it (`NHWC`: as
    Swin's), and [B, C, H, W] is what is usual.
    """
    if output.dim() == 3:
        return output.transpose(1, 2)
    if output.dim() != 4:
        return output
    first, second, third = output.shape[1:]
    last = first == second != third
    if (first == second) == (second == third):
        last = str(getattr(net, "output_fmt", "")).endswith("NHWC")
    return output.permute(0, 3, 1, 2) if last else output


def square(output: torch.Tensor) -> torch.Tensor:
    """Tokens [B, D, N] as a map [B, D, H, H]: the last H x H of them, since those of classes come first. What
    is no tokens stays as it is.
    """
    if output.dim() != 3:
        return output
    side = math.isqrt(output.shape[2])
    return output[:, :, output.shape[2] - side**2 :].reshape(*output.shape[:2], side, side)

"""timm's optimisers and schedules, by the names and numbers of `params.yaml`."""

import difflib
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers, muon
from timm.scheduler import create_scheduler_v2

from stillroom.errors import ParamsError
from stillroom.params import Train

_newton_schulz = muon.zeropower_via_newtonschulz


def check_optimiser(name: str, key: str) -> None:
    """Refuse what is no optimiser of timm's; `lookahead_` may stand before its name.

    Args:
        key: what names it, for the message.

    Raises:
        ParamsError: names the nearest ones.
    """
    known = [str(one) for one in list_optimizers()]
    if name.lower().removeprefix("lookahead_") not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ParamsError(
            f"{key}: timm has no optimiser {name!r}", fix=f"{hint}`timm.optim.list_optimizers()` has them"
        )


def create_optimizer(
    net: torch.nn.Module, config: Train, steps: int, beside: torch.nn.Module | None = None
) -> tuple[torch.optim.Optimizer, Any]:
    """timm's optimiser, and its schedule over all epochs of `steps` steps.

    Args:
        beside: what is trained beside the network: as its last layer is; None: nothing is.

    Raises:
        ParamsError: timm does not make it.
    """
    try:
        optimizer = create_optimizer_v2(
            net,
            opt=config.opt,
            lr=config.lr,
            weight_decay=config.weight_decay,
            layer_decay=config.layer_decay if config.layer_decay < 1 else None,
        )
        for values, decay in _by_decay(beside, config.weight_decay) if beside is not None else ():
            optimizer.add_param_group({"params": values, "weight_decay": decay})
        scheduler, _ = create_scheduler_v2(
            optimizer,
            sched=config.sched,
            num_epochs=config.epochs,
            warmup_epochs=config.warmup_epochs,
            warmup_lr=config.lr / 100,
            decay_rate=1.0,  # the power of `poly`
            step_on_epochs=False,
            updates_per_epoch=steps,
        )
    except (ValueError, AssertionError, TypeError, ImportError) as error:
        raise ParamsError(
            f"timm cannot make the optimiser {config.opt!r} with the schedule {config.sched!r}", str(error)
        ) from None
    return optimizer, scheduler


def _by_decay(module: torch.nn.Module, decay: float) -> list[tuple[list[torch.nn.Parameter], float]]:
    """Its weights, and what timm lets no decay change: biases and scales."""
    values = list(module.parameters())
    matrices = [one for one in values if one.dim() > 1]
    others = [one for one in values if one.dim() < 2]
    return [(some, share) for some, share in ((matrices, decay), (others, 0.0)) if some]


def _in_float32_on_cpu(update: torch.Tensor, *settings: Any, **more: Any) -> torch.Tensor:
    """Muon's Newton-Schulz iteration in float32 on a CPU, where timm offers bfloat16 alone.

    Many CPUs have no bfloat16 products, and take several times as long for such a step as for the forward and
    the backward pass together.
    """
    if update.device.type == "cpu":
        more["dtype"] = torch.float32
    return _newton_schulz(update, *settings, **more)


muon.zeropower_via_newtonschulz = _in_float32_on_cpu  # type: ignore[assignment]

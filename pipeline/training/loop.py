"""The training loop, for teachers and students alike; the last epoch's weights are the result."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler

from pipeline.config import Train
from pipeline.device import autocast
from pipeline.errors import ParamsError, StillroomError
from pipeline.models.create import Model
from pipeline.progress import Progress
from pipeline.views.render import to_input


@dataclass
class Batch:
    """One step's data.

    Attributes:
        pixels: uint8 [B, S, S, 3].
        labels: int64 [B].
        teacher: the cached logits for the same views, float32 [B, C], or None.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    teacher: torch.Tensor | None = None


def fit(
    model: Model,
    epoch_batches: Callable[[int], Iterator[Batch]],
    steps: int,
    loss: Callable[[torch.Tensor, Batch], torch.Tensor],
    config: Train,
    progress: Progress,
    what: str,
    on_epoch: Callable[[dict[str, Any]], None],
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Train a model in place.

    Args:
        model: on the device where it is to be trained.
        epoch_batches: epoch number -> its batches, `steps` of them.
        steps: batches an epoch.
        loss: (logits, batch) -> scalar.
        config: optimiser, schedule and length.
        on_epoch: called with each epoch's record.
        seed: of dropout and stochastic depth, the only draws here.

    Returns:
        one record an epoch: `epoch` (from 1), `loss` (mean over samples), `lr` (at its end), `seconds`.

    Raises:
        ParamsError: timm has no such optimiser.
        StillroomError: the loss is not finite.
    """
    if config.epochs == 0:
        return []
    net = model.net
    where = next(net.parameters()).device
    try:
        optimizer = create_optimizer_v2(
            net,
            opt=config.opt,
            lr=config.lr,
            weight_decay=config.weight_decay,
            layer_decay=config.layer_decay if config.layer_decay < 1 else None,
        )
    except (ValueError, AssertionError, TypeError) as error:
        raise ParamsError(f"timm cannot make the optimiser {config.opt!r}", str(error)) from None
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=max(1, config.epochs * steps),
        warmup_t=config.warmup_epochs * steps,
        warmup_lr_init=config.lr / 100,
        t_in_epochs=False,
    )
    torch.manual_seed(seed)
    records = []
    update = 0
    progress.start(what, config.epochs * steps, "steps")
    for epoch in range(config.epochs):
        net.train()
        began = time.perf_counter()
        total = torch.zeros((), device=where)
        seen = 0
        for batch in epoch_batches(epoch):
            scheduler.step_update(update)
            with autocast(where, config.amp):
                logits = net(to_input(batch.pixels.to(where, non_blocking=True), model.mean, model.std))
            value = loss(logits, batch)
            optimizer.zero_grad()
            value.backward()
            if config.clip_grad:
                torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip_grad)
            optimizer.step()
            update += 1
            seen += len(batch.labels)
            total += value.detach() * len(batch.labels)
            progress.advance(1)
        mean = float(total) / seen
        if mean != mean or mean in (float("inf"), float("-inf")):
            raise StillroomError(
                f"the loss of epoch {epoch + 1} is {mean}",
                "training diverged",
                "lower the learning rate (lr), or raise warmup_epochs",
            )
        lr = max(group["lr"] for group in optimizer.param_groups)
        seconds = round(time.perf_counter() - began, 3)
        records.append({"epoch": epoch + 1, "loss": round(mean, 6), "lr": lr, "seconds": seconds})
        on_epoch(records[-1])
        progress.advance(0, f"epoch {epoch + 1}/{config.epochs}, loss {mean:.3f}")
    progress.finish()
    return records

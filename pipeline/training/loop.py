"""The training loop, for teachers and students alike; the last epoch's weights are the result.

Nothing in it depends on when or where it was stopped: a batch, a learning rate and a random draw are
functions of the step's number, and what is not (weights, the optimiser's state) is in the checkpoint.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch.nn.parallel import DistributedDataParallel

from stillroom import stopping
from stillroom.device import autocast
from stillroom.distributed import Ranks
from stillroom.draw import words
from stillroom.errors import StillroomError
from stillroom.modalities.images.models.create import Model
from stillroom.modalities.images.render import to_input
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.training.batches import Batch, Batches
from stillroom.training.checkpoint import Checkpoint
from stillroom.training.optimizer import create_optimizer

# (logits [B, C], batch, how far training has come in [0, 1]) -> scalar
Loss = Callable[[torch.Tensor, Batch, float], torch.Tensor]


@dataclass
class Place:
    """Where a run stands: the next step to take, and what the epoch in work has added up to."""

    epoch: int = 0
    step: int = 0
    total: float = 0.0  # sum over this epoch's samples of their loss
    seen: int = 0
    seconds: float = 0.0


@stopping.later()  # a step is taken whole or not at all
def fit(
    model: Model,
    source: Batches,
    loss: Loss,
    config: Train,
    progress: Progress,
    what: str,
    on_epoch: Callable[[dict[str, Any]], None],
    evaluate: Callable[[Model], dict[str, Any]] | None = None,
    seed: int = 0,
    ranks: Ranks | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, Any]]:
    """Train a model in place.

    Asked to stop (`stopping`), it finishes the step, saves the checkpoint and leaves; all processes after the
    same step.

    Args:
        model: on the device where it is to be trained.
        source: the batches, cut as `config.accumulate` and `ranks` say.
        loss: see `Loss`. On several processes each computes it for the whole batch, so that a loss which
            looks across the batch is the same as on one.
        config: optimiser, schedule and length.
        on_epoch: called with each epoch's record, also with those of a run that is gone on with.
        evaluate: what to add to an epoch's record, from the model as it would be kept now; None: nothing.
        seed: of dropout and stochastic depth, the only draws here.
        ranks: the processes that train together, each with the same model; None: this one alone.
        checkpoint: where the run is kept, and taken up from; only the first process writes it.

    Returns:
        one record an epoch: `epoch` (from 1), `loss` (mean over samples), `lr` (at its end), `seconds`.

    Raises:
        ParamsError: timm has no such optimiser.
        StillroomError: the loss is not finite.
        KeyboardInterrupt: the process was asked to stop.
    """
    if config.epochs == 0:
        return []
    net, world, rank = model.net, ranks.world if ranks else 1, ranks.rank if ranks else 0
    where = next(net.parameters()).device
    optimizer, scheduler = create_optimizer(net, config, source.steps)
    average = ModelEmaV3(net, decay=config.ema, use_warmup=True) if config.ema else None
    place, records = Place(), []
    kept = checkpoint.load(progress) if checkpoint else None
    if kept is not None:
        place, records = Place(**kept["place"]), kept["records"]
        net.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        if average is not None:
            average.module.load_state_dict(kept["average"])
        step = f" (step {place.step} of {source.steps})" if place.step else ""
        progress.note(f"resumed: {place.epoch} of {config.epochs} epochs{step}")
        for record in records:
            on_epoch(record)

    keeper = checkpoint if rank == 0 else None

    def save() -> None:
        assert keeper is not None
        state = {"place": vars(place), "records": records, "model": net.state_dict()}
        state |= {"optimizer": optimizer.state_dict()}
        state |= {"average": average.module.state_dict()} if average is not None else {}
        keeper.save(state)

    stepped: Any = DistributedDataParallel(net) if world > 1 else net
    forward = torch.compile(stepped) if config.compile else stepped
    updates = config.epochs * source.steps
    progress.start(what, updates, "steps")
    progress.advance(place.epoch * source.steps + place.step)
    while place.epoch < config.epochs:
        net.train()
        began, before = time.perf_counter(), place.seconds
        # stays on the device: to read it would be to wait for it
        total = torch.tensor(place.total, dtype=torch.float64, device=where)
        batches = source(place.epoch, place.step)
        while place.step < source.steps:
            update = place.epoch * source.steps + place.step
            scheduler.step_update(update)
            torch.manual_seed(int(words(seed, "noise", update, rank + 1)[rank] >> 1))
            optimizer.zero_grad()
            last = False
            while not last:
                batch = next(batches)
                last = batch.last
                with stepped.no_sync() if world > 1 and not last else nullcontext():
                    with autocast(where, config.amp):
                        pixels = batch.pixels.to(where, non_blocking=True)
                        logits = forward(to_input(pixels, model.mean, model.std))
                    value = loss(together(logits, batch, world, rank), batch, update / max(1, updates - 1))
                    # processes' gradients are averaged, and each is that of its own rows alone
                    (value * batch.share * world).backward()
                total += value.detach().double() * len(batch.labels)
                place.seen += len(batch.labels)
            if config.clip_grad:
                torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip_grad)
            optimizer.step()
            if average is not None:
                average.update(net, step=update + 1)
            place.step += 1
            progress.advance(1)
            stop = ranks.any(stopping.asked()) if ranks else stopping.asked()
            if keeper is not None and (stop or (keeper.due and place.step < source.steps)):
                place.total, place.seconds = float(total), before + time.perf_counter() - began
                save()
            if stop:
                if ranks:
                    ranks.wait()  # one that ends would take the others with it, while the first still saves
                raise KeyboardInterrupt
        mean = float(total) / place.seen
        if not abs(mean) < float("inf"):
            raise StillroomError(
                f"the loss of epoch {place.epoch + 1} is {mean}",
                "training diverged",
                "lower the learning rate (lr), or raise warmup_epochs",
            )
        record = {
            "epoch": place.epoch + 1,
            "loss": round(mean, 6),
            "lr": max(group["lr"] for group in optimizer.param_groups),
            "seconds": round(before + time.perf_counter() - began, 3),
        }
        place.total, place.seconds = float(total), record["seconds"]
        if evaluate is not None:
            try:
                with stopping.now():
                    record |= evaluate(model if average is None else replace(model, net=average.module))
            except BaseException:
                if keeper is not None:  # the epoch's steps are done
                    save()
                raise
        on_epoch(record)
        records.append(record)
        place = Place(place.epoch + 1)
        progress.advance(0, f"epoch {place.epoch}/{config.epochs}, loss {mean:.3f}")
        if keeper is not None and (keeper.due or place.epoch == config.epochs):
            save()
    progress.finish()
    if average is not None:
        net.load_state_dict(average.module.state_dict())
    return records


def together(logits: torch.Tensor, batch: Batch, world: int, rank: int) -> torch.Tensor:
    """The logits of a whole batch from those of this process's rows: float32 [B, C].

    Only this process's rows carry a gradient; what the others make of the same loss is theirs to propagate.
    """
    logits = logits.float()
    if world == 1:
        return logits
    from torch import distributed

    counts = [len(part) for part in torch.arange(len(batch.labels)).tensor_split(world)]
    mine = logits.new_zeros((max(counts), logits.shape[1]))
    mine[: len(logits)] = logits.detach()
    parts = [torch.empty_like(mine) for _ in counts]
    distributed.all_gather(parts, mine)
    others = [part[:count] for part, count in zip(parts, counts, strict=True)]
    return torch.cat([*others[:rank], logits, *others[rank + 1 :]])

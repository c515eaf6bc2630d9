"""The training loop, for teachers and students alike; the last epoch's weights are the result.

Nothing in it depends on when or where it was stopped: a batch, a learning rate and a random draw are
functions of the step's number, and what is not (weights, the optimiser's state) is in the checkpoint.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.utils import ModelEmaV3

from stillroom import stopping
from stillroom.device import widest
from stillroom.distributed import Ranks
from stillroom.draw import words
from stillroom.errors import StillroomError
from stillroom.modalities.base import Model
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.training.batches import Batch, Batches
from stillroom.training.checkpoint import Checkpoint
from stillroom.training.gradients import Gradients, Summed
from stillroom.training.norm import over_all
from stillroom.training.optimizer import create_optimizer

# (outputs by name, batch, how far training has come in [0, 1]) -> terms, scalars by name
Loss = Callable[[dict[str, torch.Tensor], Batch, float], dict[str, torch.Tensor]]
# (network, processes, what is trained beside it) -> how the gradients of these terms are put together
MakeGradients = Callable[[torch.nn.Module, Ranks, torch.nn.Module | None], Gradients]


@dataclass
class Cursor:
    """Where a run stands: the next step to take, and what the epoch in work has added up to."""

    epoch: int = 0
    step: int = 0
    total: float = 0.0  # sum over this epoch's samples of their loss
    seen: int = 0
    seconds: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)  # the same of each term
    conflicts: int = 0  # this epoch's steps in which a term opposed the task


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
    take: Sequence[str] = (),
    gradients: MakeGradients = Summed,
    beside: torch.nn.Module | None = None,
) -> list[dict[str, Any]]:
    """Train a model in place.

    Asked to stop (`stopping`), it finishes the step, saves the checkpoint and leaves; all processes after the
    same step.

    Args:
        model: on the device where it is to be trained.
        source: the batches, cut as `config.accumulate` and `ranks` require.
        loss: see `Loss`. On several processes each computes it for the whole batch, so that a loss which
            looks across the batch is the same as on one.
        config: optimiser, schedule and length.
        on_epoch: called with each epoch's record, also with those of a run that is continued.
        evaluate: what to add to an epoch's record, from the model as it would be kept now; None: nothing.
        seed: of dropout and stochastic depth, the only draws here.
        ranks: the processes that train together, each with the same model; None: this one alone.
        checkpoint: where the run is kept, and taken up from; only the first process writes it.
        take: which of the model's layers the loss is given, beside its logits.
        gradients: how those of the loss's terms are put together.
        beside: what is trained beside the model and is given each taken layer on its way to the loss, on the
            model's device; it is in the checkpoint, and in no average. Its gradient is clipped by itself, so
            that the model's steps are as long as without it. None: nothing is.

    Returns:
        one record an epoch: `epoch` (from 1), `loss` (mean over samples), `terms` (the same of each term,
        where there are several), `conflict` (share of the steps in which a term opposed the task, where
        `gradients` looks), `lr` (at its end), `seconds`.

    Raises:
        ParamsError: timm has no such optimiser.
        StillroomError: the loss is not finite.
        KeyboardInterrupt: the process was asked to stop.
    """
    if config.epochs == 0:
        return []
    run = _Run(model, source, loss, config, seed, ranks or Ranks.alone(), checkpoint, take, gradients, beside)
    for record in run.resume(progress):
        on_epoch(record)
    progress.start(what, config.epochs * source.steps, "steps")
    progress.advance(run.cursor.epoch * source.steps + run.cursor.step)
    with over_all(model.net, run.ranks):
        while run.cursor.epoch < config.epochs:
            record = run.epoch(progress)
            if evaluate is not None:
                try:
                    with stopping.now():
                        record |= evaluate(run.kept_model())
                except BaseException:
                    run.save()  # the epoch's steps are done
                    raise
            on_epoch(record)
            run.end_epoch(record)
            progress.advance(0, f"epoch {run.cursor.epoch}/{config.epochs}, loss {run.mean:.3f}")
    progress.finish()
    run.finish()
    return run.records


class _Run:
    """The state of a training run, and its steps."""

    def __init__(
        self,
        model: Model,
        source: Batches,
        loss: Loss,
        config: Train,
        seed: int,
        ranks: Ranks,
        checkpoint: Checkpoint | None,
        take: Sequence[str],
        gradients: MakeGradients,
        beside: torch.nn.Module | None,
    ) -> None:
        self._model, self._source, self._loss, self._config = model, source, loss, config
        self._seed, self.ranks, self._checkpoint, self._take = seed, ranks, checkpoint, take
        self._make_gradients, self._beside = gradients, beside
        self._device = next(model.net.parameters()).device
        self._exact = widest(self._device)
        self._optimizer, self._scheduler = create_optimizer(model.net, config, source.steps, beside)
        # float16 has no gradients below 6e-8: those of a loss that is so many times as large are kept
        self._scaler = torch.amp.GradScaler(self._device.type) if config.amp == "fp16" else None
        self._average = ModelEmaV3(model.net, decay=config.ema, use_warmup=True) if config.ema else None
        self.cursor, self.mean = Cursor(), 0.0
        self.records: list[dict[str, Any]] = []
        self._began = 0.0

    def resume(self, progress: Progress) -> list[dict[str, Any]]:
        """Take up what the checkpoint holds; the records of the epochs that are done."""
        kept = self._checkpoint.load(progress) if self._checkpoint else None
        if kept is not None:
            self.cursor, self.records = Cursor(**kept["place"]), kept["records"]
            self._model.net.load_state_dict(kept["model"])
            if self._beside is not None:
                self._beside.load_state_dict(kept["beside"])
            self._optimizer.load_state_dict(kept["optimizer"])
            if self._scaler is not None:
                self._scaler.load_state_dict(kept["scaler"])
            if self._average is not None:
                self._average.module.load_state_dict(kept["average"])
            steps = self._source.steps
            step = f" (step {self.cursor.step} of {steps})" if self.cursor.step else ""
            progress.note(f"resumed: {self.cursor.epoch} of {self._config.epochs} epochs{step}")
        self._gradients = self._make_gradients(self._model.net, self.ranks, self._beside)
        net: Any = self._gradients.net
        self._forward = torch.compile(net) if self._config.compile else net
        return self.records

    def epoch(self, progress: Progress) -> dict[str, Any]:
        """The steps that are left of the epoch in work; its record."""
        cursor = self.cursor
        self._model.net.train()
        self._began, self._before = time.perf_counter(), cursor.seconds
        # sums stay on the device: to read them would be to wait for them
        self._total = torch.tensor(cursor.total, dtype=self._exact, device=self._device)
        self._terms = {
            name: torch.tensor(value, dtype=self._exact, device=self._device)
            for name, value in cursor.terms.items()
        }
        self._conflicts = torch.tensor(cursor.conflicts, dtype=torch.int64, device=self._device)
        batches = self._source(cursor.epoch, cursor.step)
        while cursor.step < self._source.steps:
            self._step(batches)
            progress.advance(1)
            stop = self.ranks.any(stopping.asked())
            if stop or (self._due() and cursor.step < self._source.steps):
                self._note_sums()
                self.save()
            if stop:
                self.ranks.wait()  # one that ends would take the others with it, while the first still saves
                raise KeyboardInterrupt
        self._note_sums()
        self.mean = cursor.total / cursor.seen
        half = self._scaler is not None
        if not abs(self.mean) < float("inf"):
            raise StillroomError(
                f"the loss of epoch {cursor.epoch + 1} is {self.mean}",
                "training diverged",
                "lower the learning rate (lr), or raise warmup_epochs"
                + ("; or set amp to bf16 or none: fp16 holds nothing above 65504" if half else ""),
            )
        terms = {name: round(value / cursor.seen, 6) for name, value in cursor.terms.items()}
        cursor.seconds = round(cursor.seconds, 3)
        return {
            "epoch": cursor.epoch + 1,
            "loss": round(self.mean, 6),
            **({"terms": terms} if len(terms) > 1 else {}),
            **({"conflict": round(cursor.conflicts / cursor.step, 6)} if self._gradients.looks else {}),
            "lr": max(group["lr"] for group in self._optimizer.param_groups),
            "seconds": cursor.seconds,
        }

    def _step(self, batches: Iterator[Batch]) -> None:
        """One step of the optimiser, from one batch, which may come in parts."""
        cursor, config, ranks = self.cursor, self._config, self.ranks
        update = cursor.epoch * self._source.steps + cursor.step
        done = update / max(1, config.epochs * self._source.steps - 1)
        self._scheduler.step_update(update)
        torch.manual_seed(int(words(self._seed, "noise", update, ranks.rank + 1)[ranks.rank] >> 1))
        self._optimizer.zero_grad()
        last = False
        while not last:
            batch = next(batches)
            last = batch.last
            with self._gradients.part(last):
                outputs = self._model.run(batch.inputs, config.amp, self._forward, self._take)
                if self._beside is not None:
                    outputs |= {name: self._beside(outputs[name].float()) for name in self._take}
                whole = {name: together(values, batch, ranks) for name, values in outputs.items()}
                if ranks.world > 1:
                    batch.targets = {name: all_rows(one, batch, ranks) for name, one in batch.targets.items()}
                terms = self._loss(whole, batch, done)
                # processes' gradients are averaged, and each is that of its own rows alone
                value = self._gradients.add(terms, self._scaled(batch.share * ranks.world))
            count = len(batch.labels)
            self._total += value.to(self._exact) * count
            for name, term in terms.items():
                self._terms[name] = self._terms.get(name, 0.0) + term.detach().to(self._exact) * count
            cursor.seen += count
        conflict = self._gradients.finish()
        if conflict is not None:
            self._conflicts += conflict
        net = self._model.net
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        for part in (net, self._beside):
            if config.clip_grad and part is not None:
                torch.nn.utils.clip_grad_norm_(part.parameters(), config.clip_grad)
        if self._scaler is None:
            self._optimizer.step()
        else:  # all processes have the same gradients, and so leave out a step together where one overflows
            self._scaler.step(self._optimizer)
            self._scaler.update()
        if self._average is not None:
            self._average.update(net, step=update + 1)
        cursor.step += 1

    def _scaled(self, scale: float) -> float | torch.Tensor:
        """What gradients are multiplied by until they are complete."""
        if self._scaler is None:
            return scale
        scaled: torch.Tensor = self._scaler.scale(torch.full((), scale, device=self._device))
        return scaled

    def _note_sums(self) -> None:
        self.cursor.total = float(self._total)
        self.cursor.terms = {name: float(value) for name, value in self._terms.items()}
        self.cursor.conflicts = int(self._conflicts)
        self.cursor.seconds = self._before + time.perf_counter() - self._began

    def _due(self) -> bool:
        return self._checkpoint is not None and self._checkpoint.due

    def save(self) -> None:
        """Keep where the run stands; the first process does."""
        if self._checkpoint is None or not self.ranks.first:
            return
        state = {"place": vars(self.cursor), "records": self.records, "model": self._model.net.state_dict()}
        state |= {"optimizer": self._optimizer.state_dict()}
        state |= {"beside": self._beside.state_dict()} if self._beside is not None else {}
        state |= {"scaler": self._scaler.state_dict()} if self._scaler is not None else {}
        state |= {"average": self._average.module.state_dict()} if self._average is not None else {}
        self._checkpoint.save(state)

    def kept_model(self) -> Model:
        """The model as it would be kept now."""
        if self._average is None:
            return self._model
        kept = copy.copy(self._model)
        kept.net = self._average.module
        return kept

    def end_epoch(self, record: dict[str, Any]) -> None:
        """Go on to the next epoch."""
        self.records.append(record)
        self.cursor = Cursor(self.cursor.epoch + 1)
        if self._due() or self.cursor.epoch == self._config.epochs:
            self.save()

    def finish(self) -> None:
        """Replace the weights by their average, where there is one."""
        if self._average is not None:
            self._model.net.load_state_dict(self._average.module.state_dict())


def together(values: torch.Tensor, batch: Batch, ranks: Ranks) -> torch.Tensor:
    """An output of a whole batch from that of this process's rows: float32 [B, ...].

    Only this process's rows carry a gradient; what the others make of the same loss is theirs to propagate.
    """
    values, rank = values.float(), ranks.rank
    if ranks.world == 1:
        return values
    from torch import distributed

    counts = [len(part) for part in torch.arange(len(batch.labels)).tensor_split(ranks.world)]
    mine = values.new_zeros((max(counts), *values.shape[1:]))
    mine[: len(values)] = values.detach()
    parts = [torch.empty_like(mine) for _ in counts]
    distributed.all_gather(parts, mine)
    others = [part[:count] for part, count in zip(parts, counts, strict=True)]
    return torch.cat([*others[:rank], values, *others[rank + 1 :]])


def all_rows(target: torch.Tensor, batch: Batch, ranks: Ranks) -> torch.Tensor:
    """A target of all of a batch's rows, where it may be of this process's alone."""
    return target if len(target) == len(batch.labels) else together(target, batch, ranks)

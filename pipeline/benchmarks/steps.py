"""A student's steps: from labels alone, from the cache, and with the teacher in the loop."""

import statistics
from collections.abc import Callable

import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.task import LogitDistillationTask

from stillroom.benchmarks.figure import Amp, Figure, alternate, ratios, rounded
from stillroom.benchmarks.rendering import SIZE
from stillroom.cache.read.store import Store
from stillroom.device import autocast, device
from stillroom.losses import load
from stillroom.modalities.images.models.create import Model, create
from stillroom.modalities.images.render import to_input
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.samples import Samples
from stillroom.training.batches import Batch, CachedBatches
from stillroom.training.loop import fit

KD = {"alpha": 0.9, "temperature": 2.0}
STUDENT, TEACHER = "deit_tiny_patch16_224", "convnext_tiny"


def steps(
    samples: Samples,
    store: Store,
    batch_size: int,
    repeats: int,
    amp: Amp,
) -> tuple[list[Figure], dict[str, float]]:
    """Seconds a step: `kd` from the cache over `ce`, and online distillation over `kd`.

    `ce` and `kd` are `fit` on `CachedBatches`, as `stillroom student` runs them: an epoch a repeat. Online is
    timm's `LogitDistillationTask` on the same batches, optimiser, clipping and autocast.

    Returns:
        the figures, and seconds a step of `ce`, `kd` and `online`.
    """
    where = device()
    config = Train(epochs=1, batch_size=batch_size, warmup_epochs=0, lr=1e-4, amp=amp)
    classes = len(samples.classes)

    def arm(name: str, settings: dict) -> tuple[Callable[[int], object], list[float]]:
        loss = load(name, settings)
        model = _student(classes, where)
        source = CachedBatches(samples, store, SIZE, batch_size, 0, loss.outputs)
        taken: list[float] = []

        def of_batch(logits: torch.Tensor, batch: Batch, progress: float) -> torch.Tensor:
            teacher = None if batch.teacher is None else batch.teacher.to(where, non_blocking=True)
            labels = batch.labels.to(where, non_blocking=True)
            return loss(logits, labels, teacher, progress, config.label_smoothing)

        def run(repeat: int) -> None:
            (record,) = fit(model, source, of_batch, config, Progress(), "", lambda record: None)
            if repeat >= 0:
                taken.append(record["seconds"] / source.steps)

        return run, taken

    ce, ce_seconds = arm("ce", {})
    kd, kd_seconds = arm("kd", KD)
    alternate(repeats, ce, kd)
    model = _student(classes, where)
    with torch.random.fork_rng():
        teaching = create(TEACHER, classes, {}, size=SIZE).net.to(where).eval()
    task = LogitDistillationTask(
        model.net,
        teaching,
        criterion=LabelSmoothingCrossEntropy(0.0),
        task_loss_weight=0.1,
        temperature=2.0,
        device=where,
        verbose=False,
    )
    plain = CachedBatches(samples, store, SIZE, batch_size, 0)
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=1e-4)

    def online(repeat: int) -> None:
        task.train()
        total = torch.zeros((), device=where)
        for batch in plain(repeat + 1):
            optimizer.zero_grad()
            with autocast(where, amp):
                inputs = to_input(batch.pixels.to(where, non_blocking=True), model.mean, model.std)
                found = task(inputs, batch.labels.to(where, non_blocking=True))["loss"]
            found.backward()
            torch.nn.utils.clip_grad_norm_(model.net.parameters(), config.clip_grad)
            optimizer.step()
            total += found.detach()
        float(total)  # a GPU has finished when this is known

    fewer = max(1, repeats // 2)
    from_cache, with_teacher = alternate(fewer, kd, online)
    seconds = {
        "ce": statistics.median(ce_seconds),
        "kd": statistics.median(kd_seconds),
        "online": statistics.median(with_teacher) / plain.steps,
    }
    what = f"{STUDENT}, batches of {batch_size} at {SIZE} pixels"
    over_ce, ce_spread = ratios(kd_seconds[:repeats], ce_seconds[:repeats])
    over_kd, kd_spread = ratios(with_teacher, from_cache)
    return [
        Figure(
            "kd step, from the cache",
            rounded(1e3 * seconds["kd"]),
            "ms",
            f"ce step: {rounded(1e3 * seconds['ce'])}",
            round(over_ce, 4),
            "<= 1.02",
            ce_spread,
            what,
        ),
        Figure(
            "kd step, online",
            rounded(1e3 * seconds["online"]),
            "ms",
            f"from the cache: {rounded(1e3 * seconds['kd'])}",
            round(over_kd, 3),
            ">= 2",
            kd_spread,
            f"{TEACHER} in the loop, by timm's LogitDistillationTask",
        ),
    ], seconds


def _student(classes: int, where: torch.device) -> Model:
    with torch.random.fork_rng():
        model = create(STUDENT, classes, {}, size=SIZE)
    model.net.to(where)
    return model

"""A loop of one's own, of `CachedDataset` and torch's DataLoader, against ours."""

import statistics
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from stillroom.benchmarks.figure import Amp, Figure, alternate, ratios, rounded
from stillroom.benchmarks.ground import made_up_cache, photos
from stillroom.benchmarks.rendering import RECIPE, SIZE
from stillroom.benchmarks.steps import KD, STUDENT, student
from stillroom.device import autocast, device, moved
from stillroom.losses import load
from stillroom.machine import worker_count
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.training.batches import CachedBatches
from stillroom.training.dataset import BatchOrder, CachedDataset
from stillroom.training.loop import fit
from stillroom.training.optimizer import create_optimizer
from stillroom.training.student import terms_of


def own_loop(folder: Path, repeats: int, batch_size: int, amp: Amp) -> list[Figure]:
    """Seconds a step of `kd`, an epoch a repeat: a plain loop over a DataLoader, over `fit`.

    Both have the same batches in the same order, the same student, optimiser and schedule, and as many
    workers; what the first epoch decodes is kept in both, and that epoch is not counted. And the batches
    alone, as a network takes them, without a step. Where this process does all the work, the ratio of its
    processor time is noted too: other work on the machine hardly moves it.
    """
    samples = photos(folder / "photos", (16 if device().type == "cuda" else 4) * batch_size)
    samples.save(folder / "data")
    store = made_up_cache(folder, samples, 8, RECIPE, encoding="float16")
    target, config = device(), Train(epochs=1, batch_size=batch_size, warmup_epochs=0, lr=1e-4, amp=amp)
    loss, classes = load("kd", KD), len(samples.classes)
    model, own = student(classes, target), student(classes, target)
    source = CachedBatches(samples, store, model.spec, batch_size, 0, loss.outputs)
    views = CachedDataset(store, folder / "data", root=folder / "photos")
    views.preload()
    order, workers = BatchOrder(views, batch_size), worker_count()
    loader = DataLoader(
        views,
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=target.type == "cuda",
    )
    taken: tuple[list[float], list[float]] = ([], [])
    busy: tuple[list[float], list[float]] = ([], [])  # seconds of processors

    def ours(repeat: int) -> None:
        terms, used = terms_of(loss, config.label_smoothing), time.process_time()
        (record,) = fit(model, source, terms, config, Progress(), "", lambda record: None)
        if repeat >= 0:
            taken[0].append(record["seconds"] / source.steps)
            busy[0].append(time.process_time() - used)

    def theirs(repeat: int) -> None:
        used = time.process_time()
        optimizer, scheduler = create_optimizer(own.net, config, len(loader))
        own.net.train()
        order.set_epoch(0)  # as `fit` above, whose epoch is the first
        began, total = time.perf_counter(), torch.zeros((), device=target)
        for step, batch in enumerate(loader):
            scheduler.step_update(step)
            inputs, labels, said = (
                moved(batch[name], target) for name in ("pixel_values", "labels", "teacher_logits")
            )
            with autocast(target, amp):
                logits = own.net(inputs).float()
            terms = loss({"logits": logits}, labels, {"logits": said}, 0.0, 0.0)
            value = torch.stack([*terms.values()]).sum()
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(own.net.parameters(), config.clip_grad)
            optimizer.step()
            total += value.detach() * len(labels)
        float(total)  # waits for the last step, as an epoch's record does
        if repeat >= 0:
            taken[1].append((time.perf_counter() - began) / len(loader))
            busy[1].append(time.process_time() - used)

    def our_batches(repeat: int) -> None:
        for batch in source(0):
            model.prepare(moved(batch.inputs, target))

    def their_batches(repeat: int) -> None:
        for batch in loader:
            moved(batch["pixel_values"], target)

    alternate(repeats, ours, theirs)
    ratio, spread = ratios(taken[1], taken[0])
    alone = alternate(repeats, our_batches, their_batches)
    slower, alone_spread = ratios(alone[1], alone[0])
    rates = [len(samples) / statistics.median(one) for one in alone]
    processor, _ = ratios(busy[1], busy[0])
    alike = workers == 0 and target.type == "cpu"
    noted = f"; of processor time {rounded(processor)}" if alike else ""
    step = [1e3 * statistics.median(one) for one in taken]
    return [
        Figure(
            "kd step, CachedDataset and a DataLoader",
            rounded(step[1]),
            "ms",
            f"our loop: {rounded(step[0])}",
            round(ratio, 4),
            "<= 1.05",
            spread,
            f"{STUDENT}, batches of {batch_size} at {SIZE} pixels, {workers} workers in both{noted}",
            {"processor": processor} if alike else {},
        ),
        Figure(
            "its batches alone, without a step",
            rounded(rates[1]),
            "views/s",
            f"our loop's: {rounded(rates[0])}",
            rounded(slower),
            "",
            alone_spread,
            "the ratio is of the times",
        ),
    ]

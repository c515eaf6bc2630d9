"""A student's steps: from labels alone, from the cache, and with the teacher in the loop."""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from stillroom.benchmarks.figure import Amp, Figure, alternate, ratios, rounded
from stillroom.benchmarks.rendering import SIZE
from stillroom.cache.read.store import Store
from stillroom.device import device
from stillroom.losses import load
from stillroom.modalities.images.models.create import Model, create
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.samples import Samples
from stillroom.training.batches import CachedBatches
from stillroom.training.loop import fit
from stillroom.training.student import terms_of
from stillroom.views.planes import Asked

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

    All are `fit` on `CachedBatches`, as `stillroom student` (and `stillroom student --online`) runs them: an
    epoch a repeat.

    Returns:
        the figures, and seconds a step of `ce`, `kd` and `online`.
    """
    target = device()
    config = Train(epochs=1, batch_size=batch_size, warmup_epochs=0, lr=1e-4, amp=amp)
    classes = len(samples.classes)

    with torch.random.fork_rng():
        teacher = create(TEACHER, classes, {}, size=SIZE)
    teacher.net.to(target)

    def arm(
        name: str, settings: dict[str, Any], teachers: list[Asked] | None = None
    ) -> tuple[Callable[[int], object], list[float]]:
        loss = load(name, settings)
        model = student(classes, target)
        source = CachedBatches(
            samples, store, model.spec, batch_size, 0, loss.outputs, teachers=teachers, amp=amp
        )
        taken: list[float] = []

        def run(repeat: int) -> None:
            terms = terms_of(loss, config.label_smoothing)
            (record,) = fit(model, source, terms, config, Progress(), "", lambda record: None)
            if repeat >= 0:
                taken.append(record["seconds"] / source.steps)

        return run, taken

    ce, ce_seconds = arm("ce", {})
    kd, kd_seconds = arm("kd", KD)
    online, online_seconds = arm("kd", KD, [Asked([teacher])])
    alternate(repeats, ce, kd)
    fewer = max(1, repeats // 2)
    from_cache, with_teacher = alternate(fewer, kd, online)
    seconds = {
        "ce": statistics.median(ce_seconds),
        "kd": statistics.median(kd_seconds),
        "online": statistics.median(online_seconds),
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
            f"{TEACHER} in the loop",
        ),
    ], seconds


def student(classes: int, target: torch.device) -> Model:
    """The student that is timed, on its device."""
    with torch.random.fork_rng():
        model = create(STUDENT, classes, {}, size=SIZE)
    model.net.to(target)
    return model

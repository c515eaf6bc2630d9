"""Clips: views rendered, and the steps of what students of skeletons learn by, from the cache and online."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillroom.benchmarks.figure import Amp, Figure, alternate, ratios, rounded
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import publish
from stillroom.cache.write.staging import Staging
from stillroom.device import device
from stillroom.distributed import Ranks
from stillroom.losses import load
from stillroom.modalities.base import Model, Policy
from stillroom.modalities.params import check
from stillroom.modalities.skeletons import MODALITY
from stillroom.params import Params, Train
from stillroom.progress import Progress
from stillroom.provenance.identity import of_data, of_outputs
from stillroom.provenance.teacher import Teacher
from stillroom.samples import Samples
from stillroom.teaching.generate import array_specs, divide, generate
from stillroom.training.batches import CachedBatches
from stillroom.training.loop import fit
from stillroom.training.student import gradients_of, terms_of
from stillroom.views.planes import Asked

# As of the preset penn-action: its joints, frames and networks
PARAMS = {
    "data": {"name": "sketch_skeletons", "train_per_class": 20, "test_per_class": 1},
    "views": {"count": 4, "size": 32, "recipe": {"name": "move"}},
    "teacher": {"arch": "stgcn", "size": "small"},
    "cache": {"teachers": {"logits": "none", "features": {"take": "pooled"}}},
    "student": {"model": {"size": "tiny"}, "corruption": {"name": "joint_loss", "joints": 8}},
}


def clips(folder: Path, repeats: int, batch_size: int, amp: Amp) -> list[Figure]:
    """Views a second, seconds a step of each loss, and bytes a view.

    Args:
        folder: a new one.
    """
    params = check(PARAMS, "bench")
    folder.mkdir(parents=True)
    samples = MODALITY.prepare(params.data, folder / "data", Progress()).in_splits("train")
    policy = MODALITY.policy(params.views.recipe)
    teacher = MODALITY.create(MODALITY.teacher(params), len(samples.classes))
    teacher.net.to(device())
    store = _cache(folder, params, samples, policy, teacher)
    size = store.size_on_disk()[1] / (len(samples) * store.layout.views)
    return [
        _rendering(samples, store, teacher, repeats),
        *_steps(params, samples, store, teacher, batch_size, repeats, amp),
        Figure(
            "bytes a view of a clip",
            rounded(size),
            "bytes",
            "",
            None,
            "<= 3000",
            note="logits of 14 classes, 96 features of 13 joints in float16, and the view's parameters",
        ),
    ]


def _cache(folder: Path, params: Params, samples: Samples, policy: Policy, teacher: Model) -> Store:
    described = {
        "arch": teacher.arch,
        "overrides": teacher.overrides,
        "digest": "0" * 64,
        "classes": list(samples.classes),
        "input": teacher.spec,
    }
    outputs = of_outputs({"logits": described}, params.cache, lambda name: teacher)
    identity = {**of_data(samples, params.views), "outputs": outputs}
    specs = array_specs(identity, MODALITY)
    keys = samples.packed_keys()
    with Staging(folder / "staging", identity, specs, keys, samples.labels(), 1024) as staging:
        todo = divide(staging, params.views.count, Ranks.alone(), Progress())
        generate(Teacher([teacher]), samples, policy, 0, staging, todo, 64, "none", Progress())
        publish([staging], folder / "cache", "zarr", params.views.count, {}, [])
    return open_store(folder / "cache")


def _rendering(samples: Samples, store: Store, teacher: Model, repeats: int) -> Figure:
    """Views a second on one core: of stored parameters, and by a loop over frames as loaders have it."""
    reader = MODALITY.reader(samples)
    reader.preload(samples.rows)
    parameters = [store.parameters(view) for view in range(store.layout.views)]

    def ours(repeat: int) -> None:
        views = MODALITY.stored(parameters[repeat % len(parameters)], samples)
        for number in range(len(samples)):
            MODALITY.render(reader, views[number], teacher.spec)

    def theirs(repeat: int) -> None:
        views = MODALITY.stored(parameters[repeat % len(parameters)], samples)
        for number in range(len(samples)):
            request = views[number]
            looped(reader[request.sample][:, 0], request.parameters, teacher.spec["frames"])

    mine, usual = alternate(repeats, ours, theirs)
    ratio, spread = ratios(usual, mine)
    rates = [len(samples) / statistics.median(seconds) for seconds in (mine, usual)]
    return Figure(
        "views of clips rendered",
        rounded(rates[0]),
        "views/s a core",
        f"a loop over frames: {rounded(rates[1])}",
        rounded(ratio),
        ">= 1",
        spread,
        "24 to 60 frames of 13 joints to 32 frames: crop, resampling, mirror, rotation, shear, size",
    )


def looped(clip: np.ndarray, view: Any, frames: int) -> np.ndarray:
    """The plain way: frame by frame and joint by joint where one is missing, [frames, J, D + 1]."""
    found = np.zeros((frames, *clip.shape[1:]), np.float32)
    turn = np.array(
        [[np.cos(view.angle[2]), -np.sin(view.angle[2])], [np.sin(view.angle[2]), np.cos(view.angle[2])]]
    )
    last = len(clip) - 1
    for number in range(frames):
        place = min(last, view.start * last + view.length * last * number / max(1, frames - 1))
        first, share = int(place), place - int(place)
        for joint in range(clip.shape[1]):
            before, after = clip[first, joint], clip[min(last, first + 1), joint]
            if before[-1] > 0 and after[-1] > 0:
                found[number, joint] = before * (1 - share) + after * share
            elif before[-1] > 0 or after[-1] > 0:
                found[number, joint] = before if before[-1] > 0 else after
            found[number, joint, :2] = turn @ found[number, joint, :2]
    there = found[..., -1] > 0
    found[..., :2] -= found[there][:, :2].mean(axis=0)
    found[..., :2] /= found[there][:, :2].std() or 1
    found[~there] = 0
    return found


def _steps(
    params: Params,
    samples: Samples,
    store: Store,
    teacher: Model,
    batch_size: int,
    repeats: int,
    amp: Amp,
) -> list[Figure]:
    config = Train(epochs=1, batch_size=batch_size, warmup_epochs=0, lr=1e-4, amp=amp)
    corruption = MODALITY.corruption(params.student.corruption)

    def arm(
        name: str, revise: str = "", teachers: list[Asked] | None = None
    ) -> tuple[Callable[[int], None], list[float]]:
        loss = load(name, {"revise": revise} if revise else {})
        family = params.student.families[0]
        model = MODALITY.create(
            MODALITY.student(family, params.student.model, teacher.spec), len(samples.classes)
        )
        model.net.to(device())
        source = CachedBatches(
            samples,
            store,
            model.spec,
            batch_size,
            0,
            loss.outputs,
            teachers=teachers,
            amp=amp,
            features=loss.features,
            corruption=corruption,
        )
        layer = "pooled" if loss.features else None
        taken: list[float] = []

        def run(repeat: int) -> None:
            terms = terms_of(loss, 0.0, layer)
            (record,) = fit(
                model,
                source,
                terms,
                config,
                Progress(),
                "",
                lambda record: None,
                take=[layer] if layer else [],
                gradients=gradients_of(loss),
            )
            if repeat >= 0:
                taken.append(record["seconds"] / source.steps)

        return run, taken

    asked = [Asked([teacher], None, True, "pooled")]
    ways = {
        "ce": arm("ce"),
        "kd": arm("kd"),
        "gm": arm("gm"),
        "skd, revise: none": arm("skd", "none"),
        "skd, revise: sum": arm("skd", "sum"),
        "skd, revise: each": arm("skd", "each"),
        "skd, revise: sum, online": arm("skd", "sum", asked),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alternate(repeats, *(run for run, _ in ways.values()))
    finally:
        torch.set_num_threads(threads)
    taken = {name: each for name, (_, each) in ways.items()}
    seconds = {name: statistics.median(each) for name, each in taken.items()}
    goals = {
        "kd": "<= 1.1",
        "gm": "<= 1.2",
        "skd, revise: none": "<= 1.3",
        "skd, revise: sum": "<= 2",
        "skd, revise: each": "<= 4",
    }
    figures = []
    for name, goal in goals.items():
        ratio, spread = ratios(taken[name], taken["ce"])
        figures.append(
            Figure(
                f"{name} step, from the cache",
                rounded(1e3 * seconds[name]),
                "ms",
                f"ce step: {rounded(1e3 * seconds['ce'])}",
                round(ratio, 3),
                goal,
                spread,
                f"ST-GCN tiny, batches of {batch_size} clips of 32 frames, 8 of 13 joints lost",
            )
        )
    online, cached = "skd, revise: sum, online", "skd, revise: sum"
    ratio, spread = ratios(taken[online], taken[cached])
    figures.append(
        Figure(
            f"{online}",
            rounded(1e3 * seconds[online]),
            "ms",
            f"from the cache: {rounded(1e3 * seconds[cached])}",
            round(ratio, 3),
            ">= 1",
            spread,
            "ST-GCN small in the loop",
        )
    )
    return figures

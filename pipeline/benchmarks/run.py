"""The parts of `stillroom bench`, each a function of a folder to work in."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from stillroom.benchmarks.clips import clips
from stillroom.benchmarks.commands import commands
from stillroom.benchmarks.encodings import curve
from stillroom.benchmarks.figure import Amp, Figure, rounded
from stillroom.benchmarks.ground import made_up_cache, photos
from stillroom.benchmarks.own_loop import own_loop
from stillroom.benchmarks.rendering import RECIPE, rendering
from stillroom.benchmarks.scale import scale
from stillroom.benchmarks.stage_one import stage_one
from stillroom.benchmarks.steps import STUDENT, TEACHER, steps
from stillroom.benchmarks.stores import bytes_a_view, memory, reading
from stillroom.device import device
from stillroom.modalities.params import load_params

Part = Callable[[Path, int, int | None], list[Figure]]


def _views(folder: Path, repeats: int, batch_size: int | None) -> list[Figure]:
    samples = photos(folder / "photos", 64)
    store = made_up_cache(folder, samples, 8, RECIPE, encoding="float16")
    return [rendering(samples, store, repeats)]


def _training(folder: Path, repeats: int, batch_size: int | None) -> list[Figure]:
    gpu = device().type == "cuda"
    amp: Amp = "bf16" if gpu else "none"
    size = batch_size or (256 if gpu else 16)
    samples = photos(folder / "photos", (16 if gpu else 4) * size)
    store = made_up_cache(folder, samples, 8, RECIPE, encoding="float16")
    figures, seconds = steps(samples, store, size, repeats, amp)
    cached, forward = stage_one(folder, samples, TEACHER, repeats, batch_size or 64, amp)
    a_view = {name: one / size for name, one in seconds.items()}
    return [*figures, *cached, _experiment(a_view, forward, 1 / cached[0].value)]


def _loop(folder: Path, repeats: int, batch_size: int | None) -> list[Figure]:
    gpu = device().type == "cuda"
    return own_loop(folder, repeats, batch_size or (256 if gpu else 16), "bf16" if gpu else "none")


def _clips(folder: Path, repeats: int, batch_size: int | None) -> list[Figure]:
    amp: Amp = "bf16" if device().type == "cuda" else "none"
    return clips(folder, repeats, batch_size or 32, amp)


def _experiment(a_view: dict[str, float], forward: float, cached: float) -> Figure:
    """The paper's grid (the preset stanford40), added up from what was measured.

    Args:
        a_view: seconds that a student takes for a sample in a step, by `ce`, `kd` and `online`.
        forward, cached: seconds a view of the bare teacher, and of stage one.
    """
    params = load_params(Path(str(resources.files("stillroom.presets") / "stanford40.yaml")))
    student, samples = params.student, 4000
    epochs = sum(student.train_of(family).epochs for family in student.families) * len(student.seeds)
    # a step of training takes a forward pass and about two more for the gradients
    teacher = params.teacher.train.epochs * samples * 3 * forward
    offline = (
        teacher + params.views.count * samples * cached + epochs * samples * (a_view["ce"] + a_view["kd"])
    )
    online = teacher + epochs * samples * (a_view["ce"] + a_view["online"])
    return Figure(
        "the paper's grid",
        rounded(offline / 3600),
        "hours",
        f"with an online teacher: {rounded(online / 3600)}",
        rounded(online / offline),
        ">= 1",
        note=f"added up for the preset stanford40: teacher, cache of {params.views.count} views, "
        f"{len(student.families)} students x {len(student.seeds)} seeds in both arms, each as {STUDENT}",
    )


PARTS: dict[str, Part] = {
    "views": _views,
    "training": _training,
    "loop": _loop,
    "clips": _clips,
    "plane": lambda folder, repeats, batch_size: [reading(folder, repeats)],
    "memory": lambda folder, repeats, batch_size: [memory(folder)],
    "bytes": lambda folder, repeats, batch_size: bytes_a_view(folder),
    "encodings": lambda folder, repeats, batch_size: curve(folder),
    "scale": lambda folder, repeats, batch_size: scale(folder, repeats),
    "commands": lambda folder, repeats, batch_size: commands(repeats),
}

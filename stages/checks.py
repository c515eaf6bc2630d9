"""Checks of the parameters that come before any work."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom_stages.artifacts import CACHE, DATA, REPORT, STAGING, STUDENTS, TEACHER

if TYPE_CHECKING:
    from stillroom.params import Params

# Asked of timm only where they are not these: its import takes seconds
USUAL_OPTIMISERS = ("adam", "adamw", "lamb", "lion", "muon", "sgd")


def check_choices(params: "Params", source: str) -> None:
    """Refuse names of which there is no policy, loss, store, encoding, family, tracker, teacher or optimiser,
    and a teacher of random weights.

    Raises:
        ParamsError: names the nearest valid one.
    """
    from stillroom import losses, modalities, trackers
    from stillroom.cache import encodings, stores
    from stillroom.errors import ParamsError

    modality = modalities.of_data_set(params.data.name)
    modality.check(params, source)
    modality.corruption(params.student.corruption, source)
    modality.levels(params.student.corruption, params.report.levels, source)
    student = params.student
    own = student.losses.model_extra or {}
    for name, key in [(arm, "student.arms") for arm in student.arms] + [
        (name, f"student.losses.{name}") for name in own
    ]:
        losses.check(name, f"{source}: {key}")
    for name in params.track:
        trackers.check(name, f"{source}: track")
    stores.check(params.cache.store, f"{source}: cache.store")
    encodings.described(params.cache, source)
    opts = {"teacher.train.opt": params.teacher.train.opt, "student.train.opt": student.train.opt}
    opts |= {f"student.family_train.{name}.opt": student.train_of(name).opt for name in student.family_train}
    for key, opt in opts.items():
        if opt not in USUAL_OPTIMISERS:
            from stillroom.training.optimizer import check_optimiser

            check_optimiser(opt, f"{source}: {key}")
    teacher = params.teacher
    if teacher.train.epochs == 0 and teacher.weights == "none" and not modality.brings_weights(teacher.arch):
        raise ParamsError(
            f"{source}: teacher.train.epochs = 0 with teacher.weights = 'none'",
            "the teacher would keep its random weights, and students would learn from noise",
            "set teacher.train.epochs to 1 or more, or teacher.weights to hub or a .safetensors file",
        )


def check_inputs(params: "Params") -> None:
    """Refuse data or weights in a folder that a stage replaces: it would delete what it is to read.

    Raises:
        ParamsError: names the parameter, the folder and what to do.
    """
    from stillroom import modalities
    from stillroom.errors import ParamsError
    from stillroom.files import replaced
    from stillroom.params import LOCAL

    model = params.student.model
    weights = {"teacher.weights": params.teacher.weights, "student.model.weights": model.weights}
    weights |= {f"student.model.family_weights.{name}": file for name, file in model.family_weights.items()}
    inputs = {name: file for name, file in weights.items() if file not in ("hub", "none")}
    sources = {f"student.model.sources.{name}": one for name, one in getattr(model, "sources", {}).items()}
    named = {"teacher.arch": params.teacher.arch, **sources}
    folders = {name: one.removeprefix(LOCAL) for name, one in named.items() if one.startswith(LOCAL)}
    inputs |= folders
    modality = modalities.of_data_set(params.data.name)
    data = modality.data_inputs(params.data)
    inputs |= {name: path for name, path in data.items() if path is not None}
    for name, path in inputs.items():
        folder = replaced(Path(os.path.expanduser(path)), (DATA, TEACHER, CACHE, STUDENTS, REPORT, STAGING))
        if folder is None:
            continue
        if name == "data.path":
            real = os.path.relpath(os.path.realpath(path))
            what = modality.SAMPLES
            fix = f"move the {what} out of it (mv {real} {what}), and set {name} to where they are"
        elif name in folders:
            fix = f"copy the folder out of it (cp -r {path} start), and set {name} to {LOCAL}start"
        elif name in data:
            fix = f"move the file out of it, and set {name} to where it is"
        else:
            fix = f"copy the file out of it (cp {path} start.safetensors), and set {name} to the copy"
            if not Path(path).exists():  # DVC removes a stage's outputs before it runs the command
                fix += f"; what a stage wrote there, `dvc checkout {path}` brings back"
        why = "stages replace what is in that folder: nothing in it may be an input"
        raise ParamsError(f"{name} = {path!r} lies in {folder}", why, fix)


def check_family(params: "Params", family: str, source: str) -> "tuple[Params, str]":
    """Refuse what is neither a family nor a model by its own name.

    Returns:
        the parameters and the name that the family has there: a folder or a repository gets one.

    Raises:
        ParamsError: names the nearest ones.
        WeightsError: the folder or repository that it names is not there, or holds no model.
    """
    from stillroom import modalities

    modality = modalities.of_data_set(params.data.name)
    params, family = modality.by_name(params, family)
    if family not in getattr(params.student.model, "sources", {}):
        modality.check_family(family, source)
    return params, family

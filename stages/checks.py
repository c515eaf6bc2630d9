"""Checks of the parameters that come before any work."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom_stages.artifacts import CACHE, DATA, REPORT, STAGING, STUDENTS, TEACHER

if TYPE_CHECKING:
    from stillroom.params import Params

# Asked of timm only where they are not these: its import takes seconds
USUAL_OPTIMISERS = ("adam", "adamw", "lamb", "lion", "muon", "sgd")
USUAL_TEACHERS = ("convnext_atto", "convnext_nano", "convnext_tiny", "convnext_base", "vit_tiny_patch16_224")


def check_choices(params: "Params", source: str) -> None:
    """Refuse a policy, loss, family, teacher or optimiser that is not there, and a teacher of random weights.

    Raises:
        ParamsError: names the nearest valid one.
    """
    from stillroom import losses
    from stillroom.errors import ParamsError
    from stillroom.modalities.images.policies import make_recipe

    make_recipe(params.views.recipe, source)
    student = params.student
    for key, names in (
        ("families", student.families),
        ("family_train", student.family_train),
        ("model.family_weights", student.model.family_weights),
    ):
        for family in names:
            check_family(family, f"{source}: student.{key}")
    own = student.losses.model_extra or {}
    for name, key in [(arm, "student.arms") for arm in student.arms] + [
        (name, f"student.losses.{name}") for name in own
    ]:
        losses.check(name, f"{source}: {key}")
    opts = {"teacher.train.opt": params.teacher.train.opt, "student.train.opt": student.train.opt}
    opts |= {f"student.family_train.{name}.opt": student.train_of(name).opt for name in student.family_train}
    for key, opt in opts.items():
        if opt not in USUAL_OPTIMISERS:
            from stillroom.training.optimizer import check_optimiser

            check_optimiser(opt, f"{source}: {key}")
    if params.teacher.arch not in USUAL_TEACHERS:
        from stillroom.modalities.images.models.create import check_model

        check_model(params.teacher.arch, f"{source}: teacher.arch")
    if params.teacher.train.epochs == 0 and params.teacher.weights == "none":
        raise ParamsError(
            f"{source}: teacher.train.epochs = 0 with teacher.weights = 'none'",
            "the teacher would keep its random weights, and students would learn from noise",
            "set teacher.train.epochs to 1 or more, or teacher.weights to hub or a .safetensors file",
        )


def check_inputs(params: "Params") -> None:
    """Refuse images or weights in a folder that a stage replaces: it would delete what it is to read.

    Raises:
        ParamsError: names the parameter, the folder and what to do.
    """
    from stillroom.errors import ParamsError
    from stillroom.files import replaced

    model = params.student.model
    weights = {"teacher.weights": params.teacher.weights, "student.model.weights": model.weights}
    weights |= {f"student.model.family_weights.{name}": file for name, file in model.family_weights.items()}
    inputs = {name: file for name, file in weights.items() if file not in ("hub", "none")}
    data = params.data
    images = {"data.path": data.path, "data.skip": data.skip, "data.split_file": data.split_file}
    inputs |= {name: path for name, path in images.items() if path is not None}
    for name, path in inputs.items():
        folder = replaced(Path(os.path.expanduser(path)), (DATA, TEACHER, CACHE, STUDENTS, REPORT, STAGING))
        if folder is None:
            continue
        if name == "data.path":
            real = os.path.relpath(os.path.realpath(path))
            fix = f"move the images out of it (mv {real} images), and set {name} to where they are"
        elif name in images:
            fix = f"move the file out of it, and set {name} to where it is"
        else:
            fix = f"copy the file out of it (cp {path} start.safetensors), and set {name} to the copy"
            if not Path(path).exists():  # DVC removes a stage's outputs before it runs the command
                fix += f"; what a stage wrote there, `dvc checkout {path}` brings back"
        why = "stages replace what is in that folder: nothing in it may be an input"
        raise ParamsError(f"{name} = {path!r} lies in {folder}", why, fix)


def check_family(family: str, where: str) -> None:
    """Refuse what is neither a family nor a timm model; timm is imported only where it must be asked.

    Raises:
        ParamsError: names the nearest ones.
    """
    from stillroom.params import FAMILIES

    if family not in FAMILIES:
        from stillroom.modalities.images.models import families

        families.check_family(family, where)

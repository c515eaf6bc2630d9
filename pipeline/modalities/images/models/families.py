"""Six student families: their timm names and sizes, and the input sizes that each can take."""

import difflib
from dataclasses import dataclass, field
from typing import Any

import timm

from stillroom.errors import ParamsError
from stillroom.modalities.base import Start
from stillroom.modalities.images.models import timm_folder
from stillroom.modalities.images.models.create import near_sizes, takes
from stillroom.modalities.images.settings import StudentModel
from stillroom.params import Params


@dataclass(frozen=True)
class FamilySpec:
    """What timm calls a family.

    Attributes:
        names: size -> timm model name.
        multiple: input sizes must be multiples of this many pixels (`micro_multiple` for size `micro`).
        smallest: the smallest input in pixels (`micro_smallest` for size `micro`).
        micro: arguments that make of the `micro` name a model of about a million parameters or less.
        takes_image_size: the constructor wants `img_size`.
    """

    names: dict[str, str]
    multiple: int
    smallest: int
    micro: dict[str, Any] = field(default_factory=dict)
    micro_multiple: int = 32
    micro_smallest: int = 32
    takes_image_size: bool = True


# Sizes follow timm's; every name below exists in timm 1.0. PVT v2, MViT v2, Swin and Twins start from a grid
# of a quarter of the input and halve it three times, hence multiples of 32.
FAMILIES: dict[str, FamilySpec] = {
    "vit": FamilySpec(
        names={
            "micro": "vit_tiny_patch16_224",
            "tiny": "vit_tiny_patch16_224",
            "small": "vit_small_patch16_224",
            "base": "vit_base_patch16_224",
        },
        multiple=16,
        smallest=32,
        micro={"patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3},
        micro_multiple=8,
        micro_smallest=16,
    ),
    "pvt": FamilySpec(
        names={"micro": "pvt_v2_b0", "tiny": "pvt_v2_b0", "small": "pvt_v2_b2", "base": "pvt_v2_b4"},
        multiple=32,
        smallest=32,
        micro={"depths": (1, 1, 1, 1), "embed_dims": (24, 48, 96, 128), "num_heads": (1, 2, 3, 4)},
        takes_image_size=False,
    ),
    "convit": FamilySpec(
        names={"micro": "convit_tiny", "tiny": "convit_tiny", "small": "convit_small", "base": "convit_base"},
        multiple=16,
        smallest=32,
        # timm multiplies embed_dim by num_heads
        micro={"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 4, "local_up_to_layer": 3},
        micro_multiple=8,
        micro_smallest=16,
    ),
    "mvit": FamilySpec(
        names={"micro": "mvitv2_tiny", "tiny": "mvitv2_tiny", "small": "mvitv2_small", "base": "mvitv2_base"},
        multiple=32,
        smallest=64,
        micro={"cfg_variant": "mvitv2_micro"},
        micro_smallest=64,
    ),
    "swin": FamilySpec(
        names={
            "micro": "swin_tiny_patch4_window7_224",
            "tiny": "swin_tiny_patch4_window7_224",
            "small": "swin_small_patch4_window7_224",
            "base": "swin_base_patch4_window7_224",
        },
        multiple=32,
        smallest=64,
        micro={"embed_dim": 32, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)},
        micro_smallest=64,
    ),
    "twins": FamilySpec(
        names={
            "micro": "twins_svt_small",
            "tiny": "twins_pcpvt_small",
            "small": "twins_svt_small",
            "base": "twins_svt_base",
        },
        multiple=32,
        smallest=64,
        micro={
            "depths": (1, 1, 2, 1),
            "embed_dims": (32, 64, 96, 128),
            "num_heads": (1, 2, 3, 4),
            "wss": (4, 4, 4, 2),
        },
        micro_smallest=64,
    ),
}


def check_family(name: str, key: str) -> None:
    """Refuse what is neither a family nor a timm model.

    Args:
        key: what names it, for the message.

    Raises:
        ParamsError: names the nearest ones.
    """
    if name in FAMILIES or timm.is_model(name):
        return
    near = difflib.get_close_matches(name, FAMILIES, n=1) or difflib.get_close_matches(
        name, timm.list_models()
    )
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ParamsError(
        f"{key}: there is no family and no timm model {name!r}",
        fix=f"{hint}families: {', '.join(FAMILIES)}; or a name of `timm.list_models()`",
    )


def check_free(name: str, key: str) -> None:
    """Refuse a name of one's own that another model has.

    Args:
        key: what names it, for the message.

    Raises:
        ParamsError: see above.
    """
    if name in FAMILIES or timm.is_model(name):
        raise ParamsError(
            f"{key}: {name} is {'a family' if name in FAMILIES else 'a timm model'} already",
            fix="give it another name",
        )


def student_of(family: str, model: StudentModel, side: int) -> tuple[str, dict[str, Any], Start | None]:
    """The timm name and arguments of a student at an input size, and the weights that it brings.

    Args:
        family: as of `student_arch`, or one of `model.sources`.
        side: of its input, in pixels.

    Raises:
        ParamsError: it cannot take this size.
        WeightsError: what brings its weights is not there.
    """
    if family not in model.sources:
        return *student_arch(family, model.size, side, model.overrides), None
    config, start = timm_folder.read(model.sources[family])
    given = {name: value for name, value in config.model_args.items() if name != "img_size"}
    return *_by_name(config.architecture, side, given | model.overrides), start


def student_arch(
    family: str, size: str, image_size: int, overrides: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """The timm name and arguments of a student at an input size.

    Args:
        family: one of `FAMILIES`, or any timm model by its own name.
        size: `micro`, `tiny`, `small` or `base`; of a family only.
        image_size: side of the input in pixels.
        overrides: further arguments, which take precedence.

    Returns:
        name and keyword arguments for `timm.create_model`.

    Raises:
        ParamsError: there is no such family or model, or it cannot take that input size; the message names
            sizes that work.
    """
    if family not in FAMILIES:
        return _by_name(family, image_size, overrides or {})
    spec = FAMILIES[family]
    micro = size == "micro"
    multiple = spec.micro_multiple if micro else spec.multiple
    smallest = spec.micro_smallest if micro else spec.smallest
    if image_size % multiple or image_size < smallest:
        below, above = image_size // multiple * multiple, -(-image_size // multiple) * multiple
        works = sorted({max(side, smallest) for side in (below, above)})
        raise ParamsError(
            f"{family} ({size}) cannot take {image_size} x {image_size} pixels",
            f"it needs a multiple of {multiple}, at least {smallest}",
            f"set student.model.image_size (or views.size) to {' or '.join(map(str, works))}",
        )
    arguments: dict[str, Any] = dict(spec.micro) if micro else {}
    if spec.takes_image_size:
        arguments["img_size"] = image_size
    if family == "swin":
        # timm's rule at 224 (a window of 7), kept for other inputs: it divides each stage's grid; at least 4
        arguments["window_size"] = max(4, image_size // 32)
    return spec.names[size], arguments | (overrides or {})


def _by_name(name: str, image_size: int, overrides: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A timm model with the arguments under which it takes the input size; tried without weights."""
    check_family(name, "family")
    arguments, why = _takes(name, image_size, overrides)
    if arguments is not None:
        return name, arguments
    near_first = near_sizes(name, image_size)
    works = [side for side in near_first if _takes(name, side, overrides)[0] is not None][:3]
    fix = f"set student.model.image_size (or views.size) to {' or '.join(map(str, sorted(works)))}"
    raise ParamsError(
        f"{name} cannot take {image_size} x {image_size} pixels",
        why,
        fix if works else "give the arguments of timm.create_model that it needs in student.model.overrides",
    )


def _takes(name: str, image_size: int, overrides: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    return takes(name, image_size, [{"img_size": image_size} | overrides, overrides])


def check_sizes(params: Params, seen: int) -> None:
    """Refuse a size that families of the matrix do not take; all are named, with sizes that suit all.

    Args:
        seen: side of what the teacher sees, in pixels.

    Raises:
        ParamsError: see above.
    """
    model = params.student.model
    assert isinstance(model, StudentModel)
    side, overrides = model.image_size or seen, model.overrides

    def fault(family: str, side: int) -> ParamsError | None:
        try:
            arch, arguments, _ = student_of(family, model, side)
        except ParamsError as error:
            return error
        if overrides and family in FAMILIES:  # what is no override is known to work
            taken, why = takes(arch, side, [arguments])
            if taken is None:
                return ParamsError(
                    f"{family}: timm cannot make {arch} with {overrides}",
                    why,
                    "change student.model.overrides, or train the families that take them by themselves",
                )
        return None

    families = params.student.families
    faults = [error for error in (fault(family, side) for family in families) if error is not None]
    if len(faults) < 2:
        for error in faults:
            raise error
        return
    arch = FAMILIES["vit"].names["micro"]
    works = [near for near in near_sizes(arch, side) if not any(fault(one, near) for one in families)][:2]
    key = "student.model.image_size" if model.image_size else "views.size"
    raise ParamsError(
        "; ".join(error.what for error in faults),
        "; ".join(dict.fromkeys(error.why for error in faults)),
        f"set {key} to {' or '.join(map(str, sorted(works)))}" if works else "train them by themselves",
    )

"""timm models with weights: from the hub, from a safetensors file, or fresh; and models of a function."""

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import mvitv2
from torch.nn.modules.module import register_module_module_registration_hook

from stillroom.errors import ParamsError, WeightsError, different
from stillroom.modalities import base
from stillroom.modalities.base import Architecture, Loaded, Start
from stillroom.modalities.images.models import entry, timm_folder
from stillroom.modalities.images.models.places import channels_first, last_stage, square
from stillroom.modalities.images.render import to_input
from stillroom.modalities.weights import fill_in, read_weights
from stillroom.trust import check_trusted

# timm takes an MViT's shape from this table only; half a million parameters for inputs of 64 pixels.
mvitv2.model_cfgs["mvitv2_micro"] = mvitv2.MultiScaleVitCfg(depths=(1, 1, 2, 1), embed_dim=24, num_heads=1)

MOST_MODULES = 20_000  # ten times what the largest of timm's models has
CORE_IMAGES = 16  # images a forward pass on one core at 128 pixels, so that they stay in its cache


@dataclass
class Model(base.Model):
    """A timm model: `size` is the side of its input in pixels, `mean` and `std` of values in [0, 1]."""

    net: torch.nn.Module
    arch: str
    overrides: dict[str, Any]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    loaded: Loaded

    @property
    def spec(self) -> base.Spec:
        """`size`, `mean` and `std`."""
        return {"size": self.size, "mean": list(self.mean), "std": list(self.std)}

    def prepare(self, raw: torch.Tensor) -> torch.Tensor:
        """uint8 [B, S, S, 3] to float32 [B, 3, S, S], on the device that holds them."""
        return to_input(raw, self.mean, self.std)

    def example(self, count: int) -> torch.Tensor:
        """float32 [count, 3, S, S], all zero."""
        return torch.zeros(count, 3, self.size, self.size)

    def config(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """timm's."""
        return timm_folder.config(self.net, self.arch, self.overrides, self.spec, classes)

    def layers(self) -> dict[str, tuple[torch.nn.Module, tuple[int, ...]]]:
        """`pooled`: what its classifier is given, [D], where the network says which that is."""
        net: Any = self.net
        timms = hasattr(net, "get_classifier") and hasattr(net, "head_hidden_size")
        head = net.get_classifier() if timms else None
        return {"pooled": (head, (net.head_hidden_size,))} if isinstance(head, torch.nn.Module) else {}

    def last(self) -> str | None:
        """The last stage, before its output is pooled: see `last_stage`."""
        if "_last" not in vars(self):  # asked in every step
            vars(self)["_last"] = last_stage(self.net)
        found: str | None = vars(self)["_last"]
        return found

    def arranged(self, output: torch.Tensor, layer: str) -> torch.Tensor:
        """Maps as [B, C, H, W], tokens as [B, D, N]; `last` is a map in any case."""
        output = channels_first(output, self.net)
        return square(output) if layer == base.LAST else output

    def per_core(self) -> int:
        """Images a forward pass on one core of a CPU; more of smaller ones."""
        return max(CORE_IMAGES, CORE_IMAGES * 128**2 // self.size**2)


@dataclass
class OwnModel(Model):
    """A model that a function made; `source` is the digest of the file that the function is in."""

    source: str | None = None

    def config(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """None: timm does not know it."""
        return None

    def made_by(self) -> dict[str, Any]:
        """`source`."""
        return {} if self.source is None else {"source": self.source}


def data_config(arch: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """timm's data config of a model: `input_size`, `mean`, `std`, ... without making its weights."""
    with torch.device("meta"):
        net = _create(arch, 1, overrides, 0.0)
    config: dict[str, Any] = resolve_model_data_config(net)
    return config


def sized(arch: str, overrides: dict[str, Any], size: int) -> dict[str, Any]:
    """The arguments with which a teacher takes inputs of a size: its overrides, and `img_size` where they
    alone do not make it take them.

    Raises:
        ParamsError: it takes no such size; the message names sizes that work. Or timm does not take the
            arguments.
    """
    arguments, why = takes(arch, size, [overrides, {"img_size": size} | overrides])
    if arguments is not None:
        return arguments
    with torch.device("meta"):
        _create(arch, 1, overrides, 0.0)  # wrong arguments are another fault than a wrong size
    set_to = overrides.get("img_size")
    works = [
        side
        for side in near_sizes(arch, size, [set_to] if isinstance(set_to, int) else [])
        if takes(arch, side, [overrides, {"img_size": side} | overrides])[0] is not None
    ]
    raise ParamsError(
        f"the teacher {arch} cannot take {size} x {size} pixels",
        why,
        f"set views.size to {' or '.join(map(str, sorted(works[:3])))}"
        if works
        else "give the arguments of timm.create_model that it needs in teacher.overrides",
    )


def takes(arch: str, size: int, choices: Sequence[dict[str, Any]]) -> tuple[dict[str, Any] | None, str]:
    """The first of some arguments with which a model takes inputs of a size, or None and why not.

    Nothing is computed: the model is made and run without memory.
    """
    why = ""
    for arguments in choices:
        for device in ("meta", "cpu"):
            try:
                with (
                    torch.device(device),
                    torch.inference_mode(),
                    torch.random.fork_rng(devices=[]),
                    limited(),
                ):
                    net = timm.create_model(arch, num_classes=2, **arguments).eval()
                    net(torch.zeros(1, 3, size, size))
            except Exception as error:  # architectures raise what their arguments run into
                why = why or (str(error).splitlines() or [type(error).__name__])[0][:160]
                if "meta" in str(error):  # it looks at values while it is made or run
                    continue
                break
            return arguments, ""
    return None, why


def near_sizes(arch: str, size: int, more: Sequence[int] = ()) -> list[int]:
    """Sizes that a model may take instead of one, in pixels, the nearest first."""
    native = timm.get_pretrained_cfg(arch, allow_unregistered=False)
    sides = {native.input_size[-1], *more} if native else set(more)
    for step in (64, 32, 16, 14, 7):
        sides |= {size // step * step, -(-size // step) * step}
    return sorted((side for side in sides if side >= 16), key=lambda side: abs(side - size))


def create(
    arch: str,
    num_classes: int,
    overrides: dict[str, Any],
    *,
    size: int | None = None,
    weights: str = "none",
    drop_path: float = 0.0,
    seed: int = 0,
    start: Start | None = None,
    classes: Sequence[str] = (),
) -> Model:
    """Make a model, its fresh weights a function of `seed`, then fill in what `weights` gives.

    Args:
        arch: a timm model name.
        num_classes: C, the width of the head.
        overrides: further arguments of `timm.create_model`.
        size: side of the input in pixels; None: what timm's data config says.
        weights: `none`, `hub` (timm's pretrained weights), or a path to a `.safetensors` file.
        drop_path: stochastic depth, where the architecture has it.
        seed: moves torch's global generator: call it where nothing else is drawing.
        start: the weights that it has where `weights` names no file.
        classes: names in label order: a head of `start` is put into it, if it is of these classes, and is
            made fresh if it is of others.

    Raises:
        ParamsError: timm has no such model, or it does not take these arguments.
        WeightsError: no hub, no file, a file that is no safetensors, or one of another architecture.
    """
    brought: dict[str, torch.Tensor] | None = None
    if start is not None and weights in ("hub", "none"):
        brought = read_weights(start.file)
        _check_size(arch, num_classes, overrides, brought, start)
    torch.manual_seed(seed)
    net = _create(arch, num_classes, overrides, drop_path)
    config = resolve_model_data_config(net)
    loaded = Loaded()
    if start is not None and brought is not None:
        labels = None if start.classes is None or not classes else (start.classes, classes)
        loaded = fill(net, brought, start.name, arch, labels)
    elif weights == "hub":
        loaded = fill(net, read_weights(_hub_file(arch)), "hub", arch)
    elif weights != "none":
        loaded = fill(net, read_weights(Path(os.path.expanduser(weights))), Path(weights).name, arch)
    return Model(
        net, arch, overrides, size or config["input_size"][-1], config["mean"], config["std"], loaded
    )


def create_own(
    arch: str,
    classes: Sequence[str],
    overrides: dict[str, Any],
    *,
    size: int,
    weights: str = "none",
    seed: int = 0,
) -> OwnModel:
    """A model that a function makes (`entry`), with its own weights, or those of a file.

    Args:
        arch, classes, overrides, size, seed: as of `entry.make`.
        weights: `none`: its own; or a path to a `.safetensors` file.

    Raises:
        ParamsError: the function was not named by this user, or see `entry.make`.
        WeightsError: the file is no safetensors, or of another architecture.
    """
    check_trusted(arch)
    made = entry.make(arch, classes, overrides, size, seed)
    loaded = Loaded(arch)
    if weights == "hub":
        raise ParamsError(
            f"teacher.weights = hub, and {arch} brings its own", fix="set teacher.weights to none"
        )
    if weights != "none":
        file = Path(os.path.expanduser(weights))
        loaded = fill_in(made.net, read_weights(file), file.name, arch, ())
    mean, std = tuple(made.given.mean), tuple(made.given.std)
    return OwnModel(made.net, arch, overrides, size, mean, std, loaded, made.source)


def of_folder(
    config: timm_folder.Config, start: Start, size: int | None, more: dict[str, Any]
) -> Architecture:
    """A teacher that a folder of timm's holds.

    Args:
        size: side of its input in pixels; None: what the folder says.
        more: further arguments of `timm.create_model`, which take precedence.

    Raises:
        ParamsError: it cannot take this size.
    """
    native = data_config(config.architecture, config.model_args | more)
    side = size or config.side or native["input_size"][-1]
    sized_by = {"img_size": side} if "img_size" in config.model_args else {}
    arguments = sized(config.architecture, config.model_args | sized_by | more, side)
    shown = config.pretrained_cfg
    spec = {"size": side, "mean": list(shown.mean or native["mean"]), "std": list(shown.std or native["std"])}
    return Architecture(config.architecture, arguments, spec, start=start)


def check_model(arch: str, key: str = "") -> None:
    """Refuse what is no timm model.

    Args:
        key: what names it, for the message.

    Raises:
        ParamsError: names the nearest ones.
    """
    if not timm.is_model(arch):
        near = difflib.get_close_matches(arch, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`timm.list_models()` lists the names"
        raise ParamsError(f"{key}{': ' if key else ''}timm has no model {arch!r}", fix=hint)


def _check_size(
    arch: str, num_classes: int, overrides: dict[str, Any], tensors: dict[str, torch.Tensor], start: Start
) -> None:
    """Refuse what is far larger than its weights before memory is taken: a stranger's file may ask for it."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            count = sum(one.numel() for one in _create(arch, num_classes, overrides, 0.0).parameters())
    except NotImplementedError:  # it looks at values while it is made
        return
    held = sum(one.numel() for one in tensors.values())
    if count > 4 * held + 10**8:
        raise WeightsError(
            f"{start.name} holds the weights of another architecture than {arch}",
            f"with these arguments that has {count:,} parameters, and the file holds {held:,}",
            "fetch it again, or mend its model_args",
        )


@contextmanager
def limited() -> Iterator[None]:
    """Stop the making of a model of far too many modules: a stranger's file may ask for millions of blocks,
    which take hours and all memory even where their weights take none.

    Raises:
        ValueError: from within, when there are more than `MOST_MODULES`.
    """
    count = 0

    def another(module: torch.nn.Module, name: str, part: torch.nn.Module | None) -> None:
        nonlocal count
        count += 1
        if count > MOST_MODULES:
            raise ValueError(f"it would have more than {MOST_MODULES:,} modules")

    hook = register_module_module_registration_hook(another)
    try:
        yield
    finally:
        hook.remove()


def _create(arch: str, num_classes: int, overrides: dict[str, Any], drop_path: float) -> torch.nn.Module:
    check_model(arch)
    extra: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        with limited():
            return timm.create_model(arch, num_classes=num_classes, **overrides, **extra)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ParamsError(f"timm cannot make {arch} with {overrides | extra}", str(error)) from None


def _hub_file(arch: str) -> Path:
    """timm's pretrained weights as a safetensors file, from the hub or from what it kept on this machine."""
    config = timm.models.get_pretrained_cfg(arch)
    if config is None or not config.hf_hub_id:
        raise WeightsError(
            f"timm knows no hub weights of {arch}", fix="set the weights to `none` or to a file"
        )
    repository = str(config.hf_hub_id)
    fix = "set the weights to a local .safetensors file with timm's names, or to `none` for fresh ones"
    return timm_folder.from_hub(repository, timm_folder.WEIGHTS, None, f"the weights {repository}", fix)


def fill(
    net: torch.nn.Module,
    tensors: dict[str, torch.Tensor],
    source: str,
    arch: str,
    labels: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Loaded:
    """Copy what fits from `tensors` into the model; position tables of another input size are resampled by
    timm.

    Args:
        source, arch: as of `fill_in`.
        labels: names of the classes in the tensors' label order, and in the model's; None: the same.

    Raises:
        WeightsError: less than half of the model's parameters would be filled (the head not counted).
    """
    resample: Callable[..., dict[str, Any]] | None = getattr(
        sys.modules[type(net).__module__], "checkpoint_filter_fn", None
    )
    if resample is not None:
        # These rename foreign checkpoints and resample position tables. A file that one of them chokes on is
        # looked at below as it is.
        wanted = inspect.signature(resample).parameters
        with suppress(KeyError, RuntimeError, ValueError, AttributeError, IndexError, AssertionError):
            tensors = resample(tensors, net) if len(wanted) > 1 else resample(tensors)
    head, remade = _head_names(net), []
    if labels is not None and different(*labels):
        remade = sorted(head & tensors.keys())
    elif labels is not None and list(labels[0]) != list(labels[1]):
        tensors = tensors | _in_order(tensors, head, *labels)
    loaded = fill_in(
        net, {name: one for name, one in tensors.items() if name not in remade}, source, arch, head
    )
    loaded.missing = [name for name in loaded.missing if name not in remade]
    loaded.remade = sorted({*loaded.remade, *remade})
    return loaded


def _in_order(
    tensors: dict[str, torch.Tensor], head: Collection[str], theirs: Sequence[str], ours: Sequence[str]
) -> dict[str, torch.Tensor]:
    """The rows of a head, which are of classes, in another order of these."""
    place = {name: label for label, name in enumerate(theirs)}
    order = [place[name] for name in ours]
    # of another width it does not fit, and is made fresh
    return {
        name: tensors[name][order]
        for name in head
        if name in tensors and tensors[name].shape[:1] == (len(order),)
    }


def _head_names(net: torch.nn.Module) -> set[str]:
    head = net.get_classifier()  # type: ignore[operator]
    inside = {id(value) for value in head.parameters()}
    return {name for name, value in net.named_parameters() if id(value) in inside}

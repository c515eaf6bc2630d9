"""Teachers that a Python function makes: `teacher.arch: module:function`.

The function is called as `function(classes=[...], **overrides)`, with the data's class names in label order,
and returns the module, which gives logits [B, C] of float32 [B, 3, S, S], and its input:

    def my_teacher(classes, **overrides):
        net = ...
        return net, {"size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

`classes` in that dictionary names the module's own label order; its logits are then put into the data's.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, ValidationError

from stillroom.errors import ParamsError, StillroomError, different
from stillroom.modalities.finished import Part, faults
from stillroom.modalities.images.models.timm_folder import Side, Spread

KEYS = "size, mean, std and, if its labels have an order of their own, classes"


class Given(Part):
    """The dictionary that a function returns beside its module."""

    model_config = ConfigDict(strict=False, extra="forbid", allow_inf_nan=False)

    size: Side
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[Spread], Field(min_length=3, max_length=3)]
    classes: Annotated[list[str], Field(min_length=1)] | None = None


@dataclass(frozen=True)
class Made:
    """What a function made.

    Attributes:
        net: its logits are in the order of the data's classes.
        given: its input.
        source: sha256 of the file that the function is in; None: it is in none.
    """

    net: torch.nn.Module
    given: Given
    source: str | None


def make(
    arch: str, classes: Sequence[str], overrides: dict[str, Any], size: int | None = None, seed: int = 0
) -> Made:
    """Call a function and check what it returns, with a batch of two empty images.

    Args:
        arch: `module:function`; the module is found as Python finds it, from this folder first.
        classes: names, in label order.
        overrides: further arguments of the function.
        size: side of the input in pixels; None: what the function says.
        seed: moves torch's global generator before the call, for weights that are freshly made.

    Raises:
        ParamsError: there is no such module or function, it fails, or it returns something else.
    """
    module, function = _found(arch)
    _check_call(arch, function, overrides)
    torch.manual_seed(seed)
    try:
        returned = function(classes=list(classes), **overrides)
    except StillroomError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody's function runs into
        raise ParamsError(
            f"{arch} fails", _said(error), "mend it; teacher.overrides are its arguments"
        ) from error
    net, given = _pair(arch, returned)
    if given.classes is not None:
        _order(arch, net, given.classes, classes)
    _check_logits(arch, net, len(classes), size or given.size, given.size)
    return Made(net, given, _source(module))


def _found(arch: str) -> tuple[ModuleType, Any]:
    """The module and the function of a name."""
    where, _, name = arch.partition(":")
    here = os.getcwd()
    if here not in sys.path:  # as `python -m` has it; it stays, for what is imported later on
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(where)
    except ModuleNotFoundError as error:
        own = error.name is not None and (where == error.name or where.startswith(f"{error.name}."))
        raise ParamsError(
            f"teacher.arch = {arch}: there is no module {error.name}"
            + ("" if own else f", which {where} imports"),
            f"looked for from {here} on, then where Python's packages are",
            "run from the folder that it lies in, or install the package that holds it",
        ) from None
    except Exception as error:  # whatever somebody's module runs into
        raise ParamsError(
            f"teacher.arch = {arch}: the module {where} cannot be imported", _said(error), "mend it"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        near = difflib.get_close_matches(name, known, n=1)
        raise ParamsError(
            f"teacher.arch = {arch}: {module.__file__ or where} has no function {name}",
            fix=f"did you mean {near[0]}?" if near else "define it: docs/teacher.md shows one",
        )
    return module, function


def _check_call(arch: str, function: Any, overrides: dict[str, Any]) -> None:
    """Refuse what was not written to be called so; nothing else that a name may hit is ever called."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        signature = inspect.Signature()
    if "classes" not in signature.parameters:
        raise ParamsError(
            f"teacher.arch = {arch}: the function takes no `classes`",
            f"it is {arch.partition(':')[2]}{signature}",
            "write one that takes them, and calls it: docs/teacher.md shows one",
        )
    try:
        signature.bind(classes=[], **overrides)
    except TypeError as error:
        raise ParamsError(
            f"teacher.arch = {arch} cannot be called with classes and teacher.overrides",
            f"{error}; it is {arch.partition(':')[2]}{signature}",
            "give what it takes in teacher.overrides",
        ) from None


def _pair(arch: str, returned: Any) -> tuple[torch.nn.Module, Given]:
    if not (
        isinstance(returned, tuple)
        and len(returned) == 2
        and isinstance(returned[0], torch.nn.Module)
        and isinstance(returned[1], dict)
    ):
        kinds = returned if isinstance(returned, tuple) else (returned,)
        raise ParamsError(
            f"{arch} returns {' and '.join(type(one).__name__ for one in kinds) or 'nothing'}",
            "a torch.nn.Module and a dictionary that says what its input is are wanted",
            f"return them as a pair; the dictionary has {KEYS}",
        )
    net, said = returned
    try:
        given = Given.model_validate({str(key): _listed(value) for key, value in said.items()})
    except ValidationError as error:
        raise ParamsError(
            f"{arch} says of its input:\n{faults(error)}", fix=f"its dictionary has {KEYS}"
        ) from None
    if next(net.parameters(), None) is None:
        raise ParamsError(
            f"{arch} returns a module without parameters",
            "a teacher is known by its weights",
            "have it hold as parameters what it computes with",
        )
    return net, given


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _order(arch: str, net: torch.nn.Module, theirs: Sequence[str], classes: Sequence[str]) -> None:
    """Have a module's logits come in the order of the data's classes.

    Raises:
        ParamsError: it has other classes; names them.
    """
    apart = different(theirs, classes)
    if apart:
        raise ParamsError(
            f"{arch} makes a teacher of other classes",
            apart,
            "have it make one of the classes that it is given, or mend the names that it says",
        )
    if list(theirs) == list(classes):
        return
    place = {name: label for label, name in enumerate(theirs)}
    order = torch.tensor([place[name] for name in classes])

    def sort(module: torch.nn.Module, inputs: Any, logits: Any) -> Any:
        # what is no tensor of logits is refused where it is looked at
        fits = isinstance(logits, torch.Tensor) and logits.ndim == 2 and logits.shape[1] == len(order)
        return logits[:, order.to(logits.device)] if fits else logits

    net.register_forward_hook(sort)


def _check_logits(arch: str, net: torch.nn.Module, count: int, size: int, own: int) -> None:
    """Refuse a module that gives no logits of so many classes."""
    was_training = net.training
    net.eval()
    device = next(net.parameters()).device
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            logits = net(torch.zeros(2, 3, size, size, device=device))
    except Exception as error:  # whatever somebody's module runs into
        raise ParamsError(
            f"{arch} cannot take {size} x {size} pixels",
            _said(error),
            "mend it" if size == own else f"set views.size to {own}, or have its input be {size}",
        ) from error
    net.train(was_training)
    if not isinstance(logits, torch.Tensor):
        raise ParamsError(
            f"the module that {arch} returns gives a {type(logits).__name__}",
            "logits are wanted, a tensor [batch, classes]",
            "wrap it in a module whose forward gives these",
        )
    if logits.shape != (2, count) or not logits.is_floating_point():
        raise ParamsError(
            f"the module that {arch} returns gives {str(logits.dtype).removeprefix('torch.')} "
            f"{list(logits.shape)} of two images",
            f"logits of {count} classes are wanted, floats [2, {count}]",
            "give it a head of as many outputs as there are `classes`",
        )


def _source(module: ModuleType) -> str | None:
    try:
        file = inspect.getsourcefile(module)
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (TypeError, OSError):  # part of Python, or in an archive
        return None


def _said(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or ["no further word"])[0]
    return f"{type(error).__name__}: {first[:200]}"

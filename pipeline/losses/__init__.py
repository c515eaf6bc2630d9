"""The losses of the arms, one a file: `NAME.py` holds the function of that name. A new file is a new arm.

A loss is called as `NAME(logits, labels, teacher, label_smoothing=..., **parameters)` and returns named terms
(scalars, whose sum is made small) or one scalar. Its keyword parameters are what `student.losses.NAME` may
say. `NEEDS` beside it names the outputs of the teacher that it learns from; without it, these are the logits,
or none where `teacher` has a default. A loss whose first parameter is called `student` gets all outputs by
name, of the student and of the teacher, instead of the logits.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stillroom import registry
from stillroom.errors import ParamsError

if TYPE_CHECKING:
    import torch

FIRST = ("ce", "kd")  # of a list of names
GIVEN = ("logits",)  # what a loss can be given of a teacher


def names() -> list[str]:
    """The names of all losses, `ce` and `kd` first. Nothing is imported."""
    return registry.names(__name__, FIRST)


def check(name: str, where: str) -> None:
    """Refuse a loss that is not there.

    Args:
        where: what names it, for the message.

    Raises:
        ParamsError: names the nearest ones.
    """
    registry.check(__name__, name, f"{where}: there is no loss {name!r}", FIRST)


@dataclass(frozen=True)
class Loss:
    """An arm's loss with its parameters.

    Attributes:
        function: see the module's docstring.
        settings: its keyword parameters, defaults filled in; `alpha` may be [at the start, at the end].
        outputs: which outputs of the cache are its teacher's logits; empty without a teacher.
        needs: what it must be given of the teacher, by name: `logits`, ...
        by_name: whether the function takes all outputs by name.
    """

    function: "Callable[..., Any]"
    settings: dict[str, Any]
    outputs: tuple[str, ...]
    needs: tuple[str, ...] = ("logits",)
    by_name: bool = False

    def __call__(
        self,
        student: "Mapping[str, torch.Tensor]",
        labels: "torch.Tensor",
        teacher: "Mapping[str, torch.Tensor]",
        progress: float,
        label_smoothing: float,
    ) -> "dict[str, torch.Tensor]":
        """The terms of a batch's loss.

        Args:
            student, teacher: outputs by name: `logits` float [B, C], ...
            labels: int64 [B], or float [B, C] of mixed views.
            progress: how far training has come, in [0, 1].
            label_smoothing: in [0, 1].
        """
        settings = self.settings
        if isinstance(settings.get("alpha"), tuple | list):
            first, last = settings["alpha"]
            settings = settings | {"alpha": first + (last - first) * progress}
        given: tuple[Any, ...] = (student, labels, teacher)
        if not self.by_name:
            given = (student["logits"], labels, teacher.get("logits"))
        terms = self.function(*given, label_smoothing=label_smoothing, **settings)
        return dict(terms) if isinstance(terms, dict) else {"loss": terms}

    def described(self) -> dict[str, Any]:
        """What a record keeps of it."""
        kept = {
            name: list(value) if isinstance(value, tuple) else value for name, value in self.settings.items()
        }
        return kept | ({"outputs": list(self.outputs)} if self.outputs else {})


def load(name: str, settings: dict[str, Any]) -> Loss:
    """A loss by its name.

    Args:
        settings: what `student.losses.NAME` says; `outputs` is taken out of it.

    Raises:
        ParamsError: there is no such loss, or it does not take such a parameter; names the nearest ones. Or
            it lacks one, or its file holds no function that can be called as a loss.
    """
    check(name, "arm")
    module = registry.load(__name__, name)
    function = getattr(module, name, None)
    signature = inspect.signature(function).parameters if callable(function) else {}
    if function is None or "teacher" not in signature or "label_smoothing" not in signature:
        raise ParamsError(
            f"pipeline/losses/{name}.py holds no loss",
            fix=f"define {name}(logits, labels, teacher, *, label_smoothing=0.0) in it, with its parameters "
            f"behind the star; a file that is no loss has a name that begins with _",
        )
    usual = ("logits",) if signature["teacher"].default is inspect.Parameter.empty else ()
    needs = tuple(getattr(module, "NEEDS", usual))
    if set(needs) - set(GIVEN):
        raise ParamsError(
            f"pipeline/losses/{name}.py needs {', '.join(needs)} of the teacher",
            fix=f"NEEDS may name {', '.join(GIVEN)}",
        )
    settings = dict(settings)
    outputs = tuple(settings.pop("outputs", ("logits",))) if needs else ()
    takes = {
        one: found.default
        for one, found in signature.items()
        if found.kind is found.KEYWORD_ONLY and one != "label_smoothing"
    }
    registry.check_keys(settings, takes, f"unknown key student.losses.{name}.")
    settings = takes | settings
    lacking = [one for one, value in settings.items() if value is inspect.Parameter.empty]
    if lacking:
        raise ParamsError(f"student.losses.{name} lacks {', '.join(lacking)}")
    return Loss(function, settings, outputs, needs, next(iter(signature)) == "student")

"""The losses of the arms, one a file: `NAME.py` holds the function of that name. A new file is a new arm.

A loss is called as `NAME(logits, labels, teacher, label_smoothing=..., **parameters)` and returns named terms
(scalars, whose sum is made small) or one scalar. Its keyword parameters are what `student.losses.NAME` may
say. `NEEDS` beside it names the outputs of the teacher that it learns from; without it, these are the logits,
or none where `teacher` has a default. A loss whose first parameter is called `student` gets all outputs by
name, of the student and of the teacher, instead of the logits; only such a one may need `features`, of which
`student.losses.NAME.features` says which output of the cache they are (`features`), and `layer` which layer
of the student is compared with them: `LAYER` beside the function, else that of the teacher's name for it.

`learned` beside it, called with the shapes of a sample's features, the student's and the teacher's, and a
seed, makes a module that is trained beside the student and is no part of it: the loss is given what it makes
of the student's features.

One with the keyword `class_weights=None` is given what a sample of each class counts in the cross-entropy
with the labels, where `student.train.class_weights` says so.

`TASK` beside it names the term that the others' gradients must not oppose (`training.gradients`); a loss that
has it takes the keyword `revise`, one of `REVISIONS`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from stillroom import registry
from stillroom.errors import ParamsError

if TYPE_CHECKING:
    import torch

FIRST = ("ce", "kd")  # of a list of names
GIVEN = ("logits", "features")  # what a loss can be given of a teacher
REVISIONS = ("sum", "each", "none")  # what is held against the task's gradient


def names() -> list[str]:
    """The names of all losses, `ce` and `kd` first. Nothing is imported."""
    return registry.names(__name__, FIRST)


def check(name: str, key: str) -> None:
    """Refuse a loss that is not there.

    Args:
        key: what names it, for the message.

    Raises:
        ParamsError: names the nearest ones.
    """
    registry.check(__name__, name, f"{key}: there is no loss {name!r}", FIRST)


@dataclass(frozen=True)
class Loss:
    """An arm's loss with its parameters.

    Attributes:
        function: see the module's docstring.
        settings: its keyword parameters, defaults filled in; `alpha` may be [at the start, at the end].
        outputs: which outputs of the cache are its teacher's logits; empty where it needs none.
        features: which output of the cache is its teacher's features; None where it needs none.
        layer: which layer of the student is compared with them; None: that of the teacher's name for it.
        learned: makes what is trained beside the student; None: nothing is.
        by_name: whether the function takes all outputs by name.
        task: the term that the gradients of the others must not oppose; None: all terms are simply added.
        weighs: whether the function takes `class_weights`.
    """

    function: "Callable[..., Any]"
    settings: dict[str, Any]
    outputs: tuple[str, ...]
    features: str | None = None
    by_name: bool = False
    task: str | None = None
    weighs: bool = False
    layer: str | None = None
    learned: "Callable[[Sequence[int], Sequence[int], int], torch.nn.Module] | None" = None

    @property
    def revise(self) -> str:
        """What is held against the task's gradient: one of `REVISIONS`."""
        return "none" if self.task is None else str(self.settings["revise"])

    @property
    def reads(self) -> tuple[str, ...]:
        """All outputs of the cache that it learns from."""
        return self.outputs if self.features is None else (*self.outputs, self.features)

    def __call__(
        self,
        student: "Mapping[str, torch.Tensor]",
        labels: "torch.Tensor",
        teacher: "Mapping[str, torch.Tensor]",
        progress: float,
        label_smoothing: float,
        class_weights: "torch.Tensor | None" = None,
    ) -> "dict[str, torch.Tensor]":
        """The terms of a batch's loss.

        Args:
            student, teacher: outputs by name: `logits` float [B, C], ...
            labels: int64 [B], or float [B, C] of mixed views.
            progress: how far training has come, in [0, 1].
            label_smoothing: in [0, 1].
            class_weights: float [C], of a loss that weighs; None: all classes weigh 1.
        """
        settings = self.settings
        if class_weights is not None:
            settings = settings | {"class_weights": class_weights}
        if isinstance(settings.get("alpha"), tuple | list):
            first, last = settings["alpha"]
            settings = settings | {"alpha": first + (last - first) * progress}
        given: tuple[Any, ...] = (student, labels, teacher)
        if not self.by_name:
            given = (student["logits"], labels, teacher.get("logits"))
        terms = self.function(*given, label_smoothing=label_smoothing, **settings)
        named = dict(terms) if isinstance(terms, dict) else {"loss": terms}
        self._check(named, student["logits"].requires_grad)
        return named

    def _check(self, terms: "dict[str, Any]", trains: bool) -> None:
        """Refuse what cannot be made small."""
        wrong = {
            name: f"{type(term).__name__}{list(getattr(term, 'shape', ()))}"
            for name, term in terms.items()
            if not hasattr(term, "backward") or term.ndim
        }
        if wrong or not terms:
            raise ParamsError(
                f"the loss {self.function.__name__} returned no scalar",
                "; ".join(f"{name}: {what}" for name, what in wrong.items()) or "it returned no term",
                "return one tensor of shape [], or {name: such a tensor}",
            )
        if self.task is not None and self.task not in terms:
            raise ParamsError(
                f"the loss {self.function.__name__} returned no term {self.task!r}, which is its TASK",
                f"its terms are {', '.join(terms)}",
                "name one of these",
            )
        if trains and not any(term.requires_grad for term in terms.values()):
            raise ParamsError(
                f"the loss {self.function.__name__} does not depend on the student",
                "no term of it has a gradient",
                "compute it from the logits that it is given",
            )

    def described(self) -> dict[str, Any]:
        """What a record keeps of it."""
        kept = {
            name: list(value) if isinstance(value, tuple) else value for name, value in self.settings.items()
        }
        kept |= {"outputs": list(self.outputs)} if self.outputs else {}
        kept |= {"features": self.features} if self.features is not None else {}
        return kept | ({"layer": self.layer} if self.layer is not None else {})


_KINDS = {"float": float, "int": int, "bool": bool, "str": str}  # annotations that a value is held to


def _check_kind(name: str, key: str, value: Any, annotation: Any) -> None:
    """Refuse a value of another kind than the parameter's annotation says; `alpha` may be two numbers."""
    kind = _KINDS.get(str(getattr(annotation, "__name__", annotation)))
    if kind is None or (key == "alpha" and isinstance(value, tuple | list)):
        return
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        raise ParamsError(
            f"student.losses.{name}.{key} = {value!r:.80}: must be of the kind {kind.__name__}",
            f"pipeline/losses/{name}.py says so",
        ) from None


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
    own = {
        key: one
        for key, one in signature.items()
        if one.kind is one.KEYWORD_ONLY and key not in ("label_smoothing", "class_weights")
    }
    called = registry.takes(function, None, None, None, label_smoothing=0.0, **dict.fromkeys(own))
    if function is None or not called or "teacher" not in signature:
        raise ParamsError(
            f"pipeline/losses/{name}.py holds no loss",
            fix=f"define {name}(logits, labels, teacher, *, label_smoothing=0.0) in it, with its parameters "
            f"behind the star; a file that is no loss has a name that begins with _",
        )
    usual = ("logits",) if signature["teacher"].default is inspect.Parameter.empty else ()
    needs = getattr(module, "NEEDS", usual)
    if not isinstance(needs, tuple | list) or not all(isinstance(one, str) for one in needs):
        raise ParamsError(
            f"pipeline/losses/{name}.py: NEEDS = {needs!r:.80} names no outputs",
            fix=f'write NEEDS = ("logits",); it may name {", ".join(GIVEN)}',
        )
    by_name = next(iter(signature)) == "student"
    if set(needs) - set(GIVEN if by_name else GIVEN[:1]):
        raise ParamsError(
            f"pipeline/losses/{name}.py needs {', '.join(needs)} of the teacher",
            fix=f"NEEDS may name {', '.join(GIVEN)}; a loss that needs features takes `student` first: all "
            "outputs by name",
        )
    settings = dict(settings)
    outputs = tuple(settings.pop("outputs", ("logits",))) if "logits" in needs else ()
    features = settings.pop("features", "features") if "features" in needs else None
    if not isinstance(features, str | None):
        raise ParamsError(f"student.losses.{name}.features = {features!r:.80} is no name of an output")
    layer = settings.pop("layer", getattr(module, "LAYER", None)) if "features" in needs else None
    if not isinstance(layer, str | None):
        raise ParamsError(f"student.losses.{name}.layer = {layer!r:.80} is no name of a layer")
    registry.check_keys(settings, own, f"unknown key student.losses.{name}.")
    for key, value in settings.items():
        _check_kind(name, key, value, own[key].annotation)
    settings = {key: one.default for key, one in own.items()} | settings
    lacking = [one for one, value in settings.items() if value is inspect.Parameter.empty]
    if lacking:
        raise ParamsError(f"student.losses.{name} lacks {', '.join(lacking)}")
    task = getattr(module, "TASK", None)
    if (task is not None) != ("revise" in own) or not isinstance(task, str | None):
        raise ParamsError(
            f"pipeline/losses/{name}.py: a loss with revised gradients has both TASK and the keyword revise",
            f"TASK = {task!r:.80}, and {'there is' if 'revise' in own else 'there is no'} keyword revise",
            'write TASK = "labels", the term that the others must not oppose, and revise="sum"',
        )
    if task is not None and settings["revise"] not in REVISIONS:
        raise ParamsError(
            f"student.losses.{name}.revise = {settings['revise']!r:.80}", fix=f"valid: {', '.join(REVISIONS)}"
        )
    learned = getattr(module, "learned", None) if features is not None else None
    weighs = "class_weights" in signature
    return Loss(function, settings, outputs, features, by_name, task, weighs, layer, learned)

"""Plain data checked against sections of the parameters: each fault by its key, with the nearest valid."""

import difflib
import re
import reprlib
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, TypeVar

from pydantic import ValidationError

from stillroom.errors import ParamsError
from stillroom.params import TAGS, Cache, Features, Section, StudentTrain

Kind = TypeVar("Kind", bound=Section)
UNION = re.compile(r"str|int|float|dict\[.*\]")  # pydantic names what was tried in the path of a fault


def keys(kind: type[Section], prefix: str = "") -> list[str]:
    """Every key of a section, dotted: `views.count`, ..."""
    names: list[str] = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            names += keys(inner, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def validated(
    kind: type[Kind],
    tree: dict[str, Any],
    source: str,
    prefix: tuple[str, ...] = (),
    known: Callable[[], list[str]] = list,
) -> Kind:
    """A section from plain data.

    Args:
        source: where the data is from, for the message.
        prefix: where the section stands in the parameters.
        known: gives every key of the parameters, dotted, for hints at other sections.

    Raises:
        ParamsError: names every unknown key and every wrong value.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(kind, fault, prefix, known) for fault in error.errors(include_url=False)]
        unique = list(dict.fromkeys(lines))
        raise ParamsError(
            f"{source}: " + ("; ".join(unique) if len(unique) == 1 else "\n  " + "\n  ".join(unique))
        ) from None


def _dotted(path: Any) -> str:
    return ".".join(str(part) for part in path)


# Where pydantic's own words name its inside, or say little
WORDS = {
    "dict_type": "must be a section: {key: value, ...}",
    "model_type": "must be a section: {key: value, ...}",
    "list_type": "must be a list: [first, second, ...]",
    "string_type": "must be text",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "recursion_loop": "must not hold itself",
}
UNQUOTED = ("int_type", "float_type", "bool_type")


def _explain(kind: type[Section], fault: Any, prefix: tuple[str, ...], known: Callable[[], list[str]]) -> str:
    path = [str(part) for part in fault["loc"] if part not in TAGS]
    if len(path) > 1 and UNION.fullmatch(path[-1]):
        path.pop()
    value, sort = fault["input"], fault["type"]
    if sort == "invalid_key" or path[-1:] == ["[key]"]:
        held = [*prefix, *path[: -1 if sort == "invalid_key" else -2]]
        return f"unknown key {_dotted([*held, _shown(value)])}; a key must be text"
    name = _dotted([*prefix, *path])
    if sort == "missing":
        return f"{name} is missing"
    if sort == "extra_forbidden":
        return f"unknown key {name}; {_hint(kind, [*prefix, *path], len(prefix), value, known)}"
    message = WORDS.get(sort) or fault["msg"].removeprefix("Value error, ")
    if isinstance(value, str) and sort in UNQUOTED:
        message += ", true or false" if sort == "bool_type" else ", not text"
    if sort == "dict_type" and name not in known():  # `student.losses.alpha`
        suggestions = _elsewhere([*prefix, *path], value, known())
        message += f"; did you mean {' or '.join(suggestions[:3])}?" if suggestions else ""
    if sort == "literal_error" and isinstance(value, str):
        near = difflib.get_close_matches(value, re.findall(r"'([^']+)'", fault["ctx"]["expected"]), n=1)
        message += f"; did you mean {near[0]}?" if near else ""
    if value is None:
        message += "; leave the key out for its default"
    return f"{name} = {_shown(value)}: {message[:1].lower() + message[1:]}"


def _hint(
    kind: type[Section], path: list[str], start: int, value: Any, known: Callable[[], list[str]]
) -> str:
    """What an unknown key may have been meant for; `kind` stands at the first `start` parts of `path`."""
    valid = list(_section(kind, path[start:-1]).model_fields)
    near = difflib.get_close_matches(path[-1], valid, n=1, cutoff=0.75)
    suggestions = [_dotted([*path[:-1], one]) for one in near]
    if not near or any(key.endswith(f".{path[-1]}") for key in known()):
        suggestions += _elsewhere(path, value, known())
    if not suggestions:
        near = difflib.get_close_matches(path[-1], valid, n=1, cutoff=0.5)
        suggestions = [_dotted([*path[:-1], one]) for one in near]
    if _dotted(path) in suggestions:  # of another kind of data
        return f"data.name = NAME says which keys there are; valid here: {', '.join(valid) or 'none'}"
    if suggestions:
        return f"did you mean {' or '.join(suggestions[:3])}?"
    return f"valid keys: {', '.join(valid) or 'none'}"


def _section(kind: type[Section], path: Sequence[str]) -> type[Section]:
    for part in path:
        annotation = kind.model_fields[part].annotation if part in kind.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            # below no section: a teacher's features, or a family in `family_train`
            return Features if kind is Cache else StudentTrain
        kind = annotation
    return kind


def _elsewhere(path: list[str], value: Any, every: list[str]) -> list[str]:
    """Keys of other sections by the same name, those first that share most of the path."""
    # `kd.alpha` is `kd: {alpha: ...}`; what holds itself has no end
    while isinstance(value, dict) and len(value) == 1 and len(path) < 16:
        [(inner, value)] = value.items()
        path = [*path, str(inner)]
    known = [key.split(".") for key in every]
    tail = [key for key in known if key[-1] == path[-1]]
    if not tail:
        names = sorted({key[-1] for key in known})
        near = difflib.get_close_matches(path[-1], names, n=1, cutoff=0.75)
        tail = [key for key in known if [key[-1]] == near]

    def shared(key: list[str]) -> int:
        return sum(part in key for part in path[:-1])

    most = max(map(shared, tail), default=0)
    return [_dotted(key) for key in tail if shared(key) == most]


def _shown(value: Any) -> str:
    """A value as a message shows it, on one line and never long."""
    if value is None:
        return "null"
    if isinstance(value, date):
        return str(value)
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 100
    short.maxlevel, short.maxdict = 3, 6
    return short.repr(value)

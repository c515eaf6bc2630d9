"""`params.yaml` read and checked: the shared keys, and those of the modality that the data set belongs to."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import create_model
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from stillroom import modalities, validation
from stillroom.errors import ParamsError
from stillroom.fetched import masked
from stillroom.params import Params, Section
from stillroom.validation import validated

DEFAULT = "images"  # of a file that names no data set


def load_params(file: Path, overrides: tuple[str, ...] = ()) -> Params:
    """Read a params file and check every key and value of it.

    Args:
        file: YAML 1.2 (as DVC reads it).
        overrides: `section.key=value` strings; the value is YAML.

    Raises:
        ParamsError: the file is missing or no YAML, or a key or a value is not one that `Params` allows.
    """
    try:
        tree = _yaml(file.read_text(encoding="utf-8-sig"))  # Windows' editors put a mark at the start
    except FileNotFoundError:
        raise ParamsError(
            f"{file} is not there", fix="run `stillroom preset sketch40 > params.yaml`"
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{file} cannot be read", str(error), "save it as UTF-8") from None
    except OSError as error:
        raise ParamsError(f"{file} cannot be read", str(error)) from None
    except ValueError as error:
        raise ParamsError(f"{file} is not valid YAML", str(error)) from None
    if tree is None:
        raise ParamsError(f"{file} is empty", fix="run `stillroom preset sketch40 > params.yaml`")
    if not isinstance(tree, dict):
        raise ParamsError(
            f"{file} must hold sections ({', '.join(Params.model_fields)}), not a {type(tree).__name__}"
        )
    check(tree, str(file))  # before --set, so that a fault is looked for where it is
    for override in overrides:
        set_value(tree, *parse_override(override))
    return check(tree, f"--set {masked(' '.join(overrides))}" if overrides else str(file))


def _yaml(text: str) -> Any:
    """YAML as plain data.

    Raises:
        ValueError: it is none; says where and why.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor may be used again
            return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        why = (error.problem or error.context or "").splitlines()[0]
        lines = text.splitlines()[mark.line : mark.line + 1] if mark else []
        tabs = any("\t" in line[: len(line) - len(line.lstrip())] for line in lines)
        hint = "; indent with spaces" if tabs else ""
        raise ValueError(f"{position}{why}{hint}") from None
    except Exception as error:  # it hands on what a value runs into: a date that is none, nesting too deep
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `section.key=value` into its path and its YAML value; a model's name may have dots."""
    name, equals, value = text.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        raise ParamsError(
            f"--set {text!r} is not of the form section.key=value", fix="for example --set views.count=4"
        )
    try:
        parsed = _yaml(value)
    except ValueError as error:
        raise ParamsError(
            f"--set {text!r}: {value!r} is not a YAML value", str(error), "put quotes around text"
        ) from None
    for named, ends in (
        (["student", "family_train"], 1),
        (["student", "model", "family_weights"], 0),
        (["student", "model", "sources"], 0),
    ):
        if path[: len(named)] == named and len(path) > len(named) + 1:
            ends = 0 if isinstance(parsed, dict) else ends
            stop = len(path) - ends
            path = [*named, ".".join(path[len(named) : stop]), *path[stop:]]
    return path, parsed


def set_value(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set one value in nested sections, making the sections on the way."""
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            inner = tree[name] = {}
        tree = inner
    tree[path[-1]] = value


def check(tree: dict[str, Any], source: str) -> Params:
    """Check nested sections against the parameters of their modality; every fault is named, with the nearest
    valid key.

    Raises:
        ParamsError: see `validated`.
    """
    data = tree.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    if isinstance(name, str) and name not in data_sets():  # which keys there are depends on it
        tree = {"data": {"name": name}}
    return validated(sections(*_modality(name)), tree, source, known=keys_and_recipes)


def keys() -> list[str]:
    """Every key of the parameters of any modality, dotted: `views.count`, ..."""
    return list(dict.fromkeys(key for name in modalities.names() for key in validation.keys(sections(name))))


def keys_and_recipes() -> list[str]:
    """The same, and what policies and corruptions take: `views.recipe.scale`, ..."""
    kinds = [modalities.get(name) for name in modalities.names()]
    recipes = [key for kind in kinds for key in kind.policy_keys()]
    corruptions = [key for kind in kinds for key in kind.corruption_keys()]
    return [
        *keys(),
        *(f"views.recipe.{key}" for key in dict.fromkeys(["name", *recipes])),
        *(f"student.corruption.{key}" for key in dict.fromkeys(["name", *corruptions])),
    ]


def sections(modality: str, data_set: str | None = None) -> type[Params]:
    """The parameters of a modality: each section with the keys that it adds, and that its data set adds."""
    kind = modalities.get(modality)
    return _sections(modality, kind.sections()["data"] if data_set is None else kind.data_section(data_set))


@cache
def _sections(modality: str, data_set: type[Section]) -> type[Params]:
    own: dict[str, Any] = modalities.get(modality).sections()
    default = own["data"].model_fields["name"].default
    named: Any = {"name": (Literal[*data_sets()], default)}
    data: Any = create_model("Data", __base__=data_set, **named)
    data.__doc__ = data_set.__doc__
    kinds = own | {"data": data}
    made: type[Params] = create_model(
        "Params",
        __base__=Params,
        **{name: (kind, kind()) for name, kind in kinds.items()},  # type: ignore[call-overload]
    )
    return made


def data_sets() -> list[str]:
    """The names of all data sets, of all modalities."""
    return [name for modality in modalities.names() for name in modalities.get(modality).data_sets()]


def _modality(data_set: Any) -> tuple[str, ...]:
    """The modality of a data set, and its name; of an unknown one the default's, whose check refuses it."""
    for name in modalities.names():
        if data_set in modalities.get(name).data_sets():
            return name, data_set
    return (DEFAULT,)

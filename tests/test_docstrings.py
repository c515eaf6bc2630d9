"""Every public class, function and method says what it is; a method may leave it to what it overrides."""

import inspect
from types import ModuleType

import pytest

from tests.test_structure import modules

DRAWN = "stillroom.modalities.images.datasets.sketch40."  # each function draws what its name says


def undocumented(module: ModuleType) -> list[str]:
    """Names in a module, and in its classes, that say nothing."""
    found = []
    for name, one in vars(module).items():
        if name.startswith("_") or getattr(one, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(one) or inspect.isclass(one):
            found += [] if inspect.getdoc(one) else [name]
        if inspect.isclass(one):
            members = [key for key, value in vars(one).items() if inspect.isroutine(value)]
            members += [key for key, value in vars(one).items() if isinstance(value, property)]
            public = [key for key in members if not key.startswith("_")]
            found += [f"{name}.{key}" for key in public if not inspect.getdoc(getattr(one, key))]
    return found


@pytest.mark.parametrize("name", [one for one in sorted(modules()) if not one.startswith(DRAWN)])
def test_what_is_public_is_told(name: str) -> None:
    module = __import__(name, fromlist=["_"])
    assert module.__doc__, f"{name} says nothing"
    assert not undocumented(module)

"""One point as a row of the table, and what a view of it is made of."""

from dataclasses import dataclass
from typing import Any, ClassVar

from stillroom import samples
from stillroom.modalities import base

FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "gain": ("float32", ()),
    "shift": ("float32", (2,)),  # of the first two numbers
}


@dataclass(frozen=True)
class Sample(samples.Sample):
    """One point of `length` numbers."""

    key: str
    path: str
    split: str
    label: int
    sha256: str
    length: int

    @classmethod
    def read(cls, entry: dict[str, Any], classes: int) -> "Sample":
        """A row from its JSON."""
        if type(entry["length"]) is not int or not 2 <= entry["length"] <= 64:
            raise samples.unsound(entry["key"])
        return cls(**samples.checked(entry, classes), length=entry["length"])


@dataclass(frozen=True)
class View:
    """One view's parameters."""

    gain: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


class Policy(base.Policy):
    """A recipe of views of points."""

    FIELDS: ClassVar[base.Fields] = FIELDS

"""How a teacher's float32 outputs are stored, an encoding a file: `NAME.py` holds one subclass of `Encoding`.

It is a frozen dataclass, whose fields are its parameters. A new file is a new encoding, which
`cache.encoding: NAME` asks for, or `cache.encoding: {name: NAME, ...}` with its parameters.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from stillroom import registry
from stillroom.cache.format.layout import ArraySpec
from stillroom.errors import CacheError, ParamsError
from stillroom.params import Cache

_VALUES = 2**20  # encoded at a time: 4 MiB of float32
FIRST = ("float16", "int8", "topk", "packed", "sampled")  # of a list of names


class UnstorableError(ValueError):
    """An output holds a value that no cache may keep.

    Attributes:
        row: its row in the values given to `encode`, in [0, n).
        value: the value.
    """

    def __init__(self, row: int, value: float, reason: str) -> None:
        super().__init__(f"row {row} holds {value}: {reason}")
        self.row = row
        self.value = value
        self.reason = reason


@dataclass(frozen=True)
class Encoding(ABC):
    """A way to store an output. The output `logits` owns the array `logits`, and more named `logits_...`.

    Attributes:
        shifts: whether a row comes back less its largest value.
        draws_rows: whether a row becomes random draws, other ones for a row that differs by rounding.
    """

    shifts: ClassVar[bool] = False
    draws_rows: ClassVar[bool] = False

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> Self:
        """The encoding with the parameters that an entry of `identity["outputs"]` has.

        Raises:
            CacheError: one is missing, or is not what it must be.
        """
        name = output["encoding"]
        try:
            return cls(**{one: output[one] for one in parameters(cls)})
        except KeyError as error:
            raise CacheError(f"the encoding {name} lacks {error}", "the cache is not sound") from None
        except (TypeError, ValueError) as error:
            raise CacheError(f"the encoding {name} has other parameters", str(error)) from None

    @abstractmethod
    def fields(self, output: str, shape: tuple[int, ...]) -> dict[str, ArraySpec]:
        """The arrays that store an output of `shape` a row: dtype and shape a row, by array name.

        Raises:
            ValueError: the encoding holds no output of this shape.
        """

    def encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of an output, float32 [n, *shape], as the arrays of `fields`, each [n, ...].

        What a row becomes does not depend on the other rows. Beside the result this takes a few megabytes.

        Raises:
            UnstorableError: a value is NaN, infinite, or beyond what the encoding holds; names the first row.
            ValueError: the encoding holds no output of this shape.
        """
        rows = max(1, _VALUES // math.prod(values.shape[1:]))
        parts = []
        for start in range(0, len(values), rows):
            part = np.ascontiguousarray(values[start : start + rows], np.float32)
            try:
                refuse_not_finite(part)
                parts.append(self._encode(output, part))
            except UnstorableError as error:
                raise UnstorableError(start + error.row, error.value, error.reason) from None
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @abstractmethod
    def _encode(self, output: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """`encode` for a few rows, all finite, float32 in C order."""

    @abstractmethod
    def decode(self, output: str, shape: tuple[int, ...], arrays: dict[str, np.ndarray]) -> np.ndarray:
        """The inverse of `encode`: float32 [n, *shape]."""


def names() -> list[str]:
    """The names of all encodings."""
    return registry.names(__name__, FIRST)


def parameters(kind: type[Encoding]) -> dict[str, Any]:
    """What an encoding takes: the default of each parameter, or `dataclasses.MISSING`."""
    return {field.name: field.default for field in dataclasses.fields(kind)}


def all_parameters() -> set[str]:
    """What any of the encodings takes."""
    return {one for name in names() for one in parameters(registry.entry(__name__, name, Encoding))}


def encoding_for(output: Mapping[str, Any]) -> Encoding:
    """The encoding of an output, an entry of `identity["outputs"]`: its `encoding`, with its parameters.

    Raises:
        CacheError: this version knows no such encoding, or its parameters do not fit it or the output's
            `shape`.
    """
    if not isinstance(output, Mapping):
        raise CacheError(f"an output is described by {shown(output)}", "it must be a table")
    name = output.get("encoding")
    known = names()
    if not isinstance(name, str) or name not in known:
        fix = "set cache.encoding to one of them, or read the cache with the version that wrote it"
        raise CacheError(
            f"the encoding {shown(name)} is unknown", f"this version reads {', '.join(known)}", fix
        )
    kind = registry.entry(__name__, name, Encoding)
    if "k" in output and "k" not in parameters(kind):
        fix = "leave k out, or set cache.encoding to topk"
        raise CacheError(
            f"the encoding {name} has k = {shown(output['k'])}", "only topk and packed keep k logits", fix
        )
    return kind.of(output)


def described(cache: Cache, source: str = "params") -> dict[str, Any]:
    """What an entry of `identity["outputs"]` says of the encoding that parameters ask for: its name, and its
    parameters, defaults filled in. `cache.k` is that of any encoding which takes a `k`.

    Args:
        source: where the parameters are from, for messages.

    Raises:
        ParamsError: there is no such encoding, or it does not take such parameters; names the nearest ones.
    """
    asked = {"name": cache.encoding} if isinstance(cache.encoding, str) else dict(cache.encoding)
    name, where = asked.pop("name", None), f"{source}: cache.encoding"
    registry.check(__name__, str(name), f"{where} = {name!r:.80}: there is no such encoding", FIRST)
    kind = registry.entry(__name__, str(name), Encoding)
    takes = parameters(kind)
    registry.check_keys(asked, takes, f"{source}: unknown key cache.encoding.")
    settings = takes | ({"k": cache.k} if "k" in takes else {}) | asked
    lacking = [one for one, value in settings.items() if value is dataclasses.MISSING]
    if lacking:
        raise ParamsError(f"{where} lacks {', '.join(lacking)}", fix=f"{{name: {name}, {lacking[0]}: ...}}")
    entry = {"encoding": str(name), **settings}
    try:
        kind.of(entry)
    except CacheError as error:
        raise ParamsError(f"{where}: {error.what}", error.why, error.fix) from None
    return entry


def shown(value: Any) -> str:
    """A value of unknown origin for a message. One that is deeply nested may have no `repr`."""
    nested = isinstance(value, Mapping | list | tuple) and any(
        isinstance(item, Mapping | list | tuple) for item in value
    )
    return f"a nested {type(value).__name__}" if nested else f"{value!r:.80}"


def refuse_not_finite(values: np.ndarray) -> None:
    """Raise `UnstorableError` for the first row of [n, ...] that holds NaN or an infinity."""
    first = first_row(~np.isfinite(values))
    if first is not None:
        bad = values[first][~np.isfinite(values[first])]
        raise UnstorableError(first, float(bad.flat[0]), "outputs must be finite")


def first_row(bad: np.ndarray) -> int | None:
    """The first row of bool [n, ...] with a True; None: there is none."""
    rows = bad.reshape(len(bad), -1).any(axis=1)
    return int(rows.argmax()) if rows.any() else None


def worst(values: np.ndarray, row: int) -> tuple[int, float]:
    """A row of [n, ...] and its value of the largest magnitude."""
    flat = values[row].reshape(-1)
    return row, float(flat[np.abs(flat).argmax()])

"""Pickles of the field's toolboxes, without running anything that is in them.

A pickle is a program: it names functions and calls them. Here it may name those that NumPy's arrays are
pickled with, and a few containers; each name stands for a function of this file, which makes arrays of
numbers or text from bytes. Anything else is refused by its name, before it is looked up.
"""

import math
import pickle
import re
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from stillroom import machine
from stillroom.errors import DataError

NUMPY = (
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy.core.numeric",
    "numpy._core.numeric",
    "numpy",
)
BUILTINS = ("builtins", "__builtin__")  # as protocols up to 2 call them
DTYPE = re.compile(r"[biufc]\d{1,2}|[US]\d{1,6}")


class _Dtype:
    """What `numpy.dtype(code, ...)` stands for."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or not DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"it holds an array of {code!r:.40}, expected numbers or text")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError("it holds an array of no byte order")
        self.order = order

    def made(self) -> np.dtype:
        return np.dtype(("" if self.order == "|" else self.order) + self.code)


class _Array:
    """What `_reconstruct(ndarray, (0,), b"b")` stands for, which then gets its content."""

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.array = _from_bytes(raw, dtype, shape, "F" if fortran else "C")


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(raw, bytes | bytearray | str) or not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("it holds an array of Python objects, expected numbers or text")
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # as Python 2 pickled bytes
    kind = dtype.made()
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not all(type(side) is int and side >= 0 for side in shape) or (
        math.prod(shape) * kind.itemsize != len(raw)
    ):
        raise pickle.UnpicklingError(f"an array of the shape {shape!r:.80} in {len(raw):,} bytes")
    return np.frombuffer(raw, kind).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    return _from_bytes(raw, dtype, ()).item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin-1")  # how protocols up to 2 hold bytes


ALLOWED: dict[tuple[str, str], Any] = {
    **{(module, "_reconstruct"): _Array for module in NUMPY},
    **{(module, "scalar"): _scalar for module in NUMPY},
    **{(module, "_frombuffer"): _from_bytes for module in NUMPY},
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): "ndarray",  # an argument of `_reconstruct` alone
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, "set"): set for module in BUILTINS},
    **{(module, "frozenset"): frozenset for module in BUILTINS},
}


# The one in Python: that in C makes room for whatever number a damaged file names
class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    size = 0  # of the file

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it wants to run {module}.{name}".replace("\n", " ")[:200]
            ) from None


def _bytearray8(unpickler: Any) -> None:
    """Bytes that a file has: the base's makes room for the number that it names first."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    if length > unpickler.size:
        raise EOFError("the file ends within an array of bytes")
    unpickler.append(bytearray(unpickler.read(length)))


_Unpickler.dispatch = {**_Unpickler.dispatch, pickle.BYTEARRAY8[0]: _bytearray8}


def load(
    file: Path, instead: str = "write the clips as .npz, .json or .parquet where you trust the file"
) -> Any:
    """What a pickle holds: numbers, text, lists, tuples, dicts, sets and NumPy arrays of numbers or text.

    Args:
        instead: what to do about one that is refused.

    Raises:
        DataError: it holds anything else, which is not run; or is damaged, or larger than the memory.
    """
    try:
        size, room = file.stat().st_size, machine.memory().used
        if size > room:
            raise DataError(
                f"{file} has {size:,} bytes, and a pickle is read as a whole",
                f"this machine has {room:,} bytes of memory",
                "write its clips as files of their own, or into .npz or .parquet, on a larger one",
            )
        with file.open("rb") as stream:
            unpickler = _Unpickler(stream, encoding="latin1")
            unpickler.size = size
            return _plain(unpickler.load(), 16)
    except OSError as error:
        raise DataError(f"{file} cannot be read", error.strerror or str(error)) from None
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{file} is refused: {error}",
            "a pickle can run programs; only arrays of numbers or text and plain containers are taken",
            instead,
        ) from None
    except Exception as error:  # whatever a damaged pickle runs into
        raise DataError(
            f"{file} is no sound pickle",
            f"{type(error).__name__}: {error}"[:300],
            "get the file again: it may be truncated",
        ) from None


def _plain(value: Any, depth: int, made: dict[int, Any] | None = None) -> Any:
    """A value with arrays in the places of what stood for them.

    Args:
        made: by the id of what was there: a list that is in many places is made once.
    """
    if depth < 0:
        raise pickle.UnpicklingError("it holds lists in lists without end")
    made = {} if made is None else made
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, _Array):
        if value.array is None:
            raise pickle.UnpicklingError("it holds an array without content")
        return value.array
    if isinstance(value, dict):
        pairs = value.items()
        found: Any = {_plain(key, depth - 1, made): _plain(one, depth - 1, made) for key, one in pairs}
    elif isinstance(value, list | tuple | set | frozenset):
        found = [_plain(one, depth - 1, made) for one in value]
    else:
        return value
    made[id(value)] = found  # which lives as long as the whole does
    return found

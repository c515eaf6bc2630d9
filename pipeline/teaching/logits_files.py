"""Files of logits that another program wrote: NumPy's `.npy`, `.safetensors`, Parquet. Nothing is unpickled.

What a file claims to hold is compared with what it must hold, and with its size, before memory is taken; and
it is read a piece at a time.
"""

import json
import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stillroom.errors import AccessError, DataError, StillroomError, listing
from stillroom.files import read_small
from stillroom.modalities.parquet_files import open_parquet, require_short
from stillroom.progress import Progress

SUFFIXES = (".npy", ".safetensors", ".parquet")
COLUMNS = ("key", "view", "logits")
SHOWN = 5  # examples of each fault
_FLOATS = 2**20  # logits read at a time
_LONGEST_NAMES = 2**24  # bytes of a list of class names
_AGAIN = "mend what wrote it, and import it again"


class Faults:
    """What is wrong with a file: of each kind how often, and the first examples."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, list[str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, kind: str, examples: Sequence[str], count: int | None = None) -> None:
        """More of a kind, `%` in which becomes how many there are; nothing where there are none."""
        count = len(examples) if count is None else count
        if count:
            before, shown = self._found.get(kind, (0, []))
            self._found[kind] = before + count, [*shown, *examples[: SHOWN - len(shown)]]

    def refuse(self, file: Path) -> None:
        """
        Raises:
            DataError: there is any.
        """
        if not self._found:
            return
        lines = []
        for kind, (count, shown) in self._found.items():
            more = f" and {count - len(shown):,} more" if count > len(shown) else ""
            lines.append(f"{kind.replace('%', f'{count:,}')}: {', '.join(shown)}{more}")
        raise DataError(
            f"{file} does not fit the views:\n{listing(lines)}",
            "every sample of the cache must have finite logits of every class for each view, once",
            _AGAIN,
        )


class Given(ABC):
    """Logits in a file.

    Attributes:
        shape: (V, N, C).
        classes: names of the columns, where the file has them.
    """

    shape: tuple[int, int, int]
    classes: list[str] | None = None

    def place(self, progress: Progress) -> None:  # noqa: B027  # most are in place
        """Make it ready to be read.

        Raises:
            DataError: rows are lacking, foreign, there twice, or no logits of these classes.
            StillroomError: there is no room for it.
        """

    @abstractmethod
    def read(self, view: int, start: int, stop: int) -> np.ndarray:
        """The logits of a view of the samples start..stop-1 by key, of some float type, [stop - start, C]."""

    def close(self) -> None:  # noqa: B027  # most have nothing to give back
        """Give back what it holds."""


def open_logits(file: Path, keys: Any, views: int, classes: int, scratch: Path) -> Given:
    """Open a file of logits, and check its shape.

    Args:
        keys: of the samples in their order, an Arrow array of strings.
        views: V, how many views there must be.
        classes: C, how many classes.
        scratch: a file that may be made for the work, on the same disk as what comes of it, and is removed by
            `Given.close`.

    Raises:
        DataError: it cannot be read, or has another shape.
        AccessError: this user may not read it.
    """
    suffix = file.suffix.lower()
    try:
        if not file.is_file():
            raise DataError(f"{file} is not there" if not file.exists() else f"{file} is no file")
        if suffix == ".npy":
            given: Given = _Npy(file)
        elif suffix == ".safetensors":
            given = _Safetensors(file)
        elif suffix == ".parquet":
            return _Parquet(file, keys, views, classes, scratch)
        else:
            raise DataError(
                f"{file} is no file of logits that can be read",
                f"its name ends in none of {', '.join(SUFFIXES)}",
                "write an array [views, samples, classes] with numpy.save or safetensors, or Parquet of "
                f"{', '.join(COLUMNS)}",
            )
    except PermissionError:
        raise AccessError(file) from None
    wanted = (views, len(keys), classes)
    if given.shape != wanted:
        names = ("views", "samples of the cache", "classes")
        differ = [
            f"{has:,} {name} instead of {want:,}"
            for name, has, want in zip(names, given.shape, wanted, strict=True)
            if has != want
        ]
        raise DataError(
            f"{file} has the shape {list(given.shape)}, expected {list(wanted)}",
            f"[views, samples, classes]: it has {', '.join(differ)}",
            "set views.count to how many views the teacher was asked of, or ask it of all samples"
            if given.shape[2] == classes
            else "give the logits of all classes, in the order of views.json or with --classes FILE",
        )
    return given


def _floats(file: Path, shape: Sequence[int], kind: str, sound: bool) -> tuple[int, int, int]:
    """The shape of an array, checked."""
    if not sound:
        raise DataError(
            f"{file} holds {kind}",
            "logits are float16, float32 or float64",
            "convert it: array.astype('float32')",
        )
    if len(shape) != 3 or any(type(length) is not int or length < 1 for length in shape):
        raise DataError(
            f"{file} has the shape {list(shape)!r:.200}",
            "expected [views, samples, classes], samples in the order of their keys",
            "for one view: array[None]",
        )
    return shape[0], shape[1], shape[2]


class _Npy(Given):
    """NumPy's own format, mapped."""

    def __init__(self, file: Path) -> None:
        try:
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
                array = np.load(file, mmap_mode="r", allow_pickle=False)
        except PermissionError:
            raise
        except Exception as error:  # whatever Python's own tokenizer and parser make of a damaged header
            why = " ".join(str(error).split())[:200]
            raise DataError(f"{file} is damaged, or no array of numpy.save", why, _AGAIN) from None
        if not isinstance(array, np.ndarray):  # of numpy.savez
            array.close()
            raise DataError(f"{file} is an archive of arrays (.npz)", fix="write the array with numpy.save")
        self.shape = _floats(file, array.shape, f"{array.dtype}", array.dtype.kind == "f")
        self._array: np.ndarray | None = array

    def read(self, view: int, start: int, stop: int) -> np.ndarray:
        assert self._array is not None
        return np.array(self._array[view, start:stop])

    def close(self) -> None:
        self._array = None


class _Safetensors(Given):
    """One tensor; `classes` of the metadata are a JSON list."""

    def __init__(self, file: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self._stack = ExitStack()
        try:
            opened = self._stack.enter_context(safe_open(str(file), framework="numpy"))
            names = list(opened.keys())
            if len(names) != 1 and "logits" not in names:
                raise DataError(
                    f"{file} holds the tensors {', '.join(names) or 'none'}",
                    "the logits are the one called logits, or the only one",
                    "name it logits",
                )
            self._tensor = opened.get_slice("logits" if "logits" in names else names[0])
            kind = str(self._tensor.get_dtype())
            self.classes = _names((opened.metadata() or {}).get("classes"), str(file))
        except (SafetensorError, OSError, ValueError) as error:
            if isinstance(error, PermissionError):
                raise
            why = " ".join(str(error).split())[:200]
            raise DataError(f"{file} is damaged, or no file of safetensors", why, _AGAIN) from None
        self.shape = _floats(file, self._tensor.get_shape(), kind, kind in ("F16", "F32", "F64"))

    def read(self, view: int, start: int, stop: int) -> np.ndarray:
        values: np.ndarray = self._tensor[view : view + 1, start:stop]
        return np.asarray(values[0])

    def close(self) -> None:
        self._stack.close()


class _Parquet(Given):
    """A row a view, in any order: put into place in a file of its own, and read from there."""

    def __init__(self, file: Path, keys: Any, views: int, classes: int, scratch: Path) -> None:
        self.shape = (views, len(keys), classes)
        self._keys, self._file, self._scratch = keys, file, scratch
        try:
            self._opened = open_parquet(file, ("logits",))
            schema = self._opened.schema_arrow
            self.classes = _names((schema.metadata or {}).get(b"classes"), str(file))
            self._check_schema(schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, PermissionError):
                raise
            raise _unread(file, error) from None
        self._array: np.ndarray | None = None

    def _check_schema(self, schema: pa.Schema) -> None:
        twice = [name for name in COLUMNS if schema.names.count(name) > 1]
        if twice:
            raise DataError(f"{self._file} has the column {twice[0]} twice", fix="take one of them out")
        lacking = [name for name in COLUMNS if name not in schema.names]
        if lacking:
            raise DataError(
                f"{self._file} has no column {', '.join(lacking)}",
                f"it has {', '.join(schema.names)[:200]}",
                f"expected {', '.join(COLUMNS)}: text, a whole number, a list of floats",
            )
        key, view, logits = (schema.field(name).type for name in COLUMNS)
        if pa.types.is_dictionary(key):
            key = key.value_type
        lists = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
        for name, kind, sound, wanted in (
            ("key", key, pa.types.is_string(key) or pa.types.is_large_string(key), "text"),
            ("view", view, pa.types.is_integer(view), "a whole number"),
            (
                "logits",
                logits,
                any(one(logits) for one in lists) and pa.types.is_floating(logits.value_type),
                "a list of floats",
            ),
        ):
            if not sound:
                raise DataError(
                    f"{self._file}: the column {name} is of type {kind}", f"expected {wanted}", _AGAIN
                )

    def _room(self) -> np.ndarray:
        """[V, N, C] on the disk, in full: a disk without room says so now."""
        size = 4 * int(np.prod(self.shape))
        try:
            with self._scratch.open("wb") as stream:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(stream.fileno(), 0, size)
                else:
                    stream.truncate(size)
            return np.memmap(self._scratch, np.float32, "r+", shape=self.shape)
        except OSError as error:
            raise StillroomError(
                f"{self._scratch} cannot be written",
                f"{error.strerror or error}: {size:,} bytes are needed to put its rows in order",
                "free the disk, and import it again",
            ) from None

    def place(self, progress: Progress) -> None:
        views, samples, classes = self.shape
        self._array = self._room()
        flat = self._array.reshape(-1, classes)
        seen, faults = np.zeros(views * samples, bool), Faults()
        progress.start("reading", self._opened.metadata.num_rows, "rows")
        try:
            for batch in self._opened.iter_batches(max(1, _FLOATS // classes), columns=list(COLUMNS)):
                require_short(batch)
                places, logits = self._placed(batch, faults)
                order = np.argsort(places, kind="stable")
                twice = np.zeros(len(places), bool)
                twice[order[1:]] = places[order[1:]] == places[order[:-1]]
                twice |= seen[places]
                faults.add(
                    "% rows are of a view that another row is of",
                    self._named(places, twice),
                    int(twice.sum()),
                )
                seen[places] = True
                flat[places] = logits
                progress.advance(batch.num_rows)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unread(self._file, error) from None
        progress.finish()
        places = np.flatnonzero(~seen)
        faults.add("% views have no row", self._named(places[:SHOWN]), len(places))
        faults.refuse(self._file)

    def _placed(self, batch: pa.RecordBatch, faults: Faults) -> tuple[np.ndarray, np.ndarray]:
        """Where the rows of a batch go, int [n], and their logits, [n, C]; without those that are wrong."""
        views, samples, classes = self.shape
        key, view, logits = (batch.column(name) for name in COLUMNS)
        if pa.types.is_dictionary(key.type):
            key = key.dictionary_decode()
        key = key.cast(self._keys.type)
        known = pc.index_in(key, value_set=self._keys)
        good = known.is_valid().to_numpy(zero_copy_only=False)
        bad = [f"{one.as_py()!r:.200}" for one in key.take(pa.array(np.flatnonzero(~good)[:SHOWN]))]
        faults.add("% rows have a key that is none of the samples of the cache", bad, int((~good).sum()))

        def drop(fine: np.ndarray, kind: str, example: Callable[[int], str]) -> None:
            nonlocal good
            wrong = good & ~fine
            rows = np.flatnonzero(wrong)[:SHOWN].tolist()
            faults.add(kind, [f"{key[row].as_py():.200} {example(row)}" for row in rows], int(wrong.sum()))
            good = good & fine

        number = view.cast(pa.int64(), safe=False)
        valid = number.is_valid().to_numpy(zero_copy_only=False)
        number = number.fill_null(-1).to_numpy(zero_copy_only=False)
        within = valid & (number >= 0) & (number < views)
        drop(within, f"% rows have a view that is none of 0 to {views - 1}", lambda row: f"view {view[row]}")
        lengths = pc.list_value_length(logits).fill_null(0).to_numpy(zero_copy_only=False)
        drop(
            lengths == classes,
            f"% rows have no {classes} logits",
            lambda row: f"view {view[row]} has {lengths[row]}",
        )
        rows = np.flatnonzero(good)
        chosen = logits if len(rows) == len(good) else logits.take(pa.array(rows))
        values = chosen.flatten()
        if values.null_count:
            values = values.fill_null(float("nan"))  # which is refused like one
        matrix = values.to_numpy(zero_copy_only=False).reshape(len(rows), classes)
        places = number[rows] * samples + known.take(pa.array(rows)).to_numpy(zero_copy_only=False)
        return places.astype(np.int64), _narrowed(matrix)

    def _named(self, places: np.ndarray, which: np.ndarray | None = None) -> list[str]:
        chosen = (places if which is None else places[which])[:SHOWN].tolist()
        names = (divmod(place, self.shape[1]) for place in chosen)
        return [named(self._keys[row].as_py(), view) for view, row in names]

    def read(self, view: int, start: int, stop: int) -> np.ndarray:
        assert self._array is not None
        return np.array(self._array[view, start:stop])

    def close(self) -> None:
        self._array = None
        self._opened.close()
        self._scratch.unlink(missing_ok=True)


def named(key: str, view: int) -> str:
    """A view, for messages."""
    return f"{key:.200} view {view}"


def _narrowed(values: np.ndarray) -> np.ndarray:
    """Logits as float32; what is too large for it becomes infinite, and is refused as such."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _unread(file: Path, error: BaseException) -> DataError:
    why = " ".join(str(error).split())[:200]
    return DataError(f"{file} is damaged, or no Parquet file", why, _AGAIN)


def _names(text: str | bytes | None, where: str) -> list[str] | None:
    """The class names that a file's metadata give as a JSON list; None: it says nothing.

    Raises:
        DataError: it is no list of distinct names.
    """
    if text is None:
        return None
    try:
        if len(text) > _LONGEST_NAMES:
            raise ValueError(f"more than {_LONGEST_NAMES} bytes")
        names = json.loads(text)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("it is no JSON list of names")
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: `classes` of its metadata cannot be read", str(error)[:200], _AGAIN
        ) from None
    return _distinct(names, where)


def read_classes(file: Path) -> list[str]:
    """Class names from a file: one a line, or a JSON list.

    Raises:
        DataError: it cannot be read, or names a class twice.
        AccessError: this user may not read it.
    """
    try:
        text = read_small(file, _LONGEST_NAMES).decode("utf-8-sig")
    except PermissionError:
        raise AccessError(file) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read", str(error)[:200], "name a file of class names") from None
    if file.suffix.lower() == ".json" or text.lstrip().startswith("["):
        return _names(text, str(file)) or []
    return _distinct([line for line in (one.strip() for one in text.splitlines()) if line], str(file))


def _distinct(names: list[str], where: str) -> list[str]:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f"{where} names a class twice: {twice[0]!r:.200}", fix="name each once")
    return names


def order_of(names: Sequence[str], classes: Sequence[str], where: str) -> np.ndarray:
    """Which column holds each class, int [C].

    Args:
        names: of the columns.
        classes: of the samples, in label order.
        where: what names the columns, for the message.

    Raises:
        DataError: the two do not have the same names; names those that differ.
    """
    place = {name: number for number, name in enumerate(names)}
    lacking = [name for name in classes if name not in place]
    foreign = sorted(set(names) - set(classes))
    if lacking or foreign:
        lines = [f"not in it: {name}" for name in lacking] + [
            f"no class of the data: {name}" for name in foreign
        ]
        raise DataError(
            f"{where} names other classes than the data has:\n{listing(lines)}",
            f"{len(names)} names, and the data has {len(classes)} classes",
            "use the names of `classes` in views.json, in the order of the columns",
        )
    return np.array([place[name] for name in classes])

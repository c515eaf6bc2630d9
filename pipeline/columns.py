"""Rows as columns: what would be an object a row is a few arrays, and a row is made where it is looked at.

The arrays are Arrow's. Read from a mapped file they belong to the system's page cache, which processes share
and no fork copies.
"""

import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MANY = 2**16  # rows that are Python objects at a time
HEXADECIMAL = ("sha256",)  # columns of digests: 32 bytes, which a row has as text
WORDS = ("split",)  # columns of a few words, each kept once
_KINDS = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.large_string()}
Make = Callable[[dict[str, Any]], Any]


class Rows(Sequence[Any]):
    """Rows of a table, made where they are looked at; slices are rows too, and copy nothing.

    Args:
        table: a column a field.
        make: makes a row of its fields; raises ValueError where they are not sound.
        chosen: which rows of the table these are, int [n]; None: all.
        ordered: whether they are known to ascend by key.
    """

    def __init__(
        self, table: pa.Table, make: Make, chosen: np.ndarray | None = None, ordered: bool = False
    ) -> None:
        self.table, self.make, self.chosen, self.ordered = table, make, chosen, ordered

    def __len__(self) -> int:
        return self.table.num_rows if self.chosen is None else len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "Rows": ...
    def __getitem__(self, index: int | slice) -> Any:
        """A row, or some of them."""
        if isinstance(index, slice):
            return self.at(np.arange(*index.indices(len(self))))
        count = len(self)
        if not -count <= index < count:
            raise IndexError(index)
        place = int(index) % count if self.chosen is None else int(self.chosen[index])
        return self.make({name: value(place) for name, value in self._values.items()})

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Rows):
            return len(self) == len(other) and _plain(self.whole()).equals(_plain(other.whole()))
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return {"table": self.whole(), "make": self.make, "chosen": None, "ordered": self.ordered}

    def at(self, places: np.ndarray) -> "Rows":
        """Some rows, by their places among these."""
        ordered = self.ordered and bool((np.diff(places) > 0).all())
        chosen = places if self.chosen is None else self.chosen[places]
        return Rows(self.table, self.make, chosen, ordered)

    def whole(self) -> pa.Table:
        """A table of these rows alone."""
        return self.table if self.chosen is None else self.table.take(pa.array(self.chosen))

    def column(self, name: str) -> Any:
        """A field of all these rows: an Arrow array."""
        column = one_piece(self.table.column(name))
        return column if self.chosen is None else one_piece(column.take(pa.array(self.chosen)))

    def numbers(self, name: str) -> np.ndarray:
        """A field of numbers: [n], or [n, w] where a row has w of them; 0 where it has none."""
        values = _numbers(one_piece(self.table.column(name)))
        return values if self.chosen is None else values[self.chosen]

    def texts(self, name: str) -> Iterator[str]:
        """A field of text, or of a digest, row by row."""
        column = one_piece(self.table.column(name))
        for start in range(0, len(self), MANY):
            if self.chosen is None:
                part = column.slice(start, MANY)
            else:
                part = column.take(pa.array(self.chosen[start : start + MANY]))
            values = part.to_pylist()
            yield from ((value or b"").hex() for value in values) if name in HEXADECIMAL else values

    def lengths(self, name: str) -> np.ndarray:
        """Bytes of a field of text, in UTF-8: int [n]."""
        return pc.binary_length(self.column(name)).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    def packed(self, name: str) -> np.ndarray:
        """A field of text as bytes of UTF-8, filled up with zero bytes to one length: dtype S, [n]."""
        lengths = self.lengths(name)
        packed = np.zeros(len(self), f"S{max(1, int(lengths.max(initial=0)))}")
        for start in range(0, len(self), MANY):
            part = self.at(np.arange(start, min(start + MANY, len(self)))).column(name)
            packed[start : start + MANY] = part.cast(pa.large_binary()).to_pylist()
        return packed

    def digests(self, name: str) -> np.ndarray:
        """A field of digests as numbers: uint64 [n, 4], which are equal where they are."""
        column = self.column(name)
        content = np.frombuffer(column.buffers()[1], "<u8") if len(column) else np.zeros(0, "<u8")
        return content.reshape(-1, 4)[column.offset : column.offset + len(column)]

    def differing(self, name: str, text: str) -> np.ndarray:
        """Which rows have another text in a field: bool [n]."""
        return pc.not_equal(self.column(name), text).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    def text(self, name: str, place: int) -> str:
        """A field of text of one row."""
        value: str = self._values[name](place if self.chosen is None else int(self.chosen[place]))
        return value

    def codes(self, name: str) -> tuple[np.ndarray, list[str]]:
        """A field of a few words: int [n], and the words that these numbers stand for."""
        column = one_piece(self.table.column(name))
        codes = column.indices.to_numpy(zero_copy_only=False)
        return codes if self.chosen is None else codes[self.chosen], column.dictionary.to_pylist()

    def with_texts(self, name: str, values: Sequence[str]) -> "Rows":
        """The same rows with another field of text."""
        table = self.whole()
        kind = table.schema.field(name).type
        place = table.schema.get_field_index(name)
        return Rows(table.set_column(place, name, _array(values, kind)), self.make, None, self.ordered)

    def with_numbers(self, name: str, values: np.ndarray) -> "Rows":
        """The same rows with another field of numbers, [n]."""
        table = self.whole()
        place = table.schema.get_field_index(name)
        column = pa.array(values, table.schema.field(name).type)
        return Rows(table.set_column(place, name, column), self.make, None, self.ordered)

    def by_key(self) -> "Rows":
        """These rows in the order of their keys, as Python sorts text."""
        if self.ordered:
            return self
        keys = self.column("key")
        order = pc.sort_indices(keys).to_numpy()
        rows = self if bool((np.diff(order) == 1).all()) else self.at(order)
        return Rows(rows.table, rows.make, rows.chosen, ordered=True)

    @cached_property
    def _values(self) -> dict[str, Callable[[int], Any]]:
        """By field, what gives a row's value."""
        return {name: _getter(name, one_piece(self.table.column(name))) for name in self.table.column_names}


class Builder:
    """Puts rows together that come one by one; they are objects for a short while only.

    Args:
        kind: their class, a dataclass whose fields are text, numbers, or tuples of so many numbers.
    """

    def __init__(self, kind: type[Any]) -> None:
        self._kind, self._schema = kind, schema_of(kind)
        self._waiting: list[Any] = []
        self._parts: list[pa.RecordBatch] = []

    def add(self, row: Any) -> None:
        """One more."""
        self._waiting.append(row)
        if len(self._waiting) == MANY:
            self._settle()

    def rows(self) -> Rows:
        """All of them."""
        self._settle()
        return Rows(combined(pa.Table.from_batches(self._parts, self._schema)), _Made(self._kind))

    def _settle(self) -> None:
        entries = [vars(row) if hasattr(row, "__dict__") else asdict(row) for row in self._waiting]
        columns = [_array([entry[one.name] for entry in entries], one.type) for one in self._schema]
        self._parts.append(pa.record_batch(columns, schema=self._schema))
        self._waiting = []


class _Made:
    """Makes a row of fields that were a row's before."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind

    def __call__(self, fields: dict[str, Any]) -> Any:
        return self.kind(**fields)


def rows_of(rows: Iterable[Any]) -> Rows:
    """Rows as columns; they are all of one class."""
    if isinstance(rows, Rows):
        return rows
    rows = list(rows)
    builder = Builder(type(rows[0]) if rows else _Nothing)
    for row in rows:
        builder.add(row)
    return builder.rows()


@dataclass(frozen=True)
class _Nothing:
    """A row of no table."""

    key: str
    split: str
    label: int


def schema_of(kind: type[Any]) -> pa.Schema:
    """The columns of a class of rows, by the types of its attributes.

    Raises:
        TypeError: a field is neither text, nor a number, nor a tuple of so many numbers.
    """
    hints = typing.get_type_hints(kind)
    names = [one.name for one in fields(kind)] if is_dataclass(kind) else list(hints)
    return pa.schema([(name, _kind(name, hints[name])) for name in names])


def combined(table: pa.Table) -> pa.Table:
    """The table with each column in one piece, and each word once."""
    return table.unify_dictionaries().combine_chunks()


def _plain(table: pa.Table) -> pa.Table:
    """A table whose words are text: they may be numbered in another order."""
    for place, one in enumerate(table.schema):
        if pa.types.is_dictionary(one.type):
            table = table.set_column(place, one.name, table.column(place).cast(pa.string()))
    return table.replace_schema_metadata()


def _kind(name: str, hint: Any) -> pa.DataType:
    if name in HEXADECIMAL:
        return pa.binary(32)
    if name in WORDS:
        return pa.dictionary(pa.int32(), pa.string())
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        [hint] = [one for one in typing.get_args(hint) if one is not types.NoneType]
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and inner and set(inner) <= {int} | {float} and len(set(inner)) == 1:
        return pa.list_(_KINDS[inner[0]], len(inner))
    if hint not in _KINDS:
        raise TypeError(f"no column holds {name}: {hint}")
    return _KINDS[hint]


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_binary(kind):
        values = [bytes.fromhex(value) or None for value in values]  # none: there is no file yet
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, kind)


def one_piece(column: Any) -> Any:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _numbers(column: Any) -> np.ndarray:
    """A column of numbers, or of so many a row, as NumPy has it; nothing is copied where none is missing."""
    values = _content(column)
    if column.null_count == len(column):
        return np.broadcast_to(np.zeros((), values.dtype), values.shape)
    if column.null_count:
        there = _there(column)
        values = np.where(there if values.ndim == 1 else there[:, None], values, 0)
    return values


def _content(column: Any) -> np.ndarray:
    """The memory of a column of numbers, or of so many a row; whatever it holds where one is missing."""
    inner, width = column, 1
    if pa.types.is_fixed_size_list(column.type):
        inner, width = column.values, column.type.list_size
    if pa.types.is_boolean(inner.type):
        found: np.ndarray = inner.to_numpy(zero_copy_only=False)
        return found
    content = inner.buffers()[1]
    if content is None:
        return np.zeros((len(column), width) if inner is not column else len(column), np.int64)
    values = np.frombuffer(content, inner.type.to_pandas_dtype())[inner.offset :]
    if inner is column:
        return values[: len(column)]
    return values.reshape(-1, width)[column.offset : column.offset + len(column)]


def _there(column: Any) -> np.ndarray:
    """Which rows of a column have a value."""
    there: np.ndarray = column.is_valid().to_numpy(zero_copy_only=False)
    return there


def _getter(name: str, column: Any) -> Callable[[int], Any]:
    """What gives the value of a row. It reads the column's own memory: Arrow's scalars take several times as
    long.
    """
    if name in HEXADECIMAL and column.null_count:
        return lambda place: (column[place].as_py() or b"").hex()
    if name in HEXADECIMAL:
        width, first = column.type.byte_width, column.offset
        content = memoryview(column.buffers()[1] or b"")
        return lambda place: content[(first + place) * width : (first + place + 1) * width].hex()
    if pa.types.is_large_string(column.type) and not column.null_count:
        ends = np.frombuffer(column.buffers()[1] or bytes(8), np.int64)[column.offset :]
        text = memoryview(column.buffers()[2] or b"")
        return lambda place: str(text[ends[place] : ends[place + 1]], "utf-8")
    if pa.types.is_dictionary(column.type) and not column.null_count:
        codes, words = column.indices.to_numpy(), column.dictionary.to_pylist()
        return lambda place: words[codes[place]]
    if pa.types.is_fixed_size_list(column.type):
        if column.null_count == len(column):
            return lambda place: None
        values, there = _content(column), _there(column) if column.null_count else None
        return lambda place: tuple(values[place].tolist()) if there is None or there[place] else None
    if pa.types.is_integer(column.type) and not column.null_count:
        numbers = _content(column)
        return lambda place: int(numbers[place])
    return lambda place: column[place].as_py()

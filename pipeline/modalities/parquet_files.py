"""Parquet files of others: what would become far more than it is itself is refused before memory is taken."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from stillroom.files import require_regular

LONGEST_VALUE = 2**16  # bytes of a text in a Parquet file
ROWS, ROWS_A_BYTE = 10**6, 8  # a Parquet file's rows at most: so many, and so many for each of its bytes
TOGETHER = 2**30  # bytes that are read of one at a time, by what its columns may hold
SWELL, FREE = 200, 2**26  # times its own size, and bytes, that a Parquet file may become in memory


def open_parquet(file: Path, content: Collection[str] = (), columns: Sequence[str] | None = None) -> Any:
    """A `pyarrow.parquet.ParquetFile`, which does not become far more than it is itself.

    Args:
        content: columns that may have large values, such as images. A text that is repeated in the others is
            in memory once: see `require_short`.
        columns: those that are read; None: all.

    Raises:
        ValueError: it would become far more; or it is no regular file.
        OSError, pyarrow.ArrowException: it cannot be read.
    """
    import pyarrow as pa
    from pyarrow import parquet

    require_regular(file)
    schema = [one for one in parquet.read_schema(file) if columns is None or one.name in columns]
    texts = [one.name for one in schema if one.name not in content and pa.types.is_string(_plain(one.type))]
    opened = parquet.ParquetFile(file, page_checksum_verification=True, read_dictionary=texts)
    try:
        _require_sound(opened, file, {one.name for one in schema})
    except BaseException:
        opened.close()
        raise
    return opened


def _plain(kind: Any) -> Any:
    """A type as Parquet has it: no dictionary's, and of texts and bytes of any kind that of texts."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    asks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return pa.string() if any(ask(kind) for ask in asks) else pa.null()


def _require_sound(opened: Any, file: Path, columns: Collection[str]) -> None:
    about, size = opened.metadata, file.stat().st_size
    if about.num_rows > ROWS + ROWS_A_BYTE * size:
        raise ValueError(f"its {size:,} bytes would become {about.num_rows:,} rows")
    # of a damaged file, asking for single columns would end the process
    swollen = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
    if swollen > FREE + SWELL * size:
        raise ValueError(f"its {size:,} bytes would become {swollen:,}")
    for group in map(about.row_group, range(about.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name = column.path_in_schema.partition(".")[0]
            if name in columns and 8 * column.num_values > FREE + SWELL * size:
                raise ValueError(f"its {size:,} bytes would become {column.num_values:,} values of {name}")


def require_short(batch: Any) -> None:
    """Refuse texts too long for what a table says: one that is repeated costs a file next to nothing.

    Args:
        batch: a `pyarrow.RecordBatch`.

    Raises:
        ValueError: names the column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = column.dictionary if pa.types.is_dictionary(column.type) else column
        texts = pa.types.is_string(_plain(values.type))
        if texts and (pc.max(pc.binary_length(values)).as_py() or 0) > LONGEST_VALUE:
            raise ValueError(f"a value of its column {name} is longer than {LONGEST_VALUE:,} bytes")


def rows_together(opened: Any, most: int) -> int:
    """How many rows of images may be read at a time: any may be as large as its column, in a group of rows.

    Args:
        opened: a `pyarrow.parquet.ParquetFile`.
    """
    about = opened.metadata
    groups: list[int] = [about.row_group(group).total_byte_size for group in range(about.num_row_groups)]
    return max(1, min(most, TOGETHER // max(groups, default=1)))

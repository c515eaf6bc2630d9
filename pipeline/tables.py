"""Tables in files: Parquet, with what is said of the whole table in its metadata.

A large one is unpacked once a machine, to a file that is mapped: it is then there at once, and no process has
memory of its own for it.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import ipc, parquet

from stillroom.columns import WORDS, combined
from stillroom.machine import local_folder

LARGE = 50_000  # rows from which on a table is unpacked to a file
KEPT = 8  # unpacked tables that stay on a machine
_HEAD, _DIGEST = b"stillroom", b"stillroom.sha256"
_BATCH = 2**13  # rows read at a time: what a damaged file can claim
_GROUP = 2**17  # rows written together
_SWELL, _FREE = 200, 2**26  # times its own size, and bytes, that a file may become in memory
_LONGEST_HEAD = 2**26  # bytes


def write(table: pa.Table, head: dict[str, Any], stream: BinaryIO) -> None:
    """Write a table as Parquet.

    Args:
        head: what is said of it as a whole, JSON.
    """
    content = json.dumps({**head, "rows": table.num_rows}).encode()
    digest = hashlib.sha256(content).hexdigest()  # pages have checksums, and what is said here has none
    described = table.replace_schema_metadata({_HEAD: content, _DIGEST: digest})
    words = [name for name in WORDS if name in table.column_names]
    for name in words:  # in the order of their rows: the same rows make the same file
        place, column = table.schema.get_field_index(name), described.column(name)
        described = described.set_column(place, name, column.cast(pa.string()).dictionary_encode())
    parquet.write_table(
        described,
        stream,
        compression="zstd",
        use_dictionary=words,
        row_group_size=_GROUP,
        write_page_checksum=True,
    )


def read(file: Path, check: Callable[[dict[str, Any], pa.Table], None]) -> tuple[dict[str, Any], pa.Table]:
    """What `write` wrote: what is said of the table, and the table, each column in one piece.

    Args:
        check: refuses a table; one that is mapped was looked at when it was unpacked.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file.
    """
    with file.open("rb") as stream:
        try:
            opened = parquet.ParquetFile(stream, page_checksum_verification=True)
            head = _head(opened.schema_arrow)
            if head["rows"] < LARGE:
                table = _unpacked(opened, file.stat().st_size, head["rows"])
                check(head, table)
                return head, table
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            table = _mapped(digest)
            if table is None:
                table = _unpacked(opened, file.stat().st_size, head["rows"])
                check(head, table)
                table = _keep(table, digest)
            return head, table
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ValueError(" ".join(str(error).split())[:200]) from None


def _head(schema: pa.Schema) -> dict[str, Any]:
    content = (schema.metadata or {}).get(_HEAD, b"")
    if not content or len(content) > _LONGEST_HEAD:
        raise ValueError("it is a Parquet file, but not one that stillroom wrote")
    if hashlib.sha256(content).hexdigest().encode() != (schema.metadata or {}).get(_DIGEST):
        raise ValueError("what it says of itself is not what was written")
    head = json.loads(content)
    if not isinstance(head, dict):
        raise ValueError("what it says of itself is no object")
    return head


def _unpacked(opened: parquet.ParquetFile, size: int, rows: int) -> pa.Table:
    """The whole table, read a little at a time: a file that swells beyond reason is refused on the way."""
    batches, taken = [], 0
    for batch in opened.iter_batches(_BATCH):
        taken += batch.nbytes
        if taken > _FREE + _SWELL * size:
            raise ValueError(f"{size:,} bytes of it become more than {taken:,}")
        batches.append(batch)
    found = sum(batch.num_rows for batch in batches)
    if found != rows:
        raise ValueError(f"it has {found:,} rows, and says {rows:,}")
    return combined(pa.Table.from_batches(batches, opened.schema_arrow))


def _folder() -> Path:
    return local_folder() / "tables"


def _mapped(digest: str) -> pa.Table | None:
    """The unpacked table of a file with this digest; None: it is not there, or not what was written, and then
    it goes.
    """
    with suppress(OSError, pa.ArrowException):
        for file in _folder().glob(f"{digest}-*.arrow"):
            content = pa.memory_map(str(file))
            own = hashlib.sha256(content.read_buffer()).hexdigest()
            if file.stem != f"{digest}-{own}":
                file.unlink()
                continue
            with suppress(OSError):  # those that were not used for longest go
                file.touch()
            content.seek(0)
            table: pa.Table = ipc.open_file(content).read_all()
            return table
    return None


def _keep(table: pa.Table, digest: str) -> pa.Table:
    """The table from a mapped file of this machine, whose name has its digest; as it is where none can be
    written.
    """
    with suppress(OSError, pa.ArrowException):
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            unfinished = folder / f".{digest}-{secrets.token_hex(8)}.tmp"
            stack.callback(unfinished.unlink, missing_ok=True)
            with unfinished.open("wb") as stream, ipc.new_file(stream, table.schema) as writer:
                writer.write_table(table)
            with unfinished.open("rb") as written:
                own = hashlib.file_digest(written, "sha256").hexdigest()
            unfinished.replace(folder / f"{digest}-{own}.arrow")
        others = sorted(folder.glob("*.arrow"), key=lambda one: one.stat().st_mtime_ns)
        for old in others[:-KEPT]:
            old.unlink(missing_ok=True)
        return _mapped(digest) or table
    return table

"""The samples table of a project as plain lists, for tests that look into it or change it."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from stillroom import tables

NAME = "samples.parquet"
DATA = f"artifacts/data/{NAME}"


def read(folder: Path) -> dict[str, Any]:
    """What a table says of itself, and `samples`: a dict a row, with its digest in hexadecimal."""
    table = parquet.read_table(folder / NAME)
    head = json.loads(table.schema.metadata[b"stillroom"])
    rows = table.to_pylist()
    for row in rows:
        row["sha256"] = row["sha256"].hex()
    return {**head, "samples": rows}


def write(folder: Path, content: dict[str, Any]) -> None:
    """Put a table in the place of the one that is there, with columns of the same types."""
    schema = parquet.read_schema(folder / NAME).remove_metadata()
    head = {name: value for name, value in content.items() if name not in ("samples", "rows")}
    rows = [
        row | ({"sha256": bytes.fromhex(row["sha256"])} if "sha256" in row else {})
        for row in content["samples"]
    ]
    there = set(rows[0]) if rows else set(schema.names)
    schema = pa.schema([field for field in schema if field.name in there])
    stream = io.BytesIO()
    tables.write(pa.Table.from_pylist(rows, schema), head, stream)
    (folder / NAME).unlink()  # it may be a link into DVC's cache
    (folder / NAME).write_bytes(stream.getvalue())

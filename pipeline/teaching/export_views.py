"""The views of a cache as files, for a teacher in another framework or behind an API.

As tar shards in WebDataset's layout: `KEY.json` (key, label, class) and `KEY.0.png`, `KEY.1.png`, ... beside
each other, so that a sample's views are read together; or as Parquet with a row a view. Beside them
`views.json` says which views they are (`provenance.exported`).
"""

import json
import os
import re
import tarfile
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from stillroom import modalities
from stillroom.cache.format.manifest import NAME as MANIFEST
from stillroom.errors import ParamsError, StillroomError, listing
from stillroom.files import sync, whole_folder, write_json
from stillroom.machine import cores
from stillroom.modalities.base import Policy, Spec, ViewRequest
from stillroom.modalities.tar_names import add_member, member_key
from stillroom.params import Params
from stillroom.progress import Progress
from stillroom.provenance.exported import NAME, describe
from stillroom.samples import Sample, Samples
from stillroom.views.loader import Renderers
from stillroom.views.planes import drawn
from stillroom.views.recent import reading

OURS = re.compile(r"views\.json|views-\d{6,}\.(tar|parquet)")
_BATCH = 64  # views rendered together, about
_BYTES = 2**26  # and what they may take
_GROUP = 2**24  # bytes of a row group of Parquet


def export_views(
    train: Samples,
    params: Params,
    spec: Spec,
    folder: Path,
    workplace: Path,
    first: int,
    kind: str,
    shard_bytes: int,
    progress: Progress,
) -> int:
    """Write the views `first` .. `views.count` - 1 of all samples, in the order of their keys.

    The folder appears when all of it is there; one that an earlier export wrote is replaced. Memory does not
    grow with the number of samples.

    Args:
        train: the samples of a cache.
        spec: what the teacher's input is: see `Modality.rendered`.
        workplace: where it is unfinished; on the same disk.
        kind: `tar` or `parquet`.
        shard_bytes: how large a file becomes before the next is begun.

    Returns:
        how many shards there are.

    Raises:
        StillroomError: the folder holds something else, or cannot be written.
        ParamsError: there is no such view.
        DataError: a sample cannot be read, or is not the one that `prepare` saw.
    """
    refuse_other_content(folder)
    if not 0 <= first < params.views.count:
        raise ParamsError(
            f"there is no view {first}",
            f"views.count is {params.views.count}: views are numbered from 0 to {params.views.count - 1}",
            "set views.count to how many there are to be in all",
        )
    modality = modalities.get(train.modality)
    recipe = modality.policy(params.views.recipe)
    count = params.views.count - first
    with whole_folder(folder, workplace, OURS) as new:
        progress.start("views", len(train) * count, "views")
        shards = _Shards(new, kind, shard_bytes, list(train.classes))
        with shards, closing(_rendered(train, recipe, params.views.seed, spec, first, count)) as views:
            for number, (suffix, content) in enumerate(views):
                row, view = divmod(number, count)
                if view == 0:
                    sample = train.rows[row]
                shards.add(sample, first + view, suffix, content, begins=view == 0)
                progress.advance()
        about = {"format": kind, "suffix": suffix, "shards": shards.names}
        write_json(new / NAME, describe(train, params, spec, first, about).model_dump(mode="json"))
        sync(new / NAME)
        sync(new)
    progress.finish()
    return len(shards.names)


def refuse_other_content(folder: Path) -> None:
    """Views replace views or nothing: a mistyped path must cost nobody a file.

    Raises:
        StillroomError: there is something else; names it.
    """
    if not folder.is_dir() or (folder / NAME).exists():
        return
    foreign = sorted(os.listdir(folder))
    if foreign:
        what = "a cache" if MANIFEST in foreign else "something that no export of views wrote"
        raise StillroomError(
            f"{folder} holds {what}:\n{listing(foreign, 6)}",
            f"there is no {NAME} in it, and views are to be there",
            "name another folder (--to FOLDER), or move what is there away",
        )


@dataclass(frozen=True)
class _Run:
    """Consecutive views of consecutive samples: number n is of sample n div `count`, its view n mod `count`,
    counted from `first`.
    """

    policy: Policy
    seed: int
    first: int
    count: int
    start: int
    stop: int
    tell: Sequence[str] = ()

    def __len__(self) -> int:
        return self.stop - self.start

    def requests(self, samples: Samples) -> list[ViewRequest]:
        """The views, given the samples of the cache."""
        found, row = [], -1
        for number in range(self.start, self.stop):
            if number // self.count != row:
                row = number // self.count
                sample = samples.rows[row]
            view = self.first + number % self.count
            found += drawn(self.policy, self.seed, samples, [sample], view)
        return found


def _rendered(
    train: Samples, recipe: Policy, seed: int, spec: Spec, first: int, count: int
) -> Generator[tuple[str, bytes]]:
    """Each view as a file: its suffix and bytes; sample by sample, view by view."""
    modality = modalities.get(train.modality)
    dtype, shape = modality.rendered(spec)
    size = count * max(1, _BATCH // count) if count <= _BATCH else _BATCH
    size = max(1, min(size, _BYTES // (int(np.prod(shape)) * np.dtype(dtype).itemsize)))
    reader, seen = reading(modality, train, recipe, -(-size // count))
    renderers = Renderers(modality, reader, train, spec, seen=seen)
    total = len(train) * count
    runs = (
        _Run(recipe, seed, first, count, start, min(start + size, total)) for start in range(0, total, size)
    )
    with (
        closing(renderers),
        ThreadPoolExecutor(cores().used) as pool,
        closing(renderers.stream(runs)) as all_,
    ):
        for raw, _ in all_:
            yield from pool.map(modality.as_file, raw.numpy())


class _Sink(Protocol):
    """A shard that is being written."""

    def add(self, sample: Sample, view: int, suffix: str, content: bytes, begins: bool) -> None:
        """A view more; `begins`: the first of its sample."""

    def close(self) -> None:
        """End it."""


class _Shards:
    """Files of about one size, one after the other; a sample's views stay together.

    Attributes:
        names: of the files.
    """

    def __init__(self, folder: Path, kind: str, shard_bytes: int, classes: list[str]) -> None:
        self._folder, self._kind, self._most, self._classes = folder, kind, shard_bytes, classes
        self.names: list[str] = []
        self._stream: BinaryIO | None = None
        self._sink: _Sink | None = None

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, *raised: object) -> None:
        self._end(whole=raised[0] is None)

    def add(self, sample: Sample, view: int, suffix: str, content: bytes, begins: bool) -> None:
        """A view more."""
        if begins and self._stream is not None and self._stream.tell() >= self._most:
            self._end()
        if self._sink is None:
            name = f"views-{len(self.names):06d}.{self._kind}"
            self._stream = (self._folder / name).open("xb")
            kind = _Parquet if self._kind == "parquet" else _Tar
            self._sink = kind(self._stream, self._classes, min(_GROUP, self._most))
            self.names.append(name)
        self._sink.add(sample, view, suffix, content, begins)

    def _end(self, whole: bool = True) -> None:
        stream, sink, self._stream, self._sink = self._stream, self._sink, None, None
        if stream is None or sink is None:
            return
        with stream:
            if whole:
                sink.close()
                stream.flush()
                os.fsync(stream.fileno())


class _Tar:
    """WebDataset's layout."""

    def __init__(self, stream: BinaryIO, classes: list[str], group: int) -> None:
        self._classes, self._key = classes, ""
        self._archive = tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, sample: Sample, view: int, suffix: str, content: bytes, begins: bool) -> None:
        """See `_Sink`."""
        if begins:
            self._key = member_key(sample.key)
            self._member("json", json.dumps(_about(sample, self._classes), ensure_ascii=False).encode())
        self._member(f"{view}.{suffix}", content)

    def _member(self, suffix: str, content: bytes) -> None:
        add_member(self._archive, f"{self._key}.{suffix}", content)

    def close(self) -> None:
        """See `_Sink`."""
        self._archive.close()


class _Parquet:
    """A row a view: key, view, image (for clips: array), label."""

    def __init__(self, stream: BinaryIO, classes: list[str], group: int) -> None:
        self._stream, self._classes, self._group = stream, classes, group
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._writer: parquet.ParquetWriter | None = None

    def add(self, sample: Sample, view: int, suffix: str, content: bytes, begins: bool) -> None:
        """See `_Sink`."""
        column = "image" if suffix == "png" else "array"
        label = sample.label if sample.label >= 0 else None
        self._rows.append({"key": sample.key, "view": view, column: content, "label": label})
        self._bytes += len(content)
        if self._writer is None:
            fields = [
                ("key", pa.string()),
                ("view", pa.int32()),
                (column, pa.binary()),
                ("label", pa.int32()),
            ]
            schema = pa.schema(fields, metadata={"classes": json.dumps(self._classes)})
            self._writer = parquet.ParquetWriter(
                self._stream, schema, compression="none", use_dictionary=["key"], write_page_checksum=True
            )
        if self._bytes >= self._group:
            self._flush()

    def _flush(self) -> None:
        assert self._writer is not None
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._writer.schema))
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        """See `_Sink`."""
        self._flush()
        assert self._writer is not None
        self._writer.close()


def _about(sample: Sample, classes: list[str]) -> dict[str, Any]:
    """What `KEY.json` says: the key as it is, and the label, where there is one."""
    if sample.label < 0:
        return {"key": sample.key}
    return {"key": sample.key, "label": sample.label, "class": classes[sample.label]}

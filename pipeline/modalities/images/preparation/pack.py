"""A data set of images as tar shards, in WebDataset's layout: the same table makes the same bytes.

A sample is three members beside each other: `KEY.cls` (its label, if any), `KEY.jpg` (the file as it was) and
`KEY.json` (what else the table has of it). `dataset.json` beside the shards names the classes in label order.
"""

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO

from stillroom.errors import StillroomError
from stillroom.files import as_json, sync
from stillroom.modalities.images.datasets.shards import FORMAT, NAME
from stillroom.modalities.images.decode import SUFFIXES
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.tar_names import add_member, member_key
from stillroom.progress import Progress
from stillroom.samples import SPLITS, Samples

# How the bytes of each format begin, for an image whose table no longer says its suffix
_BEGINNINGS = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"BM", ".bmp"),
    (b"GIF8", ".gif"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"RIFF", ".webp"),
)


def pack(samples: Samples, folder: Path, shard_bytes: int, progress: Progress) -> int:
    """Write the samples of a table as shards; see `Modality.write_shards`.

    Samples are in the order of their keys, one split after the other. The folder appears when all of it is
    there.

    Raises:
        StillroomError: the folder is not empty, or cannot be written.
        DataError: an image cannot be read, or is not the one that `prepare` saw.
        AccessError: this user may not read it.
    """
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise StillroomError(
            f"{folder} is there already" + (", and not empty" if folder.is_dir() else ""),
            "shards are written into a new folder",
            "name another folder, or remove this one",
        )
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    content = Pixels(samples, budget=0)
    names: list[str] = []
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        unfinished.mkdir(parents=True)
        progress.start("pack", len(samples), "images")
        for split in SPLITS:
            rows = samples.in_splits(split).rows
            with Shards(unfinished, split, shard_bytes) as shards:
                for row in rows:
                    shards.add(row, content.bytes_of(row), samples.class_of(row))
                    progress.advance()
            names += shards.names
        about = {
            "format": FORMAT,
            "dataset": samples.dataset,
            "classes": list(samples.classes),
            "shards": names,
        }
        (unfinished / NAME).write_bytes(as_json(about))
        sync(unfinished / NAME)
        sync(unfinished)
        if folder.is_dir() and not folder.is_symlink():
            folder.rmdir()
        unfinished.rename(folder)
        progress.finish()
    except OSError as error:
        raise StillroomError(
            f"{folder} cannot be written",
            error.strerror or str(error),
            "free the disk, or name another folder",
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(names)


class Shards:
    """The shards of one split, written one after the other; with nothing in it there is none.

    Args:
        folder: it must be there.
        shard_bytes: how large a file becomes before the next is begun.
    """

    def __init__(self, folder: Path, split: str, shard_bytes: int) -> None:
        self._folder, self._split, self._most = folder, split, shard_bytes
        self.names: list[str] = []
        self._stream: BinaryIO | None = None
        self._archive: tarfile.TarFile | None = None

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close(whole=raised[0] is None)

    def add(self, row: Sample, content: bytes, name: str) -> tuple[str, int]:
        """One sample more, with the name of its class.

        Returns:
            the name of its shard, and the first byte of its image in it.
        """
        if self._stream is not None and self._stream.tell() >= self._most:
            self.close()
        if self._stream is None or self._archive is None:
            self.names.append(f"{self._split}-{len(self.names):06d}.tar")
            self._stream = (self._folder / self.names[-1]).open("xb")
            self._archive = tarfile.open(  # noqa: SIM115  # `close` ends it
                fileobj=self._stream, mode="w", format=tarfile.PAX_FORMAT
            )
        place = _add(self._archive, row, content, name)
        return self.names[-1], place

    def close(self, whole: bool = True) -> None:
        """End the shard that is being written.

        Args:
            whole: flush it to the disk.
        """
        stream, archive, self._stream, self._archive = self._stream, self._archive, None, None
        if stream is None or archive is None:
            return
        with stream:
            if whole:
                archive.close()
                stream.flush()
                os.fsync(stream.fileno())


def _add(archive: tarfile.TarFile, row: Sample, content: bytes, name: str) -> int:
    """Add the members of a sample; the first byte of its image."""
    known = row.label >= 0
    about = {
        "key": row.key,
        "label": row.label if known else None,
        "class": name if known else None,
        "split": row.split,
        "box": row.box,
        "group": row.group,
    }
    key, place = member_key(row.key), 0
    for suffix, part in (
        *([(".cls", str(row.label).encode())] if known else []),
        (_suffix(row, content), content),
        (".json", json.dumps(about, ensure_ascii=False).encode()),
    ):
        add_member(archive, f"{key}{suffix}", part)
        if part is content:  # it ends where the archive does, filled up to whole blocks
            place = archive.offset - -(-len(part) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return place


def _suffix(row: Sample, content: bytes) -> str:
    suffix = Path(row.path).suffix.lower() if row.span is None else ""
    if suffix in SUFFIXES:
        return suffix
    return next((suffix for mark, suffix in _BEGINNINGS if content.startswith(mark)), ".avif")

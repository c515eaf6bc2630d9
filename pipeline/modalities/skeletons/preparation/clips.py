"""From what a data set's reader finds to clips of one form, in few files: each is read, checked, digested."""

import hashlib
import io
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stillroom.columns import Builder, Rows
from stillroom.errors import DataError, listing
from stillroom.modalities import entries as shared
from stillroom.modalities.entries import require_distinct, require_every_class, require_two_classes
from stillroom.modalities.skeletons.arrays import sound
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.modalities.skeletons.samples import Sample
from stillroom.progress import Progress

FOLDER = "clips"
PACK = 64 * 2**20  # bytes of a file of clips, after which the next is begun
MOST_LETTERS = 1000  # of a key, or of a class


@dataclass(frozen=True)
class Entry:
    """A clip before it has been read.

    Attributes:
        key, split, label, group: as of every sample.
        path: what messages, `data.skip` and `data.groups` call it: the path of its file from `data.path`, or
            its key where many are in one file.
    """

    key: str
    path: str
    split: str
    label: int
    group: str = ""


@dataclass(frozen=True)
class Content:
    """What is in a clip.

    Attributes:
        joints: [T, M, J, dims + 1], as `arrays.sound` takes it.
        size: (width, height) of the picture in pixels; (0, 0): nobody knows.
    """

    joints: np.ndarray
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Clips:
    """A data set as its reader found it; clips are read one at a time.

    Attributes:
        dataset: its name.
        classes: in label order.
        entries: in the order in which they are best read.
        read: gives what is in an entry; ValueError or OSError where it cannot, which says why.
        layout, dims: of every clip.
        root: where the paths of the entries start, for messages.
        splits: in which every class must be.
        published: whether nothing may be left out: the published data set is wanted.
    """

    dataset: str
    classes: tuple[str, ...]
    entries: Sequence[Entry]
    read: Callable[[Entry], Content]
    layout: Layout
    dims: int
    root: Path
    splits: tuple[str, ...] = ("train", "test")
    published: bool = False


@dataclass
class Account(shared.Account):
    """As of every data set.

    Attributes:
        passed_over, skipped: see there.
        frames, nobody: how many frames there are, and how many show nobody.
        joints, missing: for each label, the joints of all bodies that are in a frame, and those of them that
            are not there.
    """

    frames: int = 0
    nobody: int = 0
    joints: dict[int, int] = field(default_factory=dict)
    missing: dict[int, int] = field(default_factory=dict)

    def count(self, label: int, clip: np.ndarray) -> None:
        """Count what is missing in a clip."""
        there = clip[..., -1] > 0
        bodies = there.any(axis=-1)
        self.frames += len(clip)
        self.nobody += int((~bodies.any(axis=-1)).sum())
        joints = int(bodies.sum()) * there.shape[-1]
        self.joints[label] = self.joints.get(label, 0) + joints
        self.missing[label] = self.missing.get(label, 0) + joints - int(there.sum())


def check(clips: Clips) -> None:
    """Look at a data set before any clip is read.

    Raises:
        DataError: no clip, fewer than two classes, a class that is not in each split, or a key that is there
            twice or that no table can hold.
    """
    if not clips.entries:
        raise DataError(f"{clips.root} has no clip", fix="set data.path to where the data set lies")
    for what, names in (("keys", [entry.key for entry in clips.entries]), ("classes", list(clips.classes))):
        odd = [f"{name!a:.200}" for name in names if not _is_name(name)]
        if odd:
            raise DataError(
                f"{clips.root} has {what} that are empty, too long, or hold control characters or line "
                "separators:\n" + listing(odd),
                fix=f"rename them; they may have {MOST_LETTERS:,} letters",
            )
    require_two_classes(clips.classes, clips.root, "clip")
    require_distinct(clips.entries)
    require_every_class(
        clips.entries,
        clips.classes,
        "add clips of these classes, or take the classes out of the other split",
        "clip",
        clips.splits,
    )


def _is_name(text: str) -> bool:
    return text.isprintable() and 0 < len(text) <= MOST_LETTERS


def write(clips: Clips, folder: Path, progress: Progress, account: Account) -> Rows:
    """Read every clip and write it, as the bytes of a `.npy` file, behind others: `00000.npys` and so on.

    Args:
        clips: the data set.
        folder: which gets the files; it is there, and empty.
        progress: gets a step a clip.
        account: gets what is missing in them.

    Returns:
        A row an entry, in the same order; its path starts at `folder`, and its span says where in the file.

    Raises:
        DataError: clips cannot be read, or are not what they should be. All are named, not only the first.
    """
    rows: Builder = Builder(Sample)
    faults = []
    progress.start("read", len(clips.entries), "clips")
    with closing(_Packs(folder)) as packs:
        for entry in clips.entries:
            try:
                content = clips.read(entry)
                joints = sound(content.joints, clips.layout, clips.dims)
            except OSError as error:
                faults.append(f"{entry.path}: {error.strerror or error}")
            except ValueError as error:
                faults.append(f"{entry.path}: {error}")
            else:
                if not faults:  # or the disk would fill for nothing
                    rows.add(_written(entry, joints, content.size, clips.layout.name, packs))
                account.count(entry.label, joints)
            progress.advance()
    progress.finish()
    if faults:
        count = "1 clip" if len(faults) == 1 else f"{len(faults):,} clips"
        skip = "" if clips.published else "; or write their names into a file, one a line, and set data.skip"
        raise DataError(
            f"{count} of {clips.root} cannot be used:\n{listing(sorted(faults))}",
            "every clip is read and checked before anything is made from it",
            f"get these files again, or mend them{skip} to it" if skip else "get these files again",
        )
    return rows.rows()


class _Packs:
    """Files of clips that are filled one after the other, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number = folder, 0
        self._stream: BinaryIO | None = None

    def add(self, content: bytes) -> tuple[str, tuple[int, int]]:
        """Write a clip behind the others; the name of its file, and its place in it."""
        if self._stream is None or self._stream.tell() >= PACK:
            self.close()
            self._stream = (self._folder / f"{self._number:05d}.npys").open("xb")
            self._number += 1
        start = self._stream.tell()
        self._stream.write(content)
        return Path(self._stream.name).name, (start, len(content))

    def close(self) -> None:
        """Finish the last file."""
        if self._stream is not None:
            self._stream.close()


def _written(entry: Entry, joints: np.ndarray, size: tuple[int, int], layout: str, packs: _Packs) -> Sample:
    stream = io.BytesIO()
    np.save(stream, joints, allow_pickle=False)
    content = stream.getvalue()
    path, span = packs.add(content)
    frames, persons, count, channels = joints.shape
    return Sample(
        entry.key,
        path,
        entry.split,
        entry.label,
        frames,
        persons,
        count,
        channels - 1,
        layout,
        size,
        hashlib.sha256(content).hexdigest(),
        entry.group,
        span,
    )

"""Images in tar shards, as WebDataset has them: few large files instead of many small ones.

    path/train-000000.tar, path/train-000001.tar, ..., path/test-000000.tar    or
    path/train/000000.tar, ..., path/test/000000.tar

A shard's members are samples, all members of one beside each other: `KEY.jpg` (or another image) and
`KEY.cls` (the class, a number or a name) or `KEY.json` (`label`: a number; `class`: a name; perhaps `box` and
`group`). As everywhere in WebDataset a key ends at the first dot of the file's name, and may have folders
before it. What lies in unlabelled-000000.tar has no class, whatever is beside it. A `dataset.json` beside the
shards may name the classes in label order: {"classes": [...]}.

`stillroom prepare --pack` writes such a folder.
"""

import json
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pyarrow.compute as pc

from stillroom.columns import Builder, Rows
from stillroom.errors import AccessError, DataError, ParamsError, listing
from stillroom.fetched import copies, is_address
from stillroom.modalities.entries import (
    MEANINGS,
    WITHOUT_LABELS,
    composed,
    one_form,
    plain,
    require_every_class,
    require_two_classes,
    skip_list,
)
from stillroom.modalities.images.decode import SUFFIXES
from stillroom.modalities.images.preparation import scan
from stillroom.modalities.images.preparation.scan import Account, Format, Found
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.images.settings import MISSING, Data
from stillroom.modalities.remembered import stamp
from stillroom.modalities.tar_members import PLAIN, Member, TarMembers
from stillroom.progress import Progress
from stillroom.samples import UNLABELLED, Samples

TAKES = ("skip", "splits", "allow_missing_classes")  # of data's keys
ADDRESSES = True  # `data.path` may be one
NAME = "dataset.json"
FORMAT = "stillroom-shards/1"  # of a folder that `prepare --pack` wrote
AMBIGUOUS = ("holdout",)  # some mean validation by it, some the test
MOST_IMAGE = 2**30  # bytes of an image's file
MOST_LABEL = 2**20  # ... of a .cls or .json
MOST_ABOUT = 2**28  # ... of dataset.json
AHEAD = 64  # images that wait to be decoded, at most
LABELS = ("cls", "json")
NUMBERS = ("label", "cls")  # what a .json may call the class's number, or its name
NAMES = ("class", "class_name", "classname", "label_name")
_PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")


@dataclass(frozen=True)
class Shard:
    """A tar file of a data set.

    Attributes:
        path: from the data set's folder.
        size: in bytes; None: nobody knows.
        stamp: as `remembered.stamp`; None: it is not on this machine.
    """

    path: str
    size: int | None
    stamp: tuple[int, int, int, int] | None = None


class Folder:
    """A folder of shards on this machine."""

    def __init__(self, root: Path) -> None:
        self.root, self.shown = root, str(root)

    def files(self) -> dict[str, Shard]:
        """What lies there and one folder further down, but for hidden files; by path.

        Raises:
            DataError: there is no such folder, or it cannot be listed.
        """
        if not self.root.is_dir():
            raise DataError(f"{self.root} is not a folder", fix="set data.path to the folder of the shards")
        found = {}
        try:
            for path in sorted([*self.root.glob("[!.]*"), *self.root.glob("[!.]*/[!.]*")]):
                if path.is_file():
                    status = path.stat()
                    name = path.relative_to(self.root).as_posix()
                    found[name] = Shard(name, status.st_size, stamp(status))
        except OSError as error:
            raise DataError(f"{self.root} cannot be listed", error.strerror or str(error)) from None
        return found

    def open(self, path: str) -> BinaryIO:
        """A file, to be read from its start."""
        return (self.root / path).open("rb")


class Elsewhere:
    """Shards at an address."""

    def __init__(self, address: str) -> None:
        self._copies = copies(address)
        self.root, self.shown = Path(), self._copies.shown

    def files(self) -> dict[str, Shard]:
        """As of a folder; where the address lists nothing, what `dataset.json` names."""
        known: list[str] = []
        try:
            about = json.loads(self._copies.small(NAME, MOST_ABOUT))
            known = [NAME, *(name for name in about.get("shards", []) if _is_name(name))]
        except (OSError, AttributeError, TypeError, ValueError, RecursionError):
            pass  # what is wrong with it is said when it is read
        found = self._copies.listing(known)
        return {path: Shard(path, size) for path, (size, _) in sorted(found.items())}

    def open(self, path: str) -> BinaryIO:
        """A file, to be read from its start."""
        return self._copies.stream(path)  # type: ignore[return-value]


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(re.fullmatch(r"[^/.][^/]*(/[^/.][^/]*)?", name))


@dataclass
class _Sample:
    """The members of a sample, as they come by.

    Attributes:
        images: names of its images; the first was read.
        place: (first byte, bytes) of that one.
        found: what is in it.
        label: the text of its .cls.
        about: what its .json says.
        others: names of other members.
        labels: suffixes of those that say its class, as far as they came.
    """

    images: list[str] = field(default_factory=list)
    place: tuple[int, int] = (0, 0)
    found: "Future[Found | str] | Found | None" = None
    label: str | None = None
    about: dict[str, Any] | None = None
    others: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


Class = tuple[int | None, str | None]  # the number and the name of a class, as far as a sample has them


class Reader:
    """Reads shards one after the other, each once, from front to back.

    Args:
        place: where they lie.
        classes: in label order; None: the samples say.
        packed: whether `prepare --pack` wrote them.
        account: gets formats, and what is passed over.
        progress: gets a step a shard.
    """

    def __init__(
        self,
        place: Any,
        classes: tuple[str, ...] | None,
        packed: bool,
        skip: dict[str, str],
        account: Account,
        progress: Progress,
    ) -> None:
        self._place, self._classes, self._packed = place, classes, packed
        self._skip, self._account, self._progress = skip, account, progress
        self.rows = Builder(Sample)
        self.found: dict[Class, int] = {}  # number of each class as it was met, which rows have for a label
        self.missing: list[str] = []  # samples that lack a member, or have one too many
        self.unread: list[str] = []  # images that give no pixels
        self.skipped: set[str] = set()  # lines of the skip list that name something
        self.unchanged, self.files = 0, 0

    def read(self, shards: dict[Shard, str]) -> None:
        """Read shards, of each of which the split is given.

        Raises:
            DataError: one is no sound tar file.
        """
        self._progress.start("scan", len(shards), "shards")
        with ThreadPoolExecutor(scan.workers()) as self._pool:
            for shard, split in shards.items():
                try:
                    with self._place.open(shard.path) as stream:
                        self._shard(shard, split, stream)
                except PermissionError:
                    raise AccessError(f"{self._place.shown}/{shard.path}") from None
                except OSError as error:
                    raise DataError(
                        f"{self._place.shown}/{shard.path} cannot be read", error.strerror or str(error)
                    ) from None
                self._progress.advance()
        self._progress.finish()

    def _shard(self, shard: Shard, split: str, stream: BinaryIO) -> None:
        memory = self._account.memory
        known = memory.find_in(self._place.root / shard.path, shard.stamp) if shard.stamp else {}
        members = TarMembers(stream, shard.size, f"{self._place.shown}/{shard.path}")
        waiting: list[tuple[str, _Sample]] = []
        key, sample, done = None, _Sample(), set()
        for member in members:
            parts = _parts(member.name)
            if parts is None:
                self._account.pass_over("hidden, or about the shard itself", [f"{shard.path}/{member.name}"])
                continue
            if parts[0] != key:
                if key is not None:
                    waiting.append((key, sample))
                    done.add(key)
                key, sample = parts[0], _Sample()
                if key in done:
                    self.missing.append(
                        f"{shard.path}: {key}: its members are not beside each other, or it is there twice"
                    )
                while len(waiting) > AHEAD:
                    self._add(shard, split, *waiting.pop(0))
            self._member(shard, member, parts[1], sample, members, known)
        if key is not None:
            waiting.append((key, sample))
        for one in waiting:
            self._add(shard, split, *one)
        self._account.pass_over("no plain file", [f"{shard.path}/{name}" for name in members.odd])

    def _member(
        self,
        shard: Shard,
        member: Member,
        suffix: str,
        sample: _Sample,
        members: TarMembers,
        known: dict[int, int],
    ) -> None:
        if f".{suffix}" in SUFFIXES:
            sample.images.append(member.name)
            if len(sample.images) > 1:
                return
            self.files += 1
            sample.place = member.start, member.size
            memory = self._account.memory
            before = scan.remembered(memory, known[member.start]) if member.start in known else None
            if before:
                self.unchanged += 1
                sample.found = before
            else:
                sample.found = self._pool.submit(scan.examine, members.read(member, MOST_IMAGE))
        elif suffix in LABELS:
            name = f"{shard.path}/{member.name}"
            if suffix in sample.labels:
                self.missing.append(f"{name}: it is there twice")
                return
            sample.labels.append(suffix)
            content = members.read(member, MOST_LABEL)
            try:
                text = content.decode("utf-8-sig")
                if suffix == "cls":
                    sample.label = text.strip()
                else:
                    sample.about = json.loads(text)
                    if not isinstance(sample.about, dict):
                        raise ValueError("no object")
            except (ValueError, RecursionError) as error:
                what = "no text in UTF-8" if isinstance(error, UnicodeDecodeError) else "no JSON object"
                self.missing.append(f"{name}: {what}")
                sample.label, sample.about = sample.label or "", None
        else:
            sample.others.append(member.name)

    def _add(self, shard: Shard, split: str, key: str, sample: _Sample) -> None:
        """One sample's row, or what is wrong with it."""
        about = sample.about or {}
        if self._packed and isinstance(about.get("key"), str):
            key = about["key"]
        if not sample.images:
            odd = [name for name in sample.others if name.lower().endswith(SUFFIXES)]
            if odd:
                self.missing.append(f"{shard.path}: {odd[0]}: a key ends at the first dot, here {key}")
            elif sample.label is not None or sample.about is not None:
                self.missing.append(f"{shard.path}: {key}: no image")
            else:
                self._account.pass_over(
                    "of no format that is read", [f"{shard.path}/{name}" for name in sample.others]
                )
            return
        names = {composed(key), *(composed(f"{shard.path}/{name}") for name in sample.images)}
        if names & self._skip.keys():
            self.skipped |= names & self._skip.keys()
            self._account.skipped.append(key)
            return
        if len(sample.images) > 1:
            self.missing.append(f"{shard.path}: {key}: several images, {' and '.join(sample.images[:3])}")
            return
        try:
            label = None if split == UNLABELLED else self._label(sample, about)
            box, group = _box(about.get("box")), about.get("group") or ""
            if not isinstance(group, str) or not plain(group) or not plain(key):
                raise ValueError(f"{key!a:.100}: control characters, or no text")
            if self._packed and about.get("split") not in (None, split):
                raise ValueError(f"it says that it is of {about['split']!r:.20}, and lies in {split}")
        except ValueError as error:
            self.missing.append(f"{shard.path}: {key}: {error}")
            return
        found = sample.found.result() if isinstance(sample.found, Future) else sample.found
        assert found is not None
        if isinstance(found, str):
            self.unread.append(f"{shard.path}/{sample.images[0]}: {found}")
            return
        number = -1 if label is None else self.found.setdefault(label, len(self.found))
        start, length = sample.place
        self.rows.add(
            Sample(
                key,
                shard.path,
                split,
                number,
                box,
                found.size,
                found.sha256.hex(),
                group,
                (start, length),
            )
        )
        self._account.formats.add(Format(key, found.kind))
        if isinstance(sample.found, Future) and shard.stamp:
            file = self._place.root / shard.path
            self._account.memory.note(file, shard.stamp, found.sha256, start, found.size, found.kind)

    def _label(self, sample: _Sample, about: dict[str, Any]) -> Class:
        """The class of a sample.

        Raises:
            ValueError: it has none, or two.
        """
        number, name = None, None
        if sample.label is not None:
            number, name = _class(sample.label, self._classes)
        for key in NUMBERS:
            value = about.get(key)
            if type(value) is int and value >= 0:
                if number not in (None, value):
                    raise ValueError(f"its .cls says class {number}, and its .json {value}")
                number = value
            elif isinstance(value, str) and value and name is None and number is None:
                number, name = _class(value, self._classes)
        named = next((about[key] for key in NAMES if isinstance(about.get(key), str) and about[key]), None)
        if named is not None:
            if name not in (None, named):
                raise ValueError(f"its .cls says class {name!r:.80}, and its .json {named!r:.80}")
            name = named
        if number is None and name is None:
            raise ValueError("no class (.cls, or `label` or `class` in .json)")
        if name is not None and not plain(name):
            raise ValueError(f"a class with control characters: {name!a:.80}")
        if number is not None and number >= 2**31:
            raise ValueError(f"class {number}")
        return number, name


def load(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    """The images of the shards at `data.path`; see `datasets.load`.

    Raises:
        ParamsError: there is no `data.path`, or a name may mean two splits.
        DataError: there is no shard, one is damaged or packed, or samples are not whole; all of a kind are
            named at once.
    """
    if data.path is None:
        raise ParamsError(
            "data.name = 'shards' needs data.path, the folder of the tar files",
            fix="for example --set data.path=my_shards",
        )
    address = data.path if is_address(data.path) else None
    place = Elsewhere(address) if address else Folder(Path(data.path))
    files = place.files()
    shards = _splits(place.shown, files, dict(data.splits), account)
    classes, packed = _about(place, files)
    skip = skip_list(Path(data.skip)) if data.skip else {}
    reader = Reader(place, classes, packed, skip, account, progress)
    reader.read(shards)
    account.memory.save()
    scan.tell_unchanged(reader.unchanged, reader.files, account.memory, progress)
    _refuse(place.shown, reader, data.skip)
    rows, classes = _labelled(reader, classes, place.shown)
    require_two_classes(classes, place.shown)
    require_distinct_keys(rows)
    codes, words = rows.codes("split")
    pairs = np.unique(np.stack([codes, rows.numbers("label")], axis=1), axis=0).tolist()
    require_every_class(
        [SimpleNamespace(split=words[code], label=label) for code, label in pairs],
        classes,
        MISSING,
        allowed=data.allow_missing_classes,
    )
    return Samples("shards", classes, rows, place.root, address=address)


def _parts(name: str) -> tuple[str, str] | None:
    """(key, suffix in small letters) of a member; None: it is hidden, or WebDataset's own (`__name__`)."""
    folder, slash, base = name.rpartition("/")
    if any(part.startswith(".") or re.fullmatch("__.*__", part) for part in name.split("/")):
        return None
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _class(text: str, classes: tuple[str, ...] | None) -> Class:
    """A class as text: the name of one that is known, or a number, or the name of another."""
    if classes is not None and text in classes:
        return None, text
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text), None
    return None, text or None


def _box(box: Any) -> tuple[int, int, int, int] | None:
    if box is None:
        return None
    sound = (
        isinstance(box, list) and len(box) == 4 and all(type(one) is int and abs(one) < 2**31 for one in box)
    )
    if not sound or box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"the box {box!r:.80} is not [xmin, ymin, xmax, ymax]")
    left, top, right, bottom = box
    return left, top, right, bottom


def _splits(
    shown: str, files: dict[str, Shard], splits: dict[str, str], account: Account
) -> dict[Shard, str]:
    """The shards, with the split of each, in the order of their paths."""
    packed = [name for name in files if name.lower().endswith(_PACKED)]
    if packed:
        raise DataError(f"{shown} has shards that are packed:\n{listing(packed)}", fix=PLAIN)
    shards, without, unsure, used = {}, [], [], set()
    for path, shard in files.items():
        if not path.lower().endswith(".tar"):
            continue
        words = _words(path)
        known = splits or MEANINGS | WITHOUT_LABELS
        means = {known[word] for word in words if word in known}
        used |= {word for word in words if word in splits}
        if len(means) == 1:
            shards[shard] = means.pop()
        elif means or (not splits and any(word in AMBIGUOUS for word in words)):
            unsure.append(path)
        else:
            without.append(path)
    odd = [ascii(shard.path) for shard in shards if not shard.path.isprintable()]
    if odd:
        raise DataError(
            f"{shown} has shards whose names are no text in UTF-8, or have control characters in them:\n"
            f"{listing(odd)}",
            fix="rename them",
        )
    others = [path for path in files if not path.lower().endswith(".tar") and path != NAME]
    account.pass_over("no shard", others)
    if unsure:
        raise ParamsError(
            f"{shown} has shards whose split may be one or another:\n{listing(unsure)}",
            fix="say what the words in their names mean: --set 'data.splits={train: train, eval: test}'",
        )
    if splits and set(splits) - used:
        raise ParamsError(
            f"data.splits names {' and '.join(sorted(set(splits) - used))}, and no shard in {shown} has "
            "such a name",
            fix="name the words in the shards' names, or their folders, as they are written there",
        )
    if splits:
        account.pass_over("of no split", without)
    elif without:
        raise DataError(
            f"{shown} has shards of which nothing says the split:\n{listing(without)}",
            "expected train-000000.tar and test-000000.tar, or the folders train and test",
            "rename them, or say what the words in their names mean: --set 'data.splits={part: train}'",
        )
    missing = [split for split in ("train", "test") if split not in shards.values()]
    if missing:
        there = ", ".join(sorted(set(shards.values()))) or "no tar file"
        fix = "set data.path to the folder that holds train-000000.tar, test-000000.tar and so on"
        if missing == ["test"] and "val" in shards.values():
            fix = "to measure results on what is held out: --set 'data.splits={train: train, val: test}'"
        raise DataError(f"{shown} has no shard of {' and '.join(missing)}: found {there}", fix=fix)
    return shards


def _words(path: str) -> list[str]:
    """What in the path of a shard may say its split: the words of its name, as it is written and small."""
    folder, _, name = path.rpartition("/")
    stem = name[: -len(".tar")]
    words = [folder, re.sub(r"[-_.]?\d+$", "", stem), *re.split(r"[^A-Za-z]+", stem)]
    return list(dict.fromkeys([word for word in words if word] + [word.casefold() for word in words if word]))


def _about(place: Any, files: dict[str, Shard]) -> tuple[tuple[str, ...] | None, bool]:
    """The classes that `dataset.json` names, and whether `prepare --pack` wrote it."""
    if NAME not in files:
        return None, False
    file = f"{place.shown}/{NAME}"
    try:
        with place.open(NAME) as stream:
            content = b""
            while len(content) <= MOST_ABOUT and (part := stream.read(2**20)):
                content += part
        if len(content) > MOST_ABOUT:
            raise ValueError(f"more than {MOST_ABOUT:,} bytes")
        about = json.loads(content)
        classes = about["classes"]
        if not isinstance(classes, list) or not all(
            isinstance(one, str) and one and plain(one) for one in classes
        ):
            raise ValueError("`classes` is no list of names")
        if len(set(classes)) < len(classes):
            raise ValueError("`classes` names one twice")
        if "format" in about and about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r:.40}, expected {FORMAT!r}")
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{file} does not name the classes",
            f"{type(error).__name__}: {error}",
            'make it {"classes": [...]}, in label order, or take it away',
        ) from None
    return tuple(classes), "format" in about


def _refuse(shown: str, reader: Reader, skip: str | None) -> None:
    """Say what was wrong with samples, if anything was."""
    if reader.missing:
        raise DataError(
            f"{len(reader.missing):,} samples in {shown} are not whole:\n{listing(reader.missing)}",
            "a sample is one image and its class beside it, KEY.jpg and KEY.cls or KEY.json",
            "make the shards anew, or write the keys into a file, one a line, and set data.skip to it",
        )
    if reader.unread:
        raise scan.unread(reader.unread, shown)
    unknown = [reader._skip[name] for name in reader._skip.keys() - reader.skipped]
    if unknown:
        raise DataError(
            f"{skip} names samples that are not in the data set:\n{listing(sorted(unknown))}",
            "a line is a key, or SHARD.tar/KEY.jpg",
            "mend these lines",
        )


def _labelled(reader: Reader, classes: tuple[str, ...] | None, shown: str) -> tuple[Rows, tuple[str, ...]]:
    """The rows with their labels, and the classes in label order."""
    found = list(reader.found)
    if classes is None:
        classes, label = _order(found, shown)
    else:
        places = {name: place for place, name in enumerate(classes)}
        label = {}
        unknown = []
        for number, name in found:
            place = number if name is None else places.get(name)
            if place is None or place >= len(classes) or number not in (None, place):
                unknown.append(" ".join(str(one) for one in (number, name) if one is not None))
            else:
                label[number, name] = place
        if unknown:
            raise DataError(
                f"{shown} has samples of classes that {NAME} does not have:\n{listing(sorted(unknown))}",
                fix=f"name all classes in {NAME}, in label order",
            )
    table = np.array([label[one] for one in found], np.int64)
    rows = reader.rows.rows()
    numbers = rows.numbers("label")
    if len(table):
        numbers = np.where(numbers < 0, -1, table[numbers])
    return rows.with_numbers("label", numbers), classes


def _order(found: list[Class], shown: str) -> tuple[tuple[str, ...], dict[Class, int]]:
    """The classes in label order where only samples name them, and the label of each that was met."""
    numbered = [one for one in found if one[0] is not None]
    if numbered and len(numbered) < len(found):
        odd = next(name for number, name in found if number is None)
        raise DataError(
            f"{shown} has samples whose class is a number, and others that name it ({odd!r:.80})",
            fix=f'name the classes beside the shards, in {NAME}: {{"classes": [...]}}, in label order',
        )
    if not numbered:
        forms = one_form(str(name) for _, name in found)
        classes = tuple(sorted(forms.values()))
        return classes, {one: classes.index(forms[composed(str(one[1]))]) for one in found}
    names: dict[int, str] = {}
    for number, name in numbered:
        assert number is not None
        if name is not None and names.setdefault(number, name) != name:
            raise DataError(
                f"{shown}: class {number} has two names, {names[number]!r:.80} and {name!r:.80}",
                fix="make the shards anew",
            )
    order = sorted({number for number, _ in numbered if number is not None})
    classes = tuple(names.get(number, str(number)) for number in order)
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise DataError(f"{shown}: two numbers have one class, {twice!r:.80}", fix="make the shards anew")
    return classes, {one: order.index(int(one[0] or 0)) for one in numbered}


def require_distinct_keys(rows: Rows) -> None:
    """Refuse a key that is there twice, naming all of them with their shards."""
    ordered = rows.by_key()
    keys = ordered.column("key")
    equal = pc.equal(keys.slice(0, max(0, len(keys) - 1)), keys.slice(1))
    twice = pc.indices_nonzero(equal).to_numpy()
    if len(twice):
        lines = [
            f"{ordered[place].key}: {ordered[place].path} ({ordered[place].split}) and "
            f"{ordered[place + 1].path} ({ordered[place + 1].split})"
            for place in twice.tolist()[:21]
        ]
        raise DataError(
            f"{len(twice):,} {'key is' if len(twice) == 1 else 'keys are'} used twice:\n{listing(lines)}",
            "a sample is known by its key, and belongs to one split",
            "take one of each out of the shards",
        )

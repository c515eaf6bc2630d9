"""What the readers of data sets share: lists of files before any is opened, and what is refused of them."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stillroom.errors import DataError, listing
from stillroom.files import read_small
from stillroom.samples import UNLABELLED

LARGEST_LIST = 2**28  # bytes of a list of names
# What the name of a split's folder, or a word in a table's column `split`, means; in any case
MEANINGS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
# The same of samples without a label, in data sets that can have some
WITHOUT_LABELS = dict.fromkeys(("unlabelled", "unlabeled"), UNLABELLED)
# A sample before its file has been opened: with `key`, `path`, `split` and `label`, as of a row of the table
Entry = TypeVar("Entry", bound=Any)


@dataclass
class Account:
    """What a reader came across beside the samples.

    Attributes:
        passed_over: names of what was not read, by the reason.
        skipped: names that `data.skip` left out.
    """

    passed_over: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def pass_over(self, why: str, names: list[str]) -> None:
        """Note files that are not read, if there are any."""
        if names:
            self.passed_over.setdefault(why, []).extend(sorted(names))


def skip_list(skip: Path) -> dict[str, str]:
    """The lines of a skip list, by their composed form.

    Args:
        skip: a text file, UTF-8: a name a line; blank lines and lines that begin with # are nothing.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        lines = read_small(skip, LARGEST_LIST).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(
            f"{skip}, which data.skip names, is not there", fix="set data.skip to where it is"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{skip}, which data.skip names, cannot be read", str(error), "give a text file in UTF-8"
        ) from None
    return {composed(line.strip()): line.strip() for line in lines if line.strip()[:1] not in ("", "#")}


def leave_out(
    entries: list[Entry], skip: Path | None, root: Path, account: Account, usual: str = "train/CLASS/IMAGE"
) -> list[Entry]:
    """The entries without those that a skip list names.

    Args:
        entries: what the data set's reader found.
        skip: see `skip_list`; a line is a path from `root`, as messages name it. None: no such list.
        root: the data set's folder, for the message.
        account: gets what was left out.
        usual: such a path, for the message where there is no entry.

    Raises:
        DataError: the file cannot be read, or a line names no file of the data set.
    """
    if skip is None:
        return entries
    wanted = skip_list(skip)
    known = {composed(entry.path) for entry in entries}
    unknown = [line for name, line in wanted.items() if name not in known]
    if unknown:
        raise DataError(
            f"{skip} names files that are not in the data set:\n{listing(unknown)}",
            f"a line is a path from {root}, such as {entries[0].path if entries else usual}",
            "mend these lines",
        )
    account.skipped += sorted(entry.path for entry in entries if composed(entry.path) in wanted)
    return [entry for entry in entries if composed(entry.path) not in wanted]


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): accents are written in two ways, which look the same."""
    return unicodedata.normalize("NFC", name)


def one_form(names: Iterable[str]) -> dict[str, str]:
    """By its composed form, how a class is written: as everywhere, or composed where there are two forms."""
    forms: dict[str, set[str]] = defaultdict(set)
    for name in names:
        forms[composed(name)].add(name)
    return {look: next(iter(spellings)) if len(spellings) == 1 else look for look, spellings in forms.items()}


def plain(name: str) -> bool:
    """Whether a name can stand in a line of UTF-8: no control character, line separator or lone surrogate."""
    return not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in name)


def require_distinct(entries: Sequence[Any]) -> None:
    """Refuse two files with one key (`a.jpg` and `a.png`, or a file named twice), naming all of them."""
    paths: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        paths[entry.key].append(f"{entry.path} ({entry.split})")
    twice = [f"{key}: {' and '.join(sorted(uses))}" for key, uses in sorted(paths.items()) if len(uses) > 1]
    if twice:
        raise DataError(
            f"{len(twice)} {'key is' if len(twice) == 1 else 'keys are'} used twice:\n{listing(twice)}",
            "a sample is known by its key, the file name without its suffix, and belongs to one split",
            "rename or remove one file of each, or take it out of one split",
        )


def require_every_class(
    entries: Sequence[Any],
    classes: tuple[str, ...],
    fix: str,
    noun: str = "image",
    splits: Sequence[str] = ("train", "test"),
    allowed: bool = False,
) -> None:
    """Refuse a class that has no sample in train or none in test: it cannot be learnt, or not be measured.

    Args:
        fix: what to do about it.
        noun: what a sample is called.
        splits: those that are looked at.
        allowed: only refuse a split without any sample.
    """
    present = {(entry.split, entry.label) for entry in entries}
    if allowed:
        empty = sorted(set(splits) - {split for split, _ in present})
        if empty:
            raise DataError(f"there is no {noun} in {' and none in '.join(empty)}", fix=f"add {noun}s to it")
        return
    faults = [
        f"{name}: no {noun} in {split}"
        for label, name in enumerate(classes)
        for split in splits
        if (split, label) not in present
    ]
    if faults:
        where = " and ".join(f"in {split}" for split in splits)
        raise DataError(f"not every class is {where}:\n{listing(faults)}", _alike(classes), fix)


def _alike(classes: tuple[str, ...]) -> str:
    """Class names that look the same, told apart."""
    looks: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        looks["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(ascii(name))
    alike = [" and ".join(names) for names in looks.values() if len(names) > 1]
    return f"some names differ only in case, blanks or such: {', '.join(alike[:5])}" if alike else ""


def require_two_classes(classes: tuple[str, ...], root: Path | str, noun: str = "image") -> None:
    """Refuse a data set of one class, or of none: every answer would be right."""
    if len(classes) < 2:
        raise DataError(
            f"{root} has {len(classes)} class{'' if len(classes) == 1 else 'es'}"
            + (f": {classes[0]}" if classes else ""),
            "there is nothing to tell apart: accuracy would be 100% whatever a model answers",
            f"add the {noun}s of another class",
        )

"""Folds of a cache: each sample is in one, and the teacher that speaks of it is fitted to the others.

Cross-fitting: Dao, Kamath, Syrgkanis, Mackey, "Knowledge Distillation as Semiparametric Inference" (ICLR
2021). A teacher that knows its training samples repeats their labels; one that never saw them cannot.
"""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stillroom.draw import words
from stillroom.errors import ParamsError, listing
from stillroom.params import MOST_FOLDS
from stillroom.samples import Samples

SHOWN = 6  # of what is wrong


@dataclass(frozen=True)
class Folds:
    """Which fold each sample is in.

    Attributes:
        count: K, how many there are.
        seed: of the division.
        of_row: int [N], in [0, K), row for row of the table.
        digest: over keys and folds, hexadecimal.
    """

    count: int
    seed: int
    of_row: np.ndarray
    digest: str

    def describe(self) -> dict[str, Any]:
        """What records and identities say of the division."""
        return {"count": self.count, "seed": self.seed, "digest": self.digest}

    def at(self, rows: np.ndarray) -> "Folds":
        """The same division, of some rows."""
        return replace(self, of_row=self.of_row[rows])

    def rows(self, fold: int) -> np.ndarray:
        """The rows in a fold, int64, ascending."""
        return np.flatnonzero(self.of_row == fold)


def divide(train: Samples, count: int, seed: int) -> Folds:
    """Cut the samples of a cache into folds: a pure function of seed, keys, labels and groups.

    Each class is spread evenly over the folds, and so are the samples without a label, which no model is
    fitted to: any may be asked of them. What must stay together does: the samples of a group
    (`Sample.group`), and those with equal files, also where one belongs to the other. These are dealt first,
    the largest first, each to the fold that has least of its classes; then the others. The order among equals
    is drawn.

    Args:
        train: the samples of the cache.
        count: K >= 2.
        seed: in [0, 2^63).

    Raises:
        ParamsError: a class has fewer samples than there are folds, a group is larger than a fold, or groups
            leave a fold empty or a class in one fold alone.
    """
    _check_classes(train, count)
    units = _units(train)
    _check_units(train, units, count)
    of_row = deal(train, count, seed, units)
    _check_dealt(train, of_row, count)
    return Folds(count, seed, of_row, _digest(train, of_row))


def deal(train: Samples, count: int, seed: int, units: list[list[int]] | None = None) -> np.ndarray:
    """As `divide`, whatever comes out: which of `count` parts each row is in, int [N].

    Args:
        units: rows that stay together; None: those of groups and equal files.
    """
    units = _units(train) if units is None else units
    labels = train.labels().tolist()
    # samples of each class in each fold; the last column is of those without a label, -1
    held = np.zeros((count, len(train.classes) + 1), np.int64)
    sizes = np.zeros(count, np.int64)
    of_row = np.zeros(len(train), np.int64)
    keys = list(train.keys())
    drawn = {rows[0]: int(words(seed, f"fold {keys[rows[0]]}", 0, 1)[0]) for rows in units}
    for rows in sorted(units, key=lambda rows: (-len(rows), drawn[rows[0]])):
        own = Counter(labels[row] for row in rows)
        alike = held[:, list(own)] @ np.array(list(own.values()))
        fold = int(np.lexsort((sizes, alike))[0])
        of_row[rows] = fold
        sizes[fold] += len(rows)
        for label, number in own.items():
            held[fold, label] += number
    return of_row


def _units(train: Samples) -> list[list[int]]:
    """The rows that stay together, ascending: by a group, by equal files, or by others between them."""
    first: dict[tuple[str, str], int] = {}  # a group or a file -> the first row of it
    above = list(range(len(train)))

    def top(number: int) -> int:
        while above[number] != number:
            above[number] = number = above[above[number]]
        return number

    for number, row in enumerate(train.rows):
        for name in [("file", row.sha256), *([("group", row.group)] if row.group else [])]:
            one, two = sorted((top(first.setdefault(name, number)), top(number)))
            above[two] = one
    units: dict[int, list[int]] = defaultdict(list)
    for number in range(len(train)):
        units[top(number)].append(number)
    return list(units.values())


def _digest(train: Samples, of_row: np.ndarray) -> str:
    lines = (f"{key} {fold}" for key, fold in zip(train.keys(), of_row.tolist(), strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def well_formed(recorded: Any) -> bool:
    """Whether this can be what a record or a stranger's manifest says of a cross-fitted teacher."""
    if not isinstance(recorded, dict):
        return False
    count, seed, models = (recorded.get(name) for name in ("count", "seed", "models"))
    return (
        type(count) is int
        and 2 <= count <= MOST_FOLDS
        and type(seed) is int
        and 0 <= seed < 2**63
        and isinstance(recorded.get("digest"), str)
        and isinstance(models, list)
        and len(models) == count
        and all(isinstance(one, str) for one in models)
    )


def _check_classes(train: Samples, count: int) -> None:
    # a class may be without any: there is nothing to divide; and those without a label make none
    sizes = Counter(label for label in train.labels().tolist() if label >= 0)
    small = [f"{train.classes[label]}: {size}" for label, size in sorted(sizes.items()) if size < count]
    if small:
        raise ParamsError(
            f"teacher.folds = {count}, and {len(small)} classes have fewer training samples than that",
            listing(small, SHOWN),
            f"set teacher.folds to {min(sizes.values())} or less",
        )


def _check_units(train: Samples, units: list[list[int]], count: int) -> None:
    largest = -(-len(train) // count)
    wide = [
        f"{train.rows[rows[0]].group or f'the equal files of {train.rows[rows[0]].key}'}: {len(rows)}"
        for rows in units
        if len(rows) > largest
    ]
    if wide:
        raise ParamsError(
            f"teacher.folds = {count} makes folds of {largest} samples, and {len(wide)} groups are larger",
            listing(wide, SHOWN),
            "set teacher.folds to a smaller number, or give the groups finer names",
        )


def _check_dealt(train: Samples, of_row: np.ndarray, count: int) -> None:
    """Groups may be so few that no way of dealing them is even."""
    labels = train.labels()
    together = [name for label, name in enumerate(train.classes) if len({*of_row[labels == label]}) == 1]
    empty = count - len({*of_row.tolist()})
    if together or empty:
        raise ParamsError(
            f"teacher.folds = {count}: "
            + (
                f"{len(together)} classes would lie in one fold alone"
                if together
                else f"{empty} would be empty"
            ),
            listing(together, SHOWN) if together else "there are too few groups",
            "set teacher.folds to a smaller number, or give the groups finer names",
        )

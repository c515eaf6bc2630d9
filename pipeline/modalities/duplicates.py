"""The same bytes under two names: a test sample that is trained on, or a sample of two classes."""

from dataclasses import dataclass, replace

import numpy as np

from stillroom.errors import DataError, listing
from stillroom.samples import UNLABELLED, Sample, Samples

KEPT_FIRST = ("test", "val", "train", UNLABELLED)  # of equal files
KINDS = {
    "splits": "in two splits, so that a model is measured on what it was trained on",
    "classes": "in two classes, of which one must be wrong",
    "same": "twice in one class of one split, or once more without a label",
}


@dataclass(frozen=True)
class Duplicates:
    """Files with equal bytes, by the worst that can be said of them (`KINDS`): each a group of keys, sorted.

    Attributes:
        groups: kind -> groups, sorted.
        dropped: keys that are no longer in the table.
    """

    groups: dict[str, list[list[str]]]
    dropped: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """How many pairs of files are of a kind."""
        return sum(len(keys) * (len(keys) - 1) // 2 for keys in self.groups[kind])

    def lines(self, limit: int = 5) -> list[str]:
        """Lines that describe them for the user: a line per kind, with some of its groups below."""
        lines = []
        for kind, what in KINDS.items():
            if self.groups[kind]:
                pairs = self.count(kind)
                lines.append(f"{pairs:,} {'pair' if pairs == 1 else 'pairs'} of equal files {what}:")
                lines.append(listing([" = ".join(keys) for keys in self.groups[kind]], limit))
        return lines


def find(samples: Samples) -> Duplicates:
    """Files of equal bytes. The same picture encoded twice differs in its bytes and is not found."""
    groups: dict[str, list[list[str]]] = {kind: [] for kind in KINDS}
    for places in alike(samples):
        rows = [samples.rows[place] for place in places]
        groups[_kind(rows)].append([row.key for row in rows])
    return Duplicates({kind: sorted(same) for kind, same in groups.items()})


def alike(samples: Samples) -> list[np.ndarray]:
    """The rows of each file that is there more than once, ascending."""
    digests = samples.rows.digests("sha256")
    order = np.lexsort(digests.T)
    edges = np.flatnonzero((digests[order[1:]] != digests[order[:-1]]).any(axis=1)) + 1
    return [places for places in np.split(order, edges) if len(places) > 1]


def _kind(rows: list[Sample]) -> str:
    if len({row.label for row in rows if row.label >= 0}) > 1:
        return "classes"
    # nothing is measured on an unlabelled sample: one that is in train too is there twice
    splits = {"train" if row.split == UNLABELLED else row.split for row in rows}
    return "splits" if len(splits) > 1 else "same"


def settle(samples: Samples, policy: str, official: bool, noun: str = "image") -> tuple[Samples, Duplicates]:
    """Do about equal files what `data.duplicates` says.

    Args:
        samples: the table.
        policy: `warn`: keep all. `refuse`: any pair in two splits or classes is an error. `drop`: of equal
            files in several classes none stays; of others one, in test rather than in val, in val rather than
            in train, and with a label rather than without.
        official: whether the table must be the published one, of which nothing may be dropped.
        noun: what a sample is called.

    Returns:
        the table, and what was found in it before.

    Raises:
        DataError: see `policy`; or nothing of a class would be left in train or test.
    """
    duplicates = find(samples)
    bad = duplicates.count("splits") + duplicates.count("classes")
    if policy == "refuse" and bad:
        raise DataError(
            "\n".join(["the data set has equal files", *duplicates.lines(20)]),
            "data.duplicates is refuse",
            "remove one file of each pair, or set data.duplicates to drop or warn",
        )
    if policy != "drop" or not any(duplicates.groups.values()):
        return samples, duplicates
    if official:
        raise DataError(
            f"data.duplicates = drop would drop {noun}s of the published data set",
            f"results are compared with published ones only on the published {noun}s and splits",
            "set data.duplicates to warn, or data.official to false",
        )
    rows = {
        key: samples.rows[samples.row_of(key)]
        for groups in duplicates.groups.values()
        for keys in groups
        for key in keys
    }
    dropped = {key for keys in duplicates.groups["classes"] for key in keys}
    for kind in ("splits", "same"):
        for keys in duplicates.groups[kind]:
            stays = min(keys, key=lambda key: (KEPT_FIRST.index(rows[key].split), key))
            dropped |= set(keys) - {stays}
    kept = samples.at(number for number, key in enumerate(samples.keys()) if key not in dropped)
    had, left = (
        {split: set(table.in_splits(split).labels().tolist()) for split in ("train", "test")}
        for table in (samples, kept)
    )
    lost = [
        f"{name}: no {noun} in {split}"
        for label, name in enumerate(samples.classes)
        for split in ("train", "test")
        if label in had[split] - left[split]
    ]
    if lost:
        raise DataError(
            f"without equal files some classes would be empty:\n{listing(lost)}",
            "data.duplicates is drop",
            "remove the wrong copies by hand, or set data.duplicates to warn",
        )
    return kept, replace(duplicates, dropped=tuple(sorted(dropped)))

"""Fewer labels than there are: what a data set with some labels alone would give, from one that has all."""

import hashlib
from collections import defaultdict
from dataclasses import replace

import numpy as np

from stillroom.errors import DataError, listing
from stillroom.samples import UNLABELLED, Samples

SHOWN = 6  # of classes that have too few


def few_labels(samples: Samples, count: int | None, seed: int) -> Samples:
    """Keep the labels of so many samples of each class in `train`; the others become `unlabelled`.

    Within a class the keys are ranked by sha256 of "labels seed key" and the first `count` keep theirs. So
    the choice is a pure function of (seed, keys of the class), and a larger count only adds to a smaller one.

    Args:
        samples: a table; rows that are not `train` stay as they are.
        count: at least 1; None gives the table back.
        seed: draws which.

    Raises:
        DataError: a class has fewer samples than that.
    """
    if count is None:
        return samples
    splits, labels = list(samples.rows.texts("split")), samples.labels().copy()
    members: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
    for place, (key, split) in enumerate(zip(samples.keys(), splits, strict=True)):
        if split == "train":
            rank = hashlib.sha256(f"labels {seed} {key}".encode()).digest()
            members[int(labels[place])].append((rank, place))
    small = [
        f"{samples.classes[label]}: {len(ranked)}"
        for label, ranked in sorted(members.items())
        if len(ranked) < count
    ]
    if small:
        raise DataError(
            f"data.labels_per_class = {count}, and {len(small)} classes have fewer images in train:\n"
            + listing(small, SHOWN),
            fix=f"set data.labels_per_class to {min(map(len, members.values()))} or less",
        )
    for ranked in members.values():
        for _, place in sorted(ranked)[count:]:
            splits[place], labels[place] = UNLABELLED, -1
    return replace(samples, rows=samples.rows.with_texts("split", splits).with_numbers("label", labels))


def without_unlabelled(samples: Samples) -> Samples:
    """The rows that have a label."""
    return samples.at(np.flatnonzero(samples.labels() >= 0))

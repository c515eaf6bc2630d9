"""The validation slice: a share of train that is looked at while training and never used for fitting."""

import hashlib
from collections import defaultdict
from dataclasses import replace

from stillroom.errors import DataError, listing
from stillroom.samples import Samples


def hold_out(samples: Samples, fraction: float, seed: int, noun: str = "image") -> Samples:
    """Move a stratified share of `train` to `val`; `test` is not touched.

    Within a class the keys are ranked by sha256 of "seed key" and the first round(n * fraction) are taken, at
    most n - 1. So the slice is a pure function of (seed, keys of the class): neither the order of rows, nor
    the other classes, nor any random generator has a say, and a larger fraction only adds to a smaller one.

    Args:
        samples: a table; rows that are not `train` stay as they are.
        fraction: in [0, 1); 0 gives the table back.
        seed: draws the slice.
        noun: what a sample is called.

    Raises:
        DataError: some class would give no sample; all such classes are named.
    """
    if fraction == 0:
        return samples
    members: dict[int, list[str]] = defaultdict(list)
    splits = list(samples.rows.texts("split"))
    for key, split, label in zip(samples.keys(), splits, samples.labels().tolist(), strict=True):
        if split == "train":
            members[label].append(key)
    taken: set[str] = set()
    faults, single = [], False
    for label, keys in sorted(members.items()):
        count = min(round(len(keys) * fraction), len(keys) - 1)
        if count == 0:
            faults.append(f"{samples.classes[label]}: {len(keys)} in train")
            single = single or len(keys) == 1
        ranked = sorted(keys, key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
        taken.update(ranked[:count])
    if faults:
        raise DataError(
            f"data.val_fraction = {fraction} takes no {noun} of some classes:\n{listing(faults)}",
            f"every class gives round({noun}s * fraction), and keeps at least one in train",
            f"{'' if single else 'raise data.val_fraction, '}add {noun}s to these classes, "
            "or set data.val_fraction to 0",
        )
    moved = ["val" if key in taken else split for key, split in zip(samples.keys(), splits, strict=True)]
    return replace(samples, rows=samples.rows.with_texts("split", moved))

"""Errors a user can meet: what happened, why, and what to do about it, each with its exit code."""

import os
from collections import Counter
from collections.abc import Sequence


class StillroomError(Exception):
    """The work failed or a check found damage. Ends a command with exit code 1 and one message, no traceback.

    Args:
        what: what went wrong, with the names and values that a reader needs.
        why: the cause, where it is not plain from `what`.
        fix: what to do next, a command where there is one.
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  do:  {self.fix}")
        return "\n".join(lines)


class ParamsError(StillroomError):
    """Wrong usage or parameters: exit code 2."""

    exit_code = 2


class DataError(StillroomError):
    """The images, splits or annotations are not what they should be."""


class WeightsError(StillroomError):
    """A weights file or a hub cannot give what the model needs."""


class CacheError(StillroomError):
    """A cache is missing, damaged, or was made from something else."""


DENIED = "permission denied"
ALLOW = "have its owner allow it: chmod -R a+rX on the folder (and `umask 022` before what is written next)"


class AccessError(StillroomError):
    """A file or folder may not be read by this user; it says nothing of what is in it.

    Args:
        path: the file or folder.
    """

    def __init__(self, path: object) -> None:
        super().__init__(
            f"{path} cannot be read",
            DENIED,
            ALLOW,
        )


def fetch(folder: object) -> str:
    """What to do about a cache that is not there."""
    here = os.path.relpath(str(folder))
    if here.startswith(".."):  # not of this project: DVC does not know it
        return "give the folder of a cache"
    return f"fetch it (`dvc pull {here}`), make it (`stillroom cache`), or give the folder of a cache"


def fetch_again(location: object) -> str:
    """What to do about a cache whose files are not what was written, by where it lies."""
    if "://" in str(location):
        return "have it mended where it was made (`stillroom store repair` there), and copied or pushed again"
    here = os.path.relpath(str(location))
    if here.startswith(".."):  # not of this project: DVC does not know it
        return "copy it again from where it came"
    return f"fetch it again (`dvc pull --force {here}`; if it comes back damaged: Remotes in docs/team.md)"


def different(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """By which names a model's classes and the data's differ, for a message; empty: by none.

    Args:
        theirs: the model's; their order does not matter, nor does that of `ours`.
    """
    counts = Counter(theirs)
    return "; ".join(
        f"{what}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}"
        for what, names in (
            ("in the data alone", sorted({*ours} - {*theirs})),
            ("in the model alone", sorted({*theirs} - {*ours})),
            ("twice in the model", sorted(name for name, count in counts.items() if count > 1)),
        )
        if names
    )


def listing(names: list[str], limit: int = 20, count: int | None = None) -> str:
    """Join names for a message, the first `limit` of them, one a line, then how many more there are.

    Args:
        count: how many there are, where `names` are the first of them.
    """
    lines = [f"    {name}" for name in names[:limit]]
    more = (len(names) if count is None else count) - len(lines)
    if more > 0:
        lines.append(f"    ... and {more} more")
    return "\n".join(lines)

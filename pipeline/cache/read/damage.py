"""What can be wrong with a store's files, in words for people."""

import os
from typing import NamedTuple

from stillroom.cache.format.layout import Block
from stillroom.errors import DENIED

UNALLOWED = f"cannot be read: {DENIED}"
UNDECODABLE = "cannot be decoded: its bytes are not what was written"


class Damage(NamedTuple):
    """One thing that is wrong with a store: the block (None: it is not about a block), the file, and why."""

    block: Block | None
    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.block}: {self.file}: {self.reason}" if self.block else f"{self.file}: {self.reason}"


class UnsoundError(ValueError):
    """A file is not one that a store's writer makes; the text says why, for people."""


def unreadable(error: BaseException) -> str:
    """Why a file cannot be read, for people: no library's own words, but for a short hint."""
    if isinstance(error, UnsoundError):
        return str(error)
    if isinstance(error, PermissionError):
        return UNALLOWED
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {os.strerror(error.errno)}"
    return f"{UNDECODABLE} ({type(error).__name__})"

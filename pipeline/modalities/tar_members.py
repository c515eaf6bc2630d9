"""Tar files that nobody vouches for, read once from front to back, from a disk or from a connection.

The headers are Python's `tarfile`'s to read (ustar, GNU's and PAX's long names). What it lets pass is
refused here: a file that breaks off between two members, names that leave their folder, headers that would
fill the memory.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from stillroom.errors import DataError

MOST_HEADER = 2**20  # bytes of a long name, and of all else that stands before a member
_PIECE = 2**20
# How files begin that are packed, and may be called .tar all the same
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
PLAIN = "unpack it to a plain .tar (gunzip, unzstd): samples are read by their place in it"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar file.

    Attributes:
        name: with forward slashes, without a leading `./`.
        start, size: its first byte in the tar file, and how many it has.
    """

    name: str
    start: int
    size: int


class TarMembers:
    """The members of a tar file, in order.

    Args:
        stream: read from its start, forwards only.
        size: its bytes, where that is known; a member that would end behind it is refused unread.
        shown: what messages call it.
    """

    def __init__(self, stream: BinaryIO, size: int | None, shown: str) -> None:
        self._source = _Forward(stream)
        self._size, self._shown = size, shown
        self.odd: list[str] = []  # names of links, devices and the like, which are passed over

    def __iter__(self) -> Iterator[Member]:
        """
        Raises:
            DataError: it is no plain tar file, breaks off, or a name leaves its folder.
        """
        begun = False
        try:
            archive = tarfile.open(fileobj=self._source, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
            while (info := archive.next()) is not None:
                begun = True
                archive.members.clear()  # it would keep all
                name = info.name.removeprefix("./")
                if info.isdir():
                    continue
                if _leaves(name):
                    raise DataError(
                        f"{self._shown}: the member {info.name!r:.200} leaves its folder",
                        "an absolute name, or one with .. in it",
                        "make the file anew from a folder",
                    )
                if not info.isreg() or info.issparse():
                    self.odd.append(name)
                    continue
                if info.size < 0 or (self._size is not None and info.offset_data + info.size > self._size):
                    raise self._broken(f"{name!r:.200} ends at byte {info.offset_data + info.size:,}")
                yield Member(name, info.offset_data, info.size)
        except DataError:
            raise
        except (
            tarfile.TarError,
            ArithmeticError,
            EOFError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            why = " ".join(str(error).split())[:200]
            raise (self._broken(why) if begun else self._no_tar()) from None
        if self._source.last != bytes(512):  # where a header cannot be read, `tarfile` takes it for the end
            raise self._broken("it does not end as a tar file does") if begun else self._no_tar()
        while rest := self._source.take(_PIECE):  # zeros fill it up
            if rest.strip(b"\0"):
                raise self._broken("there is something behind its end: a hole in it, or two tar files in one")

    def read(self, member: Member, most: int) -> bytes:
        """The content of the member that was come to last.

        Args:
            most: bytes that it may have.

        Raises:
            DataError: it has more, or the file breaks off.
        """
        if member.size > most:
            raise DataError(
                f"{self._shown}: {member.name} has {member.size:,} bytes",
                f"no more than {most:,} are read",
                "take it out of the file",
            )
        parts, left = [], member.size
        while left:
            part = self._source.take(min(_PIECE, left))
            if not part:
                raise self._broken(f"{member.name} is not whole")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _broken(self, why: str) -> DataError:
        return DataError(
            f"{self._shown} is a damaged tar file: it breaks off, or has holes",
            f"{why}; the file has {self._size:,} bytes" if self._size is not None else why,
            "get it again, or make it anew",
        )

    def _no_tar(self) -> DataError:
        first = self._source.first
        packed = next((kind for mark, kind in _PACKED.items() if first.startswith(mark)), None)
        if packed:
            return DataError(f"{self._shown} is packed ({packed})", fix=PLAIN)
        return DataError(f"{self._shown} is no tar file", fix="get it again, or take it away")


def _leaves(name: str) -> bool:
    return not name or name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name


class _Forward:
    """What `tarfile` reads from: forwards only, and never more memory at a time than a header may have."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._place = stream, 0
        self._seekable = stream.seekable()
        self.first = b""  # the first block
        self.last = b""  # the last one that was read

    def tell(self) -> int:
        return self._place

    def seek(self, place: int) -> int:
        if place < self._place:
            raise tarfile.ReadError("a header that leads backwards")
        if self._seekable:
            self._stream.seek(place)
            self._place = place
        while self._place < place:
            part = self._stream.read(min(_PIECE, place - self._place))
            if not part:
                raise tarfile.ReadError("unexpected end of data")
            self._place += len(part)
        return place

    def read(self, length: int) -> bytes:
        if length > MOST_HEADER:
            raise tarfile.ReadError(f"a header of {length:,} bytes")
        parts, left = [], length
        while left and (part := self.take(left)):
            parts.append(part)
            left -= len(part)
        found = b"".join(parts)
        if self._place == len(found):
            self.first = found
        if length == tarfile.BLOCKSIZE:
            self.last = found
        return found

    def take(self, length: int) -> bytes:
        """The next bytes, fewer than asked for perhaps, none at the end."""
        part = self._stream.read(length)
        self._place += len(part)
        return part

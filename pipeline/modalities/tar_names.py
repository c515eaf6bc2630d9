"""Members of a tar file, by names that other readers of WebDataset take as they are meant."""

import hashlib
import io
import re
import tarfile

LONGEST = 200  # bytes of a member's last name, which file systems can hold when a shard is unpacked


def member_key(key: str) -> str:
    """A key as other readers of WebDataset take it: without a dot in its last name, where it would end for
    them, and no name that is hidden, or too long for a file. `KEY.json` has it as it is.
    """
    *folders, last = key.split("/")
    return "/".join([*(_safe(part, r"[%\\]") for part in folders), _safe(last, r"[.%\\]")])


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Write a member, without a time and an owner: the same bytes on every machine."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    archive.addfile(info, io.BytesIO(content))
    archive.members.clear()  # type: ignore[attr-defined]  # it would keep all


def _safe(part: str, odd: str) -> str:
    """A part of a key with %XX for what is odd in it."""
    safe = re.sub(odd, lambda match: f"%{ord(match[0]):02X}", part)
    if safe.startswith((".", "__")):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if len(safe.encode()) > LONGEST:
        digest = hashlib.sha256(part.encode()).hexdigest()
        safe = f"{safe.encode()[: LONGEST - 65].decode(errors='ignore')}~{digest}"
    return safe

"""Download one large file over a connection that breaks: resumed, and never spliced from two versions."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import requests

from stillroom.errors import DataError
from stillroom.progress import Progress

ATTEMPTS = 5  # in a row without a byte gained
TIMEOUT = (10, 60)  # seconds: to connect, and between two pieces
CHUNK = 2**14  # what a cut can lose: the client hands out whole pieces only
MAX_BYTES = 4 * 2**30
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
UNSTEADY = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class _BrokenError(Exception):
    """This attempt failed; another may not."""


class _RefusedError(Exception):
    """No further attempt would help."""


def fetch(url: str, file: Path, progress: Progress, *, by_hand: str, pause: float = 1.0) -> None:
    """Download `url` to `file`. A file that is there is complete, and left alone.

    Bytes go to `FILE.part`; `FILE.part.json` beside it says which version of the file they are of (ETag,
    Last-Modified, length). A later call asks for the rest with `Range` and `If-Range`. The part is thrown
    away and the download starts again where the server has another version by now, ignores `Range`, or names
    neither ETag nor Last-Modified. `FILE` itself appears by one rename, when the length is right.

    Args:
        url: http or https.
        file: where to; its folder is made.
        progress: gets a step per byte; those of an earlier call count as done.
        by_hand: what the user can do instead, for the error.
        pause: seconds before the second attempt, doubled for each further one.

    Raises:
        DataError: the server refuses or cannot be reached, or `ATTEMPTS` attempts in a row brought nothing.
            The part stays, for a later call to go on from.
    """
    if file.exists():
        return
    part, note = _beside(file)
    best = -1
    failures = 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                _attempt(url, part, note, progress, file.name)
                break
            except (_BrokenError, *UNSTEADY) as error:
                # A connection that keeps breaking yet moves on is not a failure.
                size = part.stat().st_size if part.exists() else 0
                failures = 1 if size > best else failures + 1
                best = max(best, size)
                if failures >= ATTEMPTS:
                    raise _RefusedError(f"{error} ({ATTEMPTS} attempts)") from None
                progress.note(f"{file.name}: {_first_line(error)}; trying again")
                time.sleep(pause * 2 ** (failures - 1))
        with part.open("rb+") as whole:
            os.fsync(whole.fileno())  # or a power cut could leave the name without the bytes
        part.replace(file)
        note.unlink(missing_ok=True)
    except (_RefusedError, OSError) as error:
        raise DataError(f"{url} cannot be downloaded to {file}", _first_line(error), by_hand) from None
    progress.finish()


def _attempt(url: str, part: Path, note: Path, progress: Progress, name: str) -> None:
    """One request; returns when the part is whole."""
    known = _known(part, note)
    have = part.stat().st_size if known else 0
    if known and have == known["length"]:
        return
    headers = {"Accept-Encoding": "identity"}  # so that lengths are those of the file
    if known and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known["etag"] or known["modified"]}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status = response.status_code
        if status == 416:
            _discard(part, note)
            raise _BrokenError("the server has no such range")
        if status in TRANSIENT:
            raise _BrokenError(f"the server answers {status} {response.reason}")
        if status not in (200, 206):
            raise _RefusedError(f"the server answers {status} {response.reason}")
        version = _version(response)
        if status == 206 and not (known and _same(version, known) and _range_start(response) == have):
            _discard(part, note)
            raise _BrokenError("the file has changed on the server since the download began")
        if (version["length"] or 0) > MAX_BYTES:
            raise _RefusedError(f"the file has {version['length']:,} bytes, the limit is {MAX_BYTES:,}")
        if status == 200:
            have = 0
            part.write_bytes(b"")  # before the note: old bytes must never stand beside a new version
            note.write_text(json.dumps(version), encoding="utf-8")
        progress.start(f"download {name}", version["length"] or 0, "bytes")
        progress.advance(have)
        with part.open("ab") as sink:
            for piece in response.iter_content(CHUNK):
                have += len(piece)
                if have > MAX_BYTES:
                    raise _RefusedError(f"the file has more than {MAX_BYTES:,} bytes")
                sink.write(piece)
                progress.advance(len(piece))
    if version["length"] is not None and have != version["length"]:  # urllib3 before 2.0 raises nothing
        if have > version["length"]:
            _discard(part, note)
        raise _BrokenError(f"the connection ended after {have:,} of {version['length']:,} bytes")


def _known(part: Path, note: Path) -> dict[str, Any] | None:
    """The version that the part's bytes are of, or None where they cannot be gone on from."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        size = part.stat().st_size
        if (known["etag"] or known["modified"]) and (known["length"] is None or size <= known["length"]):
            return {"etag": known["etag"], "modified": known["modified"], "length": known["length"]}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _version(response: requests.Response) -> dict[str, Any]:
    etag = response.headers.get("ETag")
    if response.status_code == 206:
        total = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
        length = int(total[1]) if total else None
    else:
        text = response.headers.get("Content-Length", "")
        length = int(text) if text.isdecimal() else None
    return {
        "etag": etag
        if etag and not etag.startswith("W/")
        else None,  # a weak one does not promise equal bytes
        "modified": response.headers.get("Last-Modified"),
        "length": length,
    }


def _same(version: dict[str, Any], known: dict[str, Any]) -> bool:
    """Whether a 206 is of the known version: it states the length, and may omit Last-Modified (RFC 9110)."""
    stated = all(version[name] in (None, known[name]) for name in ("etag", "modified"))
    return stated and version["length"] == known["length"]


def _range_start(response: requests.Response) -> int | None:
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(start[1]) if start else None


def _beside(file: Path) -> tuple[Path, Path]:
    return file.with_name(file.name + ".part"), file.with_name(file.name + ".part.json")


def _discard(part: Path, note: Path) -> None:
    part.unlink(missing_ok=True)
    note.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

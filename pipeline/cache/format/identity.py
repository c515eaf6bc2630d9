"""What a cache was made from, as a nested JSON dict: its id, and how two identities differ."""

import hashlib
import json
from typing import Any

from stillroom.errors import CacheError

SHORT = 16  # characters of an id that file names and messages show
_SHOWN = 160  # longest value in a message, in characters


class _Absent:
    """Stands for a field that one of two identities does not have (None is a value of its own)."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


def canonical(value: Any) -> bytes:
    """A JSON value as bytes that depend on nothing but the value: sorted keys, no spaces, ASCII.

    1 and 1.0 stay different, as they do in JSON text.

    Raises:
        ValueError: a float is NaN or infinite.
        TypeError: something is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def identity_id(identity: dict[str, Any]) -> str:
    """The id of a cache: SHA-256 of the canonical JSON of its identity, 64 hexadecimal characters."""
    return hashlib.sha256(canonical(identity)).hexdigest()


def short(cache_id: str) -> str:
    """The first 16 characters of an id, for names and messages."""
    return cache_id[:SHORT]


def differences(expected: dict[str, Any], stored: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Compare what the caller knows with what a cache says.

    `expected` may leave out sections (`teacher`) and fields of a section (`teacher.digest`): a student does
    not know the teacher; and outputs, and their fields (`outputs.logits.encoding`). A field that it does name
    is compared whole, so a surplus entry inside one is a difference too.

    Returns:
        (dotted field, expected value, stored value), sorted by field; `ABSENT` where one side has none.
    """
    expected, stored = json.loads(canonical(expected)), json.loads(canonical(stored))
    return list(_walk((), expected, stored))


def _walk(path: tuple[str, ...], expected: Any, stored: Any) -> Any:
    if isinstance(expected, dict) and isinstance(stored, dict):
        partial = len(path) < (3 if path[:1] == ("outputs",) else 2)
        names = expected.keys() if partial else expected.keys() | stored.keys()
        for name in sorted(names):
            yield from _walk((*path, name), expected.get(name, ABSENT), stored.get(name, ABSENT))
    elif expected is ABSENT or stored is ABSENT or canonical(expected) != canonical(stored):
        yield ".".join(path), expected, stored


def check(expected: dict[str, Any], stored: dict[str, Any], fixes: dict[str, str]) -> None:
    """Refuse a cache that was made from something else than what the caller has.

    Args:
        expected: what the caller knows; may be partial (see `differences`).
        stored: the identity in the manifest.
        fixes: what to do, by dotted field or the start of one (`teacher`, `samples.images`); the longest that
            fits is shown, "" fits every field.

    Raises:
        CacheError: names every field that differs, with both values and what to do about it.
    """
    faults = differences(expected, stored)
    if not faults:
        return
    advice = list(dict.fromkeys(filter(None, (_fix(field, fixes) for field, _, _ in faults))))
    raise CacheError(
        f"the cache was made from something else ({told(faults, 'the cache')}",
        "its logits would not belong to what they are used for",
        "\n       ".join(advice),
    )


def told(faults: list[tuple[str, Any, Any]], where: str) -> str:
    """The end of a message about `differences`: how many, then a line each with both values.

    Args:
        where: what the stored values stand in.
    """
    count = "1 field differs" if len(faults) == 1 else f"{len(faults)} fields differ"
    lines = [f"    {field}: {_show(want)} here, {_show(have)} in {where}" for field, want, have in faults]
    return f"{count}):\n" + "\n".join(lines)


def _fix(field: str, fixes: dict[str, str]) -> str:
    parts = field.split(".")
    for length in range(len(parts), -1, -1):
        name = ".".join(parts[:length])
        if name in fixes:
            return fixes[name]
    return ""


def _show(value: Any) -> str:
    text = repr(value) if value is ABSENT else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"

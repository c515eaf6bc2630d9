"""What the JSON of a manifest must be: every field is checked before anything is done with it."""

import re
from typing import Any

from stillroom.cache import stores
from stillroom.cache.encodings import encoding_for
from stillroom.cache.format.digests import combine
from stillroom.cache.format.layout import VIEWS, ArraySpec, Block, Layout, blocks, fault_in

# Parsed JSON takes far more memory than its text where it is made of tiny values: `[],` takes 60 bytes.
MOST_TABLES, MOST_VALUES = 300_000, 1_000_000
_HEX = re.compile(r"[0-9a-f]{64}")
_ENTRY = {"views", "samples", "digest", "arrays", "quality"}  # fields of a block


def refuse_bloat(text: bytes) -> None:
    """Refuse what would take far more memory or time to parse than a manifest does, before it is parsed.

    Commas and brackets inside strings are counted too: no manifest has many of those either.
    """
    tables = text.count(b"[") + text.count(b"{")
    require(tables <= MOST_TABLES, f"it holds {tables} tables and lists, more than {MOST_TABLES}")
    values = text.count(b",")
    require(values <= MOST_VALUES, f"it holds {values} values, more than {MOST_VALUES}")


def refuse_constant(name: str) -> Any:
    """Refuse `NaN` and the infinities, which Python reads in JSON.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is no JSON")


def require(condition: bool, problem: str) -> None:
    """Refuse what does not hold.

    Raises:
        ValueError: with `problem` as its text.
    """
    if not condition:
        raise ValueError(problem)


def check_count(value: Any, name: str, most: int) -> int:
    """A whole number in 1..`most`.

    Raises:
        ValueError: it is none; names the field.
    """
    require(
        type(value) is int and 1 <= value <= most,
        f"{name} = {value!r:.80}, expected a whole number in 1..{most}",
    )
    return int(value)


def check_table(value: Any, name: str, *names: str) -> dict[str, Any]:
    """A table with exactly these keys, or without any given with whatever keys.

    Raises:
        ValueError: it is none; names the field.
    """
    require(isinstance(value, dict), f"{name} is no table")
    require(
        not names or set(value) == set(names),
        f"{name} must have {', '.join(names)}; has {', '.join(value):.200}",
    )
    return dict(value)


def check_digest(value: Any, name: str) -> str:
    """A SHA-256, 64 small hexadecimal digits.

    Raises:
        ValueError: it is none; names the field.
    """
    require(
        isinstance(value, str) and bool(_HEX.fullmatch(value)), f"{name} = {value!r:.80}, expected a SHA-256"
    )
    return str(value)


def check_layout(tree: dict[str, Any], identity: dict[str, Any]) -> Layout:
    """The layout that a manifest describes, which must be that of its identity.

    Raises:
        ValueError: a field is not what it must be, or fields do not fit each other.
    """
    extents = check_table(tree["extents"], "extents", "views", "samples")
    views = check_count(extents["views"], "extents.views", 65535)
    samples = check_count(extents["samples"], "extents.samples", 2**31)
    arrays, file_blocks = {}, {}
    for name, entry in check_table(tree["arrays"], "arrays").items():
        entry = check_table(entry, f"arrays.{name:.80}", "dtype", "shape", "file_blocks")
        require(
            isinstance(entry["dtype"], str) and isinstance(entry["shape"], list),
            f"arrays.{name:.80} is no array",
        )
        arrays[name] = ArraySpec(entry["dtype"], tuple(entry["shape"]))
        file_blocks[name] = check_count(entry["file_blocks"], f"arrays.{name:.80}.file_blocks", samples)
    fault = fault_in(arrays)
    require(not fault, f"arrays: {fault:.300}")
    wanted = fields_of(identity)
    stored = {name: spec for name, spec in arrays.items() if not name.startswith(VIEWS)}
    require(
        stored == wanted,
        f"arrays of the outputs are {stored!r:.300}, but the identity calls for {wanted!r:.300}",
    )
    counted = identity.get("samples", {})
    if isinstance(counted, dict) and "count" in counted:
        require(
            counted["count"] == samples,
            f"extents.samples = {samples}, but the identity counts {counted['count']!r:.80}",
        )
    entries = tree["blocks"]
    require(
        isinstance(entries, list) and len(entries) > 0 and isinstance(entries[0], dict),
        "blocks is no list of blocks",
    )
    first = entries[0].get("samples")
    require(isinstance(first, list) and len(first) == 2, "blocks[0].samples is no range")
    block_samples = check_count(first[1], "blocks[0].samples[1]", samples)
    expected = views * -(-samples // block_samples)
    require(len(entries) == expected, f"{len(entries)} blocks, expected {expected}")
    if stores.get(tree["backend"]).TOGETHER:
        require(len(set(file_blocks.values())) == 1, "file_blocks differ between the arrays of an HDF5 store")
    return Layout(views, samples, block_samples, arrays, file_blocks)


def fields_of(identity: dict[str, Any]) -> dict[str, ArraySpec]:
    """The arrays that the outputs of an identity are stored in.

    Raises:
        ValueError: it names no output, or one without an encoding and a shape.
        CacheError: an encoding is unknown.
    """
    arrays: dict[str, ArraySpec] = {}
    outputs = identity.get("outputs")
    require(isinstance(outputs, dict) and bool(outputs), "identity.outputs names no output")
    for name, output in dict(outputs or {}).items():
        require(isinstance(output, dict), f"identity.outputs.{name:.80} is no table")
        shape = output.get("shape")
        require(
            isinstance(shape, list | tuple)
            and len(shape) <= 8
            and all(type(length) is int and 0 < length < 2**31 for length in shape),
            f"identity.outputs.{name:.80}.shape is no shape",
        )
        fields = encoding_for(output).fields(name, tuple(shape or ()))
        require(not fields.keys() & arrays.keys(), f"two outputs share the array {' '.join(fields)}")
        require(
            not any(field.startswith(VIEWS) for field in fields), f"{name!r:.80} is no name for an output"
        )
        arrays |= fields
    return arrays


def check_blocks(entries: list[Any], layout: Layout) -> dict[Block, dict[str, str]]:
    """The blocks as listed, which must be the layout's: each row of the extents in one block, in order."""
    checked = {}
    for index, block in enumerate(blocks(layout.views, layout.samples, layout.block_samples)):
        # There may be many thousands: what is fine is found to be so without composing a message.
        entry = entries[index]
        digests = entry.get("arrays") if isinstance(entry, dict) else None
        if not isinstance(digests, dict) or entry.keys() != _ENTRY:
            raise ValueError(f"blocks[{index}] is no table of {', '.join(sorted(_ENTRY))}")
        views, samples = entry["views"], entry["samples"]
        if views != [block.view, block.view + 1] or samples != [block.start, block.stop]:
            raise ValueError(
                f"blocks[{index}] is views {views!r:.80}, samples {samples!r:.80}; expected {block}"
            )
        if digests.keys() != layout.arrays.keys():
            raise ValueError(f"blocks[{index}] has digests of other arrays than the cache's")
        if not isinstance(entry["quality"], dict):
            raise ValueError(f"blocks[{index}].quality is no table")
        for name, digest in digests.items():
            if not isinstance(digest, str) or not _HEX.fullmatch(digest):
                raise ValueError(f"blocks[{index}].arrays.{name} = {digest!r:.80}, expected a SHA-256")
        if entry["digest"] != combine(digests):
            raise ValueError(f"blocks[{index}].digest is not that of its arrays")
        checked[block] = digests
    return checked

"""`manifest.json`: what a cache was made from, how it is laid out, and the digest of every block of it."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.cache.format.encoding import encoding_for
from stillroom.cache.format.identity import canonical, identity_id
from stillroom.cache.format.layout import VIEWS, ArraySpec, Block, Layout, blocks, fault_in
from stillroom.cache.format.rows import LONGEST_KEY, Rows
from stillroom.errors import AccessError, CacheError, fetch, fetch_again

FORMAT = "stillroom-cache/1"
NAME = "manifest.json"
BACKENDS = ("zarr", "hdf5")
LARGEST = 16 * 2**20  # bytes of a manifest; a million samples in four views need about four megabytes
# Parsed JSON takes far more memory than its text where it is made of tiny values: `[],` takes 60 bytes.
MOST_TABLES, MOST_VALUES = 300_000, 1_000_000
_HEX = re.compile(r"[0-9a-f]{64}")
_ENTRY = {"views", "samples", "digest", "arrays", "quality"}  # fields of a block


def array_digest(values: np.ndarray) -> str:
    """SHA-256 of an array: little-endian dtype, shape, bytes in C order. The same whatever stored it."""
    if values.dtype.byteorder == ">" or not values.flags.c_contiguous:
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{values.dtype.str} {list(values.shape)}\n".encode("ascii"))
    digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def combine(digests: dict[str, str]) -> str:
    """The digest of named arrays from the digests of each: SHA-256 of their sorted `name digest` lines."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode("ascii")).hexdigest()


def block_digest(arrays: dict[str, np.ndarray]) -> str:
    """The digest of a block's arrays, by name, each [rows, ...] without a view axis."""
    return combine({name: array_digest(values) for name, values in arrays.items()})


def rows_digest(rows: Rows) -> str:
    """The digest of a cache's keys and labels."""
    return block_digest({"keys": rows.keys, "labels": rows.labels})


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        identity: what the cache was made from; its `outputs` name the outputs, with their `encoding` and
            `shape`.
        backend: `zarr` or `hdf5`.
        layout: extents, arrays, and how they are cut.
        key_bytes: L of the `keys` array, uint8 [N, L].
        rows: digest of keys and labels (`rows_digest`).
        blocks: digests of the arrays of every block (`array_digest`), in the order of `layout.blocks()`.
        environment: versions and device of the machine that wrote it; recorded, compared with nothing.
        probes: digests of rendered views of a few samples, one dict each.
        quality: how far the stored outputs are from the teacher's, by output (`divergence.measure`).
        measured: the same for each block where it was measured.
        metadata: SHA-256 of the bytes of each file that holds no block (a `zarr.json`, `store.h5`), by path.
    """

    identity: dict[str, Any]
    backend: str
    layout: Layout
    key_bytes: int
    rows: str
    blocks: dict[Block, dict[str, str]]
    environment: dict[str, Any] = field(default_factory=dict)
    probes: list[dict[str, Any]] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    measured: dict[Block, dict[str, Any]] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The cache id (`identity_id`)."""
        return identity_id(self.identity)

    def to_json(self) -> str:
        """The text of `manifest.json`, one line a block. Its last field, `seal`, is a digest of the rest."""
        layout = self.layout
        tree: dict[str, Any] = {
            "format": FORMAT,
            "id": self.id,
            "identity": self.identity,
            "backend": self.backend,
            "extents": {"views": layout.views, "samples": layout.samples},
            "arrays": {
                name: {
                    "dtype": spec.dtype,
                    "shape": list(spec.shape),
                    "file_blocks": layout.file_blocks[name],
                }
                for name, spec in sorted(layout.arrays.items())
            },
            "rows": {"digest": self.rows, "key_bytes": self.key_bytes},
            "metadata": self.metadata,
            "environment": self.environment,
            "probes": self.probes,
            "quality": self.quality,
        }
        entries = [
            {
                "views": [block.view, block.view + 1],
                "samples": [block.start, block.stop],
                "digest": combine(digests),
                "arrays": dict(sorted(digests.items())),
                "quality": self.measured.get(block, {}),
            }
            for block, digests in self.blocks.items()
        ]
        seal = _seal({**tree, "blocks": entries})
        head = json.dumps(tree, indent=1, allow_nan=False).removesuffix("\n}")
        lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
        return f'{head},\n "blocks": [\n{lines}\n ],\n "seal": "{seal}"\n}}\n'

    def check(self) -> None:
        """Make sure, before anything is written, that this manifest would be read again.

        Raises:
            ValueError: a field is not what it must be.
        """
        text = self.to_json()
        _require(len(text) <= LARGEST, f"a manifest of {len(text)} bytes is too large; take larger blocks")
        _parse(json.loads(text))

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into a folder and flush it to the disk."""
        with (folder / NAME).open("w", encoding="utf-8", newline="\n") as file:
            file.write(self.to_json())
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read the manifest of a cache and check every field, before anything else of the cache is touched.

        Raises:
            CacheError: there is none, it is too large, or a field is not what it must be.
        """
        file = folder / NAME
        again = f"{fetch_again(folder)}, or run `stillroom cache`"
        try:
            if file.exists() and not file.is_file():  # a pipe would have its reader wait for ever
                raise CacheError(f"{file} is no file", fix=again)
            with file.open("rb") as stream:
                text = stream.read(LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise CacheError(f"{file} is not there", "every cache has one", fetch(folder)) from None
        except PermissionError:
            raise AccessError(file) from None
        except OSError as error:
            raise CacheError(f"{file} cannot be read", error.strerror or str(error), again) from None
        if len(text) > LARGEST:
            raise CacheError(
                f"{file} is larger than {LARGEST} bytes", "no cache needs such a manifest", again
            )
        try:
            _refuse_bloat(text)
            return _parse(json.loads(text, parse_constant=_not_json))
        except RecursionError:
            why = "it is nested too deeply"
        except CacheError as error:  # an unknown encoding
            why = f"{error.what}; {error.why}"
        except ValueError as error:
            why = str(error)
        raise CacheError(f"{file} is damaged, or is no manifest that this version reads", why, again)


def _seal(tree: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(tree)).hexdigest()


def _refuse_bloat(text: bytes) -> None:
    """Refuse what would take far more memory or time to parse than a manifest does, before it is parsed.

    Commas and brackets inside strings are counted too: no manifest has many of those either.
    """
    tables = text.count(b"[") + text.count(b"{")
    _require(tables <= MOST_TABLES, f"it holds {tables} tables and lists, more than {MOST_TABLES}")
    values = text.count(b",")
    _require(values <= MOST_VALUES, f"it holds {values} values, more than {MOST_VALUES}")


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _count(value: Any, name: str, most: int) -> int:
    _require(
        type(value) is int and 1 <= value <= most,
        f"{name} = {value!r:.80}, expected a whole number in 1..{most}",
    )
    return int(value)


def _table(value: Any, name: str, *names: str) -> dict[str, Any]:
    _require(isinstance(value, dict), f"{name} is no table")
    _require(
        not names or set(value) == set(names),
        f"{name} must have {', '.join(names)}; has {', '.join(value):.200}",
    )
    return dict(value)


def _digest(value: Any, name: str) -> str:
    _require(
        isinstance(value, str) and bool(_HEX.fullmatch(value)), f"{name} = {value!r:.80}, expected a SHA-256"
    )
    return str(value)


def _parse(tree: Any) -> Manifest:
    """Check a manifest's JSON.

    Raises:
        ValueError: names the first field that is wrong.
        CacheError: an output has an encoding that this version does not know.
    """
    _require(isinstance(tree, dict), "it is no JSON table")
    found = tree.get("format")
    _require(found == FORMAT, f"format = {found!r:.80}, expected {FORMAT!r}")
    names = ("format", "id", "identity", "backend", "extents", "arrays", "rows")
    _table(tree, "the manifest", *names, "metadata", "environment", "probes", "quality", "blocks", "seal")
    identity = _table(tree["identity"], "identity")
    _require(
        tree["id"] == identity_id(identity),
        f"id = {tree['id']!r:.80}, but its identity has {identity_id(identity)}",
    )
    _require(
        tree["backend"] in BACKENDS,
        f"backend = {tree['backend']!r:.80}, expected one of {', '.join(BACKENDS)}",
    )
    rows = _table(tree["rows"], "rows", "digest", "key_bytes")
    layout = _layout(tree, identity)
    _require(
        isinstance(tree["probes"], list) and len(tree["probes"]) <= 65536,
        "probes is no list of at most 65536",
    )
    found = _blocks(tree["blocks"], layout)
    manifest = Manifest(
        identity=identity,
        backend=tree["backend"],
        layout=layout,
        key_bytes=_count(rows["key_bytes"], "rows.key_bytes", LONGEST_KEY),
        rows=_digest(rows["digest"], "rows.digest"),
        blocks=found,
        measured={
            block: entry["quality"]
            for block, entry in zip(found, tree["blocks"], strict=True)
            if entry["quality"]
        },
        metadata={
            file: _digest(digest, f"metadata.{file:.80}")
            for file, digest in _table(tree["metadata"], "metadata").items()
        },
        environment=_table(tree["environment"], "environment"),
        probes=[_table(probe, f"probes[{index}]") for index, probe in enumerate(tree["probes"])],
        quality=_table(tree["quality"], "quality"),
    )
    # Every field that is used elsewhere is sound by now; the seal also covers those that are only recorded.
    seal = _seal({name: value for name, value in tree.items() if name != "seal"})
    _require(tree["seal"] == seal, f"seal = {tree['seal']!r:.80}, but its content has {seal}")
    return manifest


def _layout(tree: dict[str, Any], identity: dict[str, Any]) -> Layout:
    extents = _table(tree["extents"], "extents", "views", "samples")
    views = _count(extents["views"], "extents.views", 65535)
    samples = _count(extents["samples"], "extents.samples", 2**31)
    arrays, file_blocks = {}, {}
    for name, entry in _table(tree["arrays"], "arrays").items():
        entry = _table(entry, f"arrays.{name:.80}", "dtype", "shape", "file_blocks")
        _require(
            isinstance(entry["dtype"], str) and isinstance(entry["shape"], list),
            f"arrays.{name:.80} is no array",
        )
        arrays[name] = ArraySpec(entry["dtype"], tuple(entry["shape"]))
        file_blocks[name] = _count(entry["file_blocks"], f"arrays.{name:.80}.file_blocks", samples)
    fault = fault_in(arrays)
    _require(not fault, f"arrays: {fault:.300}")
    wanted = fields_of(identity)
    stored = {name: spec for name, spec in arrays.items() if not name.startswith(VIEWS)}
    _require(
        stored == wanted,
        f"arrays of the outputs are {stored!r:.300}, but the identity calls for {wanted!r:.300}",
    )
    counted = identity.get("samples", {})
    if isinstance(counted, dict) and "count" in counted:
        _require(
            counted["count"] == samples,
            f"extents.samples = {samples}, but the identity counts {counted['count']!r:.80}",
        )
    entries = tree["blocks"]
    _require(
        isinstance(entries, list) and len(entries) > 0 and isinstance(entries[0], dict),
        "blocks is no list of blocks",
    )
    first = entries[0].get("samples")
    _require(isinstance(first, list) and len(first) == 2, "blocks[0].samples is no range")
    block_samples = _count(first[1], "blocks[0].samples[1]", samples)
    expected = views * -(-samples // block_samples)
    _require(len(entries) == expected, f"{len(entries)} blocks, expected {expected}")
    if tree["backend"] == "hdf5":  # a file holds every array of its blocks
        _require(
            len(set(file_blocks.values())) == 1, "file_blocks differ between the arrays of an HDF5 store"
        )
    return Layout(views, samples, block_samples, arrays, file_blocks)


def fields_of(identity: dict[str, Any]) -> dict[str, ArraySpec]:
    """The arrays that the outputs of an identity are stored in.

    Raises:
        ValueError: it names no output, or one without an encoding and a shape.
        CacheError: an encoding is unknown.
    """
    arrays: dict[str, ArraySpec] = {}
    outputs = identity.get("outputs")
    _require(isinstance(outputs, dict) and bool(outputs), "identity.outputs names no output")
    for name, output in dict(outputs or {}).items():
        _require(isinstance(output, dict), f"identity.outputs.{name:.80} is no table")
        shape = output.get("shape")
        _require(
            isinstance(shape, list | tuple)
            and len(shape) <= 8
            and all(type(length) is int and 0 < length < 2**31 for length in shape),
            f"identity.outputs.{name:.80}.shape is no shape",
        )
        fields = encoding_for(output).fields(name, tuple(shape or ()))
        _require(not fields.keys() & arrays.keys(), f"two outputs share the array {' '.join(fields)}")
        _require(
            not any(field.startswith(VIEWS) for field in fields), f"{name!r:.80} is no name for an output"
        )
        arrays |= fields
    return arrays


def _blocks(entries: list[Any], layout: Layout) -> dict[Block, dict[str, str]]:
    """The blocks as listed, which must be the layout's: each row of the extents in one block, in order."""
    found = {}
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
        found[block] = digests
    return found

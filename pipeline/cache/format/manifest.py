"""`manifest.json`: what a cache was made from, how it is laid out, and the digest of every block of it."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillroom.cache import stores
from stillroom.cache.format.digests import combine
from stillroom.cache.format.identity import canonical, identity_id
from stillroom.cache.format.layout import Block, Layout
from stillroom.cache.format.manifest_checks import (
    check_blocks,
    check_count,
    check_digest,
    check_layout,
    check_table,
    refuse_bloat,
    refuse_constant,
    require,
)
from stillroom.cache.format.rows import LONGEST_KEY
from stillroom.errors import AccessError, CacheError, fetch, fetch_again
from stillroom.files import whole_file

FORMAT = "stillroom-cache/1"
NAME = "manifest.json"
LARGEST = 16 * 2**20  # bytes of a manifest; a million samples in four views need about four megabytes


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
        require(len(text) <= LARGEST, f"a manifest of {len(text)} bytes is too large; take larger blocks")
        _parse(json.loads(text))

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into a folder and flush it to the disk."""
        with whole_file(folder / NAME) as stream:
            stream.write(self.to_json().encode())

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
        return cls.parse(text, str(file), again)

    @classmethod
    def parse(cls, text: bytes, file: str, again: str) -> "Manifest":
        """Read the text of a manifest and check every field.

        Args:
            file: what it was read from, for messages.
            again: what to do where it is damaged, for messages.

        Raises:
            CacheError: it is too large, or a field is not what it must be.
        """
        if len(text) > LARGEST:
            raise CacheError(
                f"{file} is larger than {LARGEST} bytes", "no cache needs such a manifest", again
            )
        try:
            refuse_bloat(text)
            return _parse(json.loads(text, parse_constant=refuse_constant))
        except RecursionError:
            why = "it is nested too deeply"
        except CacheError as error:  # an unknown encoding
            why = f"{error.what}; {error.why}"
        except ValueError as error:
            why = str(error)
        raise CacheError(f"{file} is damaged, or is no manifest that this version reads", why, again)


def _seal(tree: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(tree)).hexdigest()


def _parse(tree: Any) -> Manifest:
    """Check a manifest's JSON.

    Raises:
        ValueError: names the first field that is wrong.
        CacheError: an output has an encoding that this version does not know.
    """
    require(isinstance(tree, dict), "it is no JSON table")
    version = tree.get("format")
    require(version == FORMAT, f"format = {version!r:.80}, expected {FORMAT!r}")
    names = ("format", "id", "identity", "backend", "extents", "arrays", "rows")
    check_table(
        tree, "the manifest", *names, "metadata", "environment", "probes", "quality", "blocks", "seal"
    )
    identity = check_table(tree["identity"], "identity")
    require(
        tree["id"] == identity_id(identity),
        f"id = {tree['id']!r:.80}, but its identity has {identity_id(identity)}",
    )
    require(
        tree["backend"] in stores.names(),
        f"backend = {tree['backend']!r:.80}, expected one of {', '.join(stores.names())}",
    )
    rows = check_table(tree["rows"], "rows", "digest", "key_bytes")
    layout = check_layout(tree, identity)
    require(
        isinstance(tree["probes"], list) and len(tree["probes"]) <= 65536,
        "probes is no list of at most 65536",
    )
    blocks = check_blocks(tree["blocks"], layout)
    manifest = Manifest(
        identity=identity,
        backend=tree["backend"],
        layout=layout,
        key_bytes=check_count(rows["key_bytes"], "rows.key_bytes", LONGEST_KEY),
        rows=check_digest(rows["digest"], "rows.digest"),
        blocks=blocks,
        measured={
            block: entry["quality"]
            for block, entry in zip(blocks, tree["blocks"], strict=True)
            if entry["quality"]
        },
        metadata={
            file: check_digest(digest, f"metadata.{file:.80}")
            for file, digest in check_table(tree["metadata"], "metadata").items()
        },
        environment=check_table(tree["environment"], "environment"),
        probes=[check_table(probe, f"probes[{index}]") for index, probe in enumerate(tree["probes"])],
        quality=check_table(tree["quality"], "quality"),
    )
    # Every field that is used elsewhere is sound by now; the seal also covers those that are only recorded.
    seal = _seal({name: value for name, value in tree.items() if name != "seal"})
    require(tree["seal"] == seal, f"seal = {tree['seal']!r:.80}, but its content has {seal}")
    return manifest

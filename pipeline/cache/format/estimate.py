"""What a cache will take, before it is made: its files exactly, its bytes at most."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.cache.format.layout import VIEWS, ArraySpec, Block, Layout, runs
from stillroom.cache.format.manifest import LARGEST, Manifest
from stillroom.cache.read.backends import backend
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import cut
from stillroom.errors import ParamsError

# What `generation.probes` keeps of four samples, and what `device.environment` records.
_PROBE = {"key": "0" * 40, "parameters": "0" * 120, "sha256": "0" * 64, "grid": "0" * 1024}
_ENVIRONMENT = "0" * 400


@dataclass(frozen=True)
class Estimate:
    """A store's size.

    Attributes:
        files: exactly how many it will have, the manifest among them.
        outputs: bytes of the arrays of all outputs, as they are before compression.
        parameters: the same of the views' parameters.
        keys: the same of the keys, each as long as the longest.
        labels: the same of the labels.
        manifest: bytes of `manifest.json`, at most about.
        bytes: of all files together, at most: nothing is taken to shrink, and every file to have the largest
            header and index that the format allows it.
        bytes_per_view: `bytes` by view and sample.
    """

    files: int
    outputs: int
    parameters: int
    keys: int
    labels: int
    manifest: int
    bytes: int
    bytes_per_view: float


def estimate(
    name: str,
    views: int,
    samples: int,
    block_samples: int,
    arrays: dict[str, ArraySpec],
    key_bytes: int,
    identity: Mapping[str, Any] | None = None,
) -> Estimate:
    """The size of a store of the backend `name`, `zarr` or `hdf5`.

    Float16 logits shrink by a few percent at most; keys, labels and crop boxes to a half and less.

    Args:
        views, samples: V and N.
        block_samples: rows of a block.
        arrays: what each array holds a row.
        key_bytes: of the longest key, in UTF-8.
        identity: what the manifest will hold, for its length; None: taken to be as long as it usually is.

    Raises:
        CacheError: there is no such backend.
        ParamsError: the manifest would be larger than a manifest may be.
    """
    block_samples = min(block_samples, samples)
    layout = Layout(views, samples, block_samples, arrays, cut(name, samples, block_samples, arrays))
    store = backend(name)(Path("."), _manifest(name, layout, key_bytes, identity, {}))
    entry = _manifest(name, layout, key_bytes, identity, dict.fromkeys(store.metadata_files(), "0" * 64))
    manifest = _length(entry)
    if manifest > LARGEST:
        raise ParamsError(
            f"the manifest of {views * -(-samples // block_samples)} blocks would have about "
            f"{manifest / 2**20:.0f} MiB",
            f"it lists every block, and may have {LARGEST / 2**20:.0f} MiB at most",
            f"set cache.block_samples to more than {block_samples}",
        )
    keys, labels = samples * key_bytes, samples * 8
    rows = views * samples
    parameters = rows * sum(spec.row_bytes for name, spec in arrays.items() if name.startswith(VIEWS))
    outputs = rows * sum(spec.row_bytes for spec in arrays.values()) - parameters
    total = manifest + (_zarr if name == "zarr" else _hdf5)(store, keys + labels)
    return Estimate(
        files=len(store.files()) + 1,
        outputs=outputs,
        parameters=parameters,
        keys=keys,
        labels=labels,
        manifest=manifest,
        bytes=total,
        bytes_per_view=round(total / rows, 2),
    )


def _manifest(
    name: str,
    layout: Layout,
    key_bytes: int,
    identity: Mapping[str, Any] | None,
    metadata: dict[str, str],
) -> Manifest:
    """The manifest with its longest entry, that of the last block, and no other."""
    if identity is None:
        outputs = [name for name in layout.arrays if not name.startswith(VIEWS)]
        identity = {"outputs": {}, "of": "0" * 1200}
    else:
        outputs = list(identity["outputs"])
    longest = 1.2345678901234567e-100
    kl = {f"T={t}": {"mean": longest, "max": longest} for t in (1, 4)}
    quality = dict.fromkeys(outputs, kl)
    start, stop = runs(0, layout.samples, layout.block_samples)[-1]
    last = Block(layout.views - 1, start, stop)
    return Manifest(
        identity=dict(identity),
        backend=name,
        layout=layout,
        key_bytes=key_bytes,
        rows="0" * 64,
        blocks={last: dict.fromkeys(layout.arrays, "0" * 64)},
        environment={"about": _ENVIRONMENT},
        probes=[_PROBE] * 4,
        quality=quality,
        measured={last: quality},
        metadata=metadata,
    )


def _length(manifest: Manifest) -> int:
    """Bytes of the manifest if all its blocks were listed; hundreds of thousands need not be made for it."""
    layout = manifest.layout
    count = layout.views * len(runs(0, layout.samples, layout.block_samples))
    [(block, digests)] = manifest.blocks.items()
    entry = {
        "views": [block.view, block.view + 1],
        "samples": [block.start, block.stop],
        "digest": "0" * 64,
        "arrays": digests,
        "quality": manifest.measured[block],
    }
    line = len(json.dumps(entry)) + len("  ,\n")
    return len(manifest.to_json()) + (count - 1) * line


# A format's own bytes, as upper bounds: of what cannot be compressed, a compressor makes a little more.


def _zarr(store: Store, rows: int) -> int:
    """Bytes of all files but the manifest, at most. `rows`: bytes of keys and labels."""
    layout = store.layout
    plane = 0
    for name, spec in layout.arrays.items():
        chunk = layout.block_samples * spec.row_bytes
        for start, stop in layout.parts(name):
            size = (stop - start) * spec.row_bytes
            blocks = len(runs(start, stop, layout.block_samples))
            # The last chunk is filled up with one value. Zstandard leaves 128 KiB as they are unless it can
            # save a 64th of them.
            filled = min(blocks * chunk - size, chunk // 64 + 64)
            frames = 18 * blocks + size // 2**15  # headers of frames, and of their blocks
            index = 16 * layout.file_blocks[name] + 4
            plane += size + filled + frames + index
    metadata = sum(1600 + 24 * len(layout.arrays.get(name, ("", ()))[1]) for name in store.metadata_files())
    return layout.views * plane + metadata + rows + rows // 2**10 + 1024


def _hdf5(store: Store, rows: int) -> int:
    """As `_zarr`. What is deflated is so in chunks of a block, with an entry each in an index."""
    layout = store.layout
    parts = layout.parts(next(iter(layout.arrays)))
    plane = 0
    for start, stop in parts:
        blocks = len(runs(start, stop, layout.block_samples))
        size = (stop - start) * sum(spec.row_bytes for spec in layout.arrays.values())
        filled = sum(
            (blocks * layout.block_samples - (stop - start)) * spec.row_bytes
            for spec in layout.arrays.values()
        )
        chunks = len(layout.arrays) * blocks
        plane += size + size // 2**11 + min(filled, filled // 64 + 64 * len(layout.arrays)) + 48 * chunks
        plane += 1024 + 640 * len(layout.arrays)  # headers and groups
    sources = sum((160 + 2 * len(name)) * layout.views * len(parts) for name in layout.arrays)
    blocks = len(runs(0, layout.samples, layout.block_samples))
    master = rows + rows // 2**10 + 2 * 64 * blocks + sources + 8192 + 2048 * len(layout.arrays)
    return layout.views * plane + master

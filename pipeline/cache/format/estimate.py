"""What a cache will take, before it is made: its files exactly, its bytes at most."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.cache import stores
from stillroom.cache.format.layout import VIEWS, ArraySpec, Block, Layout, runs
from stillroom.cache.format.manifest import LARGEST, Manifest
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
    """The size of a store of the format `name`.

    Float16 logits shrink by a few percent at most; keys, labels and crop boxes to a half and less.

    Args:
        views, samples: V and N.
        block_samples: rows of a block.
        arrays: what each array holds a row.
        key_bytes: of the longest key, in UTF-8.
        identity: what the manifest will hold, for its length; None: taken to be as long as it usually is.

    Raises:
        CacheError: there is no such format.
        ParamsError: the manifest would be larger than a manifest may be.
    """
    block_samples = min(block_samples, samples)
    layout = Layout(views, samples, block_samples, arrays, cut(name, samples, block_samples, arrays))
    store = stores.get(name)(Path("."), _manifest(name, layout, key_bytes, identity, {}))
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
    total = manifest + store.most_bytes(keys + labels)
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

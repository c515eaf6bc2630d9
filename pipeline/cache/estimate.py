"""What a cache will take, before it is made: files and bytes."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.cache.backends import backend
from pipeline.cache.layout import ArraySpec, Layout
from pipeline.cache.manifest import Manifest
from pipeline.cache.publish import cut


@dataclass(frozen=True)
class Estimate:
    """A store's size.

    Attributes:
        files: exactly how many it will have, the manifest among them.
        bytes: at most, since what is compressed is counted as it is before.
        bytes_per_view: of these, by view and sample, the manifest and keys included.
    """

    files: int
    bytes: int
    bytes_per_view: float


def estimate(
    name: str,
    views: int,
    samples: int,
    block_samples: int,
    arrays: dict[str, ArraySpec],
    key_bytes: int,
) -> Estimate:
    """The size of a store of the backend `name`.

    Args:
        views, samples: V and N.
        block_samples: rows of a block.
        arrays: what each array holds a row.
        key_bytes: of the longest key.
    """
    block_samples = min(block_samples, samples)
    layout = Layout(views, samples, block_samples, arrays, cut(name, samples, block_samples, arrays))
    digests = dict.fromkeys(arrays, "0" * 64)
    identity = {"outputs": {}, "of": "0" * 1200}  # about as long as a real one
    kl = {f"T={t}": {"mean": 1.2345678901234567e-06, "max": 1.2345678901234567e-06} for t in (1, 4)}
    measured = {block: {"logits": kl} for block in layout.blocks()}
    blocks = dict.fromkeys(measured, digests)
    manifest = Manifest(identity, name, layout, key_bytes, "0" * 64, blocks, measured=measured)
    store = backend(name)(Path("."), manifest)
    row = sum(spec.row_bytes for spec in arrays.values())
    # a Zarr shard is padded to whole blocks before it is compressed; an index, a header and checksums a file
    files = len(store.files()) + 1
    total = (
        views * samples * row
        + samples * (key_bytes + 8)
        + len(manifest.to_json())
        + len(store.metadata_files()) * 2000
        + files * 600
    )
    return Estimate(files, total, round(total / (views * samples), 2))

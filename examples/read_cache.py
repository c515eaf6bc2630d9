"""Reads a cache with zarr or h5py alone (encoding `float16`): how often the teacher is right in each view.

    python examples/read_cache.py [artifacts/cache]

These libraries check nothing against the manifest: `stillroom store verify` does, and so does
`stillroom.open_cache`, which reads every encoding.
"""

import sys
from pathlib import Path

import h5py
import zarr

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "artifacts/cache")
hdf5 = folder / "store.h5"
cache = h5py.File(hdf5) if hdf5.exists() else zarr.open_group(folder, mode="r")

keys = [key.rstrip(b"\0").decode() for key in map(bytes, cache["keys"][:])]  # UTF-8, padded; ascending
labels = cache["labels"][:]
logits, boxes = cache["logits"], cache["views/box"]  # [V, N, C] and [V, N, 4]: a row a sample, in that order
print(f"{len(keys)} samples from {keys[0]} to {keys[-1]}")
for view in range(logits.shape[0]):
    right = (logits[view].argmax(1) == labels).mean()
    print(f"view {view}: right in {right:.1%}, the first sample cut at {boxes[view, 0].tolist()}")

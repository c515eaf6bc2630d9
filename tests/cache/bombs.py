"""Files that are made to harm their reader, and a measure of the harm."""

import subprocess
import sys
from pathlib import Path

import google_crc32c
import numpy as np


def shard(chunks: list[bytes], body: bytes = b"", places: np.ndarray | None = None) -> bytes:
    """A Zarr shard with a sound index: of these chunks, or of a body and the places of its chunks."""
    if places is None:
        sizes = np.array([len(chunk) for chunk in chunks], "<u8")
        places = np.stack([np.cumsum(sizes) - sizes, sizes], axis=1)
        body = b"".join(chunks)
    index = places.astype("<u8").tobytes()
    return body + index + int(google_crc32c.value(index)).to_bytes(4, "little")


def frame(claimed: int, held: int) -> bytes:
    """A Zstandard frame that claims so many bytes and holds so many zeros, 33,000 to a byte (RFC 8878)."""
    blocks = []
    while held:
        size = min(held, 2**17)
        held -= size
        blocks.append((size << 3 | 0b010 | (not held)).to_bytes(3, "little") + b"\0")  # one byte, repeated
    return b"\x28\xb5\x2f\xfd\xe0" + claimed.to_bytes(8, "little") + b"".join(blocks)


def peak_memory(cache: Path) -> int:
    """Bytes of memory that a process takes to verify a cache, which must be damaged."""
    script = (
        "import re, sys\nfrom pathlib import Path\nfrom stillroom.cache.read.checks import verify\n"
        "assert verify(Path(sys.argv[1]))\n"
        # not getrusage, which counts what the parent took before it started this process
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1] + '000')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(cache)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)

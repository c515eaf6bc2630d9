"""PNG files of arrays, the same bytes on every machine: nothing in them is compressed.

W3C, Portable Network Graphics (third edition), 2025; RFC 1950 and 1951 for the stored blocks of zlib.
"""

import struct
import zlib

import numpy as np

_BLOCK = 65_535  # bytes that a stored block may have
_COLOURS = {1: 0, 3: 2}  # PNG's number of a kind of colour, by channels


def png(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file.

    What compresses, another version of the compressor compresses otherwise: digests would differ.

    Args:
        pixels: uint8 [H, W] or [H, W, 3], neither of which is 0.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    raw = rows.tobytes()
    parts = [b"\x78\x01"]
    for start in range(0, len(raw), _BLOCK):
        part = raw[start : start + _BLOCK]
        last = start + _BLOCK >= len(raw)
        parts += [struct.pack("<BHH", last, len(part), len(part) ^ 0xFFFF), part]
    parts.append(struct.pack(">I", zlib.adler32(raw)))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", b"".join(parts))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

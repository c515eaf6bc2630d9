"""Clips: read once, checked against the samples table, kept in memory up to a budget."""

import math
from io import BytesIO
from typing import ClassVar

import numpy as np

from stillroom.errors import DataError
from stillroom.modalities.kept import Kept
from stillroom.modalities.skeletons.samples import Sample

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Clips(Kept):
    """The clips of a samples table, float32 [T, M, J, D + 1] each; see `Kept`."""

    ONE: ClassVar[str] = "clip"
    MANY: ClassVar[str] = "clips"

    @staticmethod
    def kept_bytes(row: Sample) -> int:
        return 4 * math.prod(row.shape)

    def decoded(self, content: bytes, row: Sample, file: str) -> np.ndarray:
        try:
            return decode(content, row.shape)
        except ValueError as error:
            raise DataError(
                f"{file}: the clip of {row.key} is not as the samples table has it",
                str(error),
                "run `stillroom prepare` again",
            ) from None


def decode(content: bytes, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """The clip in a `.npy` file's bytes. Nothing is unpickled, and a header that promises more than the file
    holds takes no memory.

    Args:
        content: the file's bytes.
        shape: what it must have; None: any that a clip may have.

    Returns:
        float32 [T, M, J, D + 1], not writable: it is the file's own bytes.

    Raises:
        ValueError: it is no such file.
    """
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"a .npy file of version {version[0]}.{version[1]}: expected 1.0 or 2.0")
    found, by_column, dtype = HEADERS[version](stream)
    if dtype != np.dtype("<f4") or by_column:
        raise ValueError(f"numbers of type {dtype}{' by column' * by_column}: expected float32, row by row")
    if shape is not None and found != shape:
        raise ValueError(f"shape {list(found)}: expected {list(shape)}")
    if len(found) != 4 or not math.prod(found) or found[-1] not in (3, 4):
        raise ValueError(f"shape {list(found)}: expected [frames, persons, joints, 3 or 4]")
    start = stream.tell()
    if len(content) - start != 4 * math.prod(found):
        raise ValueError(f"{len(content) - start} bytes of numbers: expected {4 * math.prod(found)}")
    return np.frombuffer(content, "<f4", offset=start).reshape(found)

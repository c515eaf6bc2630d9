"""Decoded images: read once, checked against the samples table, kept in memory up to a budget."""

import hashlib
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from stillroom.errors import AccessError, DataError
from stillroom.machine import cores, room
from stillroom.modalities.images.decode import UnreadableError, decode
from stillroom.modalities.images.samples import Sample
from stillroom.samples import Samples


class Pixels:
    """The decoded images of a samples table.

    Args:
        samples: the table; a file whose digest differs from it is refused.
        budget: bytes of decoded images to keep; those that come after it is full are decoded anew each time.
            None: `room()`.
    """

    def __init__(self, samples: Samples, budget: int | None = None) -> None:
        self._samples = samples
        self._left = room() if budget is None else budget
        self._kept: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """For a spawned worker: the table and the budget, not the images."""
        left = self._left + sum(image.nbytes for image in self._kept.values())
        return {"samples": self._samples, "budget": left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __getitem__(self, row: Sample) -> np.ndarray:
        """The image of a row, uint8 [H, W, 3].

        Raises:
            DataError: the file is missing, unreadable, or not the one that `prepare` saw.
            AccessError: this user may not read it.
        """
        if row.key in self._kept:
            return self._kept[row.key]
        file = self._samples.file(row)
        try:
            content = file.read_bytes()
        except PermissionError:
            raise AccessError(file) from None
        except OSError as error:
            raise DataError(
                f"{file}: the image of {row.key} cannot be read",
                error.strerror or str(error),
                "put it back, or set data.path to where the images lie",
            ) from None
        digest = hashlib.sha256(content).hexdigest()
        if digest != row.sha256:
            raise DataError(
                f"{file}: the image of {row.key} was replaced",
                f"sha256 expected {row.sha256[:16]}..., found {digest[:16]}...",
                "put the old file back, or run `stillroom prepare` and `stillroom cache` for the new one",
            )
        try:
            image = decode(content)
        except UnreadableError as error:
            raise DataError(
                f"{file}: the image of {row.key} cannot be decoded",
                str(error),
                "this Pillow reads less than the one of `stillroom prepare`: install that one's version",
            ) from None
        with self._lock:
            if image.nbytes <= self._left:
                self._left -= image.nbytes
                self._kept[row.key] = image
        return image

    def preload(self, rows: Iterable[Sample]) -> None:
        """Decode what the budget still takes of these rows, in threads, before workers are forked."""
        wanted = {row.key: row for row in rows if row.key not in self._kept}
        room = []
        left = self._left
        for row in wanted.values():
            left -= row.size[0] * row.size[1] * 3
            if left < 0:
                break
            room.append(row)
        with ThreadPoolExecutor(cores().used) as pool:
            for _ in pool.map(self.__getitem__, room):
                pass

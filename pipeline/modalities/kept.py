"""The content of samples' files: read once, checked against the table, kept in memory up to a budget."""

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np

from stillroom.errors import AccessError, DataError
from stillroom.machine import cores, room
from stillroom.samples import Samples


class Kept(ABC):
    """What the files of a samples table hold. A modality says what a file's bytes are, and how many they
    become.

    Args:
        samples: the table; a file whose digest differs from it is refused.
        budget: bytes of content to keep; what comes after it is full is read anew each time. None: `room()`.
    """

    ONE: ClassVar[str]  # what messages call one of them
    MANY: ClassVar[str]

    def __init__(self, samples: Samples, budget: int | None = None) -> None:
        self._samples = samples
        self._left = room() if budget is None else budget
        self._kept: dict[Any, np.ndarray] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """For a spawned worker: the table and the budget, not the content."""
        left = self._left + sum(content.nbytes for content in self._kept.values())
        return {"samples": self._samples, "budget": left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @staticmethod
    @abstractmethod
    def kept_bytes(row: Any) -> int:
        """How many bytes are kept of a row."""

    @abstractmethod
    def decoded(self, content: bytes, row: Any, file: str) -> np.ndarray:
        """What a file's bytes hold.

        Args:
            file: what messages call it.

        Raises:
            DataError: they are not what this version reads.
        """

    def __getitem__(self, row: Any) -> np.ndarray:
        """The content of a row, which is not to be changed.

        Raises:
            DataError: the file is missing, unreadable, or not the one that `prepare` saw.
            AccessError: this user may not read it.
        """
        return self._keep(row.key, row, self.decoded)

    def _keep(self, name: Any, row: Any, decoded: Callable[[bytes, Any, str], np.ndarray]) -> np.ndarray:
        """What is kept under a name, or now decoded of a row and kept, where there is room."""
        if name in self._kept:
            return self._kept[name]
        file = self._samples.place(row)
        found = decoded(self._checked(row, file), row, file)
        with self._lock:
            if found.nbytes <= self._left:
                self._left -= found.nbytes
                self._kept[name] = found
        return found

    def _checked(self, row: Any, file: str) -> bytes:
        try:
            content = self._samples.content(row)
            digest = hashlib.sha256(content).hexdigest()
            if digest != row.sha256 and self._samples.renew(row):  # an old copy, perhaps
                content = self._samples.content(row)
                digest = hashlib.sha256(content).hexdigest()
        except PermissionError:
            raise AccessError(file) from None
        except OSError as error:
            raise DataError(
                f"{file}: the {self.ONE} of {row.key} cannot be read",
                error.strerror or str(error),
                f"put it back, or set data.path (in Python: root=) to where the {self.MANY} lie",
            ) from None
        if digest != row.sha256:
            raise DataError(
                f"{file}: the {self.ONE} of {row.key} was replaced",
                f"sha256 expected {row.sha256[:16]}..., found {digest[:16]}...",
                "put the old file back, or run `stillroom prepare` and `stillroom cache` for the new one",
            )
        return content

    def bytes_of(self, row: Any) -> bytes:
        """The bytes of a row's file, or of its part of one.

        Raises:
            DataError, AccessError: see `__getitem__`.
        """
        return self._checked(row, self._samples.place(row))

    def preload(self, rows: Iterable[Any]) -> None:
        """Read what the budget still takes of these rows, in threads, before workers are forked."""
        fitting: dict[str, Any] = {}
        left = self._left
        for row in rows:
            if row.key not in self._kept and row.key not in fitting:
                left -= self.kept_bytes(row)
                if left < 0:  # what follows stays where it is: rows may be millions
                    break
                fitting[row.key] = row
        with ThreadPoolExecutor(cores().used) as pool:
            for _ in pool.map(self.__getitem__, fitting.values()):
                pass

"""Where a training run stands: a killed one goes on from there and ends with the same weights to the bit."""

import os
import time
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import ParamsError, StillroomError
from pipeline.progress import Progress

EVERY = 60.0


def seconds_between() -> float:
    """Seconds from one checkpoint to the next: the environment variable STILLROOM_CHECKPOINT_SECONDS, else
    60.

    A machine's setting, not a parameter: it changes no weight. 0: after every step.
    """
    text = os.environ.get("STILLROOM_CHECKPOINT_SECONDS", str(EVERY))
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found < float("inf"):
        raise ParamsError(
            f"STILLROOM_CHECKPOINT_SECONDS={text!r} is no number of seconds", fix="set it to 0 or more"
        )
    return found


class Checkpoint:
    """One file, replaced whole each time.

    It holds tensors and plain values, and is read by torch's restricted reader (`weights_only`), which runs
    no code; it is never shared.
    """

    def __init__(self, file: Path, run: str) -> None:
        """
        Args:
            file: where it lies; its folder exists.
            run: a digest of all that decides the run's weights: a checkpoint of another run is not taken up.
        """
        self._file, self._run = file, run
        self._every, self._saved = seconds_between(), time.monotonic()

    def load(self, progress: Progress) -> dict[str, Any] | None:
        """What `save` kept of this very run, or None; a damaged file is as good as none, and said."""
        if not self._file.exists():
            return None
        try:
            kept = torch.load(self._file, map_location="cpu", weights_only=True)
            run, state = kept["run"], kept["state"]
        except Exception as error:  # whatever a cut or damaged file makes torch raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            progress.note(
                f"the checkpoint {self._file.name} cannot be read ({reason:.80}): training begins anew"
            )
            return None
        if run != self._run:
            progress.note("the checkpoint that is there is of another run (other parameters, data or cache)")
            return None
        return dict(state)

    @property
    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._saved >= self._every

    def save(self, state: dict[str, Any]) -> None:
        """Put a new state in the old one's place.

        Raises:
            StillroomError: the disk is full, or not writable.
        """
        temporary = self._file.with_name(f"{self._file.name}.tmp")
        try:
            with temporary.open("wb") as stream:
                torch.save({"run": self._run, "state": state}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._file)
        except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
            temporary.unlink(missing_ok=True)
            raise StillroomError(
                f"the checkpoint {self._file} cannot be written",
                " ".join(str(error).split())[:160],
                "free the disk, then run the same command: it goes on from the last checkpoint",
            ) from None
        self._saved = time.monotonic()

    def remove(self) -> None:
        """When the run's result is in its place."""
        self._file.unlink(missing_ok=True)

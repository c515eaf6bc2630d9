"""Where a training run stands: a killed one goes on from there and ends with the same weights to the bit."""

import glob
import os
import re
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from stillroom.errors import ParamsError, StillroomError
from stillroom.files import whole_file
from stillroom.progress import Progress

EVERY = 60.0
DIGITS = 16  # of a run's digest, in its checkpoint's name


def seconds_between() -> float:
    """Seconds from one checkpoint to the next: the environment variable STILLROOM_CHECKPOINT_SECONDS, else
    60.

    A machine's setting, not a parameter: it changes no weight. 0: after every step.
    """
    text = os.environ.get("STILLROOM_CHECKPOINT_SECONDS", str(EVERY))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise ParamsError(
            f"STILLROOM_CHECKPOINT_SECONDS={text!r} is no number of seconds", fix="set it to 0 or more"
        )
    return seconds


class Attempt:
    """A run, for as long as its result is not in its place: an id in a file beside the checkpoint, which a
    stop or a kill leaves there.
    """

    def __init__(self, folder: Path, name: str, run: str) -> None:
        """
        Args:
            folder, name, run: see `Checkpoint`.
        """
        self._file = folder / f"{name}.{run[:DIGITS]}.attempt"

    def id(self) -> str:
        """32 hexadecimal digits, the same until `remove`.

        Raises:
            OSError: the file cannot be written.
        """
        with suppress(OSError, UnicodeDecodeError):
            text = self._file.read_text(encoding="ascii")
            if re.fullmatch("[0-9a-f]{32}", text):
                return text
        new = uuid.uuid4().hex
        with whole_file(self._file, alone=True) as stream:
            stream.write(new.encode())
        return new

    def remove(self) -> None:
        """To be called when the run's result is published."""
        self._file.unlink(missing_ok=True)


class Checkpoint:
    """One file a run, `NAME.<its digest>.checkpoint`, replaced whole each time: runs of one name with other
    settings leave each other's alone.

    It holds tensors and plain values, and is read by torch's restricted reader (`weights_only`), which runs
    no code; it is never shared.
    """

    def __init__(self, folder: Path, name: str, run: str) -> None:
        """
        Args:
            folder: where it lies; it exists.
            name: what is trained.
            run: a digest of all that decides the run's weights: a checkpoint of another run is not taken up.
        """
        self._folder, self._name, self._run = folder, name, run
        self.attempt = Attempt(folder, name, run)
        self._file = folder / f"{name}.{run[:DIGITS]}.checkpoint"
        self._earlier = folder / f"{name}.checkpoint"  # as earlier versions called that of any run
        self._every, self._saved = seconds_between(), time.monotonic()
        self._mine = [self._file]

    def load(self, progress: Progress) -> dict[str, Any] | None:
        """What `save` kept of this very run, or None; a damaged file counts as none, and is reported.

        So is what other runs of this name have left: nobody else would find it.
        """
        state = self._read(self._file, progress)
        if state is None:
            state = self._read(self._earlier, progress)
            if state is not None:
                self._mine.append(self._earlier)
        self._report_others(progress)
        return state

    def _read(self, file: Path, progress: Progress) -> dict[str, Any] | None:
        if not file.exists():
            return None
        try:
            kept = torch.load(file, map_location="cpu", weights_only=True)
            run, state = kept["run"], kept["state"]
        except Exception as error:  # whatever a cut or damaged file makes torch raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            progress.note(f"the checkpoint {file.name} cannot be read ({reason:.80}): it is left out")
            return None
        return dict(state) if run == self._run else None

    def _report_others(self, progress: Progress) -> None:
        checkpoints = [*self._folder.glob(f"{glob.escape(self._name)}.{DIGITS * '[0-9a-f]'}.checkpoint")]
        others = [file for file in (*checkpoints, self._earlier) if file not in self._mine and file.exists()]
        if others:
            size = sum(file.stat().st_size for file in others) / 2**20
            many = "1 checkpoint" if len(others) == 1 else f"{len(others)} checkpoints"
            progress.note(
                f"{many} of other runs of {self._name} (other parameters, data or cache), {size:.1f} MiB: "
                f"{self._folder}/{self._name}.*checkpoint. Delete what is not to go on"
            )

    @property
    def due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._saved >= self._every

    def save(self, state: dict[str, Any]) -> None:
        """Replace the old state by a new one.

        Raises:
            StillroomError: the disk is full, or not writable.
        """
        try:
            with whole_file(self._file, alone=True) as stream:
                torch.save({"run": self._run, "state": state}, stream)
            for file in self._mine[1:]:
                file.unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
            raise StillroomError(
                f"the checkpoint {self._file} cannot be written",
                " ".join(str(error).split())[:160],
                "free the disk, then run the same command: it goes on from the last checkpoint",
            ) from None
        self._saved = time.monotonic()

    def remove(self) -> None:
        """To be called when the run's result is published."""
        for file in self._mine:
            file.unlink(missing_ok=True)
        self.attempt.remove()

"""TensorBoard (https://www.tensorflow.org/tensorboard): event files, one folder a run.

`tensorboard --logdir artifacts/runs/tensorboard` shows them.
"""

import threading
from typing import Any

from stillroom.trackers import End, Place, Tracker


class TensorBoard(Tracker):
    """Writes scalars, and parameters with final scores for the page "HPARAMS".

    A run that is taken up again writes one more file, which begins by taking back all steps: they are written
    anew, from the first. Files of another attempt at a run of this name are removed: the folder shows what
    `artifacts/students/NAME` holds.
    """

    PACKAGES = ("tensorboard",)

    def __init__(self, place: Place) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = place.folder / place.name
        mark = f".{place.attempt}"
        before = [*folder.glob("events.out.tfevents.*")]
        for file in before:
            if file.suffix != mark:
                file.unlink()
        again = any(file.suffix == mark for file in before)
        writer: Any = SummaryWriter(str(folder), filename_suffix=mark, purge_step=1 if again else None)
        self._writer, self._parameters, self._last = writer, place.parameters, 0
        # what its thread meets is raised again where one writes, and said once, there
        self._elsewhere = threading.excepthook
        threading.excepthook = self._hook = lambda met: None if _writes(met.thread) else self._elsewhere(met)

    def epoch(self, number: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()  # what a checkpoint has is in the file, too
        self._last = number

    def scores(self, values: dict[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        for name, value in values.items():
            self._writer.add_scalar(name, value, self._last)
        for summary in hparams(self._parameters, values):
            self._writer.file_writer.add_summary(summary)

    def close(self, end: End) -> None:
        try:
            self._writer.close()
        finally:
            if threading.excepthook is self._hook:
                threading.excepthook = self._elsewhere


def _writes(thread: threading.Thread | None) -> bool:
    """Whether it is one of those that write event files."""
    return type(thread).__module__.startswith("tensorboard.")

"""DVCLive (https://dvc.org/doc/dvclive): `plots/metrics/NAME.tsv` in the model's folder, for `dvc plots`."""

import shutil
from typing import Any

from stillroom.errors import StillroomError
from stillroom.trackers import End, Place, Tracker


class DVCLive(Tracker):
    """Logs the loss, its terms and the validation accuracy.

    Until the end the files grow elsewhere, where `dvc plots show` can see them: a stage's outputs must not be
    there before they are whole.
    """

    PACKAGES = ("dvclive",)

    def __init__(self, place: Place) -> None:
        """
        Raises:
            StillroomError: the project is a git repository without a commit.
        """
        from dvclive import Live
        from scmrepo.exceptions import SCMError

        self._growing, self._result = place.growing, place.result
        self._live: Any
        shutil.rmtree(self._growing, ignore_errors=True)  # of a run that was killed
        try:
            self._live = Live(str(self._growing), save_dvc_exp=False, dvcyaml=None, report=None)
        except SCMError as error:
            raise StillroomError(
                "the training log cannot be opened",
                f"DVCLive asks git which commit this is ({error})",
                "make a first commit: git commit --allow-empty -m start",
            ) from None

    def epoch(self, number: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            if name in ("loss", "val_accuracy") or name.startswith("loss_"):
                self._live.log_metric(name, value)
        self._live.next_step()

    def close(self, end: End) -> None:
        self._live.end()
        if end == "finished":
            if (self._growing / "plots").exists():
                shutil.copytree(self._growing / "plots", self._result / "plots", dirs_exist_ok=True)
            shutil.rmtree(self._growing, ignore_errors=True)

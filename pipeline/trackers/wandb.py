"""Weights & Biases (https://docs.wandb.ai): a run in the project of WANDB_PROJECT, or in `stillroom`.

Everything else is wandb's own business: its login, WANDB_ENTITY, WANDB_MODE=offline, WANDB_DIR.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from stillroom.errors import ParamsError
from stillroom.trackers import End, Place, Tracker


class WeightsAndBiases(Tracker):
    """Logs the values of each epoch as a step, parameters, and final scores as a summary.

    A run that is taken up again has the same id. Online it goes on after the last step that the server has;
    offline all steps are written anew, and the files that it leaves behind here are removed: to be synced
    there is one whole run.
    """

    PACKAGES = ("wandb",)

    @classmethod
    def check(cls) -> None:
        """Refuse to begin without a key: wandb would ask for one in the middle of a batch job."""
        import wandb

        settings = wandb.setup(wandb.Settings(silent=True)).settings
        if settings.mode in ("offline", "dryrun", "disabled"):
            return
        with suppress(wandb.Error):  # a key that is none
            if wandb.login(prompt=False, verify=False):
                return
        raise ParamsError(
            "track names wandb, and there is no API key for its server",
            f"{settings.base_url} takes runs of those it knows",
            "run `wandb login`, or set WANDB_API_KEY; WANDB_MODE=offline keeps runs here, for `wandb sync`",
        )

    def __init__(self, place: Place) -> None:
        import wandb

        folder = Path(os.environ.get("WANDB_DIR") or place.folder)
        folder.mkdir(parents=True, exist_ok=True)
        quiet = wandb.Settings(
            silent=True,
            console="off",  # what a command prints stays as it is
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_meta=True,  # the command line, which may hold an address with a password
        )
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "stillroom",
            id=place.attempt,
            name=place.name,
            dir=str(folder),
            config=place.parameters,
            resume="allow",
            settings=quiet,
        )
        own = Path(self._run.dir).parent
        for other in own.parent.glob(f"offline-run-*-{place.attempt}"):
            if other != own and own.name.startswith("offline-run-"):
                shutil.rmtree(other)

    def epoch(self, number: int, values: dict[str, float]) -> None:
        if number >= self._run.step:
            self._run.log({"epoch": number, **values}, step=number, commit=True)

    def scores(self, values: dict[str, float]) -> None:
        self._run.summary.update(values)

    def close(self, end: End) -> None:
        self._run.finish(exit_code=0 if end == "finished" else 1)

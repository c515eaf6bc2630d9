"""MLflow (https://mlflow.org/docs/latest/ml/tracking): a run in the experiment `stillroom`, or in that of
MLFLOW_EXPERIMENT_NAME.

At MLFLOW_TRACKING_URI; without it in `artifacts/runs/mlflow/mlflow.db`, which `mlflow ui --backend-store-uri
sqlite:///artifacts/runs/mlflow/mlflow.db` of the whole package shows: the extra brings the client alone.
"""

import logging
import os
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from stillroom.lock import in_turn
from stillroom.trackers import End, Place, Tracker

ATTEMPT = "stillroom.attempt"  # a tag: which attempt at a run this is
LONGEST = 500  # letters of a parameter: what every version and store takes
STATES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
PATIENCE = 20.0  # seconds to wait for another run that makes the database
# Where nothing else is asked for: nobody is told of its use, and a server that is down does not hold a run up
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class MLflow(Tracker):
    """Logs metrics by epoch, parameters, and final scores.

    A run that is taken up again goes on in the run that its tag names, with the steps that are not there.
    """

    PACKAGES = ("mlflow", "sqlalchemy", "alembic")

    def __init__(self, place: Place) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        logging.getLogger("mlflow").setLevel(logging.ERROR)  # it tells of each table that it makes
        remote = os.environ.get("MLFLOW_TRACKING_URI")
        if remote is None:
            place.folder.mkdir(parents=True, exist_ok=True)
        # two would make its tables at once
        with in_turn(place.folder / ".lock", PATIENCE) if remote is None else nullcontext():
            self._client: Any = MlflowClient(remote or f"sqlite:///{place.folder.absolute()}/mlflow.db")
            experiment = self._experiment(place.folder if remote is None else None)
        found = self._client.search_runs([experiment], f"tags.`{ATTEMPT}` = '{place.attempt}'")
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
        else:
            tags = {ATTEMPT: place.attempt}
            self._run = self._client.create_run(experiment, tags=tags, run_name=place.name).info.run_id
            parameters = [Param(name, str(value)[:LONGEST]) for name, value in place.parameters.items()]
            for start in range(0, len(parameters), 100):  # as many as it takes at a time
                self._client.log_batch(self._run, params=parameters[start : start + 100])
        known = found[0].data.metrics if found else ()
        self._there = {
            (name, one.step) for name in known for one in self._client.get_metric_history(self._run, name)
        }
        self._last = 0

    def _experiment(self, folder: Path | None) -> str:
        """The id of the one that runs go into, which is made if need be."""
        given = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if given:
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "stillroom"
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = None if folder is None else (folder / "files").absolute().as_uri()
            with suppress(Exception):  # somebody else made it just now
                return str(self._client.create_experiment(name, artifact_location=location))
            found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def epoch(self, number: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = [
            Metric(name, value, now, number)
            for name, value in values.items()
            if (name, number) not in self._there
        ]
        if new:
            self._client.log_batch(self._run, metrics=new)
        self._last = number

    def scores(self, values: dict[str, float]) -> None:
        self.epoch(self._last, values)

    def close(self, end: End) -> None:
        self._client.set_terminated(self._run, STATES[end])

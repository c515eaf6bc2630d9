"""Trackers, by the real command line: read by TensorBoard's, MLflow's and wandb's own readers."""

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import warm
from tests.conftest import clean, copy_library, environment, run_in
from tests.stages.test_resume import KD, STEPS, checkpoints, history, killed, weights

ALL = ["--set", "track=[dvclive, tensorboard, mlflow, wandb]"]
NAME = "vit-kd-0"
Curves = dict[str, dict[int, float]]  # by name: the value of each step

pytestmark = pytest.mark.filterwarnings("ignore")


def events(folder: Path) -> tuple[Curves, dict[str, str]]:
    """What TensorBoard's own reader finds: curves, and the parameters of its page of them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    curves: Curves = {}
    for name in found.Tags()["scalars"]:
        points = found.Scalars(name)
        assert len({one.step for one in points}) == len(points), f"a step of {name} is there twice"
        curves[name] = {one.step: one.value for one in points}
    told = found.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    start = HParamsPluginData.FromString(told).session_start_info
    parameters = {name: one.string_value or str(one.number_value) for name, one in start.hparams.items()}
    return curves, parameters


def recorded(uri: str, name: str) -> tuple[Curves, dict[str, str]]:
    """What MLflow's own client finds of the only run of a name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("stillroom")
    [run] = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    assert run.info.status == "FINISHED"
    curves: Curves = {}
    for one in run.data.metrics:
        points = client.get_metric_history(run.info.run_id, one)
        assert len({point.step for point in points}) == len(points), f"a step of {one} is there twice"
        curves[one] = {point.step: point.value for point in points}
    return curves, run.data.params


def records(file: Path) -> Iterator[bytes]:
    """Those of a file of wandb: 7 bytes, then LevelDB's log format (whose reader is no Python any more)."""
    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:  # a block ends in zeros
            at += 2**15 - at % 2**15
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield whole
            whole = b""


def stored(file: Path) -> tuple[Curves, dict[str, float]]:
    """What an offline run of wandb holds: curves and final scores."""
    from wandb.proto import wandb_internal_pb2

    curves, scores = {}, {}
    for raw in records(file):
        record = wandb_internal_pb2.Record.FromString(raw)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            values = {one.key or ".".join(one.nested_key): json.loads(one.value_json) for one in items}
            for name, value in values.items():
                points = curves.setdefault(name, {})
                assert values["epoch"] not in points, f"a step of {name} is there twice"
                points[values["epoch"]] = value
        elif record.WhichOneof("record_type") == "summary":
            for one in record.summary.update:
                scores[one.key or ".".join(one.nested_key)] = json.loads(one.value_json)
    return curves, scores


def expected(history: list[dict]) -> Curves:
    curves: Curves = {}
    for record in history:
        values = {name: value for name, value in record.items() if name not in ("epoch", "terms")}
        values |= {f"loss_{name}": value for name, value in record.get("terms", {}).items()}
        for name, value in values.items():
            curves.setdefault(name, {})[record["epoch"]] = value
    return curves


def same(found: Curves, wanted: Curves) -> None:
    for name, points in wanted.items():
        assert found[name].keys() == points.keys(), name
        if name != "seconds":  # an epoch that was cut into two has others
            assert found[name] == pytest.approx(points, rel=1e-6), name


def test_a_killed_run_has_each_step_once_everywhere_and_the_same_weights(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_in(project, "stillroom", *KD, *STEPS, "--set", "track=[]")
    untracked, before = weights(project, NAME), history(project, NAME)
    assert not (project / "artifacts/runs").exists()
    assert not (project / "artifacts/students" / NAME / "plots/metrics").exists()
    killed(project, [*KD, *STEPS, *ALL], NAME, 20)
    assert "resumed: " in run_in(project, "stillroom", *KD, *STEPS, *ALL).stdout
    assert weights(project, NAME) == untracked and history(project, NAME) == before
    folder = project / "artifacts/students" / NAME
    said = json.loads((folder / "student.json").read_text())
    scores = json.loads((folder / "metrics.json").read_text())
    wanted, final = expected(said["history"]), {f"test_{name}": one for name, one in scores.items()}
    assert {"loss", "loss_teacher", "lr"} <= wanted.keys() and len(wanted["loss"]) == 4

    curves, parameters = events(project / "artifacts/runs/tensorboard" / NAME)
    same(curves, wanted)
    assert {name: curves[name][4] for name in final} == pytest.approx(final)
    assert parameters["train.opt"] == "adamw" and parameters["arm"] == "kd"

    curves, parameters = recorded(f"sqlite:///{project}/artifacts/runs/mlflow/mlflow.db", NAME)
    same(curves, wanted)
    assert {name: curves[name][4] for name in final} == pytest.approx(final)
    assert parameters["cache"] == said["cache"] and parameters["train.batch_size"] == "10"

    [file] = (project / "artifacts/runs/wandb").rglob("*.wandb")
    curves, summary = stored(file)
    same(curves, wanted)
    assert {name: summary[name] for name in final} == pytest.approx(final)

    lines = (folder / "plots/metrics/loss.tsv").read_text().splitlines()
    assert len(lines) == 1 + 4
    assert not checkpoints(project, NAME) and not [*(project / "artifacts/.staging").glob("*.attempt")]

    # the same once more: another run, and the folder of TensorBoard shows it alone
    run_in(project, "stillroom", *KD, *STEPS, "--set", "track=[tensorboard]")
    assert len([*(project / "artifacts/runs/tensorboard" / NAME).iterdir()]) == 1
    same(events(project / "artifacts/runs/tensorboard" / NAME)[0], wanted)


def test_a_teacher_is_tracked_and_track_makes_nothing_stale(project: Path) -> None:
    train = ["teacher", "--set", "teacher.train.epochs=2", "--set", "track=[tensorboard]"]
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(f"{params}\ntrack: [tensorboard, mlflow, wandb]\n")
    assert clean(project)
    run_in(project, "stillroom", *train)
    said = json.loads((project / "artifacts/teacher/teacher.json").read_text())
    scores = json.loads((project / "artifacts/teacher/metrics.json").read_text())
    curves, parameters = events(project / "artifacts/runs/tensorboard/teacher")
    same(curves, expected(said["history"]))
    assert {name: curves[f"test_{name}"][2] for name in scores} == pytest.approx(scores)
    assert parameters["arch"] == "convnext_atto" and parameters["train.epochs"] == "2.0"


@pytest.mark.parametrize(("tracker", "package"), [("tensorboard", "tensorboard"), ("mlflow", "sqlalchemy")])
@pytest.mark.parametrize("command", [["teacher"], KD], ids=["teacher", "student"])
def test_a_tracker_that_is_not_installed_is_refused_first(
    finished: Path, tmp_path: Path, tracker: str, package: str, command: list[str]
) -> None:
    shutil.copytree(finished / "artifacts/data", tmp_path / "artifacts/data")
    shutil.copy(finished / "params.yaml", tmp_path)
    words = ("stillroom", *command, "--set", f"track=[{tracker}]")
    done = warm.run(words, tmp_path, environment(), before=f"import sys; sys.modules['{package}'] = None")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert f"pip install 'stillroom[{tracker}]'" in done.stderr and package in done.stderr
    assert {one.name for one in (tmp_path / "artifacts").iterdir()} == {"data"}


def test_wandb_without_a_key_is_refused_first(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(empty))
    done = run_in(empty, "stillroom", "teacher", "--set", "track=[wandb]", code=2)
    assert "no API key" in done.stderr and "WANDB_MODE=offline" in done.stderr


def test_an_unknown_tracker_is_met_with_the_nearest(empty: Path) -> None:
    done = run_in(empty, "stillroom", "prepare", "--set", "track=[tensorbord]", code=2)
    assert "'tensorbord': there is no such tracker" in done.stderr and "tensorboard?" in done.stderr
    done = run_in(empty, "stillroom", "prepare", "--set", "track=[mlflow, mlflow]", code=2)
    assert "names an entry twice: mlflow" in done.stderr


BROKEN = '''
"""Breaks in the second epoch, as where a server goes down."""
from stillroom.trackers import Tracker

class Broken(Tracker):
    PACKAGES = ()

    def __init__(self, place):
        self.seen = 0

    def epoch(self, number, values):
        self.seen += 1
        print(f"epoch {number}: {sorted(values)}", flush=True)
        if self.seen == 2:
            raise ConnectionError("http://ada:secret@tracker.example:5000/api?token=abc is gone")

    def close(self, end):
        print(f"closed: {end}", flush=True)
'''


def test_a_tracker_is_a_file_and_its_failure_costs_one_line(project: Path, tmp_path: Path) -> None:
    changed = environment() | {"PYTHONPATH": copy_library(tmp_path / "library")["PYTHONPATH"]}
    (tmp_path / "library/stillroom/trackers/broken.py").write_text(BROKEN)

    def student(track: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = warm.run(("stillroom", *KD, "--set", f"track={track}"), project, changed | variables)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        return done

    student("[dvclive]")
    whole = weights(project, NAME)
    lines = student("[broken, dvclive]").stdout.splitlines()
    [warning] = [line for line in lines if line.startswith("note: broken")]
    assert "the run goes on" in warning and "secret" not in warning and "token" not in warning
    assert "epoch 2: ['loss', 'loss_labels', 'loss_teacher', 'lr', 'seconds']" in lines
    assert "closed: failed" in lines and "epoch 3:" not in "\n".join(lines)
    assert weights(project, NAME) == whole
    assert len((project / f"artifacts/students/{NAME}/plots/metrics/loss.tsv").read_text().splitlines()) == 5
    said = student("[mlflow]", MLFLOW_TRACKING_URI="http://ada:secret@127.0.0.1:9").stdout
    assert said.count("note: mlflow cannot be written to") == 1 and "secret" not in said
    assert weights(project, NAME) == whole

"""`stillroom bench`: each figure beside its comparison."""

import json
from pathlib import Path

import pytest

from stillroom.benchmarks.stores import memory
from tests.conftest import run_in

KEYS = {"name", "value", "unit", "comparison", "ratio", "goal", "met"}


def test_figures_stand_beside_their_comparisons(tmp_path: Path) -> None:
    command = ["bench", "--only", "plane", "--only", "views", "--only", "bytes", "--repeats", "1"]
    told = json.loads(run_in(tmp_path, "stillroom", *command, "--json").stdout)
    assert told["machine"]["device"] == "cpu" and told["machine"]["cores"] >= 1
    figures = {one["name"]: one for one in told["figures"]}
    assert all(one.keys() >= KEYS for one in figures.values())
    for name in ("reading a plane", "views rendered"):
        one = figures[name]
        other = float(one["comparison"].rsplit(": ", 1)[1])
        assert one["ratio"] == pytest.approx(one["value"] / other, rel=0.01)
    assert figures["bytes a view, float16, 40 classes"]["met"] is True
    assert list(tmp_path.iterdir()) == []


def test_steps_and_stage_one_are_measured(tmp_path: Path) -> None:
    command = ["bench", "--only", "training", "--repeats", "1", "--batch-size", "2", "--json"]
    figures = json.loads(run_in(tmp_path, "stillroom", *command).stdout)["figures"]
    names = [one["name"] for one in figures]
    assert len(set(names)) == len(names) == 5
    assert all(one.keys() >= KEYS and one["value"] > 0 and one["ratio"] > 0 for one in figures)


def test_a_loop_of_ones_own_is_measured_against_ours(tmp_path: Path) -> None:
    command = ["bench", "--only", "loop", "--repeats", "1", "--batch-size", "2", "--json"]
    step, alone = json.loads(run_in(tmp_path, "stillroom", *command).stdout)["figures"]
    assert step["goal"] == "<= 1.05" and not alone["goal"]
    assert all(one.keys() >= KEYS and one["value"] > 0 and one["ratio"] > 0 for one in (step, alone))


def test_clips_are_rendered_and_learned_from(tmp_path: Path) -> None:
    command = ["bench", "--only", "clips", "--repeats", "1", "--batch-size", "70", "--json"]
    figures = {
        one["name"]: one for one in json.loads(run_in(tmp_path, "stillroom", *command).stdout)["figures"]
    }
    assert len(figures) == 8 and all(one.keys() >= KEYS and one["value"] > 0 for one in figures.values())
    # one more backward pass a term takes longer than one in all
    each, none = (figures[f"skd, revise: {name} step, from the cache"]["ratio"] for name in ("each", "none"))
    assert each > none


@pytest.mark.slow
def test_a_student_s_memory_is_measured(tmp_path: Path) -> None:
    one = memory(tmp_path, pictures=40)
    assert one.unit == "MiB" and 100 < one.value < 8000 and one.ratio == pytest.approx(1, abs=0.1)


def test_in_a_finished_project_dvc_is_timed_too(project: Path) -> None:
    said = run_in(project, "stillroom", "bench", "--only", "commands", "--repeats", "1").stdout
    assert "stillroom --help" in said and "dvc status: " in said
    assert said.count(" met ") + said.count(" MISSED ") == 2  # which of them is the machine's affair


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    assert "'views'" in run_in(tmp_path, "stillroom", "bench", "--only", "view", code=2).stderr

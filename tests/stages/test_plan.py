"""`stillroom plan` foretells what `stillroom cache` then does."""

import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stillroom.errors import CacheError
from stillroom.modalities import load_samples
from stillroom.modalities.images.models.create import create
from stillroom.modalities.images.policies.crop import Crop
from stillroom.modalities.images.samples import Sample
from stillroom.modalities.params import load_params
from stillroom.provenance.identity import read_teacher
from stillroom.samples import Samples
from stillroom.teaching.outlook import outlook
from stillroom.teaching.rate import Rate, measure
from stillroom_stages.plan import _students, duration
from tests import tables
from tests.conftest import run_in

BACKENDS = ("zarr", "hdf5")


def planned(folder: Path, *options: str) -> dict[str, Any]:
    """What `plan --json` says: one document, nothing else."""
    return json.loads(run_in(folder, "stillroom", "plan", "--json", *options).stdout)


def everything(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def size_of(folder: Path) -> tuple[int, int]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files)


def test_times_follow_from_what_was_measured(project: Path) -> None:
    before = everything(project)
    found = planned(project)
    assert everything(project) == before  # a plan writes nothing
    per_view = found["seconds_per_view"]
    assert all(0 < per_view[name] < 1 for name in ("decode", "render", "teacher", "stage_one"))
    assert found["seconds"] == pytest.approx(3 * 80 * per_view["stage_one"])
    assert found["views_per_second"] == pytest.approx(1 / per_view["stage_one"])
    assert found["student_epochs"] == 2 * 4  # vit and pvt, the kd arm alone
    assert found["online_seconds_per_epoch"] == pytest.approx(80 * per_view["teacher"])
    assert found["online_seconds"] == pytest.approx(8 * found["online_seconds_per_epoch"])
    assert found["saved_seconds"] == pytest.approx(found["online_seconds"] - found["seconds"])
    pays = found["pays_after_student_epochs"]
    assert pays == math.ceil(found["seconds"] / found["online_seconds_per_epoch"])
    [teacher] = found["teachers"]
    assert (teacher["arch"], teacher["size"], teacher["trained"]) == ("convnext_atto", 32, True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_and_bytes_are_those_of_the_cache_that_is_then_made(project: Path, backend: str) -> None:
    options = ("--set", f"cache.store={backend}", "--set", "views.count=4")
    found = planned(project, *options, "--no-measure")
    run_in(project, "stillroom", "cache", *options)
    files, size = size_of(project / "artifacts/cache")
    assert found["files"] == files
    assert size <= found["bytes_at_most"] < 1.5 * size
    assert found["bytes_per_view_at_most"] == round(found["bytes_at_most"] / (4 * 80), 2)
    assert found["bytes_raw"]["outputs"] == 4 * 80 * 40 * 2
    assert found["bytes_raw"]["parameters"] == 4 * 80 * 12
    assert found["bytes_raw"]["labels"] == 80 * 8
    manifest = (project / "artifacts/cache/manifest.json").stat().st_size
    assert 0.7 * found["bytes_raw"]["manifest"] < manifest <= found["bytes_raw"]["manifest"]


def test_two_teachers_are_counted_both_and_only_those_that_teach_are_online(project: Path) -> None:
    shutil.copytree(project / "artifacts/teacher", project / "other")
    teachers = ("--set", "cache.teachers={logits: artifacts/teacher, more: other}")
    found = planned(project, *teachers, "--set", "cache.encoding=int8")
    run_in(project, "stillroom", "cache", "--replace", *teachers, "--set", "cache.encoding=int8")
    assert found["files"] == size_of(project / "artifacts/cache")[0]
    assert found["bytes_raw"]["outputs"] == 2 * 3 * 80 * (40 + 4)
    assert [one["output"] for one in found["teachers"]] == ["logits", "more"]
    both = 80 * found["seconds_per_view"]["teacher"]
    assert 0.2 * both < found["online_seconds_per_epoch"] < 0.8 * both


@pytest.mark.parametrize(
    ("arms", "taught"),
    [("hard", ["logits"]), ("gm", ["more"]), ("hard, gm", ["logits", "more"]), ("skd", ["logits", "more"])],
)
def test_a_teacher_of_features_is_online_too(finished: Path, arms: str, taught: list[str]) -> None:
    changes = (
        "cache.teachers={logits: artifacts/teacher, more: other, features: {of: more, take: pooled}}",
        "student.losses={hard: {}, gm: {}, skd: {}}",
        f"student.arms=[{arms}]",
    )
    params = load_params(finished / "params.yaml", changes)
    assert _students(params) == (taught, 2 * 4 * len(params.student.arms))


def test_student_epochs_are_families_by_seeds_by_the_epochs_of_arms_with_a_teacher(project: Path) -> None:
    options = ("--set", "student.seeds=[0, 1, 2]", "--set", "student.family_train={pvt: {epochs: 7}}")
    assert planned(project, "--no-measure", *options)["student_epochs"] == 3 * (4 + 7)
    assert planned(project, "--no-measure", "--set", "student.arms=[ce]")["student_epochs"] == 0


def test_without_a_measurement_no_model_is_run(project: Path) -> None:
    (project / "artifacts/teacher/model.safetensors").unlink()
    found = planned(project, "--no-measure")
    assert found["seconds"] is found["seconds_per_view"] is found["pays_after_student_epochs"] is None
    said = run_in(project, "stillroom", "plan", "--no-measure").stdout
    assert "files" in said and "8 epochs" in said and "stage one" not in said
    assert "model.safetensors" in run_in(project, "stillroom", "plan", code=1).stderr


def test_a_plan_needs_no_teacher_yet_and_says_so(project: Path) -> None:
    shutil.rmtree(project / "artifacts/teacher")
    said = run_in(project, "stillroom", "plan", "--set", "cache.encoding=int8").stdout
    assert "untrained" in said and "int8" in said and "pays after" in said
    assert said.isascii()  # plain where there is no terminal


def test_folds_are_planned_as_what_they_cost(project: Path) -> None:
    """K models without a fold each see K - 1 times all; a view of the cache is looked at once."""
    folds = ("--set", "teacher.folds=2", "--set", "teacher.train.epochs=6")
    assert planned(project, *folds)["fitting"] is None  # there is a teacher
    single = planned(project, "--no-measure")
    shutil.rmtree(project / "artifacts/teacher")
    found = planned(project, *folds)
    assert found["teachers"][0]["folds"] == 2
    fitting, per_view = found["fitting"], found["seconds_per_view"]
    assert (fitting["models"], fitting["views"]) == (2, 80 * 6)
    about = 80 * 6 * (per_view["render"] + 3 * per_view["teacher"])
    assert fitting["seconds_about"] == pytest.approx(about)
    assert found["files"] == single["files"]
    whole = planned(project, *folds, "--no-measure", "--set", "teacher.folds_and_whole=true")["fitting"]
    assert whole == {"models": 3, "views": 2 * 80 * 6, "seconds_about": None}
    trunk = planned(project, *folds, "--no-measure", "--set", "teacher.train.freeze=trunk")["fitting"]
    assert trunk == {"models": 2, "views": 80 * 3, "seconds_about": None}
    said = run_in(project, "stillroom", "plan", *folds).stdout
    assert "2 folds" in said and "2 models, 480 views" in said
    many = run_in(project, "stillroom", "plan", "--set", "teacher.folds=3", code=2).stderr
    assert "teacher.folds = 3" in many


def test_help_gives_the_formula(empty: Path) -> None:
    said = run_in(empty, "stillroom", "plan", "--help").stdout
    assert "views x (rendering + teacher) / teacher" in said


# What is wrong


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["teacher.arch=convnext_attoo"], 2, ["convnext_attoo", "convnext_atto"]),
        (["teacher.overrides={depht: 3}"], 2, ["depht"]),
        (["cache.encoding=topk", "cache.k=41"], 1, ["k = 41", "40"]),
        (["cache.encoding={name: packed, k: 41}"], 1, ["k = 41", "40"]),
        (["cache.encoding={name: packed, bits: 9}"], 2, ["bits = 9", "2 to 8"]),
        (["cache.encoding={name: sampled, drawz: 9}"], 2, ["drawz", "draws"]),
        (["student.losses.kd.outputs=[soft]"], 2, ["'soft'", "cache.teachers"]),
        (["views.count=9000", "cache.block_samples=1"], 2, ["720000 blocks", "16 MiB", "block_samples"]),
    ],
)
def test_what_cannot_become_a_cache_is_refused(
    project: Path, options: list[str], code: int, words: list[str]
) -> None:
    shutil.rmtree(project / "artifacts/teacher")
    changes = [part for option in options for part in ("--set", option)]
    said = run_in(project, "stillroom", "plan", *changes, code=code)
    assert all(word in said.stderr for word in words), said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("{", ["JSONDecodeError"]),
        ("[]", ["TypeError"]),
        ({"input": {}}, ["input.size", "None"]),
        ({"input": 3}, ["input.size"]),
        ({"input": {"size": "64"}}, ["input.size", "'64'"]),
        ({"overrides": [1]}, ["overrides", "[1]"]),
        ({"arch": 3}, ["arch = 3"]),
        ({"classes": []}, ["classes"]),
        ({"digest": 0}, ["digest"]),
    ],
)
def test_a_damaged_teacher_is_refused_with_the_field(
    finished: Path, tmp_path: Path, change: str | dict[str, Any], words: list[str]
) -> None:
    whole = json.loads((finished / "artifacts/teacher/teacher.json").read_text())
    file = tmp_path / "teacher.json"
    file.write_text(change if isinstance(change, str) else json.dumps(whole | change))
    with pytest.raises(CacheError) as caught:
        read_teacher(file)
    said = str(caught.value)
    assert all(word in said for word in [str(file), "stillroom teacher", *words]), said


def test_damage_to_the_teacher_ends_a_plan_with_a_message(project: Path) -> None:
    file = project / "artifacts/teacher/teacher.json"
    whole = json.loads(file.read_text())
    file.unlink()  # it may be a link into DVC's cache
    for change, words in (({"input": {}}, "input.size"), ({"digest": "00"}, "does not hold the weights")):
        file.write_text(json.dumps(whole | change))
        assert words in run_in(project, "stillroom", "plan", code=1).stderr


def test_a_plan_without_samples_says_what_to_run_first(empty: Path) -> None:
    assert "stillroom prepare" in run_in(empty, "stillroom", "plan", code=1).stderr


def test_a_plan_without_training_samples_is_refused(project: Path) -> None:
    table = tables.read(project / "artifacts/data")
    for row in table["samples"]:
        row["split"] = "test"
    tables.write(project / "artifacts/data", table)
    assert "no training sample" in run_in(project, "stillroom", "plan", code=1).stderr


# The measurement


def test_measuring_moves_no_global_random_generator(finished: Path) -> None:
    train = load_samples(finished / "artifacts/data").in_splits("train")
    model = create("convnext_atto", 40, {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}, size=64)
    recipe = Crop(scale=(0.5, 1.0))
    threads = torch.get_num_threads()
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]
    measure(model, train, recipe, 0, 32, "none", 32)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert random.getstate() == before[2]
    assert torch.get_num_threads() == threads


def test_images_beyond_what_memory_keeps_are_decoded_for_every_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillroom.teaching.rate.room", lambda: 2**30)
    rate = Rate(decode=0.5, render=1, forward=2, whole=3, first=10)
    row = Sample("a", "a.png", "train", 0, None, (10, 10), "")
    small = Samples("some", ("one",), tuple(replace(row, key=f"{index}") for index in range(4)), Path("."))
    assert rate.seconds(small, 5, 1024, True) == 4 * 10 + 4 * 4 * 3
    large = replace(small, rows=tuple(replace(row, size=(16384, 16384)) for row in small.rows[:3]))  # 768 MiB
    assert rate.seconds(large, 5, 1024, True) == 3 * 10 + 4 * (2 * 10 + 3)
    # a block of them takes nine seconds: five views are computed in one turn, or of slower ones two at once
    assert rate.seconds(large, 5, 1024, False) == 3 * 10 + 4 * 3 * 3
    slow = replace(rate, whole=10)
    assert slow.seconds(large, 5, 1024, False) == 3 * 10 + 2 * 2 * 10 + (5 * 3 - 3 - 2 * 2) * 10


def test_durations_are_said_as_one_speaks_of_them() -> None:
    said = [duration(seconds) for seconds in (0.42, 12.3, 59.7, 185, 3599.6, 9600)]
    assert said == ["0.4 s", "12 s", "1 min 0 s", "3 min 5 s", "1 h 0 min", "2 h 40 min"]


# More devices


def test_blocks_are_divided_among_devices_and_one_assembles_the_store() -> None:
    one, few, many = (outlook(devices, 1000.0, 50.0, 10, 3.6) for devices in (1, 4, 64))
    assert (one.seconds, one.device_hours, one.cost) == (1050, 1050 / 3600, pytest.approx(1.05))
    assert few.seconds == 300 + 50 and few.idle == 0  # three blocks of ten at most
    assert few.device_hours == pytest.approx((4 * 300 + 50) / 3600)
    assert many.seconds == 100 + 50 and many.idle == 54
    assert many.device_hours == pytest.approx((6400 + 50) / 3600), "idle ones are held too"
    assert outlook(4, 1000.0, 50.0, 10, None).cost is None


def test_a_plan_says_what_other_numbers_of_devices_take(finished: Path) -> None:
    found = planned(finished, "--devices", "1", "--devices", "2", "--price", "2.5")
    one, two = found["on_devices"]
    assert one["devices"] == 1 and two["devices"] == 2
    assert one["seconds"] == pytest.approx(found["seconds"] + found["publishing_seconds"])
    assert one["cost"] == pytest.approx(2.5 * one["device_hours"]) and two["seconds"] <= one["seconds"]
    assert found["memory_at_most"] > found["bytes_raw"]["outputs"]
    shown = run_in(finished, "stillroom", "plan", "--price", "2.5").stdout
    assert (
        "on 64" in shown
        and "costs" in shown
        and "get no block" in shown
        and "a process of stage one" in shown
    )


def test_without_a_measurement_nothing_is_said_of_devices(finished: Path) -> None:
    found = planned(finished, "--no-measure")
    assert found["on_devices"] == [] and found["memory_at_most"] is None


@pytest.mark.parametrize("option", [("--devices", "0"), ("--price", "-1")])
def test_devices_and_prices_are_numbers_that_can_be(finished: Path, option: tuple[str, str]) -> None:
    assert option[0] in run_in(finished, "stillroom", "plan", *option, code=2).stderr

"""Skeletons through the real commands: every stage, every loss, the tools, the page."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import stillroom
from stillroom import modalities
from stillroom.cache.read.backends import open_store
from stillroom.errors import ParamsError
from stillroom.provenance.identity import input_of
from tests import tables
from tests.conftest import clean, copy_project, ran, run_in
from tests.stages.test_resume import killed, weights


def student(project: Path, name: str) -> dict[str, Any]:
    return json.loads((project / f"artifacts/students/{name}/student.json").read_text())


@pytest.fixture
def own(skeletons: Path, tmp_path: Path) -> Path:
    return copy_project(skeletons, tmp_path / "project")


def test_dvc_repro_gives_every_promised_file(skeletons: Path) -> None:
    results = json.loads((skeletons / "artifacts/report/results.json").read_text())
    assert [row["arm"] for row in results["rows"]] == ["ce", "kd", "gm", "skd"]
    assert results["words"] == {"samples": "clips", "inputs": "skeletons"}
    assert results["corruption"]["name"] == "joint_loss" and results["corruption"]["joints"] == 5
    corrupted = results["teacher"]["corrupted"]
    assert set(corrupted) == {
        *("accuracy", "mAP", "top5", "calibration_error", "balanced_accuracy", "macro_f1")
    }
    levels = results["levels"]
    assert levels["key"] == "joints" and levels["values"] == [0, 5]
    # nothing is lost at level 0: the teacher is what it is on clean clips
    assert levels["teacher"][0] == results["teacher"]["accuracy"]
    assert set(levels["students"]["stgcn"]) == {"ce", "kd", "gm", "skd"}
    text = (skeletons / "artifacts/report/results.md").read_text()
    for line in ("| teacher, on what students see |", "## Accuracy over joints", "joint_loss (joints 5)"):
        assert line in text


def test_arms_differ_in_the_target_alone(skeletons: Path) -> None:
    records = [student(skeletons, f"stgcn-{arm}-0") for arm in ("ce", "kd", "gm", "skd")]
    for one in records[1:]:
        assert one["digests"] == records[0]["digests"]
        assert set(one["digests"]) == {"init", "order", "skeletons"}
        for section in ("model", "train", "corruption"):
            assert one["config"][section] == records[0]["config"][section]
    # each was given what its loss needs, and no more
    assert [set(one["cache_parts"]) for one in records] == [
        {"data"},
        {"data", "logits"},
        {"data", "features"},
        {"data", "logits", "features"},
    ]
    assert len({weights(skeletons, f"stgcn-{arm}-0") for arm in ("ce", "kd", "gm", "skd")}) == 4


def test_conflicts_of_gradients_are_logged(skeletons: Path) -> None:
    history = student(skeletons, "stgcn-skd-0")["history"]
    assert all(0 <= epoch["conflict"] <= 1 for epoch in history)
    assert len(history[0]["terms"]) == 4
    assert "conflict" not in student(skeletons, "stgcn-kd-0")["history"][0]


def test_the_cache_holds_logits_and_nodes(skeletons: Path) -> None:
    store = open_store(skeletons / "artifacts/cache")
    held = store.manifest.identity["outputs"]
    assert held["features"]["kind"] == "features" and held["features"]["take"] == "pooled"
    nodes = store.logits(0, "features")
    assert nodes.shape[0] == 56 and nodes.shape[2] == 13 and nodes.std() > 0
    assert store.logits(0).shape == (56, 14)
    assert set(store.parameters(0)) >= {"start", "length", "mirror"}


def test_the_page_shows_moving_skeletons_without_script(skeletons: Path) -> None:
    page = (skeletons / "artifacts/report/index.html").read_text()
    assert "<script" not in page
    assert "What students saw" in page and "How much students see" in page
    assert "acTL" not in page and page.count("data:image/png;base64,") >= 3 * 3 + 3 * 2


def test_a_picture_moves(skeletons: Path) -> None:
    import base64
    import re

    page = (skeletons / "artifacts/report/index.html").read_text()
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    assert all(b"acTL" in base64.b64decode(one)[:200] for one in pictures)


def test_dvc_trains_students_alone_when_their_corruption_changes(own: Path) -> None:
    assert clean(own)
    file = own / "params.yaml"
    file.write_text(file.read_text().replace("joints: 5,", "joints: 9,"))
    done = set(ran(run_in(own, "dvc", "repro").stdout))
    assert done == {*(f"student@stgcn-{arm}-0" for arm in ("ce", "kd", "gm", "skd")), "report"}
    assert student(own, "stgcn-kd-0")["config"]["corruption"]["joints"] == 9


def test_the_teacher_is_measured_on_what_students_see(own: Path) -> None:
    all_lost = "student.corruption={name: joint_loss, joints: 12, draws: 2}"
    for arm in ("ce", "kd"):
        run_in(own, "stillroom", "student", "--family", "stgcn", "--arm", arm, "--set", all_lost)
    run_in(own, "stillroom", "report", "--set", all_lost, "--set", "student.arms=[ce, kd]")
    results = json.loads((own / "artifacts/report/results.json").read_text())
    before = json.loads((own / "artifacts/teacher/metrics.json").read_text())
    assert results["teacher"]["accuracy"] == before["accuracy"]
    assert results["teacher"]["corrupted"]["mAP"] != before["mAP"]
    (own / "artifacts/teacher/model.safetensors").unlink()  # a teammate has its record alone
    run_in(own, "stillroom", "report", "--set", all_lost, "--set", "student.arms=[ce, kd]")
    results = json.loads((own / "artifacts/report/results.json").read_text())
    assert "corrupted" not in results["teacher"] and results["levels"]["teacher"] is None


def test_a_killed_student_ends_with_the_same_bits(own: Path) -> None:
    skd = ["student", "--family", "stgcn", "--arm", "skd", "--set", "student.train.batch_size=8"]
    run_in(own, "stillroom", *skd)
    whole, history = weights(own, "stgcn-skd-0"), student(own, "stgcn-skd-0")["history"]
    for count in (1, 5):
        killed(own, skd, "stgcn-skd-0", count)
    assert "resumed: " in run_in(own, "stillroom", *skd).stdout
    assert weights(own, "stgcn-skd-0") == whole
    again = student(own, "stgcn-skd-0")["history"]
    assert [one["conflict"] for one in again] == [one["conflict"] for one in history]


def test_the_cache_is_what_the_teacher_says_now(own: Path) -> None:
    run_in(own, "stillroom", "store", "verify")
    assert json.loads(run_in(own, "stillroom", "store", "audit", "--json").stdout)["ok"]
    run_in(own, "stillroom", "student", "--family", "stgcn", "--arm", "skd", "--online")
    cached, online = student(own, "stgcn-skd-0"), student(own, "stgcn-skd-0-online")
    for name in ("init", "skeletons"):
        assert cached["digests"][name] == online["digests"][name]
    for name, value in cached["history"][0]["terms"].items():
        assert abs(value - online["history"][0]["terms"][name]) < 2e-3


def test_the_tools_work_on_clips(own: Path) -> None:
    said = run_in(own, "stillroom", "plan").stdout
    assert "stgcn at 16 frames" in said
    table = tables.read(own / "artifacts/data")["samples"]
    key = next(one["key"] for one in table if one["split"] == "train")
    shown = json.loads(run_in(own, "stillroom", "store", "show", key, "--out", "sheet.png", "--json").stdout)
    assert len(shown["views"]) == 3 and set(shown["views"][0]) >= {"start", "length", "mirror", "top"}
    assert (own / "sheet.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads(run_in(own, "stillroom", "store", "info", "--json").stdout)["outputs"]["features"]


def test_predict_says_what_the_evaluation_says(own: Path) -> None:
    run_in(own, "stillroom", "student", "--family", "stgcn", "--arm", "kd", "--set", "student.corruption={}")
    table = tables.read(own / "artifacts/data")
    test = [one for one in table["samples"] if one["split"] == "test"]
    samples = modalities.load_samples(own / "artifacts/data")
    files = []
    for one in test:  # clips lie in few files: one alone is its part of one
        file = own / f"{len(files)}.npy"
        file.write_bytes(samples.content(samples.rows[samples.row_of(one["key"])]))
        files.append(file.name)
    done = run_in(own, "stillroom", "predict", "--student", "artifacts/students/stgcn-kd-0", "--json", *files)
    answers = [one["top"][0]["class"] for one in json.loads(done.stdout)]
    logits = load_file(own / "artifacts/students/stgcn-kd-0/predictions.safetensors")["logits"]
    assert answers == [table["classes"][one] for one in logits.argmax(axis=1)]


def test_clips_lie_in_few_files_and_those_of_earlier_versions_go(own: Path) -> None:
    clips = own / "artifacts/data/clips"
    assert [file.name for file in clips.iterdir()] == ["00000.npys"]
    before = (clips / "00000.npys").read_bytes()
    (clips / "ab").mkdir()
    for name in ("clip_000.npy", "ab/clip_001.npy", "mine.txt"):
        (clips / name).write_text("old")
    said = run_in(own, "stillroom", "prepare", "--pack", "packed", code=2).stderr
    assert "clips cannot be packed" in said and "few files already" in said
    run_in(own, "stillroom", "prepare")
    assert sorted(file.name for file in clips.iterdir()) == ["00000.npys", "mine.txt"]
    assert (clips / "00000.npys").read_bytes() == before


def test_a_loop_of_ones_own_has_keypoints_and_no_size(
    skeletons: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(skeletons)
    items = stillroom.CachedDataset("artifacts/cache")
    store = open_store("artifacts/cache")
    spec = input_of(store.manifest)
    assert items[0]["keypoints"].shape[:3] == (spec["persons"], spec["frames"], 13)
    assert items[0]["teacher_logits"].tolist() == store.logits(0)[0].tolist()
    with pytest.raises(ParamsError, match=r"size = 32: clips have no size(.|\n)*leave size out"):
        stillroom.CachedDataset("artifacts/cache", size=32)


def test_other_families_and_streams_train_from_the_same_cache(own: Path) -> None:
    for family in ("shiftgcn", "ctrgcn", "spacetime"):
        run_in(
            own, "stillroom", "student", "--family", family, "--arm", "skd", "--set", "student.train.epochs=1"
        )
        assert student(own, f"{family}-skd-0")["arch"] == family
    run_in(
        own, "stillroom", "student", "--family", "stgcn", "--arm", "kd", "--set", "student.model.stream=bone"
    )
    assert student(own, "stgcn-kd-0")["input"]["stream"] == "bone"


def test_teachers_of_several_streams_are_outputs_of_one_cache(own: Path) -> None:
    shutil.move(own / "artifacts/teacher", own / "joint")
    run_in(own, "stillroom", "teacher", "--set", "teacher.stream=bone")
    shutil.move(own / "artifacts/teacher", own / "bone")
    both = "cache.teachers={logits: joint, bone: bone, features: {take: pooled}}"
    run_in(own, "stillroom", "cache", "--replace", "--set", both)
    taught = ("--set", both, "--set", "student.losses.kd={outputs: [logits, bone]}")
    run_in(own, "stillroom", "student", "--family", "stgcn", "--arm", "kd", *taught)
    assert set(student(own, "stgcn-kd-0")["cache_parts"]) == {"data", "logits", "bone"}


def test_what_is_wrong_is_named(own: Path) -> None:
    def refused(*words: str, code: int = 2) -> str:
        done = run_in(own, "stillroom", *words, code=code)
        return done.stdout + done.stderr

    kd = ("student", "--family", "stgcn", "--arm", "kd")
    assert "there is no such corruption" in refused(*kd, "--set", "student.corruption={name: joint_los}")
    said = refused("student", "--family", "stgnc", "--arm", "ce")
    assert "stgnc" in said and "stgcn" in said
    said = refused("cache", "--replace", "--set", "cache.teachers.features={take: deep}")
    assert "stgcn has no features 'deep'" in said and "pooled" in said
    alone = ("--set", "cache.teachers={logits: artifacts/teacher}")
    said = refused("cache", "--replace", *alone)  # before the teacher is asked
    assert "the loss gm needs the features 'features'" in said
    run_in(own, "stillroom", "cache", "--replace", *alone, "--set", "student.arms=[ce, kd]")
    said = refused("student", "--family", "stgcn", "--arm", "gm", code=1)
    assert "no features" in said and "run `stillroom cache`" in said and "take: LAYER" in said
    said = refused(
        "report",
        "--set",
        "student.corruption={name: swap, share: 0.5}",
        "--set",
        "report.levels={nonsense: [1]}",
    )
    assert "report.levels.nonsense = 1" in said and "unknown key student.corruption.nonsense" in said
    said = refused(
        "student",
        "--family",
        "stgcn",
        "--arm",
        "ce",
        "--set",
        "student.corruption={name: joint_loss, joints: 13}",
    )
    assert "joints" in said and "13" in said


def test_a_table_that_the_parameters_would_not_give_is_refused(own: Path) -> None:
    table = tables.read(own / "artifacts/data")

    def refused(code: int, *settings: str, **changed: Any) -> str:
        rows = [dict(one) for one in table["samples"]]
        rows[0] |= changed
        tables.write(own / "artifacts/data", table | {"samples": rows})
        options = [part for one in settings for part in ("--set", one)]
        kd = ("student", "--family", "stgcn", "--arm", "kd", *options)
        return run_in(own, "stillroom", *kd, code=code).stderr

    assert "is damaged" in refused(1, path="clips/\0.npy")
    assert "is damaged" in refused(1, layout="coco17")  # which has other joints than the row says
    other = {"layout": "coco17", "joints": 17}
    assert "17 joints of coco17 in 2 dimensions, and the parameters say 13 joints of penn13" in refused(
        2, **other
    )


def test_a_teacher_of_other_data_is_refused(own: Path, finished: Path) -> None:
    images = f"cache.teachers={{logits: {finished / 'artifacts/teacher'}}}"
    for command in (("cache", "--replace"), ("plan",)):
        said = run_in(
            own, "stillroom", *command, "--set", images, "--set", "student.arms=[ce]", code=1
        ).stderr
        assert "holds a teacher of images, and the samples are skeletons" in said


def test_hints_say_what_would_work(own: Path) -> None:
    def refused(*settings: str) -> str:
        options = [part for one in settings for part in ("--set", one)]
        return run_in(own, "stillroom", "plan", *options, code=2).stderr

    said = refused("data.name=sketch_skeleton")
    assert "did you mean sketch_skeletons?" in said and "teacher.size" not in said
    said = refused("data={name: sketch40}")
    assert "unknown key teacher.size; data.name = NAME says which keys there are" in said
    assert "student.corruption.joints is missing" in refused("student.corruption={name: joint_loss}")
    said = refused("data={name: poses, path: x, layout: 5}")
    assert "data.layout = 5: " in said and "data.layout.str" not in said
    said = refused("report.levels={joints: [13]}")
    assert "report.levels.joints = 13: " in said


def test_another_corruption_needs_no_other_levels(own: Path) -> None:
    """Curves over a number of one corruption are left out under another, with a note."""
    jitter = ("--set", "student.corruption={name: jitter, size: 0.2}", "--set", "student.arms=[ce, kd]")
    for arm in ("ce", "kd"):
        run_in(own, "stillroom", "student", "--family", "stgcn", "--arm", arm, *jitter)
    done = run_in(own, "stillroom", "report", *jitter)
    assert "no curves over report.levels.joints: the corruption jitter has none" in done.stdout + done.stderr
    assert "levels" not in json.loads((own / "artifacts/report/results.json").read_text())


def test_the_terminal_shows_every_arm(skeletons: Path) -> None:
    said = run_in(skeletons, "stillroom", "report", "--show").stdout
    lines = [line.split() for line in said.splitlines()]
    assert [line[0] for line in lines if line and line[0] in ("gm", "skd")] == ["gm", "skd"]


def test_seeds_that_were_trained_otherwise_are_no_mean(own: Path) -> None:
    def refused(*settings: str) -> str:
        options = [part for one in settings for part in ("--set", one)]
        for arm in ("ce", "kd"):
            student = ("student", "--family", "stgcn", "--arm", arm, "--seed", "1")
            run_in(own, "stillroom", *student, *options)
        seeds = ("--set", "student.seeds=[0, 1]", "--set", "student.arms=[ce, kd]")
        return run_in(own, "stillroom", "report", *seeds, code=1).stderr

    said = refused("student.train.labelled=0.5", "student.model.frames=8")
    assert "arms cannot be compared" in said
    assert "stgcn-ce-0 and stgcn-ce-1: config.train.labelled is 1.0 and 0.5" in said
    assert "config.model.frames is None and 8" in said or "config.model.frames is" in said
    said = refused("student.losses.kd.temperature=3.0")
    assert "stgcn-kd-0 and stgcn-kd-1: config.loss.temperature" in said and "stgcn-ce" not in said


def test_features_that_a_student_could_not_match_are_refused_before_they_are_made(own: Path) -> None:
    before = (own / "artifacts/cache/manifest.json").read_bytes()

    def refused(*settings: str) -> str:
        options = [part for one in settings for part in ("--set", one)]
        return run_in(own, "stillroom", "cache", "--replace", *options, code=2).stderr

    said = refused("cache.teachers.features={take: full}", "student.model.frames=8")
    assert "are not of the same nodes" in said
    alone = "student.losses.gm={nodes: 1.0, edges: 0.0}"
    assert "graph matching has nothing to match" in refused("cache.teachers.features={take: edges}", alone)
    assert (own / "artifacts/cache/manifest.json").read_bytes() == before


def test_other_features_than_the_cache_holds_are_refused_and_idle_weights_said(own: Path) -> None:
    gm = ("student", "--family", "stgcn", "--arm", "gm")
    edges = ("--set", "cache.teachers.features={take: edges}")
    said = run_in(own, "stillroom", *gm, *edges, code=1).stderr
    assert "outputs.features.take" in said and "pooled" in said and "edges" in said
    run_in(own, "stillroom", "cache", "--replace", *edges)
    weights_ = ("--set", "student.losses.gm={nodes: 1.0, edges: 3.0}")
    run_in(own, "stillroom", *gm, *edges, *weights_)
    (note,) = student(own, "stgcn-gm-0")["notes"]
    assert note == "note: student.losses.gm.nodes has no effect on features of the shape [78]"


def test_streams_of_nothing_are_refused(own: Path) -> None:
    def refused(*settings: str) -> str:
        options = [part for one in settings for part in ("--set", one)]
        return run_in(own, "stillroom", "teacher", *options, code=2).stderr

    assert "the stream motion of one frame is nothing" in refused("teacher.stream=motion", "views.size=1")


HAND = {
    "joints": ["wrist", "thumb", "index", "middle"],
    "bones": [["thumb", "wrist"], ["index", "wrist"], ["middle", "wrist"]],
    "left_right": [],
    "centre": ["wrist"],
}


def test_another_layout_of_the_same_joints_is_another(skeletons: Path, tmp_path: Path) -> None:
    """A changed bone, pair or centre is noticed by `prepare`'s table, and by every command after it."""
    project = copy_project(skeletons, tmp_path / "project")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for label in "ab":
            folder = tmp_path / "hands" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                np.save(folder / f"{number}.npy", rng.normal(size=(12, 1, 4, 2)) + (label == "b"))

    def settings(**changed: Any) -> tuple[str, str]:
        data = {"name": "poses", "path": str(tmp_path / "hands"), "layout": HAND | changed}
        return "--set", f"data={json.dumps(data)}"

    small = (
        "--set",
        "student.corruption={name: joint_loss, joints: 1}",
        "--set",
        "report.levels={}",
        "--set",
        "student.arms=[ce, kd]",
    )
    short = ("--set", "teacher.train.epochs=1", "--set", "teacher.train.batch_size=4", *small)
    batch = ("--set", "student.train.batch_size=4", "--set", "student.train.epochs=1", *short)
    run_in(project, "stillroom", "prepare", *settings(), *batch)
    before = (project / "artifacts/data/samples.parquet").read_bytes()
    run_in(project, "stillroom", "teacher", *settings(), *batch)
    run_in(project, "stillroom", "cache", "--replace", *settings(), *batch)
    other = settings(left_right=[["thumb", "index"]], centre=["middle"])
    kd = ("student", "--family", "stgcn", "--arm", "kd")
    for command in (("cache",), kd, ("plan", "--no-measure")):
        said = run_in(project, "stillroom", *command, *other, *batch, code=2).stderr
        assert "`stillroom prepare` was run with other parameters" in said
    run_in(project, "stillroom", "prepare", *other, *batch)
    assert (project / "artifacts/data/samples.parquet").read_bytes() != before
    for command in (("cache", "--replace"), kd, ("plan", "--no-measure")):
        said = run_in(project, "stillroom", *command, *other, *batch, code=1).stderr
        assert "the teacher saw joints of own-" in said and "run `stillroom teacher`" in said
    run_in(project, "stillroom", "prepare", *settings(), *batch)
    assert (project / "artifacts/data/samples.parquet").read_bytes() == before
    run_in(project, "stillroom", *kd, *settings(), *batch)


def test_no_joint_is_shown_that_was_lost(own: Path) -> None:
    """Garbage where joints are lost changes no input of a student: centre and size included."""
    from stillroom.modalities.base import ViewRequest

    samples = modalities.load_samples(own / "artifacts/data")
    modality = modalities.get("skeletons")
    reader = modality.reader(samples)
    corruption = modality.corruption({"name": "joint_loss", "joints": 6})
    assert corruption is not None
    row = samples.rows[0]
    spec = {"frames": 16, "persons": 1, "dims": 2, "layout": "penn13"}
    request = corruption.request(ViewRequest(row, modality.evaluation(row)), 3)
    seen = modality.render(reader, request, spec)
    lost = ~(seen[0, :, :, -1] > 0).any(axis=0)
    assert lost.sum() >= 6

    class Changed:
        def __getitem__(self, sample: Any) -> np.ndarray:
            clip = reader[sample].copy()
            clip[:, :, lost, :2] += 1000.0
            return clip

    np.testing.assert_array_equal(modality.render(Changed(), request, spec), seen)  # type: ignore[arg-type]

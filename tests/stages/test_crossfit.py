"""Cross-fitted teachers: each sample is taught by a model that was not fitted to it, by the real commands."""

import copy
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from stillroom import modalities
from stillroom.cache.read.backends import open_store
from stillroom.folds import divide
from stillroom.modalities import load_samples
from stillroom.modalities.params import load_params
from stillroom.provenance.identity import read_teacher
from stillroom.provenance.teacher import load_teacher
from tests import tables
from tests.conftest import TINY, clean, copy_project, ran, run_in
from tests.stages.test_resume import checkpoints, killed

COUNT = 3
KD = ("student", "--family", "pvt", "--arm", "kd")
PARAMS = (
    TINY.replace("train_per_class: 2", "train_per_class: 4")
    .replace("  arch: convnext_atto\n", f"  arch: convnext_atto\n  folds: {COUNT}\n  folds_and_whole: true\n")
    .replace("{epochs: 1, batch_size: 40", "{epochs: 3, batch_size: 40")
    .replace("families: [vit, pvt]", "families: [pvt]")
    .replace("{epochs: 4, batch_size: 40, warmup_epochs: 1", "{epochs: 2, batch_size: 40, warmup_epochs: 0")
)


@pytest.fixture(scope="module")
def made(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after `dvc repro` with folds. Not to be changed."""
    folder = tmp_path_factory.mktemp("crossfit") / "project"
    copy_project(finished, folder)
    (folder / "params.yaml").write_text(PARAMS)
    shutil.rmtree(folder / "artifacts/.staging")
    run_in(folder, "dvc", "repro")
    return folder


@pytest.fixture
def crossfit(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return copy_project(made, tmp_path / "project")


def described(project: Path) -> dict:
    return json.loads((project / "artifacts/teacher/teacher.json").read_text())


def models(project: Path) -> list[bytes]:
    return [(project / f"artifacts/teacher/fold-{fold}.safetensors").read_bytes() for fold in range(COUNT)]


def test_a_model_is_fitted_to_the_other_folds_alone(crossfit: Path) -> None:
    """Without the pictures of its own fold a model is fitted; the next one, which needs them, is not."""
    train = load_samples(crossfit / "artifacts/data").in_splits("train")
    gone = train.rows[divide(train, COUNT, 0).rows(0)[0]]
    train.file(gone).unlink()
    done = run_in(crossfit, "stillroom", "teacher", code=1)
    assert "teacher fold-0 convnext_atto: 9 of 9 steps" in done.stdout and gone.path in done.stderr
    assert "fold-1 convnext_atto: 9 of 9" not in done.stdout


def test_each_row_is_what_the_model_of_its_fold_says_of_its_view(made: Path) -> None:
    from stillroom.modalities.images import MODALITY

    store = open_store(made / "artifacts/cache")
    train = load_samples(made / "artifacts/data").in_splits("train")
    teacher = load_teacher(made / "artifacts/teacher", described(made), train)
    assert teacher.folds is not None
    reader, views = MODALITY.reader(train), MODALITY.stored(store.parameters(1), train)
    import torch

    raw = torch.from_numpy(
        np.stack([MODALITY.render(reader, views[row], teacher.spec) for row in range(len(train))])
    )
    with torch.inference_mode():
        said = [model.run(raw, "none")["logits"].numpy() for model in (one for one in teacher.models)]
    held = store.logits(1)
    for row, fold in enumerate(teacher.folds.of_row):
        assert np.allclose(held[row], said[fold][row], atol=2e-3)
        others = [abs(held[row] - said[other][row]).max() for other in range(COUNT) if other != fold]
        assert min(others) > 2e-3


def test_the_identity_names_models_seed_and_folds(made: Path) -> None:
    record = described(made)
    (held,) = open_store(made / "artifacts/cache").manifest.identity["outputs"].values()
    train = load_samples(made / "artifacts/data").in_splits("train")
    folds = divide(train, COUNT, 0)
    assert held["teacher"]["folds"] == {
        "count": COUNT, "seed": 0, "digest": folds.digest, "models": record["folds"]["models"]
    }  # fmt: skip
    assert held["teacher"]["digest"] == record["digest"] and len(set(record["folds"]["models"])) == COUNT


def test_what_it_knows_of_samples_it_saw_and_did_not_see_is_recorded(made: Path) -> None:
    folds = described(made)["folds"]
    assert folds["samples"] == [
        160 - len(divide(load_samples(made / "artifacts/data").in_splits("train"), COUNT, 0).rows(fold))
        for fold in range(COUNT)
    ]
    for name in ("in_fold", "out_of_fold"):
        assert len(folds[name]["per_class"]) == 40
        assert np.mean(list(folds[name]["per_class"].values())) == pytest.approx(
            folds[name]["accuracy"], abs=0.01
        )


def test_a_run_killed_in_a_fold_goes_on_there_to_the_same_bits(crossfit: Path) -> None:
    before, whole = models(crossfit), (crossfit / "artifacts/teacher/model.safetensors").read_bytes()
    killed(crossfit, ["teacher"], "teacher.fold-2", 4)
    said = run_in(crossfit, "stillroom", "teacher").stdout
    assert said.count("resumed: 3 of 3 epochs") == 2 and re.search(r"resumed: [12] of 3 epochs", said)
    assert models(crossfit) == before
    assert (crossfit / "artifacts/teacher/model.safetensors").read_bytes() == whole
    assert not checkpoints(crossfit, "teacher*")


def test_two_processes_share_the_folds_and_make_the_same_models(crossfit: Path) -> None:
    before = described(crossfit)["folds"]["models"]
    shutil.rmtree(crossfit / "artifacts/teacher")
    start = ["torchrun", "--no-python", "--nproc-per-node=2", "stillroom"]
    said = run_in(crossfit, *start, "teacher").stdout
    assert described(crossfit)["folds"]["models"] == before
    assert said.count("resumed: 3 of 3 epochs") == 4  # each was fitted once, by one of the two


def test_folds_that_changed_are_refused_with_both(crossfit: Path) -> None:
    groups = crossfit / "groups.csv"
    rows = load_samples(crossfit / "artifacts/data").in_splits("train").rows
    lines = [f"{row.path.removeprefix('sketch40/')},g{number // 2}" for number, row in enumerate(rows)]
    groups.write_text("\n".join(["file,group", *lines]))
    run_in(crossfit, "stillroom", "prepare", "--set", "data.groups=groups.csv")
    for command in (["cache"], ["cache", "--replace"], ["store", "audit"]):
        said = run_in(crossfit, "stillroom", *command, code=1).stderr
        assert "fitted in other folds" in said and "stillroom teacher" in said
        assert described(crossfit)["folds"]["digest"][:16] in said


def test_a_table_of_groups_may_name_what_is_left_out(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for number in range(2):
                file = tmp_path / "photos" / split / label / f"{number}.png"
                Image.new("RGB", (20, 20), (number, len(label) * ord(label[0]) % 256, len(split))).save(file)
    (tmp_path / "params.yaml").write_text(
        "data: {name: folder, path: photos, skip: skip.txt, groups: groups.csv}\n"
    )
    (tmp_path / "skip.txt").write_text("train/cat/1.png\n")
    table = "file,group\ntrain/cat/1.png,ada\ntrain/dog/0.png,ada\n"
    (tmp_path / "groups.csv").write_text(table)
    run_in(tmp_path, "stillroom", "prepare")
    groups = {
        row.key: row.group for row in load_samples(tmp_path / "artifacts/data", tmp_path / "photos").rows
    }
    assert groups.pop("train/dog/0") == "ada" and set(groups.values()) == {""} and "train/cat/1" not in groups
    (tmp_path / "groups.csv").write_text(table + "train/cat/9.png,ben\n")
    said = run_in(tmp_path, "stillroom", "prepare", code=1).stderr
    assert "train/cat/9.png" in said and "train/cat/1.png" not in said


@pytest.mark.parametrize("fault", ["missing", "exchanged"])
def test_a_model_that_is_missing_or_another_is_named(crossfit: Path, fault: str) -> None:
    folder = crossfit / "artifacts/teacher"
    (folder / "fold-1.safetensors").unlink()
    if fault == "exchanged":
        shutil.copy(folder / "fold-0.safetensors", folder / "fold-1.safetensors")
    before = (crossfit / "artifacts/cache/manifest.json").read_bytes()
    said = run_in(crossfit, "stillroom", "cache", "--replace", "--set", "views.count=4", code=1).stderr
    assert "fold-1.safetensors" in said
    assert (crossfit / "artifacts/cache/manifest.json").read_bytes() == before


def test_another_teacher_than_the_cache_s_is_refused(crossfit: Path) -> None:
    run_in(crossfit, "stillroom", "teacher", "--set", "teacher.seed=1")
    run_in(crossfit, "stillroom", *KD, code=1)
    said = run_in(crossfit, "stillroom", "cache", code=1).stderr
    assert "outputs.logits.teacher.folds.seed" in said or "outputs.logits.teacher.digest" in said


def test_folds_changed_under_a_cache_are_refused_with_both_values(crossfit: Path) -> None:
    run_in(crossfit, "stillroom", "teacher", "--set", "teacher.folds=2")
    before = (crossfit / "artifacts/cache/manifest.json").read_bytes()
    for command in (["cache"], [*KD], ["store", "audit"]):
        said = run_in(crossfit, "stillroom", *command, code=1).stderr
        assert re.search(r"teacher\.folds\.count\D+[23]\D+[23]\b", said), said
    assert (crossfit / "artifacts/cache/manifest.json").read_bytes() == before


def test_growth_repair_audit_and_the_other_format_keep_who_is_asked(crossfit: Path) -> None:
    before = open_store(crossfit / "artifacts/cache")
    logits = [before.logits(view) for view in range(3)]
    said = run_in(crossfit, "stillroom", "cache", "--set", "views.count=4").stdout
    assert "160 of 160 views" in said
    grown = open_store(crossfit / "artifacts/cache")
    assert all(np.array_equal(grown.logits(view), logits[view]) for view in range(3))
    assert "the cache holds what this teacher says" in run_in(crossfit, "stillroom", "store", "audit").stdout
    part = next(
        file
        for file in (crossfit / "artifacts/cache/logits").rglob("*")
        if file.is_file() and file.name == "0"
    )
    part.write_bytes(part.read_bytes()[:-9])
    run_in(crossfit, "stillroom", "store", "verify", code=1)
    run_in(crossfit, "stillroom", "store", "repair")
    mended = open_store(crossfit / "artifacts/cache")
    assert all(np.array_equal(mended.logits(view), logits[view]) for view in range(3))
    run_in(crossfit, "stillroom", "store", "convert", "artifacts/cache", "h5", "--to", "hdf5")
    assert open_store(crossfit / "h5").manifest.id == grown.manifest.id


def test_mixed_views_are_of_one_fold(crossfit: Path) -> None:
    """So that the model that is asked knows neither of the two."""
    mixing = ["--set", "views.recipe={name: crop, mixup: 0.8, cutmix: 1.0}"]
    run_in(crossfit, "stillroom", "cache", "--replace", *mixing)
    store = open_store(crossfit / "artifacts/cache")
    train = load_samples(crossfit / "artifacts/data").in_splits("train")
    folds, partners = divide(train, COUNT, 0).of_row, set()
    for view in range(3):
        fields = store.parameters(view)
        for row in np.flatnonzero(fields["mix_share"]):
            assert folds[fields["mix_partner"][row]] == folds[row] and fields["mix_partner"][row] != row
            partners.add(int(fields["mix_partner"][row]))
    assert len(partners) > 80
    run_in(crossfit, "stillroom", *KD, *mixing)
    assert (
        "the cache holds what this teacher says"
        in run_in(crossfit, "stillroom", "store", "audit", *mixing).stdout
    )
    cached = json.loads((crossfit / "artifacts/students/pvt-kd-0/student.json").read_text())
    run_in(crossfit, "stillroom", *KD, "--online", *mixing)
    online = json.loads((crossfit / "artifacts/students/pvt-kd-0-online/student.json").read_text())
    assert online["digests"]["pixels"] == cached["digests"]["pixels"]
    losses = [[epoch["loss"] for epoch in one["history"]] for one in (cached, online)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


def test_mixing_with_teachers_of_other_folds_is_refused(crossfit: Path) -> None:
    shutil.copytree(crossfit / "artifacts/teacher", crossfit / "other")
    run_in(crossfit, "stillroom", "teacher", "--set", "teacher.seed=1")
    both = ["--set", "cache.teachers={logits: artifacts/teacher, second: other}"]
    mixing = ["--set", "views.recipe={name: crop, mixup: 0.8}"]
    said = run_in(crossfit, "stillroom", "cache", "--replace", *both, *mixing, code=2).stderr
    assert "have not the same folds" in said
    run_in(crossfit, "stillroom", "cache", "--replace", *both)
    assert set(open_store(crossfit / "artifacts/cache").manifest.identity["outputs"]) == {"logits", "second"}


def test_without_a_model_of_all_the_folds_answer_together(crossfit: Path) -> None:
    run_in(crossfit, "stillroom", "teacher", "--set", "teacher.folds_and_whole=false")
    assert not (crossfit / "artifacts/teacher/model.safetensors").exists()
    assert described(crossfit)["folds"]["whole"] is None
    run_in(crossfit, "stillroom", "cache")
    said = run_in(
        crossfit,
        "stillroom",
        "predict",
        "artifacts/data/samples.parquet",
        "--student",
        "artifacts/teacher",
        code=1,
    )
    assert "folds" in said.stderr
    run_in(crossfit, "stillroom", "report")


def test_as_many_folds_as_a_class_has_samples_and_no_more(crossfit: Path) -> None:
    said = run_in(crossfit, "stillroom", "teacher", "--set", "teacher.folds=5", code=2).stderr
    assert "teacher.folds = 5" in said and "40 classes have fewer training samples" in said


def test_an_adopted_model_cannot_be_cross_fitted(crossfit: Path) -> None:
    shutil.copy(crossfit / "artifacts/teacher/model.safetensors", crossfit / "given.safetensors")
    adopt = ["--set", "teacher.weights=given.safetensors", "--set", "teacher.train.epochs=0"]
    said = run_in(crossfit, "stillroom", "teacher", *adopt, code=2).stderr
    assert "teacher.folds = 3" in said and "freeze" in said


def test_a_head_alone_leaves_the_trunk_as_it_is(crossfit: Path) -> None:
    shutil.copy(crossfit / "artifacts/teacher/model.safetensors", crossfit / "given.safetensors")
    head = ["--set", "teacher.weights=given.safetensors", "--set", "teacher.train.freeze=trunk"]
    said = run_in(crossfit, "stillroom", "teacher", *head).stdout
    assert said.count("features: ") == 1 and "a head with penalty" in said
    assert said.count("test split: ") == 1 and "fold 0: " not in said  # the trunk looks at nothing twice
    start = load_file(crossfit / "given.safetensors")
    heads = []
    for fold in range(COUNT):
        weights = load_file(crossfit / f"artifacts/teacher/fold-{fold}.safetensors")
        changed = {name for name in weights if not weights[name].equal(start[name])}
        assert changed == {"head.fc.weight", "head.fc.bias"}
        heads.append(weights["head.fc.weight"])
    assert not heads[0].equal(heads[1])
    folds = described(crossfit)["folds"]
    assert folds["in_fold"]["accuracy"] > folds["out_of_fold"]["accuracy"]
    assert not list((crossfit / "artifacts/.staging").glob("teacher.features*"))
    run_in(crossfit, "stillroom", "cache", "--replace", *head)


def test_a_head_on_an_untrained_trunk_is_refused(crossfit: Path) -> None:
    said = run_in(crossfit, "stillroom", "teacher", "--set", "teacher.train.freeze=trunk", code=1).stderr
    assert "untrained" in said and "teacher.weights" in said


def test_the_page_shows_both(made: Path) -> None:
    page = (made / "artifacts/report/index.html").read_text()
    folds = described(made)["folds"]
    assert f"{COUNT} models, each fitted without one fold" in page
    assert all(f"{folds[name]['accuracy']:.2f} %" in page for name in ("in_fold", "out_of_fold"))


def test_born_again_a_family_teaches_itself(tmp_path: Path) -> None:
    """The preset's teacher and its student are the same network, from other initial weights."""
    text = run_in(tmp_path, "stillroom", "preset", "born-again").stdout
    (tmp_path / "params.yaml").write_text(text)
    params = load_params(tmp_path / "params.yaml")
    (family,) = params.student.families
    images = modalities.get("images")
    architecture = images.teacher(params)
    own = images.student(family, params.student.model, architecture.spec)
    nets = [
        images.create(one, 40, seed=seed).net.state_dict()
        for one, seed in ((architecture, params.teacher.seed), (own, params.student.seeds[0]))
    ]
    assert {name: one.shape for name, one in nets[0].items()} == {
        name: one.shape for name, one in nets[1].items()
    }
    assert not all(nets[0][name].equal(nets[1][name]) for name in nets[0])
    assert params.teacher.folds > 1 and "kd" in params.student.arms


def test_a_head_sees_nothing_of_its_fold_where_views_are_mixed(crossfit: Path) -> None:
    """A partner could be of the fold that is left out: a head is fitted to unmixed views."""
    shutil.copy(crossfit / "artifacts/teacher/model.safetensors", crossfit / "given.safetensors")
    head = ["--set", "teacher.weights=given.safetensors", "--set", "teacher.train.freeze=trunk"]
    run_in(crossfit, "stillroom", "teacher", *head)
    plain = models(crossfit)
    run_in(crossfit, "stillroom", "teacher", *head, "--set", "views.recipe.mixup=0.8")
    assert models(crossfit) == plain


def test_a_head_with_too_few_samples_is_refused_before_its_features(crossfit: Path) -> None:
    shutil.copy(crossfit / "artifacts/teacher/model.safetensors", crossfit / "given.safetensors")
    table = tables.read(crossfit / "artifacts/data")
    for row in [one for one in table["samples"] if one["split"] == "train"][:3]:
        row["split"] = "test"
    tables.write(crossfit / "artifacts/data", table)
    head = ["--set", "teacher.weights=given.safetensors", "--set", "teacher.train.freeze=trunk"]
    done = run_in(crossfit, "stillroom", "teacher", *head, "--set", "teacher.folds=1", code=2)
    assert "1 samples to fit a head to" in done.stderr and "features" not in done.stdout


def test_arms_in_the_loop_see_the_same_mixed_views(crossfit: Path) -> None:
    """`ce`, which asks no teacher, is mixed within folds too."""
    mixing = ["--set", "views.recipe={name: crop, mixup: 0.8}"]
    run_in(crossfit, "stillroom", "cache", "--replace", *mixing)
    for arm in ("ce", "kd"):
        run_in(crossfit, "stillroom", "student", "--family", "pvt", "--arm", arm, "--online", *mixing)
    pixels = {
        json.loads((crossfit / f"artifacts/students/pvt-{arm}-0-online/student.json").read_text())["digests"][
            "pixels"
        ]
        for arm in ("ce", "kd")
    }
    assert len(pixels) == 1


def test_samples_that_cannot_be_cut_like_that_any_more_are_refused(crossfit: Path) -> None:
    table = tables.read(crossfit / "artifacts/data")
    for row in [one for one in table["samples"] if one["split"] == "train"][:3]:
        row["split"] = "test"
    tables.write(crossfit / "artifacts/data", table)
    said = (
        run_in(crossfit, "stillroom", "store", "audit", code=1).stderr
        + run_in(crossfit, "stillroom", "cache", "--replace", code=1).stderr
    )
    assert f"cannot be cut into {COUNT} folds any more" in said
    assert described(crossfit)["folds"]["digest"][:16] in said


@pytest.mark.parametrize(
    "folds",
    [[], "5", {}, {"count": 0}, {"count": 3}, {"count": 10**9, "seed": 0, "digest": "", "models": []}],
)
def test_a_stranger_s_folds_are_no_harm(crossfit: Path, folds: object) -> None:
    manifest = open_store(crossfit / "artifacts/cache").manifest
    identity = copy.deepcopy(manifest.identity)
    identity["outputs"]["logits"]["teacher"]["folds"] = folds
    changed = replace(manifest, identity=identity)
    (crossfit / "artifacts/cache/manifest.json").write_text(changed.to_json())
    assert "unseen" not in run_in(crossfit, "stillroom", "store", "info").stdout
    teacher = crossfit / "artifacts/teacher/teacher.json"
    record = json.loads(teacher.read_text())
    teacher.write_text(json.dumps(record | {"folds": folds}))
    said = run_in(crossfit, "stillroom", "cache", "--replace", code=1).stderr
    assert "teacher.json" in said and ("damaged" in said or "cannot be read" in said)


def test_a_teacher_from_before_there_were_folds_is_told_apart(crossfit: Path) -> None:
    run_in(crossfit, "stillroom", "teacher", "--set", "teacher.folds=1")
    file = crossfit / "artifacts/teacher/teacher.json"
    record = json.loads(file.read_text())
    for name in ("folds", "folds_and_whole"):
        del record["config"][name]
    del record["config"]["train"]["freeze"]
    file.write_text(json.dumps(record))
    said = run_in(crossfit, "stillroom", "cache", "--replace").stdout
    assert f"folds 1 (params: {COUNT})" in said and "freeze" not in said
    file.write_text(json.dumps(record | {"config": {"train": "?"}}))
    run_in(crossfit, "stillroom", "cache")


def test_dvc_sees_folds(crossfit: Path) -> None:
    assert clean(crossfit)
    (crossfit / "params.yaml").write_text(PARAMS.replace("folds: 3", "folds: 2"))
    assert ran(run_in(crossfit, "dvc", "repro", "cache").stdout) == ["teacher", "cache"]
    assert len(read_teacher(crossfit / "artifacts/teacher/teacher.json")["folds"]["models"]) == 2
    assert not (crossfit / "artifacts/teacher/fold-2.safetensors").exists()

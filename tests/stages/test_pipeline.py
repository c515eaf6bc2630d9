"""The whole pipeline through `dvc repro`, and what must and must not run again."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from ruamel.yaml import YAML

from stillroom.cache.read.backends import open_store
from tests import tables
from tests.conftest import TINY, clean, ran, run_in


def change(project: Path, **sections: dict) -> None:
    tree = YAML(typ="safe").load(TINY)
    for section, values in sections.items():
        for name, value in values.items():
            where = tree[section]
            *parents, last = name.split("__")
            for parent in parents:
                where = where.setdefault(parent, {})
            where[last] = value
    with (project / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(tree, file)


def stages_to_run(project: Path) -> set[str]:
    said = run_in(project, "dvc", "repro", "--dry").stdout
    return set(ran(said))


def student(project: Path, name: str) -> dict:
    return json.loads((project / "artifacts/students" / name / "student.json").read_text())


def weights(project: Path, name: str) -> bytes:
    return (project / "artifacts/students" / name / "model.safetensors").read_bytes()


KD = ["student", "--family", "vit", "--arm", "kd"]


def test_dvc_repro_gives_every_promised_file_and_key(finished: Path) -> None:
    results = json.loads((finished / "artifacts/report/results.json").read_text())
    assert {"arch", "accuracy", "mAP"} <= results["teacher"].keys()
    assert {"id", "views", "samples", "bytes"} <= results["cache"].keys()
    assert (results["cache"]["views"], results["cache"]["samples"]) == (3, 80)
    assert [(row["family"], row["arm"], row["seed"]) for row in results["rows"]] == [
        ("vit", "ce", 0),
        ("vit", "kd", 0),
        ("pvt", "ce", 0),
        ("pvt", "kd", 0),
    ]
    for row in results["rows"]:
        assert {"family", "arch", "arm", "seed", "accuracy", "mAP", "params", "flops"} <= row.keys()
        assert (
            0 <= row["accuracy"] <= 100
            and 0 < row["mAP"] <= 100
            and row["params"] > 1e5
            and row["flops"] > 1e6
        )
    for line in results["summary"]:
        assert line["gain"] == pytest.approx(line["accuracy_kd"] - line["accuracy_ce"], abs=1e-3)
    for name in ("results.md", "index.html"):
        assert (finished / "artifacts/report" / name).stat().st_size > 500
    for name in ("model.safetensors", "teacher.json", "metrics.json"):
        assert (finished / "artifacts/teacher" / name).is_file()
    log = (finished / "repro.log").read_text()
    assert "ViT" in log and "artifacts/report/index.html" in log


def test_arms_differ_in_the_target_alone(finished: Path) -> None:
    for family in ("vit", "pvt"):
        ce, kd = student(finished, f"{family}-ce-0"), student(finished, f"{family}-kd-0")
        assert ce["digests"] == kd["digests"] and set(ce["digests"]) == {"init", "order", "pixels"}
        assert (
            ce["config"]["model"] == kd["config"]["model"] and ce["config"]["train"] == kd["config"]["train"]
        )
        assert ce["config"]["loss"] != kd["config"]["loss"]
        assert weights(finished, f"{family}-ce-0") != weights(finished, f"{family}-kd-0")


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert stages_to_run(project) == set()
    assert ran(run_in(project, "dvc", "repro").stdout) == []
    assert clean(project)


def test_a_changed_student_runs_no_teacher_and_no_cache(project: Path) -> None:
    change(project, student={"train__epochs": 5})
    assert stages_to_run(project) == {
        "student@vit-ce-0",
        "student@vit-kd-0",
        "student@pvt-ce-0",
        "student@pvt-kd-0",
    }
    change(project, student={"losses__kd__alpha": 0.5})
    assert stages_to_run(project) == {"student@vit-kd-0", "student@pvt-kd-0"}
    change(project, student={"families": ["pvt"]})
    assert stages_to_run(project) == {"report"}
    change(project, views={"count": 4})
    assert "teacher" not in stages_to_run(project) and "cache" in stages_to_run(project)


def test_changed_code_runs_the_stages_that_use_it(project: Path) -> None:
    with (project / "pipeline/reporting/figures.py").open("a") as file:
        file.write("\n# changed\n")
    assert stages_to_run(project) == {"report"}
    with (project / "pipeline/losses/kd.py").open("a") as file:
        file.write("\n# changed\n")
    assert ran(run_in(project, "dvc", "repro", "student@pvt-ce-0").stdout) == ["student@pvt-ce-0"]


def test_a_student_needs_no_teacher_and_trains_to_the_same_bits(project: Path) -> None:
    """Promise 5, and the same weights again on the same machine (offline: HF_HUB_OFFLINE is set)."""
    before = weights(project, "vit-kd-0")
    shutil.rmtree(project / "artifacts/teacher")
    run_in(project, "stillroom", *KD)
    assert weights(project, "vit-kd-0") == before


def test_the_test_split_cannot_reach_training(project: Path) -> None:
    """With every test label changed, the weights stay the same to the bit and only the scores move."""
    content = tables.read(project / "artifacts/data")
    for row in content["samples"]:
        if row["split"] == "test":
            row["label"] = (row["label"] + 7) % 40
    tables.write(project / "artifacts/data", content)
    before = weights(project, "vit-kd-0"), (project / "artifacts/students/vit-kd-0/metrics.json").read_text()
    run_in(project, "stillroom", *KD)
    assert weights(project, "vit-kd-0") == before[0]
    assert (project / "artifacts/students/vit-kd-0/metrics.json").read_text() != before[1]


def test_hdf5_holds_what_zarr_holds_and_the_staged_blocks_serve_both(project: Path) -> None:
    zarr = open_store(project / "artifacts/cache")
    assert zarr.manifest.backend == "zarr"
    said = run_in(project, "stillroom", "cache", "--set", "cache.store=hdf5").stdout
    assert "resumed: 9 of 9 blocks" in said
    hdf5 = open_store(project / "artifacts/cache")
    assert hdf5.manifest.backend == "hdf5"
    assert (hdf5.manifest.id, hdf5.manifest.blocks) == (zarr.manifest.id, zarr.manifest.blocks)
    with h5py.File(project / "artifacts/cache/store.h5") as file:
        assert np.array_equal(file["logits"][1].astype(np.float32), hdf5.logits(1))
    before = weights(project, "vit-kd-0")
    run_in(project, "stillroom", *KD)
    assert weights(project, "vit-kd-0") == before


def test_more_views_compute_only_the_new_planes(project: Path) -> None:
    cache = project / "artifacts/cache"
    before = {
        file.relative_to(cache): file.read_bytes() for file in cache.glob("logits/c/**/*") if file.is_file()
    }
    said = run_in(project, "stillroom", "cache", "--set", "views.count=5").stdout
    assert "resumed: 9 of 15 blocks" in said and "160 of 160 views" in said
    assert len(before) == 3
    for name, content in before.items():
        assert (cache / name).read_bytes() == content


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (["--set", "views.recipe.flip=0.25"], "views.recipe.flip"),
        (["--set", "views.seed=1"], "views.seed"),
    ],
)
def test_a_student_with_another_recipe_is_refused(project: Path, command: list[str], field: str) -> None:
    before = weights(project, "vit-kd-0")
    done = run_in(project, "stillroom", *KD, *command, code=1)
    assert field in done.stderr and "in the cache" in done.stderr and "stillroom cache" in done.stderr
    assert weights(project, "vit-kd-0") == before


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda table: table["classes"].reverse(), "samples.classes"),
        (
            lambda table: table["samples"].pop(
                next(i for i, r in enumerate(table["samples"]) if r["split"] == "train")
            ),
            "samples.keys",
        ),
        (
            lambda table: next(r for r in table["samples"] if r["split"] == "train").update(sha256="0" * 64),
            "samples.images",
        ),
        (
            lambda table: next(r for r in table["samples"] if r["split"] == "train").update(label=39),
            "samples.labels",
        ),
    ],
)
def test_a_student_on_other_data_is_refused(project: Path, edit: object, field: str) -> None:
    content = tables.read(project / "artifacts/data")
    edit(content)  # type: ignore[operator]
    tables.write(project / "artifacts/data", content)
    done = run_in(project, "stillroom", *KD, code=1)
    assert field in done.stderr


def test_an_image_replaced_in_place_is_refused_by_name(project: Path) -> None:
    table = tables.read(project / "artifacts/data")
    row = next(row for row in table["samples"] if row["split"] == "train")
    file = project / "artifacts/data" / table["root"] / row["path"]
    other = next(r for r in table["samples"] if r["split"] == "test")
    content = (file.parent / Path(other["path"]).name).read_bytes()
    file.unlink()  # DVC may have linked it to its cache
    file.write_bytes(content)
    done = run_in(project, "stillroom", *KD, code=1)
    assert f"the image of {row['key']} was replaced" in done.stderr


def test_another_teacher_is_refused(project: Path) -> None:
    run_in(project, "stillroom", "teacher", "--set", "teacher.seed=1")
    assert "teacher.digest" in run_in(project, "stillroom", *KD, code=1).stderr
    assert "not made from the teacher" in run_in(project, "stillroom", "report", code=1).stderr


def test_weights_that_teacher_json_does_not_describe_are_refused(project: Path) -> None:
    folder = project / "artifacts/teacher"
    shutil.copy(folder / "model.safetensors", project / "old.safetensors")
    run_in(project, "stillroom", "teacher", "--set", "teacher.seed=1")
    (folder / "model.safetensors").write_bytes((project / "old.safetensors").read_bytes())
    assert "does not hold the weights" in run_in(project, "stillroom", "cache", "--replace", code=1).stderr


def test_damage_to_the_cache_is_found_and_never_read(project: Path) -> None:
    assert "is whole" in run_in(project, "stillroom", "store", "verify").stdout
    part = next(file for file in (project / "artifacts/cache").glob("logits/c/1/**/*") if file.is_file())
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 16
    part.unlink()
    part.write_bytes(content)
    done = run_in(project, "stillroom", "store", "verify", "--json", code=1)
    found = json.loads(done.stdout)
    assert found["ok"] is False and found["damage"] and "logits/c/1" in found["damage"][0]["file"]
    assert "damage" in run_in(project, "stillroom", *KD, code=1).stderr


def test_an_adopted_teacher_is_not_trained(project: Path) -> None:
    shutil.copy(project / "artifacts/teacher/model.safetensors", project / "given.safetensors")
    before = json.loads((project / "artifacts/teacher/teacher.json").read_text())
    adopt = ["--set", "teacher.weights=given.safetensors", "--set", "teacher.train.epochs=0"]
    run_in(project, "stillroom", "teacher", *adopt)
    after = json.loads((project / "artifacts/teacher/teacher.json").read_text())
    assert after["digest"] == before["digest"] and after["epochs"] == 0
    assert after["per_class_ap"] == before["per_class_ap"]


def test_a_head_of_other_classes_cannot_be_adopted(project: Path) -> None:
    import timm
    from safetensors.torch import save_file

    net = timm.create_model(
        "convnext_atto", num_classes=1000, patch_size=4, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)
    )
    save_file(net.state_dict(), project / "wide.safetensors")
    given = ["--set", "teacher.weights=wide.safetensors"]
    done = run_in(project, "stillroom", "teacher", *given, "--set", "teacher.train.epochs=0", code=1)
    assert (
        "cannot be adopted" in done.stderr and "head.fc.weight" in done.stderr and "40 classes" in done.stderr
    )
    said = run_in(project, "stillroom", "teacher", *given).stdout
    assert "of another shape, made fresh: head.fc.bias, head.fc.weight" in said


def test_bad_weights_and_sizes_are_refused(project: Path) -> None:
    shutil.copy(project / "artifacts/students/vit-ce-0/model.safetensors", project / "other.safetensors")
    done = run_in(project, "stillroom", "teacher", "--set", "teacher.weights=other.safetensors", code=1)
    assert "another architecture than convnext_atto" in done.stderr
    done = run_in(project, "stillroom", "teacher", "--set", "teacher.weights=hub", code=1)
    assert "hub" in done.stderr and ".safetensors" in done.stderr and "none" in done.stderr
    done = run_in(project, "stillroom", *KD, "--set", "student.model.image_size=50", code=2)
    assert "48 or 56" in done.stderr
    assert student(project, "vit-kd-0")["input"]["size"] == 32


def test_a_student_of_another_size_replays_the_same_boxes(project: Path) -> None:
    run_in(project, "stillroom", *KD, "--set", "student.model.image_size=48")
    assert student(project, "vit-kd-0")["input"]["size"] == 48
    assert (
        student(project, "vit-kd-0")["digests"]["order"] == student(project, "vit-ce-0")["digests"]["order"]
    )
    assert (
        student(project, "vit-kd-0")["digests"]["pixels"] != student(project, "vit-ce-0")["digests"]["pixels"]
    )
    assert "digests.pixels" in run_in(project, "stillroom", "report", code=1).stderr


def test_unpaired_arms_are_not_compared(project: Path) -> None:
    run_in(project, "stillroom", *KD, "--set", "student.train.epochs=2")
    done = run_in(project, "stillroom", "report", code=1)
    assert "digests.order" in done.stderr and "student --family vit --arm kd" in done.stderr


def test_a_moved_project_is_no_change(project: Path, tmp_path: Path) -> None:
    moved = tmp_path / "another place"
    project.rename(moved)
    assert stages_to_run(moved) == set()
    before = weights(moved, "vit-kd-0")
    run_in(moved, "stillroom", *KD)
    assert weights(moved, "vit-kd-0") == before


def test_drawn_classes_are_for_one_loss_alone_and_that_is_said(project: Path) -> None:
    drawn = ("--set", "cache.encoding={name: sampled, draws: 8}")
    run_in(project, "stillroom", "cache", "--replace", *drawn)
    said = run_in(project, "stillroom", *KD, *drawn, "--set", "student.losses.kd.temperature=2.0")
    note = "only the loss kd at temperature 1 can learn from rightly"
    assert note in said.stdout + said.stderr
    record = json.loads((project / "artifacts/students/vit-kd-0/student.json").read_text())
    assert any(note in line for line in record["notes"])
    said = run_in(project, "stillroom", *KD, *drawn, "--set", "student.losses.kd.temperature=1.0")
    assert note not in said.stdout + said.stderr


def test_another_encoding_is_no_reason_to_look_for_the_old_teacher(project: Path) -> None:
    said = run_in(project, "stillroom", "cache", "--set", "cache.encoding=packed", code=1).stderr
    assert "set cache.encoding to what the cache was made with" in said
    assert "put the old teacher back" not in said

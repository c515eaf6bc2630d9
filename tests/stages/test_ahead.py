"""What could not be trained, or would be of other parameters than those that are given, is said first."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stillroom.modalities.images.models.create import create, sized
from stillroom.modalities.images.models.load import load
from tests import tables
from tests.conftest import run_in


def options(*changes: str) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def classes_kept(project: Path, count: int) -> None:
    """Leave only the first classes in the samples table."""
    table = tables.read(project / "artifacts/data")
    table["classes"] = table["classes"][:count]
    table["samples"] = [row for row in table["samples"] if row["label"] < count]
    tables.write(project / "artifacts/data", table)


def untouched(project: Path) -> list[tuple[str, float]]:
    """Every file of the artifacts but locks and logs, and when it was written."""
    files = (file for file in (project / "artifacts").rglob("*") if file.is_file())
    return sorted((str(file), file.stat().st_mtime) for file in files if ".staging" not in file.parts)


@pytest.mark.parametrize("command", [["teacher"], ["plan", "--no-measure"]])
def test_a_loss_that_learns_nothing_from_two_classes_is_refused_before_the_teacher(
    project: Path, command: list[str]
) -> None:
    classes_kept(project, 2)
    shutil.rmtree(project / "artifacts/teacher")
    before = untouched(project)
    done = run_in(project, "stillroom", *command, *options("student.arms=[ce, standardised]"), code=2)
    assert "the arm standardised would learn nothing" in done.stderr and "2 classes" in done.stderr
    assert "kd" in done.stderr and done.stdout == "" and untouched(project) == before


def test_one_class_is_refused(project: Path) -> None:
    classes_kept(project, 1)
    assert "one class alone" in run_in(project, "stillroom", "teacher", code=1).stderr


def test_what_loses_a_part_is_said_and_kept(project: Path) -> None:
    changes = options("student.train.batch_size=2", "student.train.epochs=1", "student.train.warmup_epochs=0")
    changes += options("student.family_train={}", "student.model.overrides={depth: 1}")
    done = run_in(project, "stillroom", "student", "--family", "vit", "--arm", "dist", *changes)
    line = "note: student.losses.dist.intra has no effect with 40 classes and 2 samples at a time"
    assert line in done.stdout
    assert json.loads((project / "artifacts/students/vit-dist-0/student.json").read_text())["notes"] == [line]


def test_a_part_of_a_batch_is_what_a_loss_looks_across(project: Path) -> None:
    changes = options("student.arms=[dist]", "student.losses.dist.inter=0.0", "student.train.accumulate=20")
    done = run_in(project, "stillroom", "plan", "--no-measure", *changes, code=2)
    assert "2 samples at a time" in done.stderr


def test_a_batch_that_cannot_be_cut_is_told_before_the_teacher(project: Path) -> None:
    done = run_in(project, "stillroom", "teacher", *options("student.train.accumulate=41"), code=2)
    assert "accumulate = 41: a batch of 40 samples cannot be cut into 41 parts" in done.stderr


def test_more_logits_than_classes_are_told_before_the_teacher(project: Path) -> None:
    done = run_in(project, "stillroom", "teacher", *options("cache.encoding=topk", "cache.k=41"), code=2)
    assert "cache.k = 41" in done.stderr and "40 classes" in done.stderr


def test_a_warm_up_that_does_not_end_is_noted(project: Path) -> None:
    shutil.rmtree(project / "artifacts/teacher")
    changes = options("student.train.warmup_epochs=9", "teacher.train.warmup_epochs=9")
    said = run_in(project, "stillroom", "plan", "--no-measure", *changes).stdout
    for line in ("student.train.warmup_epochs is 9, epochs 4", "teacher.train.warmup_epochs is 9, epochs 1"):
        assert line in said


# Sizes


@pytest.mark.parametrize(("command"), [["teacher"], ["plan", "--no-measure"]])
def test_a_size_that_a_student_cannot_take_is_told_before_the_teacher(
    project: Path, command: list[str]
) -> None:
    shutil.rmtree(project / "artifacts/teacher")
    changes = options("views.size=100", "student.families=[vit, mvit]")
    done = run_in(project, "stillroom", *command, *changes, code=2)
    for word in (
        "vit (micro) cannot take 100",
        "mvit (micro) cannot take 100",
        "set views.size to 96 or 128",
    ):
        assert word in done.stderr
    changes = options("student.model.image_size=100", "student.families=[mvit]")
    assert "set student.model.image_size" in run_in(project, "stillroom", *command, *changes, code=2).stderr


def test_a_cache_is_not_made_for_students_that_cannot_take_it(project: Path) -> None:
    before = untouched(project)
    done = run_in(project, "stillroom", "cache", *options("student.model.image_size=100"), code=2)
    assert "cannot take 100 x 100" in done.stderr and untouched(project) == before


def test_arguments_that_a_student_does_not_take_are_told_before_the_teacher(project: Path) -> None:
    done = run_in(project, "stillroom", "teacher", *options("student.model.overrides={depht: 1}"), code=2)
    assert "depht" in done.stderr


def test_a_transformer_teacher_takes_another_size_than_its_own(project: Path) -> None:
    """And weights of its own size are adopted: their position tables are resampled."""
    small = {"patch_size": 16, "embed_dim": 48, "depth": 1, "num_heads": 3}
    save_file(
        create("vit_tiny_patch16_224", 40, small, seed=1).net.state_dict(), project / "given.safetensors"
    )
    shutil.rmtree(project / "artifacts/teacher")
    changes = options(
        "teacher.arch=vit_tiny_patch16_224",
        f"teacher.overrides={json.dumps(small)}",
        "teacher.weights=given.safetensors",
        "teacher.train.epochs=0",
    )
    assert "vit_tiny_patch16_224 at 32 pixels" in run_in(project, "stillroom", "plan", *changes).stdout
    run_in(project, "stillroom", "teacher", *changes)
    model, described = load(project / "artifacts/teacher")
    assert described.overrides == {**small, "img_size": 32} and described.input.size == 32
    assert model.net(torch.zeros(1, 3, 32, 32)).shape == (1, 40)
    run_in(project, "stillroom", "cache", "--replace", *changes)


def test_a_teacher_that_takes_its_size_as_it_is_keeps_its_arguments() -> None:
    assert sized("convnext_atto", {}, 100) == {}
    assert sized("vit_tiny_patch16_224", {}, 224) == {}
    assert sized("vit_tiny_patch16_224", {"img_size": 80}, 80) == {"img_size": 80}


def test_a_teacher_that_cannot_take_a_size_is_refused_with_sizes_that_work(project: Path) -> None:
    changes = options("teacher.arch=vit_tiny_patch16_224", "teacher.overrides={img_size: 96}")
    shutil.rmtree(project / "artifacts/teacher")
    for command in ("teacher", "plan"):
        done = run_in(project, "stillroom", command, *changes, code=2)
        assert "the teacher vit_tiny_patch16_224 cannot take 32 x 32 pixels" in done.stderr
        assert "set views.size to 96" in done.stderr


# Parameters that say otherwise than what is there


@pytest.mark.parametrize("with_teacher", [True, False])
def test_another_size_than_the_cache_s_is_refused_with_and_without_a_teacher(
    project: Path, with_teacher: bool
) -> None:
    if not with_teacher:
        shutil.rmtree(project / "artifacts/teacher")
    command = ["student", "--family", "vit", "--arm", "kd", *options("views.size=96")]
    done = run_in(project, "stillroom", *command, code=1)
    assert "outputs.logits.input.size: 96 here, 32 in the cache" in done.stderr
    assert "set views.size" in done.stderr


@pytest.mark.parametrize("command", [["cache"], ["cache", "--replace"], ["plan", "--no-measure"]])
def test_another_size_than_the_teacher_s_is_refused(project: Path, command: list[str]) -> None:
    before = untouched(project)
    done = run_in(project, "stillroom", *command, *options("views.size=96"), code=2)
    assert "views.size = 96, and the teacher sees 32" in done.stderr and untouched(project) == before


@pytest.mark.parametrize(
    "command",
    [["teacher"], ["cache"], ["plan", "--no-measure"], ["student", "--family", "vit", "--arm", "kd"]],
)
def test_samples_of_another_data_set_are_refused(project: Path, command: list[str]) -> None:
    done = run_in(project, "stillroom", *command, *options("data.name=stanford40"), code=2)
    assert "data.name = 'stanford40'" in done.stderr and "'sketch40'" in done.stderr
    assert "stillroom prepare" in done.stderr


def test_a_student_says_what_of_the_parameters_the_cache_does_not_follow(project: Path) -> None:
    changes = options("views.count=2", "cache.encoding=int8", "student.train.epochs=1")
    said = run_in(project, "stillroom", "student", "--family", "vit", "--arm", "kd", *changes).stdout
    assert "views.count is 2; this cache holds 3, which are all used" in said
    assert "cache.encoding is int8; logits of this cache has float16" in said


@pytest.mark.parametrize("command", ["cache", "plan"])
def test_a_teacher_of_other_parameters_is_noted(project: Path, command: str) -> None:
    changes = options("teacher.train.epochs=7", "teacher.seed=3")
    said = run_in(project, "stillroom", command, *changes).stdout
    assert "train.epochs 1 (params: 7)" in said and "seed 0 (params: 3)" in said
    assert "note:" not in run_in(project, "stillroom", command).stdout

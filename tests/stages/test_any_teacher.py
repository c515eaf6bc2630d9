"""Teachers and students that are no names of timm's: a folder, a function of Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import stillroom
from stillroom.modalities import load_samples
from tests.conftest import run_in

OWN = """
from torch import nn


class Net(nn.Module):
    def __init__(self, count, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(width, count)

    def forward(self, images):
        return self.head(self.body(images))


def teacher(classes, width=8, turned=False):
    order = sorted(classes, reverse=turned)
    return Net(len(order), width), {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "classes": order}
"""
ARCH = "teacher.arch=own_nets:teacher"


def of_params(*changes: str) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def read(file: Path) -> dict:
    return json.loads(file.read_text())


def answers(folder: Path) -> np.ndarray:
    return load_file(folder / "predictions.safetensors")["logits"]


@pytest.fixture
def own(project: Path) -> Path:
    (project / "own_nets.py").write_text(OWN)
    return project


def test_a_function_is_a_teacher_in_every_command(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, given = own / "artifacts/teacher", of_params(ARCH, "teacher.overrides={width: 12}")
    shutil.rmtree(teacher)
    said = run_in(own, "stillroom", "plan", "--no-measure", *given).stdout
    assert "own_nets:teacher at 32 pixels, untrained" in said
    run_in(own, "stillroom", "teacher", *given)
    record = read(teacher / "teacher.json")
    assert (record["arch"], record["overrides"], record["epochs"]) == ("own_nets:teacher", {"width": 12}, 1)
    assert len(record["source"]) == 64 and not (teacher / "config.json").exists()
    run_in(own, "stillroom", "cache", "--replace", *given)
    run_in(own, "stillroom", "cache", "export-views", *given)
    assert read(own / "artifacts/views/views.json")["input"]["size"] == 32
    manifest = read(own / "artifacts/cache/manifest.json")
    assert manifest["identity"]["outputs"]["logits"]["teacher"]["source"] == record["source"]
    assert (
        "the cache holds what this teacher says" in run_in(own, "stillroom", "store", "audit", *given).stdout
    )
    run_in(own, "stillroom", "student", "--family", "vit", "--arm", "kd", "--online", *given)
    key = load_samples(own / "artifacts/data").in_splits("train").rows[0].key
    run_in(own, "stillroom", "store", "show", key, *given)

    photo = str(next((own / "artifacts/data/sketch40/JPEGImages").glob("*.jpg")))
    command = ("stillroom", "predict", photo, "--student", "artifacts/teacher")
    refused = run_in(own, *command, code=2)
    assert "not called on a file's word" in refused.stderr and "--trust own_nets:teacher" in refused.stderr
    assert "%" in run_in(own, *command, "--trust", "own_nets:teacher").stdout
    share = ("stillroom", "share", "artifacts/teacher", "elsewhere", "--dry-run")
    assert "--trust own_nets:teacher" in run_in(own, *share, code=2).stderr
    card = run_in(own, *share, "--trust", "own_nets:teacher").stdout
    assert 'load_model("teacher", trust="own_nets:teacher")' in card
    monkeypatch.setenv("STILLROOM_TRUST", "")
    monkeypatch.chdir(own)
    assert stillroom.load_model(teacher, trust="own_nets:teacher").spec["size"] == 32

    with (own / "own_nets.py").open("a") as stream:
        stream.write("# another version\n")
    refused = run_in(own, "stillroom", "cache", "--replace", *given, "--set", "views.seed=5", code=1)
    assert "has changed since `stillroom teacher` called it" in refused.stderr
    # its students need neither the function nor its file
    (own / "own_nets.py").unlink()
    run_in(own, "stillroom", "student", "--family", "vit", "--arm", "kd", *given)


def test_a_function_s_own_weights_are_adopted_in_the_order_of_the_data(own: Path) -> None:
    given = of_params(ARCH, "teacher.train.epochs=0")
    said = run_in(own, "stillroom", "teacher", *given, "--set", "teacher.overrides={}").stdout
    assert "weights: own_nets:teacher" in said
    first = answers(own / "artifacts/teacher")
    run_in(own, "stillroom", "teacher", *given, "--set", "teacher.overrides={turned: true}")
    assert np.allclose(answers(own / "artifacts/teacher"), first[:, ::-1], atol=1e-6)
    kept = (own / "artifacts/teacher/teacher.json").read_bytes()
    refused = run_in(own, "stillroom", "teacher", *given, "--set", "teacher.overrides={turns: 1}", code=2)
    assert "teacher.overrides" in refused.stderr
    assert (own / "artifacts/teacher/teacher.json").read_bytes() == kept


def test_a_folder_is_adopted_and_moving_it_is_no_change(project: Path) -> None:
    teacher, given = project / "artifacts/teacher", project / "given"
    before, cache = read(teacher / "teacher.json"), read(project / "artifacts/cache/manifest.json")["id"]
    shutil.copytree(teacher, given)
    adopt = of_params("teacher.train.epochs=0", "teacher.overrides={}")
    run_in(project, "stillroom", "teacher", *adopt, "--set", "teacher.arch=local-dir:given")
    after = read(teacher / "teacher.json")
    for name in ("arch", "overrides", "digest", "input", "classes"):
        assert after[name] == before[name], name
    given.rename(project / "moved")
    run_in(project, "stillroom", "teacher", *adopt, "--set", f"teacher.arch=local-dir:{project}/moved")
    said = run_in(project, "stillroom", "cache", *adopt, "--set", "teacher.arch=local-dir:gone")
    assert "counts here" not in said.stdout + said.stderr
    assert read(project / "artifacts/cache/manifest.json")["id"] == cache

    first = answers(teacher)
    config = read(project / "moved/config.json")
    names = config["label_names"]
    (project / "moved/config.json").write_text(json.dumps(config | {"label_names": names[::-1]}))
    run_in(project, "stillroom", "teacher", *adopt, "--set", "teacher.arch=local-dir:moved")
    assert np.allclose(answers(teacher), first[:, ::-1], atol=1e-4)

    others = [*names[:-2], "yodelling", "zooming"]
    (project / "moved/config.json").write_text(json.dumps(config | {"label_names": others}))
    refused = run_in(project, "stillroom", "teacher", *adopt, "--set", "teacher.arch=local-dir:moved", code=1)
    assert f"in the data alone: {', '.join(names[-2:])}" in refused.stderr
    assert "in the model alone: yodelling, zooming" in refused.stderr
    fits = of_params("teacher.overrides={}", "teacher.arch=local-dir:moved")
    said = run_in(project, "stillroom", "teacher", *fits).stdout
    assert "its head is made fresh" in said and "yodelling" in said


def test_a_folder_is_a_student_by_a_name_of_its_own(project: Path) -> None:
    students, given = project / "artifacts/students", project / "given"
    shutil.copytree(students / "vit-kd-0", given)
    said = run_in(project, "stillroom", "student", "--family", "local-dir:given", "--arm", "kd").stdout
    assert "weights: model.safetensors" in said
    (made,) = students.glob("given.*-kd-0")
    record = read(made / "student.json")
    assert record["family"] == made.name.removesuffix("-kd-0")
    assert "given" not in json.dumps(record["config"])  # what it is, not where it lies
    config = read(made / "config.json")
    assert config["architecture"] == record["arch"] == "vit_tiny_patch16_224"
    # in the matrix and the report it has a name from params.yaml
    named = of_params("student.model.sources.mine=local-dir:given", "student.families=[vit, mine]")
    for arm in ("ce", "kd"):
        run_in(project, "stillroom", "student", "--family", "mine", "--arm", arm, *named)
    assert read(students / "mine-kd-0/student.json")["digests"] == record["digests"]
    run_in(project, "stillroom", "report", *named)
    assert "mine" in (project / "artifacts/report/results.md").read_text()


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("teacher.arch=local-dir:artifacts/students/vit-kd-0", 2, "cp -r artifacts/students/vit-kd-0 start"),
        ("student.model.sources.mine=local-dir:artifacts/teacher", 2, "lies in artifacts/teacher"),
        ("student.model.sources.vit=local-dir:x", 2, "vit is a family already"),
        ("student.model.sources.resnet18=local-dir:x", 2, "resnet18 is a timm model already"),
        ("student.model.sources.mine=x", 2, "must be local-dir:FOLDER or hf-hub:USER/REPO"),
        ("student.model.sources.my-vit=local-dir:x", 2, "is no name for a family"),
        ("teacher.arch=local-dir:nowhere", 1, "there is no folder nowhere"),
        ("teacher.arch=hf-hub:me/none", 1, "cannot be had from the hub"),
        ("teacher.arch=nowhere:teacher", 2, "there is no module nowhere"),
        ("teacher.arch=https://x.y/z", 2, "names no teacher"),
    ],
)
def test_what_cannot_be_is_refused_before_work(project: Path, change: str, code: int, said: str) -> None:
    kept = (project / "artifacts/teacher/teacher.json").read_bytes()
    assert said in run_in(project, "stillroom", "teacher", "--set", change, code=code).stderr
    assert (project / "artifacts/teacher/teacher.json").read_bytes() == kept


def test_stages_write_what_timm_reads(finished: Path, skeletons: Path) -> None:
    """Of each teacher and student; DVC lists it among a student's outputs, so there is one of clips, too."""
    for folder in (*(finished / "artifacts/students").iterdir(), finished / "artifacts/teacher"):
        record = read(folder / ("teacher.json" if folder.name == "teacher" else "student.json"))
        config = read(folder / "config.json")
        assert config["label_names"] == record["classes"] and config["model_args"] == record["overrides"]
        assert config["pretrained_cfg"]["mean"] == record["input"]["mean"]
    for folder in (skeletons / "artifacts/students").iterdir():
        config, record = read(folder / "config.json"), read(folder / "student.json")
        assert config["architecture"] == record["arch"] and config["input"] == record["input"]

"""`stillroom predict` and `stillroom export` say what evaluation says; weights load in plain timm."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from pipeline.evaluation.metrics import softmax
from pipeline.models.create import create, save_weights
from pipeline.models.families import FAMILIES, student_arch
from pipeline.models.onnx import to_onnx
from pipeline.samples import Samples
from tests.conftest import BIN, environment, run_in

VIT = ["--student", "artifacts/students/vit-kd-0"]


def test_predictions_are_those_of_the_evaluation(finished: Path) -> None:
    """Over the whole test split, by list on stdin: the same probabilities, and so the same accuracy."""
    samples = Samples.load(finished / "artifacts/data").of("test")
    listed = "\n".join(str(samples.file(row)) for row in samples.rows)
    done = subprocess.run(
        [BIN / "stillroom", "predict", "-", "--json", "--top", "40", *VIT],
        input=listed,
        capture_output=True,
        text=True,
        cwd=finished,
        env=environment(),
        check=True,
    )
    found = json.loads(done.stdout)
    assert [entry["image"] for entry in found] == listed.split("\n")
    student = finished / "artifacts/students/vit-kd-0"
    expected = softmax(load_file(student / "predictions.safetensors")["logits"])
    for entry, row in zip(found, expected, strict=True):
        shares = {one["class"]: one["probability"] for one in entry["top"]}
        assert np.allclose([shares[name] for name in samples.classes], row, atol=1e-5)
    right = [
        entry["top"][0]["class"] == samples.classes[row.label]
        for entry, row in zip(found, samples.rows, strict=True)
    ]
    scores = json.loads((student / "metrics.json").read_text())
    assert 100 * sum(right) / len(right) == pytest.approx(scores["accuracy"])


def test_folders_and_tables(project: Path) -> None:
    folder = project / "some pictures"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.PNG", "inner/ä.jpg", "note.txt"):
        Image.new("RGB", (70, 40), (200, 90, 10)).save(folder / name, "PNG")
    done = run_in(project, "stillroom", "predict", str(folder), *VIT, "--top", "2")
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert done.stdout.count("%") == 4 and "ä.jpg" in done.stdout and "note.txt" not in done.stdout


def test_a_teacher_answers_too_and_the_only_student_is_the_default(project: Path) -> None:
    image = next((project / "artifacts/data").rglob("*.jpg"))
    run_in(project, "stillroom", "predict", str(image), "--student", "artifacts/teacher")
    done = run_in(project, "stillroom", "predict", str(image), code=2)
    assert "vit-kd-0" in done.stderr and "--student" in done.stderr
    for name in ("vit-ce-0", "pvt-ce-0", "pvt-kd-0"):
        (project / "artifacts/students" / name / "student.json").unlink()
    run_in(project, "stillroom", "predict", str(image))


def test_images_that_cannot_be_read_are_named_and_the_others_predicted(project: Path) -> None:
    good = next((project / "artifacts/data").rglob("*.jpg"))
    (project / "cut.jpg").write_bytes(good.read_bytes()[:300])
    (project / "text.png").write_text("no image")
    (project / "nothing").mkdir()
    header = Image.new("1", (60000, 60000))
    header.save(project / "bomb.png")
    names = ["cut.jpg", "text.png", "missing.jpg", "nothing", "bomb.png"]
    done = run_in(project, "stillroom", "predict", *names, str(good), "--json", *VIT, code=1)
    assert [entry["image"] for entry in json.loads(done.stdout)] == [str(good)]
    assert all(f"error: {name}" in done.stderr for name in names)
    assert done.stderr.count("\n") == len(names)


def test_models_that_cannot_be_are_refused(project: Path) -> None:
    image = str(next((project / "artifacts/data").rglob("*.jpg")))
    run = ["predict", image, "--student"]
    assert "no finished model" in run_in(project, "stillroom", *run, "nowhere", code=1).stderr
    folder = project / "artifacts/students/vit-kd-0"
    other = project / "artifacts/students/pvt-kd-0/model.safetensors"
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(other.read_bytes())
    assert "does not fit vit_tiny" in run_in(project, "stillroom", *run, str(folder), code=1).stderr
    (folder / "model.safetensors").write_bytes(weights[:1000])
    assert "damaged" in run_in(project, "stillroom", *run, str(folder), code=1).stderr
    (folder / "model.safetensors").write_bytes(weights)
    described = json.loads((folder / "student.json").read_text())
    for change, word in (
        ({"arch": "no_such_model"}, "no_such_model"),
        ({"input": {"size": 10**6, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "input.size"),
        ({"classes": "all"}, "classes"),
    ):
        (folder / "student.json").unlink()
        (folder / "student.json").write_text(json.dumps(described | change))
        done = run_in(project, "stillroom", *run, str(folder), code=None)
        assert done.returncode in (1, 2) and word in done.stderr


def test_no_image_is_an_error_and_a_closed_pipe_is_none(project: Path) -> None:
    done = subprocess.run(
        [BIN / "stillroom", "predict", *VIT],
        input="",
        capture_output=True,
        text=True,
        cwd=project,
        env=environment(),
    )
    assert done.returncode == 2 and "no image" in done.stderr and "Traceback" not in done.stderr
    images = " ".join(["artifacts/data"] * 20)
    line = f"'{BIN}/stillroom' predict {images} {' '.join(VIT)} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=project, env=environment(), timeout=120
    )
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr


def test_export_writes_what_was_checked(project: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    done = run_in(project, "stillroom", "export", *VIT, "--to", "made/vit.onnx")
    assert "made/vit.onnx" in done.stdout
    assert os.listdir(project / "made") == ["vit.onnx"]
    session = onnxruntime.InferenceSession(project / "made/vit.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["size"]) == 64 and len(json.loads(about["classes"])) == 40
    from pipeline.models.load import load

    model, _ = load(project / "artifacts/students/vit-kd-0")
    images = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        own = model.net(images).numpy()
    [theirs] = session.run(["logits"], {"pixels": images.numpy()})
    assert abs(own - theirs).max() < 1e-4
    done = run_in(project, "stillroom", "export", *VIT, "--to", "made", code=1)
    assert "made" in done.stderr and os.listdir(project / "made") == ["vit.onnx"]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_exports_and_loads_in_plain_timm(family: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    arch, overrides = student_arch(family, "micro", 64)
    model = create(arch, 7, overrides, size=64, seed=3)
    before = [getattr(one, "fused_attn", None) for one in model.net.modules()]
    assert to_onnx(model, list("abcdefg"), tmp_path / "m.onnx") < 1e-4
    assert [getattr(one, "fused_attn", None) for one in model.net.modules()] == before
    save_weights(model.net, tmp_path / "model.safetensors")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        own = model.net.eval()(images)
    # MViT's micro shape stands in timm's table of shapes: the one line that plain timm needs
    shape = "mvitv2.MultiScaleVitCfg(depths=(1, 1, 2, 1), embed_dim=24, num_heads=1)"
    shape = f"mvitv2.model_cfgs['mvitv2_micro'] = {shape}"
    code = (
        "import sys, torch, timm\nfrom timm.models import mvitv2\nfrom safetensors.torch import load_file\n"
        f"{shape if family == 'mvit' else ''}\n"
        f"net = timm.create_model({arch!r}, num_classes=7, **{overrides!r})\n"
        "net.load_state_dict(load_file('model.safetensors'), strict=True)\n"
        "images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))\n"
        "torch.set_printoptions(precision=8)\n"
        "with torch.inference_mode(): print(net.eval()(images).flatten().tolist())\n"
        "assert not any(name.split('.')[0] in ('pipeline', 'stages') for name in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout), own.flatten(), atol=1e-6)


def test_ctrl_c_ends_without_a_traceback(project: Path) -> None:
    process = subprocess.Popen(
        [BIN / "stillroom", "predict", *(["artifacts/data"] * 60), *VIT],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said and process.returncode == 1

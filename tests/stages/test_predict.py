"""`stillroom predict` says what evaluation says; finished models of strangers are loaded with care."""

import json
import os
import shutil
import signal
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from stillroom.errors import DataError, WeightsError
from stillroom.evaluation.forward import evaluation_logits
from stillroom.evaluation.metrics import softmax
from stillroom.modalities import load_samples
from stillroom.modalities.images.models.load import load
from stillroom.progress import Progress
from tests import warm
from tests.conftest import environment, run_in, until
from tests.modalities.images.odd_images import chunk
from tests.warm import LONGEST

VIT = ["--student", "artifacts/students/vit-kd-0"]


def test_predictions_are_those_of_the_evaluation(finished: Path) -> None:
    """Over the whole test split, by list on stdin: the same probabilities, and so the same accuracy."""
    samples = load_samples(finished / "artifacts/data").in_splits("test")
    listed = "\n".join(str(samples.file(row)) for row in samples.rows)
    done = subprocess.run(
        [warm.command("stillroom"), "predict", "-", "--json", "--top", "40", *VIT],
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


def test_a_model_evaluated_in_bf16_is_asked_in_bf16(project: Path) -> None:
    """Rounded, it answers otherwise than in float32 for some images; predict says what its metrics say."""
    folder = project / "artifacts/students/pvt-kd-0"
    _change(folder, {"config": {"train": {"amp": "bf16"}}})
    test = load_samples(project / "artifacts/data").in_splits("test")
    names = [str(test.file(row)) for row in test.rows]
    done = run_in(project, "stillroom", "predict", *names, "--student", str(folder), "--json", "--top", "40")
    model, described = load(folder)
    assert described.config.train.amp == "bf16"
    rounded, exact = (
        softmax(evaluation_logits(model, test, 32, amp, Progress(), "")) for amp in ("bf16", "none")
    )
    shares = [{one["class"]: one["probability"] for one in entry["top"]} for entry in json.loads(done.stdout)]
    found = np.array([[share[name] for name in test.classes] for share in shares])
    assert abs(found - rounded).max() < 1e-6 < abs(exact - rounded).max() / 10


def test_folders_and_tables(project: Path) -> None:
    folder = project / "some pictures"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.PNG", "inner/ä.jpg", "note.txt"):
        Image.new("RGB", (70, 40), (200, 90, 10)).save(folder / name, "PNG")
    done = run_in(project, "stillroom", "predict", str(folder), *VIT, "--top", "2")
    assert max(len(line) for line in done.stdout.splitlines() if "%" in line) <= 100
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
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 1, 0, 0, 0, 0))
    (project / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")))
    (project / "script.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    names = ["cut.jpg", "text.png", "missing.jpg", "nothing", "bomb.png", "script.jpg", "a" * 5000]
    done = run_in(project, "stillroom", "predict", *names, str(good), "--json", *VIT, code=1)
    assert [entry["image"] for entry in json.loads(done.stdout)] == [str(good)]
    assert all(f"error: {name}" in done.stderr for name in names)
    assert done.stderr.count("\n") == len(names)
    # what would run another program (EPS: Ghostscript) is not opened at all, whatever its name
    assert "script.jpg: not an image of a format that is read" in done.stderr


def test_any_file_name_is_shown_and_read(project: Path) -> None:
    """A name is bytes: some are no text, some would steer the terminal."""
    good = next((project / "artifacts/data").rglob("*.jpg")).read_bytes()
    names = [b"latin\xe9.jpg", b"red\x1b[31m.jpg", b"[bold]two\nlines.jpg"]
    (project / "odd").mkdir()
    for name in names:
        (project / "odd" / os.fsdecode(name)).write_bytes(good)
    strict = environment() | {"PYTHONIOENCODING": "utf-8:strict"}  # as in most users' locales

    def predicted(*arguments: str, said: bytes = b"") -> bytes:
        command = [warm.command("stillroom"), "predict", *arguments, *VIT]
        done = subprocess.run(command, input=said, capture_output=True, cwd=project, env=strict)
        assert done.returncode == 0, done.stderr
        return done.stdout

    entries = json.loads(predicted("odd", "--json"))
    assert {os.fsencode(entry["image"]) for entry in entries} == {b"odd/" + name for name in names}
    table = predicted("odd", "--top", "1")
    assert b"\x1b" not in table and table.count(b"\n") == 2 * len(names)
    assert rb"latin\udce9" in table and rb"two\nlines" in table
    assert rb"latin\udce9" in predicted("-", "--top", "1", said=b"odd/latin\xe9.jpg\n")


def test_models_that_cannot_be_are_refused(project: Path) -> None:
    image = str(next((project / "artifacts/data").rglob("*.jpg")))
    run = ["stillroom", "predict", image, "--student"]
    assert "no finished model" in run_in(project, *run, "nowhere", code=1).stderr
    folder = project / "artifacts/students/vit-kd-0"
    _change(folder, {"arch": "vit_tiny_patch16_225"})
    assert "vit_tiny_patch16_224" in run_in(project, *run, str(folder), code=1).stderr


@pytest.fixture
def vit(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished student's folder that a test may change."""
    return shutil.copytree(finished / "artifacts/students/vit-kd-0", tmp_path / "vit")


def test_weights_of_another_model_and_damaged_ones_are_refused(finished: Path, vit: Path) -> None:
    file = vit / "model.safetensors"
    weights = file.read_bytes()
    file.unlink()
    with pytest.raises(WeightsError, match="there is no weights file"):
        load(vit)
    shutil.copy(finished / "artifacts/students/pvt-kd-0/model.safetensors", file)
    with pytest.raises(WeightsError, match=r"does not fit vit_tiny_patch16_224 (.|\n)*: not in the file"):
        load(vit)
    file.write_bytes(weights[:1000])
    with pytest.raises(WeightsError, match="damaged"):
        load(vit)
    file.write_bytes(weights)
    _change(vit, {"classes": ["one", "two"]})
    with pytest.raises(WeightsError, match=r"head.weight: model \[2, 96\], file \[40, 96\]"):
        load(vit)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"arch": 7}, "arch"),
        ({"arch": "no_such_model"}, "no_such_model"),
        ({"arch": "hf-hub:timm/vit_tiny_patch16_224.augreg_in21k"}, "hf-hub"),
        ({"classes": "all"}, "classes"),
        ({"classes": []}, "classes"),
        ({"input": {"size": 10**6, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "input.size"),
        ({"input": {"size": 96, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "96 x 96 pixels"),
        ({"input": {"size": 64, "mean": [0, 0, 0], "std": [1, 0, 1]}}, "input.std.1"),
        ({"config": {"train": {"amp": "fp8"}}}, "config.train.amp"),
        ({"overrides": {"patch_size": 0}}, "timm makes no"),
        ({"overrides": {"act_layer": "no such"}}, "timm makes no"),
        ({"overrides": {"patch_size": 8, "img_size": 32, "global_pool": ""}}, "no logits"),
        ({"overrides": {"num_classes": 3}}, "num_classes"),
        # far more memory than there is: refused before it is asked for
        ({"overrides": {"patch_size": 8, "img_size": 32, "embed_dim": 9 * 10**6}}, "does not fit"),
        ({"overrides": {"patch_size": 8, "img_size": 32, "embed_dim": 9 * 10**9}}, "larger than any size"),
        ({"overrides": {"patch_size": 8, "img_size": 32, "depth": 10**6}}, "20,000 modules"),
    ],
)
def test_a_description_that_is_none_of_a_model_is_refused(vit: Path, change: dict, word: str) -> None:
    _change(vit, change)
    with pytest.raises((DataError, WeightsError), match=word):
        load(vit)


@pytest.mark.parametrize(
    "how", ["checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"]
)
def test_a_description_opens_no_other_file_and_no_address(
    vit: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm would unpickle the file, or ask the hub, before the weights beside the description are read."""
    opened: list[str] = []
    for name in ("torch.load", "torch.hub.download_url_to_file", "huggingface_hub.hf_hub_download"):
        monkeypatch.setattr(name, lambda *arguments, **more: opened.append(str(arguments)))
    values = {"pretrained": True, "pretrained_cfg": {"file": "evil.pth"}}
    described = json.loads((vit / "student.json").read_text())
    _change(vit, {"overrides": described["overrides"] | {how: values.get(how, "evil.pth")}})
    with pytest.raises(DataError, match=f"overrides.*{how}"):
        load(vit)
    assert not opened


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b"{" + b"\xff" * 9),
        lambda file: file.write_text("[" * 100_000),
        lambda file: file.write_text("[]"),
        lambda file: os.truncate(file, 65 * 2**20),
    ],
    ids=["no text", "deep", "a list", "large"],
)
def test_damaged_json_is_one_message(vit: Path, damage: Callable[[Path], object]) -> None:
    file = vit / "student.json"
    damage(file)
    with pytest.raises(DataError, match=r"student\.json"):
        load(vit)


def _change(folder: Path, change: dict) -> None:
    """Write other values into a student.json, which may be a link into DVC's cache."""
    described = json.loads((folder / "student.json").read_text())
    (folder / "student.json").unlink()
    (folder / "student.json").write_text(json.dumps(described | change))


def test_no_image_is_an_error_and_a_closed_pipe_is_none(project: Path) -> None:
    done = subprocess.run(
        [warm.command("stillroom"), "predict", *VIT],
        input="",
        capture_output=True,
        text=True,
        cwd=project,
        env=environment(),
    )
    assert done.returncode == 2 and "no file" in done.stderr and "Traceback" not in done.stderr
    # more than a pipe holds
    line = f"stillroom predict artifacts/data {' '.join(VIT)} --top 40 | head -n 1"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=project, env=environment(), timeout=LONGEST
    )
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr


def test_ctrl_c_ends_without_a_traceback(project: Path) -> None:
    command = ("stillroom", "predict", *(["artifacts/data"] * 60), *VIT)
    process = warm.start(command, project, environment())
    until(lambda: process.stdout, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert "Traceback" not in said and process.returncode == 1
    assert "stopped" in said and "goes on" not in said

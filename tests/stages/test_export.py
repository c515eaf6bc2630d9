"""`stillroom export` writes what it has checked; every family exports, and its weights load in plain timm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stillroom.errors import StillroomError
from stillroom.modalities import load_samples
from stillroom.modalities.images.fields import centre
from stillroom.modalities.images.models.create import Model, create
from stillroom.modalities.images.models.families import FAMILIES, student_arch
from stillroom.modalities.images.models.load import load
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.render import render, to_input
from stillroom.modalities.onnx import to_onnx
from stillroom.modalities.weights import save_weights
from tests.conftest import environment, run_in

VIT = ["--student", "artifacts/students/vit-kd-0"]


def test_export_writes_what_was_checked(project: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    done = run_in(project, "stillroom", "export", *VIT, "--to", "made/vit.onnx")
    assert "made/vit.onnx" in done.stdout
    assert os.listdir(project / "made") == ["vit.onnx"]
    session = onnxruntime.InferenceSession(project / "made/vit.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["size"]) == 32 and len(json.loads(about["classes"])) == 40
    model, described = load(project / "artifacts/students/vit-kd-0")
    assert json.loads(about["classes"]) == described.classes
    test = load_samples(project / "artifacts/data").in_splits("test")
    pixels = Pixels(test)
    squares = np.stack([render(pixels[row], centre(row.size), 32) for row in test.rows[:3]])
    images = to_input(torch.from_numpy(squares), json.loads(about["mean"]), json.loads(about["std"]))
    for count in (1, 3):
        with torch.inference_mode():
            own = model.net(images[:count]).numpy()
        [theirs] = session.run(["logits"], {"pixels": images[:count].numpy()})
        assert theirs.shape == (count, 40) and abs(own - theirs).max() < 1e-4 * max(1, abs(own).max())


@pytest.mark.parametrize("target", [".", "student.json/vit.onnx", "/proc/vit.onnx"])
def test_a_place_that_cannot_be_written_is_one_message(project: Path, target: str) -> None:
    folder = project / "artifacts/students/vit-kd-0"
    before = sorted(os.listdir(folder))
    done = run_in(folder, "stillroom", "export", "--student", ".", "--to", target, code=1)
    assert f"{target} cannot be written" in done.stderr
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks what is not there
    arch, overrides = student_arch("vit", "micro", 64)
    with pytest.raises(StillroomError, match=r"pip install 'stillroom\[onnx\]'"):
        to_onnx(create(arch, 7, overrides, size=64), list("abcdefg"), tmp_path / "m.onnx", "pixels")
    assert not list(tmp_path.iterdir())


def test_a_file_that_answers_otherwise_is_not_written(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    arch, overrides = student_arch("vit", "micro", 64)
    model = create(arch, 7, overrides, size=64)
    net = model.net

    class Fickle(torch.nn.Module):
        """Its logits are a little larger than those that it was exported with."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return net(images) if torch.compiler.is_exporting() else net(images) + 0.01

    model.net = Fickle()
    with pytest.raises(StillroomError, match=r"does not say what the model says(.|\n)*differ by 1\.0e-02"):
        to_onnx(model, list("abcdefg"), tmp_path / "m.onnx", "pixels")
    assert not list(tmp_path.iterdir())


# Loads each family's weights in plain timm; for MViT its micro shape stands in timm's table of shapes
PLAIN = """
import json, sys, torch, timm
from timm.models import mvitv2
from safetensors.torch import load_file
mvitv2.model_cfgs["mvitv2_micro"] = mvitv2.MultiScaleVitCfg(depths=(1, 1, 2, 1), embed_dim=24, num_heads=1)
told = {}
for family, (arch, overrides) in json.load(sys.stdin).items():
    net = timm.create_model(arch, num_classes=7, **overrides)
    net.load_state_dict(load_file(f"{family}.safetensors"), strict=True)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        told[family] = net.eval()(images).flatten().tolist()
print(json.dumps(told))
assert not any(name.split(".")[0] in ("stillroom", "stillroom_stages") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """What plain timm says to the weights of each family, as `seeded` makes it, in a process without us."""
    folder = tmp_path_factory.mktemp("plain")
    for family in FAMILIES:
        save_weights(seeded(family).net, folder / f"{family}.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", PLAIN],
        input=json.dumps({family: student_arch(family, "micro", 64) for family in FAMILIES}),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment(), "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def seeded(family: str) -> Model:
    arch, overrides = student_arch(family, "micro", 64)
    return create(arch, 7, overrides, size=64, seed=3)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_exports_and_loads_in_plain_timm(
    family: str, plain: dict[str, list[float]], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    model = seeded(family)
    before = [getattr(one, "fused_attn", None) for one in model.net.modules()]
    assert to_onnx(model, list("abcdefg"), tmp_path / "m.onnx", "pixels") < 1e-4
    assert [getattr(one, "fused_attn", None) for one in model.net.modules()] == before
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        own = model.net.eval()(images)
    assert np.allclose(plain[family], own.flatten(), atol=1e-6)

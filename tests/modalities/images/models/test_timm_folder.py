"""timm makes of a folder what `load_model` makes of it, and folders of timm's are teachers and students."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import stillroom
from stillroom.errors import ParamsError, WeightsError
from stillroom.modalities.images import settings
from stillroom.modalities.images.models import timm_folder
from stillroom.modalities.images.models.create import create, fill, of_folder
from stillroom.modalities.images.models.families import FAMILIES, student_arch, student_of
from stillroom.modalities.images.settings import StudentModel
from tests.modalities.images.models.timm_folders import CLASSES, MICRO, VIT, change, small, write

# A stranger's program: timm alone
STRANGER = """
import sys
import numpy as np, timm, torch
torch.use_deterministic_algorithms(True)
from timm.models import mvitv2
if sys.argv[1] == "registered":  # the lines of docs/students.md
    shape = mvitv2.MultiScaleVitCfg(depths=(1, 1, 2, 1), embed_dim=24, num_heads=1)
    mvitv2.model_cfgs["mvitv2_micro"] = shape
for folder in sys.argv[2:]:
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(net)
    side = config["input_size"][-1]
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        np.save(f"{folder}.npy", net(images).numpy())
    print(config["input_size"], config["mean"], config["crop_pct"], config["interpolation"])
assert not [name for name in sys.modules if name.startswith("stillroom")]
"""


def logits(folder: Path) -> np.ndarray:
    """What `load_model`'s model says of the stranger's images."""
    model = stillroom.load_model(folder)
    images = torch.randn(3, *model.example(1).shape[1:], generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        return model(images)["logits"].numpy()


def stranger(kind: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", STRANGER, kind, *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_timm_alone_gives_equal_logits_for_six_families(tmp_path: Path) -> None:
    """Bit for bit, in a process that knows nothing of stillroom; and for CNNs as teachers are."""
    folders = {}
    for family in FAMILIES:
        arch, arguments = student_arch(family, "micro", 64)
        model = create(arch, 5, arguments, size=64, seed=3)
        model.mean, model.std = (0.1, 0.2, 0.3), (0.5, 0.5, 0.5)
        folders[family] = write(tmp_path / family, model)
    cnn = {"patch_size": 4, "depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}
    folders["convnext"] = write(tmp_path / "convnext", create("convnext_atto.d2_in1k", 5, cnn, size=48))
    folders["resnet"] = write(tmp_path / "resnet", create("resnet10t", 5, {}, size=80))
    done = stranger("registered", *folders.values())
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "(3, 64, 64) [0.1, 0.2, 0.3] 1.0 bicubic" and "3, 80, 80" in said[-1]
    for family, folder in folders.items():
        assert np.array_equal(np.load(f"{folder}.npy"), logits(folder)), family
    # whose timm does not know the micro MViT's shape is told so, by timm
    done = stranger("bare", folders["mvit"])
    assert done.returncode != 0 and "KeyError: 'mvitv2_micro'" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", ["micro", "tiny", "small", "base"])
@pytest.mark.parametrize("side", [64, 224])
def test_timm_makes_every_size_of_it(family: str, size: str, side: int, tmp_path: Path) -> None:
    """The same tensors, by name and shape, for the input that it was made for; nothing is computed."""
    arch, arguments = student_arch(family, size, side)
    with torch.device("meta"):
        model = create(arch, 5, arguments, size=side)
        (tmp_path / "config.json").write_text(json.dumps(model.config(CLASSES)))
        net = timm.create_model(f"local-dir:{tmp_path}", pretrained=False).eval()
    shapes = {name: value.shape for name, value in model.net.state_dict().items()}
    assert {name: value.shape for name, value in net.state_dict().items()} == shapes
    assert net.pretrained_cfg["input_size"] == (3, side, side) or net.pretrained_cfg["input_size"] == [
        3,
        side,
        side,
    ]
    assert net.pretrained_cfg["label_names"] == list(CLASSES)


def test_an_old_folder_without_it_still_loads(tmp_path: Path) -> None:
    folder = small(tmp_path / "one")
    before = logits(folder)
    (folder / "config.json").unlink()
    assert np.array_equal(before, logits(folder))
    with pytest.raises(WeightsError, match=r"no config\.json"):
        timm_folder.read(f"local-dir:{folder}")


def teacher(folder: Path, classes: tuple[str, ...] = CLASSES, size: int | None = None, **more: object):
    """The model of a folder, for a table of these classes."""
    made = of_folder(*timm_folder.read(f"local-dir:{folder}"), size, more)
    return create(
        made.arch, len(classes), made.overrides, size=made.spec["size"], start=made.start, classes=classes
    ), made


def test_a_folder_is_a_teacher_with_its_weights_and_input(tmp_path: Path) -> None:
    model = create(VIT, 5, MICRO, seed=1, size=32)
    model.mean, model.std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    folder = write(tmp_path / "one", model)
    net, made = teacher(folder)
    assert made.arch == VIT and made.spec == {"size": 32, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    assert net.loaded.source == "model.safetensors" and not net.loaded.fresh()
    for name, value in load_file(folder / "model.safetensors").items():
        assert torch.equal(net.net.state_dict()[name], value)


def test_one_that_timm_itself_saved_is_read_too(tmp_path: Path) -> None:
    """With the arguments that timm adds: channels, classes, pooling, a pair as the size."""
    from timm.models import save_for_hf

    net = timm.create_model(VIT, num_classes=5, **MICRO)
    save_for_hf(net, tmp_path / "one", {"label_names": list(CLASSES)}, safe_serialization=True)
    model, made = teacher(tmp_path / "one")
    assert not model.loaded.fresh() and made.spec["size"] == 32
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(model.net.eval()(image), net.eval()(image))


def test_at_another_size_position_tables_are_resampled(tmp_path: Path) -> None:
    model, made = teacher(small(tmp_path / "one"), size=64)
    assert made.overrides["img_size"] == 64 and not model.loaded.fresh()
    assert model.net.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


def test_logits_are_put_into_the_tables_order_by_name(tmp_path: Path) -> None:
    folder = small(tmp_path / "one")
    as_it_is, _ = teacher(folder)
    turned, _ = teacher(folder, CLASSES[::-1])
    image = torch.randn(2, 3, 32, 32)
    said = as_it_is.net.eval()(image)
    assert torch.allclose(turned.net.eval()(image), said.flip(1), atol=1e-6)
    assert not torch.allclose(turned.net(image), said, atol=1e-3)


def test_a_head_of_other_classes_is_made_fresh(tmp_path: Path) -> None:
    """Though it has as many; nothing of it is taken for a class that it does not know."""
    folder = small(tmp_path / "one")
    other, _ = teacher(folder, (*CLASSES[:-1], "yak"))
    assert other.loaded.remade == ["head.bias", "head.weight"] and not other.loaded.missing
    change(folder, label_names=None)
    unknown, _ = teacher(folder, (*CLASSES[:-1], "yak"))
    assert not unknown.loaded.fresh()


def test_a_folder_without_tensors_is_refused(tmp_path: Path) -> None:
    """A model of random weights would be adopted without a word."""
    folder = small(tmp_path / "one")
    save_file({}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="another architecture"):
        teacher(folder)


@pytest.mark.parametrize(
    "names", [{"0": "cat", "1": "dog", "2": "emu", "3": "fox", "4": "gnu"}, list(CLASSES)]
)
def test_names_may_be_numbered(tmp_path: Path, names: object) -> None:
    folder = small(tmp_path / "one")
    change(folder, label_names=names)
    assert timm_folder.read(f"local-dir:{folder}")[1].classes == list(CLASSES)
    change(folder, label_names={"0": "cat", "7": "dog"})
    assert timm_folder.read(f"local-dir:{folder}")[1].classes is None


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "x.pth.tar"])
def test_pickles_are_never_opened(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm falls back to each of these."""
    monkeypatch.chdir(tmp_path)
    folder = small(tmp_path / "one")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match=r"no model\.safetensors") as caught:
        timm_folder.read(f"local-dir:{folder}")
    assert name in caught.value.why and "never opened" in caught.value.why
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"architecture": "vit_of_mine"}, "no architecture 'vit_of_mine'"),
        ({"architecture": None}, "architecture: Field required"),
        ({"model_args": {"pretrained_cfg": {"file": "evil.pth"}}}, "pretrained_cfg cannot be set here"),
        ({"model_args": {"checkpoint_path": "evil.pth"}}, "checkpoint_path cannot be set here"),
        ({"model_args": {"in_chans": 1}}, "in_chans is not 3"),
        ({"pretrained_cfg": {"std": [0.0, 1.0, 1.0]}}, r"std\.0: Input should be greater than 0"),
    ],
)
def test_what_describes_no_model_is_refused(tmp_path: Path, values: dict, said: str) -> None:
    folder = small(tmp_path / "one")
    change(folder, **values)
    with pytest.raises(WeightsError, match=said):
        timm_folder.read(f"local-dir:{folder}")


@pytest.mark.parametrize("content", ["", "[]", "{", '"x"', "\x00", "[" * 10**5])
def test_a_damaged_config_is_refused(tmp_path: Path, content: str) -> None:
    folder = small(tmp_path / "one")
    (folder / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        timm_folder.read(f"local-dir:{folder}")


def test_a_size_that_asks_for_too_much_is_refused_before_it_is_made(tmp_path: Path) -> None:
    folder = small(tmp_path / "one")
    change(folder, pretrained_cfg={"input_size": [3, 10**6, 10**6]})
    with pytest.raises(WeightsError, match="input_size"):
        timm_folder.read(f"local-dir:{folder}")
    change(folder, pretrained_cfg={}, model_args={**MICRO, "embed_dim": 3 * 2**17})  # terabytes
    with pytest.raises(WeightsError, match="another architecture"):
        teacher(folder, size=32)
    change(folder, model_args={**MICRO, "depth": 10**6})  # hours, though of small parts
    with pytest.raises(ParamsError, match="20,000 modules"):
        teacher(folder, size=32)
    change(folder, model_args={**MICRO, "drop_path_rate": 0.1, "depth": 10**9})  # a number for each block
    with pytest.raises(WeightsError, match="larger than any size"):
        teacher(folder, size=32)


@pytest.mark.parametrize(
    "name", ["local-dir:", "local-dir: ", "hf-hub:alone", "hf-hub:../..", "hf-hub:a/b/c"]
)
def test_names_that_can_be_none_are_refused(name: str) -> None:
    with pytest.raises(ParamsError, match="names no"):
        settings.check_name(name, "teacher.arch")


def test_the_hub_is_asked_for_safetensors_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="cannot be had from the hub") as caught:
        timm_folder.read("hf-hub:timm/resnet18.a1_in1k")
    assert "timm/resnet18.a1_in1k" in caught.value.what and "HF_HUB_OFFLINE" in caught.value.fix
    # what was downloaded before is used
    source = small(tmp_path / "one")
    kept = tmp_path / "models--me--mine"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("abc")
    (kept / "snapshots").mkdir()
    source.rename(kept / "snapshots/abc")
    config, start = timm_folder.read("hf-hub:me/mine")
    assert config.architecture == VIT and start.name == "hf-hub:me/mine"
    (start.file.parent / "model.safetensors").rename(start.file.parent / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be had from the hub"):
        timm_folder.read("hf-hub:me/mine")


def test_a_folder_is_a_family_that_starts_from_its_weights(tmp_path: Path) -> None:
    folder = small(tmp_path / "one")
    model = StudentModel.model_validate({"sources": {"mine": f"local-dir:{folder}"}})
    assert "sources" not in model.model_dump()  # a record does not say where it lies
    arch, arguments, start = student_of("mine", model, 64)
    assert arch == VIT and arguments["img_size"] == 64 and arguments["depth"] == 2
    made = create(arch, 5, arguments, size=64, start=start, classes=CLASSES)
    assert not made.loaded.fresh()


def test_its_short_name_says_what_it_is_not_where_it_lies(tmp_path: Path) -> None:
    folder = small(tmp_path / "My ViT-1")
    name = timm_folder.short_name(f"local-dir:{folder}")
    assert name.startswith("my_vit_1.") and len(name) == len("my_vit_1.") + 8
    (tmp_path / "elsewhere").mkdir()
    moved = folder.rename(tmp_path / "elsewhere" / folder.name)
    assert timm_folder.short_name(f"local-dir:{moved}") == name
    weights = moved / "model.safetensors"
    save_file({key: value + 1 for key, value in load_file(weights).items()}, weights)
    assert timm_folder.short_name(f"local-dir:{moved}") != name


def test_a_head_of_another_width_is_never_reordered(tmp_path: Path) -> None:
    net = create(VIT, 4, MICRO, seed=1).net
    tensors = load_file(small(tmp_path / "one") / "model.safetensors")
    loaded = fill(net, tensors, "x", VIT, (CLASSES[:4][::-1], CLASSES[:4]))
    assert loaded.remade == ["head.bias", "head.weight"]

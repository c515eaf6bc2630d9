"""Six families at their sizes, and weights files that fit, fit in part, or do not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stillroom.errors import ParamsError, WeightsError
from stillroom.modalities.images.models.create import create
from stillroom.modalities.images.models.families import FAMILIES, student_arch
from stillroom.modalities.weights import save_weights, weights_digest

VIT = "vit_tiny_patch16_224"
MICRO = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", ["micro", "tiny"])
@pytest.mark.slow
def test_every_family_learns_at_every_size_it_says_it_takes(family: str, size: str) -> None:
    """And the sizes that it refuses are refused with ones that work."""
    taken = 0
    for side in (32, 48, 64, 96):
        try:
            arch, arguments = student_arch(family, size, side)
        except ParamsError as error:
            suggested = [int(word) for word in error.fix.split() if word.isdigit()]
            assert suggested
            for other in suggested:
                student_arch(family, size, other)
            continue
        taken += 1
        model = create(arch, 7, arguments, size=side)
        logits = model.net(torch.randn(2, 3, side, side))
        assert logits.shape == (2, 7)
        logits.sum().backward()
        assert all(value.grad is not None for value in model.net.parameters() if value.requires_grad)
    assert taken >= 2


@pytest.mark.slow
def test_the_paper_sizes_are_timm_models_at_224() -> None:
    for family in FAMILIES:
        for size in ("tiny", "small", "base"):
            arch, arguments = student_arch(family, size, 224)
            with torch.device("meta"):
                assert sum(p.numel() for p in create(arch, 40, arguments, size=224).net.parameters()) > 3e6


def test_fresh_weights_are_a_function_of_the_seed() -> None:
    digests = [weights_digest(create(VIT, 5, MICRO, seed=seed).net) for seed in (3, 3, 4)]
    assert digests[0] == digests[1] != digests[2]


def test_saved_weights_load_in_plain_timm(tmp_path: Path) -> None:
    import timm

    model = create(VIT, 5, MICRO, seed=1)
    save_weights(model.net, tmp_path / "model.safetensors")
    plain = timm.create_model(VIT, num_classes=5, **MICRO)
    plain.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(plain.eval()(image), model.net.eval()(image))


def test_a_head_of_other_classes_is_made_fresh_and_said(tmp_path: Path) -> None:
    wide = create(VIT, 1000, MICRO, seed=1)
    save_weights(wide.net, tmp_path / "w.safetensors")
    model = create(VIT, 40, MICRO, weights=str(tmp_path / "w.safetensors"), seed=2)
    assert model.loaded.remade == ["head.bias", "head.weight"]
    assert torch.equal(model.net.blocks[0].attn.qkv.weight, wide.net.blocks[0].attn.qkv.weight)


def test_a_partial_file_says_what_was_missing_and_unexpected(tmp_path: Path) -> None:
    tensors = create(VIT, 5, MICRO, seed=1).net.state_dict()
    del tensors["blocks.1.mlp.fc1.weight"]
    tensors["extra.weight"] = torch.zeros(3)
    save_file(tensors, tmp_path / "w.safetensors")
    loaded = create(VIT, 5, MICRO, weights=str(tmp_path / "w.safetensors")).loaded
    assert loaded.missing == ["blocks.1.mlp.fc1.weight"]
    assert loaded.unexpected == ["extra.weight"]
    assert loaded.fresh() == ["blocks.1.mlp.fc1.weight"]


def test_position_tables_are_resampled_to_the_input_size(tmp_path: Path) -> None:
    save_weights(create(VIT, 5, MICRO | {"img_size": 64}).net, tmp_path / "w.safetensors")
    loaded = create(VIT, 5, MICRO, weights=str(tmp_path / "w.safetensors")).loaded
    assert loaded.fresh() == []


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_weights(create(VIT, 5, MICRO).net, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="another architecture than convnext_atto"):
        create("convnext_atto", 5, {}, weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(WeightsError, match="another architecture"):
        create(VIT, 5, MICRO | {"embed_dim": 96}, weights=str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0garbage!", b"\xff" * 64])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged or no safetensors"):
        create(VIT, 5, MICRO, weights=str(tmp_path / "w.safetensors"))


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"not a \.safetensors file"):
        create(VIT, 5, MICRO, weights=str(tmp_path / "w.pt"))
    with pytest.raises(WeightsError, match="no weights file"):
        create(VIT, 5, MICRO, weights=str(tmp_path / "none.safetensors"))


def test_an_unreachable_hub_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        create("convnext_atto", 40, {}, weights="hub")
    assert "safetensors file" in caught.value.fix and "none" in caught.value.fix


def test_an_unknown_model_names_its_neighbours() -> None:
    with pytest.raises(ParamsError, match="convnext_atto"):
        create("convnxt_atto", 40, {})
    with pytest.raises(ParamsError, match="timm cannot make"):
        create(VIT, 40, {"patch_sise": 8})


@pytest.mark.parametrize(
    ("name", "size", "arguments"),
    [
        ("deit_tiny_patch16_224", 64, {"img_size": 64}),
        ("resnet18", 50, {}),
        ("vit_tiny_patch16_224", 96, {"img_size": 96}),
    ],
)
def test_any_timm_model_is_a_student_by_its_own_name(name: str, size: int, arguments: dict) -> None:
    assert student_arch(name, "micro", size) == (name, arguments)
    model = create(name, 5, arguments, size=size)
    assert model.net.eval()(torch.zeros(1, 3, size, size)).shape == (1, 5)


@pytest.mark.slow
def test_a_size_that_a_model_cannot_take_is_met_with_sizes_that_work() -> None:
    with pytest.raises(ParamsError, match="twins_svt_small cannot take 20 x 20") as caught:
        student_arch("twins_svt_small", "tiny", 20)
    sizes = [int(word) for word in caught.value.fix.split() if word.isdigit()]
    assert sizes == [32, 64, 224]
    for size in sizes:
        student_arch("twins_svt_small", "tiny", size)


def test_overrides_take_precedence() -> None:
    _, arguments = student_arch("vit", "micro", 64, {"depth": 2})
    assert arguments["depth"] == 2 and arguments["img_size"] == 64
    assert student_arch("deit_tiny_patch16_224", "tiny", 64, {"depth": 1})[1] == {"img_size": 64, "depth": 1}

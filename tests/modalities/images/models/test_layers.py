"""What networks of images give beside their logits: any module's output, channels first, of one pass."""

import numpy as np
import pytest
import torch
from torch import nn

from stillroom.errors import ParamsError
from stillroom.modalities.base import Loaded
from stillroom.modalities.images.models.create import Model, create
from stillroom.modalities.images.models.families import FAMILIES, student_arch
from stillroom.modalities.images.models.places import channels_first, square
from stillroom.modalities.weights import weights_digest
from stillroom.progress import Progress
from stillroom.teaching.forward import Forward

SIDE = 64
ATTO = {"patch_size": 2, "depths": [1, 1, 1, 1], "dims": [8, 12, 16, 20]}


def family(name: str) -> Model:
    if name in FAMILIES:
        arch, arguments = student_arch(name, "micro", SIDE)
        return create(arch, 5, arguments, size=SIDE)
    return create(name, 5, ATTO if name == "convnext_atto" else {}, size=SIDE)


def pictures(count: int, model: Model | None = None) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


LAST = {
    "vit": ("blocks.3", (96, 8, 8)),
    "pvt": ("stages.3", (128, 2, 2)),
    "convit": ("blocks.3", (96, 8, 8)),
    "mvit": ("stages.3", (192, 2, 2)),
    "swin": ("layers.3", (256, 2, 2)),
    "twins": ("blocks.3.0", (128, 2, 2)),
    "convnext_atto": ("stages.3", (20, 2, 2)),
    "resnet18": ("layer4", (512, 2, 2)),
}


@pytest.mark.parametrize("name", LAST)
def test_the_last_stage_is_a_map_of_every_family(name: str) -> None:
    """Its places are those of the module's output, without class tokens; logits stay as they are."""
    model = family(name)
    model.net.eval()
    module, shape = LAST[name]
    assert model.last() == module and model.shape_of("last", "test") == shape
    with torch.no_grad():
        plain = model(pictures(2))["logits"]
        found = model(pictures(2), take=["last", "pooled", module])
    assert torch.equal(found["logits"], plain)
    assert found["last"].shape == (2, *shape) and found["pooled"].shape == (2, shape[0])
    whole = found[module].flatten(2)
    assert model.shape_of(module, "test") == tuple(found[module].shape[1:])
    assert torch.equal(whole[:, :, -shape[1] * shape[2] :], found["last"].flatten(2))
    assert whole.shape[2] - shape[1] * shape[2] == (name in ("vit", "convit"))


def test_a_map_of_channels_last_is_turned() -> None:
    model = family("swin")
    model.net.eval()
    seen: list[torch.Tensor] = []
    handle = model.net.get_submodule("layers.1").register_forward_hook(lambda *said: seen.append(said[2]))
    with torch.no_grad():
        found = model(pictures(2), take=["layers.1"])["layers.1"]
    handle.remove()
    assert seen[0].shape == (2, 8, 8, 64) and torch.equal(found, seen[0].permute(0, 3, 1, 2))


def test_where_the_channels_are_is_seen_by_the_square() -> None:
    first, last, tokens, vector = (torch.rand(2, *one) for one in ((3, 4, 4), (4, 4, 3), (17, 6), (6,)))
    net = nn.Identity()
    assert channels_first(first, net) is first and channels_first(vector, net) is vector
    assert torch.equal(channels_first(last, net), last.permute(0, 3, 1, 2))
    assert torch.equal(channels_first(tokens, net), tokens.transpose(1, 2))
    cube = torch.rand(2, 4, 4, 4)
    assert channels_first(cube, net) is cube
    net.output_fmt = "NHWC"  # as timm's Swin says
    assert torch.equal(channels_first(cube, net), cube.permute(0, 3, 1, 2))
    assert channels_first(first, net) is first
    assert torch.equal(square(tokens.transpose(1, 2)).flatten(2), tokens.transpose(1, 2)[:, :, 1:])


def test_shapes_are_found_without_a_trace() -> None:
    """In training mode neither statistics nor mode nor random numbers are others afterwards."""
    model = create("resnet18", 5, {"drop_rate": 0.5}, size=SIDE)
    model.net.train()
    model.net.get_submodule("layer1").eval()
    digest, modes = weights_digest(model.net), [one.training for one in model.net.modules()]
    state = torch.get_rng_state()
    assert model.shape_of("layer2.0.conv1", "test") == (128, 8, 8)
    assert torch.equal(torch.get_rng_state(), state) and weights_digest(model.net) == digest
    assert [one.training for one in model.net.modules()] == modes
    assert not any(one._forward_hooks for one in model.net.modules())


class Count(nn.Module):
    """Counts its passes; changes what an inner module gave in place; has a list that never runs by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 8, 8)
        self.stages = nn.ModuleList([nn.Conv2d(4, 6, 2, 2)])
        self.folded = nn.Flatten(0, 1)
        self.head = nn.Linear(6, 5)
        self.passes, self.seen = 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes, self.seen = self.passes + 1, self.seen + len(x)
        x = self.first(x).relu_()
        for stage in self.stages:
            x = stage(x)
        self.folded(x)
        return self.head(x.mean(dim=(2, 3)))

    def get_classifier(self) -> nn.Module:
        return self.head

    head_hidden_size = 6


def counted() -> Model:
    torch.manual_seed(0)
    return Model(Count(), "count", {}, SIDE, (0.5,) * 3, (0.5,) * 3, Loaded())


def test_one_pass_gives_logits_and_all_features() -> None:
    model = counted()
    views = [torch.randint(0, 256, (4, SIDE, SIDE, 3), dtype=torch.uint8) for _ in range(3)]
    forward = Forward(model, 4, "none", ["pooled", "last", "first"])
    found = forward(views, Progress())
    assert model.net.passes == 3 and model.net.seen == 12
    shapes = {"logits": (12, 5), "pooled": (12, 6), "last": (12, 6, 4, 4), "first": (12, 4, 8, 8)}
    assert {name: one.shape for name, one in found.items()} == shapes
    np.testing.assert_allclose(found["last"].mean(axis=(2, 3)), found["pooled"], atol=1e-5)


def test_what_comes_after_does_not_change_what_was_given() -> None:
    """`relu_` works on the very memory."""
    model = counted()
    inputs = torch.randn(2, 3, SIDE, SIDE)
    found = model(inputs, take=["first"])["first"]
    assert found.min() < 0
    torch.testing.assert_close(found, model.net.first(inputs))
    found.sum().backward()  # and it has its gradient
    assert model.net.first.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("frist", ["did you mean first", "it gives pooled, last, and what its modules give"]),
        ("stages", ["did you mean stages.0", "does not run that module by itself"]),
        ("folded", ["of 3 inputs that module gives [18, 4, 4]", "not an array for each"]),
        ("nonsense", ["has no features 'nonsense'", "it gives pooled"]),
    ],
)
def test_a_layer_that_is_not_there_is_met_with_near_ones(layer: str, words: list[str]) -> None:
    with pytest.raises(ParamsError) as caught:
        counted().shape_of(layer, "cache.teachers.maps.take")
    said = f"{caught.value.what} {caught.value.why} {caught.value.fix}"
    for word in ["cache.teachers.maps.take: count has no features", *words]:
        assert word in said

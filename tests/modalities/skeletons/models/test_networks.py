"""Four families at four sizes: shapes, sizes, what absent persons change, and what is handed on."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.models import ctrgcn
from stillroom.modalities.skeletons.models.blocks import distances
from stillroom.modalities.skeletons.models.create import SIZES, architecture, create
from stillroom.modalities.skeletons.settings import FAMILIES
from tests.modalities.skeletons.models.specs import clips, model, settled, spec

ALL = ("pooled", "full", "edges")


def parameters(net: torch.nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


@pytest.mark.parametrize("layout", ["penn13", "ntu25"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("family", "size"), [(f, s) for f in SIZES for s in SIZES[f]])
def test_every_family_and_size_learns_of_every_layout(family: str, size: str, dims: int, layout: str) -> None:
    changed = {"layout": layout, "dims": dims, "persons": 2, "frames": 6, "stream": "bone_motion"}
    made = model(family, size, 7, **changed)
    inputs = made.prepare(clips(2, **changed))
    assert inputs.shape == made.example(2).shape
    outputs = made(inputs, take=ALL)
    assert outputs["logits"].shape == (2, 7)
    for name, (_, shape) in made.layers().items():
        assert outputs[name].shape == (2, *shape) and outputs[name].dtype == torch.float32
    outputs["logits"].square().sum().backward()
    assert all(value.grad is not None for value in made.net.parameters())


def test_every_family_has_sizes_that_grow() -> None:
    assert tuple(SIZES) == FAMILIES
    for family in FAMILIES:
        counts = [parameters(model(family, size, 15).net) for size in ("micro", "tiny", "small", "base")]
        assert counts == sorted(counts) and counts[0] < 20_000 < counts[3]


# of the papers, in millions: Yan et al. 2018 as Chen et al. 2021 and others count it; Cheng et al. 2020, one
# stream; Chen et al. 2021
@pytest.mark.parametrize(
    ("family", "published", "own"),
    [("stgcn", 3.10, 3_098_832), ("shiftgcn", 0.69, 690_141), ("ctrgcn", 1.46, 1_446_522)],
)
def test_base_has_the_parameters_of_its_paper(family: str, published: float, own: int) -> None:
    """60 classes, 25 joints, 3 coordinates."""
    made = model(family, "base", 60, layout="ntu25", dims=3, frames=64, persons=2)
    assert parameters(made.net) == own
    assert abs(own / 1e6 - published) < 0.05 * published


@pytest.mark.parametrize("size", ["small", "tiny"])
def test_smaller_st_gcns_are_as_large_as_their_widths_say(size: str) -> None:
    assert parameters(model("stgcn", size, 15).net) == {"small": 227_429, "tiny": 60_485}[size]


@pytest.mark.parametrize("family", FAMILIES)
def test_absent_persons_change_nothing(family: str) -> None:
    one, three = settled(model(family)), model(family, persons=3)
    three.net.load_state_dict(one.net.state_dict())
    three.net.eval()
    raw = clips(4)
    with torch.inference_mode():
        alone = one(one.prepare(raw), take=ALL)
        for place in range(3):
            beside = torch.zeros(4, 3, *raw.shape[2:])
            beside[:, place] = raw[:, 0]
            found = three(three.prepare(beside), take=ALL)
            for name, value in alone.items():
                assert torch.allclose(found[name], value, atol=1e-5), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_persons_changes_nothing_and_each_counts(family: str) -> None:
    made = settled(model(family, persons=3))
    raw = clips(4, persons=3)
    raw[1, 2] = 0
    with torch.inference_mode():
        found = made(made.prepare(raw), take=ALL)
        turned = made(made.prepare(raw[:, [2, 0, 1]]), take=ALL)
        fewer = made(made.prepare(torch.cat([raw[:, :2], torch.zeros_like(raw[:, 2:])], dim=1)))
    for name, value in found.items():
        assert torch.allclose(turned[name], value, atol=1e-5), name
    apart = (fewer["logits"] - found["logits"]).abs().amax(dim=1)
    assert apart[1] < 1e-5 < apart[[0, 2, 3]].min()


@pytest.mark.parametrize("family", FAMILIES)
def test_clips_without_anyone_have_finite_logits_and_gradients(family: str) -> None:
    made = model(family, persons=2)
    raw = clips(3, persons=2)
    raw[0] = 0
    found = made(made.prepare(raw), take=ALL)
    assert (found["pooled"][0] == 0).all() and (found["full"][0] == 0).all()
    sum(value.square().sum() for value in found.values()).backward()
    assert all(value.isfinite().all() for value in found.values())
    assert all(value.grad.isfinite().all() for value in made.net.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("frames", [1, 5, 8])
def test_layers_are_means_of_one_another(family: str, frames: int) -> None:
    made = settled(model(family, persons=2, frames=frames))
    with torch.inference_mode():
        found = made(made.prepare(clips(3, persons=2, frames=frames)), take=ALL)
    full, pooled = found["full"], found["pooled"]
    assert full.shape[2] == -(-frames // 4)  # all families end at a quarter of the frames
    assert torch.allclose(full.mean(dim=2), pooled, atol=1e-6)
    assert torch.allclose(made.net.head(pooled.mean(dim=2)), found["logits"], atol=1e-6)
    assert torch.allclose(distances(pooled), found["edges"])


def test_edges_are_distances_over_their_mean() -> None:
    nodes = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = distances(nodes)
    for clip, row in zip(nodes.numpy(), found.numpy(), strict=True):
        expected = np.array(
            [np.linalg.norm(clip[:, a] - clip[:, b]) for a, b in product(range(5), repeat=2) if a < b]
        )
        assert np.allclose(row, expected / expected.mean())


def test_nobody_has_no_distances() -> None:
    """Else all would be equally far apart, and a student would be taught so."""
    nodes = torch.randn(3, 4, 5)
    nodes[1] = 0
    found = distances(nodes)
    assert (found[1] == 0).all() and (found[[0, 2]] > 0).all()


def test_edges_have_a_finite_gradient_where_nodes_coincide() -> None:
    nodes = torch.randn(2, 3, 5)
    nodes[0, :, 1] = nodes[0, :, 0]
    nodes[1] = 0
    nodes.requires_grad_()
    distances(nodes).square().sum().backward()
    assert nodes.grad is not None and nodes.grad.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_joints_far_apart_learn_of_each_other(family: str) -> None:
    """An ankle changes what is said of a wrist."""
    made = settled(model(family, "tiny"))
    layout = LAYOUTS["penn13"]
    raw = clips(1)
    inputs = made.prepare(raw).requires_grad_()
    pooled = made(inputs, take=("pooled",))["pooled"]
    pooled[0, :, layout.joints.index("left_wrist")].sum().backward()
    assert inputs.grad is not None
    assert inputs.grad[:, :, :, layout.joints.index("right_ankle")].abs().sum() > 0


def test_refined_edges_are_those_of_a_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    x, edges = torch.randn(2, 6, 4, 3, generator=draw), torch.randn(3, 3, generator=draw)
    with torch.no_grad():
        one = ctrgcn.Refinement(6, 5)
        found = one(x, edges, torch.tensor([0.7]))
        target, source, features = one.target(x).mean(2), one.source(x).mean(2), one.features(x)
        expected = torch.zeros_like(found)
        for to, of in product(range(3), repeat=2):
            related = torch.tanh(target[:, :, to] - source[:, :, of])
            weight = 0.7 * one.relation(related[:, :, None, None])[:, :, 0] + edges[to, of]
            expected[:, :, :, to] += weight * features[:, :, :, of]
    assert torch.allclose(found, expected, atol=1e-5)


def test_refinement_starts_from_what_comes_into_each_joint() -> None:
    """Rows are targets there: of the edges into a joint the weights sum to 1."""
    starts = [module.edges for module in model("ctrgcn").net.modules() if hasattr(module, "alpha")]
    assert len(starts) == 3
    assert all(torch.allclose(edges.sum(dim=(0, 2)), torch.ones(13)) for edges in starts)


@pytest.mark.parametrize("family", FAMILIES)
def test_drop_path_leaves_blocks_out_while_training_alone(family: str) -> None:
    still, dropping = (
        create(architecture(family, "tiny", {}, spec()), 5, drop_path=rate) for rate in (0.0, 0.9)
    )
    dropping.net.load_state_dict(still.net.state_dict())
    inputs = still.prepare(clips(8))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        assert not torch.allclose(still.net(inputs), dropping.net(inputs))
        dropping.net.load_state_dict(still.net.state_dict())
        assert torch.equal(still.net.eval()(inputs), dropping.net.eval()(inputs))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("persons", [1, 2])
def test_onnx_says_the_same_of_batches_of_any_size(family: str, persons: int, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from stillroom.modalities.onnx import BOUND, to_onnx

    changed = {"persons": persons, "frames": 6, "layout": "ntu25", "dims": 3}
    made = settled(model(family, **changed))
    assert to_onnx(made, list("abcde"), tmp_path / "model.onnx", "skeletons") <= BOUND
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    raw = clips(7, **changed)
    raw[::2, -1] = 0  # nobody there, or one of two
    for count in (1, 4, 7):
        inputs = made.prepare(raw[:count])
        with torch.inference_mode():
            own = made.net(inputs).numpy()
        [theirs] = session.run(["logits"], {"skeletons": inputs.numpy()})
        assert abs(own - theirs).max() < BOUND * max(1, abs(own).max())

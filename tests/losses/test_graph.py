"""Graph matching against its formula in float64, and what must not change it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from stillroom import losses
from stillroom.errors import ParamsError
from stillroom.losses._graph import distances, edge_distance, node_distance, projection
from stillroom.losses.gm import gm
from stillroom.losses.skd import skd
from tests.losses.test_losses import CLASSES, cross_entropy, expected_kd

BATCH, CHANNELS = 4, 6
SHAPES = {"pooled": (7,), "full": (3, 5)}
LABELS = np.array([0, 4, 2, 2])
GOLDEN = [
    [0.41670695629156, -0.59345651241215, 0.68859616645305],
    [-0.83002995260718, -0.55728438747626, 0.02200884481601],
]


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(BATCH, *shape))


def expected_edges(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Two loops over the nodes; smooth L1 is x^2 / 2 below 1, else |x| - 1/2."""
    found = []
    for own, other in zip(student, teacher, strict=True):
        relative = []
        for nodes in (own.reshape(len(own), -1).T, other.reshape(len(other), -1).T):
            apart = [
                np.sqrt(((nodes[i] - nodes[j]) ** 2).sum())
                for i in range(len(nodes))
                for j in range(len(nodes))
                if i != j
            ]
            relative.append(np.array(apart) / np.mean(apart))
        away = np.abs(relative[0] - relative[1])
        found.append(np.where(away < 1, away**2 / 2, away - 0.5).mean())
    return np.array(found)


def expected_nodes(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    return ((student - teacher) ** 2).reshape(len(student), -1).mean(axis=1)


def edges(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    return edge_distance(torch.tensor(student), torch.tensor(teacher)).numpy()


def given(features: np.ndarray, seed: int = 2) -> dict[str, torch.Tensor]:
    return {"logits": torch.tensor(3 * drawn(CLASSES, seed=seed)), "features": torch.tensor(features)}


def values(terms: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(one) for name, one in terms.items()}


@pytest.fixture(params=SHAPES)
def nodes(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return SHAPES[request.param]


WEIGHTS = {
    "usual": {},
    "other": {"nodes": 3.0, "edges": 0.5},
    "edges": {"nodes": 0.0},
    "nodes": {"edges": 0.0},
}


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("case", WEIGHTS)
def test_both_losses_are_their_formulas(nodes: tuple[int, ...], alpha: float, case: str) -> None:
    weights = WEIGHTS[case]
    own, other = drawn(CHANNELS, *nodes), 3 * drawn(CHANNELS, *nodes, seed=1)
    student, teacher = given(own), given(other, seed=3)
    logits, taught = student["logits"].numpy(), teacher["logits"].numpy()
    expected = {
        "nodes": alpha * weights.get("nodes", 0.01) * expected_nodes(own, other).mean(),
        "edges": alpha * weights.get("edges", 3.0) * expected_edges(own, other).mean(),
        "labels": (1 - alpha) * cross_entropy(logits, LABELS, 0.1),
        "teacher": alpha * expected_kd(logits, LABELS, taught, 2.0),
    }
    expected = {name: one for name, one in expected.items() if weights.get(name, 1.0)}
    settings = {"alpha": alpha, "label_smoothing": 0.1, **weights}
    labels = torch.tensor(LABELS)
    assert values(skd(student, labels, teacher, temperature=2.0, **settings)) == pytest.approx(expected)
    del expected["teacher"]
    assert values(gm(student, labels, teacher, **settings)) == pytest.approx(expected)


def test_distances_alone_have_edges_alone() -> None:
    """As if they had been taken of nodes; some of the teacher's, and the student's own."""
    own, other = drawn(CHANNELS, 7), drawn(CHANNELS + 3, 7, seed=1)
    apart = [given(distances(torch.tensor(one)).numpy()) for one in (own, other)]
    assert apart[0]["features"].shape == (BATCH, 21)
    terms = values(gm(apart[0], torch.tensor(LABELS), apart[1], alpha=1.0))
    assert set(terms) == {"edges", "labels"}
    assert terms["edges"] == pytest.approx(3 * expected_edges(own, other).mean())


@pytest.mark.parametrize("width", [4, 6, 9])
def test_gradients_are_those_of_the_values(nodes: tuple[int, ...], width: int) -> None:
    own = torch.tensor(drawn(CHANNELS, *nodes), requires_grad=True)
    other = torch.tensor(drawn(width, *nodes, seed=1))
    assert torch.autograd.gradcheck(node_distance, (own, other))
    assert torch.autograd.gradcheck(edge_distance, (own, other))


def test_equal_features_have_nothing_to_learn(nodes: tuple[int, ...]) -> None:
    features = torch.tensor(drawn(CHANNELS, *nodes)).float().requires_grad_()
    other = features.detach().clone()
    for distance in (node_distance, edge_distance):
        value = distance(features, other).sum()
        value.backward()
        assert float(value.detach()) == 0 and not features.grad.any()


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shift": lambda nodes: nodes + 50 * drawn(CHANNELS, 1, seed=5),
    "rotation of channels": lambda nodes: ortho_group.rvs(CHANNELS, random_state=0) @ nodes,
    "scale": lambda nodes: nodes * np.array([0.01, 3, 40, 1])[:, None, None],
    "further channels of nothing": lambda nodes: np.concatenate([nodes, 0 * nodes], axis=1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_edges_do_not_see(change: str, whose: str) -> None:
    own, other = drawn(CHANNELS, 9), drawn(CHANNELS, 9, seed=1)
    before = edges(own, other)
    changed = (CHANGES[change](own), other) if whose == "student" else (own, CHANGES[change](other))
    np.testing.assert_allclose(edges(*changed), before, rtol=1e-7)
    assert before.min() > 0.01


def test_edges_and_nodes_are_whose_they_are() -> None:
    """The same order on both sides is nothing; another on one side is a change."""
    own, other = drawn(CHANNELS, 9), drawn(CHANNELS, 9, seed=1)
    order = np.random.default_rng(2).permutation(9)
    pairs = {name: torch.tensor(one[:, :, order]) for name, one in (("own", own), ("other", other))}
    for distance in (edge_distance, node_distance):
        before = distance(torch.tensor(own), torch.tensor(other))
        torch.testing.assert_close(distance(pairs["own"], pairs["other"]), before)
        assert (distance(pairs["own"], torch.tensor(other)) - before).abs().min() > 1e-3


def test_a_graph_of_hundreds_of_nodes_in_single_precision() -> None:
    """Far from the origin, where products of features are large."""
    own, other = (drawn(16, 10, 20, seed=seed)[:2] for seed in (0, 1))
    found = edge_distance(torch.tensor(own + 100).float(), torch.tensor(other).float())
    np.testing.assert_allclose(found.numpy(), expected_edges(own, other), rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", ["all", "two", "nearly", "zeros"])
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_nodes_that_coincide_stay_finite(dtype: torch.dtype, case: str, whose: str) -> None:
    near = drawn(CHANNELS, 7)
    if case in ("all", "zeros"):
        near = np.full_like(near, 0.3 if case == "all" else 0.0)
    else:
        near[..., 1] = near[..., 0] + (1e-9 if case == "nearly" else 0)
    other = drawn(CHANNELS, 7, seed=1)
    own, taught = (near, other) if whose == "student" else (other, near)
    features = torch.tensor(own).to(dtype).requires_grad_()
    value = edge_distance(features, torch.tensor(taught).to(dtype)).sum()
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(features.grad).all() and features.grad.abs().max() < 10


@pytest.mark.parametrize("loss", [gm, skd], ids=["gm", "skd"])
def test_a_teacher_gets_no_gradient_and_an_absent_sample_gives_none(loss: Callable) -> None:
    own, other = given(drawn(CHANNELS, 7)), given(drawn(CHANNELS + 2, 7, seed=1), seed=3)
    other["features"][[1, 3]] = 0
    own["features"].requires_grad_()
    other["features"].requires_grad_()
    terms = loss(own, torch.tensor(LABELS), other, alpha=1.0)
    (terms["nodes"] + terms["edges"]).backward()
    assert other["features"].grad is None
    there = own["features"].grad.flatten(1).abs().sum(dim=1) > 0
    assert there.tolist() == [True, False, True, False]
    some = [{name: one.detach()[[0, 2]] for name, one in side.items()} for side in (own, other)]
    alone = loss(some[0], torch.tensor(LABELS[[0, 2]]), some[1], alpha=1.0)
    for name in ("nodes", "edges"):  # a mean over all four
        assert float(terms[name]) == pytest.approx(float(alone[name]) / 2)


def test_all_absent_is_nothing() -> None:
    own, other = given(drawn(CHANNELS, 7)), given(0 * drawn(CHANNELS, 7))
    own["features"].requires_grad_()
    terms = gm(own, torch.tensor(LABELS), other)
    (terms["nodes"] + terms["edges"]).backward()
    assert terms["nodes"] == terms["edges"] == 0 and not own["features"].grad.any()


@pytest.mark.parametrize(("wide", "narrow"), [(9, 4), (96, 32), (6, 6)], ids=str)
def test_a_projection_keeps_what_it_can(wide: int, narrow: int) -> None:
    kind = (torch.float64, torch.device("cpu"))
    down, up = projection(wide, narrow, *kind), projection(narrow, wide, *kind)
    one = torch.eye(narrow, dtype=torch.float64)
    assert down.shape == (narrow, wide) and up.shape == (wide, narrow)
    torch.testing.assert_close(down @ down.T, one)
    torch.testing.assert_close(up.T @ up, one)
    projection.cache_clear()
    assert torch.equal(projection(wide, narrow, *kind), down)


def test_the_projection_is_what_it_was() -> None:
    """Caches and students of other machines depend on it."""
    found = projection(3, 2, torch.float64, torch.device("cpu"))
    np.testing.assert_allclose(found.numpy(), GOLDEN, atol=1e-12)


def test_unequal_widths_are_compared_in_the_students() -> None:
    own, other = drawn(CHANNELS, 7), drawn(CHANNELS + 5, 7, seed=1)
    by = projection(CHANNELS + 5, CHANNELS, torch.float64, torch.device("cpu")).numpy()
    found = node_distance(torch.tensor(own), torch.tensor(other))
    np.testing.assert_allclose(found.numpy(), expected_nodes(own, by @ other))


WRONG = {
    "other joints": ((6, 13), (6, 25), ["the teacher's features [6, 25]", "student's [6, 13]", "same nodes"]),
    "other times": ((6, 4, 13), (6, 8, 13), ["[6, 8, 13]", "[6, 4, 13]", "or features without time"]),
    "with time and without": ((6, 13), (6, 4, 13), ["not of the same nodes"]),
    "nodes and distances": ((6, 13), (78,), ["not of the same nodes"]),
    "other distances": ((3,), (6,), ["not of the same nodes"]),
    "a vector": ((32,), (32,), ["the teacher's features [32] of a sample are of no nodes", "[C, T', J]"]),
    "one node": ((6, 1), (6, 1), ["have one node"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_compared_is_refused(case: str) -> None:
    own, other, words = WRONG[case]
    with pytest.raises(ParamsError) as caught:
        gm(given(drawn(*own)), torch.tensor(LABELS), given(drawn(*other)))
    for word in words:
        assert word in str(caught.value)
    assert "stillroom cache" in caught.value.fix


def test_half_precision_features_give_a_full_precision_loss() -> None:
    own, other = given(drawn(CHANNELS, 7)), given(drawn(CHANNELS, 7, seed=1), seed=3)
    half = {name: one.bfloat16() for name, one in own.items()}
    found = skd(half, torch.tensor(LABELS), {name: one.half() for name, one in other.items()})
    exact = skd({name: one.double() for name, one in half.items()}, torch.tensor(LABELS), other)
    for name, one in found.items():
        assert one.dtype == torch.float32 and float(one) == pytest.approx(float(exact[name]), rel=1e-2)


def test_how_gradients_are_put_together_is_a_setting_of_the_loss() -> None:
    assert (losses.load("skd", {}).task, losses.load("skd", {}).revise) == ("labels", "sum")
    assert losses.load("skd", {"revise": "each"}).described()["revise"] == "each"
    assert losses.load("kd", {}).revise == losses.load("gm", {}).revise == "none"
    with pytest.raises(ParamsError, match=r"student\.losses\.skd\.revise = 'all'") as caught:
        losses.load("skd", {"revise": "all"})
    assert "sum, each, none" in caught.value.fix

"""`fitnet`, `rkd` and `at` against their papers' formulas in float64, and what must not change them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stillroom import losses
from stillroom.errors import ParamsError
from stillroom.losses._effect import check_effect, check_features
from stillroom.losses.at import at
from stillroom.losses.fitnet import Projection, fitnet, learned
from stillroom.losses.rkd import angle_distance, cosines, rkd
from tests.losses.test_losses import CLASSES, cross_entropy, expected_kd

BATCH = 5
LABELS = np.array([0, 4, 2, 2, 7])
LOSSES: dict[str, Callable[..., dict[str, torch.Tensor]]] = {"fitnet": fitnet, "rkd": rkd, "at": at}
# the shapes that each is tried with: the student's, the teacher's
SHAPES = {
    "fitnet": [((6,), (6,)), ((6, 7), (6, 7)), ((6, 2, 3), (6, 2, 3)), ((6, 2, 2), (6, 4, 6))],
    "rkd": [((6,), (9,)), ((4, 2, 2), (3, 3))],
    "at": [((6, 4, 4), (9, 4, 4)), ((6, 7), (3, 7)), ((6, 4, 2), (3, 2, 6)), ((6, 17), (3, 2, 2))],
}
CASES = [(name, *pair) for name, pairs in SHAPES.items() for pair in pairs]


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(BATCH, *shape))


def given(features: np.ndarray, seed: int = 2) -> dict[str, torch.Tensor]:
    logits = 3 * np.random.default_rng(seed).normal(size=(len(features), CLASSES))
    return {"logits": torch.tensor(logits), "features": torch.tensor(features)}


def as_map(features: np.ndarray) -> np.ndarray:
    """Tokens as the largest square of the last of them."""
    if features.ndim == 4:
        return features
    side = int(features.shape[2] ** 0.5)
    return features[:, :, -(side**2) :].reshape(*features.shape[:2], side, side)


def averaged(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mean over each cell of a grid whose lines divide the sides, as these all do here."""
    shape = (*maps.shape[:2], height, maps.shape[2] // height, width, maps.shape[3] // width)
    return maps.reshape(shape).mean(axis=(3, 5))


def alike(own: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    """Both on the same places, [B, C, P]."""
    if own.shape[2:] != other.shape[2:]:
        own, other = as_map(own), as_map(other)
        size = [min(pair) for pair in zip(own.shape[2:], other.shape[2:], strict=True)]
        own, other = averaged(own, *size), averaged(other, *size)
    return [one.reshape(*one.shape[:2], -1) for one in (own, other)]


def expected_fitnet(own: np.ndarray, other: np.ndarray, weight: float = 1.0) -> dict[str, float]:
    """Romero et al. 2015, equation 3, as a mean; the regressor is applied already."""
    one, two = alike(own, other)
    return {"hint": weight * ((one - two) ** 2).mean()}


def expected_at(own: np.ndarray, other: np.ndarray, weight: float = 1000.0) -> dict[str, float]:
    """Zagoruyko, Komodakis 2017, equation 2 with F^2_sum, squared and as a mean."""
    maps = alike(*((one**2).sum(axis=1, keepdims=True) for one in (own, other)))
    one, two = (q[:, 0] / np.linalg.norm(q[:, 0], axis=1, keepdims=True) for q in maps)
    return {"attention": weight * ((one - two) ** 2).mean()}


def huber(x: float, y: float) -> float:
    """Park et al. 2019, equation 6."""
    return (x - y) ** 2 / 2 if abs(x - y) <= 1 else abs(x - y) - 0.5


def expected_rkd(
    own: np.ndarray, other: np.ndarray, distances: float = 25.0, angles: float = 50.0
) -> dict[str, float]:
    """Park et al. 2019, equations 4 to 9, with loops."""
    one, two = (x.reshape(len(x), -1) for x in (own, other))
    pairs = [(i, j) for i in range(len(one)) for j in range(len(one)) if i != j]
    apart = []
    for x in (one, two):
        lengths = {(i, j): np.linalg.norm(x[i] - x[j]) for i, j in pairs}
        mean = np.mean(list(lengths.values()))
        apart.append({pair: length / mean for pair, length in lengths.items()})
    triples = [(i, j, k) for i, j in pairs for k in range(len(one)) if k not in (i, j)]

    def cosine(x: np.ndarray, i: int, j: int, k: int) -> float:
        first, second = x[i] - x[j], x[k] - x[j]
        return first @ second / np.linalg.norm(first) / np.linalg.norm(second)

    return {
        "distances": distances * np.mean([huber(apart[0][pair], apart[1][pair]) for pair in pairs]),
        "angles": angles * np.mean([huber(cosine(one, *t), cosine(two, *t)) for t in triples]),
    }


EXPECTED = {"fitnet": expected_fitnet, "rkd": expected_rkd, "at": expected_at}
OTHER = {"fitnet": {"weight": 3.0}, "rkd": {"distances": 2.0, "angles": 0.5}, "at": {"weight": 7.0}}


def values(terms: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(one.detach()) for name, one in terms.items()}


@pytest.mark.parametrize(("name", "own", "other"), CASES)
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("kd", [0.0, 2.0])
@pytest.mark.parametrize("usual", [True, False])
def test_a_loss_is_its_papers_formula(
    name: str, own: tuple[int, ...], other: tuple[int, ...], alpha: float, kd: float, usual: bool
) -> None:
    student, teacher = given(drawn(*own)), given(3 * drawn(*other, seed=1), seed=3)
    settings = {} if usual else OTHER[name]
    expected = EXPECTED[name](student["features"].numpy(), teacher["features"].numpy(), **settings)
    expected = {key: alpha * one for key, one in expected.items()}
    logits, taught = student["logits"].numpy(), teacher["logits"].numpy()
    expected["labels"] = (1 - alpha) * cross_entropy(logits, LABELS, 0.1)
    if kd:
        expected["teacher"] = alpha * kd * expected_kd(logits, LABELS, taught, 2.0)
    found = LOSSES[name](
        student,
        torch.tensor(LABELS),
        teacher,
        alpha=alpha,
        kd=kd,
        temperature=2.0,
        label_smoothing=0.1,
        **settings,
    )
    assert values(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "own", "other"), CASES)
def test_gradients_are_those_of_the_values(name: str, own: tuple[int, ...], other: tuple[int, ...]) -> None:
    student, teacher = given(drawn(*own)), given(drawn(*other, seed=1), seed=3)

    def total(logits: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        said = {"logits": logits, "features": features}
        return sum(LOSSES[name](said, torch.tensor(LABELS), teacher, kd=1.0).values())

    assert torch.autograd.gradcheck(total, tuple(one.requires_grad_() for one in student.values()))


@pytest.mark.parametrize(("name", "own", "other"), CASES)
def test_without_a_label_the_teacher_counts_alone(
    name: str, own: tuple[int, ...], other: tuple[int, ...]
) -> None:
    """What is said of features and logits is as with all labels; the labels' part is that of those known."""
    student, teacher = given(drawn(*own)), given(drawn(*other, seed=1), seed=3)
    some = LABELS.copy()
    some[[1, 4]] = -1
    whole, part = (
        values(LOSSES[name](student, torch.tensor(labels), teacher, kd=1.0)) for labels in (LABELS, some)
    )
    logits = student["logits"].numpy()[some >= 0]
    assert part.pop("labels") == pytest.approx(0.5 * cross_entropy(logits, some[some >= 0], 0.0) * 3 / 5)
    del whole["labels"]
    assert part == whole


@pytest.mark.parametrize(("name", "own", "other"), CASES)
def test_a_teacher_gets_no_gradient_and_equal_features_have_nothing_to_learn(
    name: str, own: tuple[int, ...], other: tuple[int, ...]
) -> None:
    teacher = given(drawn(*other, seed=1), seed=3)
    same = {key: one.clone().requires_grad_() for key, one in teacher.items()}
    teacher["features"].requires_grad_()
    terms = LOSSES[name](same, torch.tensor(LABELS), teacher, alpha=1.0)
    sum(terms.values()).backward()
    assert teacher["features"].grad is None
    assert sum(values(terms).values()) == pytest.approx(0, abs=1e-9)
    assert same["features"].grad.abs().max() < 1e-6


@pytest.mark.parametrize("name", ["fitnet", "at"])
def test_an_absent_sample_adds_nothing(name: str) -> None:
    own, other = SHAPES[name][2]
    student, teacher = given(drawn(*own)), given(drawn(*other, seed=1), seed=3)
    teacher["features"][[1, 3]] = 0
    student["features"].requires_grad_()
    terms = LOSSES[name](student, torch.tensor(LABELS), teacher, alpha=1.0)
    sum(terms.values()).backward()
    seen = student["features"].grad.flatten(1).abs().sum(dim=1) > 0
    assert seen.tolist() == [True, False, True, False, True]


def test_relations_see_no_shift_rotation_or_scale() -> None:
    own, other = drawn(6), drawn(9, seed=1)
    before = values(rkd(given(own), torch.tensor(LABELS), given(other)))
    turned = np.linalg.qr(drawn(6, seed=5)[:, :6].T @ drawn(6, seed=6))[0]
    for changed in (own + 20, 7 * own, own @ turned, np.concatenate([own, 0 * own], axis=1)):
        after = values(rkd(given(changed), torch.tensor(LABELS), given(other)))
        assert after == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_so_few_samples_have_no_relations(count: int) -> None:
    own, other = (given(drawn(6, seed=seed)[:count]) for seed in (0, 1))
    own["features"].requires_grad_()
    terms = rkd(own, torch.tensor(LABELS[:count]), other)
    (terms["distances"] + terms["angles"]).backward()
    assert float(terms["angles"]) == 0 and float(terms["distances"]) == pytest.approx(0, abs=1e-12)
    assert own["features"].grad.abs().max() < 1e-9


@pytest.mark.parametrize("case", ["all", "two", "nearly", "zeros"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_samples_that_coincide_stay_finite(case: str, dtype: torch.dtype) -> None:
    near = drawn(6)
    if case in ("all", "zeros"):
        near = np.full_like(near, 0.3 if case == "all" else 0.0)
    else:
        near[1] = near[0] + (1e-9 if case == "nearly" else 0)
    for own, other in ((near, drawn(6, seed=1)), (drawn(6, seed=1), near)):
        features = torch.tensor(own).to(dtype).requires_grad_()
        terms = rkd(
            {"features": features, "logits": torch.zeros(BATCH, CLASSES, dtype=dtype)},
            torch.tensor(LABELS),
            given(other),
        )
        sum(terms.values()).backward()
        assert torch.isfinite(sum(terms.values())) and torch.isfinite(features.grad).all()


def test_angles_in_single_precision_far_from_the_origin() -> None:
    own, other = (np.random.default_rng(seed).normal(size=(24, 16)) for seed in (0, 1))
    exact = angle_distance(torch.tensor(own), torch.tensor(other))
    found = angle_distance(torch.tensor(own + 100).float(), torch.tensor(other).float())
    assert float(found) == pytest.approx(float(exact), rel=1e-3)
    assert cosines(torch.tensor(own)).abs().max() < 1 + 1e-9


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_features_give_a_full_precision_loss(name: str) -> None:
    shapes = SHAPES[name][0]
    own, other = given(drawn(*shapes[0])), given(drawn(*shapes[1], seed=1), seed=3)
    half = {key: one.bfloat16() for key, one in own.items()}
    found = LOSSES[name](half, torch.tensor(LABELS), {key: one.half() for key, one in other.items()}, kd=1.0)
    exact = LOSSES[name](
        {key: one.double() for key, one in half.items()}, torch.tensor(LABELS), other, kd=1.0
    )
    for key, one in found.items():
        assert one.dtype == torch.float32 and float(one) == pytest.approx(float(exact[key]), rel=1e-2)


def test_the_projection_is_one_linear_map_at_each_place() -> None:
    made = Projection(6, 4, 0).double()
    features = torch.tensor(drawn(6, 2, 3))
    expected = np.einsum("tc,bchw->bthw", made.weight.detach().numpy(), features.numpy())
    expected += made.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(made(features).detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(made(features[..., 0, 0]).detach().numpy(), expected[..., 0, 0], atol=1e-12)


def test_a_fresh_projection_is_a_function_of_the_seed_and_moves_no_generator() -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    same, again, other = (learned((6, 2, 2), (9, 4, 4), seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(same.weight, again.weight) and torch.equal(same.bias, again.bias)
    assert not torch.equal(same.weight, other.weight)
    assert same.weight.shape == (9, 6) and 0.5 < float(same.weight.abs().max()) * 6**0.5 <= 1
    np.testing.assert_allclose(  # what a run began from may be asked for again
        Projection(2, 1, 0).weight.detach().numpy(), [GOLDEN], atol=1e-7
    )


GOLDEN = [0.20987540, 0.30008277]
WRONG = {
    "a vector and a map": (
        "fitnet",
        (6,),
        (6, 2, 2),
        "have no places in common",
        "student.losses.NAME.layer",
    ),
    "a vector to attend to": ("at", (6,), (6, 2, 2), "the student's features [6]", "student.losses.at.layer"),
    "a vector that was attended to": ("at", (6, 2, 2), (6,), "the teacher's features [6]", "stillroom cache"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_compared_is_refused(case: str) -> None:
    name, own, other, what, fix = WRONG[case]
    with pytest.raises(ParamsError) as caught:
        LOSSES[name](given(drawn(*own)), torch.tensor(LABELS), given(drawn(*other)))
    assert what in caught.value.what and fix in caught.value.fix
    with pytest.raises(ParamsError):  # before any work, too
        check_features(name, losses.load(name, {}), own, other)


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [
        ("fitnet", (96,), (768,)),
        ("fitnet", (96, 65), (768, 7, 7)),
        ("at", (64, 2, 2), (768, 56, 56)),
        ("rkd", (96,), (768, 7, 7)),
    ],
)
def test_features_of_usual_shapes_are_compared_without_a_word(
    name: str, own: tuple[int, ...], other: tuple[int, ...]
) -> None:
    assert check_features(name, losses.load(name, {}), own, other) == []


def test_what_teaches_nothing_is_refused() -> None:
    assert check_effect("rkd", losses.load("rkd", {}), CLASSES, 8) == []
    with pytest.raises(ParamsError, match="learn nothing"):
        check_effect("rkd", losses.load("rkd", {}), CLASSES, 2)
    for name in LOSSES:
        assert check_effect(name, losses.load(name, {}), CLASSES, 8) == []
        with pytest.raises(ParamsError, match="learn nothing"):
            check_effect(name, losses.load(name, {"alpha": 0.0}), CLASSES, 8)


def test_which_layer_of_the_student_is_a_setting_of_the_loss() -> None:
    found = {name: losses.load(name, {}) for name in LOSSES}
    assert {name: one.layer for name, one in found.items()} == {
        "fitnet": "pooled",
        "rkd": "pooled",
        "at": "last",
    }
    assert losses.load("at", {"layer": "stages.2"}).described()["layer"] == "stages.2"
    assert losses.load("gm", {}).layer is None and "layer" not in losses.load("gm", {}).described()
    for name, one in found.items():
        assert one.revise == "none" and losses.load(name, {"revise": "each"}).task == "labels"
    assert [name for name, one in found.items() if one.learned] == ["fitnet"]

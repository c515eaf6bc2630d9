"""Losses against values worked out in float64 from their papers' formulas, and their gradients."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stillroom import losses
from stillroom.errors import ParamsError
from stillroom.losses._ensemble import ensemble
from stillroom.losses.kd import first_order
from tests.conftest import copy_library

ROOT = Path(__file__).parents[2]
BATCH, CLASSES = 6, 9
MIXING = ["kd", "dkd", "dist", "standardised", "mse", "hard"]


def log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(values))


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """sum p log(p / q), mean over the rows."""
    logs = np.log(p, where=p > 0, out=np.zeros_like(p)) - np.log(q)
    return float((p * logs).sum(axis=1).mean())


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES)[labels] if labels.ndim == 1 else labels


def cross_entropy(student: np.ndarray, labels: np.ndarray, smoothing: float) -> float:
    target = one_hot(labels) * (1 - smoothing) + smoothing / CLASSES
    return float(-(target * log_softmax(student)).sum(axis=1).mean())


# The teacher's part of each loss, from its paper, as (student, labels, teacher, parameters) -> value
def expected_kd(
    s: np.ndarray, y: np.ndarray, t: np.ndarray, temperature: float = 4.0, correction: float = 0.0
) -> float:
    """Hinton et al. 2015; the correction is Dao et al. 2021's, of probabilities that are 1% at least."""
    p, w, q = softmax(t), softmax(t / temperature), softmax(s / temperature)
    sums = []
    for i, label in enumerate(one_hot(y)):
        mean = sum(w[i, k] * np.log(q[i, k]) for k in range(CLASSES))
        terms = [
            (label[j] / max(p[i, j], 0.01) - 1) * w[i, j] / temperature * (mean - np.log(q[i, j]))
            for j in range(CLASSES)
        ]
        sums.append(sum(terms))
    return float(temperature**2 * (kl(w, q) + correction * np.mean(sums)))


def expected_dkd(
    s: np.ndarray,
    y: np.ndarray,
    t: np.ndarray,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> float:
    """Zhao et al. 2022, equations 5 to 7: b is (p_t, 1 - p_t), p-hat is p over the others, renormalised."""
    p, q = softmax(t / temperature), softmax(s / temperature)
    inside = one_hot(y) > 0
    masses = [np.stack([(x * inside).sum(1), (x * ~inside).sum(1)], axis=1) for x in (p, q)]
    others = [(x * ~inside) / (x * ~inside).sum(1, keepdims=True) for x in (p, q)]
    tckd = kl(masses[0], masses[1])
    nckd = kl(others[0], np.where(inside, 1.0, others[1]))
    return temperature**2 * (target_weight * tckd + other_weight * nckd)


def expected_dist(
    s: np.ndarray,
    y: np.ndarray,
    t: np.ndarray,
    temperature: float = 1.0,
    inter: float = 1.0,
    intra: float = 1.0,
) -> float:
    """Huang et al. 2022, equations 7 to 10, with NumPy's own correlation."""
    p, q = softmax(t / temperature), softmax(s / temperature)
    rows = np.mean([1 - np.corrcoef(p[i], q[i])[0, 1] for i in range(len(p))])
    columns = np.mean([1 - np.corrcoef(p[:, c], q[:, c])[0, 1] for c in range(p.shape[1])])
    return float(temperature**2 * (inter * rows + intra * columns))


def expected_standardised(
    s: np.ndarray, y: np.ndarray, t: np.ndarray, temperature: float = 2.0, weight: float = 10.0
) -> float:
    """Sun et al. 2024, algorithm 1."""
    z = [(x - x.mean(1, keepdims=True)) / x.std(1, ddof=1, keepdims=True) for x in (t, s)]
    return weight * temperature**2 * kl(softmax(z[0] / temperature), softmax(z[1] / temperature))


def expected_mse(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    return float(((s - t) ** 2).mean())


def expected_hard(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    """Touvron et al. 2021, equation 3; the labels alone are smoothed."""
    return cross_entropy(s, t.argmax(axis=1), 0.0)


EXPECTED: dict[str, Callable[..., float]] = {
    "kd": expected_kd,
    "dkd": expected_dkd,
    "dist": expected_dist,
    "standardised": expected_standardised,
    "mse": expected_mse,
    "hard": expected_hard,
}
SETTINGS: list[tuple[str, dict[str, float]]] = [
    ("kd", {}),
    ("kd", {"temperature": 1.0}),
    ("kd", {"temperature": 10.0}),
    ("kd", {"correction": 1.0}),
    ("kd", {"temperature": 1.0, "correction": 0.25}),
    ("dkd", {}),
    ("dkd", {"temperature": 1.0, "target_weight": 3.0, "other_weight": 0.5}),
    ("dist", {}),
    ("dist", {"temperature": 4.0, "inter": 2.0, "intra": 0.25}),
    ("standardised", {}),
    ("standardised", {"temperature": 5.0, "weight": 1.0}),
    ("mse", {}),
    ("hard", {}),
]


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, BATCH)
    return random.normal(0, 3, (BATCH, CLASSES)), labels, random.normal(0, 3, (BATCH, CLASSES))


def mixed(labels: np.ndarray) -> np.ndarray:
    """Labels of mixed views: another class has a share, once all of it and once none."""
    shares = np.array([0.3, 0.5, 0.0, 1.0, 0.1, 0.25])[:, None]
    return np.eye(CLASSES)[labels] * (1 - shares) + np.eye(CLASSES)[(labels + 4) % CLASSES] * shares


def value(name: str, s: np.ndarray, y: np.ndarray, t: np.ndarray, **settings: float) -> torch.Tensor:
    return total(name)(torch.tensor(s), torch.tensor(y), torch.tensor(t), **settings)


def total(name: str) -> Callable[..., torch.Tensor]:
    """The sum of a loss's terms."""
    function = losses.load(name, {}).function
    return lambda *given, **settings: sum(function(*given, **settings).values())


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labelled", ["classes", "mixed"])
def test_a_loss_is_its_papers_formula(
    drawn: tuple, name: str, settings: dict, alpha: float, smoothing: float, labelled: str
) -> None:
    student, labels, teacher = drawn
    labels = mixed(labels) if labelled == "mixed" else labels
    taught = EXPECTED[name](student, labels, teacher, **settings)
    hard = cross_entropy(student, labels, smoothing)
    found = value(name, student, labels, teacher, alpha=alpha, label_smoothing=smoothing, **settings)
    assert float(found) == pytest.approx(alpha * taught + (1 - alpha) * hard, rel=1e-6)


@pytest.mark.parametrize(("name", "settings"), [("ce", {}), *SETTINGS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labelled", ["classes", "mixed"])
def test_a_sample_without_a_label_adds_nothing_to_the_labels_part(
    drawn: tuple, name: str, settings: dict, smoothing: float, labelled: str
) -> None:
    """The mean is over all samples: that of those with a label, times their share."""
    student, labels, teacher = drawn
    rows = one_hot(labels) if labelled == "mixed" else labels.copy()
    rows[[1, 4]] = 0 if labelled == "mixed" else -1
    known = np.array([True, False, True, True, False, True])
    function = losses.load(name, {}).function
    given = torch.tensor(student, requires_grad=True)
    terms = function(given, torch.tensor(rows), torch.tensor(teacher), label_smoothing=smoothing, **settings)
    weight = 1.0 if name == "ce" else 1 - losses.load(name, {}).settings["alpha"]
    expected = weight * cross_entropy(student[known], labels[known], smoothing) * known.mean()
    assert float(terms["labels"]) == pytest.approx(expected)
    [gradient] = torch.autograd.grad(terms["labels"], given, retain_graph=True)
    assert not gradient[~known].any() and gradient[known].abs().sum(dim=1).min() > 0
    assert all(torch.isfinite(one) for one in terms.values())


@pytest.mark.parametrize("name", ["ce", "kd", "dkd"])
@pytest.mark.parametrize("labelled", ["classes", "mixed"])
def test_a_batch_without_labels_costs_nothing(drawn: tuple, name: str, labelled: str) -> None:
    student, _, teacher = drawn
    labels = torch.zeros(BATCH, CLASSES) if labelled == "mixed" else torch.full((BATCH,), -1)
    function = losses.load(name, {}).function
    given = torch.tensor(student, requires_grad=True)
    term = function(given, labels, torch.tensor(teacher), label_smoothing=0.1)["labels"]
    [gradient] = torch.autograd.grad(term, given)
    assert float(term) == 0 and not gradient.any()


def test_half_a_label_counts_half(drawn: tuple) -> None:
    """Of a view that is mixed with one without a label."""
    student, labels, _ = drawn
    half = torch.tensor(one_hot(labels) / 2)
    for smoothing in (0.0, 0.1):
        found = total("ce")(torch.tensor(student), half, label_smoothing=smoothing)
        assert float(found) == pytest.approx(cross_entropy(student, labels, smoothing) / 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labelled", ["classes", "mixed"])
def test_where_all_have_a_label_no_bit_is_another(drawn: tuple, smoothing: float, labelled: str) -> None:
    student, labels, _ = drawn
    rows = torch.tensor(mixed(labels)).float() if labelled == "mixed" else torch.tensor(labels)
    found = []
    for function in (total("ce"), torch.nn.functional.cross_entropy):
        given = torch.tensor(student).float().requires_grad_()
        value = function(given, rows, label_smoothing=smoothing)
        value.backward()
        found.append((value, given.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_what_has_no_label_is_not_corrected(drawn: tuple) -> None:
    student, labels, teacher = (torch.tensor(one) for one in drawn)
    some = labels.clone()
    some[2:] = -1
    expected = first_order(student[:2], labels[:2], teacher[:2], 4.0) * 2 / BATCH
    assert float(first_order(student, some, teacher, 4.0)) == pytest.approx(float(expected))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_correction_is_what_the_label_adds_to_first_order(drawn: tuple, temperature: float) -> None:
    """<y - p, gradient of the cross-entropy by p>: the gradient by differences, of an unsure teacher."""
    student, labels, teacher = drawn[0], drawn[1], drawn[2] / 6
    p, step = softmax(teacher), 1e-6

    def given(p: np.ndarray) -> np.ndarray:
        w = p ** (1 / temperature) / (p ** (1 / temperature)).sum(axis=1, keepdims=True)
        return -(w * log_softmax(student / temperature)).sum(axis=1)

    slopes = np.stack(
        [(given(p + step * e) - given(p - step * e)) / (2 * step) for e in np.eye(CLASSES)], axis=1
    )
    expected = ((one_hot(labels) - p) * slopes).sum(axis=1).mean()
    kinds = torch.tensor(student), torch.tensor(labels), torch.tensor(teacher)
    assert p.min() > 0.01 and float(first_order(*kinds, temperature)) == pytest.approx(expected, rel=1e-5)


def test_a_correction_of_nothing_changes_no_bit(drawn: tuple) -> None:
    assert torch.equal(value("kd", *drawn), value("kd", *drawn, correction=0.0))


def test_the_paper_weights_of_dkd_and_standardised(drawn: tuple) -> None:
    """At its defaults DKD is half of CE + TCKD + 8 NCKD, and standardised is 0.1 CE + 9 KL."""
    ce = cross_entropy(drawn[0], drawn[1], 0.0)
    assert float(value("dkd", *drawn)) == pytest.approx((ce + expected_dkd(*drawn)) / 2)
    whole = 0.1 * ce + 0.9 * expected_standardised(*drawn)
    assert float(value("standardised", *drawn)) == pytest.approx(whole)


def test_dist_of_a_single_sample_has_no_part_within_classes(drawn: tuple) -> None:
    student, labels, teacher = (one[:1] for one in drawn)
    rows = 1 - np.corrcoef(softmax(student / 2)[0], softmax(teacher / 2)[0])[0, 1]
    found = value("dist", student, labels, teacher, alpha=1.0, temperature=2.0, inter=3.0)
    assert float(found) == pytest.approx(2.0**2 * 3 * rows)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_looks_at_no_label(drawn: tuple, temperature: float) -> None:
    student, labels, teacher = drawn
    found = value("soft", student, labels, teacher, temperature=temperature, label_smoothing=0.3)
    assert float(found) == pytest.approx(expected_kd(student, labels, teacher, temperature))
    assert found == value("soft", student, (labels + 1) % CLASSES, teacher, temperature=temperature)


def test_ce_takes_classes_and_mixed_labels(drawn: tuple) -> None:
    student, labels, _ = drawn
    for target in (labels, mixed(labels)):
        found = total("ce")(torch.tensor(student), torch.tensor(target), label_smoothing=0.1)
        assert float(found) == pytest.approx(cross_entropy(student, target, 0.1))


@pytest.mark.parametrize(("name", "settings"), [("ce", {}), ("soft", {}), *SETTINGS])
@pytest.mark.parametrize("labelled", ["classes", "mixed"])
def test_gradients_are_those_of_the_values(drawn: tuple, name: str, settings: dict, labelled: str) -> None:
    student, labels, teacher = drawn
    labels = torch.tensor(mixed(labels) if labelled == "mixed" else labels)
    function = total(name)
    logits = torch.tensor(student, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s: function(s, labels, torch.tensor(teacher), label_smoothing=0.1, **settings), (logits,)
    )


@pytest.mark.parametrize(("name", "settings"), [("ce", {}), ("soft", {}), *SETTINGS])
@pytest.mark.parametrize("labelled", ["classes", "mixed"])
@pytest.mark.parametrize("known", [0, 2])
def test_gradients_are_those_of_the_values_where_labels_are_missing(
    drawn: tuple, name: str, settings: dict, labelled: str, known: int
) -> None:
    student, labels, teacher = drawn
    rows = torch.tensor(mixed(labels) if labelled == "mixed" else labels)
    rows[known:] = 0 if labelled == "mixed" else -1
    function = total(name)
    logits = torch.tensor(student, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s: function(s, rows, torch.tensor(teacher), label_smoothing=0.1, **settings), (logits,)
    )


def weighed(student: np.ndarray, labels: np.ndarray, smoothing: float, weights: np.ndarray) -> float:
    """Each class's part of the target counts its weight; label smoothing spreads what is left of it."""
    target = one_hot(labels) * (labels >= 0)[:, None] if labels.ndim == 1 else labels
    target = target * weights
    target = target * (1 - smoothing) + smoothing * target.sum(axis=1, keepdims=True) / CLASSES
    return float(-(target * log_softmax(student)).sum(axis=1).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labelled", ["classes", "mixed", "some"])
def test_classes_weigh_in_the_labels_part_alone(drawn: tuple, smoothing: float, labelled: str) -> None:
    student, labels, teacher = drawn
    rows = mixed(labels) if labelled == "mixed" else labels.copy()
    if labelled == "some":
        rows[[1, 4]] = -1
    weights = np.linspace(0.2, 3.0, CLASSES)
    given = {"label_smoothing": smoothing, "class_weights": torch.tensor(weights)}
    expected = weighed(student, rows, smoothing, weights)
    tensors = torch.tensor(student), torch.tensor(rows), torch.tensor(teacher)
    assert float(total("ce")(*tensors, **given)) == pytest.approx(expected, rel=1e-9)
    for name, settings in SETTINGS:
        found = losses.load(name, settings)
        assert found.weighs
        terms = found(
            {"logits": tensors[0]}, tensors[1], {"logits": tensors[2]}, 0.0, smoothing, given["class_weights"]
        )
        plain = found({"logits": tensors[0]}, tensors[1], {"logits": tensors[2]}, 0.0, smoothing)
        assert float(terms["labels"]) == pytest.approx((1 - found.settings["alpha"]) * expected, rel=1e-9)
        assert all(float(terms[one]) == float(plain[one]) for one in terms if one != "labels")


def test_equal_weights_change_nothing_and_parts_of_a_batch_add_up(drawn: tuple) -> None:
    student, labels, _ = drawn
    logits, rows, weights = torch.tensor(student), torch.tensor(labels), torch.linspace(0.5, 2.0, CLASSES)
    ones = total("ce")(logits, rows, class_weights=torch.ones(CLASSES))
    assert float(ones) == pytest.approx(float(total("ce")(logits, rows)))
    whole = total("ce")(logits, rows, class_weights=weights)
    parts = [
        total("ce")(logits[part], rows[part], class_weights=weights) for part in (slice(2), slice(2, BATCH))
    ]
    assert float(whole) == pytest.approx(float((2 * parts[0] + (BATCH - 2) * parts[1]) / BATCH))


EXTREME = {
    "far apart": ([[6e4, -6e4, 0.0]], [[-6e4, 6e4, 0.0]]),
    "a certain teacher": ([[0.1, 0.2, 0.3]], [[6e4, -6e4, -6e4]]),
    "no row varies": ([[2.0, 2.0, 2.0]] * 2, [[5.0, 5.0, 5.0]] * 2),
    "no column varies": ([[1.0, 2.0, 3.0]] * 3, [[3.0, 1.0, 2.0]] * 3),
    "a teacher that does not vary": ([[1.0, 2.0, 3.0]] * 2, [[0.0, 0.0, 0.0]] * 2),
    "a single sample": ([[1.0, -2.0, 0.5]], [[0.3, 0.2, 0.1]]),
    "two classes": ([[6e4, -6e4], [0.0, 0.0]], [[-6e4, 6e4], [1.0, 2.0]]),
}


@pytest.mark.parametrize("name", ["ce", "soft", *MIXING])
@pytest.mark.parametrize("case", EXTREME)
@pytest.mark.parametrize("labelled", ["classes", "mixed"])
def test_values_and_gradients_stay_finite(name: str, case: str, labelled: str) -> None:
    student, teacher = (torch.tensor(one) for one in EXTREME[case])
    student.requires_grad_()
    labels: torch.Tensor = torch.ones(len(student), dtype=torch.long)
    if labelled == "mixed":
        labels = torch.zeros_like(student).detach()
        labels[:, 0], labels[:, 1] = 0.25, 0.75
    found = total(name)(student, labels, teacher)
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", ["ce", "kd", "soft", "dkd", "dist", "standardised", "hard"])
@pytest.mark.parametrize("by", [-6e4, 6e4])
def test_logits_moved_by_a_constant_mean_the_same(drawn: tuple, name: str, by: float) -> None:
    student, labels, teacher = drawn
    expected = float(value(name, student, labels, teacher))
    assert float(value(name, student + by, labels, teacher - by)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", ["kd", "soft", "dkd", "dist", "standardised", "mse"])
def test_a_student_that_equals_its_teacher_learns_nothing_from_it(name: str) -> None:
    teacher = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    logits = teacher.clone().requires_grad_()
    settings = {} if name == "soft" else {"alpha": 1.0}
    found = total(name)(logits, torch.zeros(4, dtype=torch.long), teacher, **settings)
    found.backward()
    assert found.item() == pytest.approx(0, abs=1e-5) and logits.grad.abs().max() < 1e-5


@pytest.mark.parametrize("name", ["ce", "soft", *MIXING])
def test_half_precision_logits_give_a_full_precision_loss(drawn: tuple, name: str) -> None:
    student, labels, teacher = (torch.tensor(one) for one in drawn)
    rounded = student.bfloat16()
    function = total(name)
    found = function(rounded, labels, teacher.float())
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(function(rounded.double(), labels, teacher)), rel=1e-5)


def test_alpha_moves_with_the_steps(drawn: tuple) -> None:
    student, labels, teacher = (torch.tensor(one) for one in drawn)
    moving = losses.load("kd", {"alpha": (0.9, 0.3), "temperature": 2.0})
    for progress, alpha in ((0.0, 0.9), (0.5, 0.6), (1.0, 0.3)):
        still = losses.load("kd", {"alpha": alpha, "temperature": 2.0})
        given = ({"logits": student}, labels, {"logits": teacher})
        expected = still(*given, 0.7, 0.1)
        found = moving(*given, progress, 0.1)
        assert {name: float(term) for name, term in found.items()} == {
            name: pytest.approx(float(term)) for name, term in expected.items()
        }


def test_an_ensemble_is_the_mean_of_softened_probabilities() -> None:
    random = np.random.default_rng(3)
    one, two = random.normal(0, 3, (2, BATCH, CLASSES))
    found = ensemble([torch.tensor(one), torch.tensor(two)], 4.0)
    expected = (softmax(one / 4) + softmax(two / 4)) / 2
    assert np.allclose(softmax(found.double().numpy() / 4), expected, atol=1e-6)


def test_names_are_listed_without_torch() -> None:
    code = "import sys; from stillroom import losses; print(losses.names(), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    names = ["ce", "kd", "at", "dist", "dkd", "fitnet", "gm", "hard", "mse", "rkd", "skd", "soft"]
    names += ["standardised"]
    assert said.stdout.strip() == f"{names} False"


def test_settings_hold_the_defaults_of_what_is_not_said() -> None:
    expected = {"alpha": 0.3, "temperature": 4.0, "target_weight": 1.0, "other_weight": 8.0}
    assert losses.load("dkd", {"alpha": 0.3}).described() == expected | {"outputs": ["logits"]}


def test_what_a_loss_does_not_take_is_refused() -> None:
    with pytest.raises(ParamsError, match="no loss 'kdd'") as caught:
        losses.load("kdd", {})
    assert "kd" in caught.value.fix
    with pytest.raises(ParamsError, match=r"student\.losses\.dkd\.temprature") as caught:
        losses.load("dkd", {"temprature": 2.0})
    assert "temperature" in caught.value.fix
    assert losses.load("ce", {}).outputs == () and losses.load("dist", {}).outputs == ("logits",)


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes losses/half.py in a copy of the library, and runs a script that imports it."""
    env = copy_library(tmp_path)

    def run(loss: str, script: str) -> str:
        (tmp_path / "stillroom/losses/half.py").write_text(loss)
        return subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env
        ).stdout

    return run


@pytest.mark.slow
def test_a_loss_of_ones_own_is_one_function(own: Callable[[str, str], str]) -> None:
    said = own(
        "def half(logits, labels, teacher, *, factor, temperature=3.0, label_smoothing=0.0):\n"
        "    return factor * (logits - teacher).abs().mean() / temperature\n",
        "import json, torch; from stillroom import losses\n"
        "loss = losses.load('half', {'factor': 0.75})\n"
        "outputs = {'logits': torch.ones(2, 3)}, torch.zeros(2).long(), {'logits': torch.zeros(2, 3)}\n"
        "terms = loss(*outputs, 0.0, 0.0)\n"
        "print(json.dumps([losses.names(), loss.described(), float(terms['loss'])]))\n"
        "try: losses.load('half', {})\n"
        "except losses.ParamsError as error: print(error)",
    )
    told, refused = said.splitlines()
    names, described, found = json.loads(told)
    assert "half" in names and found == 0.25
    assert described == {"factor": 0.75, "temperature": 3.0, "outputs": ["logits"]}
    assert refused == "student.losses.half lacks factor"


def test_a_loss_that_needs_what_nobody_gives_is_refused(own: Callable[[str, str], str]) -> None:
    said = own(
        "NEEDS = ('logits', 'features')\ndef half(logits, labels, teacher, *, label_smoothing=0.0): ...\n",
        "from stillroom import losses\n"
        "try: losses.load('half', {})\n"
        "except losses.ParamsError as error: print(error)",
    )
    assert "half.py needs logits, features of the teacher" in said and "NEEDS may name logits" in said


@pytest.mark.parametrize(
    "loss",
    [
        "def helf(logits, labels, teacher, *, label_smoothing=0.0): ...",
        "def half(logits, labels, teacher): ...",
        "def half(logits, labels, *, label_smoothing=0.0): ...",
        "half = 0.5",
    ],
)
def test_a_file_that_holds_no_loss_is_refused(own: Callable[[str, str], str], loss: str) -> None:
    said = own(
        loss,
        "from stillroom import losses\n"
        "try: losses.load('half', {})\n"
        "except losses.ParamsError as error: print(error)",
    )
    assert "pipeline/losses/half.py holds no loss" in said
    assert "define half(logits, labels, teacher, *, label_smoothing=0.0)" in said


@pytest.mark.parametrize(
    ("task", "keywords", "message"),
    [
        ("TASK = 'labels'", "", "has both TASK and the keyword revise"),
        ("", "revise='sum', ", "has both TASK and the keyword revise"),
        ("TASK = 'task'", "revise='sum', ", "returned no term 'task', which is its TASK"),
        ("TASK = 'labels'", "revise='sum', ", "sum"),
    ],
    ids=["no keyword", "no task", "no such term", "whole"],
)
def test_a_loss_of_ones_own_says_what_is_revised(
    own: Callable[[str, str], str], task: str, keywords: str, message: str
) -> None:
    said = own(
        f"{task}\ndef half(logits, labels, teacher, *, {keywords}label_smoothing=0.0):\n"
        "    return {'labels': logits.sum(), 'teacher': teacher.sum()}\n",
        "import torch\n"
        "from stillroom import losses\n"
        "try:\n"
        "    loss = losses.load('half', {})\n"
        "    loss({'logits': torch.ones(2, 3)}, torch.zeros(2), {'logits': torch.ones(2, 3)}, 0.0, 0.0)\n"
        "    print(loss.revise)\n"
        "except losses.ParamsError as error: print(error)",
    )
    assert message in said

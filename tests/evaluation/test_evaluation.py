"""Accuracy, mAP, confusion and cost against values worked out by hand or by scikit-learn."""

import time

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    recall_score,
    top_k_accuracy_score,
)

from stillroom.evaluation.cost import flops, latency, parameters
from stillroom.evaluation.metrics import (
    accuracy,
    average_precisions,
    balanced_accuracy,
    confusion,
    macro_f1,
    softmax,
    summarise,
)
from stillroom.modalities.images.models.create import Loaded, Model


def test_accuracy_is_the_share_of_right_first_guesses() -> None:
    assert accuracy(np.array([[2.0, 1], [0, 1], [3, 1], [1, 0]]), np.array([0, 1, 1, 0])) == 75.0


def test_average_precision_by_hand() -> None:
    """Class 0 ranked: right, wrong, right, wrong -> (1/1 + 2/3) / 2."""
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    logits = np.stack([scores, np.zeros(4)], axis=1)
    labels = np.array([0, 1, 0, 1])
    found = average_precisions(logits, labels)
    assert found[0] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert found[1] == pytest.approx(100 * (1 / 1 + 2 / 3) / 2)


def test_average_precision_ranks_by_probability_not_by_logit() -> None:
    """A logit that is large beside larger ones is a small probability."""
    logits = np.array([[10.0, 20.0], [5.0, 0.0]])
    assert average_precisions(logits, np.array([1, 0])).tolist() == [100.0, 100.0]


def test_a_class_without_samples_does_not_count() -> None:
    logits = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    scores = summarise(logits, np.array([0, 1]), ("a", "b", "c"))
    assert scores["mAP"] == 100.0 and scores["per_class_ap"] == {"a": 100.0, "b": 100.0}


def test_scores_over_classes_are_those_of_scikit_learn() -> None:
    """With classes that have no sample, and such that are said or not, of very uneven sizes."""
    random = np.random.default_rng(0)
    labels = random.choice(6, 200, p=[0.7, 0.2, 0.06, 0.04, 0.0, 0.0])
    logits = random.normal(0, 1, (200, 6)) + 1.5 * np.eye(6)[labels]
    logits[:, 5] -= 9
    said, there = logits.argmax(1), np.unique(labels)
    scores = summarise(logits, labels, tuple("abcdef"))
    recalls = recall_score(labels, said, labels=there, average="macro")
    assert scores["balanced_accuracy"] == pytest.approx(100 * recalls, abs=1e-4)
    f1 = f1_score(labels, said, labels=there, average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(100 * f1, abs=1e-4)
    only = said != 4
    assert balanced_accuracy(logits[only], labels[only]) == pytest.approx(
        100 * balanced_accuracy_score(labels[only], said[only])
    )
    assert macro_f1(np.eye(3)[[1, 1]], np.array([0, 0])) == 0


def model(net: torch.nn.Module) -> Model:
    return Model(net, "some", {}, 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), Loaded())


def test_cost_of_a_linear_layer() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    assert parameters(net) == 3 * 8 * 8 * 10 + 10
    assert flops(model(net)) == 2 * 3 * 8 * 8 * 10


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(0, 2, (300, 8)).astype(np.float32), random.integers(0, 8, 300)


def test_top_5_is_the_share_of_labels_among_the_five_largest(answers: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = answers
    found = summarise(logits, labels, tuple("abcdefgh"))["top5"]
    assert found == pytest.approx(100 * top_k_accuracy_score(labels, logits, k=5), abs=1e-4)
    assert accuracy(logits, labels) < found < 100
    assert summarise(logits[:, :3], labels % 3, tuple("abc"))["top5"] == 100


def test_the_calibration_error_of_a_summary_is_that_of_the_answers(
    answers: tuple[np.ndarray, np.ndarray],
) -> None:
    logits, labels = answers
    sure, right = softmax(logits).max(axis=1), logits.argmax(axis=1) == labels
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (low < sure) & (sure <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    found = summarise(logits, labels, tuple("abcdefgh"))["calibration_error"]
    assert found == pytest.approx(100 * expected, abs=1e-3) and found > 1


def test_confusion_has_a_row_for_each_true_class(answers: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = answers
    labels = labels % 7  # class 7 is never true
    found = confusion(logits, labels)
    assert found.dtype == np.int64 and found.shape == (8, 8)
    assert (found == confusion_matrix(labels, logits.argmax(axis=1), labels=np.arange(8))).all()
    assert not found[7].any() and found[:, 7].any()
    assert confusion(np.array([[0.0, 1], [0, 1]]), np.array([0, 0])).tolist() == [[0, 2], [0, 0]]


class Slow(torch.nn.Module):
    """Sleeps 2 milliseconds an image and remembers how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.calls: list[tuple[tuple[int, ...], bool, bool]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append((tuple(images.shape), self.training, torch.is_inference_mode_enabled()))
        time.sleep(0.002 * len(images))
        return images.mean() * self.weight


def test_latency_is_the_time_of_a_pass_in_eval_mode() -> None:
    net = Slow().train()
    one, four = latency(model(net), 1), latency(model(net), 4)
    assert one >= 2 and four >= 8
    assert net.training
    assert set(net.calls) == {((1, 3, 8, 8), False, True), ((4, 3, 8, 8), False, True)}
    assert 2 * 4 <= len(net.calls) <= 2 * 21  # a pass to warm up, and 3 to 20 that count


def test_a_slow_model_is_not_waited_for_twenty_times() -> None:
    net = Slow()
    latency(model(net), 200)  # 0.4 s a pass
    assert len(net.calls) == 4

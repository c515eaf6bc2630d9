"""Intervals: they hold the true gain as often as they say, and pairing is what makes them narrow."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pipeline.evaluation.bootstrap import Ranking, Resamples, gain, mean, score
from pipeline.evaluation.metrics import accuracy, average_precisions, softmax


def answers(random: np.random.Generator, labels: np.ndarray, classes: int, skill: float) -> np.ndarray:
    return random.normal(0, 1, (len(labels), classes)) + skill * np.eye(classes)[labels]


@pytest.mark.parametrize("ties", [False, True])
def test_a_resample_is_scored_as_its_repeated_images_are(ties: bool) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 60)
    logits = answers(random, labels, 5, 1.0)
    if ties:
        logits = np.round(logits)  # many equal probabilities
    resamples = Resamples(60, 20)
    weights = resamples.weights(0, 20)
    assert (weights.sum(axis=1) == 60).all() and (weights == 0).any()
    found = Ranking(logits, labels).scores(weights)
    for number, counts in enumerate(weights):
        rows = np.repeat(np.arange(60), counts)
        assert found[0, number] == pytest.approx(accuracy(logits[rows], labels[rows]))
        scores = softmax(logits)[rows]
        expected = [
            average_precision_score(labels[rows] == label, scores[:, label])
            for label in np.unique(labels[rows])
        ]
        assert found[1, number] == pytest.approx(100 * np.mean(expected))


def test_the_images_as_they_are_give_the_plain_scores() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, 50)
    logits = answers(random, labels, 4, 1.0)
    found = score([logits], labels, Resamples(50, 10))
    assert found.shape == (1, 2, 11)
    assert found[0, 0, 0] == pytest.approx(accuracy(logits, labels))
    assert found[0, 1, 0] == pytest.approx(np.nanmean(average_precisions(logits, labels)))


def test_equal_answers_have_no_interval() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 4, 80)
    one = [answers(random, labels, 4, 1.0) for _ in range(3)]
    resamples = Resamples(80, 200)
    found = gain(score(one, labels, resamples), score(one, labels, resamples), resamples)
    assert (found.accuracy, found.accuracy_interval) == (0, (0, 0)) and found.mAP_interval == (0, 0)


def test_what_both_arms_share_cancels() -> None:
    """Two models that differ in few answers: their gain is surer than two accuracies apart would be."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 4, 300)
    one = answers(random, labels, 4, 0.8)
    two = one + 0.05 * np.eye(4)[labels]
    resamples = Resamples(300, 500)
    paired = gain(score([one], labels, resamples), score([two], labels, resamples), resamples)
    other = answers(random, labels, 4, 0.85)
    unpaired = gain(score([one], labels, resamples), score([other], labels, resamples), resamples)
    width = np.diff(paired.accuracy_interval)[0], np.diff(unpaired.accuracy_interval)[0]
    assert width[0] < width[1] / 2


def test_seeds_that_disagree_widen_the_interval() -> None:
    random = np.random.default_rng(4)
    labels = random.integers(0, 4, 400)
    ce = [answers(random, labels, 4, 1.0)] * 3
    alike, apart = [1.5, 1.5, 1.5], [0.6, 1.5, 2.6]
    noise = random.normal(0, 1, (400, 4))
    resamples = Resamples(400, 500)
    base = score(ce, labels, resamples)
    widths = []
    for skills in (alike, apart):
        kd = [noise + skill * np.eye(4)[labels] for skill in skills]
        found = gain(base, score(kd, labels, resamples), resamples)
        widths.append(np.diff(found.accuracy_interval)[0])
    assert widths[1] > 2 * widths[0]


def test_the_interval_holds_the_true_gain_nineteen_times_of_twenty() -> None:
    """400 simulated experiments of 150 images whose true gain is known."""
    random = np.random.default_rng(5)
    held = 0
    for trial in range(400):
        labels = np.zeros(150, int)
        right = random.random((2, 150)) < np.array([[0.5], [0.6]])
        one, two = (np.stack([row, ~row], axis=1).astype(float) for row in right)
        resamples = Resamples(150, 200, seed=trial)
        low, high = gain(
            score([one], labels, resamples), score([two], labels, resamples), resamples
        ).accuracy_interval
        held += low <= 10 <= high
    assert 0.91 < held / 400 < 0.985


def test_a_mean_over_families_keeps_their_common_images() -> None:
    random = np.random.default_rng(6)
    labels = random.integers(0, 4, 100)
    one, two = answers(random, labels, 4, 0.8), answers(random, labels, 4, 1.4)
    resamples = Resamples(100, 300)
    found = gain(score([one], labels, resamples), score([two], labels, resamples), resamples)
    both = mean([found, found])
    assert (both.accuracy, both.accuracy_interval) == (found.accuracy, found.accuracy_interval)

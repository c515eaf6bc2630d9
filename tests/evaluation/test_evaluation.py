"""Accuracy, mAP and cost against values worked out by hand."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.cost import flops, parameters
from pipeline.evaluation.metrics import accuracy, average_precisions, summarise


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


def test_cost_of_a_linear_layer() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    assert parameters(net) == 3 * 8 * 8 * 10 + 10
    assert flops(net, 8) == 2 * 3 * 8 * 8 * 10

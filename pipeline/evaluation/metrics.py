"""Accuracy, over samples and over classes, top-5, F1, mean average precision and calibration error, in
percent; confusion in counts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stillroom.evaluation.calibration import Calibration


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of raw logits, float64 [N, C]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probabilities: np.ndarray = np.exp(shifted)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose largest logit is the label's, in percent.

    Args:
        logits: float [N, C], N at least 1.
        labels: int [N].
    """
    return float((logits.argmax(axis=1) == labels).mean() * 100)


def top_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of samples whose label is among the k largest logits, in percent; of equal ones the first counts.

    Args:
        logits: float [N, C], N at least 1.
        labels: int [N].
    """
    first = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((first == labels[:, None]).any(axis=1).mean() * 100)


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often samples of each class were given each class: int64 [C, C], a row for each true class.

    Args:
        logits: float [N, C].
        labels: int [N], each in [0, C).
    """
    classes = logits.shape[1]
    pairs = labels.astype(np.int64) * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes * classes).astype(np.int64).reshape(classes, classes)


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that have a sample of the share of their samples that are right, in percent.

    Scikit-learn's `balanced_accuracy_score`: a rare class counts as much as a frequent one.

    Args:
        logits: float [N, C], N at least 1.
        labels: int [N], each in [0, C).
    """
    counts = confusion(logits, labels)
    there = counts.sum(axis=1) > 0
    return float(np.mean(counts.diagonal()[there] / counts.sum(axis=1)[there]) * 100)


def macro_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that have a sample of the harmonic mean of precision and recall, in percent.

    Scikit-learn's `f1_score` with `average="macro"`, these classes and `zero_division=0`.

    Args:
        logits: float [N, C], N at least 1.
        labels: int [N], each in [0, C).
    """
    counts = confusion(logits, labels)
    true, said = counts.sum(axis=1), counts.sum(axis=0)
    there = true > 0
    return float(np.mean(2 * counts.diagonal()[there] / (true + said)[there]) * 100)


def average_precisions(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One-vs-rest average precision of each class, in percent, as Stanford 40 reports it (Yao et al. 2011).

    The samples are ranked by the class's softmax probability; scikit-learn's definition, without
    interpolation.

    Args:
        logits: float [N, C].
        labels: int [N].

    Returns:
        float64 [C]; NaN for a class without a sample. Their mean is the mAP.
    """
    from sklearn.metrics import average_precision_score

    scores = softmax(logits)
    precisions = np.full(logits.shape[1], np.nan)
    for label in np.unique(labels):
        precisions[label] = average_precision_score(labels == label, scores[:, label]) * 100
    return precisions


def summarise(logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """`accuracy`, `mAP`, `top5`, `calibration_error`, `balanced_accuracy`, `macro_f1` and `per_class_ap` of
    one model on one split.

    In percent, rounded to 1/10000.
    """
    precisions = average_precisions(logits, labels)
    probabilities, calibration = softmax(logits), Calibration()
    calibration.add(probabilities.max(axis=1), logits.argmax(axis=1) == labels)
    return {
        "accuracy": round(accuracy(logits, labels), 4),
        "mAP": round(float(np.nanmean(precisions)), 4),
        "top5": round(top_accuracy(logits, labels, 5), 4),
        "calibration_error": round(calibration.result(), 4),
        "balanced_accuracy": round(balanced_accuracy(logits, labels), 4),
        "macro_f1": round(macro_f1(logits, labels), 4),
        "per_class_ap": {
            name: round(float(value), 4)
            for name, value in zip(classes, precisions, strict=True)
            if value == value
        },
    }


def summarise_draws(logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """The same of one or several draws of a corruption: the mean of their scores.

    Args:
        logits: float [N, C], or [D, N, C] of D draws.
    """
    each = [summarise(one, labels, classes) for one in (logits if logits.ndim == 3 else logits[None])]
    if len(each) == 1:
        return each[0]
    scores: dict[str, Any] = {
        name: round(float(np.mean([one[name] for one in each])), 4)
        for name, value in each[0].items()
        if not isinstance(value, dict)
    }
    scores["per_class_ap"] = {
        name: round(float(np.mean([one["per_class_ap"][name] for one in each])), 4)
        for name in each[0]["per_class_ap"]
    }
    return scores


def known(logits: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """How well a model knows samples: `accuracy` and `calibration_error` in percent, mean `confidence` and
    `entropy` (nats), and the accuracy in each class that has a sample (`per_class`).
    """
    probabilities, right = softmax(logits), logits.argmax(axis=1) == labels
    calibration = Calibration()
    calibration.add(probabilities.max(axis=1), right)
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=1)
    return {
        "accuracy": round(float(right.mean() * 100), 4),
        "calibration_error": round(calibration.result(), 4),
        "confidence": round(float(probabilities.max(axis=1).mean()), 6),
        "entropy": round(float(entropy.mean()), 6),
        "per_class": {
            name: round(float(right[labels == label].mean() * 100), 4)
            for label, name in enumerate(classes)
            if (labels == label).any()
        },
    }


def together(answers: Sequence[np.ndarray]) -> np.ndarray:
    """Several models as one: the logarithm of their mean probabilities, float32 [N, C]."""
    mean: np.ndarray = np.mean([softmax(one) for one in answers], axis=0)
    logits: np.ndarray = np.log(np.maximum(mean, 1e-30))
    return logits.astype(np.float32)

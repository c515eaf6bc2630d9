"""Do several answers to a sample agree: a model's to several views of it, or several models' to one?"""

from itertools import pairwise

import numpy as np


def agreement(answers: np.ndarray) -> float | None:
    """The share of pairs of answers to a sample that are the same, in percent, mean over the samples.

    Args:
        answers: integers [V, N], the class that each view, or each model, gives each sample. Of two models
            it is the percent of samples that both give the same class.

    Returns:
        in [0, 100], or None where there is only one answer.
    """
    views = len(answers)
    if views < 2:
        return None
    ordered = np.sort(answers, axis=0)
    # a run of c equal answers holds c (c - 1) / 2 pairs: its i-th member brings i - 1 of them
    pairs = np.zeros(answers.shape[1], np.int64)
    run = np.zeros(answers.shape[1], np.int64)
    for before, after in pairwise(ordered):
        run = np.where(before == after, run + 1, 0)
        pairs += run
    return float(100 * pairs.mean() / (views * (views - 1) / 2))

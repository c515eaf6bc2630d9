"""Are probabilities as large as the share of right answers? Expected calibration error, added up in parts."""

import numpy as np


class Calibration:
    """Expected calibration error over equal bins of confidence (Guo et al. 2017, "On calibration of modern
    neural networks").

    Attributes:
        bins: how many intervals (0, 1] is cut into.
    """

    def __init__(self, bins: int = 15) -> None:
        self.bins = bins
        self._count = np.zeros(bins, np.int64)
        self._confidence = np.zeros(bins)
        self._right = np.zeros(bins, np.int64)

    def add(self, confidence: np.ndarray, right: np.ndarray) -> None:
        """More answers: their probability, float [n] in (0, 1], and whether they were right, bool [n]."""
        index = np.clip(np.ceil(confidence.astype(np.float64) * self.bins).astype(int) - 1, 0, self.bins - 1)
        self._count += np.bincount(index, minlength=self.bins)
        self._confidence += np.bincount(index, confidence, minlength=self.bins)
        self._right += np.bincount(index, right, minlength=self.bins).astype(np.int64)

    def result(self) -> float:
        """In percent: the mean distance of confidence and accuracy, weighted by the bins' answers."""
        total = self._count.sum()
        return float(100 * np.abs(self._confidence - self._right).sum() / total) if total else 0.0

    def curve(self) -> list[tuple[float, float, int]]:
        """The reliability diagram: (mean confidence, accuracy, answers) of each bin that has any; percent."""
        return [
            (float(100 * confidence / count), float(100 * right / count), int(count))
            for confidence, right, count in zip(self._confidence, self._right, self._count, strict=True)
            if count
        ]

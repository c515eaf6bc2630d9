"""How far two students (or teachers) are apart on the test split: accuracy and mAP of the second less those
of the first, with 95% intervals from a paired bootstrap over the test samples; of more pairs, one a seed, the
mean, over seeds too.

    python examples/apart.py artifacts/students/pvt-ce-0 artifacts/students/pvt-kd-0 [CE-1 KD-1 ...]
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from stillroom.modalities import load_samples
from stillroom.reporting.bootstrap import Resamples, gain, score

samples = load_samples(Path("artifacts/data"), Path())  # the images themselves are not looked at
labels = samples.in_splits("test").labels()
draws = Resamples(len(labels))


def scores(folder: str) -> np.ndarray:
    """Of one model: float [1, 2, resamples + 1]."""
    logits = load_file(f"{folder}/predictions.safetensors")["logits"]
    each = logits if logits.ndim == 3 else logits[None]  # draws of a corruption: the mean of their scores
    return score(list(each), labels, draws).mean(axis=0, keepdims=True)


one, other = (np.concatenate([scores(folder) for folder in sys.argv[place::2]]) for place in (1, 2))
found = gain(one, other, draws)
print(found.accuracy, found.accuracy_interval, found.mAP, found.mAP_interval)

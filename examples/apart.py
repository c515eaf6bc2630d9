"""How far two students (or teachers) are apart on the test split: accuracy and mAP of the second less those
of the first, with 95% intervals from a paired bootstrap over the test samples.

    python examples/apart.py artifacts/students/pvt-ce-0 artifacts/students/pvt-kd-0
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from stillroom.modalities import load_samples
from stillroom.reporting.bootstrap import Resamples, gain, score

samples = load_samples(Path("artifacts/data"), Path())  # the images themselves are not looked at
labels = np.array(samples.in_splits("test").labels())
draws = Resamples(len(labels))
one, other = (
    score([load_file(f"{folder}/predictions.safetensors")["logits"]], labels, draws)
    for folder in sys.argv[1:3]
)
found = gain(one, other, draws)
print(found.accuracy, found.accuracy_interval, found.mAP, found.mAP_interval)

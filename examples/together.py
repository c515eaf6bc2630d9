"""How good several teachers are together: the mean of their probabilities, softened at T = 2, on the test
split; the rule by which a student learns from several outputs of a cache.

    python examples/together.py artifacts/teacher wide/artifacts/teacher
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from stillroom.evaluation.metrics import softmax, summarise
from stillroom.modalities import load_samples

TEMPERATURE = 2.0

test = load_samples(Path("artifacts/data"), Path()).in_splits("test")  # the images are not looked at
each = [load_file(f"{folder}/predictions.safetensors")["logits"] for folder in sys.argv[1:]]
mean = np.log(sum(softmax(logits / TEMPERATURE) for logits in each) / len(each))
print(summarise(mean, np.array(test.labels()), test.classes))

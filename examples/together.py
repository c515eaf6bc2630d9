"""How good several teachers are together: the mean of their probabilities, softened at T = 2, on the test
split; the rule by which a student learns from several outputs of a cache.

    python examples/together.py artifacts/teacher wide/artifacts/teacher
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from stillroom.evaluation.metrics import softmax, summarise_draws
from stillroom.modalities import load_samples

TEMPERATURE = 2.0

test = load_samples(Path("artifacts/data"), Path()).in_splits("test")  # the images are not looked at
each = [load_file(f"{folder}/predictions.safetensors")["logits"] for folder in sys.argv[1:]]
draws = [logits if logits.ndim == 3 else logits[None] for logits in each]  # of a corruption
softened = [np.stack([softmax(draw / TEMPERATURE) for draw in one]) for one in draws]
mean = np.log(sum(softened) / len(softened))
print(summarise_draws(mean, test.labels(), test.classes))

"""The losses of the arms. Each is one function of logits; this table names them.

A loss is called as `loss(logits, labels, teacher, label_smoothing=..., **parameters)` and returns a scalar.
"""

from collections.abc import Callable

import torch

from pipeline.losses.ce import ce
from pipeline.losses.kd import kd

LOSSES: dict[str, Callable[..., torch.Tensor]] = {"ce": ce, "kd": kd}
NEEDS_TEACHER = {"kd"}

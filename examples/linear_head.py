"""Fits a linear head on a pretrained trunk that stays as it is, and writes the two as a teacher's weights.

    stillroom prepare && python examples/linear_head.py b4.safetensors

The argument holds the trunk's weights (or is `hub`). All else is in params.yaml: `teacher.weights` names
the file that is written, and `teacher.train.epochs: 0` has `stillroom teacher` adopt it. The head is fitted
to the evaluation view of every training sample and to its first two views of the cache.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from stillroom import modalities
from stillroom.modalities.base import ViewRequest
from stillroom.modalities.params import load_params
from stillroom.views.loader import batches
from stillroom.views.planes import drawn

PENALTY = 0.03  # times half the squared weights: chosen among 0.03, 0.1 and 0.3 on held-out training images

params = load_params(Path("params.yaml"))
root = Path(params.data.path) if params.data.path else None
modality = modalities.of_data_set(params.data.name)
train = modalities.load_samples(Path("artifacts/data"), root).in_splits("train")
model = modality.create(modality.teacher(params), len(train.classes), weights=sys.argv[1])
head = model.net.pretrained_cfg["classifier"]  # its name in the network
weights = model.net.state_dict()
model.net.eval().reset_classifier(0)

policy = modality.policy(params.views.recipe)
requests = [ViewRequest(row, modality.evaluation(row)) for row in train.rows]
for view in (0, 1):
    requests += drawn(policy, params.views.seed, train, train.rows, view)
jobs = [requests[i : i + 16] for i in range(0, len(requests), 16)]
with torch.inference_mode():
    rendered = batches(modality, modality.reader(train), jobs, model.spec)
    features = torch.cat([model.run(batch, "none")["logits"] for batch in rendered]).clone()

mean, std = features[: len(train)].mean(0), features[: len(train)].std(0) + 1e-3
x, y = (features - mean) / std, torch.tensor(train.labels()).repeat(3)
weight = torch.zeros(x.shape[1], len(train.classes), requires_grad=True)
bias = torch.zeros(len(train.classes), requires_grad=True)
optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")


def closure() -> torch.Tensor:
    """The penalised cross-entropy, with its gradients."""
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(x @ weight + bias, y) + PENALTY / 2 * weight.square().sum()
    loss.backward()
    return loss


optimizer.step(closure)
right = ((x @ weight + bias).argmax(1) == y).float().mean()
weights[f"{head}.weight"] = (weight / std[:, None]).T.detach().contiguous()
weights[f"{head}.bias"] = (bias - (mean / std) @ weight).detach()
save_file({name: value.contiguous() for name, value in weights.items()}, params.teacher.weights)
print(f"{params.teacher.weights}: right in {right:.1%} of {len(y)} views of the train split")

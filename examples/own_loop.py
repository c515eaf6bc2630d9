"""Trains a student from a cache in a plain loop, with a model that stillroom does not know of.

    python examples/own_loop.py [EPOCHS]

Each epoch sees another view of every training sample, with what the teacher said of exactly that view.
"""

import sys

import torch
from torch import nn

import stillroom

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 8
views = stillroom.CachedDataset("artifacts/cache", data="artifacts/data")
kd = stillroom.losses.load("kd", {"alpha": 0.9, "temperature": 2.0})
loader = torch.utils.data.DataLoader(
    views, batch_size=32, shuffle=True, num_workers=2, persistent_workers=True
)

classes = len(views[0]["teacher_logits"])
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(3, 16, 4, stride=4), nn.GELU(), nn.Conv2d(16, 32, 4, stride=4), nn.GELU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes),
)  # fmt: skip
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)

for epoch in range(epochs):
    views.set_epoch(epoch)
    total = 0.0
    for batch in loader:
        student, teacher = {"logits": net(batch["pixel_values"])}, {"logits": batch["teacher_logits"]}
        terms = kd(student, batch["labels"], teacher, progress=epoch / epochs, label_smoothing=0.0)
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss) * len(batch["key"])
    print(f"epoch {epoch}: loss {total / len(views):.4f}")

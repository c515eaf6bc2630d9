"""Trains a student from a cache in a plain loop of PyTorch, with a model that stillroom need not know of.

    python examples/own_loop.py [EPOCHS]

Each epoch sees another view of every training sample, with what the teacher said of exactly that view.
docs/loop.md has the command that trains the same student, with the same losses.
"""

import math
import sys

import timm
import torch

import stillroom

EPOCHS, BATCH, LR, SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 8, 16, 1e-3, 0

views = stillroom.CachedDataset("artifacts/cache", data="artifacts/data")
order = stillroom.BatchOrder(views, BATCH, SEED)  # or any sampler, and views.set_epoch
loader = torch.utils.data.DataLoader(views, batch_sampler=order, num_workers=2, persistent_workers=True)
kd = stillroom.losses.load("kd", {"alpha": 0.9, "temperature": 2.0})

classes, side = len(views[0]["teacher_logits"]), views[0]["pixel_values"].shape[-1]
torch.manual_seed(SEED)
net = timm.create_model("deit_tiny_patch16_224", num_classes=classes, img_size=side)
optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=0.0)
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / (EPOCHS * len(loader)))
)

for epoch in range(EPOCHS):
    order.set_epoch(epoch)
    total = 0.0
    for batch in loader:
        student, teacher = {"logits": net(batch["pixel_values"])}, {"logits": batch["teacher_logits"]}
        loss = sum(kd(student, batch["labels"], teacher, progress=0.0, label_smoothing=0.0).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item() * len(batch["key"])
    print(f"epoch {epoch + 1}: loss {total / len(views):.6f}", flush=True)

"""Trains a student from a cache with what timm's own train.py is made of: optimiser, schedule, average.

    python examples/timm_loop.py [EPOCHS]

docs/loop.md has the command that trains the same student, with the same losses.
"""

import sys

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, ModelEmaV3, dispatch_clip_grad

import stillroom

EPOCHS, BATCH, LR, SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 8, 16, 1e-3, 0
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

views = stillroom.CachedDataset("artifacts/cache", data="artifacts/data")
order = stillroom.BatchOrder(views, BATCH, SEED)
loader = torch.utils.data.DataLoader(views, batch_sampler=order, num_workers=2, persistent_workers=True)
loss_fn = stillroom.losses.load("kd", {"alpha": 0.9, "temperature": 2.0})

classes, side = len(views[0]["teacher_logits"]), views[0]["pixel_values"].shape[-1]
torch.manual_seed(SEED)
model = timm.create_model("deit_tiny_patch16_224", num_classes=classes, img_size=side).to(device)
optimizer = create_optimizer_v2(model, opt="adamw", lr=LR, weight_decay=0.05)
lr_scheduler, _ = create_scheduler_v2(
    optimizer,
    sched="cosine",
    num_epochs=EPOCHS,
    warmup_epochs=1,
    warmup_lr=LR / 100,
    step_on_epochs=False,
    updates_per_epoch=len(loader),
)
model_ema = ModelEmaV3(model, decay=0.9, use_warmup=True)

for epoch in range(EPOCHS):
    order.set_epoch(epoch)
    model.train()
    losses, update = AverageMeter(), epoch * len(loader)
    for batch in loader:
        input, target, teacher = (
            batch[name].to(device, non_blocking=True) for name in ("pixel_values", "labels", "teacher_logits")
        )
        lr_scheduler.step_update(update)
        loss = sum(loss_fn({"logits": model(input)}, target, {"logits": teacher}, 0.0, 0.0).values())
        optimizer.zero_grad()
        loss.backward()
        dispatch_clip_grad(model.parameters(), value=1.0, mode="norm")
        optimizer.step()
        update += 1
        model_ema.update(model, step=update)
        losses.update(loss.item(), len(input))
    print(f"epoch {epoch + 1}: loss {losses.avg:.6f}", flush=True)

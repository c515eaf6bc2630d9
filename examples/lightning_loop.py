"""Trains a student from a cache with Lightning: pip install 'stillroom[lightning]'.

    python examples/lightning_loop.py [EPOCHS]

Lightning calls `set_epoch` of a `BatchOrder` by itself. With another sampler, call that of the views in
`on_train_epoch_start`. docs/loop.md has the command that trains the same student, with the same losses.
"""

import math
import sys

import lightning
import timm
import torch

import stillroom

EPOCHS, BATCH, LR, SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 8, 16, 1e-3, 0


class Student(lightning.LightningModule):
    """Learns what the teacher said of each view."""

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.net = timm.create_model("deit_tiny_patch16_224", num_classes=classes, img_size=side)
        self.kd = stillroom.losses.load("kd", {"alpha": 0.9, "temperature": 2.0})
        self.total, self.seen = 0.0, 0

    def training_step(self, batch, _):
        student = {"logits": self.net(batch["pixel_values"])}
        terms = self.kd(student, batch["labels"], {"logits": batch["teacher_logits"]}, 0.0, 0.0)
        loss = sum(terms.values())
        self.total += loss.item() * len(batch["key"])
        self.seen += len(batch["key"])
        return loss

    def on_train_epoch_end(self):
        print(f"epoch {self.current_epoch + 1}: loss {self.total / self.seen:.6f}", flush=True)
        self.total, self.seen = 0.0, 0

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=0.0)
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


views = stillroom.CachedDataset("artifacts/cache", data="artifacts/data")
order = stillroom.BatchOrder(views, BATCH, SEED)
loader = torch.utils.data.DataLoader(views, batch_sampler=order, num_workers=2, persistent_workers=True)
student = Student(len(views[0]["teacher_logits"]), views[0]["pixel_values"].shape[-1])
trainer = lightning.Trainer(
    max_epochs=EPOCHS,
    gradient_clip_val=1.0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(student, loader)

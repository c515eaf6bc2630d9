"""Trains a student from a cache with Hugging Face's Trainer: pip install 'stillroom[transformers]'.

    python examples/trainer_loop.py [EPOCHS]

Trainer calls `set_epoch` of the views, or of a `BatchOrder`, by itself. docs/loop.md has the command that
trains the same student, with the same losses.
"""

import sys
import tempfile

import timm
import torch
from transformers import Trainer, TrainingArguments

import stillroom

EPOCHS, BATCH, LR, SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 8, 16, 1e-3, 0

views = stillroom.CachedDataset("artifacts/cache", data="artifacts/data")
order = stillroom.BatchOrder(views, BATCH, SEED)
kd = stillroom.losses.load("kd", {"alpha": 0.9, "temperature": 2.0})


class Distiller(Trainer):
    """Learns what the teacher said of each view."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        student = {"logits": model(inputs["pixel_values"])}
        teacher = {"logits": inputs["teacher_logits"]}
        loss = sum(kd(student, inputs["labels"], teacher, progress=0.0, label_smoothing=0.0).values())
        return (loss, student) if return_outputs else loss

    def get_train_dataloader(self):  # leave it out for Trainer's own random order
        loader = torch.utils.data.DataLoader(views, batch_sampler=order, num_workers=2)
        return self.accelerator.prepare(loader)


classes, side = len(views[0]["teacher_logits"]), views[0]["pixel_values"].shape[-1]
torch.manual_seed(SEED)
net = timm.create_model("deit_tiny_patch16_224", num_classes=classes, img_size=side)
arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    num_train_epochs=EPOCHS,
    per_device_train_batch_size=BATCH,
    learning_rate=LR,
    weight_decay=0.0,
    lr_scheduler_type="cosine",
    max_grad_norm=1.0,
    seed=SEED,
    remove_unused_columns=False,  # or all would go that `forward` does not name: what the teacher said, too
    label_names=["labels"],
    logging_strategy="epoch",
    save_strategy="no",
    report_to="none",
    disable_tqdm=True,
)
trainer = Distiller(net, arguments, torch.utils.data.default_collate, train_dataset=views)
trainer.train()
for epoch, record in enumerate(one for one in trainer.state.log_history if "loss" in one):
    print(f"epoch {epoch + 1}: loss {float(record['loss']):.6f}")

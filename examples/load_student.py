"""Opens a finished student with timm alone, and gives its likeliest class of a picture.

    python examples/load_student.py artifacts/students/swin-kd-0 photo.jpg

(The micro MViT's shape is none of timm's: `import stillroom.modalities.images.models.create` first.)
"""

import json
import sys
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform

folder, photo = map(Path, sys.argv[1:3])
about = json.loads((folder / "student.json").read_text())
net = timm.create_model(about["arch"], num_classes=len(about["classes"]), **about["overrides"]).eval()
net.load_state_dict(load_file(folder / "model.safetensors"))

seen = about["input"]  # side in pixels, mean and standard deviation
transform = create_transform(
    seen["size"], mean=seen["mean"], std=seen["std"], crop_pct=1.0, interpolation="bicubic"
)
with torch.inference_mode():
    shares = net(transform(Image.open(photo).convert("RGB"))[None]).softmax(1)[0]
print(about["classes"][int(shares.argmax())], f"{float(shares.max()):.3f}")

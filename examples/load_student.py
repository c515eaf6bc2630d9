"""Opens a finished student with timm alone, and gives its likeliest class of a picture.

    python examples/load_student.py artifacts/students/swin-kd-0 photo.jpg

(The micro MViT's shape is none of timm's: docs/students.md has the lines to run first.)
"""

import sys
from pathlib import Path

import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

folder, photo = map(Path, sys.argv[1:3])
net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
transform = create_transform(**resolve_model_data_config(net))  # side in pixels, mean, standard deviation
with torch.inference_mode():
    shares = net(transform(Image.open(photo).convert("RGB"))[None]).softmax(1)[0]
print(net.pretrained_cfg["label_names"][int(shares.argmax())], f"{float(shares.max()):.3f}")

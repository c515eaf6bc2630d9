"""Test data: artifacts as the stages write them, with invented numbers. Nothing here was trained."""

import hashlib
import io
import json
import math
import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from stillroom.cache.format.identity import identity_id
from stillroom.reporting.page import Picture, View
from stillroom.reporting.reading import read
from stillroom.reporting.records import Entry
from stillroom.reporting.table import summarise
from stillroom.samples import Samples

CLASSES: list[str] = (
    "applauding blowing_bubbles brushing_teeth cleaning_the_floor climbing cooking cutting_trees "
    "cutting_vegetables drinking feeding_a_horse fishing fixing_a_bike fixing_a_car gardening "
    "holding_an_umbrella jumping looking_through_a_microscope looking_through_a_telescope phoning "
    "playing_guitar playing_violin pouring_liquid pushing_a_cart reading riding_a_bike riding_a_horse "
    "rowing_a_boat running shooting_an_arrow smoking taking_photos texting_message throwing_frisby "
    "using_a_computer walking_the_dog washing_dishes watching_TV waving_hands writing_on_a_board "
    "writing_on_a_book "
).split()
ARCHS = {
    "vit": ("vit_tiny_patch16_224", 5_532_520, 1_255_000_000, 58.2),
    "pvt": ("pvt_v2_b0", 3_420_072, 533_000_000, 61.7),
    "convit": ("convit_tiny", 5_525_224, 1_258_000_000, 59.4),
    "mvit": ("mvitv2_tiny", 23_432_040, 4_700_000_000, 66.0),
    "swin": ("swin_tiny_patch4_window7_224", 27_550_114, 4_360_000_000, 67.3),
    "twins": ("twins_svt_small", 23_580_456, 2_820_000_000, 64.9),
}
GAINS = {"vit": 4.6, "pvt": 3.1, "convit": 4.1, "mvit": 0.9, "swin": -0.7, "twins": 2.2}
CACHE = "c" + hashlib.sha256(b"test cache").hexdigest()[:31]
ENTRIES: list[Entry] = [(family, arm, 0) for family in ARCHS for arm in ("ce", "kd")]

TESTED = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("keys", "labels", "images")}


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def put(file: Path, tree: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(tree), encoding="utf-8")


def edit(file: Path, **changes: Any) -> None:
    """Change top-level fields of a JSON file."""
    put(file, json.loads(file.read_text(encoding="utf-8")) | changes)


def metrics(accuracy: float, classes: list[str], draw: random.Random, base: float) -> dict[str, Any]:
    scores = {name: min(100.0, max(0.0, accuracy + base + draw.gauss(0, 9))) for name in classes}
    return {
        "accuracy": accuracy,
        "mAP": sum(scores.values()) / len(scores),
        "top5": (100 + accuracy) / 2,
        "calibration_error": 4.2,
        "per_class_ap": scores,
    }


def history(epochs: int, first: float, last: float, draw: random.Random) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, epochs + 1):
        share = math.exp(-3.2 * epoch / epochs)
        loss = last + (first - last) * share + draw.gauss(0, 0.03)
        rows.append({"epoch": epoch, "loss": loss, "lr": 0.0005 * (1 + math.cos(math.pi * epoch / epochs))})
    return rows


def make(
    folder: Path, entries: list[Entry] = ENTRIES, classes: list[str] = CLASSES, epochs: int = 30
) -> Path:
    """A folder of artifacts for these students; the same arguments give the same bytes."""
    draw = random.Random(7)
    teacher = {
        "format": "stillroom-teacher/1",
        "arch": "convnext_tiny",
        "overrides": {},
        "params": 27_850_888,
        "flops": 4_456_000_000,
        "digest": digest("teacher"),
        "classes": classes,
        "epochs": epochs,
        "weights": {
            "source": "hub: timm/convnext_tiny.in12k_ft_in1k",
            "missing": [],
            "unexpected": [],
            "remade": ["head.fc.weight", "head.fc.bias"],
        },
        "input": {"size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "config": {
            "seed": 0,
            "train": {"epochs": epochs, "opt": "adamw", "lr": 0.0001},
        },
        "history": history(epochs, 3.7, 0.4, draw),
        "test": TESTED,
    }
    scores = metrics(81.4, classes, draw, 2.0)
    put(folder / "teacher" / "teacher.json", teacher | {"per_class_ap": scores.pop("per_class_ap")})
    put(folder / "teacher" / "metrics.json", scores | {"agreement": 1.0})
    identity = {"recipe": {"name": "crop", "scale": [0.35, 1.0]}, "seed": 0}
    output = {"teacher": {"arch": "convnext_tiny", "digest": digest("teacher")}}
    used = {"logits": identity_id(output)}
    manifest = {
        "format": "stillroom-cache/1",
        "id": CACHE,
        "extents": {"views": 8, "samples": 4000},
        "backend": "zarr",
        "identity": {"outputs": {"logits": output}, **identity},
        "quality": {"accuracy_on_views": 0.9312, "mean_entropy": 0.418},
        "environment": {"versions": {"torch": "2.15.0", "timm": "1.0.31", "zarr": "3.1.6"}, "device": "cpu"},
    }
    put(folder / "cache" / "manifest.json", manifest)
    (folder / "cache" / "logits" / "c").mkdir(parents=True, exist_ok=True)
    (folder / "cache" / "logits" / "c" / "0").write_bytes(bytes(2_600_000))
    for family, arm, seed in entries:
        arch, params, flops, base = ARCHS[family]
        own = random.Random(f"{family} {seed}")
        accuracy = base + own.gauss(0, 0.8) + (GAINS[family] + own.gauss(0, 0.6) if arm == "kd" else 0.0)
        first = 3.7 if arm == "ce" else 6.1
        config = {
            "model": {"size": "tiny", "image_size": 224, "weights": "none"},
            "train": {"epochs": epochs, "opt": "adamw", "lr": 0.001, "batch_size": 48},
            "loss": {"name": "ce"} if arm == "ce" else {"name": "kd", "alpha": 0.6, "temperature": 4.0},
        }
        student = {
            "format": "stillroom-student/1",
            "family": family,
            "arm": arm,
            "seed": seed,
            "arch": arch,
            "overrides": {},
            "params": params,
            "flops": flops,
            "cache": CACHE,
            "cache_parts": {"data": identity_id(identity)} | ({} if arm == "ce" else used),
            "latency_ms": {"1": 3.5, "32": 60.0},
            "test": TESTED,
            "config": config,
            "seconds": 412.5,
            "digests": {
                "init": digest(family, seed),
                "order": digest("order", seed),
                "pixels": digest("pixels", seed),
            },
            "history": history(
                epochs, first, first * own.uniform(0.12, 0.25), random.Random(f"{family}{arm}{seed}")
            ),
        }
        if arm == "kd":
            for epoch in student["history"]:  # type: ignore[attr-defined]
                epoch["terms"] = {"teacher": 0.7 * epoch["loss"], "labels": 0.3 * epoch["loss"]}
        place = folder / "students" / f"{family}-{arm}-{seed}"
        # The same draws for both arms, with some more for kd, so that classes change by a few points.
        shared = metrics(accuracy, classes, random.Random(f"{family}{seed}"), 1.0)
        if arm == "kd":
            for name in classes:
                change = random.Random(name).gauss(0.6, 2.6) + own.gauss(0, 0.8)
                shared["per_class_ap"][name] = min(100.0, max(0.0, shared["per_class_ap"][name] + change))
            shared["mAP"] = sum(shared["per_class_ap"].values()) / len(classes)
        put(place / "student.json", student | {"per_class_ap": shared.pop("per_class_ap")})
        put(place / "metrics.json", shared | {"train_seconds_per_image": 0.0034})
    return folder


def results(folder: Path, entries: list[Entry], test: Samples | None = None) -> dict[str, Any]:
    """What `results.json` holds of these students."""
    return summarise(read(folder, entries, test))


def pictures(classes: list[str] = CLASSES, samples: int = 2, views: int = 6) -> list[Picture]:
    """Drawn scenes cropped in different ways, as a sample's views."""
    made = []
    for index in range(samples):
        draw = random.Random(index)
        scene = Image.new("RGB", (160, 160), [(196, 216, 224), (222, 206, 178)][index % 2])
        pen = ImageDraw.Draw(scene)
        pen.rectangle((0, 112, 160, 160), fill=[(120, 148, 96), (140, 96, 66)][index % 2])
        pen.ellipse((66, 30, 92, 56), fill=(88, 60, 46))
        for limb in (
            (79, 56, 79, 96),
            (79, 96, 62, 132),
            (79, 96, 98, 132),
            (79, 66, 52, 50),
            (79, 66, 112, 58),
        ):
            pen.line(limb, fill=(60, 50, 80), width=8)
        seen = []
        for _ in range(views):
            side = draw.randint(80, 150)
            left, top = draw.randint(0, 160 - side), draw.randint(0, 160 - side)
            file = io.BytesIO()
            scene.crop((left, top, left + side, top + side)).resize((96, 96)).save(file, "PNG")
            sure = draw.uniform(0.35, 0.9)
            label = classes[index % len(classes)]
            others = draw.sample(
                [name for name in classes if name != label] or [label], min(2, max(1, len(classes) - 1))
            )
            top_three = [
                (label, sure),
                *((name, (1 - sure) * share) for name, share in zip(others, (0.6, 0.2), strict=False)),
            ]
            seen.append(View(file.getvalue(), tuple(sorted(top_three, key=lambda pair: -pair[1]))))
        made.append(
            Picture(
                f"{classes[index % len(classes)]}_{index + 1:03d}", classes[index % len(classes)], tuple(seen)
            )
        )
    return made

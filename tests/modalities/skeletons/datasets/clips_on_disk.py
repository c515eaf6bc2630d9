"""Ground for the tests of data sets: small files in each format, and where the real ones lie."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from stillroom.errors import DataError
from stillroom.modalities.skeletons import datasets
from stillroom.modalities.skeletons.preparation import prepare
from stillroom.modalities.skeletons.samples import Sample
from stillroom.modalities.summary import Prepared
from stillroom.progress import Progress
from stillroom.samples import Samples

# Beside the project, or further up where it is a worktree
SHARED = next((one / "shared" for one in Path(__file__).parents if (one / "shared").is_dir()), Path("absent"))


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (SHARED / name).is_dir(), reason=f"no copy of {name} in {SHARED}")


def prepared(name: str, folder: Path, **keys: object) -> Prepared:
    """What `prepare` makes of a data set in `folder`, its table saved."""
    done = prepare(datasets.section(name).model_validate({"name": name, **keys}), folder, Progress())
    done.samples.save(folder)
    return done


def refused(name: str, folder: Path, **keys: object) -> str:
    """The message with which a data set is refused; nothing is left that looks like one."""
    with pytest.raises(DataError) as caught:
        prepared(name, folder, **keys)
    assert caught.value.fix, "an error says what to do"
    assert not folder.exists() or not list(folder.iterdir()), "something was left behind"
    return str(caught.value)


def clip_of(samples: Samples, key: str) -> np.ndarray:
    return np.load(io.BytesIO(samples.content(samples.rows[samples.row_of(key)])))


def counts(samples: Samples) -> dict[str, int]:
    return {split: len(samples.in_splits(split)) for split in ("train", "val", "test")}


def loaded(folder: Path) -> Samples:
    return Samples.load(folder, lambda modality: Sample.read)


def walk(seed: int, frames: int, joints: int, dims: int) -> np.ndarray:
    """Joints that move: [frames, joints, dims], each at least 10."""
    return 10 + np.random.default_rng(seed).random((frames, joints, dims)).cumsum(axis=0) * 5


# Penn Action


def penn(seed: int = 0, action: str = "bowl", train: int = 1, frames: int = 6, **changed: object) -> bytes:
    """The bytes of a `.mat` file; `changed` replaces variables, or takes away those that are None."""
    joints = walk(seed, frames, 13, 2)
    fields = {
        "action": action,
        "pose": "left",
        "x": joints[..., 0],
        "y": joints[..., 1],
        "visibility": np.ones((frames, 13), np.uint8),
        "train": np.array([[train]], np.int32),
        "bbox": np.zeros((frames, 4)),
        "dimensions": np.array([[270, 480, frames]], np.uint16),
        "nframes": np.array([[frames]], np.uint8),
    } | changed
    stream = io.BytesIO()
    scipy.io.savemat(
        stream, {name: one for name, one in fields.items() if one is not None}, do_compression=True
    )
    return stream.getvalue()


def penn_folder(root: Path, clips: int = 3) -> Path:
    """Two actions with so many clips in train and in test each."""
    (root / "labels").mkdir(parents=True)
    number = 0
    for action in ("bowl", "squat"):
        for train in (1, -1):
            for _ in range(clips):
                number += 1
                (root / "labels" / f"{number:04d}.mat").write_bytes(penn(number, action, train))
    return root


# NTU RGB+D


def ntu(seed: int = 0, frames: int = 4, bodies: int = 1, ends: str = "\r\n", joints: int = 25) -> str:
    """The text of a `.skeleton` file; body 0 moves most."""
    moves = [walk(seed + body, frames, joints, 3) / (1 + 9 * body) for body in range(bodies)]
    lines = [str(frames)]
    for frame in range(frames):
        lines.append(str(bodies))
        for body, move in enumerate(moves):
            lines += [f"7205759403794473{body} 0 1 1 1 1 0 0.01 -0.25 2", str(joints)]
            lines += [
                " ".join(f"{one:.6f}" for one in (*joint, 1, 2, 3, 4, 0, 0, 0, 1)) + " 2"
                for joint in move[frame]
            ]
    return ends.join([*lines, ""])


def ntu_folder(root: Path, names: list[str]) -> Path:
    root.mkdir(parents=True)
    for seed, name in enumerate(names):
        (root / f"{name}.skeleton").write_bytes(ntu(10 * seed).encode())
    return root


# Kinetics-skeleton


def person(seed: int = 0, score: float = 0.5) -> dict:
    values = np.random.default_rng(seed).random(36).round(3) * 0.9 + 0.05
    return {"pose": values.tolist(), "score": [score] * 18}


def kinetics(
    seed: int = 0, frames: int = 4, people: int = 1, label: str = "abseiling", index: int = 0
) -> dict:
    return {
        "data": [
            {
                "frame_index": frame + 1,
                "skeleton": [person(seed + 100 * frame + 10 * one) for one in range(people)],
            }
            for frame in range(frames)
        ],
        "label": label,
        "label_index": index,
    }


LABELS = {0: "abseiling", 7: "archery"}


def kinetics_folder(root: Path, clips: int = 2) -> Path:
    """Two labels with so many clips in each part."""
    for part in ("train", "val"):
        (root / f"kinetics_{part}").mkdir(parents=True)
        table = {}
        for index, label in LABELS.items():
            for number in range(clips):
                key = f"-{part}_{index}_{number}"
                seed = len(table) + 1000 * (part == "val")
                text = json.dumps(kinetics(seed, label=label, index=index))
                (root / f"kinetics_{part}" / f"{key}.json").write_text(text)
                table[key] = {"has_skeleton": True, "label": label, "label_index": index}
        (root / f"kinetics_{part}_label.json").write_text(json.dumps(table))
    return root

"""Every script of examples/, each as a user starts it, on a tiny project."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import stillroom
from stillroom.modalities import load_samples
from tests import tables, warm
from tests.conftest import ROOT, copy_library, copy_project, environment, run_in

pytestmark = pytest.mark.slow  # they start commands

EXAMPLES = ROOT / "examples"
VIT = "artifacts/students/vit-kd-0"


def example(folder: Path, name: str, *arguments: str) -> str:
    """What a script prints when it is run in a folder."""
    done = warm.run((warm.PYTHON, str(EXAMPLES / name), *arguments), folder, environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_has_a_test_and_a_line_in_the_list() -> None:
    tests, listed = Path(__file__).read_text(), (EXAMPLES / "README.md").read_text()
    names = {file.name for file in EXAMPLES.glob("*.py")}
    assert all(f'"{name}"' in tests for name in names)
    assert set(re.findall(r"^\| \[(\w+\.py)\]", listed, re.MULTILINE)) == names
    for name, page in re.findall(r"^\| \[(\w+\.py)\].*\]\((\S+\.md)\)", listed, re.MULTILINE):
        assert f"examples/{name}" in (EXAMPLES / page).read_text(), f"{page} does not name {name}"


# What the loops of one's own have in common, as params of `stillroom student`
ALIKE = {"epochs": 2, "batch_size": 16, "lr": 0.001, "clip_grad": 1.0, "drop_path": 0.0, "sched": "cosine"}
PLAIN = ALIKE | {"weight_decay": 0.0, "warmup_epochs": 0}
TIMM = ALIKE | {"weight_decay": 0.05, "warmup_epochs": 1, "ema": 0.9}


@pytest.fixture(scope="module")
def ours(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], list[float]]:
    """Gives the loss of each epoch of our student under some settings; trained once each."""
    folder = copy_project(finished, tmp_path_factory.mktemp("ours") / "project")
    kept: dict[str, list[float]] = {}

    def losses(settings: dict[str, Any]) -> list[float]:
        chosen = [f"student.train.{name}={value}" for name, value in settings.items()]
        if str(chosen) not in kept:
            words = [word for one in chosen for word in ("--set", one)]
            run_in(folder, "stillroom", "student", "--family", "deit_tiny_patch16_224", "--arm", "kd", *words)
            record = json.loads(
                (folder / "artifacts/students/deit_tiny_patch16_224-kd-0/student.json").read_text()
            )
            kept[str(chosen)] = [epoch["loss"] for epoch in record["history"]]
        return kept[str(chosen)]

    return losses


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        ("own_loop.py", PLAIN),
        ("timm_loop.py", TIMM),
        ("lightning_loop.py", PLAIN),
        ("trainer_loop.py", PLAIN),
    ],
)
def test_a_loop_of_ones_own_has_the_losses_of_ours(
    finished: Path, ours: Callable[[dict[str, Any]], list[float]], script: str, settings: dict[str, Any]
) -> None:
    """All six digits are equal where sums are taken in one order. Another order of samples, or another view,
    is apart by 5e-4 and more.
    """
    losses = [
        float(one) for one in re.findall(r"^epoch \d+: loss (\S+)", example(finished, script, "2"), re.M)
    ]
    assert losses == pytest.approx(ours(settings), abs=5e-5) and losses[1] < losses[0]


PLAIN_TRAINER = """
import tempfile, torch, warnings
from transformers import Trainer, TrainingArguments
import stillroom

warnings.filterwarnings("error", "CachedDataset")
views = stillroom.CachedDataset("artifacts/cache")
seen = []

class Student(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 40)

    def forward(self, pixel_values, labels, teacher_logits):
        seen.append(int(views._shared[0]))
        logits = self.net(pixel_values.mean((2, 3)))
        return {"loss": torch.nn.functional.mse_loss(logits, teacher_logits), "logits": logits}

arguments = TrainingArguments(
    tempfile.mkdtemp(),
    num_train_epochs=4,
    per_device_train_batch_size=40,
    save_strategy="no",
    report_to="none",
)
Trainer(Student(), arguments, train_dataset=views).train()
print("seen", seen)
"""


def test_trainer_alone_takes_what_forward_names_and_sets_the_epoch(finished: Path) -> None:
    """With its own loader, order and `remove_unused_columns`, which leaves out the keys."""
    done = warm.run((warm.PYTHON, "-c", PLAIN_TRAINER), finished, environment())
    assert "seen [0, 0, 1, 1, 2, 2, 0, 0]" in done.stdout, done.stdout + done.stderr


def test_load_student(finished: Path) -> None:
    """Timm's own transform and model say what `stillroom predict` says, but for another resampling."""
    samples = load_samples(finished / "artifacts/data").in_splits("test")
    photo = str(samples.file(samples.rows[0]))
    name, share = example(finished, "load_student.py", VIT, photo).rsplit(maxsplit=1)
    said = run_in(finished, "stillroom", "predict", photo, "--json", "--top", "40", "--student", VIT).stdout
    (found,) = json.loads(said)
    assert {one["class"]: one["probability"] for one in found["top"]}[name] == pytest.approx(
        float(share), abs=0.02
    )


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_read_cache(finished: Path, tmp_path: Path, backend: str) -> None:
    cache = finished / "artifacts/cache"
    if backend == "hdf5":
        run_in(finished, "stillroom", "store", "convert", str(cache), str(tmp_path / "c"), "--to", "hdf5")
        cache = tmp_path / "c"
    store = stillroom.open_cache(cache)
    said = example(finished, "read_cache.py", str(cache))
    assert f"{len(store.keys)} samples from {store.keys[0]} to {store.keys[-1]}\n" in said
    for view in range(store.layout.views):
        right = (store.logits(view).argmax(1) == store.labels).mean()
        box = store.parameters(view)["box"][0].tolist()
        assert f"view {view}: right in {right:.1%}, the first sample cut at {box}\n" in said


@pytest.fixture
def elsewhere(project: Path) -> Path:
    """A project whose images lie at `data.path`, and are not here."""
    table = tables.read(project / "artifacts/data") | {"root": None, "root_is": "data.path"}
    tables.write(project / "artifacts/data", table)
    return project


def test_what_looks_at_answers_needs_no_images(finished: Path, elsewhere: Path) -> None:
    for name, arguments in (("apart.py", ("artifacts/students/vit-ce-0", VIT)), ("together.py", (VIT,))):
        assert example(elsewhere, name, *arguments) == example(finished, name, *arguments)


def test_apart(finished: Path) -> None:
    ce = "artifacts/students/vit-ce-0"
    gain, interval = example(finished, "apart.py", ce, VIT).split(maxsplit=1)
    scores = [json.loads((finished / one / "metrics.json").read_text())["accuracy"] for one in (ce, VIT)]
    assert float(gain) == pytest.approx(scores[1] - scores[0])
    low, high = map(float, re.findall(r"-?\d+\.\d+", interval)[:2])
    assert low <= float(gain) <= high
    assert example(finished, "apart.py", VIT, VIT) == "0.0 (0.0, 0.0) 0.0 (0.0, 0.0)\n"


def test_answers_of_several_draws_and_seeds(skeletons: Path) -> None:
    """A student of a corruption has an answer a draw; its teacher one alone."""
    ce, kd = (f"artifacts/students/stgcn-{arm}-0" for arm in ("ce", "kd"))
    scores = [json.loads((skeletons / one / "metrics.json").read_text())["accuracy"] for one in (ce, kd)]
    gain = float(example(skeletons, "apart.py", ce, kd).split()[0])
    assert gain == pytest.approx(scores[1] - scores[0], abs=1e-3)
    both = float(example(skeletons, "apart.py", ce, kd, kd, ce).split()[0])  # as if of two seeds
    assert both == 0
    assert "accuracy" in example(skeletons, "together.py", "artifacts/teacher", kd)


def test_together(finished: Path) -> None:
    """One teacher alone, softened, is as accurate as it is."""
    one = json.loads((finished / "artifacts/teacher/metrics.json").read_text())
    said = example(finished, "together.py", "artifacts/teacher")
    (accuracy,) = re.findall(r"'accuracy': (\d+\.?\d*)", said)
    assert float(accuracy) == pytest.approx(one["accuracy"])
    assert example(finished, "together.py", "artifacts/teacher", VIT) != said


def commands(project: Path, library: Path, *words: list[str]) -> tuple[list[int], str]:
    """Run commands of a copy of the library, one after the other: how each ended, and what they print."""
    env = environment() | {"PYTHONPATH": str(library)}
    done = [warm.run(("stillroom", *one), project, env) for one in words]
    return [one.returncode for one in done], "".join(one.stdout + one.stderr for one in done)


def test_left_half_and_huber(project: Path, tmp_path: Path) -> None:
    """One file each, copied into the library: found by name, and their keys are checked."""
    library = tmp_path / "library"
    copy_library(library)
    shutil.copy(EXAMPLES / "left_half.py", library / "stillroom/modalities/images/policies")
    shutil.copy(EXAMPLES / "huber.py", library / "stillroom/losses")
    left = ["--set", "views.recipe={name: left_half, flip: 0.25}"]
    huber = ["student", "--family", "vit", "--arm", "huber", "--set", "student.train.epochs=1"]
    ended, said = commands(
        project,
        library,
        ["cache", "--replace", *left],
        [*huber, *left, "--set", "student.losses.huber={delta: 2.0}"],
        ["cache", "--set", "views.recipe={name: left_half, flp: 0.25}"],
        [*huber, *left, "--set", "student.losses.huber={dleta: 2.0}"],
    )
    assert ended == [0, 0, 2, 2], said
    found = json.loads((project / "artifacts/students/vit-huber-0/student.json").read_text())
    assert found["config"]["loss"] == {"alpha": 0.5, "delta": 2.0, "outputs": ["logits"]}
    boxes = stillroom.open_cache(project / "artifacts/cache").parameters(0)["box"]
    assert (boxes[:, 0] == 0).all() and (boxes[:, 2] < 64).all()
    assert "did you mean views.recipe.flip?" in said
    assert "student.losses.huber.dleta" in said and "did you mean delta?" in said


def test_listed(tmp_path: Path) -> None:
    library = tmp_path / "library"
    copy_library(library)
    shutil.copy(EXAMPLES / "listed.py", library / "stillroom/modalities/images/datasets")
    (tmp_path / "photos").mkdir()
    rows = ["file,class,split"]
    for number, (name, split) in enumerate(product(("cat", "dog"), ("train", "test"))):
        Image.new("RGB", (48, 40), (60 * number, 50, 9)).save(tmp_path / "photos" / f"{number}.png")
        rows.append(f"{number}.png,{name},{split}")
    (tmp_path / "photos/mine.csv").write_text("\n".join(rows))
    (tmp_path / "params.yaml").write_text("data: {name: listed, path: photos}\n")
    ended, said = commands(
        tmp_path,
        library,
        ["prepare", "--set", "data.table=mine.csv"],
        ["prepare"],
        ["prepare", "--set", "data.tabel=mine.csv"],
    )
    assert ended == [0, 1, 2], said
    assert "photos/list.csv cannot be read" in said and "did you mean data.table?" in said
    table = load_samples(tmp_path / "artifacts/data", tmp_path / "photos")
    assert table.classes == ("cat", "dog") and [row.key for row in table.rows] == ["0", "1", "2", "3"]

"""The loop's options: the average of weights, schedules, precision, compilation, the order of views."""

import hashlib
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from stillroom.errors import DataError, ParamsError
from stillroom.modalities.images.models.create import Loaded, Model
from stillroom.modalities.images.policies import make_recipe
from stillroom.modalities.images.samples import Sample
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.samples import Samples
from stillroom.training.batches import FreshBatches, Partition, replayed
from stillroom.training.checkpoint import Checkpoint
from stillroom.training.loop import fit
from stillroom.views import loader

SIZE, COUNT = 16, 12


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FreshBatches:
    """Two steps an epoch."""
    return small_batches(tmp_path_factory.mktemp("pictures"))


def small_batches(folder: Path, parts: int = 1, rank: int = 0, world: int = 1) -> FreshBatches:
    """Of pictures in a folder, drawn where they are not there yet."""
    rows = []
    for i in range(COUNT):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        pixels[..., i % 3] = 255
        file = folder / f"s{i:02}.png"
        if not file.exists():
            Image.fromarray(pixels).save(file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append(Sample(f"s{i:02}", f"s{i:02}.png", "train", i % 3, None, (24, 20), digest))
    samples = Samples("folder", ("a", "b", "c"), tuple(rows), folder)
    cut = Partition(parts, rank, world)
    return FreshBatches(samples, make_recipe({"name": "crop"}), {"size": SIZE}, 6, 1, cut)


def model() -> Model:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIZE * SIZE, 8), torch.nn.Linear(8, 3))
    return Model(net, "linear", {}, SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), Loaded())


def cross_entropy(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
    return {"labels": torch.nn.functional.cross_entropy(outputs["logits"], batch.labels)}


def train(source: FreshBatches, made: Model, **config) -> list[dict]:
    settings = {"epochs": 4, "batch_size": 6, "lr": 1e-2, "warmup_epochs": 1, **config}
    return fit(made, source, cross_entropy, Train(**settings), Progress(), "", lambda record: None)


def test_the_result_is_the_average_of_the_weights(source: FreshBatches) -> None:
    """As timm's EMA says: its decay grows with the steps up to the given one."""
    found: list[torch.Tensor] = []
    plain, averaged = model(), model()
    handle = register_optimizer_step_post_hook(lambda *_: found.append(plain.net[2].weight.detach().clone()))
    train(source, plain)
    handle.remove()
    train(source, averaged, ema=0.9)
    expected = found[0]
    for step, weight in enumerate(found[1:], start=1):
        decay = min(0.9, 1 - (1 + step) ** (-2 / 3))
        expected = decay * expected + (1 - decay) * weight
    assert len(found) == 8
    assert torch.allclose(averaged.net[2].weight, expected, atol=1e-6)
    assert not torch.allclose(averaged.net[2].weight, found[-1], atol=1e-4)


@pytest.mark.parametrize("sched", ["cosine", "poly", "tanh", "wsd", "constant"])
def test_schedules_warm_up_and_end_where_they_should(source: FreshBatches, sched: str) -> None:
    rates = [record["lr"] for record in train(source, model(), sched=sched, epochs=10, warmup_epochs=2)]
    assert rates[0] < 1e-2 and max(rates) <= 1e-2 + 1e-12
    if sched == "constant":
        assert rates[3:] == [1e-2] * 7
    else:
        assert rates[-1] < 3e-3
    if sched == "cosine":  # the last step of 20 stands at 19/20 of the half wave
        assert rates[-1] == pytest.approx(1e-2 * (1 + math.cos(math.pi * 19 / 20)) / 2)


def test_half_precision_and_no_clipping_train_too(source: FreshBatches) -> None:
    settings = {"epochs": 4, "lr": 1e-3, "clip_grad": 0.0}
    full, half = train(source, model(), **settings), train(source, model(), **settings, amp="bf16")
    assert [one["loss"] for one in half] == pytest.approx([one["loss"] for one in full], rel=0.05, abs=0.01)
    assert half != full and half[-1]["loss"] < half[0]["loss"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler on a CPU")
@pytest.mark.slow
def test_a_compiled_model_trains_alike_and_keeps_its_names(source: FreshBatches) -> None:
    plain, compiled = model(), model()
    one, two = train(source, plain, epochs=2), train(source, compiled, epochs=2, compile=True)
    assert [record["loss"] for record in two] == pytest.approx([record["loss"] for record in one], rel=1e-3)
    assert list(compiled.net.state_dict()) == ["1.weight", "1.bias", "2.weight", "2.bias"]


def test_the_loss_hears_how_far_training_has_come(source: FreshBatches) -> None:
    heard = []

    def loss(outputs: dict, batch, progress: float) -> dict:
        heard.append(progress)
        return cross_entropy(outputs, batch, progress)

    fit(model(), source, loss, Train(epochs=2, batch_size=6), Progress(), "", lambda record: None)
    assert heard == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_an_evaluation_that_is_cut_off_costs_no_step(source: FreshBatches, tmp_path: Path) -> None:
    """Ctrl-C, an image that is gone: the epoch's steps are in the checkpoint, and are not taken again."""
    whole = model()
    records = train(source, whole)
    steps = []

    def loss(outputs: dict, batch, progress: float) -> dict:
        steps.append(progress)
        return cross_entropy(outputs, batch, progress)

    def run(made: Model, evaluate) -> list[dict]:
        config = Train(epochs=4, batch_size=6, lr=1e-2, warmup_epochs=1)
        checkpoint = Checkpoint(tmp_path, "linear", "0" * 64)
        return fit(
            made, source, loss, config, Progress(), "", lambda _: None, evaluate, checkpoint=checkpoint
        )

    def cut_off(error: type[BaseException]):
        def evaluate(model: Model) -> dict:
            raise error("cut off")

        return evaluate

    for error in (KeyboardInterrupt, DataError):
        with pytest.raises(error):
            run(model(), cut_off(error))
        assert len(steps) == 2
    resumed = model()
    found = run(resumed, lambda model: {"val_accuracy": 1.0})
    assert len(steps) == 4 * 2
    assert [record["loss"] for record in found] == [record["loss"] for record in records]
    assert torch.equal(resumed.net[2].weight, whole.net[2].weight)


def test_views_take_turns() -> None:
    """Epoch e replays view e mod V, or each turn of V epochs in an order of its own."""
    assert [replayed(epoch, 5, "cycle", 0) for epoch in range(12)] == [*range(5), *range(5), 0, 1]
    turns = [[replayed(5 * turn + e, 5, "shuffle", 3) for e in range(5)] for turn in range(6)]
    assert all(sorted(turn) == list(range(5)) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 3
    others = [[replayed(5 * turn + e, 5, "shuffle", 4) for e in range(5)] for turn in range(6)]
    assert turns != others


def test_a_random_draw_belongs_to_its_step(source: FreshBatches) -> None:
    """Dropout of step n is the same whatever was drawn before it."""

    class Noisy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model().net
            self.drawn: list[float] = []

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.drawn.append(float(torch.rand(())))
            return self.inner(images)

    drawn = []
    for extra in (0, 5):
        made = model()
        made.net = Noisy()

        def disturbed(outputs: dict, batch, progress: float, extra: int = extra) -> dict:
            torch.rand(extra + 1)
            return cross_entropy(outputs, batch, progress)

        fit(
            made,
            source,
            disturbed,
            Train(epochs=2, batch_size=6),
            Progress(),
            "",
            lambda record: None,
            seed=4,
        )
        drawn.append(made.net.drawn)
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 4


def test_work_left_is_divided_or_refused(tmp_path: Path) -> None:
    samples = Samples(
        "folder",
        ("a",),
        tuple(Sample(f"k{i}", "x", "train", 0, None, (9, 9), "") for i in range(7)),
        tmp_path,
    )
    recipe = make_recipe({"name": "crop"})
    with pytest.raises(ParamsError, match="cannot be cut into 2 parts for 2 processes"):
        FreshBatches(samples, recipe, {"size": SIZE}, 4, 0, Partition(2, 0, 2))
    assert FreshBatches(samples, recipe, {"size": SIZE}, 4, 0, Partition(1, 0, 3)).steps == 2


def test_workers_live_as_long_as_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_WORKERS", "2")
    started = []

    class Counted(loader._Worker):
        def __init__(self, *arguments: Any) -> None:
            started.append(1)
            super().__init__(*arguments)

    monkeypatch.setattr(loader, "_Worker", Counted)
    train(small_batches(tmp_path), model(), epochs=3)
    assert len(started) == 2, "new ones in each epoch"

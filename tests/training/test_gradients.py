"""Revised gradients: what opposes the task is taken off; alike in parts, on several processes and resumed."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stillroom.distributed import Ranks
from stillroom.errors import DataError
from stillroom.modalities.images.models.create import Model
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.training.batches import FreshBatches
from stillroom.training.checkpoint import Checkpoint
from stillroom.training.gradients import Gradients, Revised, Summed, revised
from stillroom.training.loop import fit
from tests.processes import run_ranks
from tests.training.test_loop import cross_entropy, model, small_batches

EACH, SUM = (partial(Revised, task="labels", each=each) for each in (True, False))
WAYS = {"sum": SUM, "each": EACH}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def source(folder: Path) -> FreshBatches:
    return small_batches(folder)


class Point(torch.nn.Module):
    """Two numbers, whose gradients are chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.at = torch.nn.Parameter(torch.zeros(2))


def put_together(way: Callable[..., Gradients], **gradients: tuple[float, float]) -> tuple[list[float], bool]:
    """The gradient of terms that have these."""
    net = Point()
    made = way(net, Ranks.alone())
    with made.part(True):
        terms = {name: torch.tensor(one, dtype=torch.float32) @ net.at for name, one in gradients.items()}
        assert float(made.add(terms, 1.0)) == 0
    found = made.finish()
    return net.at.grad.tolist(), bool(found)


@pytest.mark.parametrize("way", WAYS)
def test_what_opposes_the_task_is_taken_off(way: str) -> None:
    assert put_together(WAYS[way], labels=(1, 0), teacher=(-1, 1)) == ([1, 1], True)
    assert put_together(WAYS[way], labels=(1, 0), teacher=(0.5, 1)) == ([1.5, 1], False)


def test_terms_are_held_against_the_task_one_by_one_or_together() -> None:
    """Together, what one has along the task makes up for what the other has against it."""
    terms = {"labels": (1, 0), "teacher": (-1, 1), "nodes": (2, 1)}
    assert put_together(EACH, **terms) == ([3, 2], True)
    assert put_together(SUM, **terms) == ([2, 2], False)
    assert put_together(Summed, **terms) == ([2, 2], False)


def test_a_task_without_a_gradient_opposes_nothing() -> None:
    for way in WAYS.values():
        assert put_together(way, labels=(0, 0), teacher=(-1, 1)) == ([-1, 1], False)
    alone = revised(None, [torch.ones(2)])
    assert alone[0].tolist() == [1, 1] and not alone[1]


def test_the_task_alone_is_the_task() -> None:
    assert put_together(SUM, labels=(2, 3)) == ([2, 3], False)


def test_the_sum_never_costs_the_task_anything() -> None:
    """<g, g0> >= |g0|^2; what does not oppose stays to the bit; the size of g0 is nothing to the others."""
    random, opposed = np.random.default_rng(0), 0
    for _ in range(50):
        task, *others = torch.tensor(random.normal(size=(4, 5))).float()
        total, conflict = revised(task, others)
        assert float(total @ task) >= float(task @ task) * (1 - 1e-5)
        against = [bool(one @ task < 0) for one in others]
        assert bool(conflict) == any(against)
        opposed += sum(against)
        plain = task.clone()
        for one, wrong in zip(others, against, strict=True):
            plain += one - (one @ task) / (task @ task) * task if wrong else one
        torch.testing.assert_close(total, plain)
        if not conflict:
            assert torch.equal(total, plain)
        for scale in (1e-20, 1e3):  # squares of the first are no float32
            rest = revised(scale * task, others)[0] - scale * task
            torch.testing.assert_close(rest, total - task, rtol=1e-4, atol=1e-3)
    assert 50 < opposed < 100


def test_a_parameter_that_no_term_uses_keeps_no_gradient() -> None:
    net = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 1), "unused": torch.nn.Linear(2, 1)})
    net["used"].bias.requires_grad_(False)
    made = SUM(net, Ranks.alone())
    with made.part(True):
        value = net["used"](torch.ones(1, 2)).sum()
        made.add({"labels": value, "teacher": -value, "constant": torch.ones(())}, 1.0)
    made.finish()
    assert net["used"].weight.grad.tolist() == [[1, 1]]
    assert net["unused"].weight.grad is net["used"].bias.grad is None


def opposed(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
    """Two terms that want other classes than the labels."""
    logits = outputs["logits"]
    return {
        **cross_entropy(outputs, batch, progress),
        "teacher": 0.7 * F.cross_entropy(logits, (batch.labels + 1) % 3),
        "nodes": 0.2 * logits.square().mean(),
    }


def train(source: FreshBatches, made: Model, way: Callable, loss: Callable = opposed, **config) -> list[dict]:
    ranks, checkpoint = config.pop("ranks", None), config.pop("checkpoint", None)
    settings = {"epochs": 3, "batch_size": 6, "lr": 1e-2, "warmup_epochs": 1, "opt": "sgd", **config}
    return fit(
        made,
        source,
        loss,
        Train(**settings),
        Progress(),
        "",
        lambda record: None,
        ranks=ranks,
        checkpoint=checkpoint,
        gradients=way,
    )


def weights(made: Model) -> list[torch.Tensor]:
    return list(made.net.state_dict().values())


def test_training_notes_the_share_of_steps_in_conflict(source: FreshBatches) -> None:
    made, alone = model(), model()
    history = train(source, made, SUM)
    assert [one["conflict"] for one in history] == [1, 1, 1]
    assert set(history[0]["terms"]) == {"labels", "teacher", "nodes"}
    plain = train(source, alone, Summed)
    assert "conflict" not in plain[0]
    assert history[-1]["terms"]["labels"] < plain[-1]["terms"]["labels"]  # the task gets on

    def every_other(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
        """Opposed in the first of each two steps."""
        task = cross_entropy(outputs, batch, progress)["labels"]
        first = round(progress * 5) % 2 == 0
        return {"labels": task, "teacher": (-0.5 if first else 0.5) * task}

    assert [one["conflict"] for one in train(source, model(), EACH, every_other)] == [0.5, 0.5, 0.5]


def test_without_conflict_training_is_that_of_the_sum(source: FreshBatches) -> None:
    def agreed(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
        task = cross_entropy(outputs, batch, progress)["labels"]
        return {"labels": task, "teacher": 0.3 * task, "nodes": 0.2 * task}

    found = []
    for way in (Summed, SUM, EACH):
        made = model()
        history = train(source, made, way, agreed)
        assert history[0].get("conflict", 0) == 0
        found.append(weights(made))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_parts_of_a_batch_are_revised_as_a_whole(folder: Path, source: FreshBatches, way: str) -> None:
    whole, cut = model(), model()
    history = train(source, whole, WAYS[way])
    again = train(small_batches(folder, parts=3), cut, WAYS[way], accumulate=3)
    for one, other in zip(history, again, strict=True):
        assert other["conflict"] == one["conflict"] and other["loss"] == pytest.approx(one["loss"], abs=1e-5)
    for one, other in zip(weights(whole), weights(cut), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_half_precision_is_revised_too(source: FreshBatches, way: str) -> None:
    full, half = train(source, model(), WAYS[way]), train(source, model(), WAYS[way], amp="bf16")
    assert [one["loss"] for one in half] == pytest.approx([one["loss"] for one in full], rel=0.05)
    assert half != full and half[-1]["conflict"] == 1


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler on a CPU")
@pytest.mark.slow
def test_a_compiled_model_is_revised_too(source: FreshBatches) -> None:
    one, two = train(source, model(), EACH), train(source, model(), EACH, compile=True)
    assert [record["loss"] for record in two] == pytest.approx([record["loss"] for record in one], rel=1e-3)


def test_a_run_that_is_cut_off_mid_epoch_keeps_its_conflicts(
    source: FreshBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opposed in the first step of an epoch, and not in the second, before which it ends."""
    monkeypatch.setenv("STILLROOM_CHECKPOINT_SECONDS", "0")

    def loss(end: bool, outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
        step = round(progress * 5)
        if end and step == 3:
            raise DataError("cut off")
        task = cross_entropy(outputs, batch, progress)["labels"]
        return {"labels": task, "teacher": (-0.5 if step % 2 == 0 else 0.5) * task}

    def run(made: Model, end: bool) -> list[dict]:
        checkpoint = Checkpoint(tmp_path, "linear", "0" * 64)
        history = train(source, made, SUM, partial(loss, end), checkpoint=checkpoint)
        return [{name: one for name, one in record.items() if name != "seconds"} for record in history]

    with pytest.raises(DataError):
        run(model(), True)
    resumed, whole = model(), model()
    found = run(resumed, False)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert found == run(whole, False) and [one["conflict"] for one in found] == [0.5, 0.5, 0.5]
    assert all(torch.equal(*pair) for pair in zip(weights(resumed), weights(whole), strict=True))


PROCESSES = """
import sys
from pathlib import Path
import torch
from stillroom.distributed import Ranks
from tests.training import test_gradients as own

folder, out, normalised = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "normalised"
ways = {"summed": own.Summed, **own.WAYS}
with Ranks() as ranks:
    found = {}
    for parts in (1,) if normalised else (1, 2):  # each must get several samples to normalise
        source = own.small_batches(folder, parts, ranks.rank, ranks.world)
        for name, way in ways.items():
            made = own.normalised() if normalised else own.model()
            history = own.train(source, made, way, own.agreed if normalised else own.opposed, ranks=ranks)
            kept = {"history": [{"loss": one["loss"], "conflict": one.get("conflict")} for one in history]}
            found[f"{name} {parts}"] = kept | {"weights": made.net.state_dict()}
    torch.save(found, out / f"{ranks.rank}.pt")
    ranks.wait()
"""


def normalised() -> Model:
    made = model()
    made.net.insert(2, torch.nn.BatchNorm1d(8))
    return made


def agreed(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
    """No term opposes another."""
    task = cross_entropy(outputs, batch, progress)["labels"]
    return {"labels": task, "teacher": 0.3 * task}


def processes(folder: Path, out: Path, world: int, kind: str) -> list[dict]:
    """What each of so many processes found."""
    out.mkdir()
    run_ranks(PROCESSES, world, folder, out, kind)
    return [torch.load(out / f"{rank}.pt") for rank in range(world)]


@pytest.mark.slow
def test_two_processes_revise_as_one(folder: Path, source: FreshBatches, tmp_path: Path) -> None:
    first, second = processes(folder, tmp_path / "two", 2, "plain")
    for name, found in first.items():
        way = {"summed": Summed, **WAYS}[name.split()[0]]
        alone = model()
        history = train(source, alone, way)
        for one, other in zip(history, found["history"], strict=True):
            assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
            assert other["conflict"] == one.get("conflict")
        for key, value in found["weights"].items():
            assert torch.equal(value, second[name]["weights"][key])
            torch.testing.assert_close(value, alone.net.state_dict()[key], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_buffers_are_the_first_processs_as_torch_has_it(
    folder: Path, source: FreshBatches, tmp_path: Path
) -> None:
    """Statistics of a batch norm: each process's of the last step, from the first's before it."""
    for found in processes(folder, tmp_path / "two", 2, "normalised"):
        expected = found["summed 1"]["weights"]
        for way in WAYS:
            for key, value in found[f"{way} 1"]["weights"].items():
                torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-6)

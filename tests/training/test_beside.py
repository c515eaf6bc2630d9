"""What is trained beside a student: its steps, its checkpoint, in parts, in several processes."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from stillroom.distributed import Ranks
from stillroom.errors import DataError
from stillroom.losses.fitnet import Projection
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.training.checkpoint import Checkpoint
from stillroom.training.gradients import Revised, Summed
from stillroom.training.loop import fit
from stillroom.training.optimizer import create_optimizer
from tests.processes import run_ranks
from tests.training.test_loop import cross_entropy, model, small_batches

WAYS = {"summed": Summed, "revised": partial(Revised, task="labels", each=True)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def hinted(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
    """The projected features are to be far from where they are."""
    assert outputs["1"].shape[1:] == (5,)
    target = 2 + torch.arange(5.0) + batch.labels[:, None]
    return {**cross_entropy(outputs, batch, progress), "hint": (outputs["1"] - target).square().mean()}


def train(source, beside: Projection | None, way: str = "summed", loss=hinted, **config) -> tuple:
    ranks, checkpoint = config.pop("ranks", None), config.pop("checkpoint", None)
    settings = {"epochs": 3, "batch_size": 6, "lr": 1e-2, "warmup_epochs": 1, "opt": "sgd", **config}
    made = model()
    history = fit(
        made,
        source,
        loss,
        Train(**settings),
        Progress(),
        "",
        lambda record: None,
        ranks=ranks,
        checkpoint=checkpoint,
        take=["1"],
        gradients=WAYS[way],
        beside=beside,
    )
    kept = [{name: one for name, one in record.items() if name != "seconds"} for record in history]
    return kept, made.net.state_dict(), beside.state_dict() if beside else {}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_trained_with_the_student_and_is_no_part_of_it(folder: Path, way: str) -> None:
    fresh = Projection(8, 5, 0)
    history, weights, beside = train(small_batches(folder), Projection(8, 5, 0), way)
    assert history[-1]["terms"]["hint"] < history[0]["terms"]["hint"]
    for name, one in fresh.state_dict().items():
        assert not torch.equal(one, beside[name])
    assert list(weights) == ["1.weight", "1.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("opt", ["adamw", "muon", "lookahead_adamw", "sgd"])
def test_its_weights_decay_and_its_biases_do_not(opt: str) -> None:
    net, beside = model().net, Projection(8, 5, 0)
    optimizer, scheduler = create_optimizer(net, Train(epochs=2, opt=opt, weight_decay=0.3), 4, beside)
    decay = {id(one): group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
    assert (decay[id(beside.weight)], decay[id(beside.bias)]) == (0.3, 0.0)
    scheduler.step_update(0)
    for one in (*net.parameters(), *beside.parameters()):
        one.grad = torch.ones_like(one)
    before = beside.weight.detach().clone()
    optimizer.step()
    assert not torch.equal(beside.weight, before)


def test_it_is_clipped_by_itself(folder: Path) -> None:
    """Its gradient, however large, leaves the student's steps as long as they are without."""

    def times(scale: float, outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
        """The hint teaches the projection's biases alone: its weights are zero, and stay so."""
        return {**cross_entropy(outputs, batch, progress), "hint": scale * outputs["1"].mean()}

    found = []
    for scale in (0.0, 1e4):
        beside = Projection(8, 5, 0)
        beside.weight.data.zero_()
        beside.weight.requires_grad_(False)
        source = small_batches(folder)
        found.append(train(source, beside, loss=partial(times, scale), clip_grad=0.1))
    for one, other in zip(*(weights.values() for _, weights, _ in found), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(found[0][2]["bias"], found[1][2]["bias"])


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_cut_off_goes_on_to_the_same_bits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("STILLROOM_CHECKPOINT_SECONDS", "0")

    def cut(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
        if progress > 0.5:
            raise DataError("cut off")
        return hinted(outputs, batch, progress)

    def run(loss) -> tuple:
        checkpoint = Checkpoint(tmp_path, "linear", "0" * 64)
        kept = {"checkpoint": checkpoint, "ema": 0.9, "opt": "adamw"}
        return train(small_batches(folder), Projection(8, 5, 0), way, loss, **kept)

    with pytest.raises(DataError):
        run(cut)
    resumed = run(hinted)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    whole = run(hinted)
    assert resumed[0] == whole[0]
    for one, other in zip(resumed[1:], whole[1:], strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("way", WAYS)
def test_parts_of_a_batch_train_it_as_the_whole(folder: Path, way: str) -> None:
    whole = train(small_batches(folder), Projection(8, 5, 0), way)
    cut = train(small_batches(folder, parts=3), Projection(8, 5, 0), way, accumulate=3)
    close(whole, cut)


def close(one: tuple, other: tuple) -> None:
    for some, others in zip(one[1:], other[1:], strict=True):
        for name, value in some.items():
            torch.testing.assert_close(others[name], value, rtol=1e-4, atol=1e-6)


PROCESSES = """
import sys
from pathlib import Path
import torch
from stillroom.distributed import Ranks
from tests.training import test_beside as own

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
with Ranks() as ranks:
    found = {}
    for parts in (1, 2):
        for way in own.WAYS:
            source = own.small_batches(folder, parts, ranks.rank, ranks.world)
            found[f"{way} {parts}"] = own.train(source, own.Projection(8, 5, 0), way, ranks=ranks)
    torch.save(found, out / f"{ranks.rank}.pt")
    ranks.wait()
"""


@pytest.mark.slow
def test_two_processes_train_it_as_one(folder: Path, tmp_path: Path) -> None:
    """A gradient summed once too often or too seldom would show, and two that drift apart."""
    alone = {way: train(small_batches(folder), Projection(8, 5, 0), way) for way in WAYS}
    run_ranks(PROCESSES, 2, folder, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, found in first.items():
        close(alone[name.split()[0]], found)
        for one, other in zip(found[1:], second[name][1:], strict=True):
            assert all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler on a CPU")
def test_a_compiled_student_gives_its_layers_too(folder: Path) -> None:
    one = train(small_batches(folder), Projection(8, 5, 0))
    two = train(small_batches(folder), Projection(8, 5, 0), compile=True)
    assert [record["loss"] for record in two[0]] == pytest.approx(
        [record["loss"] for record in one[0]], rel=1e-3
    )


def test_alone_there_is_nothing_to_gather(folder: Path) -> None:
    """The same as without ranks."""
    one = train(small_batches(folder), Projection(8, 5, 0), ranks=Ranks.alone())
    close(one, train(small_batches(folder), Projection(8, 5, 0)))

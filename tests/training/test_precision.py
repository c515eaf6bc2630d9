"""float16 with a scaled loss: small gradients are kept, and a step that overflows is left out, everywhere."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stillroom import device as machine
from stillroom.device import about_precision, autocast, device, environment, widest
from stillroom.distributed import Ranks
from stillroom.errors import DataError, StillroomError
from stillroom.evaluation.forward import evaluation_logits
from stillroom.params import Train
from stillroom.progress import Progress
from stillroom.training.batches import FreshBatches
from stillroom.training.checkpoint import Checkpoint
from stillroom.training.gradients import Summed
from stillroom.training.loop import Loss, fit
from tests.processes import run_ranks
from tests.training.test_gradients import EACH, SUM
from tests.training.test_loop import cross_entropy, model, small_batches

WAYS = {"summed": Summed, "sum": SUM, "each": EACH}
# so large that float16 does not hold its gradients scaled by 2**16, which scaling begins with
LARGE = 10.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def source(folder: Path) -> FreshBatches:
    return small_batches(folder)


def times(factor: float) -> Loss:
    def loss(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
        task = factor * cross_entropy(outputs, batch, progress)["labels"]
        return {"labels": task, "teacher": 0.1 * task}

    return loss


def train(source: FreshBatches, loss: Loss, way: str = "summed", **config) -> tuple[list[dict], torch.Tensor]:
    """The history, and the weights as one vector."""
    made, more = model(), {}
    for name in ("ranks", "checkpoint"):
        if name in config:
            more[name] = config.pop(name)
    settings = {"epochs": 3, "batch_size": 6, "lr": 1e-2, "warmup_epochs": 1, "opt": "sgd", **config}
    history = fit(
        *(made, source, loss, Train(**settings), Progress(), "", lambda record: None),
        gradients=WAYS[way],
        **more,
    )
    return history, torch.cat([one.detach().flatten() for one in made.net.parameters()])


@pytest.mark.parametrize("clip", [0.0, 1e-7])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_below_what_float16_holds_are_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, way: str, parts: int, clip: float
) -> None:
    """Clipped where they are as large as they are, not as they were scaled."""
    tiny, source = times(1e-8), small_batches(folder, parts)
    settings = {"way": way, "lr": 1e6, "accumulate": parts, "clip_grad": clip, "weight_decay": 0.0}
    start = torch.cat([one.detach().flatten() for one in model().net.parameters()])
    _, full = train(source, tiny, **settings)
    _, half = train(source, tiny, **settings, amp="fp16")
    assert (full - start).norm() > 1e-2
    assert (half - full).norm() < 0.05 * (full - start).norm()
    unscaled = torch.amp.GradScaler("cpu", enabled=False)
    monkeypatch.setattr("torch.amp.GradScaler", lambda *_: unscaled)
    _, lost = train(source, tiny, **settings, amp="fp16")
    assert (lost - full).norm() > 0.5 * (full - start).norm()  # without it: the test can fail


@pytest.mark.parametrize("way", WAYS)
def test_a_step_that_overflows_is_left_out(source: FreshBatches, way: str) -> None:
    """Each halves the scale, until all are taken."""
    history, half = train(source, times(LARGE), way, amp="fp16", lr=1e-4)
    _, full = train(source, times(LARGE), way, lr=1e-4)
    assert torch.isfinite(half).all() and not torch.equal(half, full)
    assert all(np.isfinite(one["loss"]) for one in history)

    def once(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
        return times(1e6 if progress == 0.4 else 1.0)(outputs, batch, progress)  # the third of six steps

    _, found = train(source, once, way, amp="fp16")
    assert torch.isfinite(found).all()


def test_a_run_that_is_cut_off_keeps_its_scale(
    source: FreshBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun with the first scale again, the next step would be left out."""
    monkeypatch.setenv("STILLROOM_CHECKPOINT_SECONDS", "0")

    def run(end: bool) -> tuple[list[dict], torch.Tensor]:
        def loss(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
            if end and round(progress * 5) == 3:
                raise DataError("cut off")
            return times(LARGE)(outputs, batch, progress)

        checkpoint = Checkpoint(tmp_path, "linear", "0" * 64)
        return train(source, loss, amp="fp16", lr=1e-4, checkpoint=checkpoint)

    whole, weights = run(False)
    Checkpoint(tmp_path, "linear", "0" * 64).remove()
    with pytest.raises(DataError):
        run(True)
    kept = Checkpoint(tmp_path, "linear", "0" * 64).load(Progress())
    assert kept is not None and kept["scaler"]["scale"] < 2.0**16
    again, resumed = run(False)
    assert torch.equal(resumed, weights)
    assert [one["loss"] for one in again] == [one["loss"] for one in whole]


def test_a_loss_beyond_float16_is_said(source: FreshBatches) -> None:
    def beyond(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
        return {"labels": (outputs["logits"] * 1e30).square().mean()}

    with pytest.raises(StillroomError) as raised:
        train(source, beyond, amp="fp16")
    assert "fp16 holds nothing above 65504" in str(raised.value)


def test_logits_beyond_float16_are_no_answer(source: FreshBatches) -> None:
    made = model()
    with torch.no_grad():
        made.net[2].weight.fill_(1e5)
    samples = source._samples
    with pytest.raises(StillroomError, match="are not finite"):
        evaluation_logits(made, samples, 6, "fp16", Progress(), "test split")
    evaluation_logits(made, samples, 6, "none", Progress(), "test split")


PROCESSES = """
import sys
from pathlib import Path
import torch
from stillroom.distributed import Ranks
from tests.training import test_precision as own
from tests.training.test_loop import small_batches

with Ranks() as ranks:
    source = small_batches(Path(sys.argv[1]), 1, ranks.rank, ranks.world)
    found = {}
    for way in own.WAYS:
        history, weights = own.train(source, own.one_row, way, amp="fp16", ranks=ranks)
        found[way] = [one["loss"] for one in history], weights
    torch.save(found, Path(sys.argv[2]) / f"{ranks.rank}.pt")
    ranks.wait()
"""


def one_row(outputs: dict, batch, progress: float) -> dict[str, torch.Tensor]:
    """In the third step the first row, which is the first process's, overflows."""
    each = torch.nn.functional.cross_entropy(outputs["logits"], batch.labels, reduction="none")
    if round(progress * 5) == 2:
        each = each * torch.tensor([1e6] + [1.0] * (len(each) - 1))
    return {"labels": each.mean(), "teacher": 0.1 * each.mean()}


@pytest.mark.slow
def test_two_processes_leave_out_the_same_steps(folder: Path, source: FreshBatches, tmp_path: Path) -> None:
    run_ranks(PROCESSES, 2, folder, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for way, (losses, weights) in first.items():
        assert torch.equal(weights, second[way][1]) and torch.isfinite(weights).all()
        history, alone = train(source, one_row, way, amp="fp16")
        assert losses == pytest.approx([one["loss"] for one in history], rel=1e-3)
        torch.testing.assert_close(weights, alone, rtol=1e-2, atol=1e-4)


class Card:
    """A GPU that torch sees, as far as these ask for it."""

    @staticmethod
    def see(monkeypatch: pytest.MonkeyPatch, cuda: int, bf16: bool = True, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla V100")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_a_card_without_bfloat16_is_named_and_so_is_the_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    Card.see(monkeypatch, cuda=1, bf16=False)
    [line] = about_precision("bf16", "student.train.amp")
    assert "Tesla V100 has no bfloat16" in line and "set student.train.amp to fp16" in line
    assert about_precision("fp16", "x") == about_precision("none", "x") == []
    Card.see(monkeypatch, cuda=1)
    assert about_precision("bf16", "x") == []
    Card.see(monkeypatch, cuda=0)
    assert about_precision("bf16", "x") == []


def test_apples_gpu_comes_after_nvidias_and_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    Card.see(monkeypatch, cuda=2, mps=True)
    assert device(3) == torch.device("cuda", 1)
    Card.see(monkeypatch, cuda=0, mps=True)
    assert device() == torch.device("mps") and environment({})["device"] == "mps"
    assert widest(device()) == torch.float32 and widest(torch.device("cpu")) == torch.float64
    monkeypatch.setenv("WORLD_SIZE", "2")  # nothing there carries gradients between processes
    assert device() == torch.device("cpu")
    Card.see(monkeypatch, cuda=0)
    assert device() == torch.device("cpu") and environment({})["device"] == "cpu"


def test_training_needs_no_float64_on_the_device(
    source: FreshBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on `mps`: sums and revised gradients in float32 give what those in float64 give, nearly."""
    exact, weights = train(source, times(1.0), "sum")
    for module in ("loop", "gradients"):
        monkeypatch.setattr(f"stillroom.training.{module}.widest", lambda target: torch.float32)
    made: list[torch.dtype] = []
    double = torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda self: made.append(self.dtype) or double(self))
    near, others = train(source, times(1.0), "sum")
    assert not made
    assert [one["loss"] for one in near] == pytest.approx([one["loss"] for one in exact], abs=1e-5)
    torch.testing.assert_close(others, weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("amp", "dtype"), [("none", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_autocast_computes_as_it_is_told(amp: str, dtype: torch.dtype) -> None:
    with autocast(torch.device("cpu"), amp):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert machine.widest(torch.device("cpu")) == torch.float64 and Ranks.alone().first

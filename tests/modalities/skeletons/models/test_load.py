"""Finished models: what was written comes back, and what is damaged is refused in one message."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stillroom.errors import DataError, WeightsError
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.models.load import load
from stillroom.modalities.skeletons.settings import FAMILIES
from stillroom.modalities.weights import save_weights, weights_digest
from stillroom.samples import Samples
from stillroom.training.results import described
from tests.modalities.skeletons.models.specs import clips, model, settled

CLASSES = ("run", "jump", "sit")


def write(folder: Path, family: str, name: str = "student.json", amp: str = "none", **changed: Any) -> Any:
    made = settled(model(family, "micro", 3, seed=4, **changed))
    samples = Samples("sketch_skeletons", CLASSES, (), folder, "skeletons")
    record = {**described(made, samples), "config": {"train": {"amp": amp, "epochs": 3}}, "accuracy": 0.5}
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(record))
    save_weights(made.net, folder / "model.safetensors")
    return made


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["student.json", "teacher.json"])
def test_a_finished_model_comes_back(family: str, name: str, tmp_path: Path) -> None:
    own = LAYOUTS["coco17"].describe() | {"name": "mine"}
    changed = {"layout": own, "persons": 2, "stream": "bone_motion", "score": True, "fill": "centre"}
    made = write(tmp_path, family, name, "bf16", **changed)
    finished = load(tmp_path)
    assert tuple(finished.classes) == CLASSES and finished.amp == "bf16"
    assert finished.model.spec == made.spec and finished.model.overrides == made.overrides
    assert finished.model.arch == family and not finished.model.net.training
    assert weights_digest(finished.model.net) == weights_digest(made.net)
    raw = clips(3, **changed)
    with torch.inference_mode():
        again = finished.model.net(finished.model.prepare(raw))
        assert torch.equal(again, made.net(made.prepare(raw)))


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no finished model") as caught:
        load(tmp_path)
    assert "--family stgcn" in caught.value.fix


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("arch"), "arch"),
        (lambda record: record.update(arch="resnet"), "there is no family 'resnet'"),
        (lambda record: record.update(overrides=[]), "overrides"),
        (lambda record: record.update(overrides={"size": "huge"}), "no size 'huge'"),
        (lambda record: record["overrides"].update(widths=[2**40]), "overrides.widths"),
        (lambda record: record.update(classes=[]), "classes"),
        (lambda record: record["input"].update(frames=-1), "input.frames = -1"),
        (lambda record: record["input"].update(layout="penn14"), "there is no such layout"),
        (lambda record: record["input"].pop("stream"), "input.stream = None"),
        (lambda record: record["config"]["train"].update(amp="fp8"), "config.train.amp"),
    ],
    ids="arch family overrides size widths classes frames layout stream amp".split(),
)
def test_a_damaged_record_is_refused_by_name(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path, "stgcn")
    record = json.loads((tmp_path / "student.json").read_text())
    change(record)
    (tmp_path / "student.json").write_text(json.dumps(record))
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert message in str(caught.value) and "student.json" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut", "list", "bytes", "deep"],
)
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    write(tmp_path, "stgcn")
    (tmp_path / "student.json").write_bytes(content)
    with pytest.raises(DataError, match=r"student\.json"):
        load(tmp_path)


def test_weights_that_do_not_fit_the_record_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "stgcn")
    write(tmp_path / "other", "stgcn", layout="ntu25")
    file = tmp_path / "model.safetensors"
    sound = load_file(file)
    file.write_bytes((tmp_path / "other/model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"does not fit stgcn as student\.json describes it"):
        load(tmp_path)
    save_file({name: value for name, value in sound.items() if name != "head.bias"}, file)
    with pytest.raises(WeightsError, match=r"head\.bias: not in the file"):
        load(tmp_path)
    file.write_bytes(b"\xff" * 64)
    with pytest.raises(WeightsError, match="damaged"):
        load(tmp_path)
    file.unlink()
    with pytest.raises(WeightsError, match="there is no weights file"):
        load(tmp_path)


def test_a_record_may_ask_for_a_model_that_is_larger_than_the_machine(tmp_path: Path) -> None:
    """It is compared with the weights before any memory is taken: here 50 GB."""
    write(tmp_path, "stgcn")
    record = json.loads((tmp_path / "student.json").read_text())
    record["overrides"] |= {"widths": [1024] * 6, "depths": [32] * 6, "kernel": 63}
    (tmp_path / "student.json").write_text(json.dumps(record))
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**30, limits[1]))
    try:
        with pytest.raises(WeightsError, match="does not fit stgcn"):
            load(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)

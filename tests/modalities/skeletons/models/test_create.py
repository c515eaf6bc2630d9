"""Weights, fresh and from files, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stillroom.errors import ParamsError, WeightsError
from stillroom.modalities.base import Architecture
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.models.create import (
    architecture,
    check_family,
    check_spec,
    create,
)
from stillroom.modalities.skeletons.settings import FAMILIES
from stillroom.modalities.weights import save_weights, weights_digest
from tests.modalities.skeletons.models.specs import clips, model, settled, spec


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_weights_are_a_function_of_the_seed_alone(family: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        before = torch.get_rng_state()
        digests = [weights_digest(model(family, seed=seed).net) for seed in (3, 4)]
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(7)
        assert weights_digest(model(family, seed=3).net) == digests[0] != digests[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_go_out_and_in(family: str, tmp_path: Path) -> None:
    first = settled(model(family, seed=1))
    save_weights(first.net, tmp_path / "model.safetensors")
    wanted = architecture(family, "micro", {}, spec())
    second = create(wanted, 5, weights=str(tmp_path / "model.safetensors"), seed=2)
    assert second.loaded.source == "model.safetensors" and not second.loaded.fresh()
    assert not second.loaded.unexpected
    inputs = first.prepare(clips(3))
    with torch.inference_mode():
        assert torch.equal(first.net(inputs), second.net.eval()(inputs))


def test_a_head_of_other_classes_is_made_fresh_and_said(tmp_path: Path) -> None:
    save_weights(model("stgcn", seed=1).net, tmp_path / "five.safetensors")
    wanted = architecture("stgcn", "micro", {}, spec())
    loaded = create(wanted, 9, weights=str(tmp_path / "five.safetensors")).loaded
    assert loaded.remade == ["head.bias", "head.weight"] and loaded.missing == loaded.unexpected == []


def test_a_file_that_lacks_something_fills_the_rest(tmp_path: Path) -> None:
    save_weights(model("stgcn", seed=1).net, tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["norm.weight"]
    save_file({**tensors, "more": torch.zeros(2)}, tmp_path / "model.safetensors")
    wanted = architecture("stgcn", "micro", {}, spec())
    loaded = create(wanted, 5, weights=str(tmp_path / "model.safetensors")).loaded
    assert loaded.missing == ["norm.weight"] and loaded.unexpected == ["more"]


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    save_weights(model("ctrgcn").net, tmp_path / "other.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 64)
    (tmp_path / "pickled.pt").write_bytes(b"\x80\x04.")
    wanted = architecture("stgcn", "micro", {}, spec())
    for weights, message in (
        (tmp_path / "other.safetensors", "weights of another architecture than stgcn"),
        (tmp_path / "damaged.safetensors", "damaged"),
        (tmp_path / "pickled.pt", "not a .safetensors file"),
        (tmp_path / "none.safetensors", "there is no weights file"),
        ("hub", "no hub weights of stgcn"),
    ):
        with pytest.raises(WeightsError, match=message) as caught:
            create(wanted, 5, weights=str(weights))
        assert caught.value.fix


@pytest.mark.parametrize(
    ("family", "size", "overrides", "message"),
    [
        ("stgcn", "huge", {}, "no size 'huge'"),
        ("stgcn", "tiny", {"size": ["tiny"]}, "no size"),
        ("stgcn", "tiny", {"wdths": [8]}, "unknown key overrides.wdths; did you mean overrides.widths"),
        ("stgcn", "tiny", {"heads": 2}, "unknown key overrides.heads"),
        ("stgcn", "tiny", {"widths": [8, 8]}, "a number for each stage"),
        ("stgcn", "tiny", {"widths": [8, 0, 8]}, "overrides.widths.1 = 0"),
        ("stgcn", "tiny", {"widths": [8, 8, 2**20]}, "overrides.widths.2"),
        ("stgcn", "tiny", {"kernel": 4}, "must be odd"),
        ("ctrgcn", "tiny", {"widths": [8, 10, 12]}, "multiples of 4"),
        ("spacetime", "tiny", {"heads": 3}, "multiple of heads"),
        ("spacetime", "tiny", {"patch": "4"}, "overrides.patch"),
    ],
    ids=str,
)
def test_overrides_that_no_network_takes_are_refused_by_name(
    family: str, size: str, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError) as caught:
        architecture(family, size, overrides, spec())
    assert message in str(caught.value)
    with pytest.raises(ParamsError):
        create(Architecture(family, {"size": size} | overrides, spec()), 5)


def test_overrides_change_what_a_size_has() -> None:
    overrides = {"widths": [4, 8], "depths": [1, 2]}
    made = create(architecture("stgcn", "tiny", overrides, spec()), 5)
    assert made.overrides == {"size": "tiny"} | overrides
    assert made.layers()["full"][1] == (8, 4, 13)


def test_an_unknown_family_names_its_neighbour() -> None:
    check_family("stgcn", "teacher.arch")
    with pytest.raises(ParamsError, match=r"teacher\.arch: there is no family 'stgn'") as caught:
        check_family("stgn", "teacher.arch")
    assert "did you mean stgcn?" in caught.value.fix


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "input = None"),
        ([], "input = []"),
        ({}, "input.frames = None"),
        (spec(frames=0), "input.frames = 0"),
        (spec(frames=4097), "input.frames = 4097"),
        (spec(frames=True), "input.frames = True"),
        (spec(persons=17), "input.persons = 17"),
        (spec(dims=4), "input.dims = 4"),
        (spec(stream="bones"), "input.stream = 'bones'"),
        (spec(fill=None), "input.fill = None"),
        (spec(score=1), "input.score = 1"),
        (spec("penn14"), "input.layout = 'penn14': there is no such layout"),
        (spec(["a"]), "input.layout = ['a']"),
        (spec({"joints": ["a"]}), "input.layout.joints"),
    ],
    ids=str,
)
def test_a_spec_that_no_clip_has_is_refused_by_name(wrong: Any, message: str) -> None:
    assert check_spec(wrong).startswith(message)
    with pytest.raises(ParamsError):
        create(Architecture("stgcn", {"size": "micro"}, wrong), 5)


def test_a_layout_of_ones_own_is_one_by_its_description() -> None:
    described = LAYOUTS["penn13"].describe() | {"name": "mine"}
    assert check_spec(spec(described)) == check_spec(spec()) == ""
    own, built_in = model("stgcn", layout=described), model("stgcn")
    assert own.spec["layout"] == described
    raw = clips(2)
    with torch.inference_mode():
        assert torch.equal(own.net(own.prepare(raw)), built_in.net(built_in.prepare(raw)))

"""Teachers that a function of Python makes: what it may return, and in whose order its logits come."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stillroom.errors import ParamsError, WeightsError
from stillroom.modalities.base import Architecture
from stillroom.modalities.images import MODALITY
from stillroom.modalities.images.models.create import create_own
from stillroom.modalities.images.models.entry import make
from stillroom.modalities.images.models.load import load
from stillroom.modalities.images.settings import is_entry
from stillroom.trust import VARIABLE, trust
from tests.modalities.images.models.timm_folders import CLASSES, write

SPEC = '{"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)'
MODULE = f"""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.head = nn.Linear(3, count)

    def forward(self, images):
        return self.head(images.mean((2, 3)))


class Spread(Net):
    def forward(self, images):
        return {{"logits": super().forward(images)}}


class Strict(Net):
    def forward(self, images):
        assert images.shape[-1] == 32, "it wants 32 pixels\\nindeed"
        return super().forward(images)


def good(classes, extra=0):
    return Net(len(classes)), {SPEC}}}


def turned(classes):
    return Net(len(classes)), {SPEC}, "classes": classes[::-1]}}


def leaves(classes):
    raise SystemExit(3)


def strict(classes):
    return Strict(len(classes)), {SPEC}}}


def other(classes):
    return Net(len(classes)), {SPEC}, "classes": [*classes[:-1], "yak"]}}


def bare(classes):
    return Net(len(classes))


def number(classes):
    return 7


def wide(classes):
    return Net(len(classes) + 1), {SPEC}}}


def spread(classes):
    return Spread(len(classes)), {SPEC}}}


def empty(classes):
    return nn.Flatten(), {SPEC}}}


def typo(classes):
    return Net(len(classes)), {SPEC}, "sizes": 3}}


def fails(classes):
    raise RuntimeError("no licence\\nfor this")


def unasked(names):
    return None


needed = 3
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a module `own_models` whose functions are trusted."""
    (tmp_path / "own_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv(VARIABLE, "own_models:good,own_models:turned")
    yield tmp_path
    sys.modules.pop("own_models", None)


def test_names_of_functions_are_told_from_all_others() -> None:
    assert all(map(is_entry, ("a:b", "a.b_c.d:e", "Own:Make1")))
    others = (
        "resnet18",
        "resnet18.a1_in1k",
        "local-dir:a",
        "hf-hub:a/b",
        "a:b.c",
        "a:",
        ":b",
        "a b:c",
        "a:b:c",
    )
    assert not any(map(is_entry, others))


def test_it_is_found_from_the_folder_that_one_works_in() -> None:
    made = make("own_models:good", CLASSES, {"extra": 2})
    assert made.given.size == 32 and made.given.classes is None and len(str(made.source)) == 64
    assert made.net(torch.zeros(1, 3, 8, 8)).shape == (1, 5)
    again, other = (make("own_models:good", CLASSES, {}, seed=seed).net for seed in (0, 1))
    assert torch.equal(made.net.head.weight, again.head.weight)  # fresh weights are a function of the seed
    assert not torch.equal(made.net.head.weight, other.head.weight)


def test_logits_come_in_the_order_of_the_data_by_name() -> None:
    plain, turned = (make(f"own_models:{name}", CLASSES, {}).net for name in ("good", "turned"))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(turned(images), plain(images).flip(1)) and not torch.equal(
        turned(images), plain(images)
    )


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("nowhere:good", {}, "there is no module nowhere"),
        ("own_models.deeper:good", {}, "there is no module own_models.deeper"),
        ("own_models:goof", {}, "no function goof.*did you mean good"),
        ("own_models:needed", {}, "no function needed"),
        ("own_models:unasked", {}, r"takes no `classes`.*unasked\(names\)"),
        ("subprocess:run", {}, "takes no `classes`"),
        ("own_models:good", {"extar": 1}, "'extar'.*teacher.overrides"),
        ("own_models:fails", {}, "fails.*RuntimeError: no licence"),
        ("own_models:leaves", {}, "fails.*SystemExit: 3"),
        ("own_models:number", {}, "returns int"),
        ("own_models:bare", {}, "returns Net.*dictionary.*size, mean, std"),
        ("own_models:typo", {}, "sizes: Extra inputs.*size, mean, std"),
        ("own_models:empty", {}, "without parameters"),
        ("own_models:wide", {}, r"\[2, 6\] of two images.*\[2, 5\]"),
        ("own_models:spread", {}, "gives a dict.*a tensor"),
        ("own_models:other", {}, "other classes.*in the data alone: gnu; in the model alone: yak"),
    ],
)
def test_what_is_no_teacher_is_refused_in_one_message(name: str, overrides: dict, said: str) -> None:
    with pytest.raises(ParamsError, match=f"(?s){said}"):
        make(name, CLASSES, overrides)


def test_a_module_that_does_not_import_says_why(own: Path) -> None:
    (own / "broken_models.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ParamsError, match="no module nothing_of_that_name, which broken_models imports"):
        make("broken_models:good", CLASSES, {})
    (own / "worse_models.py").write_text("1 / 0\n")
    with pytest.raises(ParamsError, match=r"(?s)worse_models cannot be imported.*ZeroDivisionError"):
        make("worse_models:good", CLASSES, {})


def test_another_size_is_tried_and_refused() -> None:
    assert make("own_models:good", CLASSES, {}, size=64)
    with pytest.raises(ParamsError, match=r"(?s)cannot take 64 x 64.*it wants 32 pixels\n.*views.size to 32"):
        make("own_models:strict", CLASSES, {}, size=64)


def test_a_file_s_word_does_not_have_a_function_called(own: Path) -> None:
    """A stranger's `teacher.json` may name any; nothing is imported."""
    model = create_own("own_models:good", CLASSES, {}, size=32)
    folder = write(own / "one", model)
    sys.modules.pop("own_models")
    os.environ[VARIABLE] = ""
    with pytest.raises(ParamsError, match="not called on a file's word"):
        load(folder)
    assert "own_models" not in sys.modules
    trust("own_models:good")
    loaded, described = load(folder)
    assert described.classes == list(CLASSES) and loaded.spec == model.spec and not loaded.net.training
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.net(images), model.net.eval()(images))
    assert not (folder / "config.json").exists()  # timm does not know it


def test_a_function_s_arguments_are_its_own(own: Path) -> None:
    """Of a timm model `pretrained` could be set by nobody."""
    with Path("own_models.py").open("a") as stream:
        stream.write("\n\ndef asked(classes, pretrained=False):\n    return good(classes)\n")
    sys.modules.pop("own_models", None)
    trust("own_models:asked")
    model = create_own("own_models:asked", CLASSES, {"pretrained": True}, size=32)
    loaded, _ = load(write(own / "one", model))
    assert loaded.overrides == {"pretrained": True}


def test_weights_of_a_file_take_the_place_of_its_own(own: Path) -> None:
    folder = write(own / "one", create_own("own_models:turned", CLASSES, {}, size=32))
    weights = folder / "model.safetensors"
    model = create_own("own_models:turned", CLASSES, {}, size=32, weights=str(weights), seed=3)
    assert torch.equal(model.net.head.weight, load_file(weights)["head.weight"]) and not model.loaded.fresh()
    with pytest.raises(ParamsError, match="brings its own"):
        create_own("own_models:good", CLASSES, {}, size=32, weights="hub")
    wide = make("own_models:good", "abcdefgh", {}).net
    from stillroom.modalities.weights import save_weights

    save_weights(wide, own / "wide.safetensors")
    with pytest.raises(WeightsError, match="another architecture"):
        create_own("own_models:good", CLASSES, {}, size=32, weights=str(own / "wide.safetensors"))


def test_what_it_does_not_have_is_said_clearly() -> None:
    spec = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}
    model = MODALITY.create(Architecture("own_models:good", {}, spec, CLASSES), 5)
    assert model.layers() == {}
    with pytest.raises(ParamsError, match="own_models:good has no features 'pooled'"):
        model.shape_of("pooled", "cache.teachers.features.take")
    with pytest.raises(ParamsError, match="ends in no linear layer"):
        model.head()

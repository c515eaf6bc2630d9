"""params.yaml: every key and value is checked, and a typo is met with the nearest valid key."""

from importlib import resources
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.config import Params, check, load_params
from pipeline.errors import ParamsError
from pipeline.views.policies import make_recipe
from stages.console import check_choices

ROOT = Path(__file__).parents[1]


def refused(tree: dict) -> str:
    with pytest.raises(ParamsError) as caught:
        check_choices(check(tree, "params.yaml"), "params.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"studnt": {}}, ["unknown key studnt", "did you mean student?"]),
        ({"student": {"losses": {"kd": {"temperatur": 3.0}}}}, ["student.losses.kd.temperature?"]),
        ({"views": {"recipe": {"flips": 0.5}}}, ["views.recipe.flip?"]),
        ({"views": {"count": "8"}}, ["views.count = '8'", "valid integer"]),
        ({"views": {"count": 0}}, ["views.count = 0", "greater than or equal to 1"]),
        ({"views": {"count": True}}, ["views.count = True"]),
        ({"views": {"recipe": {"scale": [0.9, 0.5]}}}, ["low <= high"]),
        ({"teacher": {"train": {"lr": float("nan")}}}, ["teacher.train.lr"]),
        (
            {"views": {"recipe": {"name": "three_augmnt"}}},
            ["views.recipe.name", "did you mean three_augment?"],
        ),
        ({"views": {"recipe": {"name": "crop", "blur": [1, 2]}}}, ["unknown key views.recipe.blur"]),
        ({"views": {"recipe": {"name": "../crop"}}}, ["there is no such policy"]),
        ({"student": {"families": ["vit", "vitt"]}}, ["student.families", "'vitt'", "did you mean vit?"]),
        ({"student": {"families": ["vit_tiny_patch16_225"]}}, ["did you mean vit_tiny_patch16_224"]),
        ({"student": {"families": ["../vit"]}}, ["student.families.0"]),
        ({"student": {"arms": ["ce", "kdd"]}}, ["student.arms", "'kdd'", "did you mean kd?"]),
        ({"student": {"losses": {"kdd": {}}}}, ["student.losses.kdd", "did you mean kd?"]),
        ({"student": {"losses": {"kd": {"alpha": [0.9, 1.5]}}}}, ["student.losses.kd.alpha"]),
        ({"student": {"train": {"sched": "cosin"}}}, ["student.train.sched"]),
        ({"student": {"train": {"ema": 1.0}}}, ["student.train.ema"]),
        ({"student": {"arms": ["ce", "ce"]}}, ["student.arms", "twice"]),
        ({"student": {"families": []}}, ["student.families"]),
        ({"views": []}, ["views = []"]),
        (
            {"student": {"family_train": {"vit": {"lrr": 1.0}}}},
            ["student.family_train", "vit: lrr", "valid keys"],
        ),
        ({"student": {"family_train": {"vit": {"lr": "fast"}}}}, ["student.family_train", "vit: lr"]),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(tree: dict, words: list[str]) -> None:
    message = refused(tree)
    for word in words:
        assert word in message


def test_all_faults_are_named_at_once() -> None:
    message = refused({"views": {"cont": 1, "size": "big"}, "dta": {}})
    assert "views.cont" in message and "views.size" in message and "unknown key dta" in message


def test_overrides_are_yaml_and_reach_nested_keys(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("views: {count: 3}\n")
    params = load_params(
        file, ("student.losses.kd.alpha=0.25", "views.recipe.scale=[0.2, 1.0]", "data.path=null")
    )
    assert params.views.count == 3
    assert params.student.losses.kd.alpha == 0.25
    assert make_recipe(params.views.recipe).scale == (0.2, 1.0)


def test_numbers_read_as_dvc_reads_them(tmp_path: Path) -> None:
    """YAML 1.2: 1e-3 is a number. A YAML 1.1 reader would give the text '1e-3'."""
    file = tmp_path / "params.yaml"
    file.write_text("teacher: {train: {lr: 1e-3}}\n")
    assert load_params(file).teacher.train.lr == 0.001


@pytest.mark.parametrize("text", ["views.count", "=3", "views.count=[1"])
def test_a_malformed_override_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("data: {}")
    with pytest.raises(ParamsError):
        load_params(file, (text,))


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"views: [", b"- 1\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_params_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(content)
    with pytest.raises(ParamsError):
        load_params(file)


def test_every_preset_is_valid_and_the_committed_params_are_the_embedded_preset() -> None:
    files = [file for file in resources.files("pipeline.presets").iterdir() if file.name.endswith(".yaml")]
    assert {file.name for file in files} == {
        "sketch40.yaml",
        "stanford40.yaml",
        "stanford40-cpu.yaml",
        "stanford40-cpu-views.yaml",
        "stanford40-scratch.yaml",
    }
    for file in files:
        check(YAML(typ="safe").load(file.read_text()), file.name)
    assert (ROOT / "params.yaml").read_text() == (ROOT / "pipeline/presets/sketch40.yaml").read_text()


def test_defaults_are_valid() -> None:
    assert check({}, "defaults") == Params()


def test_a_family_may_be_trained_otherwise() -> None:
    student = check({"student": {"train": {"lr": 1.0}, "family_train": {"vit": {"lr": 2.0}}}}, "x").student
    assert student.train_of("vit") == student.train.model_copy(update={"lr": 2.0})
    assert student.train_of("pvt") == student.train

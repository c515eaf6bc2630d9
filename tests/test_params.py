"""params.yaml: every key and value is checked, and a typo is met with the nearest valid key."""

import json
import warnings
from collections.abc import Callable
from datetime import date
from importlib import resources
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stillroom import validation
from stillroom.errors import ParamsError
from stillroom.modalities.images.policies import make_recipe
from stillroom.modalities.params import check, keys, keys_and_recipes, load_params, sections
from stillroom_stages.checks import check_choices
from tests.fuzz import params as fuzz

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
            ["student.family_train.vit.lrr", "did you mean student.family_train.vit.lr?"],
        ),
        ({"student": {"family_train": {"vit": {"lr": "fast"}}}}, ["student.family_train.vit.lr = 'fast'"]),
        # a key of another section
        ({"teacher": {"epochs": 3}}, ["did you mean teacher.train.epochs?"]),
        ({"student": {"epochs": 3}}, ["did you mean student.train.epochs?"]),
        ({"count": 4}, ["did you mean views.count?"]),
        ({"kd": {"alpha": 0.5}}, ["did you mean student.losses.kd.alpha?"]),
        ({"epochs": 4}, ["did you mean teacher.train.epochs or student.train.epochs?"]),
        ({"views": {"scale": [0.5, 1.0]}}, ["did you mean views.recipe.scale?"]),
        ({"views": {1: 2}}, ["unknown key views.1"]),
        # names
        ({"student": {"families": ["ViT"]}}, ["student.families.0 = 'ViT'", "did you mean vit?"]),
        ({"student": {"arms": ["KD"]}}, ["student.arms.0 = 'KD'", "did you mean kd?"]),
        ({"teacher": {"weights": "Hub"}}, ["teacher.weights = 'Hub'", "must be hub"]),
        ({"teacher": {"arch": "resnett18"}}, ["teacher.arch", "did you mean resnet18"]),
        ({"teacher": {"train": {"opt": "adamx"}}}, ["teacher.train.opt", "'adamx'", "adamax"]),
        ({"student": {"family_train": {"vit": {"opt": "adamx"}}}}, ["student.family_train.vit.opt"]),
        ({"student": {"family_train": {"vitt": {"lr": 1.0}}}}, ["student.family_train: ", "'vitt'"]),
        ({"cache": {"path": "~/cache"}}, ["cache.path = '~/cache'", "DVC"]),
        # values that mean nothing
        ({"teacher": {"train": {"epochs": 0}}}, ["teacher.train.epochs = 0", "random", "teacher.weights"]),
        ({"student": {"train": {"epochs": 0}}}, ["student.train.epochs = 0"]),
        ({"student": {"family_train": {"vit": {"epochs": 0}}}}, ["student.family_train.vit.epochs = 0"]),
        ({"student": {"train": {"label_smoothing": 1.0}}}, ["student.train.label_smoothing = 1.0"]),
        # values that no record could keep
        ({"teacher": {"overrides": {"a": float("nan")}}}, ["teacher.overrides", "finite"]),
        ({"teacher": {"overrides": {"a": date(2020, 1, 1)}}}, ["teacher.overrides"]),
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
    files = [file for file in resources.files("stillroom.presets").iterdir() if file.name.endswith(".yaml")]
    assert {file.name for file in files} == {
        "born-again.yaml",
        "folder.yaml",
        "penn-action.yaml",
        "poses.yaml",
        "sketch-skeletons.yaml",
        "sketch40.yaml",
        "stanford40.yaml",
        "stanford40-cpu.yaml",
        "stanford40-cpu-views.yaml",
        "stanford40-scratch.yaml",
        "stanford40-unlabelled.yaml",
    }
    for file in files:
        check(YAML(typ="safe").load(file.read_text()), file.name)
    assert (ROOT / "params.yaml").read_text() == (ROOT / "pipeline/presets/sketch40.yaml").read_text()


def test_defaults_are_valid() -> None:
    assert check({}, "defaults") == sections("images")()


def test_a_family_may_be_trained_otherwise() -> None:
    student = check({"student": {"train": {"lr": 1.0}, "family_train": {"vit": {"lr": 2.0}}}}, "x").student
    assert student.train_of("vit") == student.train.model_copy(update={"lr": 2.0})
    assert student.train_of("pvt") == student.train


# Values that no key of a kind takes; a null is one, but where a key may be left open
TYPES: list[tuple[Callable[[object], bool], list[object]]] = [
    (lambda value: isinstance(value, bool), [1, "yes", "true", 0.0, None, [True], {}]),
    (lambda value: isinstance(value, int), [-1, 1.5, "8", True, None, [1], {"a": 1}, date(2020, 1, 1)]),
    (lambda value: isinstance(value, float), [-0.5, "0.5", "1e-3", True, None, [], {}, float("nan")]),
    (lambda value: isinstance(value, str), [3, True, None, ["a"], {"a": "b"}, date(2020, 1, 1)]),
    (lambda value: isinstance(value, list), ["a", 3, None, True, {"a": 1}, [], [None], [{}]]),
    (lambda value: isinstance(value, dict), ["a", 3, None, True, ["a"], [{}], {1: 2}, {None: {}}]),
]
MAY_BE_NULL = {
    "data.path": "",
    "data.skip": "",
    "data.groups": "",
    "data.split_file": "",
    "data.classes": "",
    "data.labels_per_class": 1,
    "views.size": 1,
    "student.model.image_size": 1,
    "student.model.frames": 1,
    "student.model.stream": "joint",
    "student.model.score": False,
    "student.model.fill": "centre",
}


MAY_BE_EMPTY = {"track"}


def default(key: str) -> object:
    if key.startswith("student.losses."):  # their defaults are those of the losses' functions
        others = {"outputs": ["logits"], "features": "features", "layer": "pooled", "revise": "sum"}
        return others.get(key.rpartition(".")[2], 0.5)
    found: object = sections(kind_of(key))()
    for part in key.split("."):
        found = getattr(found, part)
    return MAY_BE_NULL.get(key, found)


def kind_of(key: str) -> str:
    """The modality whose key it is; the usual one's, where several have it."""
    return next(name for name in ("images", "skeletons") if key in validation.keys(sections(name)))


def shown(value: object) -> str:
    """How a message shows a value; of one that holds others, what is wrong inside may be enough."""
    if isinstance(value, list | dict):
        return ""
    return {None: "null", date(2020, 1, 1): "2020-01-01"}.get(value, repr(value))  # type: ignore[call-overload]


@pytest.mark.parametrize("key", keys())
def test_every_wrong_value_is_refused_by_its_key_in_plain_words(key: str) -> None:
    wrong = next(values for fits, values in TYPES if fits(default(key)))
    for value in wrong:
        if (value is None and key in MAY_BE_NULL) or (value == [] and key in MAY_BE_EMPTY):
            continue
        tree: dict = {} if kind_of(key) == "images" else {"data": {"name": "sketch_skeletons"}}
        inner = tree
        for part in key.split(".")[:-1]:
            inner = inner.setdefault(part, {})
        inner[key.rpartition(".")[2]] = value
        said = refused(tree)
        assert key in said and shown(value) in said, said
        assert not [word for word in fuzz.INSIDE if word in said], said


def test_a_model_whose_name_has_dots_can_be_set(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("{}")
    name = "resnet18.a1_in1k"
    one = load_params(file, (f"student.family_train.{name}.lr=1e-2", f"student.family_train.{name}.epochs=2"))
    assert one.student.family_train == {name: {"lr": 0.01, "epochs": 2}}
    whole = load_params(file, (f"student.family_train.{name}={{lr: 1e-2}}",))
    assert whole.student.family_train == {name: {"lr": 0.01}}
    given = load_params(file, (f"student.model.family_weights.{name}=none",))
    assert given.student.model.family_weights == {name: "none"}


def test_a_path_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    params = check({"data": {"path": "~/images"}, "cache": {"teachers": {"logits": "~/teacher"}}}, "x")
    assert params.data.path == "/somewhere/images"
    assert params.cache.teachers == {"logits": "/somewhere/teacher"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("views:\n\tcount: 3\n", ["line 2", "indent with spaces"]),
        ("views: {count: 3}\nviews: {seed: 1}\n", ["line 2", 'duplicate key "views"']),
        ("views: {count: 3\n", ["line 2"]),
        ("data: {seed: 2020-13-45}\n", ["month"]),
        ("a: *b\n", ["line 1", "alias"]),
        ("views: " + 2000 * "[", ["YAML"]),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ParamsError) as caught:
        load_params(file)
    said = str(caught.value)
    assert all(word in said for word in [str(file), *words]) and "yaml.dev" not in said, said


def test_a_file_saved_on_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(b"\xef\xbb\xbfviews:\r\n  count: 3\r\n")
    assert load_params(file).views.count == 3


def test_whatever_the_parameters_hold_is_taken_or_refused_with_one_message() -> None:
    """`python -m tests.fuzz.params` tries more."""
    assert fuzz.run(150, seed=7) == []


def test_parameters_become_json_without_a_warning() -> None:
    """Commands would show it: a record of what was asked for is made in each."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe = make_recipe({"name": "three_augment", "scale": [0.5, 1], "blur": [0.1, 1]}).describe()
        kd = check({"student": {"losses": {"kd": {"alpha": [0.9, 0.5]}}}}, "x")
        told = kd.model_dump(mode="json")
    assert recipe["scale"] == [0.5, 1.0] and told["student"]["losses"]["kd"]["alpha"] == [0.9, 0.5]


def misplaced() -> list[tuple[str, tuple[str, ...]]]:
    """Every key, and each way to it that leaves sections out: `teacher.epochs` for `teacher.train.epochs`."""
    known = keys_and_recipes()
    sections = {".".join(key.split(".")[:depth]) for key in known for depth in range(1, key.count(".") + 1)}
    found = []
    for key in known:
        *way, name = key.split(".")
        for depth in range(len(way)):
            path = (*way[:depth], name)
            if ".".join(path) not in {*known, *sections}:
                found.append((key, path))
    return found


@pytest.mark.parametrize(("key", "path"), misplaced())
def test_a_key_without_its_sections_is_met_with_where_it_belongs(key: str, path: tuple[str, ...]) -> None:
    tree: object = 1
    for part in reversed(path):
        tree = {part: tree}
    assert isinstance(tree, dict)
    with pytest.raises(ParamsError) as caught:
        check(tree, "x")
    said = str(caught.value)
    namesakes = [one for one in keys_and_recipes() if one.startswith(".".join(path[:-1]))]
    namesakes = [one for one in namesakes if one.split(".")[-1] == path[-1]]
    assert ".".join(path) in said and "did you mean " in said
    assert key in said if len(namesakes) <= 3 else any(one in said for one in namesakes)


@pytest.mark.parametrize("key", keys_and_recipes())
def test_a_key_with_a_letter_too_many_is_met_with_the_right_one(key: str) -> None:
    tree: object = 1
    *way, name = key.split(".")
    for part in reversed([*way, f"{name}x"]):
        tree = {part: tree}
    # any policy's and corruption's keys: the default one does not take all of them
    if way[:2] in (["views", "recipe"], ["student", "corruption"]):
        return
    assert isinstance(tree, dict)
    assert f"unknown key {key}x; did you mean {key}" in refused(tree)


@pytest.mark.parametrize("key", ["data.path", "cache.path", "teacher.weights", "data.skip", "data.groups"])
@pytest.mark.parametrize(
    ("value", "named"), [("a\0b", "no character 0"), ("a" * 300, "longer than a path can be")]
)
def test_a_path_that_no_system_holds_is_refused(tmp_path: Path, key: str, value: str, named: str) -> None:
    section, name = key.split(".")
    (tmp_path / "params.yaml").write_text(json.dumps({section: {name: value}}))
    with pytest.raises(ParamsError, match=named):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["&r\na: *r\n", "student: {losses: {ce: {a: &x {b: *x}}}}\n"])
def test_a_section_that_holds_itself_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match="unknown key"):
        load_params(tmp_path / "params.yaml")


SAME = [
    {"of": "logits", "take": "pooled"},
    {"take": "pooled"},
    {"layer": "pooled"},
    {"from": "artifacts/teacher", "layer": "pooled"},
    {"from": "./artifacts//teacher/", "take": "pooled"},
    {"of": "logits", "layer": "pooled"},
]


@pytest.mark.parametrize("entry", SAME, ids=str)
def test_features_have_two_spellings_and_one_form(entry: dict) -> None:
    found = check({"cache": {"teachers": {"features": entry, "logits": "artifacts/teacher"}}}, "x")
    assert found.cache.features["features"].model_dump() == SAME[0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"from": "nowhere", "layer": "pooled"},
            "'nowhere', and the folders of the outputs are artifacts/teacher",
        ),
        ({"from": "artifacts/teacher"}, "features.layer is missing"),
        ({"from": "artifacts/teacher", "of": "logits", "layer": "a"}, "has both from and of"),
        ({"take": "pooled", "layer": "pooled"}, "has both layer and take"),
        ({"from": 7, "layer": "pooled"}, "features.from must be text"),
        ({"layer": ["pooled"]}, "features.layer must be text"),
        ({"layer": ""}, "must not be empty"),
        ({"layer": "pooled", "depth": 3}, "unknown key cache.teachers.features.depth"),
    ],
    ids=str,
)
def test_features_that_say_too_little_or_too_much_are_refused(entry: dict, words: str) -> None:
    with pytest.raises(ParamsError) as caught:
        check({"cache": {"teachers": {"features": entry, "logits": "artifacts/teacher"}}}, "x")
    assert words in str(caught.value)

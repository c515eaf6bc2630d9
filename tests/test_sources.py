"""What is said in several places has one source; copies that cannot be avoided are held to it here."""

import inspect
from importlib import resources

import pytest
from ruamel.yaml import YAML

from stillroom import losses, modalities, params, registry
from stillroom.modalities.images import datasets, settings
from stillroom.modalities.images.models import families
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.settings import FAMILIES as SKELETON_FAMILIES
from stillroom.reporting.wording import FAMILY_NAMES
from stillroom_stages.student import student
from tests.conftest import ROOT


@pytest.mark.parametrize("name", losses.names())
def test_the_parameters_of_a_loss_are_those_of_its_function(name: str) -> None:
    """Their defaults are the function's; `params.py` says what each may be."""
    signature = inspect.signature(losses.load(name, {}).function).parameters.values()
    takes = {one.name for one in signature if one.kind is one.KEYWORD_ONLY} - {
        *("label_smoothing", "class_weights")
    }
    section = params.Losses.model_fields[name].annotation
    assert section is not None and issubclass(section, params.Section)
    assert set(section.model_fields) - {"outputs", "features", "layer"} == takes
    assert losses.load(name, params.Losses().of(name)).settings == losses.load(name, {}).settings
    assert all(field.default is None for field in section.model_fields.values())


def test_the_families_are_the_same_everywhere() -> None:
    known = list(settings.FAMILIES)
    assert list(families.FAMILIES) == known
    assert list(FAMILY_NAMES) == [*known, *SKELETON_FAMILIES]
    text = {option.name: getattr(option, "help", "") for option in student.params}["family"]
    assert text.startswith(", ".join(known))
    assert f"`{' '.join(known)}`" in (ROOT / "docs/students.md").read_text(encoding="utf-8")
    assert f"families=({' '.join(known)})" in (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    for file in resources.files("stillroom.presets").iterdir():
        few = (
            "born-again.yaml",
            "stanford40-unlabelled.yaml",
        )  # one teaches itself; two are enough to compare
        if not file.name.endswith(".yaml") or file.name in few:
            continue
        tree = YAML(typ="safe").load(file.read_text())
        if tree["data"]["name"] in datasets.names():
            assert tree["student"]["families"] == known


def test_the_docs_name_every_loss() -> None:
    text = (ROOT / "docs/students.md").read_text(encoding="utf-8")
    assert [name for name in losses.names() if f"\n| `{name}` |" not in text] == []


def test_a_modality_lists_its_data_sets_by_their_files() -> None:
    assert (
        modalities.get("images").data_sets()
        == datasets.names()
        == [*("sketch40", "stanford40", "folder", "table", "shards", "huggingface", "torchvision")]
    )
    named = ["sketch_skeletons", "penn_action", "ntu", "kinetics_skeleton", "poses"]
    assert modalities.get("skeletons").data_sets() == named


def test_the_page_on_skeletons_names_what_there_is() -> None:
    text = (ROOT / "docs/skeletons.md").read_text(encoding="utf-8")
    package = "stillroom.modalities.skeletons"
    corruptions = registry.names(f"{package}.corruptions")
    for name in (*modalities.get("skeletons").data_sets(), *LAYOUTS, *SKELETON_FAMILIES, *corruptions):
        assert f"`{name}`" in text, name

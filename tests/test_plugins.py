"""A data set, a store, an encoding is one file more: by the real command line, in a copy of the library."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tables, warm
from tests.conftest import copy_library

Command = Callable[..., subprocess.CompletedProcess]

ENCODING = '''
"""Rounded decimals."""
from dataclasses import dataclass
import numpy as np
from stillroom.cache.encodings import Encoding
from stillroom.cache.format.layout import ArraySpec

@dataclass(frozen=True)
class Rounded(Encoding):
    digits: int = 3

    def fields(self, output, shape):
        return {output: ArraySpec("<f4", tuple(shape))}

    def _encode(self, output, values):
        return {output: np.round(values, self.digits).astype("<f4")}

    def decode(self, output, shape, arrays):
        return arrays[output]
'''
STORE = '''
"""Zarr under another name."""
from stillroom.cache.stores.zarr import ZarrStore

class Shelf(ZarrStore):
    """As its parent."""
'''
DATA_SET = '''
"""Some images of each class of a folder."""
from collections import Counter
from dataclasses import replace
from stillroom.modalities.images import settings
from stillroom.modalities.images.datasets import folder as folders
from stillroom.params import Count

TAKES = ("skip",)

class Data(settings.Data):
    at_most: Count = 2

def load(data, folder, progress, account):
    found, counts, rows = folders.load(data, folder, progress, account), Counter(), []
    for row in found.rows:
        counts[row.split, row.label] += 1
        if counts[row.split, row.label] <= data.at_most:
            rows.append(row)
    return replace(found, dataset=data.name, rows=tuple(rows))
'''


@pytest.fixture
def command(project: Path, tmp_path: Path) -> Command:
    """Runs `stillroom` of a library that has these three files more, in a finished project."""
    environment = copy_library(tmp_path)
    for place, text in (
        ("cache/encodings/rounded.py", ENCODING),
        ("cache/stores/shelf.py", STORE),
        ("modalities/images/datasets/few.py", DATA_SET),
    ):
        (tmp_path / "stillroom" / place).write_text(text)

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess:
        done = warm.run(("stillroom", *words), project, environment)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_a_store_and_an_encoding_are_a_file_each(command: Command, project: Path) -> None:
    chosen = ("--set", "cache.store=shelf", "--set", "cache.encoding={name: rounded, digits: 1}")
    command("cache", "--replace", *chosen)
    manifest = json.loads((project / "artifacts/cache/manifest.json").read_text())
    assert manifest["backend"] == "shelf"
    output = manifest["identity"]["outputs"]["logits"]
    assert (output["encoding"], output["digits"]) == ("rounded", 1)
    command("store", "verify", "artifacts/cache")
    short = ("--set", "student.train.epochs=1", "--set", "student.train.warmup_epochs=0")
    command("student", "--family", "pvt", "--arm", "kd", *chosen, *short)
    assert (project / "artifacts/students/pvt-kd-0/student.json").exists()


def test_their_names_and_parameters_are_checked(command: Command) -> None:
    said = command("cache", "--set", "cache.store=shelv", code=2).stderr
    assert "cache.store = 'shelv'" in said and "did you mean shelf? valid: zarr, hdf5, shelf" in said
    said = command("cache", "--set", "cache.encoding=rounde", code=2).stderr
    assert "'rounde'" in said and "did you mean rounded?" in said
    said = command("cache", "--set", "cache.encoding={name: rounded, digit: 1}", code=2).stderr
    assert "unknown key cache.encoding.digit" in said and "did you mean digits?" in said
    said = command("prepare", "--set", "data={name: few, at_mots: 1}", code=2).stderr
    assert "unknown key data.at_mots" in said and "did you mean data.at_most?" in said
    said = command("prepare", "--set", "data.name=fews", code=2).stderr
    assert "data.name = 'fews'" in said and "did you mean few?" in said


def test_a_data_set_is_a_file(command: Command, project: Path) -> None:
    images = sorted((project / "artifacts/data/sketch40/JPEGImages").glob("[ac]*.jpg"))
    for number, image in enumerate(images):
        target = project / "photos" / ("train", "test")[number % 2] / image.name.rpartition("_")[0][:2]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, target / image.name)
    said = command("prepare", "--set", "data={name: few, path: photos, at_most: 1}").stderr
    table = tables.read(project / "artifacts/data")
    assert table["dataset"] == "few" and len(table["samples"]) == 2 * len(table["classes"]), said
    said = command("prepare", "--set", "data={name: few, path: photos, split_file: a.csv}", code=2).stderr
    assert "data.name = 'few' takes no such key" in said


@pytest.mark.parametrize(
    "text", ["def load(:", "import nosuchmodule", "1 / 0", "class Data:\n    x: Undefined = 3"]
)
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("losses", ["student", "--family", "vit", "--arm", "zz"]),
        ("cache/stores", ["cache", "--replace", "--set", "cache.store=zz"]),
        ("cache/encodings", ["cache", "--replace", "--set", "cache.encoding=zz"]),
        ("modalities/images/datasets", ["prepare", "--set", "data={name: zz}"]),
        ("modalities/images/policies", ["cache", "--replace", "--set", "views.recipe={name: zz}"]),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(
    command: Command, tmp_path: Path, place: str, words: list[str], text: str
) -> None:
    (tmp_path / "stillroom" / place / "zz.py").write_text(text)
    said = command(*words, code=1).stderr
    assert f"{place}/zz.py cannot be imported" in said and "why: " in said and "mend it" in said


def test_a_broken_file_that_nobody_asks_for_does_no_harm(command: Command, tmp_path: Path) -> None:
    for place in (
        "losses",
        "cache/stores",
        "cache/encodings",
        "modalities/images/datasets",
        "modalities/images/policies",
    ):
        (tmp_path / "stillroom" / place / "zz.py").write_text("class (:")
    said = command("cache", "--set", "views.recipe.scal=0.5", code=2).stderr
    assert "did you mean views.recipe.scale?" in said
    command("store", "info")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "holds no data set"),
        ("def load(a): pass", "holds no data set"),
        ("def load(data, folder, progress, account): return None", "load returned NoneType"),
        ("class Data: pass\ndef load(data, folder, progress, account): pass", "Data is no subclass"),
    ],
)
def test_a_data_set_that_is_none_is_refused(command: Command, tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "stillroom/modalities/images/datasets/zz.py").write_text(text)
    assert named in command("prepare", "--set", "data={name: zz}", code=1).stderr


LOSS = "def zz(logits, labels, teacher, *, power: float = 2.0, label_smoothing=0.0):\n    return "


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"{LOSS}None", "returned no scalar"),
        (f"{LOSS}1.0", "returned no scalar"),
        (f"{LOSS}logits", "loss: Tensor["),
        (f"{LOSS}{{}}", "it returned no term"),
        (f"import torch\n{LOSS}torch.zeros(())", "does not depend on the student"),
        (f"NEEDS = 3\n{LOSS}logits.sum()", "NEEDS = 3 names no outputs"),
        (f"NEEDS = 'logits'\n{LOSS}logits.sum()", "NEEDS = 'logits' names no outputs"),
        ("def zz(teacher, label_smoothing): return 0", "holds no loss"),
    ],
)
def test_a_loss_that_is_none_is_refused(command: Command, tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "stillroom/losses/zz.py").write_text(text)
    assert named in command("student", "--family", "vit", "--arm", "zz", code=2).stderr


def test_a_value_of_another_kind_than_a_loss_says_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "stillroom/losses/zz.py").write_text(f"{LOSS}(logits - teacher).abs().pow(power).mean()")
    arm = ("student", "--family", "vit", "--arm", "zz", "--set")
    said = command(*arm, "student.losses.zz.power=abc", code=2).stderr
    assert "student.losses.zz.power = 'abc': must be of the kind float" in said
    command(*arm, "student.losses.zz.power=1")
    text = "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
    text += "if TYPE_CHECKING:\n    import torch\n"
    text += LOSS.replace("teacher,", "teacher: torch.Tensor,")
    (tmp_path / "stillroom/losses/zz.py").write_text(f"{text}(logits - teacher).abs().pow(power).mean()")
    assert "must be of the kind float" in command(*arm, "student.losses.zz.power=true", code=2).stderr
    command(*arm, "student.losses.zz.power=1.5")

"""A data set, a store, an encoding is one file more: by the real command line, in a copy of the library."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import warm
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
    table = json.loads((project / "artifacts/data/samples.json").read_text())
    assert table["dataset"] == "few" and len(table["samples"]) == 2 * len(table["classes"]), said
    said = command("prepare", "--set", "data={name: few, path: photos, split_file: a.csv}", code=2).stderr
    assert "data.name = 'few' takes no such key" in said

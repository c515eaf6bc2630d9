"""`import stillroom`: what other people's scripts use, from any folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import stillroom
from stillroom.errors import DataError, ParamsError
from stillroom.modalities.images import MODALITY
from tests import tables
from tests.conftest import run_in


def python(folder: Path, code: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("path", ["", "."])
def test_it_is_found_beside_a_users_own_folders_of_these_names(tmp_path: Path, path: str) -> None:
    for name in ("pipeline", "stages", "stillroom"):
        (tmp_path / name).mkdir()
    for name in ("pipeline", "stages"):
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    code = "import stillroom, sys; stillroom.open_cache; stillroom.losses; print('torch' in sys.modules)"
    done = python(tmp_path, code, PYTHONPATH=path)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
    done = subprocess.run(
        [Path(sys.executable).parent / "stillroom", "preset", "sketch40"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.startswith("#"), done.stderr


def test_items_are_the_teachers_views_with_what_it_said(finished: Path, monkeypatch) -> None:
    monkeypatch.chdir(finished)
    cache = stillroom.open_cache("artifacts/cache")
    items = stillroom.CachedDataset(cache)
    teacher = stillroom.load_model("artifacts/teacher")
    assert len(items) == cache.layout.samples
    for epoch in (0, 2, 4):
        items.set_epoch(epoch)
        loader = torch.utils.data.DataLoader(items, batch_size=7)
        batch = next(iter(loader))
        assert set(batch) == {"pixel_values", "labels", "teacher_logits", "key"}
        with torch.inference_mode():
            again = teacher(batch["pixel_values"])["logits"]
        stored = torch.from_numpy(cache.logits(epoch % cache.layout.views, "logits")[:7])
        assert torch.equal(batch["teacher_logits"], stored)
        assert torch.allclose(again, stored, rtol=2**-9, atol=2e-2)
        assert batch["key"] == cache.keys[:7] and batch["labels"].tolist() == list(cache.labels[:7])


def test_workers_that_stay_hear_of_the_epoch(finished: Path, monkeypatch) -> None:
    monkeypatch.chdir(finished)
    items = stillroom.CachedDataset("artifacts/cache")
    loader = torch.utils.data.DataLoader(items, batch_size=40, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        items.set_epoch(epoch)
        found = torch.cat([batch["teacher_logits"] for batch in loader])
        assert np.array_equal(found.numpy(), stillroom.open_cache("artifacts/cache").logits(epoch, "logits"))


def test_another_size_and_a_transform(finished: Path, monkeypatch) -> None:
    monkeypatch.chdir(finished)
    small = stillroom.CachedDataset("artifacts/cache", size=32)
    assert small[0]["pixel_values"].shape == (3, 32, 32)
    raw = stillroom.CachedDataset("artifacts/cache", transform=lambda view: view.mean())
    assert isinstance(raw[-1]["pixel_values"], float)
    with pytest.raises(IndexError):
        raw[len(raw)]


def test_what_does_not_belong_together_is_refused(finished: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(finished)
    with pytest.raises(ParamsError, match="no output 'features'"):
        stillroom.CachedDataset("artifacts/cache", output="features")
    with pytest.raises(DataError, match="is not there"):
        stillroom.CachedDataset("artifacts/cache", data=tmp_path)
    with pytest.raises(AttributeError):
        stillroom.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("file", "command"),
    [
        (tables.DATA, ["student", "--family", "vit", "--arm", "kd"]),
        ("artifacts/teacher/teacher.json", ["cache"]),
        ("artifacts/students/vit-kd-0/student.json", ["export", "--student", "artifacts/students/vit-kd-0"]),
    ],
)
@pytest.mark.parametrize("modality", ["sounds", "images.models.create", None, ["images"]])
def test_a_modality_that_is_not_there_is_named(
    project: Path, file: str, command: list[str], modality: object
) -> None:
    if file == tables.DATA:
        tables.write(
            project / "artifacts/data", tables.read(project / "artifacts/data") | {"modality": modality}
        )
    else:
        record = json.loads((project / file).read_text())
        (project / file).write_text(json.dumps(record | {"modality": modality}))
    said = run_in(project, "stillroom", *command, code=1).stderr
    assert "there is no modality" in said and "images" in said


def test_a_loss_is_called_with_outputs_by_name(finished: Path) -> None:
    loss = stillroom.losses.load("kd", {"alpha": 0.5, "temperature": 2.0})
    logits = torch.randn(4, 3)
    terms = loss({"logits": logits}, torch.zeros(4, dtype=torch.long), {"logits": logits}, 0.0, 0.0)
    assert float(terms["teacher"]) == pytest.approx(0, abs=1e-6) and float(terms["labels"]) > 0


def test_the_public_names_are_all_there() -> None:
    assert set(stillroom.__all__) <= set(dir(stillroom))
    assert json.dumps(MODALITY.families())

"""Students that see worse than their teacher, in the report: what stands in one table, and what is read."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stillroom.errors import DataError
from stillroom.reporting.reading import read
from tests.reporting import artifacts, test_intervals

WORSE = {"name": "blur", "radius": 4.0, "seed": 0, "draw_at": "epoch", "draws": 3}


def corrupt(folder: Path, name: str, **changes: object) -> None:
    file = folder / "students" / name / "student.json"
    record = json.loads(file.read_text())
    record["config"]["corruption"] = WORSE | changes
    file.write_text(json.dumps(record))


def test_students_under_different_corruptions_are_not_one_table(tmp_path: Path) -> None:
    entries = [("vit", arm, seed) for seed in (0, 1) for arm in ("ce", "kd")]
    folder = artifacts.make(tmp_path, entries)
    for family, arm, seed in entries:
        corrupt(folder, f"{family}-{arm}-{seed}")
    assert read(folder, entries).corruption == WORSE
    for arm in ("ce", "kd"):  # each pair is one by itself
        corrupt(folder, f"vit-{arm}-1", radius=8.0)
    with pytest.raises(DataError, match=r"config\.corruption\.radius is 4\.0 and 8\.0"):
        read(folder, entries)
    for arm in ("ce", "kd"):
        file = folder / f"students/vit-{arm}-1/student.json"
        record = json.loads(file.read_text())
        del record["config"]["corruption"]
        file.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"config\.corruption"):
        read(folder, entries)


@pytest.mark.parametrize("draws", [1, 2, 4])
def test_predictions_have_as_many_draws_as_the_record_says(tmp_path: Path, draws: int) -> None:
    entries = [("vit", "ce", 0)]
    test = test_intervals.made(tmp_path, entries)
    corrupt(tmp_path, "vit-ce-0")  # of three
    folder = tmp_path / "students/vit-ce-0"
    shape = (draws, len(test), len(test.classes))
    logits = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    save_file({"logits": logits}, folder / "predictions.safetensors")
    right = 100 * float((logits.argmax(-1) == np.array(test.labels())).mean())
    artifacts.edit(folder / "metrics.json", accuracy=right)
    with pytest.raises(DataError, match=r"expected F32 \[3, |expected about"):
        read(tmp_path, entries, test)
    corrupt(tmp_path, "vit-ce-0", draws=draws)
    np.testing.assert_array_equal(read(tmp_path, entries, test).logits["vit", "ce", 0], logits)
    artifacts.edit(folder / "metrics.json", accuracy=right + 1)
    with pytest.raises(DataError, match="it gives an accuracy of"):
        read(tmp_path, entries, test)

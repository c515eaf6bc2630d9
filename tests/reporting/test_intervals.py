"""Gains with their intervals, from the predictions beside each model; and which predictions are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.cache.identity import identity_id
from pipeline.errors import CacheError, DataError
from pipeline.evaluation.metrics import summarise
from pipeline.reporting import page, table
from pipeline.reporting.records import Entry, read
from pipeline.samples import Sample, Samples
from tests.reporting import artifacts

CLASSES = ["a", "b", "c", "d", "e", "f"]
ENTRIES: list[Entry] = [
    (family, arm, seed) for family in ("vit", "pvt") for arm in ("ce", "kd") for seed in (0, 1)
]


def samples(count: int = 120) -> Samples:
    rows = tuple(
        Sample(f"k{i:03}", f"k{i:03}.png", "test", i % len(CLASSES), None, (9, 9), f"{i:064}")
        for i in range(count)
    )
    return Samples("folder", tuple(CLASSES), rows, Path("."))


def predict(folder: Path, test: Samples, skill: float, seed: int, noise: int = 0) -> np.ndarray:
    """Write predictions of so much skill, and the metrics that they give."""
    labels = np.array(test.labels())
    logits = np.random.default_rng(noise).normal(0, 1, (len(labels), len(CLASSES)))
    logits += (
        np.random.default_rng(100 + seed).normal(0, 0.2, logits.shape) + skill * np.eye(len(CLASSES))[labels]
    )
    logits = logits.astype(np.float32)
    save_file({"logits": logits}, folder / "predictions.safetensors")
    scores = summarise(logits, labels, test.classes)
    per_class = scores.pop("per_class_ap")
    artifacts.put(folder / "metrics.json", scores)
    name = "teacher.json" if folder.name == "teacher" else "student.json"
    digests = {one: digest for one, digest in test.digests().items() if one in ("keys", "labels")}
    artifacts.edit(folder / name, per_class_ap=per_class, test=digests)
    return logits


def made(folder: Path, entries: list[Entry] = ENTRIES, gain: float = 1.0) -> Samples:
    artifacts.make(folder, entries, CLASSES)
    test = samples()
    predict(folder / "teacher", test, 3.0, 99)
    for number, (family, arm, seed) in enumerate(entries):
        skill = 0.8 + (0 if arm == "ce" else gain)
        predict(folder / "students" / f"{family}-{arm}-{seed}", test, skill, number)
    return test


def test_every_gain_has_an_interval_around_it(tmp_path: Path) -> None:
    test = made(tmp_path)
    results = table.collect(tmp_path, ENTRIES, test)
    for line in results["summary"]:
        for gain in ("gain", "mAP_gain"):
            low, high = line[f"{gain}_interval"]
            assert 0 < low < line[gain] < high < 100
            assert low < line["gains"]["kd"]["accuracy" if gain == "gain" else "mAP"] < high
    low, high = results["mean_gain_interval"]
    assert low < results["mean_gain"] < high
    assert results["bootstrap"] == {"images": 120, "resamples": 1000}
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert table.collect(tmp_path, ENTRIES, test) == results


def test_a_gain_of_nothing_has_an_interval_over_zero(tmp_path: Path) -> None:
    results = table.collect(tmp_path, ENTRIES, made(tmp_path, gain=0.02))
    low, high = results["mean_gain_interval"]
    assert low < 0 < high


def test_rows_have_what_was_measured(tmp_path: Path) -> None:
    test = made(tmp_path)
    artifacts.edit(tmp_path / "students/vit-ce-0/student.json", latency_ms={"1": 3.5, "32": 60.0})
    results = table.collect(tmp_path, ENTRIES, test)
    row = results["rows"][0]
    assert row["latency_ms"] == {"1": 3.5, "32": 60.0}
    labels = np.array(test.labels())
    student, teacher = (
        predict(tmp_path / name, test, skill, seed)
        for name, skill, seed in (("students/vit-ce-0", 0.8, 0), ("teacher", 3.0, 99))
    )
    assert row["agreement"] == pytest.approx(100 * (student.argmax(1) == teacher.argmax(1)).mean(), abs=1e-3)
    first = np.argsort(-student, axis=1)[:, :5]
    assert row["top5"] == pytest.approx(100 * (first == labels[:, None]).any(axis=1).mean(), abs=1e-3)
    (tmp_path / "teacher/predictions.safetensors").unlink()  # a teammate has no teacher
    assert table.collect(tmp_path, ENTRIES, test)["rows"][0]["agreement"] is None


def test_without_predictions_there_is_no_interval_and_no_error(tmp_path: Path) -> None:
    test = made(tmp_path)
    (tmp_path / "students/pvt-kd-1/predictions.safetensors").unlink()
    results = table.collect(tmp_path, ENTRIES, test)
    vit, pvt = results["summary"]
    assert vit["gain_interval"] and pvt["gain_interval"] is None and pvt["gain"] is not None
    assert results["mean_gain_interval"] is None
    for file in (tmp_path / "students").glob("*/predictions.safetensors"):
        file.unlink()
    results = table.collect(tmp_path, ENTRIES, test)
    assert results["bootstrap"] is None and "Intervals" not in table.markdown(results)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def nan(file: Path) -> None:
    save_file({"logits": np.full((120, 6), np.nan, np.float32)}, file)


def wide(file: Path) -> None:
    save_file({"logits": np.zeros((120, 7), np.float32)}, file)


def huge(file: Path) -> None:
    save_file({"logits": np.zeros((120, 6), np.float32), "more": np.zeros(10**6, np.float32)}, file)


def others(file: Path) -> None:
    file.write_bytes((file.parent.parent / "vit-ce-0/predictions.safetensors").read_bytes())


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (cut, "predictions.safetensors"),
        (nan, "not finite"),
        (wide, "expected F32 [120, 6]"),
        (huge, "bytes"),
        (others, "metrics.json says"),
    ],
)
def test_predictions_that_cannot_be_are_refused_by_name(tmp_path: Path, damage, word: str) -> None:
    test = made(tmp_path)
    damage(tmp_path / "students/pvt-kd-1/predictions.safetensors")
    with pytest.raises(DataError) as caught:
        read(tmp_path, ENTRIES, test)
    assert (
        word in str(caught.value) and "pvt-kd-1" in str(caught.value) and "vit-ce-0" not in str(caught.value)
    )


def test_predictions_of_another_test_split_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(DataError, match="another test split"):
        read(tmp_path, ENTRIES, samples(119))


def test_every_loss_is_compared_with_ce(tmp_path: Path) -> None:
    entries: list[Entry] = [("vit", arm, seed) for arm in ("ce", "kd") for seed in (0, 1)]
    test = made(tmp_path, entries)
    for seed in (0, 1):  # a third arm: kd's folder under another name
        folder = tmp_path / "students" / f"vit-dist-{seed}"
        folder.mkdir()
        for file in (tmp_path / "students" / f"vit-kd-{seed}").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        artifacts.edit(folder / "student.json", arm="dist")
    more: list[Entry] = [*entries, ("vit", "dist", 0), ("vit", "dist", 1)]
    results = table.collect(tmp_path, more, test)
    [line] = results["summary"]
    assert line["gains"]["dist"] == line["gains"]["kd"] and line["accuracy_dist"] == line["accuracy_kd"]
    assert "| family | kd | dist |" in table.markdown(results)
    only: list[Entry] = [entry for entry in more if entry[1] != "kd"]
    results = table.collect(tmp_path, only, test)
    assert results["arm"] == "dist" and results["summary"][0]["gain"] == line["gain"]
    assert "accuracy dist" in table.markdown(results)
    runs = read(tmp_path, only, test)
    html = page.page(results, runs.students, runs.teacher, [], "t", [], runs.manifest)
    assert '<th scope="col">dist</th>' in html and '<th scope="col">kd</th>' not in html


def test_a_cache_that_got_another_output_still_counts(tmp_path: Path) -> None:
    entries: list[Entry] = [("vit", "ce", 0), ("vit", "kd", 0)]
    test = made(tmp_path, entries)
    manifest = tmp_path / "cache/manifest.json"
    identity = json.loads(manifest.read_text())["identity"]
    data = identity_id({name: value for name, value in identity.items() if name != "outputs"})
    used = {"logits": identity_id(identity["outputs"]["logits"])}
    for arm, parts in (("ce", {}), ("kd", used)):
        artifacts.edit(tmp_path / f"students/vit-{arm}-0/student.json", cache_parts={"data": data, **parts})
    grown = {**identity, "outputs": {**identity["outputs"], "wide": {"teacher": {"digest": "other"}}}}
    artifacts.edit(manifest, identity=grown, id="grown")
    assert len(read(tmp_path, entries, test).students) == 2
    artifacts.edit(manifest, identity={**grown, "seed": 1})
    with pytest.raises(CacheError, match="vit-ce-0"):
        read(tmp_path, entries, test)


def test_the_terminal_table_fits_and_marks_what_is_sure(tmp_path: Path) -> None:
    from tests.reporting.test_table import terminal

    said = terminal(table.collect(tmp_path, ENTRIES, made(tmp_path)), color=False)
    assert max(map(len, said.splitlines())) <= 80
    assert "*" in said and "95% interval" in said and "…" not in said.split("model")[0]

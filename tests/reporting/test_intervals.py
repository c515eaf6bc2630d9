"""Gains with their intervals, from the predictions beside each model; and which predictions are refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stillroom.cache.format.identity import identity_id
from stillroom.errors import CacheError, DataError
from stillroom.evaluation.metrics import summarise
from stillroom.modalities.images.samples import Sample
from stillroom.reporting import figures, page, table, wording
from stillroom.reporting.bootstrap import Resamples
from stillroom.reporting.markdown import as_markdown
from stillroom.reporting.reading import read
from stillroom.reporting.records import Entry
from stillroom.samples import Samples
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
    digests = {one: digest for one, digest in test.digests().items() if one in ("keys", "labels", "images")}
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
    results = artifacts.results(tmp_path, ENTRIES, test)
    for line in results["summary"]:
        for gain in ("gain", "mAP_gain"):
            low, high = line[f"{gain}_interval"]
            assert 0 < low < line[gain] < high < 100
            assert low < line["gains"]["kd"]["accuracy" if gain == "gain" else "mAP"] < high
    low, high = results["mean_gain_interval"]
    assert low < results["mean_gain"] < high
    assert results["bootstrap"] == {"images": 120, "resamples": 1000}
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert artifacts.results(tmp_path, ENTRIES, test) == results


def test_intervals_are_those_of_images_and_seeds_drawn_one_by_one(tmp_path: Path) -> None:
    """Written out: in each resample the rows are repeated, and each seed's models are scored anew."""
    test = made(tmp_path)
    results = artifacts.results(tmp_path, ENTRIES, test)
    labels, resamples = np.array(test.labels()), Resamples(len(test))
    right = {
        entry: load_file(tmp_path / "students" / "{}-{}-{}".format(*entry) / "predictions.safetensors")[
            "logits"
        ].argmax(axis=1)
        == labels
        for entry in ENTRIES
    }
    seeds = resamples.seeds(2)
    gains: dict[str, list[float]] = {"vit": [], "pvt": []}
    for number, counts in enumerate(resamples.weights(0, resamples.count)):
        rows = np.repeat(np.arange(len(test)), counts)
        for family, found in gains.items():
            one, two = (
                np.mean([right[family, arm, seed][rows].mean() for seed in seeds[number]])
                for arm in ("ce", "kd")
            )
            found.append(100 * (two - one))
    assert set(np.unique(seeds, axis=0).ravel()) == {0, 1} and len(np.unique(seeds, axis=0)) == 4
    for line in results["summary"]:
        expected = np.percentile(gains[line["family"]], [2.5, 97.5])
        assert line["gain_interval"] == pytest.approx(expected, abs=1e-3)
    both = np.percentile(np.mean(list(gains.values()), axis=0), [2.5, 97.5])
    assert results["mean_gain_interval"] == pytest.approx(both, abs=1e-3)


def test_a_gain_of_nothing_has_an_interval_over_zero(tmp_path: Path) -> None:
    results = artifacts.results(tmp_path, ENTRIES, made(tmp_path, gain=0.02))
    low, high = results["mean_gain_interval"]
    assert low < 0 < high


def test_rows_have_what_was_measured(tmp_path: Path) -> None:
    test = made(tmp_path)
    artifacts.edit(tmp_path / "students/vit-ce-0/student.json", latency_ms={"1": 3.5, "32": 60.0})
    results = artifacts.results(tmp_path, ENTRIES, test)
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
    assert artifacts.results(tmp_path, ENTRIES, test)["rows"][0]["agreement"] is None


def test_without_predictions_there_is_no_interval_and_no_error(tmp_path: Path) -> None:
    test = made(tmp_path)
    (tmp_path / "students/pvt-kd-1/predictions.safetensors").unlink()
    results = artifacts.results(tmp_path, ENTRIES, test)
    vit, pvt = results["summary"]
    assert vit["gain_interval"] and pvt["gain_interval"] is None and pvt["gain"] is not None
    assert results["mean_gain_interval"] is None
    for file in (tmp_path / "students").glob("*/predictions.safetensors"):
        file.unlink()
    results = artifacts.results(tmp_path, ENTRIES, test)
    assert results["bootstrap"] is None and "Intervals" not in as_markdown(results)


def test_the_report_says_what_its_intervals_are_and_which_are_missing(tmp_path: Path) -> None:
    from tests.reporting.test_table import terminal

    test = made(tmp_path)
    whole = as_markdown(artifacts.results(tmp_path, ENTRIES, test))
    assert (
        "Intervals: 95%, paired bootstrap, 1,000 resamples of 120 test images and 2 seeds" in whole
        and "`stillroom report`" in whole
        and "None for" not in whole
    )
    one_seed: list[Entry] = [entry for entry in ENTRIES if entry[2] == 0]
    assert "with one seed" in as_markdown(artifacts.results(tmp_path, one_seed, test))
    (tmp_path / "students/pvt-kd-1/predictions.safetensors").unlink()
    part = as_markdown(artifacts.results(tmp_path, ENTRIES, test))
    assert "None for PVT kd: a student's predictions were not kept." in part
    for file in (tmp_path / "students").glob("*/predictions.safetensors"):
        file.unlink()
    runs = read(tmp_path, ENTRIES, test)
    results = table.summarise(runs)
    assert "No intervals: the students' predictions were not kept." in as_markdown(results)
    assert "no intervals" in terminal(results, color=False)
    html = page.page(results, runs.students, runs.teacher, [], "t", [], runs.manifest)
    assert "No intervals" in html and 'class="whisker"' not in html
    alone = artifacts.results(tmp_path, [("vit", "ce", 0)], test)  # no gain, so nothing to be sure of
    assert "ntervals" not in as_markdown(alone) + terminal(alone, color=False)


def test_the_page_shows_every_student_by_what_was_measured(tmp_path: Path) -> None:
    test = made(tmp_path)
    artifacts.edit(tmp_path / "students/pvt-kd-1/student.json", latency_ms={"1": 3.54, "32": 61.0})
    runs = read(tmp_path, ENTRIES, test)
    results = table.summarise(runs)
    html = page.page(results, runs.students, runs.teacher, [], "t", [], runs.manifest)
    row = results["rows"][-1]
    [line] = [
        line for line in html.splitlines() if '<td class="text">kd</td><td>1</td>' in line and "PVT" in line
    ]
    cells = [f"{row[name]:.2f}" for name in ("accuracy", "mAP", "top5", "calibration_error", "agreement")]
    assert "".join(f"<td>{cell}</td>" for cell in [*cells, "3.5", "61.0"]) in line


def marks(svg: str, kind: str) -> list[dict[str, float]]:
    """Where the lines of a kind are: x in percent of the figure, y in pixels."""
    found = []
    for tag in re.findall(rf'<line class="{kind}" ([^>]*)/>', svg):
        found.append({name: float(value) for name, value in re.findall(r'(\w+)="([\d.-]+)%?"', tag)})
    return found


def test_a_whisker_reaches_as_far_from_the_ring_as_the_interval_says(tmp_path: Path) -> None:
    entries: list[Entry] = [("vit", "ce", 0), ("vit", "kd", 0)]
    results = artifacts.results(tmp_path, entries, made(tmp_path, entries))
    svg = figures.dumbbell(results, "accuracy")
    at = {kind: float(x) for kind, x in re.findall(r'<circle class="dot (\w+)" cx="([\d.]+)%"', svg)}
    [line] = results["summary"]
    points = (at["kd"] - at["ce"]) / line["gain"]  # percent of the figure a point
    [whisker] = [mark for mark in marks(svg, "whisker") if mark["x1"] != mark["x2"]]
    found = [(whisker[x] - at["ce"]) / points for x in ("x1", "x2")]
    assert found == pytest.approx(line["gain_interval"], abs=0.02)
    assert at["ce"] < whisker["x1"] < at["kd"] < whisker["x2"]
    assert f"gain {wording.signed(line['gain'], 1)} (" in svg


@pytest.mark.parametrize("teacher", range(20, 100, 4))
def test_the_line_of_the_teacher_crosses_no_number(tmp_path: Path, teacher: int) -> None:
    """On a figure 300 pixels wide, where a number takes 24 pixels and stands 11 from its mark."""
    results = artifacts.results(tmp_path, ENTRIES, made(tmp_path))
    results["teacher"]["accuracy"] = float(teacher)
    svg = figures.dumbbell(results, "accuracy")
    pieces = marks(svg, "teacher")
    x = pieces[0]["x1"] * 3
    numbers = re.findall(
        r'<text class="halo small[^"]*" x="([\d.]+)%" y="([\d.]+)" dx="(-?11)" text-anchor="(\w+)"', svg
    )
    assert len(numbers) == 4 and all(piece["x1"] == piece["x2"] for piece in pieces)
    for place, base, shift, anchor in numbers:
        edge = float(place) * 3 + int(shift)
        left, right = (edge - 24, edge) if anchor == "end" else (edge, edge + 24)
        above, below = float(base) - 9, float(base)  # digits have no descenders
        for piece in pieces:
            assert not (left <= x <= right and piece["y1"] < below and above < piece["y2"])
    assert pieces[0]["y1"] < 40 and pieces[-1]["y2"] > 100  # and it is there from top to bottom


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def nan(file: Path) -> None:
    save_file({"logits": np.full((120, 6), np.nan, np.float32)}, file)


def wide(file: Path) -> None:
    save_file({"logits": np.zeros((120, 7), np.float32)}, file)


def huge(file: Path) -> None:
    save_file({"logits": np.zeros((120, 6), np.float32), "more": np.zeros(10**6, np.float32)}, file)


def halved(file: Path) -> None:
    save_file({"logits": np.zeros((120, 6), np.float16)}, file)


def text(file: Path) -> None:
    file.write_text("logits")


def nothing(file: Path) -> None:
    file.write_bytes(b"")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def others(file: Path) -> None:
    file.write_bytes((file.parent.parent / "vit-ce-0/predictions.safetensors").read_bytes())


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (cut, "predictions.safetensors"),
        (nan, "not finite"),
        (wide, "expected F32 [120, 6]"),
        (huge, "bytes"),
        (halved, "logits are F16"),
        (text, "predictions.safetensors"),
        (nothing, "predictions.safetensors"),
        (folder, "predictions.safetensors"),
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
    assert "`stillroom student --family pvt --arm kd --seed 1`" in caught.value.fix


def test_predictions_of_another_test_split_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(DataError, match="another test split"):
        read(tmp_path, ENTRIES, samples(119))


def test_a_model_tested_on_another_split_is_refused_though_its_predictions_are_not_here(
    tmp_path: Path,
) -> None:
    test = made(tmp_path)
    folder = tmp_path / "students/vit-kd-0"
    (folder / "predictions.safetensors").unlink()
    digests = test.digests()
    artifacts.edit(folder / "student.json", test={**digests, "labels": "f00d"})
    with pytest.raises(DataError) as caught:
        read(tmp_path, ENTRIES, test)
    assert "vit-kd-0/student.json" in caught.value.what and "test.labels is f00d" in caught.value.what
    assert digests["labels"] in caught.value.what and "vit-ce-0" not in caught.value.what
    assert "`stillroom student --family vit --arm kd --seed 0`" in caught.value.fix


def test_a_teacher_tested_on_another_split_is_refused(tmp_path: Path) -> None:
    test = made(tmp_path)
    artifacts.edit(
        tmp_path / "teacher/teacher.json", test={"keys": "beef", "labels": "f00d", "images": "feed"}
    )
    with pytest.raises(DataError, match="another test split") as caught:
        read(tmp_path, ENTRIES, test)
    assert "`stillroom teacher`" in caught.value.fix and "student" not in caught.value.fix


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
    results = artifacts.results(tmp_path, more, test)
    [line] = results["summary"]
    assert line["gains"]["dist"] == line["gains"]["kd"] and line["accuracy_dist"] == line["accuracy_kd"]
    text, gain = as_markdown(results), line["gains"]["dist"]
    assert f"| ViT | ce | {line['accuracy_ce']:.2f} |  | {line['mAP_ce']:.2f} |  |" in text
    for metric in ("accuracy", "mAP"):  # every arm has its scores, and gains with their intervals
        shown = wording.between(gain[metric], gain[f"{metric}_interval"])
        assert f"| {line[f'{metric}_dist']:.2f} | {shown} |" in text
    only: list[Entry] = [entry for entry in more if entry[1] != "kd"]
    results = artifacts.results(tmp_path, only, test)
    assert results["arm"] == "dist" and results["summary"][0]["gain"] == line["gain"]
    assert "accuracy dist" in as_markdown(results)
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

    said = terminal(artifacts.results(tmp_path, ENTRIES, made(tmp_path)), color=False)
    assert max(map(len, said.splitlines())) <= 80
    assert "*" in said and "95% interval" in said and "…" not in said.split("model")[0]

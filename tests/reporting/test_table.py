"""The report's numbers, and what it refuses to compare."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from stillroom.errors import CacheError, DataError
from stillroom.reporting import table, wording
from stillroom.reporting.markdown import as_markdown
from stillroom.reporting.reading import read
from stillroom.reporting.records import Entry
from stillroom.reporting.terminal import rich_table
from tests.reporting import artifacts

PAIR: list[Entry] = [("vit", "ce", 0), ("vit", "kd", 0)]


def scores(folder: Path, entry: Entry, accuracy: float, mean_ap: float, **per_class: float | None) -> None:
    file = folder / "students" / "{}-{}-{}".format(*entry) / "metrics.json"
    artifacts.put(file, {"accuracy": accuracy, "mAP": mean_ap, "top5": accuracy, "calibration_error": 1.0})
    artifacts.edit(file.with_name("student.json"), per_class_ap=per_class)


def student(folder: Path, name: str) -> Path:
    return folder / "students" / name / "student.json"


def terminal(results: dict, color: bool) -> str:
    screen = io.StringIO()
    Console(
        file=screen,
        width=80,
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
    ).print(rich_table(results))
    return screen.getvalue()


def test_results_hold_the_keys_that_scripts_read(tmp_path: Path) -> None:
    results = artifacts.results(artifacts.make(tmp_path), artifacts.ENTRIES)
    assert {"teacher", "cache", "rows", "summary", "mean_gain", "mean_mAP_gain"} <= set(results)
    assert {"arch", "accuracy", "mAP", "params", "flops"} <= set(results["teacher"])
    assert set(results["cache"]) == {"id", "views", "samples", "bytes"}
    assert {"family", "arch", "arm", "seed", "accuracy", "mAP", "params", "flops"} <= set(results["rows"][0])
    keys = "family arch accuracy_ce accuracy_kd gain mAP_ce mAP_kd mAP_gain seeds"
    assert set(keys.split()) <= set(results["summary"][0])
    assert [(row["family"], row["arm"], row["seed"]) for row in results["rows"]] == artifacts.ENTRIES
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_bytes_are_those_of_every_file_of_the_cache(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    expected = (tmp_path / "cache" / "manifest.json").stat().st_size + 2_600_000
    assert artifacts.results(tmp_path, PAIR)["cache"] == {
        "id": artifacts.CACHE,
        "views": 8,
        "samples": 4000,
        "bytes": expected,
    }


def test_a_gain_is_the_difference_of_means_over_the_seeds_that_both_arms_have(tmp_path: Path) -> None:
    entries: list[Entry] = [
        *PAIR,
        ("vit", "ce", 1),
        ("vit", "kd", 1),
        ("vit", "kd", 2),
        ("pvt", "ce", 0),
        ("pvt", "kd", 0),
    ]
    artifacts.make(tmp_path, entries)
    given = [(50, 40), (53, 46), (60, 50), (61, 48), (99, 99), (70, 70), (69, 69)]
    for entry, (accuracy, mean_ap) in zip(entries, given, strict=True):
        scores(tmp_path, entry, accuracy, mean_ap)
    results = artifacts.results(tmp_path, entries)
    vit, pvt = results["summary"]
    assert (vit["accuracy_ce"], vit["accuracy_kd"], vit["gain"]) == (55, 57, 2)
    assert (vit["mAP_ce"], vit["mAP_kd"], vit["mAP_gain"]) == (45, 47, 2)
    assert vit["seeds"] == [0, 1]  # kd alone has seed 2: it would move one mean and not the other
    assert pvt["gain"] == -1
    assert (results["mean_gain"], results["mean_mAP_gain"]) == (0.5, 0.5)


def test_a_missing_arm_is_null_and_not_zero(tmp_path: Path) -> None:
    entries: list[Entry] = [*PAIR, ("pvt", "ce", 0)]
    results = artifacts.results(artifacts.make(tmp_path, entries), entries)
    pvt = results["summary"][1]
    assert pvt["accuracy_kd"] is None and pvt["gain"] is None and pvt["mAP_gain"] is None
    assert results["mean_gain"] == results["summary"][0]["gain"]
    alone = artifacts.results(tmp_path, [("pvt", "ce", 0)])
    assert alone["mean_gain"] is None and alone["mean_mAP_gain"] is None


def test_arms_without_a_common_seed_have_no_gain(tmp_path: Path) -> None:
    entries: list[Entry] = [("vit", "ce", 0), ("vit", "kd", 1)]
    (vit,) = artifacts.results(artifacts.make(tmp_path, entries), entries)["summary"]
    assert vit["gain"] is None and vit["accuracy_ce"] is not None and vit["accuracy_kd"] is not None


def test_class_gains_are_means_over_families_largest_first(tmp_path: Path) -> None:
    entries: list[Entry] = [*PAIR, ("pvt", "ce", 0), ("pvt", "kd", 0), ("swin", "ce", 0)]
    artifacts.make(tmp_path, entries)
    scores(tmp_path, entries[0], 50, 50, run=10, jump=20, none=None)
    scores(tmp_path, entries[1], 50, 50, run=14, jump=19, none=None)
    scores(tmp_path, entries[2], 50, 50, run=10, jump=20, none=5)
    scores(tmp_path, entries[3], 50, 50, run=12, jump=17, none=6)
    scores(tmp_path, entries[4], 50, 50, run=90, jump=90, none=90)
    assert table.class_gains(read(tmp_path, entries).students) == [("run", 3), ("none", 1), ("jump", -2)]


@pytest.mark.parametrize("field", ["init", "order", "pixels"])
def test_arms_with_different_digests_are_refused(tmp_path: Path, field: str) -> None:
    artifacts.make(tmp_path, PAIR)
    file = student(tmp_path, "vit-kd-0")
    digests = json.loads(file.read_text())["digests"]
    artifacts.edit(file, digests=digests | {field: "another"})
    with pytest.raises(DataError) as refusal:
        artifacts.results(tmp_path, PAIR)
    message = str(refusal.value)
    assert f"digests.{field}" in message and digests[field] in message and "another" in message
    assert "stillroom student --family vit --arm kd --seed 0" in refusal.value.fix


def test_seeds_and_families_may_differ_in_their_digests(tmp_path: Path) -> None:
    entries: list[Entry] = [("vit", "ce", 0), ("vit", "kd", 1), ("pvt", "ce", 0)]
    assert len(artifacts.results(artifacts.make(tmp_path, entries), entries)["rows"]) == 3


def test_arms_with_different_schedules_are_refused(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    file = student(tmp_path, "vit-kd-0")
    config = json.loads(file.read_text())["config"]
    config["train"]["epochs"] = 90
    artifacts.edit(file, config=config)
    with pytest.raises(DataError, match=r"config\.train\.epochs is 30 and 90"):
        artifacts.results(tmp_path, PAIR)


def test_students_of_another_cache_are_all_named(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    for name in ("vit-ce-0", "vit-kd-0"):
        artifacts.edit(student(tmp_path, name), cache="older", cache_parts={"data": "older"})
    with pytest.raises(CacheError) as refusal:
        artifacts.results(tmp_path, PAIR)
    assert "vit-ce-0: trained from cache older" in refusal.value.what and "vit-kd-0" in refusal.value.what
    assert artifacts.CACHE in refusal.value.what


def test_one_arm_of_another_cache_is_refused(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    artifacts.edit(student(tmp_path, "vit-ce-0"), cache="older", cache_parts={"data": "older"})
    with pytest.raises(CacheError, match="vit-ce-0 and vit-kd-0: cache is older and"):
        artifacts.results(tmp_path, PAIR)


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    artifacts.make(tmp_path, artifacts.ENTRIES)
    gone = [
        student(tmp_path, "swin-kd-0"),
        tmp_path / "teacher" / "metrics.json",
        tmp_path / "cache" / "manifest.json",
    ]
    for file in gone:
        file.unlink()
    with pytest.raises(DataError) as refusal:
        artifacts.results(tmp_path, artifacts.ENTRIES)
    assert all(str(file) in refusal.value.what for file in gone)
    assert "dvc repro" in refusal.value.fix


def test_a_missing_manifest_alone_is_a_cache_error(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    (tmp_path / "cache" / "manifest.json").unlink()
    with pytest.raises(CacheError, match=r"manifest\.json"):
        artifacts.results(tmp_path, PAIR)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"accuracy": 5', "not JSON"),
        ("", "not JSON"),
        ("[1, 2]", "expected an object, found list"),
        ('{"accuracy": NaN, "mAP": 3}', "NaN is not a JSON number"),
        (
            '{"accuracy": "high", "mAP": 3}',
            "accuracy: input should be a valid number, found 'high'",
        ),
        (
            '{"accuracy": 104, "mAP": 3}',
            "accuracy: input should be less than or equal to 100",
        ),
        ('{"mAP": 3}', "accuracy: field required"),
        ('{"accuracy": 1e999, "mAP": 3}', "accuracy: input should be a finite number"),
        ("\xff\xfe", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    artifacts.make(tmp_path, PAIR)
    file = tmp_path / "students" / "vit-kd-0" / "metrics.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as refusal:
        artifacts.results(tmp_path, PAIR)
    assert str(file) in refusal.value.what and reason in refusal.value.what


def test_all_damaged_files_are_named_at_once(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    (tmp_path / "teacher" / "teacher.json").write_text("{")
    artifacts.edit(student(tmp_path, "vit-ce-0"), format="stillroom-student/9")
    artifacts.edit(tmp_path / "cache" / "manifest.json", extents={"views": 0, "samples": 4})
    with pytest.raises(DataError) as refusal:
        artifacts.results(tmp_path, PAIR)
    for words in ("teacher.json: not JSON", "vit-ce-0", "stillroom-student/9", "extents.views"):
        assert words in refusal.value.what


def test_a_student_in_the_wrong_folder_is_refused(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    artifacts.edit(student(tmp_path, "vit-kd-0"), arm="ce")
    with pytest.raises(DataError, match="it describes vit-ce-0, expected vit-kd-0"):
        artifacts.results(tmp_path, PAIR)


def test_no_entry_is_refused_and_a_repeated_one_counts_once(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    with pytest.raises(DataError, match="no student"):
        artifacts.results(tmp_path, [])
    assert artifacts.results(tmp_path, [*PAIR, *PAIR]) == artifacts.results(tmp_path, PAIR)


def test_the_terminal_table_fits_80_columns_and_reads_without_colour(tmp_path: Path) -> None:
    artifacts.make(tmp_path, artifacts.ENTRIES)
    scores(tmp_path, ("swin", "ce", 0), 100.0, 100.0)
    scores(tmp_path, ("swin", "kd", 0), 0.0, 0.0)
    results = artifacts.results(tmp_path, artifacts.ENTRIES)
    plain = terminal(results, color=False)
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    assert "100.00" in plain and plain.count("-100.00") == 2
    for line in results["summary"]:
        (shown,) = [
            text for text in plain.splitlines() if text.startswith(wording.family_name(line["family"]))
        ]
        assert wording.signed(line["gain"]) in shown and wording.percent(line["mAP_kd"]) in shown
    lines = plain.splitlines()
    assert lines.index(next(x for x in lines if x.startswith("teacher"))) < lines.index(
        next(x for x in lines if x.startswith("ViT"))
    )
    assert "\x1b[32m" in terminal(results, color=True) and "\x1b[31m" in terminal(results, color=True)


def test_the_terminal_table_shows_names_as_they_are_written(tmp_path: Path) -> None:
    results = artifacts.results(artifacts.make(tmp_path, PAIR), PAIR)
    results["teacher"]["arch"] = "[red]net[/]"
    assert "[red]net[/]" in terminal(results, color=False)


def test_markdown_holds_every_family_and_keeps_its_columns(tmp_path: Path) -> None:
    entries: list[Entry] = [
        (family, arm, seed) for family in ("vit", "swin") for arm in ("ce", "kd") for seed in (0, 1)
    ]
    results = artifacts.results(artifacts.make(tmp_path, entries), entries)
    results["teacher"]["arch"] = "a|b <b>\nc"
    text = as_markdown(results)
    rows = [line for line in text.split("## Every")[0].splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {10}
    assert "a\\|b \\<b> c" in text
    assert (
        f"| Swin | {results['summary'][1]['arch']} |" in text
        and wording.signed(results["summary"][1]["gain"]) in text
    )
    assert artifacts.CACHE in text and text.count("| ViT | kd |") == 2


@pytest.mark.parametrize(
    ("value", "shown"), [(1.005, "+1.00"), (-0.004, "0.00"), (0.0, "0.00"), (-2.5, "-2.50"), (None, "-")]
)
def test_a_gain_shows_its_sign_unless_it_rounds_to_nothing(value: float | None, shown: str) -> None:
    assert wording.signed(value) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0"), (999, "999"), (999_600, "1 M"), (5_532_520, "5.53 M"), (None, "-")]
)
def test_quantities_have_three_digits_and_a_unit(count: int | None, shown: str) -> None:
    assert wording.quantity(count) == shown


def test_a_teacher_that_did_not_make_the_cache_is_refused(tmp_path: Path) -> None:
    artifacts.make(tmp_path, PAIR)
    artifacts.edit(tmp_path / "teacher" / "teacher.json", digest="f" * 64)
    with pytest.raises(CacheError, match="not made from the teacher"):
        artifacts.results(tmp_path, PAIR)

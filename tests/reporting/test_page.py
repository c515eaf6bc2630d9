"""The page: what it shows, that nothing in it breaks out or reaches out, and how the files are written."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stillroom.modalities.base import DataAccount
from stillroom.modalities.images.preparation import summary
from stillroom.reporting import figures, table, wording
from stillroom.reporting.markdown import as_markdown
from stillroom.reporting.page import page, write
from stillroom.reporting.reading import read
from stillroom.reporting.records import Entry
from tests.reporting import artifacts

COMMANDS = ["stillroom preset sketch40 > params.yaml", "dvc repro"]
HOSTILE = [
    "<script>alert(1)</script>",
    "\"onload='x' x=\"",
    "a & b </title></svg>",
    "{{ 7 * 7 }}",
    "x" * 300,
    "ünïcödé_☂",
]
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Document(HTMLParser):
    """Every element with its attributes and all text; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"<{tag}> repeats an attribute"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def render(
    folder: Path,
    entries: list[Entry] = artifacts.ENTRIES,
    classes: list[str] = artifacts.CLASSES,
    title: str = "A title",
) -> str:
    runs = read(folder, entries)
    shown = artifacts.pictures(classes)
    return page(table.summarise(runs), runs.students, runs.teacher, shown, title, COMMANDS, runs.manifest)


@pytest.mark.parametrize("families, direction", [(["vit", "pvt"], "higher"), (["swin", "mvit"], "lower")])
def test_the_first_sentences_say_which_way_it_went(
    tmp_path: Path, families: list[str], direction: str
) -> None:
    entries: list[Entry] = [(family, arm, 0) for family in families for arm in ("ce", "kd")]
    artifacts.make(tmp_path, entries)
    if direction == "lower":
        for family in families:
            arms = [tmp_path / "students" / f"{family}-{arm}-0" for arm in ("ce", "kd")]
            for arm, accuracy in zip(arms, (60.5, 58.25), strict=True):
                artifacts.edit(arm / "metrics.json", accuracy=accuracy)
    gain = artifacts.results(tmp_path, entries)["mean_gain"]
    text = re.sub(r"\s+", " ", Document(render(tmp_path, entries)).text)
    assert f"accuracy is {abs(gain):.2f} points {direction} on average" in text


def test_the_page_shows_results_provenance_and_commands(tmp_path: Path) -> None:
    html = render(artifacts.make(tmp_path))
    text = Document(html).text
    results = artifacts.results(tmp_path, artifacts.ENTRIES)
    for line in results["summary"]:
        name, reached = wording.family_name(line["family"]), wording.percent(line["accuracy_kd"])
        for shown in (name, line["arch"], reached):
            assert shown in text
        assert figures.minus(wording.signed(line["gain"])) in text
    assert figures.minus(wording.signed(results["mean_gain"])) in text
    for shown in (
        artifacts.CACHE,
        artifacts.digest("teacher"),
        "2.15.0",
        "head.fc.bias",
        *COMMANDS,
        "8 views of 4000 samples",
    ):
        assert shown in text
    assert artifacts.digest("vit", 0) in html and artifacts.digest("pixels", 0) in html
    assert "writing on a board" in text and "applauding_001" in text


def test_a_loss_is_shown_as_a_loss(tmp_path: Path) -> None:
    entries: list[Entry] = [("swin", "ce", 0), ("swin", "kd", 0)]
    text = Document(render(artifacts.make(tmp_path, entries), entries)).text
    loss = artifacts.results(tmp_path, entries)["mean_gain"]
    assert loss < 0 and f"−{-loss:.2f} points" in text


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    document = Document(render(artifacts.make(tmp_path)))
    assert not {tag for tag, _ in document.elements} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "use",
    }
    for tag, attributes in document.elements:
        assert not [
            name
            for name in attributes
            if name.startswith("on") or name in ("href", "xlink:href", "srcset", "action")
        ]
        if "src" in attributes:
            assert tag == "img" and (attributes["src"] or "").startswith("data:image/png;base64,")
    html = render(tmp_path)
    assert "://" not in html and "url(" not in html and "@import" not in html
    policy = [
        a["content"]
        for tag, a in document.elements
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


@pytest.mark.parametrize("title", HOSTILE)
def test_hostile_names_and_titles_stay_text(tmp_path: Path, title: str) -> None:
    artifacts.make(tmp_path, classes=HOSTILE)
    artifacts.edit(tmp_path / "teacher" / "teacher.json", arch=HOSTILE[0], config={HOSTILE[2]: HOSTILE})
    artifacts.edit(tmp_path / "cache" / "manifest.json", environment={HOSTILE[0]: HOSTILE[1]})
    html = render(tmp_path, classes=HOSTILE, title=title)
    document = Document(html)
    assert "script" not in {tag for tag, _ in document.elements}
    assert not [name for _, attributes in document.elements for name in attributes if name.startswith("on")]
    assert "<script" not in html and title in document.text
    assert "49" not in re.findall(r"<title>([^<]*)</title>", html)


@pytest.mark.parametrize(
    "entries",
    [
        [("vit", "ce", 0), ("vit", "kd", 0)],
        [(family, "ce", 0) for family in artifacts.ARCHS],
        [("vit", "kd", 0)],
        [("vit", "ce", 0), ("vit", "kd", 1)],
        [(family, arm, seed) for family in ("vit", "swin") for arm in ("ce", "kd") for seed in (0, 1, 2)],
        [("vit", "ce", 0), ("vit", "kd", 0), ("pvt", "ce", 0)],
    ],
    ids=["one family", "one arm", "one student", "no common seed", "several seeds", "an arm missing"],
)
@pytest.mark.parametrize("epochs", [0, 1, 5])
def test_every_shape_of_experiment_has_a_page(tmp_path: Path, entries: list[Entry], epochs: int) -> None:
    html = render(artifacts.make(tmp_path, entries, epochs=epochs), entries)
    text = Document(html).text
    paired = artifacts.results(tmp_path, entries)["mean_gain"] is not None
    assert ("no gain to report yet" in text) is not paired
    assert ("Change of average precision" in text) is paired
    assert ('id="training"' in html) is (epochs > 0)
    numbers = [
        value or ""
        for tag, a in Document(html).elements
        for name, value in a.items()
        if name in ("x", "cx", "points")
    ]
    assert numbers and not [value for value in numbers if "nan" in value or "inf" in value]


def test_the_terms_of_a_loss_are_drawn_and_told(tmp_path: Path) -> None:
    entries = [("vit", "ce", 0), ("vit", "kd", 0), ("vit", "kd", 1)]
    document = Document(render(artifacts.make(tmp_path, entries), entries))
    lines = [attributes.get("class") or "" for tag, attributes in document.elements if tag == "polyline"]
    assert lines.count("curve kd") == 2 and lines.count("curve term") == 4 and lines.count("curve ce") == 1
    last = [
        json.loads((tmp_path / f"students/vit-kd-{seed}/student.json").read_text())["history"][-1]["terms"]
        for seed in (0, 1)
    ]
    teacher, labels = (sum(one[name] for one in last) / 2 for name in ("teacher", "labels"))
    assert f"= teacher {teacher:.2f} + labels {labels:.2f}" in document.text


def test_figures_say_in_words_what_they_draw(tmp_path: Path) -> None:
    document = Document(render(artifacts.make(tmp_path)))
    drawn = [
        attributes
        for tag, attributes in document.elements
        if tag == "svg" and attributes.get("class") == "figure"
    ]
    assert (
        len(drawn) == 2 + 1 + 12 + 1
    )  # dumbbells, classes, curves of six families and two arms, the teacher's curve
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawn)
    accuracy = drawn[0]["aria-label"] or ""
    assert "teacher 81.4" in accuracy and "ViT ce" in accuracy


def test_a_dumbbell_stands_at_its_values(tmp_path: Path) -> None:
    results = artifacts.results(artifacts.make(tmp_path), artifacts.ENTRIES)
    drawn = Document(figures.dumbbell(results, "accuracy")).elements
    ce, kd = (
        [
            float(str(a["cx"]).rstrip("%"))
            for tag, a in drawn
            if tag == "circle" and a["class"] == f"dot {arm}"
        ]
        for arm in ("ce", "kd")
    )
    (teacher,) = {
        float(str(a["x1"]).rstrip("%")) for tag, a in drawn if tag == "line" and a["class"] == "teacher"
    }
    for line, ring, disc in zip(results["summary"], ce, kd, strict=True):
        whole = results["teacher"]["accuracy"] - line["accuracy_ce"]
        assert (disc - ring) / (teacher - ring) == pytest.approx(line["gain"] / whole, abs=1e-3)


@pytest.mark.parametrize("accuracy, told", [(99.0, "teacher 99.0 \u2192"), (2.0, "\u2190 teacher 2.0")])
def test_a_far_teacher_does_not_squeeze_the_students(tmp_path: Path, accuracy: float, told: str) -> None:
    artifacts.make(tmp_path)
    artifacts.edit(tmp_path / "teacher" / "metrics.json", accuracy=accuracy)
    results = artifacts.results(tmp_path, artifacts.ENTRIES)
    drawn = Document(figures.dumbbell(results, "accuracy"))
    at = [float(str(a["cx"]).rstrip("%")) for tag, a in drawn.elements if tag == "circle"]
    assert max(at) - min(at) > 40  # percent of the figure's width; the plot has 64
    assert told in drawn.text
    assert not [a for tag, a in drawn.elements if tag == "line" and a["class"] == "teacher"]


def test_bars_of_losses_go_left_and_of_many_classes_both_ends_are_shown() -> None:
    gains = [(f"class_{index}", 50.0 - index) for index in range(101)]
    drawn = Document(figures.class_change(gains))
    bars = [a for tag, a in drawn.elements if tag == "rect"]
    assert len(bars) == 40 and "61 more classes between" in drawn.text
    assert [a["class"] for a in bars] == ["bar"] * 20 + ["bar loss"] * 20
    last = bars[-1]
    assert float(str(last["x"]).rstrip("%")) + float(str(last["width"]).rstrip("%")) == pytest.approx(
        50, abs=0.02
    )


def crossfit(folder: Path, classes: list[str] = artifacts.CLASSES) -> Path:
    """Artifacts of a cross-fitted teacher, which has memorised every second class."""
    artifacts.make(folder, classes=classes)
    unseen = {name: 50.0 + index % 7 for index, name in enumerate(classes)}
    seen = {name: 100.0 if index % 2 else unseen[name] for index, name in enumerate(classes)}
    known = [
        {
            "accuracy": sum(one.values()) / len(one),
            "calibration_error": 4.0,
            "confidence": confidence,
            "entropy": 1 - confidence,
            "per_class": one,
        }
        for one, confidence in ((seen, 0.9375), (unseen, 0.5625))
    ]
    folds = {"count": 5, "in_fold": known[0], "out_of_fold": known[1]}
    artifacts.edit(folder / "teacher" / "teacher.json", folds=folds)
    return folder


def test_a_cross_fitted_teacher_is_shown_with_what_it_has_memorised(tmp_path: Path) -> None:
    document = Document(render(crossfit(tmp_path)))
    text = re.sub(r"\s+", " ", document.text)
    assert "5 models, each fitted without one fold" in text
    for shown in (
        "56.25 %",
        "93.75 %",
        "0.44 nats",
        "higher on samples that they were fitted to in 20 of 40",
    ):
        assert shown in text
    marks = {
        kind: [
            float(str(a["cx"]).rstrip("%"))
            for tag, a in document.elements
            if tag == "circle" and a["class"] == f"dot {kind}" and a["r"] == "5"
        ]
        for kind in ("ce", "kd")
    }
    # the largest difference first: 50 points where a class of 50.0 is memorised; none at the end
    gaps = [disc - ring for ring, disc in zip(marks["ce"], marks["kd"], strict=True)]
    assert len(gaps) == 40 and gaps == sorted(gaps, reverse=True) and gaps[-1] == 0
    assert max(marks["kd"]) - marks["ce"][0] == pytest.approx(gaps[0]) and gaps[0] > 20


def test_without_folds_nothing_is_said_of_them(tmp_path: Path) -> None:
    assert "remembers" not in Document(render(artifacts.make(tmp_path))).text


def test_of_many_classes_both_ends_of_what_is_memorised_are_shown() -> None:
    pairs = [(f"class_{index}", 40.0, 100.0 - index / 2) for index in range(101)]
    drawn = Document(figures.class_memory(pairs))
    assert "61 more classes between" in drawn.text
    assert len([a for tag, a in drawn.elements if tag == "circle"]) == 80


def test_equal_scores_and_no_change_can_be_drawn(tmp_path: Path) -> None:
    entries: list[Entry] = [("vit", "ce", 0), ("vit", "kd", 0)]
    artifacts.make(tmp_path, entries)
    for name in ("students/vit-ce-0/student", "students/vit-kd-0/student", "teacher/teacher"):
        file = tmp_path / f"{name}.json"
        artifacts.edit(file, per_class_ap={"run": 0.0})
        artifacts.edit(file.with_name("metrics.json"), accuracy=0.0, mAP=0.0)
    assert "0.00 points" in Document(render(tmp_path, entries)).text


def test_the_same_artifacts_give_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        folder = artifacts.make(tmp_path / name)
        results = artifacts.results(folder, artifacts.ENTRIES)
        write(folder / "report", results, render(folder), as_markdown(results))
        written.append({file.name: file.read_bytes() for file in (folder / "report").iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"results.json", "results.md", "index.html"}
    assert json.loads(written[0]["results.json"]) == results


def test_a_write_that_fails_leaves_the_old_report_whole(tmp_path: Path) -> None:
    write(tmp_path, {"old": 1}, "old", "old")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path, {"new": 2}, "new", "lone surrogate \ud800")
    with pytest.raises(ValueError, match="JSON compliant"):
        write(tmp_path, {"new": float("nan")}, "new", "new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_reporting_needs_no_torch() -> None:
    code = "import sys, stillroom.reporting.page; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )


def test_the_images_are_accounted_for_and_their_names_break_nothing(tmp_path: Path) -> None:
    artifacts.make(tmp_path)
    runs = read(tmp_path, artifacts.ENTRIES)
    counts = {"images": 12, "classes": dict.fromkeys(HOSTILE, 2)}
    data = {
        "splits": {"train": counts, "test": counts},
        "sizes": {"smallest": [3, 4], "median": [5, 6], "largest": [700, 800]},
        "formats": {"JPEG": 20, "PNG": 4},
        "passed_over": {"in no class folder": {"count": 3, "names": [HOSTILE[0], HOSTILE[2], HOSTILE[5]]}},
        "skipped": {"count": 0, "names": []},
        "duplicates": {"splits": {"pairs": 1, "groups": [[HOSTILE[0], HOSTILE[1]]]}},
        "leaks": 1,
    }
    results = table.summarise(runs)
    groups = data["duplicates"]["splits"]["groups"]
    account = DataAccount("images", summary.lines(data), groups, data["leaks"])
    html = page(results, runs.students, runs.teacher, [], "A title", COMMANDS, runs.manifest, account)
    document = Document(html)
    assert "script" not in {name for name, _ in document.elements}
    for shown in (
        "12 images of 6 classes, 2 each",
        "3 x 4 to 700 x 800 pixels, median 5 x 6",
        "JPEG 20, PNG 4",
        f"3 entries in no class folder ({HOSTILE[0]}, {HOSTILE[2]}, {HOSTILE[5]})",
        f"{HOSTILE[0]} = {HOSTILE[1]}",
        "1 of the test images is among those that were trained on",
    ):
        assert shown in document.text

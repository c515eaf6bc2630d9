"""Data as people have it, through the real commands: tables, Hugging Face's files, classes of one split."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from stillroom.modalities import load_samples
from tests.conftest import run_in

KINDS = {"cat": ("train", "test"), "dog": ("train", "test"), "eel": ("train",), "fox": ("test",)}
ALLOWED = "allow_missing_classes: true"
TABLE = f"data={{name: table, table: labels.csv, path: photos, {ALLOWED}}}"
EMBEDDED = f"data={{name: huggingface, path: saved, {ALLOWED}}}"


@pytest.fixture
def tables(empty: Path) -> Path:
    """Images that a table lists, and the same in Parquet; two classes are in one split only."""
    random, rows = np.random.default_rng(0), []
    (empty / "photos").mkdir()
    for shade, (kind, splits) in enumerate(KINDS.items()):
        for split in splits:
            for number in range(4 if split == "train" else 2):
                pixels = random.integers(0, 60, (36, 40, 3), dtype=np.uint8)
                pixels[..., shade % 3] += 150
                name = f"{split}_{kind}_{number}.png"
                Image.fromarray(pixels).save(empty / "photos" / name)
                rows.append((name, kind, split))
    with (empty / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file_name", "label", "split"), *rows])
    (empty / "saved").mkdir()
    for split in ("train", "test"):
        some = [row for row in rows if row[2] == split]
        content = [{"bytes": (empty / "photos" / name).read_bytes(), "path": name} for name, _, _ in some]
        features = {
            "image": {"_type": "Image"},
            "label": {"_type": "ClassLabel", "names": list(KINDS)},
        }
        made = pa.table({"image": content, "label": [list(KINDS).index(kind) for _, kind, _ in some]})
        about = {"huggingface": json.dumps({"info": {"features": features}})}
        parquet.write_table(made.replace_schema_metadata(about), empty / f"saved/{split}-0.parquet")
    return empty


def prepared(folder: Path, *given: str, code: int = 0) -> str:
    done = run_in(
        folder, "stillroom", "prepare", *(part for one in given for part in ("--set", one)), code=code
    )
    return done.stderr if code else done.stdout


def test_classes_of_one_split_are_said_and_harm_no_score(tables: Path) -> None:
    said = prepared(tables, "data={name: table, table: labels.csv, path: photos}", code=1)
    assert "eel: no image in test" in said and "data.allow_missing_classes=true" in said
    assert not (tables / "artifacts/data").exists()
    said = prepared(tables, TABLE)
    assert "1 class (fox): no image in train" in said
    assert "1 class (eel): no image in test; mAP is of the other 3" in said
    told = json.loads((tables / "artifacts/data/report.json").read_text())
    assert told["absent"] == {"train": ["fox"], "test": ["eel"]}
    student = ("student", "--family", "vit", "--arm")
    short = ("--set", "student.families=[vit]", "--set", "student.train={epochs: 1, warmup_epochs: 0}")
    for command in (("teacher",), ("cache",), (*student, "ce"), (*student, "kd"), ("report",)):
        run_in(tables, "stillroom", *command, *short, "--set", TABLE)
    made = [tables / "artifacts" / name for name in ("data", "teacher", "students", "report")]
    texts = [
        file.read_text() for part in made for kind in ("json", "csv") for file in part.rglob(f"*.{kind}")
    ]
    assert len(texts) > 8 and not [text for text in texts if "NaN" in text or ",nan" in text]
    page = (tables / "artifacts/report/index.html").read_text()
    assert "no image in test; mAP is of the other 3" in page and "no image in train" in page
    for name in ("ce", "kd"):
        scores = json.loads((tables / f"artifacts/students/vit-{name}-0/metrics.json").read_text())
        assert 0 <= scores["mAP"] <= 100


def test_looking_sees_a_changed_table_and_nothing_beside_it(tables: Path) -> None:
    def looked() -> str:
        run_in(tables, "stillroom", "prepare", "--look", "--set", TABLE)
        digest: str = json.loads((tables / "artifacts/source.json").read_text())["digest"]
        return digest

    first = looked()
    Image.new("RGB", (9, 9)).save(tables / "photos/stray.png")
    assert looked() == first
    text = (tables / "labels.csv").read_text()
    (tables / "labels.csv").write_text(text.replace("train_cat_0.png,cat", "train_cat_0.png,dog"))
    second = looked()
    (tables / "labels.csv").write_text(text)
    Image.new("RGB", (9, 9)).save(tables / "photos/train_cat_0.png")
    assert len({first, second, looked()}) == 3


def test_images_of_parquet_go_through_the_stages(tables: Path) -> None:
    prepared(tables, TABLE)
    files = load_samples(tables / "artifacts/data", tables / "photos")
    prepared(tables, EMBEDDED)
    samples = load_samples(tables / "artifacts/data")
    assert sorted(samples.rows.texts("sha256")) == sorted(files.rows.texts("sha256"))
    assert samples.classes == files.classes and samples.splits() == files.splits()
    for row in samples.rows:
        assert Image.open(io.BytesIO(samples.content(row))).size == (40, 36)
    assert (tables / "artifacts/data/images/train-000000.tar").is_file()
    run_in(tables, "stillroom", "teacher", "--set", EMBEDDED)
    run_in(tables, "stillroom", "cache", "--set", EMBEDDED)
    # another data set takes the place: the shards were this stage's own
    prepared(tables, TABLE)
    assert not (tables / "artifacts/data/images").exists()


def test_a_table_without_a_path_lies_beside_its_images(tables: Path) -> None:
    (tables / "labels.csv").rename(tables / "photos/labels.csv")
    given = f"data={{name: table, table: photos/labels.csv, {ALLOWED}}}"
    prepared(tables, given)
    run_in(tables, "stillroom", "teacher", "--set", given)
    inside = "data={name: table, table: artifacts/data/labels.csv}"
    said = prepared(tables, inside, code=2)
    assert "data.table = 'artifacts/data/labels.csv' lies in artifacts/data" in said


@pytest.mark.parametrize(
    ("given", "words", "code"),
    [
        ("data={name: table}", "needs data.table", 2),
        ("data={name: table, table: gone.csv}", "which data.table names, is not there", 1),
        ("data={name: torchvision, path: photos}", "needs data.set", 2),
        ("data={name: torchvision, path: photos, set: CIFAR1}", "did you mean CIFAR10?", 2),
        ("data={name: torchvision, path: photos, set: DTD}", "nothing is downloaded", 1),
        ("data={name: huggingface, path: photos}", "has no .parquet and no .arrow file", 1),
        ("data={name: huggingface, path: saved, split_file: a.csv}", "takes no such key", 2),
        ("data={name: table, table: labels.csv, path: photos, columns: {lable: a}}", "no such column", 2),
    ],
)
def test_what_cannot_be_is_one_message(tables: Path, given: str, words: str, code: int) -> None:
    assert words in prepared(tables, given, code=code)
    assert not (tables / "artifacts/data").exists()

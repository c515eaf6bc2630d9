"""`stillroom prepare` on images of one's own: what it says, and how changed images reach what is made."""

import json
import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from ruamel.yaml import YAML

from tests import tables
from tests.conftest import TINY, clean, ran, run_in, until
from tests.stages.test_access import stillroom

FOLDER = ["--set", "data.name=folder", "--set", "data.path=photos"]


def photo(file: Path, shade: int, size: tuple[int, int] = (40, 30)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 255 - shade, 90)).save(file)


@pytest.fixture
def photos(empty: Path) -> Path:
    """A folder of 2 x 3 x 3 images beside a params.yaml."""
    for number, name in enumerate(
        f"{split}/{kind}" for split in ("train", "test") for kind in ("cat", "dog", "eel")
    ):
        for image in range(3):
            photo(empty / "photos" / name / f"{image}.png", 10 * number + 3 * image, (40 + image, 30))
    return empty / "photos"


def table(folder: Path) -> dict:
    return tables.read(folder / "artifacts/data")


def report(folder: Path) -> dict:
    return json.loads((folder / "artifacts/data/report.json").read_text())


def test_it_ends_with_a_short_table_and_keeps_it(photos: Path) -> None:
    project = photos.parent
    photo(photos / "train/cat/9.jpg", 200, (640, 480))
    (photos / "train/dog/leak.png").write_bytes((photos / "test/dog/0.png").read_bytes())
    (photos / "train/dog/note.txt").write_text("no image")
    (photos / "train/loose.png").write_bytes((photos / "test/dog/0.png").read_bytes())
    said = run_in(project, "stillroom", "prepare", *FOLDER).stdout
    told = report(project)
    assert told["splits"]["train"] == {"images": 11, "classes": {"cat": 4, "dog": 4, "eel": 3}}
    assert told["splits"]["test"] == {"images": 9, "classes": {"cat": 3, "dog": 3, "eel": 3}}
    assert told["formats"] == {"PNG": 19, "JPEG": 1}
    assert told["sizes"] == {"smallest": [40, 30], "median": [41, 30], "largest": [640, 480]}
    assert told["passed_over"] == {
        "in no class folder": {"count": 1, "names": ["train/loose.png"]},
        "of no format that is read": {"count": 1, "names": ["train/dog/note.txt"]},
    }
    assert told["leaks"] == 1
    assert told["duplicates"]["splits"] == {"pairs": 1, "groups": [["test/dog/0", "train/dog/leak"]]}
    for line in (
        "11 images of 3 classes, 3 (eel) to 4 (dog) a class",
        "9 images of 3 classes, 3 each",
        "PNG 19, JPEG 1",
        "40 x 30 to 640 x 480 pixels, median 41 x 30",
        "1 entry in no class folder (train/loose.png)",
        "1 pair in two splits, so that a model is measured on what it was trained on (test/dog/0 = ",
        "folder: 20 images of 3 classes (11 train, 9 test)",
    ):
        assert line in said, said


def test_duplicates_are_dropped_or_refused_if_one_asks(photos: Path) -> None:
    project = photos.parent
    (photos / "train/dog/leak.png").write_bytes((photos / "test/dog/0.png").read_bytes())
    run_in(project, "stillroom", "prepare", *FOLDER, "--set", "data.duplicates=drop")
    assert len(table(project)["samples"]) == 18
    assert report(project)["dropped"] == {"count": 1, "names": ["train/dog/leak"]}
    assert report(project)["formats"] == {"PNG": 18}
    before = table(project)
    done = run_in(project, "stillroom", "prepare", *FOLDER, "--set", "data.duplicates=refuse", code=1)
    assert "test/dog/0 = train/dog/leak" in done.stderr and table(project) == before


def test_a_bad_image_in_a_folder_that_cannot_be_written_to(photos: Path) -> None:
    project = photos.parent
    (photos / "train/dog/1.png").write_bytes((photos / "train/dog/1.png").read_bytes()[:-30])
    said = run_in(project, "stillroom", "prepare", *FOLDER, code=1).stderr
    assert "train/dog/1.png: a damaged image" in said and "data.skip" in said
    (project / "skip.txt").write_text("train/dog/1.png\n")
    run_in(project, "stillroom", "prepare", *FOLDER, "--set", "data.skip=skip.txt")
    assert len(table(project)["samples"]) == 17
    assert report(project)["skipped"] == {"count": 1, "names": ["train/dog/1.png"]}


def test_looking_sees_each_change_and_nothing_else(photos: Path) -> None:
    project = photos.parent
    digests = []

    def looked() -> str:
        run_in(project, "stillroom", "prepare", "--look", *FOLDER)
        return json.loads((project / "artifacts/source.json").read_text())["digest"]

    first = looked()
    assert not (project / "artifacts/data").exists()
    photo(photos / "train/cat/7.png", 5)
    digests.append(looked())
    (photos / "train/cat/7.png").rename(photos / "train/cat/8.png")
    digests.append(looked())
    photo(photos / "train/cat/8.png", 6)
    digests.append(looked())
    (photos / "train/cat/8.png").unlink()
    assert len({first, *digests}) == 4
    for file in photos.rglob("*.png"):  # a copy with other times is no change
        os.utime(file, (1, 1))
    (photos / ".hidden").write_text("not looked at")
    assert looked() == first
    (project / "artifacts/.staging/source.parquet").write_bytes(b"PAR1 damaged PAR1")
    assert looked() == first
    gone = [*FOLDER[:-1], "data.path=gone"]
    said = run_in(project, "stillroom", "prepare", "--look", *gone, code=1)
    assert "gone is not a folder" in said.stderr


def test_what_is_known_is_not_read_again(photos: Path) -> None:
    """What the memory says of a file that has not changed is believed: other words there tell."""
    project = photos.parent
    until(lambda: time.time() - max(file.stat().st_ctime for file in photos.rglob("*.png")) > 2.1)
    run_in(project, "stillroom", "prepare", "--look", *FOLDER)
    source, memory = project / "artifacts/source.json", project / "artifacts/.staging/source.parquet"
    before, known = source.read_bytes(), parquet.read_table(memory)
    assert known.num_rows == 18
    name = str(photos / "train/cat/1.png")
    digests = [bytes(32) if row["path"] == name.encode() else row["sha256"] for row in known.to_pylist()]
    place = known.schema.get_field_index("sha256")
    changed = known.set_column(place, known.schema.field(place), pa.array(digests, pa.binary(32)))
    parquet.write_table(changed, memory, write_page_checksum=True)
    run_in(project, "stillroom", "prepare", "--look", *FOLDER)
    assert source.read_bytes() != before
    os.utime(name, (1, 1))  # looked at again: the digest is that of the bytes
    run_in(project, "stillroom", "prepare", "--look", *FOLDER)
    assert source.read_bytes() == before


def test_a_replaced_image_of_equal_size_and_time_is_seen(photos: Path) -> None:
    """As an archive with fixed times unpacks them."""
    project, file = photos.parent, photos / "train/cat/1.png"
    for one in photos.rglob("*.png"):
        os.utime(one, (1, 1))
    run_in(project, "stillroom", "prepare", "--look", *FOLDER)
    before = (project / "artifacts/source.json").read_bytes()
    content = file.read_bytes()
    with file.open("r+b") as stream:
        stream.write(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, (1, 1))
    run_in(project, "stillroom", "prepare", "--look", *FOLDER)
    assert (project / "artifacts/source.json").read_bytes() != before


def test_looking_stumbles_over_nothing_that_prepare_takes(photos: Path) -> None:
    project = photos.parent
    (photos / "secret.txt").write_text("not yours")
    (photos / "secret.txt").chmod(0)
    (photos / "locked").mkdir(mode=0)
    (photos / "nowhere").symlink_to("gone")
    os.mkfifo(photos / "pipe")
    for command in (("prepare", "--look"), ("prepare",)):
        done = stillroom(project, *command, *FOLDER)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["artifacts", "artifacts/source.json"])
def test_a_place_that_is_taken_is_said(photos: Path, place: str) -> None:
    project = photos.parent
    if place == "artifacts":
        (project / place).write_text("a file")
    else:
        (project / place).mkdir(parents=True)
    said = run_in(project, "stillroom", "prepare", "--look", *FOLDER, code=1).stderr
    assert "artifacts/source.json cannot be written" in said and "move away" in said


@pytest.fixture
def taught(project: Path) -> Path:
    """A finished project whose images are a copy of the drawn ones, in a folder of their own."""
    shutil.copytree(project / "artifacts/data/sketch40", project / "drawn")
    tree = YAML(typ="safe").load(TINY)
    tree["data"] = {"name": "stanford40", "path": "drawn", "official": False}
    with (project / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(tree, file)
    run_in(project, "dvc", "repro", "prepare")
    return project


def test_changed_images_reach_what_is_made_from_them(taught: Path) -> None:
    assert ran(run_in(taught, "dvc", "repro", "prepare").stdout) == []
    (taught / "drawn/notes.txt").write_text("a stray file")
    before = (taught / "artifacts/data/samples.parquet").read_bytes()
    assert ran(run_in(taught, "dvc", "repro", "prepare").stdout) == ["prepare"]
    assert (taught / "artifacts/data/samples.parquet").read_bytes() == before
    run_in(taught, "dvc", "commit", "--force")
    assert clean(taught), "an equal table stops there"

    earlier = table(taught)
    image = next((taught / "drawn/JPEGImages").glob("*.jpg"))
    Image.new("RGB", (64, 64), (1, 2, 3)).save(image)
    said = run_in(taught, "dvc", "repro", "cache").stdout
    assert ran(said) == ["prepare", "teacher", "cache"]
    assert table(taught) != earlier


def test_a_table_made_by_hand_is_not_taken_back(taught: Path) -> None:
    image = next((taught / "drawn/JPEGImages").glob("*.jpg"))
    Image.new("RGB", (64, 64), (1, 2, 3)).save(image)
    run_in(taught, "stillroom", "prepare")
    by_hand = (taught / "artifacts/data/samples.parquet").read_bytes()
    run_in(taught, "dvc", "repro", "prepare")
    assert (taught / "artifacts/data/samples.parquet").read_bytes() == by_hand


def test_the_account_is_no_result(taught: Path) -> None:
    """What was passed over is told, but DVC does not track it: it changes nothing that is made."""
    before = (taught / "artifacts/data/report.json").read_bytes()
    (taught / "artifacts/data/report.json").write_bytes(before + b" ")
    assert clean(taught) or "prepare" not in run_in(taught, "dvc", "status", "prepare").stdout


def test_a_report_of_other_images_is_refused(taught: Path) -> None:
    """Pictures, scores and tables must be of the same images: a table made since is not what was used."""
    images = taught / "drawn/JPEGImages"
    splits = {
        split: (taught / f"drawn/ImageSplits/{split}.txt").read_text().split()[0]
        for split in ("train", "test")
    }
    run_in(taught, "stillroom", "report")
    before = (taught / "artifacts/report/index.html").read_bytes()
    for split, words in (
        ("train", ["samples.images", "dvc repro"]),
        ("test", ["another test split: test.images", "stillroom student --family vit --arm kd"]),
    ):
        kept = (images / splits[split]).read_bytes()
        Image.new("RGB", (64, 64), (1, 2, 3)).save(images / splits[split])
        run_in(taught, "stillroom", "prepare")
        said = run_in(taught, "stillroom", "report", code=1).stderr
        assert all(word in said for word in words), said
        assert (taught / "artifacts/report/index.html").read_bytes() == before
        (images / splits[split]).write_bytes(kept)


def test_a_name_that_is_no_text_is_told_all_the_same(photos: Path, empty: Path) -> None:
    """A stray file, which is passed over."""
    (photos / os.fsdecode(b"train/note\xff.txt")).parent.mkdir(exist_ok=True)
    (photos / os.fsdecode(b"note\xff.txt")).write_text("")
    run_in(empty, "stillroom", "prepare", "--set", "data.name=folder", "--set", f"data.path={photos}")
    assert "note" in json.dumps(report(empty))

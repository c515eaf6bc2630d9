"""Tar shards: what is read of them, what is refused, and that a pack is the folder that it was made from."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from stillroom.errors import DataError, ParamsError
from stillroom.modalities.images import settings
from stillroom.modalities.images.datasets import folder as folders
from stillroom.modalities.images.datasets import shards
from stillroom.modalities.images.pixels import Pixels
from stillroom.modalities.images.preparation.pack import pack
from stillroom.modalities.images.preparation.scan import Account
from stillroom.modalities.tar_names import member_key
from stillroom.progress import Progress
from stillroom.samples import Samples

Members = list[tuple[str, bytes]]


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20 + shade % 7, 16), (shade % 256, 90, 255 - shade % 256)).save(stream, "PNG")
    return stream.getvalue()


def tar(file: Path, members: Members) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def some(start: int, classes: int = 2, count: int = 2) -> Members:
    """Two samples of each class, with numbers for classes."""
    found: Members = []
    for number in range(start, start + classes * count):
        found += [(f"{number:04d}.png", png(number)), (f"{number:04d}.cls", str(number % classes).encode())]
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tar(tmp_path / "shards/train-000000.tar", some(0))
    tar(tmp_path / "shards/train-000001.tar", some(10))
    tar(tmp_path / "shards/test-000000.tar", some(20))
    return tmp_path / "shards"


def read(root: Path, account: Account | None = None, **keys: object) -> Samples:
    data = settings.Data(name="shards", path=str(root), **keys)
    return shards.load(data, root, Progress(), account or Account())


def fault(root: Path, **keys: object) -> str:
    with pytest.raises((DataError, ParamsError)) as caught:
        read(root, **keys)
    return str(caught.value)


def test_samples_are_read_by_their_place(root: Path) -> None:
    samples = read(root)
    assert samples.classes == ("0", "1") and samples.splits() == {"train": 8, "test": 4}
    row = samples.rows[samples.row_of("0010")]
    assert row.path == "train-000001.tar" and row.label == 0 and row.span is not None
    with tarfile.open(root / row.path) as archive:
        member = archive.getmember("0010.png")
        assert row.span == (member.offset_data, member.size)
    for row in samples.rows:
        assert samples.content(row) == png(int(row.key))
        assert Pixels(samples)[row].shape == (16, row.size[0], 3)


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("train/0.tar", "test/0.tar"), {}),
        (
            ("imagenet-train-0000.tar", "imagenet-validation-0000.tar"),
            {"splits": {"train": "train", "validation": "test"}},
        ),
        (("part_a-00.tar", "part_b-00.tar"), {"splits": {"part_a": "train", "part_b": "test"}}),
    ],
)
def test_the_split_is_in_the_name_or_the_folder(tmp_path: Path, names: tuple[str, str], keys: dict) -> None:
    for number, name in enumerate(names):
        tar(tmp_path / name, some(10 * number))
    assert read(tmp_path, **keys).splits() == {"train": 4, "test": 4}


def test_json_says_class_box_and_group(root: Path) -> None:
    about = {"label": 1, "class_name": "dog", "box": [1, 2, 9, 8], "group": "ada", "caption": "a dog"}
    cat = {"label": 0, "class_name": "cat"}
    for split in ("train-000000", "train-000001", "test-000000"):
        tar(
            root / f"{split}.tar",
            [
                (f"{split}/b.json", json.dumps(about).encode()),
                (f"{split}/b.JPG", png(3)),
                (f"{split}/b.txt", b"a caption"),
                (f"{split}/c.cls", b"0\n"),
                (f"{split}/c.json", json.dumps(cat).encode()),
                (f"{split}/c.png", png(4)),
            ],
        )
    samples = read(root)
    row = samples.rows[samples.row_of("test-000000/b")]
    assert samples.classes == ("cat", "dog") and row.label == 1
    assert row.box == (1, 2, 9, 8) and row.group == "ada"


def test_a_file_of_classes_gives_names_and_their_order(root: Path) -> None:
    (root / "dataset.json").write_text('{"classes": ["zebra", "ant", "never seen"]}')
    assert "never seen: no image in train" in fault(root)
    (root / "dataset.json").write_text('{"classes": ["zebra", "ant"]}')
    samples = read(root)
    assert samples.classes == ("zebra", "ant") and samples.rows[samples.row_of("0010")].label == 0
    (root / "dataset.json").write_text('{"classes": ["zebra"]}')
    assert "dataset.json does not have:\n    1" in fault(root)
    (root / "dataset.json").write_text('{"classes": "zebra"}')
    assert "does not name the classes" in fault(root)


def test_names_are_classes_in_their_order_in_one_form(root: Path) -> None:
    for split, names in (("train-000000", ("caf\u00e9", "ant")), ("test-000000", ("cafe\u0301", "ant"))):
        members: Members = []
        for name in names:
            members += [
                (f"{split}{name[:2]}.png", png(len(members))),
                (f"{split}{name[:2]}.cls", name.encode()),
            ]
        tar(root / f"{split}.tar", members)
    (root / "train-000001.tar").unlink()
    assert read(root).classes == ("ant", "caf\u00e9")


def test_long_names_and_those_with_a_dot_in_front_of_them(root: Path) -> None:
    long = "x" * 150 + "/" + "y" * 150
    with tarfile.open(root / "train-000001.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in ((f"./{long}.png", png(1)), (f"./{long}.cls", b"1")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert long in list(read(root).keys())


def test_what_is_no_sample_is_passed_over(root: Path) -> None:
    file = root / "train-000001.tar"
    with tarfile.open(file, "w") as archive:
        for name, kind in (
            ("folder", tarfile.DIRTYPE),
            ("link.png", tarfile.SYMTYPE),
            ("device", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("._hidden.png", "__meta__/x.json", "readme.txt"):
            archive.addfile(tarfile.TarInfo(name))
    (root / "notes.txt").write_text("")
    account = Account()
    assert read(root, account).splits() == {"train": 4, "test": 4}
    assert account.passed_over == {
        "no shard": ["notes.txt"],
        "no plain file": ["train-000001.tar/device", "train-000001.tar/link.png"],
        "hidden, or about the shard itself": [
            "train-000001.tar/._hidden.png",
            "train-000001.tar/__meta__/x.json",
        ],
        "of no format that is read": ["train-000001.tar/readme.txt"],
    }


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "a/../../b.png"])
def test_a_name_that_leaves_its_folder_is_refused(root: Path, name: str) -> None:
    tar(root / "train-000001.tar", [(name, png(1)), ("b.cls", b"1")])
    said = fault(root)
    assert "train-000001.tar" in said and repr(name) in said and "leaves its folder" in said


def test_samples_that_are_not_whole_are_all_named(root: Path) -> None:
    tar(
        root / "train-000001.tar",
        [
            ("a.png", png(1)),
            ("b.cls", b"1"),
            ("c.png", png(2)),
            ("c.cls", b"\xff\xfe\x00"),
            ("d.png", png(3)),
            ("d.jpg", png(4)),
            ("d.cls", b"1"),
            ("e.v2.png", png(5)),
            ("e.v2.cls", b"1"),
            ("f.json", b"[1"),
            ("f.png", png(6)),
            ("g.png", png(7)),
            ("g.json", b'{"label": 1, "box": [3, 3, 1, 1]}'),
            ("h.png", png(8)),
            ("h.cls", b"1"),
            ("h.json", b'{"label": 0}'),
        ],
    )
    said = fault(root)
    for words in (
        "train-000001.tar: a: no class",
        "train-000001.tar: b: no image",
        "train-000001.tar/c.cls: no text in UTF-8",
        "train-000001.tar: d: several images, d.png and d.jpg",
        "train-000001.tar: e.v2.png: a key ends at the first dot, here e",
        "train-000001.tar/f.json: no JSON object",
        "train-000001.tar: g: the box [3, 3, 1, 1]",
        "train-000001.tar: h: its .cls says class 1, and its .json 0",
    ):
        assert words in said, said


def test_an_oversized_label_is_refused_unread(root: Path) -> None:
    tar(root / "train-000001.tar", [("a.cls", b"1" * (shards.MOST_LABEL + 1)), ("a.png", png(1))])
    assert "a.cls has 1,048,577 bytes" in fault(root)


def test_undecodable_images_are_all_named_and_can_be_skipped(root: Path, tmp_path: Path) -> None:
    tar(
        root / "train-000001.tar",
        [("a.png", png(1)[:-40]), ("a.cls", b"1"), ("b.png", b"no"), ("b.cls", b"0")],
    )
    said = fault(root)
    assert "2 images" in said and "train-000001.tar/a.png: a damaged image" in said
    assert "train-000001.tar/b.png: not an image" in said
    (tmp_path / "skip").write_text("# by key, or as messages name it\na\ntrain-000001.tar/b.png\n")
    account = Account()
    assert len(read(root, account, skip=str(tmp_path / "skip"))) == 8 and account.skipped == ["a", "b"]
    (tmp_path / "skip").write_text("a\nb\nnobody\n")
    assert "nobody" in fault(root, skip=str(tmp_path / "skip"))


def test_a_tar_file_that_breaks_off_anywhere_is_refused(root: Path) -> None:
    file = root / "train-000001.tar"
    whole = file.read_bytes()
    with tarfile.open(file) as archive:
        last = archive.getmembers()[-1]
        ends = [member.offset for member in archive.getmembers()]
    for length in (100, 512, 700, 1024, *ends[1:], last.offset_data, last.offset_data + 512):
        file.write_bytes(whole[:length])
        said = fault(root)
        assert "train-000001.tar" in said and ("damaged tar file" in said or "is no tar file" in said), length
    for place in (ends[2], ends[3]):  # a header in the middle
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert "damaged tar file" in fault(root)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "no tar file"), (b"hello" * 500, "no tar file"), (b"\x1f\x8b" + bytes(2000), "packed (gzip)")],
)
def test_what_is_no_tar_file_is_said(root: Path, content: bytes, words: str) -> None:
    (root / "train-000001.tar").write_bytes(content)
    assert words in fault(root)


def test_packed_shards_are_refused_with_what_to_do(root: Path) -> None:
    for name in ("train-000002.tar.gz", "train-000003.tar.zst"):
        (root / name).write_bytes(b"")
    said = fault(root)
    assert "train-000002.tar.gz" in said and "train-000003.tar.zst" in said and "gunzip" in said


def test_headers_that_claim_too_much_take_no_memory(root: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = 2**40
    large = info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)
    name = tarfile.TarInfo("././@LongLink")
    name.size, name.type = 2**40, tarfile.GNUTYPE_LONGNAME
    for content in (large, name.tobuf(tarfile.GNU_FORMAT) + bytes(2048)):
        (root / "train-000001.tar").write_bytes(content)
        assert "train-000001.tar" in fault(root)


def test_a_key_that_is_there_twice_is_named_with_both_shards(root: Path) -> None:
    tar(root / "train-000001.tar", some(0))
    said = fault(root)
    assert (
        "4 keys are used twice" in said
        and "0000: train-000000.tar (train) and train-000001.tar (train)" in said
    )
    tar(root / "train-000001.tar", some(20))
    assert "0020: t" in fault(root)
    tar(root / "train-000001.tar", [("x.png", png(1)), ("y.png", png(2)), ("x.cls", b"1"), ("y.cls", b"1")])
    assert "its members are not beside each other" in fault(root)


def test_no_shard_no_split_and_no_class_are_said(root: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert "no shard of train and test" in fault(tmp_path / "none")
    assert "is not a folder" in fault(tmp_path / "gone")
    (root / "test-000000.tar").rename(root / "holdout-000000.tar")
    said = fault(root)
    assert "may be one or another" in said and "holdout-000000.tar" in said
    assert len(read(root, splits={"train": "train", "holdout": "test"})) == 12
    (root / "holdout-000000.tar").rename(root / "000000.tar")
    assert "of which nothing says the split" in fault(root)
    tar(root / "000000.tar", []).rename(root / "test-000000.tar")
    assert "0: no image in test" in fault(root)


def test_a_folder_of_shards_is_not_taken_for_a_folder_of_images(root: Path) -> None:
    with pytest.raises(DataError, match=r"data\.name=shards"):
        folders.read(root, progress=Progress())


@pytest.fixture
def photos(tmp_path: Path) -> Samples:
    """A folder with names that are awkward in a tar file."""
    names = ("0", "photo.v2", "a b", "50%2E", "%", ".x"[1:] + "\u00e9" * 90, "n" * 240, "__m__")
    for split in ("train", "val", "test"):
        for kind in ("cat", "d.o.g"):
            for number, name in enumerate(names):
                file = tmp_path / f"photos/{split}/{kind}/{name}.{'jpg' if number % 2 else 'PNG'}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20 + number, 30), (hash(split) % 200, number * 9, len(kind))).save(file)
    return folders.read(tmp_path / "photos", progress=Progress())


def test_a_pack_is_the_folder_it_was_made_from(photos: Samples, tmp_path: Path) -> None:
    count = pack(photos, tmp_path / "packed", 20_000, Progress())
    files = sorted(file.name for file in (tmp_path / "packed").iterdir())
    assert (
        len(files) == count + 1
        and "dataset.json" in files
        and {"train-000001.tar", "val-000000.tar"} <= {*files}
    )
    again = read(tmp_path / "packed")
    assert again.digests() == photos.digests() and again.classes == photos.classes
    assert again.splits() == photos.splits()
    for before, after in zip(photos.rows, again.rows, strict=True):
        assert photos.content(before) == again.content(after)
        assert (before.key, before.size, before.box, before.group) == (
            after.key,
            after.size,
            after.box,
            after.group,
        )
    pack(again, tmp_path / "third", 20_000, Progress())
    pack(photos, tmp_path / "fourth", 20_000, Progress())
    for name in files:
        content = (tmp_path / "packed" / name).read_bytes()
        assert (tmp_path / "fourth" / name).read_bytes() == content
        if name.endswith(".tar"):  # dataset.json names the data set
            assert (tmp_path / "third" / name).read_bytes() == content


def test_others_read_a_pack_by_the_rules_of_the_layout(photos: Samples, tmp_path: Path) -> None:
    """Members of a sample beside each other, in the order of their names; nothing of this machine in them."""
    pack(photos, tmp_path / "packed", 2**30, Progress())
    keys = []
    with tarfile.open(tmp_path / "packed/train-000000.tar") as archive:
        for member in archive:
            base = member.name.rpartition("/")[2]
            keys.append(member.name[: len(member.name) - len(base)] + base.split(".")[0])
            assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
            assert len(base.encode()) < 256
    assert keys[::3] == keys[1::3] == keys[2::3] and len(set(keys)) == len(keys) // 3 == 16
    assert len({member_key(key) for key in [*photos.keys()]}) == len(photos)


def test_a_target_that_is_there_is_left_alone(photos: Samples, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/mine").write_text("mine")
    with pytest.raises(Exception, match="there already, and not empty"):
        pack(photos, tmp_path / "packed", 2**20, Progress())
    (tmp_path / "packed/mine").unlink()
    file = photos.file(photos.rows[-1])
    content = file.read_bytes()
    file.write_bytes(b"another")
    with pytest.raises(DataError, match="was replaced"):
        pack(photos, tmp_path / "packed", 2**20, Progress())
    assert os.listdir(tmp_path / "packed") == [] and not [*tmp_path.glob(".packed*")]
    file.write_bytes(content)
    assert pack(photos, tmp_path / "packed", 2**20, Progress()) == 3


def test_a_shard_that_changed_since_is_named_with_the_key(root: Path) -> None:
    samples = read(root)
    row = samples.rows[samples.row_of("0012")]
    file = root / row.path
    whole = file.read_bytes()
    file.write_bytes(whole[: row.span[0] + 10])
    with pytest.raises(
        DataError, match=r"train-000001.tar: the image of 0012 cannot be read\n.*has .* bytes"
    ):
        Pixels(samples)[row]
    file.unlink()
    tar(file, some(10)[::-1])
    assert samples.content(row) != png(12)
    with pytest.raises(DataError, match=r"train-000001.tar: the image of 0012 "):
        Pixels(samples)[row]
    file.unlink()
    from stillroom import spans

    spans.forget(file)
    with pytest.raises(DataError, match=r"(?s)train-000001.tar: the image of 0012 cannot be read.*data.path"):
        Pixels(samples)[row]


@pytest.mark.parametrize("damage", ["a header of zeros", "two files in one", "text at its end"])
def test_what_lies_behind_the_end_of_a_tar_file_is_no_end(root: Path, damage: str) -> None:
    """`tarfile` takes a block of zeros for the end, and all samples behind it would be lost in silence."""
    file = root / "train-000000.tar"
    content = bytearray(file.read_bytes())
    if damage == "a header of zeros":
        with tarfile.open(file) as archive:
            start = archive.getmember("0001.png").offset
        content[start : start + 512] = bytes(512)
    elif damage == "two files in one":
        content += (root / "train-000001.tar").read_bytes()
    else:
        content += b"x" * 3000
    file.write_bytes(content)
    assert "train-000000.tar is a damaged tar file" in fault(root)


@pytest.mark.parametrize("suffix", ["cls", "json"])
def test_a_sample_says_its_class_once(root: Path, suffix: str) -> None:
    label = {"cls": (b"0", b"1"), "json": (b'{"label": 0}', b'{"label": 1}')}[suffix]
    members = [("0099.png", png(1)), *((f"0099.{suffix}", one) for one in label)]
    tar(root / "train-000002.tar", [*some(30), *members])
    assert f"train-000002.tar/0099.{suffix}: it is there twice" in fault(root)


def test_names_that_are_no_text(root: Path) -> None:
    (root / os.fsdecode(b"train-\xff.tar")).write_bytes((root / "train-000001.tar").read_bytes())
    assert "has shards whose names are no text in UTF-8" in fault(root)

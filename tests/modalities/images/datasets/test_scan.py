"""Every image is opened, decoded and digested, and all that fail are named at once."""

import hashlib
import struct
import zlib

import pytest
from PIL import Image

from stillroom.errors import DataError
from stillroom.modalities.images.preparation.scan import Entry, scan


def entries(*paths, split="train"):
    return [Entry(path.rsplit(".", 1)[0], path, split, 0) for path in paths]


def png_header(width, height):
    """A PNG that claims a size and has next to no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def test_rows_carry_size_digest_and_what_the_entry_said(tmp_path, picture, listener):
    names = ["b.jpg", "a.png", "c.bmp", "d.webp"]
    for number, name in enumerate(names):
        picture(tmp_path / name, (20 + number, 10))
    given = [Entry(name[0], name, "test", number, (1, 2, 3, 4)) for number, name in enumerate(names)]
    rows = scan(given, tmp_path, listener)
    assert [(row.key, row.path, row.split, row.label, row.box) for row in rows] == [
        (entry.key, entry.path, entry.split, entry.label, entry.box) for entry in given
    ]
    assert [row.size for row in rows] == [(20, 10), (21, 10), (22, 10), (23, 10)]
    assert [row.sha256 for row in rows] == [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names
    ]
    assert listener.works == [["scan", 4, "images", 4]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_the_one_after_exif_orientation(tmp_path, picture, listener, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(tmp_path / "a.jpg", (20, 10), exif=exif)
    (row,) = scan(entries("a.jpg"), tmp_path, listener)
    assert row.size == ((20, 10) if orientation < 5 else (10, 20))


def test_every_unreadable_file_is_named_with_its_reason(tmp_path, picture, listener):
    picture(tmp_path / "good.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    for name in ("cut_jpg.jpg", "cut_png.png", "cut_webp.webp"):
        data = picture(tmp_path / name, (200, 200)).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    (tmp_path / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    (tmp_path / "huge.png").write_bytes(png_header(60_000, 60_000))
    (tmp_path / "large.png").write_bytes(png_header(10_000, 10_000))
    bad = [
        "empty.jpg",
        "page.jpg",
        "cut_jpg.jpg",
        "cut_png.png",
        "cut_webp.webp",
        "script.jpg",
        "huge.png",
        "large.png",
    ]
    with pytest.raises(DataError) as caught:
        scan(entries("good.jpg", *bad), tmp_path, listener)
    message = caught.value.what
    assert message.startswith("8 images")
    for name in bad:
        assert f"    {name}: " in message
    assert "good.jpg" not in message
    assert "empty.jpg: empty file" in message
    assert "page.jpg: not an image" in message
    assert "script.jpg: not an image" in message
    assert "large.png: 10000 x 10000 pixels" in message
    assert "replace" in caught.value.fix


def test_every_missing_file_is_named_before_any_is_opened(tmp_path, picture, listener):
    picture(tmp_path / "here.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(DataError) as caught:
        scan(entries("gone_1.jpg", "here.jpg", "gone_2.jpg", "folder.jpg"), tmp_path, listener)
    assert caught.value.what.startswith("3 images")
    assert all(name in caught.value.what for name in ("gone_1.jpg", "gone_2.jpg", "folder.jpg"))
    assert "here.jpg" not in caught.value.what
    assert listener.works == []


def test_two_files_with_one_key_are_refused_by_both_names(tmp_path, picture, listener):
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a: a\.jpg \(train\) and a\.png \(train\)"):
        scan(entries("a.jpg", "a.png"), tmp_path, listener)

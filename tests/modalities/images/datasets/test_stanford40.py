"""The official layout: quirks read, bad input refused by name, the published data set known by content."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from stillroom.errors import DataError
from stillroom.modalities.images.datasets import stanford40
from stillroom.progress import Progress

REAL = Path(__file__).parents[5] / "shared" / "stanford40"


def needs_real(test):
    """Reads 9,532 images, where they are."""
    absent = pytest.mark.skipif(not REAL.is_dir(), reason=f"no copy of Stanford 40 Actions in {REAL}")
    return pytest.mark.slow(absent(test))


def read(root, progress=None, official=False):
    return stanford40.read(root, official=official, progress=progress or Progress())


def refused(root, official=False) -> str:
    with pytest.raises(DataError) as caught:
        read(root, official=official)
    assert caught.value.fix, "an error says what to do"
    return str(caught.value)


def add_line(root, split, line):
    with (root / "ImageSplits" / f"{split}.txt").open("ab") as file:
        file.write(f"{line}\r\n".encode())


class TestReading:
    def test_rows_come_from_splits_and_annotations_with_sorted_classes(self, layout, listener):
        root = layout()
        samples = read(root, listener)
        assert samples.dataset == "stanford40"
        assert samples.root == root
        assert samples.classes == ("applauding", "drinking")  # sorted; the file says drinking first
        assert {(row.key, row.split, row.label) for row in samples.rows} == {
            ("applauding_001", "test", 0),
            ("applauding_002", "test", 0),
            ("applauding_003", "train", 0),
            ("applauding_004", "train", 0),
            ("applauding_005", "train", 0),
            ("drinking_001", "test", 1),
            ("drinking_002", "train", 1),
            ("drinking_003", "train", 1),
        }
        row = samples.rows[0]
        assert (row.path, row.box, row.size) == ("JPEGImages/applauding_001.jpg", (1, 2, 9, 7), (12, 8))
        assert row.sha256 == hashlib.sha256((root / row.path).read_bytes()).hexdigest()
        assert listener.notes == []

    def test_unix_line_ends_and_a_byte_order_mark_read_alike(self, layout, tmp_path):
        windows, unix = layout(), layout(root=tmp_path / "unix", ends="\n")
        train = unix / "ImageSplits" / "train.txt"
        train.write_bytes(b"\xef\xbb\xbf" + train.read_bytes() + b"\n  \n")
        rows = [[(row.key, row.split, row.label) for row in read(root).rows] for root in (windows, unix)]
        assert rows[0] == rows[1]

    def test_class_names_keep_their_underscores_and_spelling(self, layout):
        root = layout(
            {"throwing_frisby": (1, 1), "looking_through_a_microscope": (1, 1), "watching_TV": (1, 1)}
        )
        samples = read(root)
        assert samples.classes == ("looking_through_a_microscope", "throwing_frisby", "watching_TV")
        assert samples.rows[0].key == "looking_through_a_microscope_001"

    def test_a_greyscale_image_is_an_image(self, layout, picture):
        root = layout()
        picture(root / "JPEGImages" / "drinking_001.jpg", mode="L")
        assert len(read(root)) == 8

    def test_pictures_beyond_the_split_are_left_alone(self, layout, picture):
        root = layout()
        picture(root / "JPEGImages" / "drinking_099.jpg")
        assert len(read(root)) == 8

    def test_reading_needs_no_web_client_and_no_torch(self):
        code = (
            "import sys, stillroom.modalities.images.datasets.stanford40; "
            "print({'requests', 'torch'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"


class TestBadSplits:
    def test_an_unknown_class_is_named_with_the_nearest_ones(self, layout):
        root = layout({"throwing_frisby": (1, 1), "drinking": (1, 1)})
        add_line(root, "train", "throwing_frisbee_007.jpg")
        add_line(root, "test", "qqqqq_001.jpg")
        message = refused(root)
        assert (
            "train.txt: throwing_frisbee_007.jpg: unknown class 'throwing_frisbee'; nearest: throwing_frisby"
            in message
        )
        assert "test.txt: qqqqq_001.jpg: unknown class 'qqqqq'; classes: drinking, throwing_frisby" in message

    @pytest.mark.parametrize(
        "line", ["drinking.jpg", "../drinking_001.jpg", "JPEGImages/drinking_001.jpg", "drinking_001.txt"]
    )
    def test_a_line_that_names_no_image_is_refused(self, layout, line):
        root = layout()
        add_line(root, "train", line)
        assert f"train.txt: {line!r} is not of the form" in refused(root)

    def test_an_image_in_both_splits_is_refused(self, layout):
        root = layout()
        add_line(root, "train", "drinking_001.jpg")
        add_line(root, "test", "drinking_002.jpg")
        message = refused(root)
        assert (
            "drinking_001: JPEGImages/drinking_001.jpg (test) and JPEGImages/drinking_001.jpg (train)"
            in message
        )
        assert "drinking_002: " in message

    def test_a_class_without_train_or_test_images_is_refused(self, layout):
        message = refused(layout({"drinking": (1, 1), "fishing": (2, 0), "running": (0, 2)}))
        assert "fishing: no image in test" in message
        assert "running: no image in train" in message

    def test_missing_and_unreadable_images_are_all_named(self, layout):
        root = layout()
        for name in ("drinking_001", "applauding_002"):
            (root / "JPEGImages" / f"{name}.jpg").rename(root / f"{name}.jpg")
        message = refused(root)
        assert "JPEGImages/drinking_001.jpg" in message
        assert "JPEGImages/applauding_002.jpg" in message
        for name in ("drinking_001", "applauding_002"):
            (root / "JPEGImages" / f"{name}.jpg").write_bytes((root / f"{name}.jpg").read_bytes()[:-200])
        message = refused(root)
        assert "JPEGImages/drinking_001.jpg: " in message
        assert "JPEGImages/applauding_002.jpg: " in message

    @pytest.mark.parametrize("name", ["train.txt", "test.txt", "actions.txt"])
    def test_a_list_that_is_missing_or_no_text_is_named(self, layout, name):
        root = layout()
        file = root / "ImageSplits" / name
        file.write_bytes(b"\xff\xfe\x00")
        assert f"{file} cannot be read" in refused(root)
        file.unlink()
        assert f"{file} cannot be read" in refused(root)

    def test_a_class_named_twice_or_none_at_all_is_refused(self, layout):
        root = layout()
        add_line(root, "actions", "drinking\t\t3")
        assert "names classes twice" in refused(root)
        (root / "ImageSplits" / "actions.txt").write_text("action_name\tnumber_of_images\n")
        assert "names no class" in refused(root)


class TestAnnotations:
    def test_without_annotations_there_are_no_boxes(self, layout):
        root = layout()
        (root / "XMLAnnotations" / "drinking_001.xml").unlink()
        boxes = {row.key: row.box for row in read(root).rows}
        assert boxes.pop("drinking_001") is None
        assert set(boxes.values()) == {(1, 2, 9, 7)}
        shutil.rmtree(root / "XMLAnnotations")
        assert {row.box for row in read(root).rows} == {None}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "holds <!DOCTYPE"),
            ('<?xml version="1.0"?><!doctype a><annotation/>', "holds <!DOCTYPE"),
            ("<annotation><!ENTITY b 'c'></annotation>", "holds <!ENTITY"),
            ("<annotation><object>", "no element found"),
            ("", "no element found"),
            ("<annotation/>", "no object with a bndbox"),
            ("<annotation>" + " " * 2**20 + "</annotation>", "more than 1,048,576 bytes"),
            ("BOX 1 2 x 4", "bndbox/xmax is 'x'"),
            ("BOX 1 2 nan 4", "bndbox/xmax is 'nan'"),
            ("BOX 1 2 1e999 4", "bndbox/xmax is '1e999'"),
            ("BOX 5 2 5 4", "the box (5, 2, 5, 4) is empty"),
            ("BOX 5 9 6 4", "the box (5, 9, 6, 4) is empty"),
            ("BOX 20 2 25 4", "has no pixel of the 12 x 8 image"),
        ],
    )
    def test_a_bad_annotation_is_refused_by_name(self, layout, annotate, text, reason):
        root = layout()
        file = root / "XMLAnnotations" / "drinking_001.xml"
        if text.startswith("BOX"):
            annotate(root, "drinking_001", text.split()[1:])
        else:
            file.write_text(text)
        message = refused(root)
        assert "drinking_001.xml: " in message
        assert reason in message

    def test_a_document_type_cannot_hide_in_another_encoding(self, layout):
        root = layout()
        text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
        (root / "XMLAnnotations" / "drinking_001.xml").write_bytes(text.encode("utf-16"))
        assert "drinking_001.xml: 'utf-8' codec can't decode" in refused(root)

    def test_all_bad_annotations_are_named(self, layout):
        root = layout()
        for name in ("drinking_001", "applauding_004"):
            (root / "XMLAnnotations" / f"{name}.xml").write_text("<annotation/>")
        message = refused(root)
        assert "drinking_001.xml" in message
        assert "applauding_004.xml" in message

    def test_a_box_that_reaches_over_the_edge_is_cut_to_the_image(self, layout, annotate):
        root = layout()
        annotate(root, "applauding_001", (-1, 0, 13, 9))
        assert read(root).rows[0].box == (0, 0, 12, 8)

    def test_a_box_made_on_another_size_is_left_out_and_told(self, layout, annotate, listener):
        root = layout()
        annotate(root, "applauding_001", (1, 2, 9, 7), size=(24, 16))
        samples = read(root, listener)
        assert samples.rows[0].box is None
        assert samples.rows[1].box == (1, 2, 9, 7)
        assert listener.notes == [
            "1 of 8 annotations were made on images of another size: these samples have no box"
        ]


class TestFinding:
    def test_a_path_that_holds_nothing_says_what_it_should_hold(self, tmp_path):
        assert f"{tmp_path / 'gone'} is not a folder" in refused(tmp_path / "gone")
        message = refused(tmp_path)
        assert "neither JPEGImages/ nor Stanford40_JPEGImages.zip" in message
        assert "neither ImageSplits/ nor Stanford40_ImageSplits.zip" in message

    def test_zip_files_are_unpacked_beside_themselves(self, layout, zip_parts, tmp_path, listener):
        expected = list(read(layout()).rows)
        zip_parts(tmp_path / "tiny", tmp_path / "zips")
        assert list(read(tmp_path / "zips", listener).rows) == expected
        assert (tmp_path / "zips" / "JPEGImages" / "drinking_001.jpg").is_file()
        listener.works.clear()
        assert list(read(tmp_path / "zips", listener).rows) == expected
        assert [what for what, *_ in listener.works] == ["scan"], "unpacked once"

    def test_a_zip_file_that_leaves_its_folder_is_refused(self, layout, zip_parts, tmp_path):
        zip_parts(layout(), tmp_path / "zips")
        with zipfile.ZipFile(tmp_path / "zips" / "Stanford40_ImageSplits.zip", "a") as archive:
            archive.writestr("../../evil.txt", b"evil")
        assert "leaves the folder" in refused(tmp_path / "zips")
        assert not list(tmp_path.rglob("evil.txt"))


class TestDownload:
    @pytest.fixture
    def served(self, layout, zip_parts, tmp_path, host):
        """The loopback server holds the three zips of a tiny tree; the folder to download to."""
        zip_parts(layout(), tmp_path / "zips")
        host.files = {f"/sets/{file.name}": file.read_bytes() for file in (tmp_path / "zips").iterdir()}
        return tmp_path / "down"

    def test_three_zips_become_the_official_layout(self, served, host, listener):
        stanford40.download(served, f"{host.base}/sets/", listener)
        assert len(read(served)) == 8
        assert sorted(path for path, *_ in host.asked) == sorted(host.files)
        sizes = [
            [total, "bytes", done]
            for what, total, unit, done in listener.works
            if what.startswith("download")
        ]
        assert sizes == [[len(host.files[path]), "bytes", len(host.files[path])] for path, *_ in host.asked]

    def test_what_is_there_is_not_fetched_again(self, served, host):
        stanford40.download(served, f"{host.base}/sets")
        shutil.rmtree(served / "ImageSplits")  # its zip is still there
        (served / "Stanford40_JPEGImages.zip").unlink()  # its folder is still there
        host.asked.clear()
        stanford40.download(served, f"{host.base}/sets")
        assert host.asked == []
        assert len(read(served)) == 8

    def test_a_cut_download_goes_on_and_unpacks(self, served, host, monkeypatch):
        monkeypatch.setattr("stillroom.modalities.images.preparation.download.CHUNK", 10)
        host.cuts = [50, 50, 50]
        stanford40.download(served, f"{host.base}/sets", pause=0)
        assert len(read(served)) == 8
        assert [asked for _, asked, _, _ in host.asked][:4] == [None, "bytes=50-", "bytes=100-", "bytes=150-"]

    def test_a_mirror_is_set_in_the_environment(self, served, host, monkeypatch):
        monkeypatch.setenv("STILLROOM_STANFORD40_URL", f"{host.base}/sets")
        stanford40.download(served)
        assert len(host.asked) == 3

    def test_a_web_page_in_place_of_a_zip_is_refused_and_removed(self, served, host):
        host.files["/sets/Stanford40_JPEGImages.zip"] = b"<html>please log in</html>"
        with pytest.raises(DataError, match="is not a zip file") as caught:
            stanford40.download(served, f"{host.base}/sets")
        assert "please log in" in caught.value.why
        assert not (served / "Stanford40_JPEGImages.zip").exists()
        assert not (served / "JPEGImages").exists()

    def test_a_refusal_says_how_to_place_the_files_by_hand(self, tmp_path, host):
        with pytest.raises(DataError) as caught:
            stanford40.download(tmp_path / "down", host.base)
        assert "data.path" in caught.value.fix
        for part in ("JPEGImages", "ImageSplits", "XMLAnnotations"):
            assert f"Stanford40_{part}.zip" in caught.value.fix


class TestOfficial:
    def test_every_failed_check_says_expected_and_found(self, layout):
        root = layout()
        message = refused(root, official=True)
        assert "expected the 40 published names, found 2; lacking: blowing_bubbles, " in message
        for split, digest in stanford40.SPLIT_SHA256.items():
            found = hashlib.sha256((root / "ImageSplits" / f"{split}.txt").read_bytes()).hexdigest()
            assert f"{split}.txt: expected sha256 {digest}, found {found}" in message
        assert "train.txt: expected 4,000 images, found 5" in message
        assert "test.txt: expected 5,532 images, found 3" in message
        assert "train.txt: expected 100 images of applauding, found 3" in message
        assert "data.official: false" in message

    @pytest.fixture
    def altered(self, tmp_path):
        """altered(folder, *names): the real copy as links, less these files of that folder; its root."""

        def build(folder="", *names):
            for part in stanford40.PARTS:
                if part != folder:
                    (tmp_path / part).symlink_to(REAL / part)
            (tmp_path / folder).mkdir(exist_ok=True)
            for file in (REAL / folder).iterdir() if folder else []:
                if file.name not in names:
                    (tmp_path / folder / file.name).symlink_to(file)
            return tmp_path

        return build

    @needs_real
    def test_a_lacking_image_is_named(self, altered):
        message = refused(altered("JPEGImages", "jumping_011.jpg"), official=True)
        assert (
            "JPEGImages: expected 9,532 images, found 9,531; "
            "lacking: JPEGImages/jumping_011.jpg; in no split: none" in message
        )

    @needs_real
    def test_lacking_annotations_are_all_named(self, altered):
        message = refused(altered("XMLAnnotations", "jumping_011.xml", "cooking_001.xml"), official=True)
        assert message.startswith("2 annotations are not in")
        assert "jumping_011.xml" in message
        assert "cooking_001.xml" in message

    @needs_real
    def test_line_ends_are_no_content(self, altered):
        root = altered("ImageSplits", "train.txt", "test.txt", "actions.txt")
        for name, ends in (("train.txt", b"\n"), ("test.txt", b"\r"), ("actions.txt", b"\n")):
            lines = (REAL / "ImageSplits" / name).read_bytes().replace(b"\r\n", ends)
            (root / "ImageSplits" / name).write_bytes(lines)
        assert len(read(root, official=True)) == 9_532

    @needs_real
    def test_a_split_with_another_line_is_another_split(self, altered):
        root = altered("ImageSplits", "train.txt")
        lines = (REAL / "ImageSplits" / "train.txt").read_bytes().replace(b"\r\n", b"\n")
        (root / "ImageSplits" / "train.txt").write_bytes(lines.replace(b"_001.jpg", b"_001 .jpg", 1))
        message = refused(root, official=True)
        assert "train.txt: expected sha256 e1c27a2e" in message or "_001 .jpg" in message

    @needs_real
    def test_nothing_of_the_published_images_is_skipped(self, altered, tmp_path_factory):
        skip = tmp_path_factory.mktemp("lists") / "skip.txt"
        skip.write_text("JPEGImages/jumping_011.jpg\n")
        with pytest.raises(DataError, match=r"data\.official to false"):
            stanford40.read(REAL, official=True, progress=Progress(), skip=skip)

    @needs_real
    def test_a_train_image_moved_to_test_and_a_renamed_class_are_found(self, altered):
        root = altered("ImageSplits", "train.txt", "test.txt", "actions.txt")
        for name in ("train.txt", "test.txt", "actions.txt"):
            shutil.copyfile(REAL / "ImageSplits" / name, root / "ImageSplits" / name)
        train = root / "ImageSplits" / "train.txt"
        first = next(line for line in train.read_bytes().split(b"\r\n") if line.startswith(b"rowing"))
        train.write_bytes(train.read_bytes().replace(first + b"\r\n", b""))
        add_line(root, "test", first.decode())
        actions = root / "ImageSplits" / "actions.txt"
        actions.write_bytes(actions.read_bytes().replace(b"throwing_frisby", b"throwing_frisbee"))
        message = refused(root, official=True)
        assert "lacking: throwing_frisby; not published: throwing_frisbee" in message
        assert "train.txt: expected 100 images of rowing_a_boat, found 99" in message
        assert "test.txt: expected 5,532 images, found 5,533" in message


@pytest.fixture(scope="module")
def samples():
    return read(REAL, official=True)


@needs_real
class TestRealCopy:
    def test_it_has_the_published_counts(self, samples):
        assert len(samples) == 9_532
        assert len(samples.in_splits("train")) == 4_000
        assert len(samples.in_splits("test")) == 5_532
        assert samples.classes == stanford40.CLASSES == tuple(sorted(stanford40.CLASSES))
        assert all(
            sum(row.label == label for row in samples.in_splits("train").rows) == 100 for label in range(40)
        )

    def test_every_label_is_the_name_in_the_key(self, samples):
        assert all(row.key.rsplit("_", 1)[0] == samples.classes[row.label] for row in samples.rows)

    def test_every_box_lies_inside_its_image(self, samples):
        for row in samples.rows:
            xmin, ymin, xmax, ymax = row.box
            assert 0 <= xmin < xmax <= row.size[0], row
            assert 0 <= ymin < ymax <= row.size[1], row

    def test_the_greyscale_image_is_a_row(self, samples):
        (row,) = [row for row in samples.rows if row.key == "feeding_a_horse_191"]
        with Image.open(samples.file(row)) as image:
            assert image.mode == "L"
            assert image.size == row.size


def test_a_skip_list_leaves_images_out(layout, tmp_path):
    root, skip = layout({"drinking": (3, 1), "applauding": (3, 2)}), tmp_path / "skip.txt"
    (root / "JPEGImages" / "drinking_002.jpg").write_bytes(b"cut")
    assert "JPEGImages/drinking_002.jpg" in refused(root)
    skip.write_text("JPEGImages/drinking_002.jpg\n")
    samples = stanford40.read(root, official=False, progress=Progress(), skip=skip)
    assert len(samples) == 8 and "drinking_002" not in {row.key for row in samples.rows}


def test_one_class_is_refused(layout):
    assert "has 1 class: drinking" in refused(layout({"drinking": (3, 1)}))

"""A zip file is unpacked inside its folder, whole or not at all."""

import stat
import warnings
import zipfile

import pytest

from stillroom.errors import DataError
from stillroom.modalities import unzip as module
from stillroom.modalities.unzip import unzip


@pytest.fixture
def pack(tmp_path):
    """pack({name: bytes}): a zip file in `tmp_path/in`."""

    def write(members, compression=zipfile.ZIP_DEFLATED):
        (tmp_path / "in").mkdir(exist_ok=True)
        file = tmp_path / "in" / "a.zip"
        with zipfile.ZipFile(file, "w", compression) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of members of one name
            for name, data in members.items() if isinstance(members, dict) else members:
                archive.writestr(name, data)
        return file

    return write


def refused(file, tmp_path, match, progress):
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(DataError, match=match) as caught:
        unzip(file, tmp_path / "in" / "Part", progress)
    assert sorted(path for path in tmp_path.rglob("*")) == before, "something was left behind"
    assert caught.value.fix


@pytest.mark.parametrize("prefix", ["Part/", ""])
def test_the_files_arrive_with_and_without_a_folder_around_them(pack, tmp_path, listener, prefix):
    file = pack(
        {
            f"{prefix}a.txt": b"one",
            f"{prefix}deep/b.txt": b"two",
            "__MACOSX/Part/._a.txt": b"x",
            f"{prefix}.DS_Store": b"",
        }
    )
    unzip(file, tmp_path / "in" / "Part", listener)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"in/a.zip", "in/Part/a.txt", "in/Part/deep/b.txt"}
    assert (tmp_path / "in" / "Part" / "a.txt").read_bytes() == b"one"
    assert listener.works == [["unpack a.zip", 2, "files", 2]]


@pytest.mark.parametrize(
    "name", ["../evil.txt", "Part/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:/evil.txt"]
)
def test_a_member_that_leaves_the_folder_is_refused_before_anything_is_written(
    pack, tmp_path, listener, name
):
    refused(pack({"Part/a.txt": b"one", name: b"evil"}), tmp_path, "leaves the folder", listener)


def test_every_member_that_leaves_the_folder_is_named(pack, tmp_path, listener):
    file = pack({"../one.txt": b"", "../two.txt": b""})
    refused(file, tmp_path, r"one\.txt(.|\n)*two\.txt", listener)


def test_a_link_is_refused(pack, tmp_path, listener):
    link = zipfile.ZipInfo("Part/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(pack([(link, b"/etc")]), tmp_path, "is a link", listener)


def test_a_bomb_is_refused_before_it_unpacks(pack, tmp_path, listener, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1_000_000)
    file = pack({"Part/a": bytes(600_000), "Part/b": bytes(600_000)})
    assert file.stat().st_size < 10_000
    refused(file, tmp_path, "1,200,000 bytes", listener)
    assert listener.works == []


def test_too_many_files_are_refused(pack, tmp_path, listener, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    refused(pack({f"Part/{n}": b"" for n in range(4)}), tmp_path, "4 files", listener)


def test_a_damaged_member_leaves_nothing(pack, tmp_path, listener):
    file = pack(
        {"Part/a.txt": b"first and fine", "Part/b.txt": b"this is what gets damaged"}, zipfile.ZIP_STORED
    )
    file.write_bytes(file.read_bytes().replace(b"gets damaged", b"was_ damaged"))
    refused(file, tmp_path, "CRC", listener)


@pytest.mark.parametrize("keep", [0, 30, -10])
def test_what_is_no_whole_zip_is_refused(pack, tmp_path, listener, keep):
    file = pack({"Part/a.txt": b"one" * 100})
    file.write_bytes(file.read_bytes()[:keep])
    refused(file, tmp_path, "cannot be unpacked", listener)


def test_an_empty_zip_and_two_members_of_one_name_are_refused(pack, tmp_path, listener):
    refused(pack({}), tmp_path, "no file", listener)
    refused(pack([("Part/a", b"one"), ("Part/a", b"two")]), tmp_path, "two members of one name", listener)


def test_what_a_killed_run_left_is_in_nobodys_way(pack, tmp_path, listener):
    file = pack({"Part/a.txt": b"one"})
    (tmp_path / "in" / ".Part.part").mkdir()
    (tmp_path / "in" / ".Part.part" / "half.txt").write_text("half")
    unzip(file, tmp_path / "in" / "Part", listener)
    assert [path.name for path in (tmp_path / "in" / "Part").iterdir()] == ["a.txt"]
    assert not (tmp_path / "in" / ".Part.part").exists()

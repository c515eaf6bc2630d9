"""Whole files and folders; what is carried into a new folder, and which paths lie in one that is replaced."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stillroom.files import (
    carry,
    others,
    remove_unfinished,
    replaced,
    swap,
    whole_file,
    whole_files,
    whole_folder,
)

OURS = re.compile(r"model|plots/\w+\.csv")


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def no_links(*arguments: object, **options: object) -> None:
    raise OSError(errno.EPERM, "no hard links on this file system")


@pytest.mark.parametrize("links", [True, False])
def test_only_what_is_not_ours_is_carried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    old = made(tmp_path / "old", "model", "plots/a.csv", "plots/a.png", "mine/model", ".hidden")
    (old / "link").symlink_to("nowhere")
    assert sorted(others(old, OURS)) == [".hidden", "link", "mine/model", "plots/a.png"]
    new = made(tmp_path / "new", "model")
    carry(old, new, OURS)
    found = sorted(path.relative_to(new).as_posix() for path in new.rglob("*") if not path.is_dir())
    assert found == [".hidden", "link", "mine/model", "model", "plots/a.png"]
    assert (new / "mine/model").read_text() == "mine/model" and (new / "link").is_symlink()
    assert (old / "mine/model").exists()


@pytest.mark.parametrize("links", [True, False])
def test_what_is_in_the_new_folder_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    old, new = made(tmp_path / "old", "mine"), made(tmp_path / "new", "mine")
    (new / "mine").write_text("other")
    with pytest.raises(FileExistsError):
        carry(old, new, OURS)
    assert (new / "mine").read_text() == "other"


def test_a_path_is_known_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path, "artifacts/data/mine/1.png", "photos/1.png")
    data = Path("artifacts/data")
    (tmp_path / "link").symlink_to("artifacts/data/mine")
    (tmp_path / "artifacts/data/out").symlink_to(tmp_path / "photos")
    inside = ("artifacts/data", "artifacts/data/mine", "./artifacts/../artifacts/data/new", "link/1.png")
    for path in (*inside, "artifacts/data/out", str(tmp_path / "artifacts/data/mine")):
        assert replaced(Path(path), [Path("artifacts/cache"), data]) == data, path
    for path in ("photos", "artifacts", "artifacts/database", "artifacts/downloads", "/", "."):
        assert replaced(Path(path), [data]) is None, path
    (tmp_path / "other").symlink_to("artifacts")
    assert replaced(Path("other/data/mine"), [data]) == data


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path, durable: bool) -> None:
    target = made(tmp_path, "table.json") / "table.json"
    before = os.umask(0o027)
    try:
        with whole_file(target, durable) as stream:
            stream.write(b"new")
            assert target.read_text() == "table.json"
    finally:
        os.umask(before)
    assert target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_file_that_was_not_finished_leaves_the_old_one(tmp_path: Path, error: BaseException) -> None:
    target = made(tmp_path, "table.json") / "table.json"
    with pytest.raises(type(error)), whole_file(target) as stream:
        stream.write(b"new")
        raise error
    assert target.read_text() == "table.json" and list(tmp_path.iterdir()) == [target]


def test_of_several_files_none_is_replaced_before_all_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "one", "two")
    flushed: list[int] = []

    def full(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) == 2:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"), whole_files([tmp_path / "one", tmp_path / "two"]) as streams:
        for stream in streams:
            stream.write(b"new")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"one": "one", "two": "two"}


def test_what_a_kill_left_unfinished_can_be_cleared_away(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from stillroom.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as stream:\n    stream.write(b'half'); os._exit(9)"
    )
    target = made(tmp_path, "table.json") / "table.json"
    assert subprocess.run([sys.executable, "-c", script, str(target)], check=False).returncode == 9
    assert target.read_text() == "table.json" and len(list(tmp_path.iterdir())) == 2
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [target]


def test_a_swap_that_fails_half_way_is_undone(tmp_path: Path) -> None:
    made(tmp_path, "new/model", "target/old model")

    def no_rescue() -> None:
        raise OSError(errno.ENOSPC, "full")

    new, target, aside = (tmp_path / name for name in ("new", "target", "aside"))
    with pytest.raises(OSError, match="full"):
        swap(new, target, aside, no_rescue)
    assert (target / "old model").exists() and (new / "model").exists() and not aside.exists()
    swap(new, target, aside, lambda: None)
    assert (target / "model").exists() and (aside / "old model").exists() and not new.exists()


def test_what_a_kill_left_goes_back_where_it_was(tmp_path: Path) -> None:
    """Not to another folder with the same last name, whose next run would remove it for good."""
    one, other, workplace = tmp_path / "a/views", tmp_path / "b/views", tmp_path / ".staging"
    for target in (one, other):
        with whole_folder(target, workplace, re.compile("x")) as new:
            (new / "x").write_text(str(target))
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, re, sys; from pathlib import Path; from stillroom import files\n"
            "files.carry = lambda *given: os.kill(os.getpid(), 9)  # between the two renames\n"
            "with files.whole_folder(Path(sys.argv[1]), Path(sys.argv[2]), re.compile('x')) as new: pass",
            str(one),
            str(workplace),
        ],
    )
    assert killed.returncode == -9 and not one.exists()
    with whole_folder(other, workplace, re.compile("x")):
        pass
    assert not one.exists() and not (other / "x").exists()
    with pytest.raises(KeyboardInterrupt), whole_folder(one, workplace, re.compile("x")):
        raise KeyboardInterrupt
    assert (one / "x").read_text() == str(one)

"""What is carried into a new folder, and which paths lie in a folder that is replaced."""

import errno
import os
import re
from pathlib import Path

import pytest

from stillroom.files import carry, others, replaced

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

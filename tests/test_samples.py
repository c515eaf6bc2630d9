"""The samples table: rows by key, a root that may move, and no path that leaves its folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stillroom.errors import DataError
from stillroom.modalities import load_samples
from stillroom.modalities.images.samples import Sample
from stillroom.samples import Samples


def table(root: Path) -> Samples:
    rows = tuple(
        Sample(f"b_{i}", f"b_{i}.jpg", "train" if i else "test", i % 2, (0, 0, 4, 4), (8, 8), f"{i:064x}")
        for i in (2, 0, 1)
    )
    return Samples("folder", ("a", "b"), rows, root)


def test_rows_are_known_by_key_not_by_position(tmp_path: Path) -> None:
    samples = table(tmp_path)
    assert [row.key for row in samples.rows] == ["b_0", "b_1", "b_2"]
    shuffled = replace(samples, rows=samples.rows[::-1])
    assert shuffled.digests() == samples.digests()


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    samples = table(tmp_path / "elsewhere")
    samples.save(tmp_path / "data")
    assert load_samples(tmp_path / "data", tmp_path / "elsewhere") == samples


def test_the_same_data_elsewhere_gives_the_same_file(tmp_path: Path) -> None:
    """Otherwise DVC would run every stage again on a machine that keeps its images in another folder."""
    for name in ("one", "two"):
        table(tmp_path / name).save(tmp_path / "data" / name)
    one, two = ((tmp_path / "data" / name / "samples.json").read_bytes() for name in ("one", "two"))
    assert one == two
    with pytest.raises(DataError, match="where its images lie"):
        load_samples(tmp_path / "data" / "one")


def test_a_root_in_the_project_is_found_without_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table(Path("downloads/images")).save(tmp_path / "data")
    assert load_samples(tmp_path / "data").root == Path("downloads/images")


def test_a_moved_project_finds_its_own_images(tmp_path: Path) -> None:
    samples = table(tmp_path / "data" / "drawn")
    samples.save(tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "moved")
    assert load_samples(tmp_path / "moved").root == tmp_path / "moved" / "drawn"


def test_another_machine_says_where_its_images_lie(tmp_path: Path) -> None:
    table(tmp_path / "elsewhere").save(tmp_path / "data")
    assert load_samples(tmp_path / "data", tmp_path / "here").root == tmp_path / "here"


@pytest.mark.parametrize("change", ["key", "image", "label", "class order"])
def test_each_digest_tells_its_own_change(tmp_path: Path, change: str) -> None:
    samples = table(tmp_path)
    first, *rest = samples.rows
    changed = {
        "key": replace(samples, rows=(replace(first, key="z"), *rest)),
        "image": replace(samples, rows=(replace(first, sha256="f" * 64), *rest)),
        "label": replace(samples, rows=(replace(first, label=1), *rest)),
        "class order": replace(samples, classes=("b", "a")),
    }[change]
    differing = {name for name in samples.digests() if samples.digests()[name] != changed.digests()[name]}
    assert (
        differing
        == {
            "key": {"keys", "images", "labels"},
            "image": {"images"},
            "label": {"labels"},
            "class order": {"classes"},
        }[change]
    )


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/passwd", "a/../../x.jpg"])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path: Path, path: str) -> None:
    table(tmp_path).save(tmp_path)
    content = json.loads((tmp_path / "samples.json").read_text())
    content["samples"][0]["path"] = path
    (tmp_path / "samples.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="leaves its folder"):
        load_samples(tmp_path)


@pytest.mark.parametrize("root", ["../elsewhere", "/etc"])
def test_a_root_that_leaves_the_project_is_refused(tmp_path: Path, root: str) -> None:
    table(tmp_path).save(tmp_path)
    content = json.loads((tmp_path / "samples.json").read_text())
    (tmp_path / "samples.json").write_text(json.dumps(content | {"root": root}))
    with pytest.raises(DataError, match="leaves its folder"):
        load_samples(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "stillroom-samples/9"}', "{" * 2000])
def test_a_damaged_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "samples.json").write_text(content)
    with pytest.raises(DataError, match="stillroom prepare"):
        load_samples(tmp_path)

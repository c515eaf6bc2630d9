"""The samples table: rows by key, a root that may move, and no path that leaves its folder."""

import gc
import hashlib
import json
import os
import pickle
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from stillroom.columns import rows_of
from stillroom.errors import DataError
from stillroom.modalities import load_samples
from stillroom.modalities.images.samples import Sample
from stillroom.samples import SPLITS, UNLABELLED, Samples
from stillroom.tables import LARGE
from tests import tables


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
    first, *rest = samples.rows
    samples = replace(samples, rows=(replace(first, box=None, group="ä", span=(2**40, 3)), *rest))
    samples.save(tmp_path / "data")
    loaded = load_samples(tmp_path / "data", tmp_path / "elsewhere")
    assert loaded == samples
    for one in (samples, loaded):  # whole numbers, also beside gaps
        assert repr(one.rows[0].box) == "None" and repr(one.rows[1].box) == "(0, 0, 4, 4)"
        assert repr(one.rows[0].span) == "(1099511627776, 3)" and one.rows[0].group == "ä"


def test_the_same_data_elsewhere_gives_the_same_file(tmp_path: Path) -> None:
    """Otherwise DVC would run every stage again on a machine that keeps its images in another folder."""
    for name in ("one", "two"):
        table(tmp_path / name).save(tmp_path / "data" / name)
    reordered = table(tmp_path / "one")
    replace(reordered, rows=tuple(reordered.rows)[::-1]).save(tmp_path / "data" / "one")
    one, two = ((tmp_path / "data" / name / "samples.parquet").read_bytes() for name in ("one", "two"))
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


def old(folder: Path) -> dict:
    """The table in a folder as an earlier version wrote it, in the place of the new one."""
    content = tables.read(folder) | {"format": "stillroom-samples/1"}
    for row in content["samples"]:
        del row["group"], row["span"]  # they came later
    (folder / "samples.parquet").unlink()
    (folder / "samples.json").write_text(json.dumps(content))
    return content


def test_a_table_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    samples = table(tmp_path / "data" / "drawn")
    samples.save(tmp_path / "data")
    old(tmp_path / "data")
    loaded = load_samples(tmp_path / "data")
    assert loaded == samples and loaded.digests() == samples.digests()
    loaded.save(tmp_path / "data")
    assert not (tmp_path / "data/samples.json").exists(), "two tables in one folder"
    assert load_samples(tmp_path / "data") == samples


def test_digests_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """They are part of each cache's id: of N lines, a line feed between each two, in UTF-8."""
    samples = table(tmp_path)
    lines = {
        "keys": ["b_0", "b_1", "b_2"],
        "images": [f"b_{i} {i:064x}" for i in range(3)],
        "labels": ["b_0 0", "b_1 1", "b_2 0"],
        "classes": ["a", "b"],
    }
    assert samples.digests() == {
        name: hashlib.sha256("\n".join(some).encode()).hexdigest() for name, some in lines.items()
    }


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "a/\0"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path: Path, path: str, version: int) -> None:
    table(tmp_path).save(tmp_path)
    content = tables.read(tmp_path) if version == 2 else old(tmp_path)
    content["samples"][1]["path"] = path
    if version == 2:
        tables.write(tmp_path, content)
    else:
        (tmp_path / "samples.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="leaves its folder"):
        load_samples(tmp_path)


@pytest.mark.parametrize("root", ["../elsewhere", "/etc"])
def test_a_root_that_leaves_the_project_is_refused(tmp_path: Path, root: str) -> None:
    table(tmp_path).save(tmp_path)
    tables.write(tmp_path, tables.read(tmp_path) | {"root": root})
    with pytest.raises(DataError, match="leaves its folder"):
        load_samples(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "stillroom-samples/9"}', "{" * 2000])
def test_a_damaged_table_of_an_earlier_version_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "samples.json").write_text(content)
    with pytest.raises(DataError, match="stillroom prepare"):
        load_samples(tmp_path)


CHANGES = {
    "another format": lambda content: content.update(format="stillroom-samples/9"),
    "no format": lambda content: content.pop("format"),
    "no classes": lambda content: content.pop("classes"),
    "classes that are text": lambda content: content.update(classes="ab"),
    "a class twice": lambda content: content.update(classes=["a", "a"]),
    "a label of no class": lambda content: content["samples"][0].update(label=2),
    "a negative label": lambda content: content["samples"][0].update(label=-1),
    "another split": lambda content: content["samples"][0].update(split="more"),
    "no split": lambda content: content["samples"][0].update(split=None),
    "a key twice": lambda content: content["samples"][0].update(key="b_1"),
    "keys in no order": lambda content: content["samples"].reverse(),
    "no label": lambda content: content["samples"][2].update(label=None),
    "no paths": lambda content: [row.pop("path") for row in content["samples"]],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_is_not_sound_is_refused(tmp_path: Path, change: str) -> None:
    table(tmp_path).save(tmp_path)
    content = tables.read(tmp_path)
    CHANGES[change](content)
    tables.write(tmp_path, content)
    with pytest.raises(DataError, match="stillroom prepare"):
        load_samples(tmp_path)


@pytest.mark.parametrize("size", [[0, 4], [4, 2**31]])
def test_a_row_that_is_not_sound_is_refused_where_it_is_looked_at(tmp_path: Path, size: list[int]) -> None:
    table(tmp_path).save(tmp_path)
    content = tables.read(tmp_path)
    content["samples"][1]["size"] = size
    tables.write(tmp_path, content)
    samples = load_samples(tmp_path)
    with pytest.raises(DataError, match="'b_1' is not one that `prepare` writes"):
        list(samples.rows)


def test_a_damaged_file_is_refused_or_as_it_was(tmp_path: Path) -> None:
    """Each page has a checksum: no byte can change what is read."""
    samples = table(tmp_path)
    samples.save(tmp_path)
    file = tmp_path / "samples.parquet"
    whole, dice = file.read_bytes(), random.Random(0)
    damaged = [whole[: dice.randrange(len(whole))] for _ in range(20)]
    for _ in range(300):
        place = dice.randrange(len(whole))
        damaged.append(whole[:place] + bytes([whole[place] ^ (1 << dice.randrange(8))]) + whole[place + 1 :])
    refused = 0
    for content in [b"", b"PAR1", whole[::-1], *damaged]:
        file.write_bytes(content)
        try:
            found = load_samples(tmp_path)
            assert list(found.rows) == list(samples.rows)
        except DataError as error:
            assert "stillroom prepare" in str(error.fix)
            refused += 1
    assert refused > 200


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"key": ["a"], "label": [0]}), tmp_path / "samples.parquet")
    with pytest.raises(DataError, match="not one that stillroom wrote"):
        load_samples(tmp_path)


def test_a_file_that_swells_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    """A million rows of one long word take kilobytes in the file."""
    table(tmp_path).save(tmp_path)
    schema = parquet.read_schema(tmp_path / "samples.parquet")
    rows = 200_000
    long = pa.array(["x" * 100_000]).dictionary_encode()
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), long.dictionary)
        if pa.types.is_large_string(field.type)
        else pa.nulls(rows, field.type)
        for field in schema
    ]
    swelling = pa.table(dict(zip(schema.names, columns, strict=True))).replace_schema_metadata(
        schema.metadata
    )
    with parquet.ParquetWriter(tmp_path / "samples.parquet", swelling.schema, store_schema=False) as writer:
        content = json.dumps(json.loads(schema.metadata[b"stillroom"]) | {"rows": rows})
        digest = hashlib.sha256(content.encode()).hexdigest()
        writer.add_key_value_metadata({"stillroom": content, "stillroom.sha256": digest})
        writer.write_table(swelling)
    assert (tmp_path / "samples.parquet").stat().st_size < 2**20
    with pytest.raises(DataError, match="become more than"):
        load_samples(tmp_path)


# Large tables


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table that is mapped."""
    folder = tmp_path_factory.mktemp("large")
    rows = (
        Sample(
            f"k{i:06d}",
            f"{i}.jpg",
            SPLITS[i % 5 % 3],
            i % 7,
            None,
            (i % 9 + 1, 8),
            f"{i * 7919:064x}",
            f"g{i % 5}",
        )
        for i in range(LARGE + 7)
    )
    Samples("folder", tuple("abcdefg"), rows_of(rows), folder / "images").save(folder)
    return folder


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that copies for this machine go to."""
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "fetched"))
    return tmp_path / "fetched"


def test_a_large_table_is_mapped_and_its_rows_are_made_when_looked_at(large: Path, apart: Path) -> None:
    first = load_samples(large)
    [copy] = (apart / "tables").iterdir()
    before, taken = len(gc.get_objects()), pa.total_allocated_bytes()
    again = load_samples(large)
    train = again.in_splits("train")
    assert len(again) == LARGE + 7 and again == first
    assert len(gc.get_objects()) - before < 1000, "rows are objects"
    assert train.rows[3] == next(row for row in again.rows[6:] if row.split == "train")
    assert again.row_of("k001234") == 1234 and again.rows[1234].sha256 == f"{1234 * 7919:064x}"
    assert sum(again.splits().values()) == len(again) and set(again.splits()) == {*SPLITS} - {UNLABELLED}
    assert pa.total_allocated_bytes() - taken < 2**20 < copy.stat().st_size, "the table is in memory"


@pytest.mark.parametrize("damage", ["cut", "gone", "other", "other labels", "zeros"])
def test_a_damaged_copy_is_made_anew(large: Path, apart: Path, damage: str) -> None:
    digests = load_samples(large).digests()
    [copy] = (apart / "tables").iterdir()
    if damage == "cut":
        copy.write_bytes(copy.read_bytes()[:1000])
    elif damage == "gone":
        copy.unlink()
    elif damage == "other labels":  # a sound file of the same columns
        table = ipc.open_file(str(copy)).read_all()
        labels = np.roll(table.column("label").to_numpy(), 1)
        place = table.schema.get_field_index("label")
        table = table.set_column(place, "label", pa.array(labels))
        with ipc.new_file(str(copy), table.schema) as writer:
            writer.write_table(table)
    elif damage == "zeros":
        content = bytearray(copy.read_bytes())
        content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
        copy.write_bytes(content)
    else:
        copy.write_bytes(b"something else")
    assert load_samples(large).digests() == digests and copy.stat().st_size > 10**6


def test_without_a_place_for_the_copy_a_large_table_is_read_all_the_same(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "file"))
    assert len(load_samples(large).rows) == LARGE + 7


def test_a_large_table_that_is_not_sound_is_refused(large: Path, apart: Path, tmp_path: Path) -> None:
    shutil.copy(large / "samples.parquet", tmp_path)
    content = tables.read(tmp_path)
    content["samples"][40_000]["label"] = 7
    tables.write(tmp_path, content)
    for _ in range(2):
        with pytest.raises(DataError, match="labels are from 0 to 7, of 7 classes"):
            load_samples(tmp_path)


def test_old_copies_go(large: Path, apart: Path) -> None:
    (apart / "tables").mkdir(parents=True)
    for number in range(12):
        (apart / "tables" / f"{number:02d}.arrow").write_bytes(b"")
        os.utime(apart / "tables" / f"{number:02d}.arrow", (number, number))
    load_samples(large)
    left = sorted(file.name for file in (apart / "tables").iterdir())
    assert len(left) == 8 and left[0] == "05.arrow"


def test_a_table_survives_a_pickle(large: Path, apart: Path) -> None:
    """As where workers are spawned."""
    samples = load_samples(large)
    again = pickle.loads(pickle.dumps(samples.in_splits("val")))
    assert again == samples.in_splits("val") and again.rows[5] == samples.in_splits("val").rows[5]


def test_bytes_of_a_span(tmp_path: Path) -> None:
    (tmp_path / "pack").write_bytes(b"abcdefgh")
    row = Sample("a", "pack", "train", 0, None, (1, 1), "0" * 64, "", (2, 3))
    samples = Samples("folder", ("a", "b"), (row,), tmp_path)
    samples.save(tmp_path)
    again = load_samples(tmp_path, tmp_path)
    assert again.content(again.rows[0]) == b"cde" and again.rows[0] == row

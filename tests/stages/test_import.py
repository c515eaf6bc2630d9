"""A teacher elsewhere: views go out as files, logits come home as a cache, and a student learns the same."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import save_file

from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from tests import warm
from tests.conftest import copy_project, environment, run_in, until
from tests.processes import kill_all

KD = ("stillroom", "student", "--family", "vit", "--arm", "kd")
ELSEWHERE = ("--set", "cache.path=artifacts/imported")
IMPORT = ("stillroom", "cache", "import")

# Knows nothing of stillroom: tar, PNG, timm, NumPy. It cuts batches as stage one does, for the last bit
TEACHER = """
import json, tarfile
import numpy as np, timm, torch
from PIL import Image
from safetensors.torch import load_file
about = json.load(open("artifacts/views/views.json"))
made = json.load(open("artifacts/teacher/teacher.json"))
net = timm.create_model(made["arch"], num_classes=len(about["classes"]), **made["overrides"])
net.load_state_dict(load_file("artifacts/teacher/model.safetensors"))
net.eval()
pixels = {}
for shard in about["files"]["shards"]:
    with tarfile.open(f"artifacts/views/{shard}") as archive:
        for member in archive:
            key, *view, suffix = member.name.split(".")
            if suffix == "png":
                pixels[key, int(view[0])] = np.asarray(Image.open(archive.extractfile(member)))
keys, views = sorted({key for key, _ in pixels}), about["views"]["count"]
mean, std = (np.float32(about["input"][name]) * np.float32(255) for name in ("mean", "std"))
logits = np.empty((views, len(keys), len(about["classes"])), np.float32)
torch.set_num_threads(1)
with torch.inference_mode():
    for view in range(views):
        for start in range(0, len(keys), 16):
            inputs = np.stack([pixels[key, view] for key in keys[start : start + 16]]).astype(np.float32)
            inputs = torch.from_numpy((inputs - mean) / std).permute(0, 3, 1, 2).contiguous()
            logits[view, start : start + 16] = net(inputs).numpy()
np.save("logits.npy", logits)
"""


def about(project: Path, folder: str = "artifacts/views") -> dict:
    return json.loads((project / folder / "views.json").read_text())


def members(folder: Path) -> list[tuple[str, bytes]]:
    """All of the shards of a folder, in order."""
    found = []
    for name in json.loads((folder / "views.json").read_text())["files"]["shards"]:
        with tarfile.open(folder / name) as archive:
            found += [(one.name, archive.extractfile(one).read()) for one in archive]
    return found


@pytest.fixture(scope="module")
def asked(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished project with its views, and what the teacher elsewhere said: not to be changed."""
    project = copy_project(finished, tmp_path_factory.mktemp("asked") / "project")
    run_in(project, "stillroom", "cache", "export-views")
    warm_python(project, TEACHER)
    return project


def warm_python(project: Path, script: str) -> None:
    (project / "elsewhere.py").write_text(script)
    done = warm.run((warm.PYTHON, "elsewhere.py"), project, environment())
    assert done.returncode == 0, done.stderr


@pytest.fixture
def given(asked: Path, tmp_path: Path) -> Path:
    return copy_project(asked, tmp_path / "project")


def rows(project: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Keys, class names and logits [V, N, C]."""
    return (
        open_store(project / "artifacts/cache").keys,
        about(project)["classes"],
        np.load(project / "logits.npy"),
    )


def table(project: Path, change: str = "") -> Path:
    """The logits as Parquet, rows and columns shuffled; and something wrong with them."""
    keys, classes, logits = rows(project)
    draw = np.random.default_rng(0)
    columns, order = draw.permutation(len(classes)), draw.permutation(logits.shape[0] * logits.shape[1])
    view, row = np.divmod(order, len(keys))
    values = [logits[v, r][columns].tolist() for v, r in zip(view, row, strict=True)]
    names, key, view = [classes[one] for one in columns], [keys[one] for one in row], view.tolist()
    if change == "classes":
        names[3] = "flying"
    elif change == "rows":
        key[0], view[1], values[2] = "foreign", 77, values[2][:-1]
        key[3], view[3] = key[4], view[4]
    elif change == "null":
        values[5] = [None, *values[5][1:]]
    arrays = {"logits": pa.array(values, pa.list_(pa.float32())), "view": view, "key": key}
    file = project / "logits.parquet"
    described = pa.table(arrays).replace_schema_metadata({"classes": json.dumps(names)})
    parquet.write_table(described, file, row_group_size=50)
    return file


def test_logits_from_numpy_give_the_student_that_stage_one_gives(given: Path) -> None:
    said = run_in(given, *IMPORT, "logits.npy", "--origin", "a script", *ELSEWHERE).stdout
    assert "imported from a script: 3 views of 80 samples" in said
    assert "in label order, from applauding to" in said
    ours, theirs = (open_store(given / "artifacts" / name) for name in ("cache", "imported"))
    assert ours.manifest.blocks == theirs.manifest.blocks and verify(theirs.folder) == []
    assert ours.manifest.probes == theirs.manifest.probes and ours.manifest.id != theirs.manifest.id
    output = theirs.manifest.identity["outputs"]["logits"]
    assert "teacher" not in output and output["origin"]["text"] == "a script"
    assert output["input"] == ours.manifest.identity["outputs"]["logits"]["input"]
    weights = given / "artifacts/students/vit-kd-0/model.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    said = run_in(given, *KD, *ELSEWHERE).stdout
    assert "output logits of this cache was imported from a script" in said
    assert weights.read_bytes() == before
    # a table in any order, its columns called by name, is the same logits of another file
    table(given)
    run_in(given, *IMPORT, "logits.parquet", "--replace", *ELSEWHERE)
    again = open_store(given / "artifacts/imported").manifest
    assert again.blocks == ours.manifest.blocks and again.id != theirs.manifest.id
    assert not list((given / "artifacts/.staging").glob("*.rows"))


def test_the_views_are_what_a_teacher_of_ours_sees(asked: Path, tmp_path: Path) -> None:
    from stillroom.modalities import get, load_samples

    train = load_samples(asked / "artifacts/data").in_splits("train")
    found = members(asked / "artifacts/views")
    assert len(found) == 80 * 4
    first = train.rows[0]
    assert [name for name, _ in found[:4]] == [
        f"{first.key}.{one}" for one in ("json", "0.png", "1.png", "2.png")
    ]
    assert json.loads(found[0][1])["key"] == first.key
    images, store = get("images"), open_store(asked / "artifacts/cache")
    reader = images.reader(train)
    for row in (0, 41, 79):
        for view in range(3):
            rendered = images.render(reader, images.stored(store.parameters(view), train)[row], {"size": 32})
            written = np.asarray(Image.open(io.BytesIO(found[4 * row + 1 + view][1])))
            np.testing.assert_array_equal(written, rendered)
    said = about(asked)
    identity = store.manifest.identity
    assert said["samples"] == identity["samples"] and said["classes"] == list(train.classes)
    assert {name: said["views"][name] for name in ("recipe", "seed")} == identity["views"]
    assert said["input"] == identity["outputs"]["logits"]["input"]


def test_shards_and_parquet_hold_the_same(given: Path) -> None:
    run_in(given, "stillroom", "cache", "export-views", "--to", "other", "--format", "parquet", "--from", "1")
    read = parquet.read_table(given / "other" / about(given, "other")["files"]["shards"][0])
    assert json.loads(read.schema.metadata[b"classes"]) == about(given)["classes"]
    whole = dict(members(given / "artifacts/views"))
    assert read.num_rows == 160 and about(given, "other")["views"]["first"] == 1
    for row in read.to_pylist():
        assert row["image"] == whole[f"{row['key']}.{row['view']}.png"]
    run_in(given, "stillroom", "cache", "export-views", "--to", "small", "--shard-mib", "1", "--size", "96")
    assert len(about(given, "small")["files"]["shards"]) > 1 and about(given, "small")["input"]["size"] == 96
    sizes = {Image.open(io.BytesIO(one)).size for name, one in members(given / "small") if "png" in name}
    assert sizes == {(96, 96)}


def test_an_export_writes_over_nothing_of_others(given: Path) -> None:
    export = ("stillroom", "cache", "export-views", "--to")
    (given / "mine").mkdir()
    (given / "mine/notes.txt").write_text("mine")
    assert "notes.txt" in run_in(given, *export, "mine", code=1).stderr
    assert "stages replace" in run_in(given, *export, "artifacts/cache/views", code=2).stderr
    shutil.copytree(given / "artifacts/cache", given / "elsewhere")
    assert "holds a cache" in run_in(given, *export, "elsewhere", code=1).stderr
    assert [file.name for file in (given / "mine").iterdir()] == ["notes.txt"]
    before = about(given)
    run_in(given, *export, "artifacts/views", "--set", "views.seed=1")  # views replace views
    assert about(given)["views"]["seed"] == 1 and before["views"]["seed"] == 0


WRONG = {
    "nan": (
        lambda a: np.where(np.arange(a.size).reshape(a.shape) == 5000, np.nan, a),
        ["NaN or infinite", "view 1"],
    ),
    "overflow": (lambda a: a * 1e6, ["float16 cannot hold", "65504", "view 0"]),
    "classes": (lambda a: a[..., :-1], ["39 classes instead of 40"]),
    "samples": (lambda a: a[:, 1:], ["79 samples of the cache instead of 80"]),
    "views": (lambda a: a[:2], ["2 views instead of 3", "views.count"]),
    "flat": (lambda a: a[0], ["[80, 40]", "[views, samples, classes]"]),
    "integers": (lambda a: a.astype(int), ["int64", "float32"]),
    "objects": (lambda a: a.astype(object), ["wrong.npy is damaged, or no array"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_array_is_refused_and_nothing_is_left(given: Path, kind: str) -> None:
    change, words = WRONG[kind]
    np.save(given / "wrong.npy", change(np.load(given / "logits.npy")))
    before = sorted(path.name for path in (given / "artifacts/.staging").iterdir())
    said = run_in(given, *IMPORT, "wrong.npy", *ELSEWHERE, code=1).stderr
    assert all(word in said for word in words), said
    assert not (given / "artifacts/imported").exists()
    after = {path.name for path in (given / "artifacts/.staging").iterdir()} - {"import.lock"}
    assert sorted(after) == before


def test_what_is_wrong_with_rows_is_named_all_at_once(given: Path) -> None:
    table(given, "rows")
    said = run_in(given, *IMPORT, "logits.parquet", *ELSEWHERE, code=1).stderr
    for words in (
        "1 rows have a key that is none of the samples of the cache: 'foreign'",
        "1 rows have a view that is none of 0 to 2",
        "1 rows have no 40 logits",
        "1 rows are of a view that another row is of",
        "4 views have no row",
    ):
        assert words in said
    table(given, "classes")
    said = run_in(given, *IMPORT, "logits.parquet", *ELSEWHERE, code=1).stderr
    assert "no class of the data: flying" in said and "not in it: " in said
    table(given, "null")
    assert "NaN or infinite" in run_in(given, *IMPORT, "logits.parquet", *ELSEWHERE, code=1).stderr
    for name, content in (
        ("cut.npy", (given / "logits.npy").read_bytes()[:20_000]),
        ("none.parquet", b"PAR1"),
    ):
        (given / name).write_bytes(content)
        assert f"{name} is damaged" in run_in(given, *IMPORT, name, *ELSEWHERE, code=1).stderr
    assert not (given / "artifacts/imported").exists()


def damaged_header(text: str) -> bytes:
    """The beginning of an array of NumPy with a header of somebody's."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "header",
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (2,20,4", 3000 * "(", "'''", f"{9000 * '-'}1", "{}"],
)
def test_a_damaged_header_is_one_message(given: Path, header: str) -> None:
    (given / "odd.npy").write_bytes(damaged_header(header))
    said = run_in(given, *IMPORT, "odd.npy", *ELSEWHERE, code=1).stderr
    assert "odd.npy is damaged" in said and said.count("error:") == 1 and "Warning" not in said


def test_a_column_that_is_there_twice_is_refused(given: Path) -> None:
    held = parquet.read_table(table(given))
    parquet.write_table(held.append_column("key", held.column("key")), given / "twice.parquet")
    said = run_in(given, *IMPORT, "twice.parquet", *ELSEWHERE, code=1).stderr
    assert "has the column key twice" in said


FORGED = {
    "classes": (lambda one: one | {"classes": one["classes"][::-1]}, "names other classes"),
    "no classes": (lambda one: one | {"classes": []}, "names other classes"),
    "mean": (lambda one: one | {"input": one["input"] | {"mean": "xxx"}}, "input.mean = 'xxx'"),
    "std": (lambda one: one | {"input": one["input"] | {"std": [0, 0, 0]}}, "input.std = [0, 0, 0]"),
    "empty probe": (lambda one: one | {"probes": [{}]}, "probe 0 of views.json is damaged"),
    "digest": (lambda one: one | {"probes": [one["probes"][0] | {"sha256": 5}]}, "probe 0 of views.json"),
    "grid": (lambda one: one | {"probes": [one["probes"][0] | {"grid": "!!!"}]}, "probe 0 of views.json"),
    "environment": (lambda one: one | {"environment": {"x": 2000 * "y"}}, "environment"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_what_views_json_says_is_checked_before_it_becomes_part_of_a_cache(given: Path, kind: str) -> None:
    change, words = FORGED[kind]
    (given / "artifacts/views/views.json").write_text(json.dumps(change(about(given))))
    said = run_in(given, *IMPORT, "logits.npy", *ELSEWHERE, code=1).stderr
    assert words in said and said.count("error:") == 1, said
    assert not (given / "artifacts/imported").exists()


def test_an_origin_is_a_line_of_text(given: Path) -> None:
    options = ("--origin", "\x1b[31m\n# x", *ELSEWHERE)
    assert "control characters" in run_in(given, *IMPORT, "logits.npy", *options, code=2).stderr


def test_a_card_says_where_imported_logits_are_from(given: Path) -> None:
    run_in(given, *IMPORT, "logits.npy", "--origin", "an API of ours", *ELSEWHERE)
    card = run_in(given, "stillroom", "share", "artifacts/imported", "shared", "--dry-run").stdout
    assert "imported: an API of ours" in card and "unknown" not in card


def test_columns_go_by_name_and_another_name_is_another_cache(given: Path) -> None:
    _, classes, logits = rows(given)
    order = np.random.default_rng(1).permutation(len(classes))
    save_file({"logits": np.ascontiguousarray(logits[..., order])}, given / "logits.safetensors")
    (given / "names.txt").write_text("\n".join(classes[one] for one in order))
    run_in(given, *IMPORT, "logits.safetensors", "--classes", "names.txt", *ELSEWHERE)
    named = open_store(given / "artifacts/imported").manifest
    assert named.blocks == open_store(given / "artifacts/cache").manifest.blocks
    said = run_in(given, *IMPORT, "logits.safetensors", *ELSEWHERE, code=1).stderr
    assert "holds another cache" in said and "--replace" in said
    assert open_store(given / "artifacts/imported").manifest.id == named.id
    run_in(given, *IMPORT, "logits.safetensors", "--replace", *ELSEWHERE)
    assert open_store(given / "artifacts/imported").manifest.id != named.id


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "views.seed=1"], ["views.seed: 1 here, 0 in views.json", "other views"]),
        (["--set", "views.recipe.flip=0.0"], ["views.recipe.flip"]),
        (["--set", "views.size=48"], ["32 pixels", "48 pixels"]),
        (["--set", "views.count=4"], ["views.count = 4", "views up to 2"]),
        (["--views", "nowhere"], ["nowhere is not there", "views.json"]),
    ],
)
def test_logits_of_other_views_are_refused(given: Path, options: list[str], words: list[str]) -> None:
    said = run_in(given, *IMPORT, "logits.npy", *options, *ELSEWHERE, code=1).stderr
    assert all(word in said for word in words), said
    assert not (given / "artifacts/imported").exists()


def test_what_would_ask_a_teacher_says_that_there_is_none(given: Path) -> None:
    run_in(given, *IMPORT, "logits.npy", "--origin", "an API", "--replace")
    shutil.rmtree(given / "artifacts/.staging")
    for command in (
        ("store", "audit"),
        (*KD[1:], "--online"),
        ("cache",),
        ("cache", "--set", "views.count=5"),
    ):
        said = run_in(given, "stillroom", *command, code=1).stderr
        assert "imported from an API" in said and "stillroom cache" in said
    assert "an API" in run_in(given, "stillroom", "store", "info").stdout
    run_in(given, "stillroom", "store", "show", rows(given)[0][0])
    run_in(given, "stillroom", "store", "convert", "artifacts/cache", "as_hdf5", "--to", "hdf5")
    run_in(given, "stillroom", "plan", "--no-measure")
    part = next(file for file in (given / "artifacts/cache/logits/c/1").rglob("*") if file.is_file())
    part.unlink()
    said = run_in(given, "stillroom", "store", "repair", code=1).stderr
    assert "blocks are lost" in said and "import the same file again" in said
    run_in(given, *IMPORT, "logits.npy", "--origin", "an API")
    assert verify(given / "artifacts/cache") == []


def test_a_report_without_the_teacher(given: Path) -> None:
    run_in(given, *IMPORT, "logits.npy", "--origin", "an API", "--replace")
    shutil.rmtree(given / "artifacts/teacher")
    for family in ("vit", "pvt"):
        for arm in ("ce", "kd"):
            run_in(given, "stillroom", "student", "--family", family, "--arm", arm)
    run_in(given, "stillroom", "report")
    results = json.loads((given / "artifacts/report/results.json").read_text())
    assert results["teacher"]["arch"] == "imported: an API" and results["teacher"]["accuracy"] is None
    assert results["mean_gain"] is not None
    page = (given / "artifacts/report/index.html").read_text()
    assert "imported: an API" in page and "None" not in page


def test_a_killed_import_leaves_the_old_cache_and_goes_on(given: Path) -> None:
    before = open_store(given / "artifacts/cache").manifest.id
    table(given)
    options = ("--replace", "--set", "cache.block_samples=2")
    process = warm.start((*IMPORT, "logits.parquet", *options), given, environment())
    staging, own = given / "artifacts/.staging", set((given / "artifacts/.staging").iterdir())
    until(lambda: [f for d in set(staging.iterdir()) - own if d.is_dir() for f in d.glob("*.block")], process)
    kill_all(process)
    assert open_store(given / "artifacts/cache").manifest.id == before
    assert verify(given / "artifacts/cache") == []
    said = run_in(given, *IMPORT, "logits.parquet", *options).stdout
    assert "resumed: " in said
    new = open_store(given / "artifacts/cache")
    assert new.manifest.id != before and verify(new.folder) == []
    np.testing.assert_array_equal(new.logits(1), rows(given)[2][1].astype(np.float16).astype(np.float32))
    assert not list(staging.glob("*.rows"))


def test_options_before_a_command_of_the_cache_are_refused(empty: Path) -> None:
    said = run_in(empty, "stillroom", "cache", "--replace", "import", "x.npy", code=2).stderr
    assert "--replace stands before import" in said
    assert "LOGITS" in run_in(empty, "stillroom", "cache", "import", "--help").stdout


def test_clips_go_out_as_arrays(skeletons: Path, tmp_path: Path) -> None:
    project = copy_project(skeletons, tmp_path / "project")
    run_in(project, "stillroom", "cache", "export-views")
    found = members(project / "artifacts/views")
    assert found[1][0].endswith(".0.npy")
    first = np.load(io.BytesIO(found[1][1]))
    assert first.dtype == np.float32 and first.shape[1] == 16  # [persons, frames, joints, 3]
    facts = about(project)
    logits = np.random.default_rng(0).normal(size=(3, facts["samples"]["count"], len(facts["classes"])))
    np.save(project / "logits.npy", logits)
    only = ("--set", "student.arms=[ce, kd]")
    run_in(project, *IMPORT, "logits.npy", *ELSEWHERE, *only)
    run_in(project, "stillroom", "student", "--family", "stgcn", "--arm", "kd", *ELSEWHERE, *only)


def test_keys_that_would_fill_the_memory_are_refused(given: Path) -> None:
    """One of 10 MB, which costs the file next to nothing in each of a hundred thousand rows."""
    rows = 100_000
    key = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 10_000_000]))
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * 40, np.float32)), 40)
    parquet.write_table(
        pa.table({"key": key, "view": pa.array([0] * rows), "logits": values}), given / "long.parquet"
    )
    said = run_in(given, *IMPORT, "long.parquet", *ELSEWHERE, code=1).stderr
    assert "a value of its column key is longer" in said and "Traceback" not in said


def test_a_pipe_has_no_logits(given: Path) -> None:
    """Nobody writes to it: reading would never end."""
    os.mkfifo(given / "pipe.npy")
    assert "no regular file" in run_in(given, *IMPORT, "pipe.npy", *ELSEWHERE, code=1).stderr

"""Tar shards at an address: prepared in one pass, read from local copies within a bound."""

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillroom import fetched
from stillroom.errors import DataError
from stillroom.modalities import load_samples
from stillroom.modalities.images.pixels import Pixels
from tests import tables
from tests.conftest import run_in
from tests.stages.test_prepare import FOLDER, photos, table  # noqa: F401
from tests.team.hub import READER, Hub, environment_of
from tests.team.servers import BUCKET, Web, s3_client, s3_server, ssh_server


@pytest.fixture
def packed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A project with `packed`, of three shards, and the table of the folder that it is of."""
    project = photos.parent
    run_in(project, "stillroom", "prepare", *FOLDER)
    run_in(project, "stillroom", "prepare", "--pack", "packed", *FOLDER)
    monkeypatch.setenv("STILLROOM_FETCHED", str(project / "fetched"))
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "20")
    monkeypatch.setattr(fetched, "_copies", {})
    return project


@pytest.fixture
def web(packed: Path) -> Iterator[Web]:
    shutil.copytree(packed / "packed", packed / "served/packed")
    server = Web(packed / "served")
    yield server
    server.close()


def at(address: str) -> list[str]:
    return ["--set", "data.name=shards", "--set", f"data.path={address}"]


def held(project: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in (project / "fetched").rglob("*.tar")}


def same(one: list[dict], other: list[dict]) -> bool:
    return [row | {"path": 0, "span": 0} for row in one] == [row | {"path": 0, "span": 0} for row in other]


def test_prepare_streams_each_shard_once_and_keeps_none(packed: Path, web: Web) -> None:
    before = table(packed)["samples"]
    run_in(packed, "stillroom", "prepare", *at(f"{web.url}/packed"))
    assert same(before, table(packed)["samples"])
    assert table(packed)["root"] is None
    shards = {name: count for name, count in web.asked.items() if name.endswith(".tar")}
    assert shards == {"packed/train-000000.tar": 1, "packed/test-000000.tar": 1}
    assert held(packed) == {}


def test_samples_are_read_from_copies_that_are_fetched_once(packed: Path, web: Web) -> None:
    address = f"{web.url}/packed"
    run_in(packed, "stillroom", "prepare", *at(address))
    web.asked.clear()
    samples = load_samples(packed / "artifacts/data", address)
    reader = Pixels(samples, budget=0)
    for row in (*samples.rows, *samples.rows):
        assert reader[row].shape == (row.size[1], row.size[0], 3)
    assert set(web.asked.values()) == {1} and len(held(packed)) == 2
    # a damaged, or an old, copy is fetched again, and one that was deleted too
    for file in (packed / "fetched").rglob("*.tar"):
        file.write_bytes(bytes(file.stat().st_size))
    assert reader[samples.rows[0]].size and web.asked[f"packed/{samples.rows[0].path}"] == 2
    for file in (packed / "fetched").rglob("*.tar"):
        file.unlink()
    assert reader[samples.rows[0]].size and web.asked[f"packed/{samples.rows[0].path}"] == 3


def test_what_was_replaced_there_is_named_with_its_key(packed: Path, web: Web) -> None:
    address = f"{web.url}/packed"
    run_in(packed, "stillroom", "prepare", *at(address))
    samples = load_samples(packed / "artifacts/data", address)
    row = samples.rows[0]
    shard = packed / "served/packed" / row.path
    content = shard.read_bytes()
    shard.write_bytes(bytes(len(content)))
    with pytest.raises(DataError, match="was replaced") as told:
        Pixels(samples)[row]
    assert f"{address}/{row.path}" in str(told.value) and row.key in str(told.value)
    assert row.span is not None
    shard.write_bytes(content[: row.span[0] + 5])
    with pytest.raises(DataError, match="cannot be read") as told:
        Pixels(samples)[row]
    assert row.key in str(told.value) and "the sample ends at byte" in str(told.value)
    shard.unlink()
    for file in (packed / "fetched").rglob("*.tar"):
        file.unlink()
    with pytest.raises(DataError, match=r"\.tar is not there"):
        Pixels(samples)[row]


def test_the_copies_stay_within_their_bound(packed: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{web.url}/packed"
    run_in(packed, "stillroom", "prepare", *at(address))
    sizes = [file.stat().st_size for file in (packed / "packed").glob("*.tar")]
    monkeypatch.setenv("STILLROOM_FETCHED_GIB", str((max(sizes) + 100) / 2**30))
    samples = load_samples(packed / "artifacts/data", address)
    for row in (samples.rows[0], samples.rows[-1], samples.rows[0]):
        assert Pixels(samples)[row].size
        assert set(held(packed)) == {row.path}
    monkeypatch.setenv("STILLROOM_FETCHED_GIB", str(1 / 2**30))  # less than one: it is read all the same
    monkeypatch.setattr(fetched, "_copies", {})
    assert Pixels(samples)[samples.rows[-1]].size


def read(samples: object) -> int:
    reader = Pixels(samples, budget=0)  # type: ignore[arg-type]
    return sum(int(reader[row].sum()) for row in samples.rows)  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_the_copies(packed: Path, web: Web, method: str) -> None:
    address = f"{web.url}/packed"
    run_in(packed, "stillroom", "prepare", *at(address))
    web.asked.clear()
    samples = load_samples(packed / "artifacts/data", address)
    assert Pixels(samples)[samples.rows[0]].size  # the connection is open before the fork
    with multiprocessing.get_context(method).Pool(4) as pool:
        sums = pool.map(read, [samples] * 8)
    assert len(set(sums)) == 1 and set(web.asked.values()) == {1}


def test_a_lost_connection_is_gone_on_with(packed: Path, web: Web) -> None:
    before = table(packed)["samples"]
    shard = "packed/train-000000.tar"
    web.faults = {shard: ["cut", 503, "cut"]}
    run_in(packed, "stillroom", "prepare", *at(f"{web.url}/packed"))
    assert same(before, table(packed)["samples"]) and web.asked[shard] == 4
    web.faults = {shard: ["cut", 503]}
    samples = load_samples(packed / "artifacts/data", f"{web.url}/packed")
    assert Pixels(samples)[samples.rows[-1]].size


def test_a_server_that_is_gone_or_refuses_is_one_message(
    packed: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "1")
    for fault, words in ((503, "cannot be reached"), (403, "refuses to be read")):
        web.always = fault
        said = run_in(packed, "stillroom", "prepare", *at(f"{web.url}/packed"), code=1).stderr
        assert words in said and f"{web.url}/packed" in said


def test_another_data_set_at_an_address_is_refused(packed: Path) -> None:
    said = run_in(
        packed, "stillroom", "prepare", "--set", "data.name=folder", "--set", "data.path=s3://x/y", code=2
    )
    assert "reads folders of this machine" in said.stderr and "--pack" in said.stderr


def test_s3_through_every_command(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(packed)["samples"]
    with s3_server(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        client = s3_client(environment)
        for file in (packed / "packed").iterdir():
            client.upload_file(str(file), BUCKET, f"sets/packed/{file.name}")
        address = f"s3://{BUCKET}/sets/packed"
        run_in(packed, "stillroom", "prepare", *at(address))
        assert same(before, table(packed)["samples"])

        def looked() -> dict:
            run_in(packed, "stillroom", "prepare", "--look", *at(address))
            return json.loads((packed / "artifacts/source.json").read_text())

        first = looked()
        assert first["files"] == 3 and looked() == first and held(packed) == {}
        small = ["--set", "teacher.train.batch_size=4", "--set", "cache.batch_size=4"]
        run_in(packed, "stillroom", "teacher", *at(address), *small)
        assert held(packed)
        client.put_object(Bucket=BUCKET, Key="sets/packed/train-000000.tar", Body=b"another")
        assert looked() != first
        gone = run_in(packed, "stillroom", "prepare", *at(f"s3://{BUCKET}/nothing"), code=1).stderr
        assert "no shard of train and test" in gone


def test_ssh(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(packed)["samples"]
    with ssh_server(tmp_path) as environment:
        monkeypatch.setenv("HOME", environment["HOME"])
        address = f"ssh://lab{packed / 'packed'}"
        run_in(packed, "stillroom", "prepare", *at(address))
        assert same(before, table(packed)["samples"])
        samples = load_samples(packed / "artifacts/data", address)
        assert Pixels(samples)[samples.rows[0]].size


def test_the_table_of_an_address_needs_one(packed: Path, web: Web) -> None:
    run_in(packed, "stillroom", "prepare", *at(f"{web.url}/packed"))
    assert tables.read(packed / "artifacts/data")["root"] is None
    with pytest.raises(DataError, match=r"set data\.path"):
        load_samples(packed / "artifacts/data")


def test_shards_on_the_hub_are_read_at_one_commit(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(packed)["samples"]
    hub = Hub()
    try:
        for name, value in environment_of(hub, packed, READER).items():
            monkeypatch.setenv(name, value)
        files = {f"packed/{file.name}": file.read_bytes() for file in (packed / "packed").iterdir()}
        repo = hub.repo("lab/photos", private=True)
        repo.put(files | {"README.md": b"no shard", "packed/.gitattributes": b"neither"})
        address = "hf://datasets/lab/photos/packed"
        run_in(packed, "stillroom", "prepare", *at(address))
        assert same(before, table(packed)["samples"]) and not hub.leaked
        samples = load_samples(packed / "artifacts/data", address)
        assert Pixels(samples)[samples.rows[0]].size
        repo.put({path: b"something else" for path in files if path.endswith(".tar")})
        assert Pixels(samples)[samples.rows[-1]].size  # fetched now, of the commit that was there at first
        monkeypatch.delenv("HF_TOKEN")
        said = run_in(packed, "stillroom", "prepare", *at(address), code=1).stderr
        assert "needs a token" in said and "hf auth login" in said
    finally:
        hub.close()

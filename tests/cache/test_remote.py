"""A cache read in place, over a real HTTP server that counts, fails and lies."""

import multiprocessing
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stillroom.cache.format.manifest import NAME
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.cache.read.remote import Remote
from stillroom.cache.write.publish import publish
from stillroom.errors import CacheError
from tests.conftest import run_in
from tests.contract.store_contract import KEYS, LABELS, VIEWS, outputs, plane_digest, staged, values
from tests.team.servers import Web, free_port


@pytest.fixture(params=["zarr", "hdf5"], scope="module")
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    with staged(folder / "staging") as staging:
        publish([staging], folder / "cache", request.param, VIEWS, environment={}, probes=[])
    return folder / "cache"


@pytest.fixture
def web(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server of a published cache, `cache/`; what is fetched goes to `fetched`."""
    shutil.copytree(published, tmp_path / "served/cache")
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "fetched"))
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "4")
    server = Web(tmp_path / "served")
    yield server
    server.close()


def held(folder: Path) -> int:
    """Bytes of the fetched files of planes."""
    return sum(
        file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file() and file.name != NAME and not file.name.startswith(".")
    )


def test_it_reads_as_a_local_cache_does_and_fetches_each_file_once(web: Web) -> None:
    store = open_store(f"{web.url}/cache")
    for _ in range(2):
        for view in range(VIEWS):
            plane = store.read_plane(view)
            for name, expected in values(view).items():
                np.testing.assert_array_equal(plane[name], expected)
            for name, decoded in outputs(view).items():
                np.testing.assert_array_equal(store.logits(view, name), decoded)
    assert store.keys == KEYS and store.labels.tolist() == LABELS
    assert set(web.asked) == {
        f"cache/{file}" for file in (*store.files() - set(store.metadata_files()), NAME)
    } | ({"cache/store.h5"} if store.manifest.backend == "hdf5" else set())
    assert set(web.asked.values()) == {1}
    again = open_store(f"{web.url}/cache/{NAME}")  # by another address of the same, in another run
    again.read_plane(0)
    assert {file for file, times in web.asked.items() if times > 1} == {f"cache/{NAME}"}


def test_only_what_is_read_is_fetched(web: Web) -> None:
    store = open_store(f"{web.url}/cache")
    assert list(web.asked) == [f"cache/{NAME}"]
    store.logits(1)
    assert set(web.asked) == {f"cache/{NAME}", f"cache/{store.file('logits', 1, 0)}"}


def test_verify_reads_all_of_it_and_names_what_is_damaged_there(web: Web) -> None:
    assert verify(f"{web.url}/cache") == []
    store = open_store(web.folder / "cache")
    file = store.file("logits", 1, 0)
    content = bytearray((web.folder / "cache" / file).read_bytes())
    content[len(content) // 2] ^= 1
    (web.folder / "cache" / file).write_bytes(content)
    open_store(f"{web.url}/cache").logits(1)  # the local copy is whole
    damage = verify(f"{web.url}/cache")
    assert {entry["file"] for entry in damage} == {file}
    with pytest.raises(CacheError) as caught:  # all arrays: of HDF5 the middle of a file may be another one's
        open_store(f"{web.url}/cache").read_plane(1)
    assert file in str(caught.value) and f"{web.url}/cache" in str(caught.value)


def test_a_damaged_local_copy_is_fetched_again(web: Web) -> None:
    store = open_store(f"{web.url}/cache")
    expected = store.read_plane(2)
    rows = store.rows
    for file in store.folder.rglob("*"):
        if file.is_file() and file.name != NAME:
            file.write_bytes(b"x" * file.stat().st_size)
    again = pickle.loads(pickle.dumps(store))
    for name, values_ in again.read_plane(2).items():
        np.testing.assert_array_equal(values_, expected[name])
    np.testing.assert_array_equal(again.rows.keys, rows.keys)


@pytest.mark.slow
def test_a_lost_connection_is_tried_again(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "600")
    file = f"cache/{open_store(web.folder / 'cache').file('logits', 0, 0)}"
    web.faults = {f"cache/{NAME}": [503, "cut"], file: ["cut", 500]}
    np.testing.assert_array_equal(open_store(f"{web.url}/cache").logits(0), outputs(0)["logits"])
    assert web.asked[file] == web.asked[f"cache/{NAME}"] == 3


@pytest.mark.slow
def test_a_lost_server_ends_in_one_message_and_what_was_fetched_stays(web: Web) -> None:
    store = open_store(f"{web.url}/cache")
    store.logits(0)
    web.always = 503
    with pytest.raises(CacheError, match="cannot be reached") as caught:
        store.logits(1)
    assert "(tried " in caught.value.why
    assert "run the same command again" in caught.value.fix and web.url in caught.value.what
    store.logits(0)
    web.always = None
    np.testing.assert_array_equal(store.logits(1), outputs(1)["logits"])
    assert web.asked[f"cache/{store.file('logits', 0, 0)}"] == 1


def test_nobody_there(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "1")
    with pytest.raises(CacheError, match="cannot be reached"):
        open_store(f"http://127.0.0.1:{free_port()}/cache")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_not_tried_again(web: Web, status: int) -> None:
    web.always = status
    with pytest.raises(CacheError, match="refuses to be read") as caught:
        open_store(f"{web.url}/cache")
    assert "credentials" in caught.value.fix and web.asked.total() == 1


def test_what_is_not_there_is_said(web: Web) -> None:
    with pytest.raises(CacheError, match=r"nothing/manifest\.json is not there"):
        open_store(f"{web.url}/nothing")
    store = open_store(f"{web.url}/cache")
    file = store.file("logits", 0, 0)
    (web.folder / "cache" / file).unlink()
    with pytest.raises(CacheError, match=f"{file}: is not there"):
        store.logits(0)


def test_a_server_cannot_fill_the_disk(web: Web) -> None:
    store = open_store(f"{web.url}/cache")
    file = store.file("logits", 0, 0)
    web.faults = {f"cache/{file}": [b"x" * 2**25] * 4}
    with pytest.raises(CacheError, match="is too long"):
        store.logits(0)
    assert held(store.folder.parent) < 2**20
    web.faults = {f"cache/{NAME}": [b" " * 2**25]}
    with pytest.raises(CacheError, match="is too long"):
        open_store(f"{web.url}/cache")


def test_a_manifest_that_is_none_is_refused(web: Web) -> None:
    web.faults = {f"cache/{NAME}": [b'{"format": "other"}']}
    with pytest.raises(CacheError, match="is no manifest") as caught:
        open_store(f"{web.url}/cache")
    assert web.url in caught.value.what


def test_the_folder_stays_within_its_bound(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = open_store(web.folder / "cache")
    sizes = [
        sum(
            (plain.folder / file).stat().st_size
            for file in {
                plain.file(names[0], view, part) for names, part in plain.units(list(plain.layout.arrays))
            }
        )
        for view in range(VIEWS)
    ]
    bound = max(sizes) + min(sizes) // 2  # a plane fits, two do not
    monkeypatch.setenv("STILLROOM_FETCHED_GIB", str(bound / 2**30))
    store = open_store(f"{web.url}/cache")
    for view in (*range(VIEWS), *range(VIEWS)):
        for name, expected in values(view).items():
            np.testing.assert_array_equal(store.read_plane(view)[name], expected)
        assert held(store.folder.parent) <= bound
    assert web.asked[f"cache/{store.file('logits', 0, 0)}"] == 2
    monkeypatch.setenv("STILLROOM_FETCHED_GIB", str(1 / 2**30))  # less than a plane: it is read all the same
    for name, expected in values(1).items():
        np.testing.assert_array_equal(open_store(f"{web.url}/cache").read_plane(1)[name], expected)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.slow
def test_processes_share_what_is_fetched(web: Web, method: str) -> None:
    store = open_store(f"{web.url}/cache")
    store.logits(0)  # the connection is open before the fork
    with multiprocessing.get_context(method).Pool(4) as pool:
        found = pool.starmap(plane_digest, [(store, view) for view in (1, 2) for _ in range(4)])
    local = open_store(web.folder / "cache")
    assert found == [plane_digest(local, view) for view in (1, 2) for _ in range(4)]
    assert set(web.asked.values()) == {1}


def test_no_password_is_shown() -> None:
    remote = Remote("ssh://ada:secret@host/srv/cache/")
    assert remote.shown == "ssh://ada:***@host/srv/cache" and "secret" in remote.address


@pytest.mark.parametrize(
    ("name", "value"), [("STILLROOM_FETCHED_GIB", "much"), ("STILLROOM_FETCH_SECONDS", "-1")]
)
def test_a_wrong_setting_is_said(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CacheError, match=f"{name} = '{value}'"):
        Remote("https://host/cache")


def test_a_folder_that_cannot_be_written_is_said(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="cannot be kept in") as caught:
        open_store(f"{web.url}/cache")
    assert "STILLROOM_FETCHED" in caught.value.fix


def test_an_unknown_address_is_said() -> None:
    with pytest.raises(CacheError, match="cannot be read") as caught:
        open_store("carrier-pigeon://loft/cache")
    assert "s3://" in caught.value.fix


def test_a_missing_plug_in_is_said_with_what_to_install() -> None:
    script = (
        "import sys; sys.modules['s3fs'] = None; from stillroom.cache.read.backends import open_store\n"
        "try: open_store('s3://bucket/cache')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith("CacheError s3://bucket/cache cannot be read")
    assert "pip install 'stillroom[s3]'" in said


@pytest.fixture(scope="module")
def unpushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose DVC knows a folder that was never pushed."""
    maker, clone = (tmp_path_factory.mktemp("unpushed") / name for name in ("maker", "clone"))
    maker.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=maker, check=True)
    run_in(maker, "dvc", "init", "-q")
    (maker / "artifacts/cache").mkdir(parents=True)
    (maker / "artifacts/cache/manifest.json").write_text("{}")
    run_in(maker, "dvc", "add", "-q", "artifacts/cache")
    who = ["-c", "user.name=member", "-c", "user.email=member@example.invalid"]
    for words in (["add", "-A"], [*who, "commit", "-q", "-m", "cache"]):
        subprocess.run(["git", *words], cwd=maker, check=True)
    subprocess.run(["git", "clone", "-q", str(maker), str(clone)], check=True)
    return clone


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "address", "what", "advice"),
    [
        (None, "dvc://artifacts/cache", "is not there", "`dvc push`"),
        ("{folder}/nothing", "dvc://artifacts/cache", "is not there", "`dvc push`"),
        ("http://127.0.0.1:9/x", "dvc://artifacts/cache", "cannot be reached", "network"),
        ("s3://lab/nothing", "dvc://artifacts/cache", "refuses to be read", "credentials"),
        (None, "dvc://artifacts/cash", "is not there", "dvc://artifacts/cache"),
        (None, "dvc://", "is not there", "dvc://artifacts/cache"),
    ],
)
def test_what_dvc_lacks_is_told_from_what_it_cannot_reach(
    unpushed: Path, url: str | None, address: str, what: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "1")
    monkeypatch.chdir(unpushed)
    (unpushed / ".dvc/config").write_text(
        f"['remote \"lab\"']\n    url = {url.format(folder=unpushed)}\n[core]\n    remote = lab\n"
        if url
        else ""
    )
    with pytest.raises(CacheError, match=what) as caught:
        open_store(address)
    assert advice in caught.value.fix

"""A cache read from the Hub, that is from a stand-in on loopback which speaks as the Hub does."""

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from stillroom.cache.format.manifest import NAME
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.cache.write.publish import publish
from stillroom.errors import CacheError
from stillroom.fetched import masked
from stillroom.hub import Place, place_of
from tests.contract.store_contract import KEYS, VIEWS, outputs, staged, values
from tests.team.hub import READER, SIGNATURE, STRANGER, Hub, environment_of

ADDRESS = "hf://datasets/lab/demo/some/cache"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a cache, as they lie in `some/cache` of a repository."""
    folder = tmp_path_factory.mktemp("published")
    with staged(folder / "staging") as staging:
        publish([staging], folder / "cache", "zarr", VIEWS, environment={}, probes=[])
    files = [file for file in (folder / "cache").rglob("*") if file.is_file()]
    return {
        f"some/cache/{file.relative_to(folder / 'cache').as_posix()}": file.read_bytes() for file in files
    }


@pytest.fixture
def hub(published: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name, value in environment_of(server, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    server.repo("lab/demo").put(dict(published))
    server.repo("lab/private", private=True).put(dict(published))
    server.repo("lab/gated", gated=True).put(dict(published))
    yield server
    server.close()


def asked(hub: Hub) -> int:
    """How often the Hub was asked for something of a repository."""
    return sum(times for name, times in hub.asked.items() if "agent" not in name)


@pytest.mark.parametrize(
    "form", [ADDRESS, f"{ADDRESS}/{NAME}", "{url}/datasets/lab/demo/resolve/main/some/cache"]
)
def test_it_reads_as_a_local_cache_does(hub: Hub, form: str) -> None:
    store = open_store(form.format(url=hub.url))
    for view in range(VIEWS):
        plane = store.read_plane(view)
        for name, expected in values(view).items():
            np.testing.assert_array_equal(plane[name], expected)
        for name, decoded in outputs(view).items():
            np.testing.assert_array_equal(store.logits(view, name), decoded)
    assert store.keys == KEYS
    files, size = store.size_on_disk()  # the tree comes in pages
    held = hub.repos["datasets", "lab/demo"].files
    assert (files, size) == (len(held), sum(map(len, held.values())))
    assert {times for name, times in hub.asked.items() if "/resolve/" in name} == {1}
    assert not hub.leaked
    assert verify(form.format(url=hub.url)) == []


def test_an_open_cache_stays_at_one_commit(hub: Hub) -> None:
    store = open_store(ADDRESS)
    store.logits(0)
    repo, old = hub.repos["datasets", "lab/demo"], hub.repos["datasets", "lab/demo"].commits[-1][0]
    repo.put(dict.fromkeys(repo.files, b"something else"))
    for one in (store, pickle.loads(pickle.dumps(store))):
        np.testing.assert_array_equal(one.logits(1), outputs(1)["logits"])
    with pytest.raises(CacheError, match="no manifest that this version reads"):
        open_store(ADDRESS)
    repo.tags["v1"] = old
    for revision in ("v1", old):
        pinned = open_store(f"hf://datasets/lab/demo@{revision}/some/cache")
        np.testing.assert_array_equal(pinned.logits(2), outputs(2)["logits"])


def test_a_token_is_sent_to_the_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    store = open_store("hf://datasets/lab/private/some/cache")
    np.testing.assert_array_equal(store.logits(0), outputs(0)["logits"])
    assert any(name.count("/") == 1 for name in hub.asked)  # the other host was asked
    assert not hub.leaked


@pytest.mark.parametrize(
    ("repo", "token", "words"),
    [
        ("private", None, ["needs a token", "private or gated", "hf auth login", "HF_TOKEN"]),
        ("private", STRANGER, ["may not read it", "HF_TOKEN"]),
        ("private", f"{STRANGER}X", ["is not valid", "HF_TOKEN"]),
        ("nothing", None, ["not there", "check the name"]),
        ("nothing", READER, ["there is no hf://datasets/lab/nothing"]),
        ("gated", None, ["is gated", "ask for access on"]),
        ("gated", STRANGER, ["is gated", "ask for access on"]),
        ("demo@v9", None, ["has no revision v9"]),
    ],
)
def test_a_refusal_is_final_and_says_what_to_do(
    hub: Hub, repo: str, token: str | None, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(CacheError, match="refuses to be read") as caught:
        open_store(f"hf://datasets/lab/{repo}/some/cache")
    said = str(caught.value)
    assert f"lab/{repo.partition('@')[0]}" in said and all(word in said for word in words), said
    assert asked(hub) == 1 and "hf_stranger" not in said and "hf_reader" not in said


@pytest.mark.parametrize("status", [401, 403])
def test_a_file_that_is_refused_is_not_asked_for_again(hub: Hub, status: int) -> None:
    store = open_store(ADDRESS)
    before = asked(hub)
    hub.faults = {"GET /": [status] * 9}
    with pytest.raises(CacheError, match="needs a token"):
        store.logits(0)
    assert asked(hub) == before + 1


def test_it_is_not_asked_where_the_environment_says_offline(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CacheError, match="HF_HUB_OFFLINE"):
        open_store(ADDRESS)
    assert asked(hub) == 0


def test_what_is_not_there_is_said(hub: Hub) -> None:
    with pytest.raises(CacheError, match=r"demo/nothing/manifest\.json is not there"):
        open_store("hf://datasets/lab/demo/nothing")


@pytest.mark.slow
def test_a_lost_connection_is_tried_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "600")
    hub.faults = {"GET /api/datasets/lab/demo": [503], "GET /datasets": [500, "cut"]}
    np.testing.assert_array_equal(open_store(ADDRESS).logits(0), outputs(0)["logits"])
    assert not any(hub.faults.values())


@pytest.mark.slow
def test_a_lost_hub_ends_in_one_message_without_what_is_secret(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "1")
    monkeypatch.setenv("HF_TOKEN", READER)
    store = open_store(ADDRESS)
    repo = hub.repos["datasets", "lab/demo"]
    digests = [hashlib.sha256(content).hexdigest() for content in repo.files.values()]
    hub.faults = {f"GET /{digest}": [503] * 99 for digest in digests}  # of the other host
    with pytest.raises(CacheError, match="cannot be reached") as caught:
        store.logits(0)
    said = f"{caught.value}{''.join(capfd.readouterr())}"
    assert "503" in said and "(tried " in said and READER not in said and SIGNATURE not in said


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("hf://datasets/U/R/a/b/", Place("dataset", "U/R", None, "a/b")),
        ("hf://datasets/U/R@v1/a", Place("dataset", "U/R", "v1", "a")),
        ("hf://U/R", Place("model", "U/R")),
        ("hf://models/U/R@refs/pr/1/x", Place("model", "U/R", "refs/pr/1", "x")),
        ("hf://U/R@a%2Fb/x@y", Place("model", "U/R", "a/b", "x@y")),
        ("https://huggingface.co/datasets/U/R/resolve/main/a", Place("dataset", "U/R", "main", "a")),
        ("https://huggingface.co/datasets/U/R", None),
        ("https://example.org/datasets/U/R/resolve/main/a", None),
        ("s3://datasets/U/R", None),
    ],
)
def test_an_address_names_a_place(address: str, place: Place | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert place_of(address) == place


@pytest.mark.parametrize(
    "address", ["hf://", "hf://U", "hf://datasets/U", "hf://buckets/U/R", "hf://U/R/../x"]
)
def test_an_address_without_a_repository_is_said(address: str) -> None:
    with pytest.raises(CacheError, match="is no address of the Hub") as caught:
        open_store(address)
    assert "hf://datasets/USER/REPO" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ssh://ada:p@ss/x", "ssh://ada:***@ss/x"),
        ("ssh://ada@host/x", "ssh://ada@host/x"),
        ("https://ada:s3cret@host/x", "https://***@host/x"),
        ("https://hf_0123456789abcdefghij@host/x", "https://***@host/x"),
        ("s3://KEY:SECRET@bucket/x", "s3://***@bucket/x"),
        ("GET 'https://host/x?sig=abc&n=1' failed", "GET 'https://host/x?***' failed"),
        ("the token hf_0123456789abcdefghij", "the token hf_***"),
        ("hf://datasets/U/R@v1/x", "hf://datasets/U/R@v1/x"),
    ],
)
def test_no_secret_of_an_address_is_shown(text: str, shown: str) -> None:
    assert masked(text) == shown

"""A download over a connection that breaks ends with the bytes of one version of the file, or not at all."""

import random
import socket

import pytest

from stillroom.errors import DataError
from stillroom.modalities.images.preparation import download
from stillroom.modalities.images.preparation.download import fetch

BODY = random.Random(0).randbytes(1_000_000)
OTHER = random.Random(1).randbytes(1_000_000)


@pytest.fixture
def get(host, tmp_path, listener):
    """Fetches /a.zip; the file's path."""
    host.files["/a.zip"] = BODY
    file = tmp_path / "new" / "a.zip"

    def run():
        fetch(f"{host.base}/a.zip", file, listener, by_hand="place it by hand", pause=0)
        return file

    return run


def left(file):
    return sorted(path.name for path in file.parent.iterdir())


def test_the_bytes_arrive_and_nothing_else_is_left(get, host, listener):
    file = get()
    assert file.read_bytes() == BODY
    assert left(file) == ["a.zip"]
    assert listener.works == [["download a.zip", len(BODY), "bytes", len(BODY)]]


def test_a_complete_file_is_not_asked_for_again(get, host):
    get()
    get()
    assert len(host.asked) == 1


def test_a_cut_connection_goes_on_where_it_stopped(get, host, listener):
    host.cuts = [400_000]
    file = get()
    assert file.read_bytes() == BODY
    (_, first, status, _), (_, second, resumed, sent) = host.asked
    assert (first, status, resumed) == (None, 200, 206)
    assert second == f"bytes={len(BODY) - sent}-"
    assert sent < len(BODY) - 400_000 + download.CHUNK
    assert listener.works[-1] == ["download a.zip", len(BODY), "bytes", len(BODY)]
    assert left(file) == ["a.zip"]


def test_a_connection_that_keeps_breaking_but_moves_on_arrives(get, host):
    host.cuts = [100_000] * (download.ATTEMPTS + 3)
    assert get().read_bytes() == BODY
    assert len(host.asked) == download.ATTEMPTS + 4
    assert sum(sent for *_, sent in host.asked) < len(BODY) + download.CHUNK * len(host.asked)


def test_a_later_call_goes_on_from_the_part_of_an_earlier_one(get, host, tmp_path):
    host.cuts = [400_000] + [0] * download.ATTEMPTS
    with pytest.raises(DataError, match="place it by hand"):
        get()
    assert not (tmp_path / "new" / "a.zip").exists()
    part = (tmp_path / "new" / "a.zip.part").read_bytes()
    assert len(part) > 400_000 - download.CHUNK
    assert BODY.startswith(part)
    host.asked.clear()
    host.cuts.clear()
    assert get().read_bytes() == BODY
    assert host.asked == [("/a.zip", f"bytes={len(part)}-", 206, len(BODY) - len(part))]


def test_a_part_that_is_whole_needs_no_request(get, host, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:  # killed between the last byte and the rename
        patch.setattr(type(tmp_path), "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            get()
    assert len(host.asked) == 1
    assert get().read_bytes() == BODY
    assert len(host.asked) == 1


def test_a_server_that_ignores_range_starts_again(get, host):
    host.ranges = False
    host.cuts = [400_000]
    assert get().read_bytes() == BODY
    assert [status for _, _, status, _ in host.asked] == [200, 200]


@pytest.mark.parametrize("if_range", [True, False], ids=["honours-if-range", "ignores-if-range"])
@pytest.mark.parametrize("header", ["etag", "modified"])
def test_a_file_that_changed_in_between_is_not_spliced(get, host, if_range, header):
    if header == "modified":
        host.etag = None
    host.if_range = if_range
    host.cuts = [400_000]

    def change():
        host.files["/a.zip"] = OTHER
        setattr(host, header, '"two"' if header == "etag" else "Tue, 03 Jan 2012 03:04:05 GMT")

    host.after_cut = change
    assert get().read_bytes() == OTHER


def test_a_file_that_changed_its_length_alone_is_not_spliced(get, host):
    host.cuts = [400_000]
    host.after_cut = lambda: host.files.update({"/a.zip": OTHER[:900_000]})
    assert get().read_bytes() == OTHER[:900_000]


def test_a_range_that_begins_elsewhere_is_not_appended(get, host):
    host.cuts = [400_000]
    host.skew = 7
    assert get().read_bytes() == BODY


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_version_nothing_is_resumed(get, host, etag):
    host.etag, host.modified = etag, None
    host.cuts = [400_000]
    assert get().read_bytes() == BODY
    assert [asked for _, asked, _, _ in host.asked] == [None, None]


@pytest.mark.parametrize(
    "note", [None, "{", '{"etag": "\\"one\\""}', '{"etag": "\\"one\\"", "modified": null, "length": 5}']
)
def test_a_part_of_unknown_origin_is_thrown_away(get, host, tmp_path, note):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.zip.part").write_bytes(b"something else")
    if note is not None:
        (tmp_path / "new" / "a.zip.part.json").write_text(note)
    assert get().read_bytes() == BODY


def test_a_busy_server_is_asked_again(get, host):
    host.statuses = [503, 429]
    assert get().read_bytes() == BODY


def test_a_refusal_is_final_and_says_what_to_do(get, host):
    host.files.clear()
    with pytest.raises(DataError) as caught:
        get()
    assert len(host.asked) == 1
    assert f"{host.base}/a.zip" in caught.value.what
    assert "404" in caught.value.why
    assert caught.value.fix == "place it by hand"


def test_no_server_at_all_is_an_error_with_the_way_out(tmp_path, listener, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(DataError, match="place it by hand"):
        fetch(
            f"http://127.0.0.1:{port}/a.zip",
            tmp_path / "a.zip",
            listener,
            by_hand="place it by hand",
            pause=0,
        )
    assert len(listener.notes) == download.ATTEMPTS - 1
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_the_limit_are_refused(get, host, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="limit"):
        get()
    assert len(host.asked) == 1


def test_an_address_that_is_none_is_refused_at_once(tmp_path, listener):
    with pytest.raises(DataError, match="nonsense"):
        fetch("nonsense/a.zip", tmp_path / "a.zip", listener, by_hand="place it by hand")
    assert listener.notes == []

"""What trackers are given: numbers by name, and parameters without secrets."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stillroom.lock import in_turn
from stillroom.trackers import Following, Place, Run, Tracker, curves, following


def test_addresses_lose_what_is_secret() -> None:
    parameters: dict[str, Any] = {
        "data": {"path": "https://ada:pass@host/set?X-Amz-Signature=abc", "sizes": [1, 2], "none": None},
        "cache": ["s3://key:secret@bucket/cache"],
        "lr": 0.1,
        "flag": True,
    }
    place = Place("vit-kd-0", Path(), Path(), Path(), Run(parameters, str))
    assert place.parameters == {
        "data.path": "https://***@host/set?***",
        "data.sizes": "[1, 2]",
        "data.none": "null",
        "cache": '["s3://***@bucket/cache"]',
        "lr": 0.1,
        "flag": True,
    }
    assert "secret" not in str(place.parameters) and "abc" not in str(place.parameters)


def test_a_record_is_numbers_by_name() -> None:
    record = {"epoch": 3, "loss": 1.5, "terms": {"labels": 1, "teacher": 0.5}, "lr": 0.1, "what": "text"}
    assert curves(record) == {"loss": 1.5, "loss_labels": 1.0, "loss_teacher": 0.5, "lr": 0.1}


class Noting(Tracker):
    """Notes what it is told, and fails where it is to."""

    PACKAGES = ()

    def __init__(self, fail: str = "") -> None:
        self.told: list[Any] = []
        self._fail = fail

    def _note(self, what: str, *rest: Any) -> None:
        self.told.append((what, *rest))
        if what == self._fail:
            raise OSError("no space left on device")

    def epoch(self, number: int, values: dict[str, float]) -> None:
        self._note("epoch", number, values)

    def scores(self, values: dict[str, float]) -> None:
        self._note("scores", values)

    def close(self, end: str) -> None:
        self._note("close", end)


@pytest.mark.parametrize("fail", ["epoch", "scores", "close"])
def test_one_that_fails_is_left_out_and_the_others_go_on(fail: str) -> None:
    bad, good, lines = Noting(fail), Noting(), []
    followed = Following({"bad": bad, "good": good}, lines.append)
    for number in (1, 2):
        followed({"epoch": number, "loss": 1.0})
    followed.end({"accuracy": 50.0, "per_class": {}})
    followed.close("finished")
    assert [one[0] for one in good.told] == ["epoch", "epoch", "scores", "close"]
    assert good.told[2:] == [("scores", {"test_accuracy": 50.0}), ("close", "finished")]
    assert len(lines) == 1 and "bad cannot be written to (no space left on device)" in lines[0]
    assert [one[0] for one in bad.told].count(fail) == 1


def test_how_a_run_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Noting] = []

    class Fresh(Noting):
        def __init__(self, place: Place) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr("stillroom.trackers._kind", lambda name: Fresh)
    arguments = (["one"], "vit-kd-0", Run({}, str), tmp_path, tmp_path, tmp_path, print)
    for error, end in ((KeyboardInterrupt, "stopped"), (RuntimeError, "failed")):
        with pytest.raises(error), following(*arguments):
            raise error
        assert made[-1].told == [("close", end)]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard writes in a thread of its own, which would print a traceback beside it."""
    pytest.importorskip("tensorboard")
    from stillroom.trackers.tensorboard import TensorBoard

    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    tracker = TensorBoard(Place("vit-kd-0", tmp_path, Path(), Path(), Run({}, str)))
    inner = tracker._writer.file_writer.event_writer._async_writer._writer._writer

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    inner.write = inner.flush = full
    lines: list[str] = []
    followed = Following({"tensorboard": tracker}, lines.append)
    for number in range(1, 50):
        followed({"epoch": number, "loss": 1.0})
        time.sleep(0.01)
    followed.close("finished")
    assert len(lines) == 1 and "No space left" in lines[0]
    assert not told and threading.excepthook == told.append


def test_a_lock_that_is_held_does_not_hold_up_for_ever(tmp_path: Path) -> None:
    held, again = in_turn(tmp_path / ".lock"), in_turn(tmp_path / ".lock", patience=0.2)
    with held, pytest.raises(TimeoutError, match="another process holds"), again:
        raise AssertionError
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError), in_turn(tmp_path / "pipe"):
        raise AssertionError

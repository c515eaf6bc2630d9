"""Where the curves of a training run go beside its results, one tracker a file: `NAME.py` holds one subclass
of `Tracker`. A new file is a new tracker, which `track` in params.yaml may name.

A tracker only watches: nothing that it does, or fails to do, changes a result.
"""

import importlib.util
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from stillroom import registry
from stillroom.errors import ParamsError, StillroomError
from stillroom.fetched import masked

FIRST = ("dvclive",)  # of a list of names
End = Literal["finished", "stopped", "failed"]
Value = str | int | float | bool


def names() -> list[str]:
    """The names of all trackers. Nothing is imported."""
    return registry.names(__name__, FIRST)


def check(name: str, key: str) -> None:
    """Refuse a tracker that is not there.

    Args:
        key: what names it, for the message.

    Raises:
        ParamsError: names the nearest one, and all.
    """
    registry.check(__name__, name, f"{key} names {name!r:.80}: there is no such tracker", FIRST)


def ready(chosen: Sequence[str]) -> None:
    """Refuse trackers that cannot be used here; called before anything is trained.

    Raises:
        ParamsError: a package is missing, or what a tracker cannot do without; says what to do.
    """
    for name in chosen:
        kind = _kind(name)
        missing = [one for one in kind.PACKAGES if not _there(one)]
        if missing:
            raise ParamsError(
                f"track names {name}, and {' and '.join(missing)} cannot be imported",
                "the tracker needs it, and it is not installed here",
                f"run `pip install 'stillroom[{name}]'`, or take {name} out of track",
            )
        kind.check()


def _kind(name: str) -> "type[Tracker]":
    return registry.entry(__name__, name, Tracker)


def _there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # its parent is missing
        return False


@dataclass(frozen=True)
class Run:
    """A training run, as training knows it.

    Attributes:
        parameters: what it is trained with, in sections.
        begun: gives an id of this attempt at the run: the same after a stop or a kill, another one once its
            result is in its place.
    """

    parameters: Mapping[str, Any]
    begun: Callable[[], str]


@dataclass(frozen=True)
class Place:
    """A run, as a tracker is given it.

    Attributes:
        name: `teacher`, or of the student's folder, as `vit-kd-0`.
        folder: a folder of this tracker's own, of all runs: it may not be there, and stages leave it alone.
        growing: one of this run, for what is to be moved into `result` in the end.
        result: the new folder of the model, which takes its place once it is whole.
        run: the run itself.
    """

    name: str
    folder: Path
    growing: Path
    result: Path
    run: Run

    @cached_property
    def attempt(self) -> str:
        """Letters and digits: see `Run.begun`."""
        return self.run.begun()

    @property
    def parameters(self) -> dict[str, Value]:
        """What the run is trained with, by dotted name; without passwords and signatures in addresses."""
        return dict(_flat(self.run.parameters))


class Tracker(ABC):
    """Follows one run, in the first of its processes. An exception ends the tracker, and not the run; only a
    `StillroomError` of its construction ends both.

    A run that is taken up again begins with the records of the epochs that are done, whether the tracker has
    them or not: no step may be there twice, and none be missing.
    """

    PACKAGES: ClassVar[tuple[str, ...]]  # what has to be importable; the extra is called as the tracker

    @classmethod
    def check(cls) -> None:
        """Refuse what else cannot work here.

        Raises:
            ParamsError: says what to do.
        """
        return

    @abstractmethod
    def __init__(self, place: Place) -> None:
        """Open it."""

    @abstractmethod
    def epoch(self, number: int, values: dict[str, float]) -> None:
        """An epoch is done.

        Args:
            number: from 1.
            values: `loss`, `loss_TERM` of each term, `val_accuracy`, `lr`, `seconds`, ..., where there are.
        """

    def scores(self, values: dict[str, float]) -> None:
        """The final scores on the test split: `test_accuracy`, `test_mAP`, ..., in percent."""
        return

    @abstractmethod
    def close(self, end: End) -> None:
        """The run has ended so; called once."""


class Following:
    """What follows a run: called with each epoch's record, then once with the final scores.

    Args:
        trackers: by name.
        note: shows a line to people.
    """

    def __init__(self, trackers: Mapping[str, Tracker] = {}, note: Callable[[str], None] = print) -> None:
        self._trackers, self._note = dict(trackers), note

    def __call__(self, record: Mapping[str, Any]) -> None:
        """An epoch's record, as `training.loop.fit` gives it."""
        values = curves(record)
        for name, tracker in [*self._trackers.items()]:
            self._try(name, lambda one=tracker: one.epoch(int(record["epoch"]), dict(values)))  # type: ignore[misc]

    def end(self, scores: Mapping[str, Any]) -> None:
        """The scores on the test split, as `metrics.json` has them."""
        values = {f"test_{name}": value for name, value in numbers(scores).items()}
        for name, tracker in [*self._trackers.items()]:
            self._try(name, lambda one=tracker: one.scores(dict(values)))  # type: ignore[misc]

    def close(self, end: End) -> None:
        """Let all trackers go."""
        for name, tracker in self._trackers.items():
            try:
                tracker.close(end)
            except Exception as error:  # as of the others
                self._note(failure(name, error))
        self._trackers = {}

    def _try(self, name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # a server that is down, a full disk: whatever it meets
            self._note(failure(name, error))
            tracker = self._trackers.pop(name)
            with suppress(Exception):
                tracker.close("failed")


# Opens what follows a run
Follow = Callable[[Run], AbstractContextManager[Following]]


def failure(name: str, error: BaseException) -> str:
    """The line that says that a tracker has given up."""
    said = masked(" ".join(str(error).split())) or type(error).__name__
    return f"note: {name} cannot be written to ({said:.200}): it is left out, and the run goes on"


@contextmanager
def following(
    chosen: Iterable[str],
    name: str,
    run: Run,
    folder: Path,
    growing: Path,
    result: Path,
    note: Callable[[str], None],
) -> Iterator[Following]:
    """Open trackers, and let them go as the block ends.

    Args:
        chosen: their names.
        name, growing, result: see `Place`.
        folder: each has one of its name in it.
        note: shows a line to people.

    Raises:
        StillroomError: one that the run cannot begin with.
    """
    opened: dict[str, Tracker] = {}
    followed = None
    end: End = "failed"
    try:
        for one in chosen:
            try:
                opened[one] = _kind(one)(Place(name, folder / one, growing, result, run))
            except StillroomError:
                raise
            except Exception as error:
                note(failure(one, error))
        followed = Following(opened, note)
        yield followed
        end = "finished"
    except KeyboardInterrupt:
        end = "stopped"
        raise
    finally:
        (followed or Following(opened, note)).close(end)


def curves(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch's record by name; a term is called `loss_TERM`."""
    terms = {f"loss_{name}": value for name, value in record.get("terms", {}).items()}
    return numbers({**record, **terms, "epoch": None})


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What of a section is a number."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, bool | int | float):
            yield name, value
        else:
            yield name, masked(value if isinstance(value, str) else json.dumps(value, default=str))

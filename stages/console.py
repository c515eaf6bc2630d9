"""How progress is shown: a bar on a terminal, elsewhere a plain line every so often; and notes beside it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from stillroom.progress import Progress

PLAIN_EVERY = 30.0  # seconds between progress lines where the output is no terminal


class Console(Progress):
    """A rich bar with rate and time left on a terminal; elsewhere a plain line every so often."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._what, self._unit, self._total, self._done, self._status = "", "", 0, 0, ""
        self._began = self._last_line = 0.0

    def start(self, what: str, total: int, unit: str) -> None:
        self.finish()
        self._what, self._unit, self._total, self._done, self._status = what, unit, total, 0, ""
        self._began = self._last_line = time.monotonic()
        if sys.stdout.isatty():
            from rich import progress as bars

            self._bar = bars.Progress(
                bars.TextColumn("{task.description}"),
                bars.BarColumn(bar_width=24),
                bars.MofNCompleteColumn(),
                bars.TextColumn("{task.fields[rate]}"),
                bars.TimeRemainingColumn(),
                bars.TextColumn("[dim]{task.fields[status]}"),
            )
            self._task = self._bar.add_task(what, total=total, rate="", status="")
            self._bar.start()

    def advance(self, count: int = 1, status: str = "") -> None:
        self._done += count
        self._status = status or self._status
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, advance=count, rate=self._rate(now), status=self._status)
        elif now - self._last_line >= PLAIN_EVERY and self._done < self._total:
            self._last_line = now
            left = (now - self._began) / max(1, self._done) * (self._total - self._done)
            line = f"{self._what}: {self._amount()}, {self._rate(now)}, {left:.0f} s left {self._status}"
            self.note(line.rstrip())

    def finish(self) -> None:
        if not self._what:
            return
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        else:
            now = time.monotonic()
            self.note(f"{self._what}: {self._amount()} in {now - self._began:.1f} s ({self._rate(now)})")
        self._what = ""

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)

    def _amount(self) -> str:
        if self._unit == "bytes":
            return f"{self._done / 2**20:.1f} of {self._total / 2**20:.1f} MiB"
        return f"{self._done} of {self._total} {self._unit}"

    def _rate(self, now: float) -> str:
        rate = self._done / max(1e-9, now - self._began)
        return f"{rate / 2**20:.1f} MiB/s" if self._unit == "bytes" else f"{rate:.3g} {self._unit}/s"


@contextmanager
def shown() -> Iterator[Console]:
    """A console whose bar is taken down however the work ends."""
    console = Console()
    try:
        yield console
    except BaseException:
        if console._bar is not None:
            console._bar.stop()
        raise
    console.finish()


def tell_locks() -> None:
    """Say so where the environment has switched locks off."""
    from stillroom.lock import SWITCH, locks_off

    if locks_off():
        click.echo(f"locks are off ({SWITCH}=off): run one command at a time in this project", err=True)

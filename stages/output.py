"""Standard output that no work fails by, and how a command ends: one message and the documented exit code."""

import codecs
import io
import os
import sys
from typing import Any

import click

from stillroom import stopping
from stillroom.errors import AccessError, ParamsError, StillroomError

WINDOWS = (
    "stillroom runs on Linux and macOS; Windows lacks the file locks, links and signals that keep its work "
    "whole: run it in WSL2 (https://learn.microsoft.com/windows/wsl/install)"
)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """A letter that an encoding lacks as an escape, and the dots of a shortened name as one."""
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] == "…":
        return ".", error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error("spelled", _spelled)


class Output(io.TextIOWrapper):
    """Standard output that no work fails by: where its reader has gone (`| head -1`) the rest is dropped, and
    a letter that the terminal's encoding lacks is written as an escape.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            return self._drop(len(text))

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._drop(0)

    def _drop(self, count: int) -> int:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is buffered still, and whatever comes, goes there
        os.close(nowhere)
        return count


def sturdy(stream: Any) -> Any:
    """`sys.stdout` as an `Output`; what is no file (a test's, a notebook's) as it is."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    lines, encoding = stream.line_buffering, stream.encoding
    return Output(stream.detach(), encoding=encoding, errors="spelled", line_buffering=lines)


class Group(click.Group):
    """A group whose commands end with one message and the documented exit code, not with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        if sys.platform == "win32":
            click.echo(f"error: {WINDOWS}", err=True)
            ctx.exit(ParamsError.exit_code)
        stopping.listen()
        sys.stdout = sturdy(sys.stdout)
        try:
            return super().invoke(ctx)
        except StillroomError as error:
            stopping.over()
            from stillroom.fetched import masked

            click.echo(f"error: {masked(str(error))}", err=True)
            ctx.exit(error.exit_code)
        except PermissionError as error:
            stopping.over()
            click.echo(f"error: {AccessError(error.filename or 'a file')}", err=True)
            ctx.exit(AccessError.exit_code)
        except click.exceptions.Exit:  # the command has printed its message
            raise
        except BaseException as error:
            # where a signal comes in the middle of an import, say, its exception may turn into another one
            if not isinstance(error, KeyboardInterrupt) and not stopping.asked():
                raise
            stopping.over()
            if os.environ.get("RANK", "0") == "0":  # the first process speaks for all
                click.echo("stopped; finished work is kept: the same command goes on from there", err=True)
            ctx.exit(stopping.EXIT_CODE)

"""What will be wanted next, prepared while something else is in use."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Ahead(Generic[Result]):
    """Makes things by their number, one of them in a thread before it is asked for.

    Args:
        make: what makes one; it may raise, and then whoever asks for it gets that.
    """

    def __init__(self, make: Callable[[int], Result]) -> None:
        self._make = make
        self._begun: tuple[int, threading.Thread] | None = None
        self._made: list[Result] = []
        self._raised: list[BaseException] = []

    def begin(self, number: int) -> None:
        """Make one that is wanted soon, if it is not being made."""
        if self._begun is None or self._begun[0] != number:
            self._forget()
            # a daemon: what nobody asks for any more keeps no process alive
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            self._begun = number, thread
            thread.start()

    def get(self, number: int) -> Result:
        """One of them, made already or now."""
        if self._begun is None or self._begun[0] != number:
            return self._make(number)
        self._begun[1].join()
        made, raised = self._made, self._raised
        self._forget()
        if raised:
            raise raised[0]
        return made[0]

    def _run(self, number: int) -> None:
        try:
            self._made.append(self._make(number))
        except BaseException as error:
            self._raised.append(error)

    def _forget(self) -> None:
        if self._begun is not None:
            self._begun[1].join()
        self._begun, self._made, self._raised = None, [], []

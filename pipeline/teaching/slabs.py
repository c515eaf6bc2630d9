"""In which order blocks are computed, and what is done behind the teacher's back."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from types import TracebackType

from stillroom.cache.format.layout import Block

SECONDS = 60.0  # of work that a kill may cost, where a block takes no longer
BYTES = 2**28  # of answers that wait for their block to be whole
GROWTH = 4


def together(seconds: float) -> int:
    """Views of a range that are computed at once, where a block takes so long."""
    return max(1, int(min(SECONDS / seconds, 2**31))) if seconds > 0 else 2**31


class Slabs:
    """Blocks of one range of samples, several views at a time: as many as take `SECONDS`.

    How they are cut decides no value, only when what is committed.

    Args:
        todo: the blocks, in any order.
        size: bytes of a block's answers.
        clock: seconds.
    """

    def __init__(self, todo: Sequence[Block], size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._todo = sorted(todo, key=lambda block: (block.start, block.view))
        self._most, self._clock = max(1, BYTES // max(1, size)), clock
        self._began, self._done = clock(), 0

    def done(self) -> None:
        """A block is computed."""
        self._done += 1

    def __iter__(self) -> Iterator[list[Block]]:
        views = 1
        for _, blocks in groupby(self._todo, lambda block: block.start):
            left = list(blocks)
            while left:
                slab, left = left[:views], left[views:]
                yield slab
                views = self._next(views)

    def _next(self, views: int) -> int:
        if not self._done:
            return views
        each = (self._clock() - self._began) / self._done
        return min(together(each), GROWTH * views, self._most)


class Behind:
    """Does one thing after the other in a thread of its own; a fault is raised at the next occasion."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def do(self, work: Callable[[], None]) -> None:
        """Have it done; waits where two others are not done yet.

        Raises:
            Exception: what an earlier one raised.
        """
        self._waiting.append(self._pool.submit(work))
        while len(self._waiting) > 2 or self._waiting[0].done():
            self._waiting.popleft().result()
            if not self._waiting:
                return

    def __enter__(self) -> "Behind":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for what is being done: what is computed is kept, whatever happened."""
        self._pool.shutdown(wait=True)
        if error is None:
            for one in self._waiting:
                one.result()

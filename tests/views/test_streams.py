"""The order in which stage one goes about its blocks, and what happens behind the teacher."""

import threading
from functools import partial

import pytest

from stillroom.cache.format.layout import Block, blocks
from stillroom.teaching import slabs
from stillroom.teaching.slabs import Behind, Slabs


def cut(todo: list[Block], seconds: float, size: int = 1) -> list[list[Block]]:
    """Slabs of blocks that take so many seconds each."""
    now = 0.0
    plan = Slabs(todo, size, lambda: now)
    found = []
    for slab in plan:
        found.append(slab)
        for _ in slab:
            now += seconds
            plan.done()
    return found


@pytest.mark.parametrize("seconds", [0.0, 0.1, 25.0, 1000.0])
def test_each_block_is_computed_once_range_by_range(seconds: float) -> None:
    todo = list(blocks(9, 25, 10))
    found = cut(todo, seconds)
    flat = [block for slab in found for block in slab]
    assert sorted(flat) == sorted(todo) and [block.start for block in flat] == sorted(b.start for b in todo)
    assert all(len({block.start for block in slab}) == 1 for slab in found)


def test_a_kill_costs_a_minute_or_a_block() -> None:
    todo = list(blocks(64, 10, 10))
    assert {len(slab) for slab in cut(todo, 100.0)} == {1}
    assert max(len(slab) for slab in cut(todo, 20.0)) == 3
    assert [len(slab) for slab in cut(todo, 0.01)] == [1, 4, 16, 43]


def test_waiting_answers_take_bounded_memory() -> None:
    todo = list(blocks(64, 10, 10))
    assert max(len(slab) for slab in cut(todo, 0.0, slabs.BYTES // 5)) == 5
    assert max(len(slab) for slab in cut(todo, 0.0, 10 * slabs.BYTES)) == 1


def test_what_is_done_behind_is_done_in_order_whatever_happens() -> None:
    done: list[int] = []
    gate = threading.Event()

    def first() -> None:
        gate.wait(60)
        done.append(0)

    with pytest.raises(KeyboardInterrupt), Behind() as behind:
        behind.do(first)
        behind.do(partial(done.append, 1))
        gate.set()
        raise KeyboardInterrupt
    assert done == [0, 1]


def test_a_fault_behind_is_raised() -> None:
    def fault() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), Behind() as behind:
        behind.do(fault)
    with pytest.raises(OSError, match="the disk is full"), Behind() as behind:
        for _ in range(4):
            behind.do(fault)
        pytest.fail("more and more was put behind")

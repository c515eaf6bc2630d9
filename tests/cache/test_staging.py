"""Staged blocks: committed once and for all, checked when they are read, one writer at a time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stillroom.cache.format.digests import block_digest, combine
from stillroom.cache.format.layout import ArraySpec, Block
from stillroom.cache.write.staging import Staging
from stillroom.errors import CacheError
from tests.contract.store_contract import ARRAYS, BLOCK, IDENTITY, KEYS, LABELS, SAMPLES, rows_of, staged

HOLDER = (
    "import os, sys, time\n"
    "from pathlib import Path\n"
    "from tests.contract.store_contract import staged\n"
    "staging = staged(Path(sys.argv[1]), 1)\n"
    "child = os.fork() if len(sys.argv) > 2 else 1\n"  # as a data loader's worker is made
    "print(child if child else '', flush=True)\n"
    "time.sleep(3600)\n"
)


def holder(parent: Path, *more: str) -> tuple[subprocess.Popen[str], int]:
    """A real second process that holds the lock, and the process id of its forked child, if it has one."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent), *more], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in (0, *more)]  # the child's too, in either order
    return process, int(max(lines))


def opened(parent: Path, **changes: object) -> Staging:
    arguments: dict = {
        "identity": IDENTITY,
        "arrays": ARRAYS,
        "keys": KEYS,
        "labels": LABELS,
        "block_samples": BLOCK,
    }
    return Staging(parent, **{**arguments, **changes})


def test_blocks_are_read_back_with_their_digests(tmp_path: Path) -> None:
    with staged(tmp_path) as staging:
        for block in staging.blocks(3):
            expected = rows_of(block)
            found = staging.read(block, list(ARRAYS))
            for name in ARRAYS:
                np.testing.assert_array_equal(found[name], expected[name])
            assert combine(staging.entry(block)[0]) == block_digest(expected)


def test_the_folder_is_named_by_the_cache_id(tmp_path: Path) -> None:
    with staged(tmp_path, 1) as staging:
        assert staging.folder == tmp_path / staging.id[:16]


def test_only_missing_and_damaged_blocks_are_left_to_compute(tmp_path: Path) -> None:
    staged(tmp_path).close()
    files = sorted(tmp_path.glob("*/*.block"))
    files[0].unlink()
    files[3].write_bytes(files[3].read_bytes()[:-1])
    files[5].write_bytes(files[5].read_bytes()[:-1] + b"?")
    files[7].write_bytes(b"")
    with opened(tmp_path) as staging:
        blocks = staging.blocks(3)
        assert set(blocks) - staging.committed() == {blocks[index] for index in (0, 3, 5, 7)}
        assert staging.dropped == 3
        assert not files[5].exists()


def test_any_damaged_byte_of_a_block_is_noticed(tmp_path: Path) -> None:
    with staged(tmp_path, 1) as staging:
        block = staging.blocks(1)[3]
        file = sorted(staging.folder.glob("*.block"))[3]
        good = file.read_bytes()
        for position in range(0, len(good), 7):
            file.write_bytes(good[:position] + bytes([good[position] ^ 16]) + good[position + 1 :])
            with pytest.raises(CacheError, match="damaged"):
                staging.read(block, list(ARRAYS))


def test_a_block_under_another_name_or_of_another_cache_does_not_count(tmp_path: Path) -> None:
    other = {**IDENTITY, "views": {"recipe": {"name": "drop", "share": 0.5}, "seed": 2}}
    with staged(tmp_path) as mine, opened(tmp_path, identity=other) as theirs:
        files = sorted(mine.folder.glob("*.block"))
        files[4].write_bytes(files[8].read_bytes())
        (theirs.folder / files[0].name).write_bytes(files[0].read_bytes())
        assert set(mine.blocks(3)) - mine.committed() == {Block(1, 0, 16)}
        assert theirs.committed() == set()


def test_what_a_killed_writer_left_half_written_goes(tmp_path: Path) -> None:
    staged(tmp_path, 1).close()
    left = next(tmp_path.glob("*/*.block")).with_suffix(".block.999.tmp")
    left.write_bytes(b"half")
    with opened(tmp_path) as staging:
        assert not left.exists()
        assert len(staging.committed()) == 4


def test_a_second_writer_is_told_at_once_who_holds_the_folder(tmp_path: Path) -> None:
    process, _ = holder(tmp_path)
    try:
        with pytest.raises(CacheError) as caught:
            opened(tmp_path)
        assert f"process id {process.pid}" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert len(list(tmp_path.glob("*/*.block"))) == 4  # it harmed nothing
    finally:
        process.kill()
        process.communicate()


def test_a_killed_writers_lock_is_no_obstacle(tmp_path: Path) -> None:
    process, _ = holder(tmp_path)
    process.kill()
    process.communicate()
    with opened(tmp_path) as staging:
        assert len(staging.committed()) == 4


def test_a_forked_child_that_outlives_a_killed_writer_holds_no_lock(tmp_path: Path) -> None:
    process, child = holder(tmp_path, "with a child")
    try:
        process.kill()
        process.wait()
        with opened(tmp_path) as staging:
            assert len(staging.committed()) == 4
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


def test_a_writer_of_another_cache_is_not_in_the_way(tmp_path: Path) -> None:
    with opened(tmp_path), opened(tmp_path, identity={"outputs": IDENTITY["outputs"]}):
        pass


def test_closing_lets_the_next_one_in(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(CacheError):
        opened(tmp_path)
    opened(tmp_path).close()


def test_the_block_size_of_earlier_blocks_stands(tmp_path: Path) -> None:
    staged(tmp_path).close()
    with opened(tmp_path, block_samples=10) as staging:
        assert staging.block_samples == BLOCK
        assert staging.committed() == set(staging.blocks(3))


def test_a_block_is_never_longer_than_a_plane(tmp_path: Path) -> None:
    with opened(tmp_path, block_samples=1024) as staging:
        assert staging.blocks(1) == [Block(0, 0, SAMPLES)]


def test_a_lost_table_costs_no_block(tmp_path: Path) -> None:
    staged(tmp_path).close()
    next(tmp_path.glob("*/staging.json")).write_text("{")
    with opened(tmp_path) as staging:
        assert len(staging.committed()) == 12


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("arrays", {"arrays": {**ARRAYS, "views/angle": ArraySpec("<f4", ())}}),
        ("rows", {"labels": [*LABELS[:-1], 5]}),
    ],
)
def test_blocks_of_another_kind_are_not_mixed(tmp_path: Path, field: str, changes: dict) -> None:
    staged(tmp_path).close()
    with pytest.raises(CacheError, match=f"another kind:\n    {field}: expected"):
        opened(tmp_path, **changes)
    opened(tmp_path).close()  # the refused one holds no lock


def test_only_blocks_of_the_agreed_form_are_committed(tmp_path: Path) -> None:
    with opened(tmp_path) as staging:
        block = staging.blocks(1)[0]
        good = rows_of(block)
        for wrong in (
            {**good, "logits": good["logits"].astype(np.float32)},
            {**good, "logits": good["logits"][:-1]},
            {name: good[name] for name in good if name != "views/flip"},
        ):
            with pytest.raises(ValueError, match="expected"):
                staging.commit(block, wrong)
        for wrong_block in (Block(0, 8, 24), Block(0, 0, 10), Block(-1, 0, 16), Block(0, 64, 80)):
            with pytest.raises(ValueError, match="is no block"):
                staging.commit(wrong_block, good)
        assert list(staging.folder.glob("*.block*")) == []


def test_a_block_that_cannot_be_written_leaves_nothing_half_written(tmp_path: Path) -> None:
    with opened(tmp_path) as staging:
        block = staging.blocks(1)[0]
        in_the_way = staging.folder / "view-00000-samples-0000000000-0000000016.block"
        in_the_way.mkdir()
        with pytest.raises(CacheError, match="committed blocks are kept"):
            staging.commit(block, rows_of(block))
        assert list(staging.folder.glob("*.tmp")) == []


def test_keys_must_be_distinct_and_ascending(tmp_path: Path) -> None:
    for keys in (["b", "a"], ["a", "a"], ["", "a"], ["a", "b\0"]):
        with pytest.raises(ValueError, match="key"):
            opened(tmp_path, keys=keys, labels=[0, 1])
    with pytest.raises(ValueError, match="labels must be 2 integers"):
        opened(tmp_path, keys=["a", "b"], labels=[0.5, 1])


def test_removing_takes_the_folder_and_the_lock(tmp_path: Path) -> None:
    staging = staged(tmp_path, 1)
    staging.remove()
    assert list(tmp_path.iterdir()) == []
    opened(tmp_path).close()

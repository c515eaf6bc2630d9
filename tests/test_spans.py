"""Parts of files: few are open at a time, and neither threads, forks nor pickles disturb each other."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stillroom import spans


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{number}.bin" for number in range(2 * spans.OPEN)]
    for number, file in enumerate(found):
        file.write_bytes(bytes([number]) * 1000)
    return found


def opened(folder: Path) -> int:
    return sum(
        os.readlink(f"/proc/self/fd/{one}").startswith(str(folder))
        for one in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{one}")
    )


def test_no_more_than_so_many_stay_open(files: list[Path]) -> None:
    for _ in range(2):
        for number, file in enumerate(files):
            assert spans.read(file, 10, 20) == bytes([number]) * 20
            assert spans.held() <= spans.OPEN
    assert opened(files[0].parent) <= spans.OPEN


def test_a_file_that_is_too_short_is_said_before_memory_is_taken(files: list[Path]) -> None:
    for start, length in ((0, 1001), (990, 2**60), (2**50, 1)):
        with pytest.raises(spans.ShortError, match="1,000 bytes"):
            spans.read(files[0], start, length)


def work(file: Path, number: int) -> bool:
    return all(spans.read(file, place, 100) == bytes([number]) * 100 for place in range(0, 900, 7))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_threads_and_processes(files: list[Path], method: str) -> None:
    jobs = [(file, number) for number, file in enumerate(files)]
    with ThreadPoolExecutor(8) as threads:  # they evict each other's
        assert all(threads.map(lambda job: work(*job), jobs))
        with multiprocessing.get_context(method).Pool(3) as pool:
            assert all(pool.starmap(work, jobs))


def test_a_file_that_was_forgotten_is_opened_anew(files: list[Path]) -> None:
    spans.read(files[0], 0, 1)
    files[0].unlink()
    files[0].write_bytes(b"new")
    spans.forget(files[0])
    assert spans.read(files[0], 0, 3) == b"new"

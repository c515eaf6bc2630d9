"""What `stillroom bench --only scale` measures, on few samples: what must hold on any machine."""

from pathlib import Path

import pytest

from stillroom.benchmarks import scale
from stillroom.tables import LARGE


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scale, "MANY", LARGE)
    monkeypatch.setattr(scale, "COUNTS", (2000, LARGE))
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "fetched"))


@pytest.mark.slow
def test_a_mapped_table_takes_no_memory_of_a_process_or_its_workers(tmp_path: Path) -> None:
    seconds, memory, workers = scale.tables(tmp_path / "tables")
    assert seconds.value > 0
    assert memory.value < 10 and workers.value < 10, "megabytes of 50,000 rows: as objects they take 30"


@pytest.mark.slow
def test_a_students_memory_does_not_grow_with_samples_times_classes(tmp_path: Path) -> None:
    first, memory = scale.students(tmp_path / "students")
    assert first.value > 0
    # decoded, a plane of 50,000 x 1,000 would take 200 MB
    assert memory.ratio is not None and memory.ratio < 1.1

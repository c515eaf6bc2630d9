"""`stillroom plan` foretells what `stillroom cache` then does."""

import json
import math
import shutil
from pathlib import Path

from tests.conftest import run_in


def test_a_plan_tells_files_bytes_time_and_when_it_pays(project: Path) -> None:
    found = json.loads(run_in(project, "stillroom", "plan", "--json").stdout)
    files = [file for file in (project / "artifacts/cache").rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    assert found["files"] == len(files)
    assert size <= found["bytes_at_most"]
    assert found["student_epochs"] == 2 * 4  # vit and pvt, the kd arm alone
    whole, teacher = found["seconds_per_view"]["stage_one"], found["seconds_per_view"]["teacher"]
    assert found["seconds"] == 3 * 80 * whole and 0 < teacher < 1 and 0 < whole < 1
    assert found["pays_after_student_epochs"] == math.ceil(3 * whole / teacher) >= 3
    assert found["teachers"] == ["convnext_atto in artifacts/teacher"]


def test_a_plan_needs_no_teacher_yet_and_says_so(project: Path) -> None:
    shutil.rmtree(project / "artifacts/teacher")
    said = run_in(project, "stillroom", "plan", "--set", "cache.encoding=int8").stdout
    assert "untrained" in said and "int8" in said and "pays after" in said


def test_a_plan_without_samples_says_what_to_run_first(empty: Path) -> None:
    assert "stillroom prepare" in run_in(empty, "stillroom", "plan", code=1).stderr

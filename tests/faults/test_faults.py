"""`make faults`, in short: the same work with smaller numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults import damage, kills, size


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A project whose cache was killed a few times and then finished, and what was seen."""
    folder = tmp_path_factory.mktemp("kills") / "project"
    return folder, kills.kills(folder, 4, seed=1)


def test_kills_lose_no_committed_block_and_change_no_digest(killed: tuple[Path, dict]) -> None:
    _, found = killed
    assert found["faults"] == [] and found["kills"] == 4
    assert found["computing"] + found["publishing"] > 0  # some of them came while there was something to lose


def test_a_flipped_bit_is_found_or_changes_no_value(tmp_path: Path) -> None:
    found = damage.flips(tmp_path, 200, seed=3)
    assert found["missed"] == [] and found["found"] > 150


def test_every_wound_is_found(tmp_path: Path) -> None:
    found = damage.wounds(tmp_path)
    assert found["missed"] == [] and found["wounds"] > 300


def test_hostile_manifests_are_refused_and_take_no_memory(tmp_path: Path) -> None:
    found = damage.manifests(tmp_path, 120)
    assert found["accepted"] == [] and found["refused"] == 120
    assert found["megabytes"] < 200


def test_no_command_changes_a_linked_store(killed: tuple[Path, dict]) -> None:
    folder, _ = killed
    found = damage.links(folder, [["store", "repair"], ["cache", "--set", "views.count=61"]])
    assert found == {"commands": 4, "changed": []}


def test_a_full_disk_costs_nothing_that_was_committed(killed: tuple[Path, dict], tmp_path: Path) -> None:
    folder, _ = killed
    try:
        found = damage.full_disk(folder, tmp_path / "disk")
    except PermissionError as error:
        pytest.skip(f"no small file system can be made: {error}")
    assert found["faults"] == [] and found["kept"] > 0
    assert "cannot be written" in found["said"] and "committed blocks are kept" in found["said"]


def test_a_view_costs_tens_of_bytes(tmp_path: Path) -> None:
    for name, found in size.small(tmp_path, 8).items():
        assert found["bytes_per_view"] <= (92 if "float16" in name else 58), name
        assert found["kl"] < 2e-5, name


def test_a_large_cache_takes_the_memory_of_a_small_one(tmp_path: Path) -> None:
    small, large = (size.large(tmp_path / str(count), count, 2, 100) for count in (20_000, 200_000))
    assert large["write"]["megabytes"] < small["write"]["megabytes"] + 120
    assert large["verify"]["megabytes"] < small["verify"]["megabytes"] + 120
    assert large["verify"]["damage"] == 0


def test_the_script_ends_well_and_says_what_it_did() -> None:
    command = [sys.executable, "-m", "tests.faults", "--flips", "20", "--manifests", "4", "--samples", "2000"]
    command += [word for part in ("bit flips", "hostile", "200 ", "2,000") for word in ("--only", part)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2,000 x 4 x 1,000 topk" in done.stdout
    assert "20 found" in done.stdout or "changed no value" in done.stdout

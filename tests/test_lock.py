"""Where there are no locks: it is said, and a way on is offered. In real processes whose `flock` fails."""

import errno
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import warm
from tests.confined import possible
from tests.conftest import BIN, environment

NO_FCNTL = "import sys\nsys.modules['fcntl'] = None\n"
WAY_ON = "STILLROOM_LOCKS=off"


def stillroom(
    folder: Path, *command: str, before: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    done = warm.run(("stillroom", *command), folder, environment() | variables, before=before)
    assert "Traceback" not in done.stderr, done.stderr
    return done


without_locks = pytest.mark.skipif(not possible("refuse_flock(1)"), reason="`flock` cannot be refused here")


@without_locks
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(empty: Path, number: int) -> None:
    done = stillroom(empty, "prepare", before=f"refuse_flock({number})")
    assert done.returncode == 1
    assert "artifacts/.staging/data.lock cannot be locked" in done.stderr and "flock: " in done.stderr
    assert WAY_ON in done.stderr and "free the disk" not in done.stderr
    assert not (empty / "artifacts/data").exists()
    done = stillroom(empty, "prepare", before=f"refuse_flock({number})", STILLROOM_LOCKS="off")
    assert done.returncode == 0 and "locks are off" in done.stderr
    assert (empty / "artifacts/data/samples.parquet").exists()


@without_locks
@pytest.mark.parametrize("store", ["zarr", "hdf5"])
def test_a_cache_is_made_without_locks_if_that_is_asked_for(project: Path, store: str) -> None:
    lost = {"before": f"refuse_flock({errno.ENOLCK})"}
    command = ("cache", "--replace", "--set", f"cache.store={store}", "--set", "views.count=4")
    before = (project / "artifacts/cache/manifest.json").read_bytes()
    done = stillroom(project, *command, **lost)
    assert done.returncode == 1 and "cannot be locked" in done.stderr and WAY_ON in done.stderr
    assert (project / "artifacts/cache/manifest.json").read_bytes() == before
    done = stillroom(project, *command, **lost, STILLROOM_LOCKS="off")
    assert done.returncode == 0, done.stderr
    assert stillroom(project, "store", "verify", **lost).returncode == 0
    assert not list((project / "artifacts").glob(".cache.*"))
    done = stillroom(project, "store", "convert", "artifacts/cache", "copy", "--to", store, **lost)
    assert done.returncode == 1 and "cannot be locked" in done.stderr
    assert not (project / "copy").exists() and not list(project.glob(".copy*"))


@pytest.mark.slow
def test_a_system_without_fcntl_is_told_so(empty: Path) -> None:
    (empty / "without").mkdir()
    (empty / "without/sitecustomize.py").write_text(NO_FCNTL)

    def from_nothing(**variables: str) -> subprocess.CompletedProcess[str]:
        env = environment() | {"PYTHONPATH": str(empty / "without")} | variables
        command = [str(BIN / "stillroom"), "prepare"]
        return subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True)

    done = from_nothing()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "this system has no flock" in done.stderr and WAY_ON in done.stderr
    assert from_nothing(STILLROOM_LOCKS="off").returncode == 0


def test_another_word_for_locks_is_refused(empty: Path) -> None:
    done = stillroom(empty, "prepare", STILLROOM_LOCKS="none")
    assert done.returncode == 2 and "STILLROOM_LOCKS='none' is neither on nor off" in done.stderr


@without_locks
def test_doctor_names_it_before_anything_is_run(empty: Path) -> None:
    lost = {"before": f"refuse_flock({errno.ENOLCK})"}
    done = stillroom(empty, "doctor", **lost)
    assert done.returncode == 1 and "stops: " in done.stdout and "no locks" in done.stdout
    done = stillroom(empty, "doctor", **lost, STILLROOM_LOCKS="off")
    assert done.returncode == 0 and "mind:  locks are off" in done.stdout


TAKE = "from pathlib import Path; from stillroom.lock import Lock; held = Lock(Path('lock'), 'it')"
TAKE += "; print('held', flush=True)"


@pytest.mark.slow
def test_where_torchrun_begins_again_it_waits_for_one_that_is_dying(tmp_path: Path) -> None:
    def take(more: str = "", **variables: str) -> subprocess.Popen[str]:
        env = environment() | variables
        command = [sys.executable, "-c", TAKE + more]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=tmp_path, env=env, text=True, **streams)

    dying = take("; input()")
    assert dying.stdout is not None and dying.stdout.readline() == "held\n"
    _, refused = take().communicate()
    assert f"process id {dying.pid}" in refused
    patient = take(TORCHELASTIC_MAX_RESTARTS="1")
    time.sleep(2)  # it has met the lock by then, or meets it free: both are well
    dying.kill()
    assert patient.communicate()[0] == "held\n"
    dying.communicate()

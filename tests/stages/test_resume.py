"""A killed training run goes on mid-epoch to the same bits, and several processes train as one."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests import warm
from tests.conftest import copy_project, environment, run_in, until
from tests.processes import kill_all

# small batches: many steps to be killed in. drop_path and the average have a state that must go on too
STEPS = ["--set", "student.train.batch_size=10", "--set", "student.train.ema=0.9"]
KD = ["student", "--family", "vit", "--arm", "kd"]


def weights(project: Path, name: str) -> bytes:
    return (project / "artifacts/students" / name / "model.safetensors").read_bytes()


def checkpoints(project: Path, name: str) -> list[Path]:
    return sorted((project / "artifacts/.staging").glob(f"{name}.*checkpoint"))


def killed(project: Path, command: list[str], name: str, count: int) -> None:
    """Run a command and SIGKILL it, with all its processes, when checkpoints of its name were written `count`
    times.
    """
    before = {file: file.stat().st_mtime_ns for file in checkpoints(project, name)}
    changed = {**environment(), "STILLROOM_CHECKPOINT_SECONDS": "0"}
    process = warm.start(("stillroom", *command), project, changed)
    seen: set[int] = set()

    def enough() -> bool:
        for file in checkpoints(project, name):
            with suppress(FileNotFoundError):
                seen.add(file.stat().st_mtime_ns)
        return len(seen - set(before.values())) >= count

    until(enough, process)
    kill_all(process)


def test_a_student_killed_at_any_step_ends_with_the_same_bits(project: Path) -> None:
    run_in(project, "stillroom", *KD, *STEPS)
    whole, log = weights(project, "vit-kd-0"), history(project, "vit-kd-0")
    for count in (1, 7, 4):
        killed(project, [*KD, *STEPS], "vit-kd-0", count)
    assert weights(project, "vit-kd-0") == whole  # the old result stays until the new one is whole
    said = run_in(project, "stillroom", *KD, *STEPS).stdout
    assert "resumed: " in said and "of 4 epochs (step " in said
    assert weights(project, "vit-kd-0") == whole and history(project, "vit-kd-0") == log
    curve = (project / "artifacts/students/vit-kd-0/plots/metrics/loss.tsv").read_text().splitlines()
    assert len(curve) == 1 + 4  # epochs before the kill are in the log too
    assert not checkpoints(project, "vit-kd-0")


def history(project: Path, name: str) -> list[dict]:
    found = json.loads((project / "artifacts/students" / name / "student.json").read_text())["history"]
    return [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in found]


def test_a_teacher_killed_goes_on_to_the_same_bits(project: Path) -> None:
    train = ["teacher", "--set", "teacher.train.batch_size=10", "--set", "teacher.train.epochs=2"]
    run_in(project, "stillroom", *train)
    whole = (project / "artifacts/teacher/model.safetensors").read_bytes()
    killed(project, train, "teacher", 5)
    assert "resumed: " in run_in(project, "stillroom", *train).stdout
    assert (project / "artifacts/teacher/model.safetensors").read_bytes() == whole


def test_a_damaged_checkpoint_is_not_taken_up(project: Path) -> None:
    run_in(project, "stillroom", *KD, *STEPS)
    whole = weights(project, "vit-kd-0")
    killed(project, [*KD, *STEPS], "vit-kd-0", 3)
    [file] = checkpoints(project, "vit-kd-0")
    file.write_bytes(file.read_bytes()[:-5000])
    said = run_in(project, "stillroom", *KD, *STEPS).stdout
    assert "cannot be read" in said and weights(project, "vit-kd-0") == whole


def test_a_try_with_other_settings_leaves_a_long_run_its_checkpoint(project: Path) -> None:
    killed(project, [*KD, *STEPS], "vit-kd-0", 7)
    [kept] = checkpoints(project, "vit-kd-0")
    content = kept.read_bytes()
    said = run_in(project, "stillroom", *KD, *STEPS, "--set", "student.train.lr=1.0e-4").stdout
    assert "resumed" not in said and "1 checkpoint of other runs of vit-kd-0" in said and "MiB" in said
    assert checkpoints(project, "vit-kd-0") == [kept] and kept.read_bytes() == content
    said = run_in(project, "stillroom", *KD, *STEPS).stdout
    assert "resumed: " in said and "of other runs" not in said
    assert not checkpoints(project, "vit-kd-0")


def test_a_try_with_other_settings_leaves_a_teacher_its_checkpoint(project: Path) -> None:
    train = ["teacher", "--set", "teacher.train.batch_size=10", "--set", "teacher.train.epochs=2"]
    killed(project, train, "teacher", 5)
    said = run_in(project, "stillroom", "teacher").stdout
    assert "resumed" not in said and "1 checkpoint of other runs of teacher" in said
    assert "resumed: " in run_in(project, "stillroom", *train).stdout


def test_a_checkpoint_of_an_earlier_version_is_taken_up_by_its_run_alone(project: Path) -> None:
    """It was called after the student alone."""
    killed(project, [*KD, *STEPS], "vit-kd-0", 7)
    [file] = checkpoints(project, "vit-kd-0")
    earlier = file.rename(file.with_name("vit-kd-0.checkpoint"))
    said = run_in(project, "stillroom", *KD, *STEPS, "--set", "student.train.lr=1.0e-4").stdout
    assert "resumed" not in said and "1 checkpoint of other runs of vit-kd-0" in said and earlier.exists()
    assert "resumed: " in run_in(project, "stillroom", *KD, *STEPS).stdout
    assert not earlier.exists()


@pytest.mark.parametrize(
    ("family", "arm", "counts"),
    [("pvt", "kd", (2, 4)), ("pvt", "dist", (2,)), ("stgcn", "kd", (2, 4)), ("stgcn", "skd", (2,))],
)
def test_several_processes_train_as_one(
    request: pytest.FixtureRequest, tmp_path: Path, family: str, arm: str, counts: tuple[int, ...]
) -> None:
    """Same samples in the same order, losses within 1e-5; `dist` looks across the whole batch, and so do
    batch norm (ST-GCN) and the revision of gradients (`skd`).
    """
    finished = request.getfixturevalue("skeletons" if family == "stgcn" else "finished")
    project = copy_project(finished, tmp_path / "project")
    # 7 does not divide: parts of 80 / 12 samples among 4 processes, two parts a step
    command = ["student", "--family", family, "--arm", arm, "--set", "student.train.batch_size=28"]
    command += ["--set", "student.train.drop_path=0.0", "--set", "student.train.accumulate=2"]
    command += ["--set", "student.train.opt=sgd"]
    found = {}
    for count in (1, *counts):
        start = ["torchrun", "--no-python", f"--nproc-per-node={count}", "stillroom"]
        run_in(project, *(start if count > 1 else ["stillroom"]), *command)
        folder = project / f"artifacts/students/{family}-{arm}-0"
        described = json.loads((folder / "student.json").read_text())
        logits = load_file(folder / "predictions.safetensors")["logits"]
        found[count] = described, logits, json.loads((folder / "metrics.json").read_text())
    one, logits, _ = found[1]
    assert one["environment"]["processes"] == "1"
    for count in counts:
        described, theirs, _ = found[count]
        assert described["environment"]["processes"] == str(count)
        assert described["digests"] == one["digests"]
        losses = zip(one["history"], described["history"], strict=True)
        assert all(abs(left["loss"] - right["loss"]) < 1e-5 for left, right in losses)
        assert theirs.shape == logits.shape  # every test sample once
        assert family != "pvt" or logits.shape == (40, 40)
        assert abs(theirs - logits).max() < 1e-3


def test_parts_of_a_batch_add_up_to_it(project: Path) -> None:
    """Accumulated in three parts, a batch gives the same steps but for the last bits."""
    command = [*KD, "--set", "student.train.drop_path=0.0", "--set", "student.train.opt=sgd"]
    histories = []
    for parts in (1, 3):
        run_in(project, "stillroom", *command, "--set", f"student.train.accumulate={parts}")
        histories.append(history(project, "vit-kd-0"))
    for one, two in zip(*histories, strict=True):
        assert abs(one["loss"] - two["loss"]) < 1e-5
    done = run_in(project, "stillroom", *KD, "--set", "student.train.accumulate=41", code=2)
    assert "cannot be cut into 41 parts" in done.stderr


def test_two_runs_of_one_student_do_not_mix(project: Path) -> None:
    command = [*KD, *STEPS, "--set", "student.train.epochs=100000"]
    process = warm.start(("stillroom", *command), project, environment())
    lock = project / "artifacts/.staging/vit-kd-0.lock"
    until(lambda: lock.exists() and lock.read_text().strip() == str(process.pid), process)
    done = run_in(project, "stillroom", *KD, *STEPS, code=1)
    assert f"process id {process.pid}" in done.stderr and "vit-kd-0" in done.stderr
    process.kill()
    process.wait()

"""`stillroom cache` through the command line: what may replace what, kills, ranks, encodings, teachers."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.errors import CacheError
from stillroom.modalities import load_samples
from stillroom.modalities.images import MODALITY
from stillroom.provenance.probes import difference
from tests import warm
from tests.conftest import environment, run_in, until
from tests.processes import kill_all

KD = ("stillroom", "student", "--family", "vit", "--arm", "kd")
TORCHRUN = ("torchrun", "--no-python", "--nproc-per-node", "2", "stillroom", "cache")


def files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def unlink_links(folder: Path) -> None:
    """Make every file the project's own: DVC may have linked it to its cache."""
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)


@pytest.fixture
def without_staging(project: Path) -> Path:
    shutil.rmtree(project / "artifacts/.staging")
    return project


# What may take the place of a cache


@pytest.mark.parametrize(
    ("change", "field", "fix"),
    [
        ("views.seed=1", "views.seed", "views.seed"),
        ("views.recipe.flip=0.25", "views.recipe.flip", "views.recipe"),
        ("cache.encoding=int8", "outputs.logits.encoding", "cache.encoding"),
        ("views.count=2", "1 planes would be lost", "views.count to 3"),
        ("cache.teachers={wide: artifacts/teacher}", "logits would be lost", "cache.teachers"),
    ],
)
def test_a_cache_of_something_else_is_not_replaced_unasked(
    project: Path, change: str, field: str, fix: str
) -> None:
    before = files(project / "artifacts/cache")
    said = run_in(project, "stillroom", "cache", "--set", change, code=1).stderr
    assert field in said and fix in said and "--replace" in said
    assert files(project / "artifacts/cache") == before
    run_in(project, "stillroom", "cache", "--replace", "--set", change)
    assert verify(project / "artifacts/cache") == []
    assert files(project / "artifacts/cache") != before


def test_another_teacher_does_not_replace_the_cache_unasked(project: Path) -> None:
    before = files(project / "artifacts/cache")
    run_in(project, "stillroom", "teacher", "--set", "teacher.seed=1")
    said = run_in(project, "stillroom", "cache", code=1).stderr
    assert "outputs.logits.teacher.digest: " in said and "--replace" in said
    assert files(project / "artifacts/cache") == before


def test_another_size_is_refused_with_what_to_set(project: Path) -> None:
    shutil.rmtree(project / "artifacts/teacher")  # a teammate has none
    said = run_in(project, *KD, "--set", "views.size=96", code=1).stderr
    assert "outputs.logits.input.size: 96 here, 32 in the cache" in said and "set views.size" in said


def test_more_blocks_than_a_manifest_can_list_are_refused_before_the_work(project: Path) -> None:
    many = ("--set", "views.count=9000", "--set", "cache.block_samples=1")
    said = run_in(project, "stillroom", "cache", *many, code=2).stderr
    assert "720000 blocks" in said and "set cache.block_samples to more than 1" in said


def test_parameters_that_a_given_cache_overrules_are_told(project: Path) -> None:
    said = run_in(project, *KD, "--set", "views.count=9", "--set", "teacher.arch=resnet18").stdout
    assert "views.count is 9" in said and "teacher.arch is resnet18" in said


# Growing


def test_more_views_without_the_staged_blocks_come_from_the_store(without_staging: Path) -> None:
    cache = without_staging / "artifacts/cache"
    before = files(cache)
    said = run_in(without_staging, "stillroom", "cache", "--set", "views.count=5").stdout
    assert "resumed: 9 of 15 blocks" in said and "160 of 160 views" in said
    after = files(cache)
    changed = {name for name in before if after[name] != before[name]}
    assert changed and all(name.endswith(("zarr.json", "manifest.json")) for name in changed)
    assert verify(cache) == []


def test_replacing_still_takes_over_what_is_the_same(without_staging: Path) -> None:
    said = run_in(without_staging, "stillroom", "cache", "--replace", "--set", "views.count=2").stdout
    assert "resumed: 6 of 6 blocks" in said
    shutil.rmtree(without_staging / "artifacts/.staging")
    unlink_links(without_staging / "artifacts/cache")
    (without_staging / "artifacts/cache/manifest.json").write_text("{")
    said = run_in(without_staging, "stillroom", "cache", code=1).stderr
    assert "manifest.json is damaged" in said and "stillroom cache --replace" in said
    said = run_in(without_staging, "stillroom", "cache", "--replace").stdout
    assert "resumed" not in said and verify(without_staging / "artifacts/cache") == []


def test_only_whole_blocks_of_the_store_are_taken_over(without_staging: Path) -> None:
    cache = without_staging / "artifacts/cache"
    digests = open_store(cache).manifest.blocks
    unlink_links(cache)
    part = next(file for file in (cache / "logits/c/1").rglob("*") if file.is_file())
    part.write_bytes(part.read_bytes()[:-9])
    said = run_in(without_staging, "stillroom", "cache").stdout
    assert "resumed: 6 of 9 blocks" in said
    assert open_store(cache).manifest.blocks == digests


def test_a_second_teacher_joins_and_only_its_logits_are_computed(project: Path) -> None:
    cache, old = project / "artifacts/cache", open_store(project / "artifacts/cache")
    shutil.copytree(project / "artifacts/teacher", project / "first")
    run_in(project, "stillroom", "teacher", "--set", "teacher.seed=1")
    shutil.move(project / "artifacts/teacher", project / "second")
    shutil.move(project / "first", project / "artifacts/teacher")
    both = ("--set", "cache.teachers={logits: artifacts/teacher, other: second}")
    said = run_in(project, "stillroom", "cache", *both).stdout
    assert "resumed: 9 of 9 blocks" in said and "cache other: 240 of 240 views" in said
    new = open_store(cache)
    for view in range(3):
        np.testing.assert_array_equal(new.logits(view), old.logits(view))
        assert not np.array_equal(new.logits(view, "other"), new.logits(view))
    assert verify(cache) == []
    facts = json.loads(run_in(project, "stillroom", "store", "info", "--json").stdout)["outputs"]
    said = run_in(project, "stillroom", "store", "info").stdout
    one, other = (f"{facts[name]['entropy']:.3f} nats" for name in ("logits", "other"))
    places = [said.find(words) for words in ("│ logits ", one, "│ other ", other)]
    assert -1 not in places and places == sorted(places)  # each output with what its own teacher says
    scores = {}
    for outputs in ("[logits]", "[other]", "[logits, other]"):
        run_in(project, *KD, *both, "--set", f"student.losses.kd.outputs={outputs}")
        scores[outputs] = (project / "artifacts/students/vit-kd-0/model.safetensors").read_bytes()
    assert len(set(scores.values())) == 3
    said = run_in(project, *KD, *both, "--set", "student.losses.kd.outputs=[hidden]", code=1).stderr
    assert "no output hidden" in said and "logits, other" in said


# Kills and ranks


def staged(project: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (project / "artifacts/.staging").glob("*/*.block")}


def test_two_ranks_killed_and_one_that_goes_on_give_the_same_digests(project: Path) -> None:
    cache = project / "artifacts/cache"
    shutil.rmtree(project / "artifacts/.staging")
    digests = open_store(cache).manifest.blocks
    shutil.rmtree(cache)
    process = warm.start(TORCHRUN, project, environment())
    until(lambda: len(staged(project)) > 1 or process.poll() is not None)
    kill_all(process)
    kept = staged(project)
    assert kept
    assert not cache.exists() or verify(cache) == []
    said = run_in(project, "stillroom", "cache").stdout
    done = {name: content for name, content in staged(project).items() if name in kept}
    assert done == kept  # nothing committed was computed again, or lost
    assert f"resumed: {len(kept)} of 9 blocks" in said
    assert open_store(cache).manifest.blocks == digests


def test_two_undisturbed_ranks_give_what_one_gives(project: Path) -> None:
    before = files(project / "artifacts/cache")
    shutil.rmtree(project / "artifacts/.staging")
    shutil.rmtree(project / "artifacts/cache")
    said = run_in(project, *TORCHRUN).stdout
    assert said.count("bytes a view") == 1  # one of them speaks
    after = files(project / "artifacts/cache")
    assert after == before


def test_a_second_writer_is_told_at_once_and_harms_nothing(project: Path) -> None:
    shutil.rmtree(project / "artifacts/.staging")
    slow = "import sys\nfrom stillroom.cache.write.staging import Staging\ncommit = Staging.commit\n"
    slow += (
        "def wait(*arguments):\n    commit(*arguments)\n    print('in', flush=True)\n    sys.stdin.read()\n"
    )
    slow += "Staging.commit = wait\nfrom stages.cli import main\nsys.argv = ['stillroom', 'cache', "
    slow += "'--replace', '--set', 'views.seed=3']\nmain()\n"
    first = subprocess.Popen(
        [warm.command("python"), "-c", slow],
        cwd=project,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdin is not None and first.stdout is not None
    while "in" not in first.stdout.readline().split():
        assert first.poll() is None
    said = run_in(project, "stillroom", "cache", "--replace", "--set", "views.seed=3", code=1).stderr
    assert "another process is writing the cache" in said and f"process id {warm.fork_of(first.pid)}" in said
    first.communicate()  # it was waiting for that, in its first block
    assert first.returncode == 0
    assert verify(project / "artifacts/cache") == []


# Encodings


@pytest.mark.parametrize(
    ("encoding", "more"),
    [
        ("int8", ()),
        ("topk", ("--set", "cache.k=5")),
        ("packed", ("--set", "cache.k=5")),
        ("{name: sampled, draws: 16}", ()),
    ],
)
def test_an_encoding_is_measured_while_it_is_written_and_serves_a_student(
    project: Path, encoding: str, more: tuple[str, ...]
) -> None:
    exact = open_store(project / "artifacts/cache")
    logits = [exact.logits(view).astype(np.float64) for view in range(3)]
    chosen = ("--set", f"cache.encoding={encoding}", *more)
    run_in(project, "stillroom", "cache", "--replace", *chosen)
    store = open_store(project / "artifacts/cache")
    for temperature in (1, 4):
        found = []
        for view in range(3):
            p, q = (_softmax(x, temperature) for x in (logits[view], store.logits(view).astype(np.float64)))
            found.append((p * (np.log(p) - np.log(q))).sum(axis=1))
        told = store.manifest.quality["logits"][f"T={temperature}"]
        # the store's float16 logits stand for the teacher's here
        assert told["mean"] == pytest.approx(np.mean(found), rel=0.1, abs=1e-6)
        assert told["max"] == pytest.approx(np.max(found), rel=0.1, abs=1e-5)
    assert store.manifest.quality["logits"]["T=1"]["mean"] > 0
    run_in(project, *KD, *chosen)


def _softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    raised = np.exp(logits / temperature - (logits / temperature).max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


# Probes


def with_probes(cache: Path, shift: int) -> None:
    """A sound manifest of a machine that renders `shift` levels brighter."""
    import base64

    unlink_links(cache)
    manifest = open_store(cache).manifest
    probes = []
    for probe in manifest.probes:
        grid = np.frombuffer(base64.b64decode(probe["grid"]), np.uint8).astype(int)
        moved = np.where(grid > 127, grid - shift, grid + shift).astype(np.uint8)
        probes.append({**probe, "sha256": "0" * 64, "grid": base64.b64encode(moved.tobytes()).decode()})
    replace(manifest, probes=probes, environment={**manifest.environment, "pillow": "8.0"}).save(cache)


def test_a_machine_that_renders_almost_alike_is_told_by_how_much(project: Path) -> None:
    with_probes(project / "artifacts/cache", 1)
    said = run_in(project, *KD).stdout
    assert "4 of 4 probes" in said and "by 1 of 255 levels at most, 1.00 in the mean" in said
    assert "pillow 8.0" in said


def test_a_machine_that_renders_other_pictures_is_refused(project: Path) -> None:
    assert MODALITY.PROBE_BOUND < 3
    with_probes(project / "artifacts/cache", 3)
    said = run_in(project, *KD, code=1).stderr
    assert (
        "by 3 of 255 levels at most" in said
        and f"above {MODALITY.PROBE_BOUND} levels" in said
        and "pillow 8.0" in said
    )


@pytest.mark.parametrize(
    "probe",
    [
        {},
        {"key": "nobody"},
        {"grid": "AAAA"},
        {"size": -1},
        {"size": 10**9},
        {"parameters": {}},
        {"parameters": {"box": [0, 0, 65535, 65535], "flip": 0, "colour": [128, 128, 128]}},
        {"parameters": {"box": [-1, 0, 10**30, 2], "flip": 0, "colour": [128, 128, 128]}},
    ],
)
def test_a_probe_of_nonsense_is_refused(finished: Path, probe: dict) -> None:
    store = open_store(finished / "artifacts/cache")
    samples = load_samples(finished / "artifacts/data", finished).in_splits("train")
    assert difference(store, samples).differing == 0
    bad = {**store.manifest.probes[0], **probe} if probe else {}
    store.manifest = replace(store.manifest, probes=[store.manifest.probes[0], bad])
    with pytest.raises(CacheError, match=r"probe 1 of .* is damaged"):
        difference(store, samples)


def test_a_cache_does_not_grow_where_other_pictures_are_rendered(project: Path) -> None:
    with_probes(project / "artifacts/cache", 3)
    said = run_in(project, "stillroom", "cache", "--set", "views.count=4", code=1).stderr
    assert "by 3 of 255 levels at most" in said
    with_probes(project / "artifacts/cache", -2)  # back to one level
    before = open_store(project / "artifacts/cache").manifest
    assert "4 of 4 probes" in run_in(project, "stillroom", "cache", "--set", "views.count=4").stdout
    after = open_store(project / "artifacts/cache").manifest
    assert after.probes == before.probes  # of the machine that began
    assert after.environment["pillow"] == "8.0" and after.environment["grown"]["pillow"] != "8.0"


def test_the_manifest_says_what_the_cache_was_made_from(finished: Path) -> None:
    table = json.loads((finished / "artifacts/cache/manifest.json").read_text())
    teacher = json.loads((finished / "artifacts/teacher/teacher.json").read_text())
    output = table["identity"]["outputs"]["logits"]
    assert output["teacher"]["digest"] == teacher["digest"] and output["input"] == teacher["input"]
    assert output["encoding"] == "float16" and output["shape"] == [40]
    assert table["quality"]["logits"]["T=1"]["mean"] < 1e-6
    assert set(table["metadata"]) >= {"zarr.json", "logits/zarr.json"}

"""A third kind of data, added as one folder and nothing else, goes through every stage."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from stillroom.cache.read.backends import open_store
from tests import warm
from tests.conftest import environment

pytestmark = pytest.mark.slow

MORE = Path(__file__).parent / "more"
PARAMS = """
data: {name: blobs}
views: {count: 4, recipe: {name: jitter, spread: 0.3}}
teacher: {arch: wide, train: {epochs: 12, batch_size: 16, warmup_epochs: 0, lr: 0.01, opt: adamw}}
cache: {store: zarr, block_samples: 16, teachers: {logits: artifacts/teacher, hidden: {take: hidden}}}
student:
  families: [wide, narrow]
  arms: [ce, kd]
  seeds: [0]
  train: {epochs: 8, batch_size: 16, warmup_epochs: 0, lr: 0.01, opt: adamw}
"""
Run = Callable[..., subprocess.CompletedProcess]


# A folder for the modality and a file for the loss, found beside the library's own
BEFORE = f"""
from stillroom import losses, modalities

modalities.__path__.append({str(MORE / "modalities")!r})
losses.__path__.append({str(MORE / "losses")!r})
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs `stillroom` with that modality in a project of points; the first stages were run already."""
    project = tmp_path_factory.mktemp("project")
    (project / "params.yaml").write_text(PARAMS)

    def call(*words: str, code: int = 0, cwd: Path = project) -> subprocess.CompletedProcess:
        done = warm.run(("stillroom", *words), cwd, environment(), before=BEFORE)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    call.project = project  # type: ignore[attr-defined]
    for stage in ("prepare", "teacher", "cache"):
        call(stage)
    for family in ("wide", "narrow"):
        for arm in ("ce", "kd"):
            call("student", "--family", family, "--arm", arm)
    call("report")
    return call


def student(run: Run, name: str) -> dict:
    return json.loads((run.project / "artifacts/students" / name / "student.json").read_text())  # type: ignore[attr-defined]


def test_every_stage_runs_and_its_records_say_what_it_was(run: Run) -> None:
    artifacts = run.project / "artifacts"  # type: ignore[attr-defined]
    teacher = json.loads((artifacts / "teacher/teacher.json").read_text())
    assert teacher["modality"] == "vectors" and teacher["input"] == {"length": 6}
    assert json.loads((artifacts / "teacher/metrics.json").read_text())["accuracy"] > 60
    store = open_store(artifacts / "cache")
    assert store.layout.views == 4 and len(store.keys) == 48
    assert set(store.manifest.identity["samples"]) == {"count", "keys", "vectors", "labels", "classes"}
    results = json.loads((artifacts / "report/results.json").read_text())
    assert {line["family"] for line in results["summary"]} == {"wide", "narrow"}
    assert results["words"] == {"samples": "points", "inputs": "inputs"}
    assert "<img" in (artifacts / "report/index.html").read_text()
    ce, kd = student(run, "narrow-ce-0"), student(run, "narrow-kd-0")
    assert ce["digests"] == kd["digests"] and set(ce["digests"]) == {"init", "order", "inputs"}


def test_one_forward_pass_gives_logits_and_features(run: Run) -> None:
    store = open_store(run.project / "artifacts/cache")  # type: ignore[attr-defined]
    entry = store.manifest.identity["outputs"]["hidden"]
    assert (entry["kind"], entry["take"], entry["encoding"]) == ("features", "hidden", "float16")
    tensors = load_file(run.project / "artifacts/teacher/model.safetensors")  # type: ignore[attr-defined]
    for view in range(4):
        hidden = store.logits(view, "hidden")
        assert hidden.shape == (48, 32) and np.abs(hidden).max() <= 1
        logits = hidden @ tensors["2.weight"].T + tensors["2.bias"]
        np.testing.assert_allclose(logits, store.logits(view), atol=0.02)
    staged = list((run.project / "artifacts/.staging").glob("*/staging.json"))  # type: ignore[attr-defined]
    assert [sorted(json.loads(one.read_text())["identity"]["outputs"]) for one in staged] == [
        ["hidden", "logits"]
    ]
    facts = json.loads(run("store", "info", "--json").stdout)
    assert facts["outputs"]["hidden"]["kind"] == "features" and facts["outputs"]["hidden"]["zeros"] == 0
    assert 0 < facts["outputs"]["hidden"]["divergence"]["relative"]["max"] < 1e-3
    assert "hidden of wide at 6 numbers" in " ".join(run("store", "info").stdout.split())


def test_a_loss_learns_from_features(run: Run) -> None:
    own = ("--set", "student.losses.hint={features: hidden, weight: 4.0}")
    run("student", "--family", "wide", "--arm", "hint", *own)
    record = student(run, "wide-hint-0")
    assert record["config"]["loss"]["features"] == "hidden"
    assert set(record["cache_parts"]) == {"data", "logits", "hidden"}
    terms = [epoch["terms"] for epoch in record["history"]]
    assert all(set(one) == {"logits", "features"} for one in terms)
    assert terms[-1]["features"] < 0.7 * terms[0]["features"]
    run("student", "--family", "wide", "--arm", "hint", "--online", *own)
    online = student(run, "wide-hint-0-online")
    # the same views, with the same teacher in the loop instead of what was stored of it in float16
    first, again = record["history"][0], online["history"][0]
    for name in ("init", "inputs"):
        assert online["digests"][name] == record["digests"][name]
    for name in ("logits", "features"):
        assert abs(first["terms"][name] - again["terms"][name]) < 1e-3


def test_graphs_are_matched_and_gradients_revised(run: Run, tmp_path: Path) -> None:
    """A narrow student's four nodes of two channels, and a wide teacher's of eight."""
    own = tmp_path / "own"
    shutil.copytree(run.project, own)  # type: ignore[attr-defined]
    grid = ("--set", "cache.teachers.grid={take: grid}")
    run("cache", *grid, cwd=own)
    features = (
        "--set",
        "student.losses.gm={features: grid}",
        "--set",
        "student.losses.skd={features: grid, edges: 300.0}",
    )
    history = {}
    for arm, more in (
        ("gm", ()),
        ("skd", ()),
        ("skd", ("--seed", "1", "--set", "student.losses.skd.revise=each")),
        ("skd", ("--seed", "2", "--set", "student.losses.skd.revise=none")),
    ):
        run("student", "--family", "narrow", "--arm", arm, *features, *more, cwd=own)
        name = f"{arm}{more[-1].partition('skd')[2] if more else ''}"
        seed = more[1] if more else 0
        record = json.loads((own / f"artifacts/students/narrow-{arm}-{seed}/student.json").read_text())
        history[name] = record["history"]
        assert record["cache_parts"].keys() == {"data", "grid"} | ({"logits"} if arm == "skd" else set())
    each = {"nodes", "edges", "labels"}
    assert all(set(one["terms"]) == each and "conflict" not in one for one in history["gm"])
    for name in ("skd", "skd.revise=each"):
        assert all(set(one["terms"]) == each | {"teacher"} for one in history[name])
        assert all(0 <= one["conflict"] <= 1 for one in history[name])
        assert any(one["conflict"] for one in history[name])
    assert not any("conflict" in one for one in history["skd.revise=none"])
    for one in history.values():
        assert one[-1]["terms"]["edges"] < one[0]["terms"]["edges"]
        assert one[-1]["terms"]["labels"] < one[0]["terms"]["labels"]


def test_features_for_graphs_must_be_there_and_be_graphs(run: Run) -> None:
    for arm in ("gm", "skd"):
        command = ("student", "--family", "wide", "--arm", arm)
        said = run(*command, code=1).stderr
        assert "the cache has no features 'features'" in said
        assert "put features: {of: logits, take: LAYER} into cache.teachers and run `stillroom cache`" in said
        said = run(*command, "--set", f"student.losses.{arm}.features=hidden", code=2).stderr
        assert "the teacher's features [32] of a sample are of no nodes" in said
    said = run("cache", "--set", "student.arms=[ce, gm]", code=2).stderr
    assert "the loss gm needs the features 'features'" in said and "the features hidden" in said
    assert "put features: {of: logits, take: LAYER} into cache.teachers and run `stillroom cache`" in said


def test_features_are_float16_whatever_is_asked_of_logits(run: Run) -> None:
    told = run("student", "--family", "narrow", "--arm", "ce", "--set", "cache.encoding=int8").stdout
    assert "cache.encoding is int8; logits of this cache has float16" in told and "hidden of" not in told


def test_what_is_not_there_is_named(run: Run) -> None:
    said = run("student", "--family", "wide", "--arm", "hint", code=1).stderr
    assert "the cache has no features 'features'" in said and "it holds the features hidden" in said
    said = run(
        "student", "--family", "wide", "--arm", "kd", "--set", "student.losses.kd.outputs=[hidden]", code=1
    )
    assert "hidden of this cache is no output of logits" in said.stderr
    said = run("cache", "--set", "cache.teachers.more={take: deep}", code=2).stderr
    assert "wide has no features 'deep'" in said and "it gives hidden" in said
    said = run("cache", "--set", "cache.teachers.more={of: other, take: hidden}", code=2).stderr
    assert "more is taken of 'other', and the outputs with a folder are logits" in said


def test_the_tools_work_on_it(run: Run) -> None:
    project = run.project  # type: ignore[attr-defined]
    run("store", "verify")
    assert json.loads(run("store", "audit", "--json").stdout)["ok"]
    assert "wide at 6 numbers" in run("plan").stdout
    shown = json.loads(run("store", "show", "train_0_000", "--out", "sheet.png", "--json").stdout)
    assert len(shown["views"]) == 4 and set(shown["views"][0]) >= {"gain", "shift", "top"}
    assert (project / "sheet.png").read_bytes()[:4] == b"\x89PNG"
    point = "artifacts/data/points/test_0_000.npy"
    found = json.loads(run("predict", "--student", "artifacts/students/wide-kd-0", point, "--json").stdout)
    assert [one["file"] for one in found] == [point]
    said = run("student", "--family", "widest", "--arm", "ce", code=2).stderr
    assert "there is no family 'widest'" in said


def test_lost_features_are_computed_again(run: Run, tmp_path: Path) -> None:
    project = run.project  # type: ignore[attr-defined]
    kept = tmp_path / "cache"
    shutil.copytree(project / "artifacts/cache", kept)
    victim = next(
        file for file in sorted((kept / "hidden").rglob("*")) if file.is_file() and file.name != "zarr.json"
    )
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    run("store", "verify", str(kept), code=1)
    said = run("store", "repair", str(kept)).stdout
    assert "bit for bit as before" in said and "other bits" not in said
    run("store", "verify", str(kept))


def test_features_join_a_cache_whose_logits_keep_their_bytes(run: Run, tmp_path: Path) -> None:
    project = run.project  # type: ignore[attr-defined]
    own = tmp_path / "own"
    shutil.copytree(project, own)
    shutil.rmtree(own / "artifacts/cache")
    shutil.rmtree(own / "artifacts/.staging")
    (own / "params.yaml").write_text(PARAMS.replace(", hidden: {take: hidden}}", "}"))
    run("cache", cwd=own)
    alone = open_store(own / "artifacts/cache").manifest
    features = ("--set", "cache.teachers.hidden={take: hidden}")
    run("cache", *features, cwd=own)
    both = open_store(own / "artifacts/cache").manifest
    whole = open_store(project / "artifacts/cache").manifest
    assert both.id == whole.id != alone.id
    assert both.blocks == whole.blocks
    assert all(both.blocks[block]["logits"] == alone.blocks[block]["logits"] for block in alone.blocks)
    run(
        "cache",
        "--set",
        "cache.teachers={logits: artifacts/teacher, hidden: {take: hidden}}",
        "--set",
        "views.count=6",
        cwd=own,
    )
    assert open_store(own / "artifacts/cache").layout.views == 6

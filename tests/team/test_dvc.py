"""What somebody who knows DVC expects of a DVC project: experiments, plots, metrics, artifacts, a graph."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stillroom.cache.read.backends import open_store
from tests import warm
from tests.conftest import ROOT, clean, environment, ran, run_in, until
from tests.team.test_sharing import git

FIGURES = [
    "Gain by family",
    "Training",
    "Terms of the loss",
    "Reliability",
    "Average precision by class",
    "Confusion",
]


@pytest.fixture
def committed(project: Path) -> Path:
    """The finished project with its `dvc.lock` in git."""
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "finished")
    return project


def specifications(page: Path) -> dict[str, dict]:
    """The Vega-Lite specifications of a page that DVC made, by title."""
    found = [json.loads(text) for text in re.findall(r"var spec = (\{.*?\});\n", page.read_text(), re.DOTALL)]
    return {str(spec.get("title")): spec for spec in found}


def test_an_experiment_runs_what_it_changes_and_is_compared(committed: Path) -> None:
    said = run_in(committed, "dvc", "exp", "run", "--set-param", "student.losses.kd.temperature=8").stdout
    assert ran(said) == ["student@vit-kd-0", "student@pvt-kd-0", "report"]
    changes = json.loads(run_in(committed, "dvc", "metrics", "diff", "--json").stdout)
    assert changes["artifacts/report/metrics.json"].keys() & {"mean_gain.mAP", "pvt.kd", "vit.kd"}
    assert not changes["artifacts/report/metrics.json"].keys() & {"pvt.ce", "teacher.mAP"}
    table = run_in(
        committed, "dvc", "exp", "show", "--only-changed", "--drop", "artifacts|pipeline|stages", "--md"
    )
    assert "student.losses.kd.temperature" in table.stdout and "mean_gain.mAP" in table.stdout
    assert "model.safetensors" not in table.stdout
    run_in(committed, "dvc", "plots", "diff", "HEAD", "workspace", "--out", "compared")
    compared = specifications(committed / "compared/index.html")
    assert set(compared) == set(FIGURES)
    for spec in compared.values():
        assert {point["rev"] for point in spec["data"]["values"]} == {"HEAD", "workspace"}


def test_a_queued_experiment_takes_the_cache_from_dvc(committed: Path) -> None:
    """In a folder of its own, where no block is staged: the old planes are adopted, the new one computed."""
    run_in(committed, "dvc", "exp", "run", "--queue", "--name", "more", "-S", "views.count=4", "cache")
    run_in(committed, "dvc", "queue", "start")

    def succeeded() -> bool:
        told = run_in(committed, "dvc", "queue", "status").stdout
        assert "Failed" not in told, told
        return "Success" in told

    until(succeeded)
    log = run_in(committed, "dvc", "queue", "logs", "more").stdout
    assert ran(log) == ["cache"] and "resumed: 9 of 12 blocks" in log
    assert open_store(committed / "artifacts/cache").layout.views == 3
    run_in(committed, "dvc", "exp", "apply", "more")
    assert open_store(committed / "artifacts/cache").layout.views == 4


def test_the_plots_say_what_the_report_says(committed: Path) -> None:
    run_in(committed, "dvc", "plots", "show", "--out", "plots")
    figures = specifications(committed / "plots/index.html")
    assert set(figures) == set(FIGURES)
    results = json.loads((committed / "artifacts/report/results.json").read_text())
    gains = {
        (point["family"], point["metric"]): float(point["gain"])
        for point in figures["Gain by family"]["data"]["values"]
    }
    for line in results["summary"]:
        name = {"vit": "ViT", "pvt": "PVT"}[line["family"]]
        assert gains[name, "accuracy"] == pytest.approx(line["gain"])
        assert gains[name, "mAP"] == pytest.approx(line["mAP_gain"])
    training = figures["Training"]["data"]["values"]
    assert {(point["family"], point["arm"]) for point in training} == {
        ("teacher", "ce"),
        *((name, arm) for name in ("ViT", "PVT") for arm in ("ce", "kd")),
    }
    assert sum(point["family"] == "PVT" and point["arm"] == "kd" for point in training) == 4
    terms = figures["Terms of the loss"]["data"]["values"]
    assert {(point["arm"], point["term"]) for point in terms} == {("kd", "teacher"), ("kd", "labels")}
    for point in training:
        parts = [
            float(one["loss"])
            for one in terms
            if all(one[name] == point[name] for name in ("family", "arm", "seed", "epoch"))
        ]
        assert len(parts) == (2 if point["arm"] == "kd" else 0)
        assert not parts or sum(parts) == pytest.approx(float(point["loss"]), abs=1e-3)
    shares: dict[tuple[str, str], float] = {}
    for point in figures["Confusion"]["data"]["values"]:
        where = point["arm"], point["actual"]
        shares[where] = shares.get(where, 0) + float(point["share"])
    assert len(shares) == 3 * 40 and all(share == pytest.approx(100, abs=0.1) for share in shares.values())
    images: dict[tuple[str, str], int] = {}
    for point in figures["Reliability"]["data"]["values"]:
        where = point["family"], point["arm"]
        images[where] = images.get(where, 0) + int(point["images"])
    assert len(images) == 5 and set(images.values()) == {40}
    precisions = figures["Average precision by class"]["data"]["values"]
    kd = [float(point["ap"]) for point in precisions if point["arm"] == "kd"]
    mean = sum(line["mAP_kd"] for line in results["summary"]) / 2
    assert len(kd) == 40 and sum(kd) / 40 == pytest.approx(mean, abs=0.01)
    numbers = json.loads((committed / "artifacts/report/metrics.json").read_text())
    assert numbers["mean_gain"]["accuracy"] == pytest.approx(results["mean_gain"], abs=1e-3)


def test_curves_are_seen_while_they_grow(project: Path) -> None:
    live = project / "artifacts/.staging/live"
    command = ["student", "--family", "pvt", "--arm", "kd", "--set", "student.train.epochs=100000"]
    training = warm.start(("stillroom", *command), project, environment())
    try:
        log = live / "pvt-kd-0/plots/metrics/loss.tsv"
        until(lambda: log.exists() and len(log.read_text().splitlines()) > 5, training)
        run_in(project, "dvc", "plots", "show", "artifacts/.staging/live", "--out", "now")
    finally:
        training.kill()
        training.wait()
    drawn = specifications(project / "now/index.html").values()
    assert max(json.dumps(spec).count('"step": ') for spec in drawn) >= 5
    assert len((project / "artifacts/students/pvt-kd-0/plots/metrics/loss.tsv").read_text().splitlines()) == 5


def test_artifacts_are_fetched_by_name_once_they_are_tagged(committed: Path, tmp_path: Path) -> None:
    run_in(committed, "dvc", "remote", "add", "--default", "lab", str(tmp_path / "remote"))
    run_in(committed, "dvc", "push")
    git(committed, "commit", "-q", "-a", "-m", "remote")
    for name in ("cache", "students"):
        git(committed, "tag", "--annotate", f"{name}@v1.0.0", "--message", "first")
    other = tmp_path / "other"
    other.mkdir()
    url = str(committed)
    run_in(other, "dvc", "artifacts", "get", url, "cache")
    run_in(other, "stillroom", "store", "verify", "cache")
    run_in(other, "dvc", "artifacts", "get", url, "students")
    assert (other / "students/pvt-kd-0/model.safetensors").exists()
    run_in(other, "dvc", "get", url, "artifacts/cache", "--out", "again")
    run_in(other, "stillroom", "store", "verify", "again")


def test_the_pipeline_file_reads_as_it_runs(project: Path) -> None:
    graph = run_in(project, "dvc", "dag", "--mermaid").stdout
    for stage in ("prepare", "teacher", "cache", "student@pvt-kd-0", "report"):
        assert stage in graph
    tree = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
    drawn = {settings["template"] for plot in tree["plots"] for settings in plot.values()}
    assert drawn == {file.stem for file in (ROOT / ".dvc/plots").glob("*.json")}
    assert run_in(project, "dvc", "params", "diff").returncode == 0


def test_nothing_to_do_runs_nothing(project: Path) -> None:
    said = run_in(project, "dvc", "repro")
    assert ran(said.stdout + said.stderr) == [] and clean(project)

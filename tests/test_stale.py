"""What makes a stage stale: `dvc.yaml` lists what the stage uses of the library, and hardly more: a folder is
listed whole where the better part of it is used.

What it uses is seen by running it: a file of which a function runs, or from which such a file takes a
constant.
"""

import json
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import used, warm
from tests.conftest import ROOT, copy_project, environment, run_in
from tests.test_structure import closure, imported

# What a stage uses and yet depends on in vain: nothing in these can change what is written
HARMLESS = {
    "pipeline/fetched.py": "what it fetches counts only where it has the manifest's or the table's digests",
    "pipeline/spans.py": "what it reads counts only where it has the table's digests",
    "pipeline/errors.py": "wording",
    "pipeline/files.py": "files are replaced as a whole",
    "pipeline/lock.py": "who waits for whom",
    "pipeline/machine.py": "how many workers there are, and how much they keep",
    "pipeline/modalities/__init__.py": "finds a modality by its name",
    "pipeline/modalities/named.py": "finds policies and corruptions by their names",
    "pipeline/modalities/params.py": "reads params.yaml, whose values DVC compares itself",
    "pipeline/progress.py": "what is shown meanwhile",
    "pipeline/provenance/ahead.py": "refuses sooner what another stage would refuse",
    "pipeline/registry.py": "finds a file by its name",
    "pipeline/stopping.py": "signals",
    "pipeline/trackers/__init__.py": "where curves go beside the results",
    "pipeline/trackers/dvclive.py": "the history once more, for `dvc plots`",
    "pipeline/validation.py": "wording",
    "stages/artifacts.py": "where things are",
    "stages/checks.py": "refuses names that are not there",
    "stages/cli.py": "the command line",
    "stages/console.py": "what is shown meanwhile",
    "stages/inputs.py": "opens what is there, and says what is not",
    "stages/options.py": "the command line",
    "stages/output.py": "the command line",
}
LOSSES = {f"pipeline/losses/{name}.py": "arms are only checked" for name in ("__init__", "_effect", "kd")}
CHECKED = {
    f"pipeline/modalities/skeletons/policies/{name}.py": "the policy is only checked"
    for name in ("__init__", "move")
}
WORSENED = {"pipeline/modalities/skeletons/corruptions/joint_loss.py": "the corruption is only checked"}
GRAPHS = {
    f"pipeline/losses/{name}.py": "arms are only checked" for name in ("_features", "_graph", "gm", "skd")
}
NAMES = {f"pipeline/cache/{room}/__init__.py": "names are only checked" for room in ("encodings", "stores")}
DATA_SETS = {
    f"pipeline/modalities/{file}.py": "names and keys are only checked"
    for file in ("data_sets", "images/datasets/__init__", "skeletons/datasets/__init__")
}
# What only other data sets need, which are not here: the stage depends on it all the same
UNSEEN = {
    *(f"pipeline/modalities/{name}.py" for name in ("parquet_files", "pickles", "tar_members", "unzip")),
    # nor what only models by other names than timm's need
    *(f"pipeline/modalities/images/models/{name}.py" for name in ("entry", "timm_folder")),
}
# ... and of single stages
OF_STAGES = {
    "prepare": NAMES
    | CHECKED
    | {
        "pipeline/modalities/skeletons/fields.py": "the policy is only checked",
        "pipeline/modalities/skeletons/models/create.py": "families are only checked",
        "pipeline/losses/__init__.py": "arms are only checked",
        "pipeline/modalities/base.py": "paths are only checked",
        "pipeline/modalities/images/fields.py": "the policy is only checked",
        "pipeline/modalities/images/policies/__init__.py": "the policy is only checked",
    },
    "teacher": LOSSES
    | GRAPHS
    | WORSENED
    | NAMES
    | DATA_SETS
    | {"pipeline/modalities/images/models/families.py": "families are only checked"},
    "cache": LOSSES
    | GRAPHS
    | WORSENED
    | DATA_SETS
    | {
        "pipeline/evaluation/metrics.py": "what is printed at the end",
        "pipeline/losses/_common.py": "arms are only checked",
        "pipeline/modalities/images/models/families.py": "families are only checked",
    },
    "student": DATA_SETS
    | CHECKED
    | {
        "pipeline/modalities/images/policies/__init__.py": "what was drawn is in the cache",
        "pipeline/provenance/probes.py": "refuses a machine that renders otherwise",
    },
    "report": DATA_SETS
    | CHECKED
    | {
        "pipeline/losses/__init__.py": "arms are only checked",
        "pipeline/modalities/images/policies/__init__.py": "the policy is only checked",
        "pipeline/modalities/images/settings.py": "a message of data sets",
    },
}
# What is run, one after the other in a finished project, to see what each stage uses
OTHER = ("views.seed=1", "views.recipe={name: crop, mixup: 0.5}", "cache.store=hdf5", "cache.encoding=topk")
OTHER += ("cache.teachers={logits: artifacts/teacher, features: {from: artifacts/teacher, layer: last}}",)
TRUNK = ("teacher.weights=given.safetensors", "teacher.train.freeze=trunk")
SHORT = ("student.train.epochs=1", "student.train.warmup_epochs=0")
WORSE = "student.corruption={name: occlusion, share: 0.2}"
RUNS = (
    ("report",),
    ("prepare",),
    ("student", "--family", "vit", "--arm", "ce", *SHORT, WORSE),
    ("report", "student.families=[vit]", "student.arms=[ce]", WORSE),
    ("cache", "--replace", *OTHER),
    ("student", "--family", "vit", "--arm", "kd", *SHORT, *OTHER),
    ("student", "--family", "vit", "--arm", "at", *SHORT, *OTHER),
    ("report", "student.families=[vit]", "student.arms=[kd]", *OTHER),
    ("cache", "--replace"),
    ("teacher", *TRUNK),
    ("teacher",),
)
# and in a finished project of skeletons
SKELETONS = (
    ("prepare",),
    ("teacher",),
    ("cache", "--replace", "views.seed=1"),
    ("student", "--family", "stgcn", "--arm", "skd", *SHORT, "views.seed=1"),
    ("report", "student.arms=[skd]", "views.seed=1"),
)
STAGES = ("prepare", "teacher", "cache", "student", "report")


def stages() -> dict[str, list[str]]:
    """The files and folders of the library that each stage depends on."""
    tree = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    return {
        name: [one for one in stage["deps"] if one.startswith(("pipeline/", "stages/"))]
        for name, stage in tree.items()
        if "deps" in stage
    }


def within(file: str, deps: list[str]) -> bool:
    return any(file == one or file.startswith(f"{one}/") for one in deps)


@pytest.fixture(scope="module")
def uses(finished: Path, skeletons: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The files that each stage uses, of images or of skeletons."""
    ran: dict[str, set[str]] = {stage: set() for stage in STAGES}
    for source, runs in ((finished, RUNS), (skeletons, SKELETONS)):
        project = tmp_path_factory.mktemp("used") / "project"
        copy_project(source, project)
        shutil.copy(project / "artifacts/teacher/model.safetensors", project / "given.safetensors")
        for stage, *words in runs:
            options = [part for word in words for part in (["--set", word] if "=" in word else [word])]
            noted = {used.LOG: str(project / f"{stage}.log"), "STILLROOM_WORKERS": "1"}
            done = warm.run(("stillroom", stage, *options), project, environment() | noted)
            assert done.returncode == 0, done.stderr
        for stage in STAGES:
            ran[stage] |= set(used.read(project / f"{stage}.log"))
    return {stage: files | {one for file in files for one in constants(file)} for stage, files in ran.items()}


def constants(file: str) -> set[str]:
    """The files from which a file takes constants."""
    return {source for source, name in imported(file) if name.isupper()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_it_uses(stage: str, uses: dict[str, set[str]]) -> None:
    assert f"stages/{stage}.py" in uses[stage]
    harmless = HARMLESS | OF_STAGES[stage]
    missing = sorted(
        file for file in uses[stage] if not within(file, stages()[stage]) and file not in harmless
    )
    assert not missing, f"{stage} uses these, and dvc.yaml does not list them: {missing}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_nothing_else(stage: str, uses: dict[str, set[str]]) -> None:
    deps, reached = stages()[stage], closure(f"stages/{stage}.py")
    for one in deps:
        if (ROOT / one).is_file() and not one.endswith(".py"):
            continue  # a template, of the file beside it
        files = [file.relative_to(ROOT).as_posix() for file in sorted((ROOT / one).rglob("*.py"))] or [one]
        unreached = set(files) - reached  # a folder may be listed for the better part of it
        assert (ROOT / one).exists() and 2 * len(unreached) < len(files), f"{stage} imports little of {one}"
        seen = set(files) & (uses[stage] | classes(uses[stage])) or one in UNSEEN
        assert seen, f"{stage} uses nothing of {one}"
    assert not [one for one in deps if one in HARMLESS or one in OF_STAGES[stage]]


def classes(files: set[str]) -> set[str]:
    """The files from which files take classes: sections of the parameters, for example."""
    return {source for file in files for source, name in imported(file) if name[:1].isupper()}


def test_what_is_called_harmless_is_used(uses: dict[str, set[str]]) -> None:
    assert set(HARMLESS) <= set().union(*uses.values())
    for stage, files in OF_STAGES.items():
        assert set(files) <= uses[stage]


def test_what_only_reads_from_afar_reports_or_prints_retrains_nothing() -> None:
    quiet = {
        "student": ["reporting/bootstrap.py", "reporting/page.py", "cache/read/remote.py", "errors.py"],
        "teacher": ["reporting/bootstrap.py", "modalities/images/sheet.py", "training/student.py"],
        "cache": ["reporting/bootstrap.py", "cache/read/remote.py", "modalities/images/models/families.py"],
    }
    for stage, files in quiet.items():
        for file in files:
            assert (ROOT / "pipeline" / file).exists() and not within(f"pipeline/{file}", stages()[stage])


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("pipeline/reporting/bootstrap.py", {"report"}),
        ("pipeline/cache/read/remote.py", set()),
        ("pipeline/fetched.py", set()),
        ("pipeline/modalities/images/policies/crop.py", {"teacher", "cache"}),
        ("pipeline/training/loop.py", {"teacher", "student"}),
        ("pipeline/losses/kd.py", {"student"}),
        ("pipeline/modalities/images/preparation/scan.py", {"prepare"}),
    ],
)
def test_an_edit_makes_stale_what_it_may_change(project: Path, file: str, stale: set[str]) -> None:
    """A comment more; stages that only wait for others to be run are not counted."""
    with (project / file).open("a", encoding="utf-8") as stream:
        stream.write("# edited\n")
    status = json.loads(run_in(project, "dvc", "status", "--json").stdout)
    found = {
        name.split("@")[0]
        for name, faults in status.items()
        if any(
            part.startswith(("pipeline/", "stages/"))
            for fault in faults
            if isinstance(fault, dict)
            for part in fault.get("changed deps", {})
        )
    }
    assert found == stale

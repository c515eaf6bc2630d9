"""What the pages say of this repository's files is so: they are there, and none is left out."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.docs.blocks import PAGES
from tests.test_structure import FLOORS

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
OURS = ("pipeline/", "stages/", "tests/", "docs/", "examples/")


def paths(text: str) -> set[str]:
    """Paths of ours between backticks, that stand for no name to be chosen: of these the folder."""
    found = {one for one in re.findall(r"`([\w./-]+)`", text) if one.startswith(OURS)}
    return {re.sub(r"NAME.*", "", one) for one in found}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "examples/README.md"], ids=lambda page: page.name)
def test_every_path_and_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text))
    lost = [one for one in links if not (page.parent / one).exists()]
    lost += [one for one in paths(text) if not (ROOT / one).exists()]
    assert not lost, f"{page.name} names {', '.join(lost)}"


def test_every_link_into_a_page_has_its_heading() -> None:
    for page in PAGES:
        for name, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
            other = (page.parent / name if name else page).read_text(encoding="utf-8")
            titles = re.findall(r"^#+ (.+)$", other, re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{page.name}: {name}#{heading}"


def test_the_guide_names_every_folder_and_the_arrows() -> None:
    folders = {f"pipeline/{file.parent.name}/" for file in (ROOT / "pipeline").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(pipeline/\w+/)` \|", GUIDE, re.MULTILINE)) == folders
    (drawn,) = re.findall(r"```\n(stages\n.*?)ground .*?\n```", GUIDE, re.DOTALL)
    assert [set(line.split()) for line in reversed(drawn.splitlines())] == FLOORS[1:]


def test_the_guide_answers_twelve_questions() -> None:
    table = GUIDE.partition("## Where is ...")[2]
    rows = re.findall(r"^\| (.+\?) \| (.+) \|$", table, re.MULTILINE)
    assert len(rows) == 12 and all(paths(answer) or "](" in answer for _, answer in rows)


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    assert all(
        f"]({page.name})" in index for page in (ROOT / "docs").glob("*.md") if page.name != "README.md"
    )
    assert "docs/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_workflow_runs_what_is_run_here() -> None:
    workflow = YAML(typ="safe").load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["run"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    setup = next(step["with"] for step in steps if "setup-python" in step.get("uses", ""))
    assert setup["cache"] == "pip" and all(
        (ROOT / one).exists() for one in setup["cache-dependency-path"].split()
    )


def test_the_hooks_are_what_make_runs() -> None:
    hooks = YAML(typ="safe").load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    entries = [hook["entry"] for repo in hooks for hook in repo["hooks"]]
    assert all(repo["repo"] == "local" for repo in hooks)
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    run = {line.split()[0] for line in re.findall(r"^\t(ruff .*|mypy.*)$", makefile, re.MULTILINE)}
    assert run == {Path(entry.split()[0]).name for entry in entries}

"""The house: which room may know which. Arrows only go down, and some never."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"stillroom": ROOT / "pipeline", "stillroom_stages": ROOT / "stages"}
# From the ground up; rooms on one floor do not know each other
FLOORS = [
    {"ground"},
    {"cache", "losses", "modalities", "trackers"},
    {"views"},
    {"evaluation"},
    {"provenance"},
    {"teaching", "training", "reporting"},
    {"benchmarks", "sharing"},
    {"stages"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


@cache
def modules() -> dict[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for file in sorted(folder.rglob("*.py")):
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room(module: str) -> str:
    package, *parts = module.split(".")
    if package == "stillroom_stages":
        return "stages"
    return parts[0] if parts and (ROOT / "pipeline" / parts[0]).is_dir() else "ground"


@cache
def imports(file: Path) -> set[str]:
    """What a file imports of ours, anywhere in it, but for types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    known = modules()
    types = [
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    ]
    found = set()
    for node in ast.walk(tree):
        if node in types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                found.add(whole if whole in known else str(node.module))
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] in PACKAGES}
    return found


@cache
def imported(file: str) -> set[tuple[str, str]]:
    """What a file takes of others of ours at its top, as (their file, name): `from X import name`."""
    known, found = modules(), set()
    text = (ROOT / file).read_text(encoding="utf-8") if file.endswith(".py") else ""
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.module in known:
            source = known[node.module].relative_to(ROOT).as_posix()
            found |= {(source, name.name) for name in node.names if f"{node.module}.{name.name}" not in known}
    return found


@cache
def closure(file: str) -> set[str]:
    """The files of ours that a file imports, and those import, and so on; of what is found by name, all."""
    known, found, todo = modules(), set(), {next(m for m, path in modules().items() if path == ROOT / file)}
    while todo:
        module = todo.pop()
        found.add(module)
        parts = module.split(".")
        more = imports(known[module]) | {".".join(parts[:number]) for number in range(1, len(parts))}
        if "registry." in known[module].read_text(encoding="utf-8") or module == "stillroom.modalities":
            more |= {one for one in known if one.startswith(f"{module}.")}
        todo |= {one for one in more if one in known} - found
    return {known[module].relative_to(ROOT).as_posix() for module in found}


@pytest.mark.parametrize("module", sorted(modules()))
def test_arrows_only_go_down(module: str) -> None:
    here = room(module)
    there = {room(one): one for one in imports(modules()[module])}
    wrong = [one for other, one in there.items() if other != here and FLOOR[other] >= FLOOR[here]]
    assert not wrong, f"{module} ({here}) imports {', '.join(wrong)}"


def test_a_modality_is_known_by_name_alone() -> None:
    """Nothing outside the modalities imports from one; benchmarks measure that of images."""
    wrong = [
        f"{module} imports {one}"
        for module, file in modules().items()
        for one in imports(file)
        if room(module) not in ("modalities", "benchmarks") and one.startswith("stillroom.modalities.images")
    ]
    assert not wrong

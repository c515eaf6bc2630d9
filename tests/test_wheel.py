"""What a wheel gives to those who install it: two packages with their data, and their types."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment

pytestmark = pytest.mark.slow  # they start commands


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the files as they are now, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("pipeline", "stages", "src"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = ["wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(folder), "."]
    command = [sys.executable, "-m", "pip", *build]
    done = subprocess.run(command, cwd=source, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("stillroom-*.whl")
    with zipfile.ZipFile(file) as packed:
        packed.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_it_puts_two_names_on_the_import_path(wheel: Path) -> None:
    names = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"stillroom", "stillroom_stages"}


def test_it_holds_every_file_of_both(wheel: Path) -> None:
    for folder, package in (("pipeline", "stillroom"), ("stages", "stillroom_stages")):
        files = {
            file.relative_to(ROOT / folder)
            for file in (ROOT / folder).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert files == {
            file.relative_to(wheel / package) for file in (wheel / package).rglob("*") if file.is_file()
        }


def test_it_says_that_it_is_typed(wheel: Path) -> None:
    assert (wheel / "stillroom" / "py.typed").is_file()
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    assert "Classifier: Typing :: Typed\n" in metadata.read_text(encoding="utf-8")


def test_it_is_what_is_imported_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    code = "import stillroom; from stillroom_stages import cli; print(stillroom.__file__, cli.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(wheel / "stillroom/__init__.py"),
        str(wheel / "stillroom_stages/cli.py"),
    ]

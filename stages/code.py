"""What students are made with: the digests of the files that `dvc.yaml` lists for them."""

import hashlib
from pathlib import Path


def digests(pipeline: Path) -> dict[str, str]:
    """SHA-256 of each Python file that the stage `code` depends on, by its path.

    Args:
        pipeline: `dvc.yaml`; the paths in it start at its folder.

    Raises:
        StillroomError: it has no such stage, or a file is missing.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from stillroom.errors import StillroomError

    try:
        deps = YAML(typ="safe").load(pipeline.read_text(encoding="utf-8"))["stages"]["code"]["deps"]
        files = [file for one in deps for file in _files(pipeline.parent / one)]
        return {
            file.relative_to(pipeline.parent).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }
    except (OSError, YAMLError, KeyError, TypeError) as error:
        raise StillroomError(
            f"{pipeline} does not say what students are made with",
            f"{type(error).__name__}: {error}",
            "run this in a clone of the repository; its dvc.yaml has the stage `code`",
        ) from None


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]

"""The Python of docs/teacher.md and docs/students.md, run as it stands."""

import json
from pathlib import Path

from ruamel.yaml import YAML

from tests import warm
from tests.conftest import environment, run_in
from tests.docs.blocks import blocks
from tests.docs.test_blocks import python


def test_a_torchvision_model_is_a_teacher(project: Path) -> None:
    """Without ImageNet's weights, which are not here; at 32 pixels."""
    (project / "my_models.py").write_text(python("docs/teacher.md").text)
    (block,) = [one for one in blocks("yaml") if one.page == "docs/teacher.md" and "my_models" in one.text]
    arch = YAML(typ="safe").load(block.text)["teacher"]["arch"]
    given = ("--set", f"teacher.arch={arch}", "--set", "teacher.overrides={}")
    run_in(project, "stillroom", "teacher", *given)
    record = json.loads((project / "artifacts/teacher/teacher.json").read_text())
    assert record["arch"] == arch == "my_models:resnet"
    assert record["input"] == {"size": 32, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    run_in(project, "stillroom", "cache", "--replace", *given)


def test_timm_alone_opens_a_student(project: Path) -> None:
    """The micro MViT, whose shape is none of timm's."""
    size = ("--set", "student.model.image_size=64")
    run_in(project, "stillroom", "student", "--family", "mvit", "--arm", "kd", *size)
    text = python("docs/students.md").text
    done = warm.run((warm.PYTHON, "-c", text), project, environment())
    assert done.returncode == 0, done.stderr
    assert "'input_size': (3, 64, 64)" in done.stdout and "'crop_pct': 1.0" in done.stdout
    assert "applauding" in done.stdout

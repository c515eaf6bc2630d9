"""The commands that pages hold: in their blocks, and between backticks in their text.

`parse` has bash read a block as it is, with stand-ins for the commands that only note how they were called
(but for `stillroom preset`, which runs), and holds each call to the real command line: its options must
exist, its keys be accepted, its targets and files be there.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
from ruamel.yaml import YAML

from stillroom import losses, modalities
from stillroom.modalities.params import load_params
from stillroom_stages.checks import check_choices, check_family, check_inputs
from stillroom_stages.cli import main
from tests.conftest import ROOT, TINY, environment

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
PROMPT = re.compile(r"(?:[a-z]+)?\$ (.+)")
NOTED = (
    "stillroom",
    "dvc",
    "torchrun",
    "python",
    "make",
    "srun",
    "scontrol",
    "git",
    "cp",
    "pip",
    "pre-commit",
)


@dataclass
class Command:
    """What is typed at a prompt, and the lines that it must print."""

    text: str
    expected: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether bash waits for no further line of it."""
        done = subprocess.run(["bash", "-n"], input=self.text, capture_output=True, text=True)
        return done.returncode == 0 and not self.text.endswith("\\")


@dataclass
class Block:
    """A block of a page."""

    page: str
    kind: str  # console, bash or python
    text: str

    @property
    def commands(self) -> list[Command]:
        """The commands of a console block."""
        found: list[Command] = []
        for line in self.text.splitlines():
            prompt = PROMPT.fullmatch(line)
            if found and not found[-1].whole:
                found[-1].text += f"\n{line}"
            elif prompt:
                found.append(Command(prompt[1]))
            elif line:
                found[-1].expected.append(line)
        return found

    @property
    def script(self) -> str:
        """All that it runs."""
        return self.text if self.kind == "bash" else "\n".join(one.text for one in self.commands)

    def __str__(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0]}"


def blocks(*kinds: str) -> list[Block]:
    """The blocks of all pages, in order."""
    return [
        Block(page.relative_to(ROOT).as_posix(), kind, text)
        for page in PAGES
        for kind, text in re.findall(r"```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        if kind in kinds
    ]


def spans(page: Path) -> list[str]:
    """The commands that stand between backticks in a page's text."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = (" ".join(one.split()) for one in re.findall(r"`([^`]+)`", text))
    return [one for one in found if one.startswith(("stillroom ", "dvc ", "torchrun ", "make ", "python "))]


@dataclass
class Call:
    """A command as it was called, and the parameters that lay in its folder."""

    name: str
    words: list[str]
    params: str | None


def parse(script: str, folder: Path) -> list[Call]:
    """Have bash read a script, and hold every call in it to the real command line.

    Args:
        folder: an empty one, in which it is read.
    """
    calls = list(_called(script, folder))
    for call in calls:
        try:
            _check(call, folder)
        except Exception as error:
            told = error.format_message() if isinstance(error, click.ClickException) else str(error)
            raise AssertionError(f"{call.name} {' '.join(call.words)}: {told}") from error
    return calls


def _called(script: str, folder: Path) -> Iterator[Call]:
    (folder / "params.yaml").write_text(TINY)
    (folder / "...").mkdir()  # where a page leaves a name to its reader
    (folder / "bin").mkdir()
    log = folder / "log"
    log.touch()
    env = environment() | {"SLURM_JOB_NODELIST": "node[0-1]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "1"}
    env["SLURM_ARRAY_TASK_ID"] = "3"
    for name in NOTED:
        real = f"os.execvpe({name!r}, [{name!r}, *sys.argv[1:]], {{**os.environ, 'PATH': {env['PATH']!r}}})"
        (folder / "bin" / name).write_text(
            f"#!{sys.executable} -IS\nimport json, os, sys\n"
            "params = open('params.yaml').read() if os.path.exists('params.yaml') else None\n"
            f"print(json.dumps([{name!r}, sys.argv[1:], params]), file=open({str(log)!r}, 'a'), flush=True)\n"
            f"if {name!r} == 'stillroom' and sys.argv[1:2] == ['preset']: {real}\n"
        )
        (folder / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(folder / "bin"), env["PATH"]])
    command = ["bash", "-euc", script]
    done = subprocess.run(command, cwd=folder, env=env | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    for line in log.read_text().splitlines():
        yield Call(*json.loads(line))


def _check(call: Call, folder: Path) -> None:
    words = [word for word in call.words if word != "..."]
    if call.name == "stillroom":
        _stillroom(words, call.params, folder)
    elif call.name == "dvc":
        _dvc(words, call.params, folder)
    elif call.name in ("torchrun", "srun"):
        from torch.distributed.run import get_args_parser

        if call.name == "srun":
            while words[0].startswith("--"):
                words.pop(0)
            if words[:2] == ["ray", "symmetric-run"]:
                _ray(words[2:], call.params, folder)
                return
            assert words.pop(0) == "torchrun"
        found = get_args_parser().parse_args(words)
        assert found.no_python and found.training_script == "stillroom"
        _stillroom(found.training_script_args, call.params, folder)
    elif call.name == "make":
        subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True)
    elif call.name == "python":
        files = [word for word in words if word.endswith((".py", ".md")) or word.startswith("tests/")]
        assert all((ROOT / file).exists() for file in files)
        assert files or words[0] in ("-m", "-c")


def _ray(words: list[str], params: str | None, folder: Path) -> None:
    """Ray's own parser, then ours."""
    from ray.scripts.scripts import start

    cut = words.index("--")
    own = words[:cut]
    at = own.index("--min-nodes")  # all else is for `ray start`
    start.make_context("start", own[:at] + own[at + 2 :])
    assert words[cut + 1] == "stillroom"
    _stillroom(words[cut + 2 :], params, folder)


def _stillroom(words: list[str], params: str | None, folder: Path) -> None:
    """Click's own parser, then the keys; nothing is run."""
    command: click.Command = main
    context = None
    try:
        while True:
            context = command.make_context(command.name or "stillroom", words, parent=context)
            if not isinstance(command, click.Group):
                break
            if command.invoke_without_command and not [*context._protected_args, *context.args]:
                break
            _, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None
            command = found
    except click.exceptions.Exit:  # --help, --version
        return
    except click.MissingParameter:  # text names a command without all that it needs
        return
    options = context.params
    if "params_file" not in options:
        return
    file = folder / "held.yaml"
    file.write_text(params or TINY)
    checked = load_params(file, options["overrides"])
    check_choices(checked, str(file))
    check_inputs(checked)
    if "family" in options:
        check_family(checked, options["family"], "--family")
        losses.check(options["arm"], "--arm")


def _dvc(words: list[str], params: str | None, folder: Path) -> None:
    """DVC's own parser, then the keys that experiments set and the stages that are named."""
    from dvc.cli.parser import get_main_parser

    if len(words) == 1:  # text names a command without all that it needs
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            get_main_parser().parse_args([*words, "--help"])
        return
    found = get_main_parser().parse_args(words)
    for override in getattr(found, "set_param", None) or []:
        key, _, value = override.partition("=")
        for one in value.split(",") if "[" not in value else [value]:  # a sweep
            _stillroom(["prepare", "--set", f"{key}={one}"], params, folder)
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    if found.cmd == "repro":
        for target in found.targets:
            stage, _, item = target.partition("@")
            assert stage in stages, f"there is no stage {stage}"
            if item:
                family, arm, seed = item.rsplit("-", 2)
                assert family in modalities.get("images").families() and arm in losses.names()
                assert seed.isdigit()

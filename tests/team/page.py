"""Runs the commands of `docs/team.md`, line by line, each as the member at whose prompt it stands.

`python -m tests.team.page ssh|s3|folder` runs the page as it is and prints times and bytes.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT, environment
from tests.team.servers import BUCKET, s3_client, s3_server, ssh_server

PAGE = ROOT / "docs" / "team.md"
NOWHERE = "http://127.0.0.1:9"  # no network but loopback
GIT, REMOTE = "git@example.org:lab", "s3://lab/stillroom"  # as the page has them


@dataclass
class Line:
    """A command of the page, who types it, and lines that it must print."""

    who: str
    command: str
    expected: list[str] = field(default_factory=list)


def lines() -> list[Line]:
    """The page's commands in order."""
    found: list[Line] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for text in block.splitlines():
            prompt = re.fullmatch(r"([a-z]+)\$ (.+)", text)
            if prompt:
                found.append(Line(prompt[1], prompt[2]))
            else:
                found[-1].expected.append(text)
    return found


def bare_repository(folder: Path, name: str) -> None:
    """A bare git repository of this project's files as they are now; its presets' `params.yaml` too."""
    work = folder / f"{name}-work"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for file in filter(None, names):
        if not file.startswith(("tests/", "docs/")) and (ROOT / file).exists():
            (work / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, work / file, follow_symlinks=False)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=work, check=True, env=member(folder))
    bare = str(folder / f"{name}.git")
    subprocess.run(["git", "clone", "-q", "--bare", str(work), bare], check=True)


def member(home: Path, **more: str) -> dict[str, str]:
    """The environment of one member: the project that lies in the working folder is the one that runs."""
    names = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "member"), ("EMAIL", "member@example.invalid"))
    }
    own = {"PYTHONPATH": "src", "XDG_CACHE_HOME": str(home / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    own |= {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1,localhost"}
    return {**environment(), **names, **own, **more}


class Team:
    """Members with a folder each, one git server (a folder), and one remote."""

    def __init__(self, folder: Path, remote: str, access: dict[str, str], quick: bool) -> None:
        self.folder, self.remote, self.access, self.quick = folder, remote, access, quick
        self.where: dict[str, Path] = {}
        for name in ("actions", "other"):
            bare_repository(folder, name)

    def run(self, line: Line, code: int = 0) -> str:
        """Run a command of the page and give what it prints."""
        command = line.command.replace(GIT, '"$GIT"').replace(REMOTE, '"$REMOTE"')
        if self.quick and "preset sketch40" in command:
            less = ["teacher.train.epochs=1", "student.train.epochs=1", "views.size=32"]
            less += ["student.model.image_size=64"] if "swin" in command else []
            less += ["'teacher.overrides={patch_size: 4, depths: [1, 1, 1, 1], dims: [8, 16, 24, 32]}'"]
            less += ["student.train.warmup_epochs=0"]
            less += ["data.test_per_class=1"]
            less += ["data.train_per_class=5"] if self.remote.startswith("ssh") else []
            command = command.replace(" > ", "".join(f" --set {one}" for one in less) + " > ")
        start = self.where.setdefault(line.who, self.folder / line.who)
        start.mkdir(exist_ok=True)
        after = self.folder / "where"
        script = f'cd "$HERE"\n{command}\nended=$?\npwd > "$AFTER"\nexit $ended\n'
        env = member(self.folder / line.who, **self.access)
        env |= {"GIT": str(self.folder), "REMOTE": self.remote, "HERE": str(start), "AFTER": str(after)}
        done = subprocess.run(
            ["bash", "-c", script],
            env=env,
            capture_output=True,
            text=True,
            timeout=900,
            stdin=subprocess.DEVNULL,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{line.who}$ {command}\n{said}"
        assert "Traceback" not in said, f"{line.who}$ {command}\n{said}"
        for text in line.expected:
            assert text in said, f"{line.who}$ {command}\nexpected: {text}\n{said}"
        self.where[line.who] = Path(after.read_text().strip())
        return said


@contextmanager
def team(folder: Path, server: Path, kind: str, quick: bool = True) -> Iterator[Team]:
    """A team in a folder, whose remote in another is reached by `ssh`, `s3` or `folder`."""
    shared = server / "remote"
    if kind == "ssh":
        with ssh_server(server) as access:
            yield Team(folder, f"ssh://lab{shared}", {"HOME": access["HOME"]}, quick)
    elif kind == "s3":
        with s3_server(server) as access:
            yield Team(folder, f"s3://{BUCKET}/stillroom", access, quick)
    else:
        yield Team(folder, str(shared), {}, quick)


def stored(kind: str, server: Path, access: dict[str, str]) -> int:
    """Bytes in the remote."""
    if kind == "s3":
        pages = s3_client(access).get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return sum(entry["Size"] for page in pages for entry in page.get("Contents", []))
    return sum(file.stat().st_size for file in (server / "remote").rglob("*") if file.is_file())


def main(kind: str) -> None:
    """Run the whole page at full size and say how long each line took and what the remote grew by."""
    began, before = time.monotonic(), 0
    with (
        tempfile.TemporaryDirectory() as made,
        tempfile.TemporaryDirectory() as server,
        team(Path(made), Path(server), kind, quick=False) as members,
    ):
        for line in lines():
            start = time.monotonic()
            members.run(line)
            text = f"{time.monotonic() - start:7.1f} s  {line.who}$ {line.command}"
            if "dvc push" in line.command:
                now = stored(kind, Path(server), members.access)
                text, before = f"{text}   [{now - before:,} bytes]", now
            print(text, flush=True)
    print(f"{time.monotonic() - began:7.1f} s  in all, over {kind}")


if __name__ == "__main__":
    main(sys.argv[1])

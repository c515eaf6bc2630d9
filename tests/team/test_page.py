"""The team's page, line by line, each member in a fresh clone, over SSH and over S3."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from tests.conftest import ran
from tests.team.page import Team, lines, stored, team


@dataclass
class Played:
    """What came of the page: what each command printed, and what the remote held before and after."""

    kind: str
    folder: Path
    team: Team
    said: dict[str, str]
    sent: dict[str, int]  # bytes that a push added, by its line
    first: dict[str, bytes]  # the cache's files before there were more views

    def project(self, who: str) -> Path:
        return self.folder / who / ("other" if who == "cleo" else "actions")


@pytest.fixture(scope="module", params=["ssh", "s3"])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    kind, folder = request.param, tmp_path_factory.mktemp(f"notre équipe {request.param}")
    server = tmp_path_factory.mktemp(request.param)
    with team(folder, server, kind) as members:
        done = Played(kind, folder, members, {}, {}, {})
        for line in lines():
            name = f"{line.who}$ {line.command}"
            if "views.count" in name:
                done.first = contents(done.project("ada") / "artifacts/cache")
            before = stored(kind, server, members.access) if "dvc push" in name else 0
            done.said[name] = done.said.get(name, "") + members.run(line)
            if before:
                done.sent[name] = stored(kind, server, members.access) - before
        yield done


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def the(played: Played, words: str) -> str:
    (found,) = [said for name, said in played.said.items() if words in name]
    return found


def test_nothing_of_adas_runs_again_at_bens_and_he_never_has_the_teacher(played: Played) -> None:
    assert ran(the(played, "ben$ dvc repro")) == ["student@pvt-ce-0", "student@pvt-kd-0"]
    assert not (played.project("ben") / "artifacts/teacher").exists()
    cached = {file.name for file in (played.project("ben") / ".dvc/cache").rglob("*") if file.is_file()}
    weights = _locked(played.project("ada"))["teacher"]["outs"]
    assert not any(out["md5"][2:].removesuffix(".dir") in cached for out in weights)


def test_ada_only_reports_what_ben_trained(played: Played) -> None:
    assert ran(the(played, "ada$ dvc repro --pull")) == ["report"]
    results = json.loads((played.project("ada") / "artifacts/report/results.json").read_text())
    assert [(row["family"], row["arm"]) for row in results["rows"]] == [("pvt", "ce"), ("pvt", "kd")]
    for name in ("model.safetensors", "student.json"):
        one, other = (
            (played.project(who) / "artifacts/students/pvt-ce-0" / name).read_bytes()
            for who in ("ada", "ben")
        )
        assert one == other
    assert "mean_gain" in the(played, "ada$ dvc metrics show")
    assert "Gain by family" in (played.project("ada") / "plots/index.html").read_text()


def test_more_views_send_the_new_planes_alone(played: Played) -> None:
    cache = played.project("ada") / "artifacts/cache"
    now = contents(cache)
    assert open_store(cache).layout.views == 16 and verify(cache) == []
    new = sum(len(now[file]) for file in now.keys() - played.first.keys())
    changed = {file for file in played.first if now[file] != played.first[file]}
    assert changed <= {"manifest.json", *(file for file in now if file.endswith("zarr.json"))}
    layout = open_store(cache).layout
    planes = 8 * layout.samples * sum(spec.row_bytes for spec in layout.arrays.values())
    sent = played.sent["ada$ dvc push cache"]
    print(f"{played.kind}: 8 new planes of {planes} bytes, {new} in their files; {sent} sent")
    # beside the new files: the manifest, Zarr's metadata and DVC's list of the folder
    assert new < sent < new + 32_000
    assert played.kind == "ssh" or sent <= 1.05 * planes  # there the pictures are few


def test_cleo_trains_in_another_repository_on_the_same_cache(played: Played) -> None:
    trained = ["student@swin-ce-0", "student@swin-kd-0"]
    assert ran(the(played, "cleo$ dvc repro")) == ["prepare", *trained]
    student = json.loads((played.project("cleo") / "artifacts/students/swin-kd-0/student.json").read_text())
    assert student["cache"] == open_store(played.project("ada") / "artifacts/cache").manifest.id
    assert not (played.project("cleo") / "artifacts/cache").exists()
    assert "Swin" in the(played, "cleo$ stillroom report")


def test_read_in_place_it_gives_the_same_student(played: Played) -> None:
    """Ben's student from `dvc://` took the place of the one that he trained from the pulled cache."""
    before, after = (
        json.loads((played.project(who) / "artifacts/students/pvt-kd-0/student.json").read_text())
        for who in ("ada", "ben")
    )
    assert after["digests"] == before["digests"]
    losses = [[epoch["loss"] for epoch in student["history"]] for student in (before, after)]
    assert losses[0] == losses[1]
    assert "is whole" in the(played, "ben$ stillroom store verify")


def _locked(project: Path) -> dict:
    from ruamel.yaml import YAML

    return dict(YAML(typ="safe").load((project / "dvc.lock").read_text())["stages"])

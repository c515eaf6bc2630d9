"""What happens to shared artifacts: read-only and damaged remotes, links, odd clones, a cache in place."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import warm
from tests.conftest import ROOT, clean, copy_project, environment, run_in, until
from tests.team.servers import BUCKET, Web, free_port, s3_server, ssh_server

PVT = ("student", "--family", "pvt", "--arm", "kd")


@pytest.fixture(scope="module")
def shared(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ada`, who has pushed all, and `remote`, where it went."""
    folder = tmp_path_factory.mktemp("shared")
    ada = folder / "ada"
    copy_project(finished, ada)
    git(ada, "add", "-A")
    git(ada, "commit", "-q", "-m", "finished")
    run_in(ada, "dvc", "remote", "add", "--default", "lab", str(folder / "remote"))
    run_in(ada, "dvc", "push")
    git(ada, "commit", "-q", "-a", "-m", "remote")
    return folder


def git(folder: Path, *command: str) -> None:
    who = ["-c", "user.name=member", "-c", "user.email=member@example.invalid"]
    subprocess.run(["git", *who, *command], cwd=folder, check=True)


@pytest.fixture
def ben(shared: Path, tmp_path: Path) -> Path:
    """A shallow clone of Ada's, in a folder whose name is not plain, with a change of its own; no data."""
    clone = tmp_path / "Größe 2 – été"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{shared / 'ada'}", str(clone))
    (clone / "notes.txt").write_text("dirty\n")
    return clone


def remote_of(clone: Path, url: str) -> None:
    run_in(clone, "dvc", "remote", "modify", "lab", "url", url)


def object_of(project: Path, store: Path, file: str) -> Path:
    """Where a DVC store keeps a file of the cache."""
    lock = YAML(typ="safe").load((project / "dvc.lock").read_text())
    digest = lock["stages"]["cache"]["outs"][0]["md5"]
    entries = json.loads((store / digest[:2] / digest[2:]).read_text())
    (found,) = [entry["md5"] for entry in entries if entry["relpath"] == file]
    return store / found[:2] / found[2:]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


def intact(store: Path) -> bool:
    """Whether every object of a DVC store has the digest that it is named by."""
    files = [file for file in store.rglob("*") if file.is_file()]
    assert len(files) > 50
    return all(
        hashlib.md5(file.read_bytes()).hexdigest() == file.parent.name + file.name.removesuffix(".dir")
        for file in files
    )


@pytest.fixture
def web(shared: Path) -> Iterator[Web]:
    server = Web(shared)
    yield server
    server.close()


# remotes


def test_a_read_only_remote_is_pulled_from_and_a_push_is_refused(ben: Path, web: Web) -> None:
    remote_of(ben, f"{web.url}/remote")
    said = run_in(ben, "stillroom", *PVT, code=1).stderr
    assert "artifacts/data/samples.parquet is not there" in said and "dvc pull artifacts/data" in said
    run_in(ben, "dvc", "pull", "artifacts/data")
    said = run_in(ben, "stillroom", *PVT, code=1).stderr
    assert "artifacts/cache/manifest.json is not there" in said and "dvc pull artifacts/cache" in said
    assert "dvc pull artifacts/cache" in run_in(ben, "stillroom", "store", "verify", code=1).stderr
    run_in(ben, "dvc", "pull", "artifacts/cache")
    run_in(ben, "stillroom", *PVT)
    assert not (ben / "artifacts/teacher").exists()
    run_in(ben, "dvc", "commit", "--force", "student@pvt-kd-0")
    assert run_in(ben, "dvc", "push", "student@pvt-kd-0", code=None).returncode != 0


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/remote", "s3://lab/nothing", "ssh://127.0.0.1:{port}/x"]
)
def test_a_remote_out_of_reach_leaves_all_as_it_was(ben: Path, url: str) -> None:
    remote_of(ben, url.format(port=free_port()))
    done = run_in(ben, "dvc", "pull", "artifacts/cache", code=None)
    assert done.returncode != 0 and not (ben / "artifacts/cache").exists()


def test_a_damaged_object_is_caught_by_digest_and_named(ben: Path, shared: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    shutil.copytree(shared / "remote", remote)
    remote_of(ben, str(remote))
    bad = object_of(shared / "ada", remote / "files/md5", "logits/c/1/0/0")
    good = bad.read_bytes()
    flip(bad)
    run_in(ben, "dvc", "remote", "modify", "lab", "verify", "true")
    done = run_in(ben, "dvc", "pull", "artifacts/data", "artifacts/cache", code=None)
    assert done.returncode != 0 and "artifacts/cache" in done.stderr
    assert not (ben / "artifacts/cache/logits").exists()

    run_in(ben, "dvc", "remote", "modify", "lab", "verify", "false")
    run_in(ben, "dvc", "pull", "artifacts/data", "artifacts/cache")
    said = run_in(ben, "stillroom", *PVT, code=1).stderr
    assert re.search(r"view 1, samples \d+-\d+: logits/c/1/0/0: ", said)
    assert "`dvc pull --force artifacts/cache`" in said
    assert not (ben / "artifacts/students/pvt-kd-0").exists()

    # the remote is mended: the page says how to get rid of DVC's own damaged copy
    bad.write_bytes(good)
    page = (ROOT / "docs/team.md").read_text()
    (heal,) = re.findall(r"^(find \.dvc/cache .*)$", page, re.MULTILINE)
    command = heal.replace("FILE", "artifacts/cache/logits/c/1/0/0")
    subprocess.run(["bash", "-c", command], cwd=ben, env=environment(), check=True, capture_output=True)
    run_in(ben, "stillroom", "store", "verify")


def test_a_pull_that_is_killed_is_taken_up_again(ben: Path, web: Web) -> None:
    remote_of(ben, f"{web.url}/remote")
    pull = warm.start(("dvc", "pull", "--jobs", "1", "artifacts/cache"), ben, environment())
    until(lambda: len(web.asked) >= 5, pull)
    os.killpg(pull.pid, signal.SIGKILL)
    pull.wait()
    run_in(ben, "dvc", "pull", "artifacts/cache")
    run_in(ben, "stillroom", "store", "verify")


# links


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_a_linked_cache_is_never_written_to(ben: Path, shared: Path, kind: str) -> None:
    run_in(ben, "dvc", "config", "--local", "cache.type", kind)
    run_in(ben, "dvc", "pull")
    run_in(ben, "dvc", "pull")
    file = ben / "artifacts/cache/manifest.json"
    assert (file.is_symlink(), file.stat().st_nlink > 1) == (kind == "symlink", kind == "hardlink")
    assert clean(ben)
    run_in(ben, "stillroom", "cache", "--set", "views.count=4")
    run_in(ben, "stillroom", *PVT)
    run_in(ben, "stillroom", "cache", "--replace", "--set", "views.count=2", "--set", "cache.store=hdf5")
    assert intact(ben / ".dvc/cache/files/md5")
    run_in(ben, "dvc", "checkout", "--force")
    run_in(ben, "stillroom", "store", "verify")
    assert clean(ben)


# in place


@pytest.mark.parametrize("kind", ["s3", "ssh"])
def test_a_student_reads_the_cache_where_it_lies(
    ben: Path, shared: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "fetched"))
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "3")
    shutil.copytree(shared / "ada/artifacts/data", ben / "artifacts/data")
    cache = shared / "ada/artifacts/cache"
    with (s3_server if kind == "s3" else ssh_server)(tmp_path) as access:
        for name, value in access.items():
            monkeypatch.setenv(name, value)
        if kind == "s3":
            import s3fs

            s3fs.S3FileSystem(endpoint_url=access["AWS_ENDPOINT_URL"], key="member", secret="secret").put(
                str(cache), f"{BUCKET}/shared/", recursive=True
            )
        address = f"s3://{BUCKET}/shared/cache" if kind == "s3" else f"ssh://lab{cache}"
        params = ben / "params.yaml"
        params.write_text(
            params.read_text().replace("path: artifacts/cache", f"path: {address}/manifest.json")
        )
        run_in(ben, "dvc", "repro", "--single-item", "student@pvt-kd-0")  # DVC looks at the manifest alone
        assert "up to date" in run_in(ben, "dvc", "status", "student@pvt-kd-0").stdout
        told = json.loads((ben / "artifacts/students/pvt-kd-0/student.json").read_text())
        known = json.loads((shared / "ada/artifacts/students/pvt-kd-0/student.json").read_text())
        assert told["digests"] == known["digests"] and told["cache"] == known["cache"]
        weights = [
            (place / "artifacts/students/pvt-kd-0/model.safetensors").read_bytes()
            for place in (ben, shared / "ada")
        ]
        assert weights[0] == weights[1]
        # no key, or no server of that name
        if kind == "ssh":
            monkeypatch.setenv("HOME", str(tmp_path / "stranger"))
            said = run_in(
                ben, "stillroom", "store", "info", f"ssh://127.0.0.1:{access['PORT']}{cache}", code=1
            )
            assert "refuses to be read" in said.stderr and "credentials" in said.stderr
        else:
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.setenv("HOME", str(tmp_path / "stranger"))
            said = run_in(ben, "stillroom", "store", "info", address, code=1)
            assert "refuses to be read" in said.stderr and "credentials" in said.stderr


def test_a_server_lost_in_training_ends_it_and_it_resumes_from_there(
    ben: Path, shared: Path, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "fetched"))
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "1")
    monkeypatch.setenv("STILLROOM_CHECKPOINT_SECONDS", "0")
    shutil.copytree(shared / "ada/artifacts/data", ben / "artifacts/data")
    plane = "ada/artifacts/cache/logits/c/2/0/0"
    web.faults = {plane: [503] * 50}
    address = f"{web.url}/ada/artifacts/cache"
    said = run_in(ben, "stillroom", *PVT, "--set", f"cache.path={address}", code=1).stderr
    assert f"{address} cannot be reached" in said and "last checkpoint" in said
    assert not (ben / "artifacts/students/pvt-kd-0").exists()
    web.faults = {}
    before = web.asked["ada/artifacts/cache/logits/c/0/0/0"]
    done = run_in(ben, "stillroom", *PVT, "--set", f"cache.path={address}").stdout
    assert "resumed: 2 of 4 epochs" in done
    assert web.asked["ada/artifacts/cache/logits/c/0/0/0"] == before == 1
    weights = [
        (place / "artifacts/students/pvt-kd-0/model.safetensors").read_bytes()
        for place in (ben, shared / "ada")
    ]
    assert weights[0] == weights[1]

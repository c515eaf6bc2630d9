"""What is shared: checked first, whole in the end, no more than is new, nothing that is secret."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard, constants

from stillroom.cache.format.manifest import NAME
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.errors import StillroomError
from stillroom.sharing import targets
from stillroom.sharing.card import MARK
from stillroom.sharing.contents import examine
from stillroom.sharing.share import share
from tests.conftest import copy_project, run_in
from tests.team.hub import READER, SIGNATURE, STRANGER, WRITER, Hub, environment_of
from tests.team.servers import BUCKET, s3_client, s3_server, ssh_server

CACHE, MODEL = "hf://datasets/lab/demo/cache", "hf://lab/model"
CARD = f"---\nlicense: mit\n---\n{MARK}\n"
VIT = "artifacts/students/vit-kd-0"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    for name, value in environment_of(server, tmp_path, WRITER).items():
        monkeypatch.setenv(name, value)
    server.repo("lab/demo", private=True)
    server.repo("lab/model", "models", private=True)
    yield server
    server.close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def without_secrets(*texts: str | bytes) -> bool:
    every = b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts)
    return not any(secret.encode() in every for secret in (READER, WRITER, STRANGER, SIGNATURE))


def test_a_cache_on_the_hub_is_whole_and_teaches_as_the_local_one(project: Path, hub: Hub) -> None:
    said = run_in(project, "stillroom", "share", "artifacts/cache", CACHE, "--license", "cc0-1.0").stdout
    repo, local = hub.repos["datasets", "lab/demo"], files_of(project / "artifacts/cache")
    total = sum(map(len, local.values()))
    assert f"{len(local)} files uploaded" in said and f"({total:,} bytes); 0 were there" in said
    assert {
        path.removeprefix("cache/"): text for path, text in repo.files.items() if path != "README.md"
    } == local
    card = DatasetCard(repo.files["README.md"].decode())
    assert card.data.license == "cc0-1.0" and card.data.task_categories == ["image-classification"]
    assert "sketch40" in card.data.pretty_name and json.loads(local[NAME])["id"] in card.text
    assert f'stillroom.open_cache("{CACHE}")' in card.text and "convnext_atto" in card.text
    # the commands that it shows
    (project / "artifacts/cache").rename(project / "aside")
    assert "is whole" in run_in(project, "stillroom", "store", "verify", CACHE).stdout
    assert json.loads(local[NAME])["id"][:16] in run_in(project, "stillroom", "store", "info", CACHE).stdout
    before = (project / VIT / "model.safetensors").read_bytes()
    command = ("student", "--family", "vit", "--arm", "kd", "--set", f"cache.path={CACHE}")
    run_in(project, "stillroom", *command)
    assert (project / VIT / "model.safetensors").read_bytes() == before
    # again: nothing is sent
    (project / "aside").rename(project / "artifacts/cache")
    commits, received = len(repo.commits), hub.received
    said = run_in(project, "stillroom", "share", "artifacts/cache", CACHE, "--license", "cc0-1.0").stdout
    assert "0 files uploaded, 0 B" in said and f"{len(local)} were there" in said and "as it was" in said
    assert (len(repo.commits), hub.received) == (commits, received)
    # more views: the new planes alone, and what lists them
    run_in(project, "stillroom", "cache", "--set", "views.count=4")
    now = files_of(project / "artifacts/cache")
    changed = {path: text for path, text in now.items() if local.get(path) != text}
    said = run_in(project, "stillroom", "share", "artifacts/cache", CACHE).stdout
    assert f"{len(changed)} files uploaded" in said
    assert hub.received - received <= sum(map(len, changed.values())) + len(repo.files["README.md"])
    assert not hub.leaked and without_secrets(
        said, *repo.files.values(), *files_of(project / "artifacts").values()
    )


def test_a_student_is_a_model_card_with_its_gain(project: Path, hub: Hub) -> None:
    folder = project / VIT
    (folder / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')  # as a folder of timm's
    for name in (".env", "notes.txt", "checkpoint.pt", "plots/private.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"HF_TOKEN={WRITER}")
    said = run_in(project, "stillroom", "share", VIT, MODEL, "--license", "apache-2.0").stdout
    repo = hub.repos["models", "lab/model"]
    assert {*repo.files} == {
        "README.md",
        "config.json",
        "metrics.json",
        "model.safetensors",
        "predictions.safetensors",
        "student.json",
    }
    card = ModelCard(repo.files["README.md"].decode())
    about = card.data.to_dict()
    assert about["library_name"] == "timm" and about["pipeline_tag"] == "image-classification"
    assert about["datasets"] == ["sketch40"] and about["license"] == "apache-2.0"
    scores = json.loads((folder / "metrics.json").read_text())
    found = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert found["accuracy"] == scores["accuracy"] and found["mAP"] == scores["mAP"]
    results = json.loads((project / "artifacts/report/results.json").read_text())
    (line,) = [line for line in results["summary"] if line["family"] == "vit"]
    low, high = line["gain_interval"]
    assert f"accuracy {line['gain']:+.2f} [{low:+.2f}, {high:+.2f}]" in card.text
    assert json.loads((folder / "student.json").read_text())["cache"] in card.text
    assert 'timm.create_model("hf-hub:lab/model", pretrained=True)' in card.text
    assert "uploaded" in said and without_secrets(said, *repo.files.values())
    # of a report about other students nothing is said
    (project / "artifacts/report/results.json").write_text(json.dumps(results | {"cache": {"id": "other"}}))
    assert "Gain" not in run_in(project, "stillroom", "share", "--dry-run", VIT, MODEL).stdout


def test_a_teacher_is_shared_and_loads_again(project: Path, hub: Hub, tmp_path: Path) -> None:
    run_in(project, "stillroom", "share", "artifacts/teacher", "hf://models/lab/model/teacher")
    repo = hub.repos["models", "lab/model"]
    got = tmp_path / "got"
    got.mkdir()
    for path, text in repo.files.items():
        if path.startswith("teacher/"):
            (got / path.removeprefix("teacher/")).write_bytes(text)
    assert examine(got).record["digest"] in ModelCard(repo.files["README.md"].decode()).text
    # weights that are not those of the record are no teacher
    shutil.copy(project / VIT / "model.safetensors", got)
    said = run_in(project, "stillroom", "share", str(got), "hf://lab/model/other", code=1).stderr
    assert "model.safetensors" in said and "other/teacher.json" not in repo.files


def test_a_dry_run_asks_nobody_and_shows_all(finished: Path, tmp_path: Path, hub: Hub) -> None:
    project = copy_project(finished, tmp_path / "project")
    said = run_in(project, "stillroom", "share", "--dry-run", "artifacts/cache", CACHE).stdout
    local = files_of(project / "artifacts/cache")
    assert all(f"{len(text):,}  {path}" in said for path, text in local.items())
    assert f"{sum(map(len, local.values())):,}  bytes in {len(local)} files would go to {CACHE}" in said
    assert MARK in said and "# A teacher's outputs" in said and not hub.asked


def test_the_record_comes_last_and_an_older_one_goes_first(
    project: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(targets, "TOGETHER", (5, 2**30))
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "1")
    monkeypatch.chdir(project)
    shared, repo = examine(Path("artifacts/cache")), hub.repos["datasets", "lab/demo"]
    # cut off in the middle: nobody sees a cache there
    commit = "POST /api/datasets/lab/demo/commit/main"
    target = targets.target_of(CACHE, "cache")
    normal = repo.put

    def twice(files: dict, title: str = "") -> str:
        if len(repo.commits) == 3:
            hub.faults = {commit: [403] * 9}
        return normal(files, title)

    monkeypatch.setattr(repo, "put", twice)
    with pytest.raises(StillroomError, match="refuses to be written"):
        share(shared, target, CARD + "one")
    assert len(repo.files) == 15 and f"cache/{NAME}" not in repo.files and "README.md" not in repo.files
    # taken up again: the rest alone
    hub.faults = {}
    done = share(shared, targets.target_of(CACHE, "cache"), CARD + "one")
    assert done.kept[0] == 15 and done.sent[0] == len(shared.files) - 15
    assert [f"cache/{NAME}" in files for _, files in repo.commits[4:]] == [False, True]
    # another cache in its place: at no commit is one of them there in part
    run_in(project, "stillroom", "cache", "--replace", "--set", "views.seed=9")
    other, start = examine(Path("artifacts/cache")), len(repo.commits)
    with pytest.raises(StillroomError, match="holds another cache already") as caught:
        share(other, targets.target_of(CACHE, "cache"), CARD + "two")
    assert "--replace" in caught.value.fix and len(repo.commits) == start
    share(other, targets.target_of(CACHE, "cache"), CARD + "two", replace=True)
    assert [f"cache/{NAME}" in files for _, files in repo.commits[start:]] == [False] * (
        len(repo.commits) - start - 1
    ) + [True]
    assert repo.files["README.md"].decode() == CARD + "two"


def test_a_card_that_somebody_wrote_stays(project: Path, hub: Hub) -> None:
    repo = hub.repos["models", "lab/model"]
    repo.put({"README.md": b"# Mine\n"})
    said = run_in(project, "stillroom", "share", VIT, MODEL).stdout
    assert "another one lies there, and stays" in said
    assert repo.files["README.md"] == b"# Mine\n" and "student.json" in repo.files


def test_a_damaged_cache_stays_here(project: Path, hub: Hub) -> None:
    file = project / "artifacts/cache/logits/c/1/0/0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    said = run_in(project, "stillroom", "share", "artifacts/cache", CACHE, code=1).stderr
    assert "is damaged" in said and "logits/c/1/0/0" in said and "nothing of it was uploaded" in said
    assert not hub.asked


def test_what_is_no_part_of_a_cache_stays_here(project: Path, hub: Hub) -> None:
    (project / "artifacts/cache/.env").write_text(f"HF_TOKEN={WRITER}")
    said = run_in(project, "stillroom", "share", "artifacts/cache", CACHE).stdout
    assert "left here, no part of the cache: .env" in said
    assert not any(".env" in path for path in hub.repos["datasets", "lab/demo"].files)


@pytest.mark.parametrize(
    ("folder", "address", "token", "code", "words"),
    [
        ("artifacts/cache", "hf://datasets/lab", WRITER, 2, ["is no address of the Hub", "USER/REPO"]),
        ("artifacts/cache", "hf://lab/model", WRITER, 2, ["no place for a cache", "hf://datasets/lab/model"]),
        (VIT, "hf://datasets/lab/demo", WRITER, 2, ["no place for a student", "hf://lab/demo"]),
        ("artifacts/cache", "https://host/x", WRITER, 2, ["is read only", "hf://, s3://"]),
        ("artifacts/cache", "dvc://artifacts/cache", WRITER, 2, ["is read only", "dvc push"]),
        ("artifacts/data", CACHE, WRITER, 1, ["holds nothing to share", "manifest.json, student.json"]),
        ("artifacts/nothing", CACHE, WRITER, 1, ["artifacts/nothing is no folder"]),
        ("artifacts/cache", CACHE, None, 1, ["needs a token", "hf auth login", "HF_TOKEN"]),
        ("artifacts/cache", CACHE, STRANGER, 1, ["may not write it", "HF_TOKEN", "hf repos create lab/demo"]),
        ("artifacts/cache", CACHE, READER, 1, ["may not write hf://datasets/lab/demo", "HF_TOKEN"]),
        ("artifacts/cache", CACHE, "hf_nobody0123456789", 1, ["is not valid", "HF_TOKEN"]),
        (
            "artifacts/cache",
            "hf://datasets/lab/nothing",
            WRITER,
            1,
            ["there is no hf://datasets/lab/nothing", "hf repos create lab/nothing --repo-type dataset"],
        ),
        ("artifacts/cache", "artifacts/cache/inside", WRITER, 2, ["lie in each other"]),
        ("artifacts/cache", "params.yaml", WRITER, 2, ["params.yaml is a file"]),
    ],
)
def test_what_cannot_be_is_said_in_one_message(
    project: Path,
    hub: Hub,
    folder: str,
    address: str,
    token: str | None,
    code: int,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    if code == 2:  # what is wrong here is seen before anybody is asked
        dry = run_in(project, "stillroom", "share", folder, address, "--dry-run", code=code)
        assert all(word in dry.stderr for word in words), dry.stderr
    done = run_in(project, "stillroom", "share", folder, address, code=code)
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stderr.count("error:") == 1 and without_secrets(done.stdout, done.stderr)
    assert "hf_nobody" not in done.stderr
    assert not any(repo.files for repo in hub.repos.values())
    assert sum("/commit/" in name for name in hub.asked.elements()) <= 1


def test_a_hub_that_fails_is_tried_again_and_tells_no_signature(project: Path, hub: Hub) -> None:
    hub.faults = {"POST /api/datasets/lab/demo/commit": [503], "GET /api/datasets/lab/demo/tree": [500]}
    done = run_in(project, "stillroom", "share", "artifacts/cache", CACHE)
    assert "23 files uploaded" in done.stdout and not any(hub.faults.values())
    assert "503" not in done.stderr and without_secrets(done.stdout, done.stderr)


@pytest.mark.parametrize("kind", ["s3", "ssh", "folder"])
def test_elsewhere_it_is_shared_likewise(
    project: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    monkeypatch.setenv("STILLROOM_FETCHED", str(tmp_path / "fetched"))
    monkeypatch.setenv("STILLROOM_FETCH_SECONDS", "3")
    place, server = tmp_path / "gedeelde map", tmp_path / "server"
    server.mkdir()
    reached = {"s3": s3_server, "ssh": ssh_server}.get(kind, lambda _: nullcontext({}))
    address = {"s3": f"s3://{BUCKET}/some/cache", "ssh": f"ssh://lab{place}"}.get(kind, str(place))
    with reached(server) as access:
        for name, value in access.items():
            monkeypatch.setenv(name, value)

        def there() -> dict[str, bytes]:
            if kind != "s3":
                return files_of(place)
            client = s3_client(access)
            keys = [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
            return {
                key.removeprefix("some/cache/"): client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                for key in keys
            }

        def forget(path: str) -> None:
            if kind == "s3":
                s3_client(access).delete_object(Bucket=BUCKET, Key=f"some/cache/{path}")
            else:
                (place / path).unlink()

        local = files_of(project / "artifacts/cache")
        said = run_in(project, "stillroom", "share", "artifacts/cache", address).stdout
        assert f"{len(local)} files uploaded" in said
        held = there()
        card = DatasetCard(held.pop("README.md").decode())
        assert held == local and address in card.text
        assert verify(address) == [] and open_store(address).manifest.id in card.text
        assert "0 files uploaded" in run_in(project, "stillroom", "share", "artifacts/cache", address).stdout
        # half an upload is gone on with
        for path in (NAME, "logits/c/2/0/0", "views/box/c/2/0/0"):
            forget(path)
        assert "3 files uploaded" in run_in(project, "stillroom", "share", "artifacts/cache", address).stdout
        if kind == "ssh":
            return
        # another cache takes its place where that is asked for, and nothing of the old one stays
        run_in(
            project,
            "stillroom",
            "cache",
            "--replace",
            "--set",
            "views.count=2",
            "--set",
            "cache.store=hdf5",
            "--set",
            "views.seed=3",
        )
        said = run_in(project, "stillroom", "share", "artifacts/cache", address, code=1).stderr
        assert "holds another cache already" in said and "--replace" in said
        said = run_in(project, "stillroom", "share", "--replace", "artifacts/cache", address).stdout
        assert f"{len(local) - 1} of an earlier one removed" in said
        held = there()
        held.pop("README.md")
        assert held == files_of(project / "artifacts/cache") and verify(address) == []
        said = run_in(project, "stillroom", "share", VIT, address, code=1).stderr
        assert "holds a cache already" in said
        if kind == "s3":
            said = run_in(project, "stillroom", "share", "artifacts/cache", "s3://nowhere/x", code=1).stderr
            assert "s3://nowhere/x cannot be written" in said
            monkeypatch.setenv("HOME", str(tmp_path / "stranger"))
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            said = run_in(project, "stillroom", "share", "artifacts/cache", address, code=1).stderr
            assert "refuses to be written" in said and "credentials" in said


def test_a_downloaded_cache_with_its_card_is_whole(project: Path) -> None:
    cache = project / "artifacts/cache"
    for name in ("README.md", ".gitattributes", ".cache/huggingface/download/x.metadata"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("x")
    assert "is whole" in run_in(project, "stillroom", "store", "verify").stdout
    (cache / "else.txt").write_text("x")
    assert "else.txt" in run_in(project, "stillroom", "store", "verify", code=1).stdout


def test_dvc_looks_at_the_manifest_on_the_hub(
    project: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/team.md says: by its https:// address, which is read with the token and at one commit."""
    hub.repos["datasets", "lab/demo"].private = False
    run_in(project, "stillroom", "share", "artifacts/cache", CACHE)
    before = (project / VIT / "model.safetensors").read_bytes()
    params = project / "params.yaml"
    text = params.read_text()
    address = f"{hub.url}/datasets/lab/demo/resolve/main/cache/{NAME}"
    params.write_text(text.replace("path: artifacts/cache", f"path: {address}"))
    shutil.rmtree(project / "artifacts/cache")
    run_in(project, "dvc", "repro", "--single-item", "student@vit-kd-0")
    assert "up to date" in run_in(project, "dvc", "status", "student@vit-kd-0").stdout
    assert (project / VIT / "model.safetensors").read_bytes() == before
    repo = hub.repos["datasets", "lab/demo"]
    repo.put({f"cache/{NAME}": repo.files[f"cache/{NAME}"] + b"\n"})
    assert "changed deps" in run_in(project, "dvc", "status", "student@vit-kd-0").stdout
    # hf:// itself is none of DVC's
    params.write_text(text.replace("path: artifacts/cache", f"path: {CACHE}"))
    said = run_in(project, "dvc", "repro", "--single-item", "student@vit-kd-0", code=None)
    assert said.returncode != 0 and "Unsupported URL type hf://" in said.stderr


def test_no_command_shows_a_secret_of_an_address(project: Path, hub: Hub) -> None:
    """Nor does it keep one: what is written is looked at too."""
    secret = "s3cr3tsigna7ure"
    address = f"{hub.url.replace('//', f'//ada:{secret}@')}/x"
    kinds = (
        ("store", "info", address),
        ("store", "verify", f"{hub.url}/x?token={secret}"),
        ("student", "--family", "vit", "--arm", "kd", "--set", f"cache.path={address}"),
        ("student", "--family", "vit", "--arm", "nothing", "--set", f"cache.path={address}"),
        ("report", "--set", f"cache.path={address}", "--set", "views.cuont=1"),
        ("share", "artifacts/cache", address),
        ("prepare", "--set", "data={name: folder, path: " + f"'s3://KEY:{secret}@lab/x'" + "}"),
    )
    for command in kinds:
        done = run_in(project, "stillroom", *command, code=None)
        assert done.returncode in (1, 2), command
        assert secret not in done.stdout + done.stderr, f"{command}\n{done.stdout}{done.stderr}"
    written = [
        file for name in ("fetched", "artifacts") for file in (project / name).rglob("*") if file.is_file()
    ]
    assert written and not any(secret.encode() in file.read_bytes() for file in written)


def test_a_folder_in_the_place_of_a_file_is_refused(project: Path, tmp_path: Path) -> None:
    """Moved there, the file would lie in it."""
    (tmp_path / "to" / NAME).mkdir(parents=True)
    said = run_in(project, "stillroom", "share", "artifacts/cache", str(tmp_path / "to"), code=1).stderr
    assert "directory" in said and not any((tmp_path / "to" / NAME).iterdir())


def test_nothing_is_written_through_a_link(project: Path, tmp_path: Path) -> None:
    """Whoever may write to the place would have others write anywhere."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "to").mkdir()
    for name in (NAME, "README.md"):
        (tmp_path / "to" / f".{name}.tmp").symlink_to(tmp_path / "precious")
    run_in(project, "stillroom", "share", "artifacts/cache", str(tmp_path / "to"))
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "to" / NAME).is_symlink() and not verify(tmp_path / "to")
    folder = next(Path(path).parts[0] for path in files_of(project / "artifacts/cache") if "/" in path)
    (tmp_path / "other").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "other" / folder).symlink_to(tmp_path / "elsewhere")
    said = run_in(project, "stillroom", "share", "artifacts/cache", str(tmp_path / "other"), code=1).stderr
    assert "leads out of it" in said and not any((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", {"token": "secret"}),
        ("metrics.json", {"token": "secret"}),
        ("metrics.json", {"accuracy": "x", "mAP": 1.0, "top5": 1.0, "calibration_error": 1.0}),
        ("metrics.json", {"accuracy": 1e999, "mAP": 1.0, "top5": 1.0, "calibration_error": 1.0}),
        ("student.json", {"family": [1]}),
        ("student.json", {"params": [1]}),
    ],
)
def test_what_is_no_record_of_a_stage_stays_here(project: Path, name: str, content: dict) -> None:
    """Also where a link has it lie elsewhere."""
    here = json.loads((project / VIT / name).read_text()) if name == "student.json" else {}
    (project / "other.json").write_text(json.dumps(here | content))
    (project / VIT / name).unlink(missing_ok=True)
    (project / VIT / name).symlink_to(project / "other.json")
    said = run_in(project, "stillroom", "share", VIT, "to", code=1).stderr
    assert f"{VIT}/{name} is not what a stage wrote" in said and "secret" not in said
    assert not (project / "to").exists()


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_a_pipe_or_a_device_is_no_record(project: Path, name: str) -> None:
    for make in (os.mkfifo, lambda file: os.symlink("/dev/zero", file)):
        (project / VIT / name).unlink(missing_ok=True)
        make(project / VIT / name)
        assert "no regular file" in run_in(project, "stillroom", "share", VIT, "to", code=1).stderr


@pytest.mark.parametrize("name", ["README.md", NAME])
def test_a_pipe_there_is_refused(project: Path, name: str) -> None:
    (project / "to").mkdir()
    os.mkfifo(project / "to" / name)
    assert "no regular file" in run_in(project, "stillroom", "share", "artifacts/cache", "to", code=1).stderr


def test_what_changes_meanwhile_is_not_called_whole(project: Path, tmp_path: Path) -> None:
    """After it was checked: the record, which says that all is there, is not sent."""
    shared = examine(project / "artifacts/cache")
    file = project / "artifacts/cache" / next(path for path in shared.files if path != NAME)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StillroomError, match="changed meanwhile"):
        share(shared, targets.target_of(str(tmp_path / "to"), "cache"), CARD)
    assert not (tmp_path / "to" / NAME).exists()


def test_two_do_not_share_into_one_folder_at_once(project: Path, tmp_path: Path) -> None:
    """Else a mixture of both might stay there."""
    with targets.target_of(str(tmp_path / "to"), "cache").alone():
        said = run_in(project, "stillroom", "share", "artifacts/cache", str(tmp_path / "to"), code=1).stderr
    assert "another process" in said and "wait" in said
    run_in(project, "stillroom", "share", "artifacts/cache", str(tmp_path / "to"))

"""The console blocks of the pages. What is in `PARSED` is held to the real command line alone, and each entry
says why; `LATER` stands for commands of a block that runs otherwise. All else is run, on a tiny project.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from stillroom.modalities import load_samples
from tests import warm
from tests.conftest import ROOT, copy_project, environment, run_in
from tests.docs.blocks import PAGES, Block, Command, blocks, parse, spans

pytestmark = pytest.mark.slow  # they start commands

# what a block holds -> why it is not run here
PARSED = {
    "stanford40": "needs the images of Stanford 40, and hours",
    "examples/together.py": "tests/docs/test_examples.py runs the examples",
    "examples/own_loop.py": "the same",
    "ada$": "members of a team: tests/team/test_page.py runs their page",
    "make ": "installs, and takes minutes: .ci/run runs them",
    "preset sketch40": "ten minutes: `make demo` runs it with one seed, tests/team/test_page.py with less",
    "preset sketch-skeletons": "minutes: tests/stages/test_skeletons.py goes the same way with less",
    "preset penn-action": "needs Penn Action, and hours",
    "preset poses": "needs clips: tests/stages/test_skeletons.py runs the data set",
    "preset born-again": "minutes: tests/stages/test_crossfit.py goes the same way with less",
    "bench --only scale": "minutes and gigabytes: tests/benchmarks/test_scale.py measures smaller tables",
    "bench --only encodings": "minutes: tests/benchmarks/test_encodings.py measures smaller caches",
    "dvc exp": "tests/team/test_dvc.py runs experiments, queued and not",
    "--nnodes": "several machines: tests/stages/test_nodes.py and test_elastic.py run agents",
    "--engine ray": "tests/stages/test_ray.py runs nodes",
    "stillroom student --family swin --arm kd\n": "four processes: tests/stages/test_resume.py runs such",
    "stillroom cache import logits.npy": "needs a teacher elsewhere: tests/stages/test_import.py has one",
    "resumed:": "goes on after a kill: tests/stages/test_resume.py kills",
    "s3://lab/photos": "needs a bucket: tests/stages/test_shards_elsewhere.py runs servers",
    "$ stillroom bench          # --json": "four minutes: tests/stages/test_bench.py runs a part",
}
LATER = ("stillroom bench",)  # the same
SINGLE = "stillroom prepare  "  # how the block with every command begins
CONSOLE = [one for one in blocks("console") if one.page != "docs/team.md"]


def reason(block: Block) -> str | None:
    """Why a block is not run."""
    return next((why for mark, why in PARSED.items() if mark in block.text), None)


RUN = [block for block in CONSOLE if not reason(block)]


def run(command: Command, folder: Path) -> str:
    """Run one as it is typed; what it prints must hold what the page shows."""
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    said = done.stdout + done.stderr
    refused = any(line.startswith("error:") for line in command.expected)
    assert (done.returncode != 0) == refused and "Traceback" not in said, f"{command.text}\n{said}"
    for line in command.expected:
        assert " ".join(line.split()) in " ".join(said.split()), f"{command.text}\n{line}\n{said}"
    return said


@pytest.fixture(scope="module")
def used(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every single command of the README was run."""
    folder = tmp_path_factory.mktemp("used") / "project"
    copy_project(finished, folder)
    params = folder / "params.yaml"  # the smallest Swin wants 64 pixels
    params.write_text(params.read_text().replace("{size: micro}", "{size: micro, image_size: 64}"))
    samples = load_samples(folder / "artifacts/data")
    for name in ("photo.jpg", "IMAGE"):
        shutil.copy(samples.file(samples.rows[0]), folder / name)
    (block,) = [one for one in RUN if SINGLE in one.text]
    for command in block.commands:
        command.text = command.text.replace(" KEY", f" {samples.in_splits('train').rows[0].key}")
        if not command.text.startswith(LATER):
            run(command, folder)
    return folder


def test_the_single_commands(used: Path) -> None:
    student = json.loads((used / "artifacts/students/swin-kd-0/student.json").read_text())
    assert student["family"] == "swin"
    assert list(used.glob("*.png"))  # the sheet of `store show`


def test_a_finished_student(used: Path) -> None:
    (block,) = [one for one in RUN if one.page == "docs/students.md" and "predict" in one.text]
    for command in block.commands:
        run(command, used)
    assert (used / "swin.onnx").is_file()


def test_a_cache_of_something_else_is_refused_in_these_words(project: Path) -> None:
    (block,) = [one for one in RUN if "views.seed=1" in one.text]
    (command,) = block.commands
    assert len(command.expected) == 4
    run(command, project)


def test_a_layer_that_is_not_there_is_met_with_these_words(project: Path) -> None:
    (block,) = [one for one in RUN if "stags.3" in one.text]
    (command,) = block.commands
    assert len(command.expected) == 2
    run(command, project)


def test_the_cache_in_one_process_and_in_four(project: Path) -> None:
    (block,) = [one for one in RUN if one.page == "docs/cache.md" and "torchrun" in one.text]
    for command in block.commands:
        shutil.rmtree(project / "artifacts/cache")
        shutil.rmtree(project / "artifacts/.staging", ignore_errors=True)
        run(command, project)
        assert (project / "artifacts/cache/manifest.json").is_file()


def test_images_of_your_own(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            picture = Image.new("RGB", (48, 40), (100 * number, 50, len(split)))
            picture.save(tmp_path / "photos" / split / name / "1.png")
    names = [f"{split}/{name}/1.png" for split in ("train", "test") for name in ("cat", "dog")]
    lines = ["file,label", *(f"{name},{name.split('/')[1]}" for name in names)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    one, listed, shards = [one for one in RUN if one.page == "docs/data.md"]
    for command in one.commands:
        run(command, tmp_path)
    samples = load_samples(tmp_path / "artifacts/data", tmp_path / "photos")
    assert len(samples.rows) == 4
    for command in listed.commands:
        run(command, tmp_path)
    assert load_samples(tmp_path / "artifacts/data", tmp_path / "photos").rows == samples.rows
    for command in shards.commands:
        run(command, tmp_path)
    packed = load_samples(tmp_path / "artifacts/data", tmp_path / "shards")
    assert packed.digests() == samples.digests() and all(row.span for row in packed.rows)


def test_what_is_timed_runs() -> None:
    (block,) = [one for one in RUN if "timeit" in one.text]
    for command in block.commands:
        run(Command(command.text.replace("-m timeit", "-m timeit -n 1 -r 1")), ROOT)


def test_every_block_is_run_or_parsed_for_a_reason() -> None:
    """A new block that no test above runs fails here, until one does or `PARSED` says why not."""
    known = [SINGLE, "predict photo.jpg", "views.seed=1", "stags.3", "--nproc-per-node 4 stillroom cache   "]
    known += ["preset folder", "timeit"]
    left = [str(block) for block in RUN if not any(mark in block.text for mark in known)]
    assert not left
    assert all(any(mark in block.text for block in CONSOLE) for mark in [*PARSED, *known])


@pytest.mark.parametrize("block", [*CONSOLE, *blocks("bash")], ids=str)
def test_what_blocks_call_exists(block: Block, tmp_path: Path) -> None:
    if block.page == "docs/team.md":  # a `find` over the cache, which tests/team/test_sharing.py runs
        pytest.skip("run by tests/team")
    calls = parse(block.script, tmp_path)
    assert len(calls) >= len(block.commands if block.kind == "console" else [1])


def test_the_manifest_for_kubernetes(tmp_path: Path) -> None:
    """Its keys are those of KubeRay's API, and its command is one of ours."""
    (block,) = [one for one in blocks("yaml") if "ray.io" in one.text]
    job = YAML(typ="safe").load(block.text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert "&& stillroom cache --engine ray " in spec["entrypoint"]
    assert parse(spec["entrypoint"].partition("&& ")[2], tmp_path)
    assert spec.keys() <= {
        *("entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit"),
        "rayClusterSpec",
    }
    cluster = spec["rayClusterSpec"]
    assert cluster.keys() == {*("rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs")}
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
        assert mounted == volumes and "images" in mounted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_text_calls_exists(page: Path, tmp_path: Path) -> None:
    found = spans(page)
    assert len(parse("\n".join(found), tmp_path)) >= len(found)


def python(page: str) -> Block:
    """The lines of Python on a page, of which each has one block."""
    (block,) = [one for one in blocks("python") if one.page == page]
    return block


def test_all_lines_of_python_are_run() -> None:
    """Here, or (docs/teacher.md, docs/students.md) in tests/docs/test_any_model.py."""
    assert {one.page for one in blocks("python")} == {
        *(
            "README.md",
            "docs/data.md",
            "docs/loop.md",
            "docs/results.md",
            "docs/students.md",
            "docs/teacher.md",
        ),
    }


def test_the_table_is_read_as_the_page_says(finished: Path) -> None:
    script = f"{python('docs/data.md').text}\nprint(table.num_rows)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=finished,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) == len(load_samples(finished / "artifacts/data").rows)


def test_the_loop_of_the_front_page(finished: Path) -> None:
    """Its eight lines, with a network and a step of a stranger's; the loss falls."""
    text = python("README.md").text
    assert len(text.splitlines()) == 8
    yours = """
import torch
import stillroom

epochs, losses = 4, []
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.LazyLinear(CLASSES))
net(torch.zeros(1, 3, 16, 16))
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)

def step(loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss))
"""
    classes = len(load_samples(finished / "artifacts/data").classes)
    script = f"{yours.replace('CLASSES', str(classes))}\n{text}\nassert losses[-1] < losses[0], losses"
    subprocess.run([sys.executable, "-c", script], cwd=finished, env=environment(), check=True)


def test_a_loop_of_ones_own_takes_labels_of_both_kinds(project: Path) -> None:
    """The lines of docs/loop.md as they stand, on a cache of plain views, and on one of mixed views."""
    script = f"{python('docs/loop.md').text}\nprint(labels.dtype, labels.ndim, loss.item() > 0)"
    mixed = ["--set", "views.recipe={name: crop, mixup: 0.8}"]
    for expected, changed in (("torch.int64 1 True", []), ("torch.float32 2 True", mixed)):
        if changed:
            run_in(project, "stillroom", "cache", "--replace", *changed)
        done = warm.run((warm.PYTHON, "-c", script), project, environment())
        assert expected in done.stdout, done.stdout + done.stderr


def test_the_partial_weights_are_filled_in(tmp_path: Path) -> None:
    """The lines of Python in docs/results.md, on a file with a few of those names."""
    import torch

    block = python("docs/results.md")
    names = [f"blocks.6.1.bn3.{name}" for name in ("weight", "bias")]
    start = dict.fromkeys([*names, "conv_stem.weight"], torch.ones(2, dtype=torch.float16))
    (name,) = re.findall(r'load_file\("(.*?)"\)', block.text)
    save_file({one: value.clone() for one, value in start.items()}, tmp_path / name)
    subprocess.run([sys.executable, "-c", block.text], cwd=tmp_path, env=environment(), check=True)
    made = load_file(tmp_path / "b4.safetensors")
    assert {one: value.tolist() for one, value in made.items()} == {
        names[0]: [0.0, 0.0], names[1]: [0.0, 0.0], "conv_stem.weight": [1.0, 1.0]
    }  # fmt: skip
    assert made["conv_stem.weight"].dtype == torch.float32

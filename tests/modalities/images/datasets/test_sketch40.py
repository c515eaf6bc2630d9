"""sketch40: the same pictures everywhere, in the official layout, and no shortcut to the class."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stillroom.modalities.images.datasets import sketch40, stanford40
from stillroom.modalities.images.datasets.sketch40.actions import ACTIONS
from stillroom.modalities.images.datasets.stanford40 import CLASSES
from stillroom.progress import Progress
from stillroom.samples import Samples

TRAIN, TEST, SIZE = 6, 4, 64

DIGEST_ONE_SET = """
import sys
from pathlib import Path
from stillroom.modalities.images.datasets.sketch40 import draw
from stillroom.progress import Progress
draw(Path(sys.argv[1]), seed=3, train_per_class=1, test_per_class=1, size=48, progress=Progress())
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sketch40"
    sketch40.draw(folder, seed=0, train_per_class=TRAIN, test_per_class=TEST, size=SIZE, progress=Progress())
    return folder


@pytest.fixture(scope="module")
def samples(root: Path) -> Samples:
    return stanford40.read(root, official=False, progress=Progress(), dataset="sketch40")


def contents(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def mean_colours(samples: Samples, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean RGB [N, 3] in [0, 255] and labels [N]."""
    rows = samples.in_splits(split).rows
    means = [np.asarray(Image.open(samples.file(row))).mean(axis=(0, 1)) for row in rows]
    return np.array(means), np.array([row.label for row in rows])


@pytest.mark.slow
def test_two_processes_draw_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        subprocess.run([sys.executable, "-c", DIGEST_ONE_SET, str(tmp_path / name)], check=True)
    one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert len(one) == 2 * 80 + 3 + 80
    assert one == other


def test_another_seed_draws_other_pictures() -> None:
    one = [sketch40.picture(0, name, 1, 32)[0].tobytes() for name in CLASSES]
    other = [sketch40.picture(1, name, 1, 32)[0].tobytes() for name in CLASSES]
    assert not set(one) & set(other)


def test_no_global_random_state_is_read_or_moved() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    one = sketch40.picture(0, "running", 1, 32)[0].tobytes()
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index, union-attr]
    np.random.seed(6)
    assert sketch40.picture(0, "running", 1, 32)[0].tobytes() == one


@pytest.mark.slow
def test_a_picture_does_not_depend_on_how_many_are_drawn(root: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    sketch40.draw(
        more, seed=0, train_per_class=TRAIN + 1, test_per_class=TEST, size=SIZE, progress=Progress()
    )
    few, many = contents(root / "JPEGImages"), contents(more / "JPEGImages")
    assert few.items() < many.items()
    assert len(many) == len(few) + 40
    tests = "ImageSplits/test.txt"
    assert (root / tests).read_bytes() == (more / tests).read_bytes()


def test_the_reader_of_the_official_layout_reads_it(samples: Samples) -> None:
    assert samples.classes == CLASSES
    assert Counter(row.split for row in samples.rows) == {"train": 40 * TRAIN, "test": 40 * TEST}
    counts = Counter((row.split, row.label) for row in samples.rows)
    assert counts == {("train", c): TRAIN for c in range(40)} | {("test", c): TEST for c in range(40)}
    assert all(row.key.rsplit("_", 1)[0] == CLASSES[row.label] for row in samples.rows)


def test_lists_have_the_official_form(root: Path) -> None:
    splits = root / "ImageSplits"
    assert (splits / "train.txt").read_bytes().startswith(b"applauding_005.jpg\r\napplauding_006.jpg\r\n")
    actions = (splits / "actions.txt").read_bytes().split(b"\r\n")
    assert actions[0] == b"action_name\t\t\tnumber_of_images"
    assert actions[1] == b"applauding\t\t\t10"
    assert len(actions) == 42
    assert actions[-1] == b""
    assert (splits / "jumping_test.txt").read_bytes().count(b"\r\n") == TEST


def test_pictures_have_the_short_side_asked_for_and_mixed_shapes(samples: Samples) -> None:
    assert {min(row.size) for row in samples.rows} == {SIZE}
    assert len({row.size for row in samples.rows}) == len(sketch40.SHAPES)


def test_boxes_lie_inside_the_picture_around_a_figure_of_some_size(samples: Samples) -> None:
    for row in samples.rows:
        assert row.box is not None, row.key
        (left, top, right, bottom), (width, height) = row.box, row.size
        assert 0 <= left < right <= width, row.key
        assert 0 <= top < bottom <= height, row.key
        assert (right - left) * (bottom - top) > 0.03 * width * height, row.key


def test_drawing_again_replaces_what_was_there_and_leaves_nothing_beside(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "JPEGImages").mkdir(parents=True)
    (root / "JPEGImages" / "old.jpg").write_bytes(b"old")
    sketch40.draw(root, seed=0, train_per_class=1, test_per_class=1, size=32, progress=Progress())
    assert not (root / "JPEGImages" / "old.jpg").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_interrupted_drawing_leaves_the_old_set_and_nothing_half_written(tmp_path: Path) -> None:
    class Stop(Progress):
        def advance(self, count: int = 1, status: str = "") -> None:
            raise KeyboardInterrupt

    root = tmp_path / "set"
    root.mkdir()
    (root / "mine").write_text("kept")
    with pytest.raises(KeyboardInterrupt):
        sketch40.draw(root, seed=0, train_per_class=1, test_per_class=1, size=32, progress=Stop())
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert (root / "mine").read_text() == "kept"


def test_mean_colour_does_not_give_the_class(samples: Samples) -> None:
    train, train_labels = mean_colours(samples, "train")
    test, test_labels = mean_colours(samples, "test")
    centres = np.array([train[train_labels == c].mean(axis=0) for c in range(40)])
    nearest = ((test[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == test_labels).mean() < 0.10


def test_every_class_has_its_drawing_and_shares_poses_and_scenes_with_others() -> None:
    assert tuple(sorted(ACTIONS)) == CLASSES
    shared = Counter(body for action in ACTIONS.values() for body in set(action.bodies))
    alone = [n for n, a in ACTIONS.items() if all(shared[body] == 1 for body in a.bodies)]
    # A few actions are their pose; all others share it.
    assert len(alone) <= 6

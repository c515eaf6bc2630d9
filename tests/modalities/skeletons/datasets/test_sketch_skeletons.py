"""sketch_skeletons: the same clips everywhere, no shortcut to the class, harder with joints lost."""

import hashlib
import inspect
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stillroom.errors import ParamsError
from stillroom.modalities.skeletons.datasets import sketch_skeletons
from stillroom.modalities.skeletons.datasets.sketch_skeletons import CLASSES, SIZE, clips, drawn_clip
from stillroom.modalities.skeletons.datasets.sketch_skeletons.actions import ACTIONS
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.preparation.clips import Account, check
from stillroom.progress import Progress

TRAIN, TEST = 40, 20

# of the first clip of each class under seed 0
GOLDEN = {
    "bow": "41f96368f8efeaf0",
    "clap": "bf04a31f8a677022",
    "jump": "876cbf875f4c3691",
    "jumping_jack": "a476386131dd9848",
    "kick": "9bf297fe8a525356",
    "lift": "73a8e1ad85ef6320",
    "punch": "c23216e9698699f1",
    "run": "71c83d7fa1362e7b",
    "sit_down": "1a33bc6f2c978a52",
    "squat": "b93d23a7f385e460",
    "swing_bat": "ff90b81d51356ab7",
    "throw": "de3193aa581ed74a",
    "walk": "51ead43502ff8041",
    "wave": "12f7d455e25488db",
}


@pytest.fixture(scope="module")
def made() -> list[sketch_skeletons.Clip]:
    return list(clips(0, TRAIN, TEST))


def joint(name: str) -> int:
    return sketch_skeletons.LAYOUT.joints.index(name)


def known(made: list[sketch_skeletons.Clip]) -> list[sketch_skeletons.Clip]:
    """Those with all joints."""
    return [clip for clip in made if not np.isnan(clip.array).any()]


def by_nearest(made: list[sketch_skeletons.Clip], lost: int) -> float:
    """Accuracy of the nearest training clip, on sixteen frames of centred joints of unit size."""
    rng = np.random.default_rng(0)
    rows = []
    for clip in made:
        places = clip.array[np.linspace(0, len(clip.array) - 1, 16).round().astype(int), 0, :, :2].astype(
            float
        )
        places[:, rng.permutation(13)[:lost]] = np.nan
        places -= np.nanmean(places, axis=(0, 1))
        places /= np.sqrt(np.nanmean((places - np.nanmean(places, axis=1, keepdims=True)) ** 2))
        rows.append(np.where(np.isnan(places), np.nanmean(places, axis=1, keepdims=True), places).ravel())
    table, labels = np.array(rows), np.array([clip.label for clip in made])
    train = np.array([clip.split == "train" for clip in made])
    apart = (
        (table[~train] ** 2).sum(1)[:, None] - 2 * table[~train] @ table[train].T + (table[train] ** 2).sum(1)
    )
    return float((labels[train][apart.argmin(axis=1)] == labels[~train]).mean())


def test_classes_are_distinct_sorted_names_of_their_actions() -> None:
    assert len(set(CLASSES)) == 14
    assert list(CLASSES) == sorted(CLASSES)
    assert [action.__name__ for action in ACTIONS.values()] == list(CLASSES)


def test_counts_keys_splits_and_labels_are_those_asked_for(made: list[sketch_skeletons.Clip]) -> None:
    counts = Counter((clip.split, clip.label) for clip in made)
    assert counts == {("train", c): TRAIN for c in range(14)} | {("test", c): TEST for c in range(14)}
    assert len({clip.key for clip in made}) == len(made)
    assert all(clip.key.rsplit("_", 1)[0] == CLASSES[clip.label] for clip in made)


def test_a_clip_is_a_float32_array_of_frames_persons_joints_and_channels(
    made: list[sketch_skeletons.Clip],
) -> None:
    assert {clip.array.dtype for clip in made} == {np.dtype(np.float32)}
    assert {clip.array.shape[1:] for clip in made} == {(1, len(LAYOUTS["penn13"].joints), 3)}
    lengths = {len(clip.array) for clip in made}
    assert (min(lengths), max(lengths)) == (24, 60)
    assert {clip.size for clip in made} == {SIZE}


def test_a_clip_is_a_pure_function_of_seed_class_and_number(made: list[sketch_skeletons.Clip]) -> None:
    for clip in reversed(made[::17]):
        assert drawn_clip(0, clip.key).tobytes() == clip.array.tobytes()


def test_more_training_clips_change_no_other_clip() -> None:
    few = {clip.key: (clip.split, clip.array.tobytes()) for clip in clips(3, 1, 2)}
    many = {clip.key: (clip.split, clip.array.tobytes()) for clip in clips(3, 2, 2)}
    assert few.items() < many.items()


def test_the_data_section_says_how_many_clips_of_which_seed_are_drawn() -> None:
    data = sketch_skeletons.Data(seed=7, train_per_class=2, test_per_class=1)
    loaded = sketch_skeletons.load(data, Progress(), Account())
    check(loaded)
    assert (loaded.classes, loaded.layout, loaded.dims) == (CLASSES, LAYOUTS["penn13"], 2)
    drawn = list(clips(7, 2, 1))
    assert [(entry.key, entry.split, entry.label) for entry in loaded.entries] == [
        (clip.key, clip.split, clip.label) for clip in drawn
    ]
    for entry, clip in zip(loaded.entries, drawn, strict=True):
        content = loaded.read(entry)
        assert (content.size, content.joints.tobytes()) == (clip.size, clip.array.tobytes())


def test_a_path_is_refused_for_nothing_is_read(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="reads no folder"):
        sketch_skeletons.load(sketch_skeletons.Data(path=str(tmp_path)), Progress(), Account())


def test_another_seed_or_number_draws_another_clip() -> None:
    drawn = [
        drawn_clip(seed, f"{name}_00{n}").tobytes() for seed in (0, 1) for name in CLASSES for n in (1, 2)
    ]
    assert len(set(drawn)) == len(drawn)
    # the motion too, not its noise alone
    lengths = [[len(drawn_clip(seed, f"{name}_001")) for name in CLASSES] for seed in (0, 1)]
    assert lengths[0] != lengths[1]


def test_no_global_random_state_is_read_or_moved() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    one = drawn_clip(0, "run_001").tobytes()
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index, union-attr]
    np.random.seed(6)
    assert drawn_clip(0, "run_001").tobytes() == one


@pytest.mark.parametrize("name", CLASSES)
def test_the_first_clip_is_the_one_published(name: str) -> None:
    array = drawn_clip(0, f"{name}_001")
    # a NaN's bits are no promise
    content = np.nan_to_num(array, nan=-1.0).astype("<f4").tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == GOLDEN[name]


def test_coordinates_lie_on_a_grid_so_that_last_bits_of_a_machine_do_not_show(
    made: list[sketch_skeletons.Clip],
) -> None:
    for clip in known(made):
        steps = clip.array[..., :2].astype(float) / sketch_skeletons.GRID
        assert (steps == np.round(steps)).all(), clip.key


def test_figures_are_of_some_size_and_within_the_picture_but_for_a_few_pixels(
    made: list[sketch_skeletons.Clip],
) -> None:
    for clip in made:
        low, high = (call(clip.array[..., :2], axis=(0, 1, 2)) for call in (np.nanmin, np.nanmax))
        assert (low > -5).all(), clip.key
        assert (high < np.array(SIZE) + 5).all(), clip.key
        assert (high - low).max() > 60, clip.key


def test_heads_are_above_feet(made: list[sketch_skeletons.Clip]) -> None:
    for clip in known(made):
        first = clip.array[0, 0, :, 1]
        assert first[joint("head")] < first[[joint("left_ankle"), joint("right_ankle")]].min(), clip.key


def test_a_missing_joint_is_marked_for_the_whole_clip(made: list[sketch_skeletons.Clip]) -> None:
    for clip in made:
        gone = np.isnan(clip.array[..., :2])
        assert (gone.all(axis=-1) == gone.any(axis=-1)).all(), clip.key
        assert (gone.all(axis=-1) == gone.all(axis=(0, 1, 3))).all(), clip.key
        assert (clip.array[..., 2] == ~gone[..., 0]).all(), clip.key


def test_missing_joints_do_not_tell_the_class() -> None:
    gone = [
        [
            len(sketch_skeletons.unseen(seed, f"{name}_{number:03d}"))
            for seed in range(3)
            for number in range(300)
        ]
        for name in CLASSES
    ]
    shares = (np.array(gone) > 0).mean(axis=1)  # of 900: a standard deviation of 0.01
    assert abs(shares.mean() - 0.1) < 0.01
    assert (abs(shares - 0.1) < 0.04).all()
    assert {count for row in gone for count in row} == {0, 1, 2}
    # what is drawn of it cannot depend on the action: the function that draws it is not told
    assert list(inspect.signature(sketch_skeletons.unseen).parameters) == ["seed", "key"]


def test_any_joint_may_be_missing() -> None:
    gone = Counter(one for number in range(2000) for one in sketch_skeletons.unseen(0, f"walk_{number}"))
    assert set(gone) == set(range(13))
    assert max(gone.values()) < 3 * min(gone.values())


def test_length_place_and_size_do_not_give_the_class(made: list[sketch_skeletons.Clip]) -> None:
    rows = []
    for clip in made:
        places = clip.array[..., :2].reshape(-1, 2)
        rows.append([len(clip.array), *np.nanmean(places, axis=0)])
    table, labels = np.array(rows), np.array([clip.label for clip in made])
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    train = np.array([clip.split == "train" for clip in made])
    centres = np.array([table[train & (labels == c)].mean(axis=0) for c in range(14)])
    nearest = ((table[~train][:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == labels[~train]).mean() < 0.2


def test_clips_are_told_apart_but_not_all_and_fewer_with_six_joints_lost(
    made: list[sketch_skeletons.Clip],
) -> None:
    whole, lost = by_nearest(made, 0), by_nearest(made, 6)
    assert 0.6 < whole < 0.92
    assert lost < whole - 0.2

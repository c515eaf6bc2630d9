"""What a model is shown of a clip: equal bytes for equal parameters, and nothing of what is not there."""

import hashlib
import math
from typing import Any

import numpy as np
import pytest

from stillroom.modalities.skeletons.corrupted import Corruption
from stillroom.modalities.skeletons.fields import View
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.measures import by_motion, present
from stillroom.modalities.skeletons.policies import make_recipe
from stillroom.modalities.skeletons.render import LEAST_SCORE, render
from tests.modalities.skeletons import drawn
from tests.modalities.skeletons.drawn import clip, lose, spec

KINDS: dict[str, dict[str, Any]] = {
    "penn13": {"persons": 1, "dims": 2, "layout": "penn13"},
    "coco17": {"persons": 3, "dims": 2, "layout": "coco17"},
    "ntu25": {"persons": 2, "dims": 3, "layout": "ntu25"},
}
# sha256 over rendered views in 1/1024: another NumPy, or another order of sums, shows here
GOLDEN = {
    "penn13": "15141ffab101477c9212afbf118b697c",
    "coco17": "306dd92d46838820bcff91081bb16e77",
    "ntu25": "a2cbc7c0c6049b0054f7b3dbb67d656f",
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def views(kind: str, count: int = 6) -> list[View]:
    sample = drawn.sample(clip(**KINDS[kind]), layout=kind)
    return [View(), *(make_recipe({"rotate": 40.0}).draw(0, sample, view) for view in range(count))]


def slow(made: np.ndarray, view: View, frames: int) -> np.ndarray:
    """[M, T, J, D + 1] resampled by loops, as a loader of the field would; NaN and 0 where nothing is."""
    total, persons, joints, channels = made.shape
    out = np.zeros((persons, frames, joints, channels), np.float64)
    out[..., :-1] = np.nan
    for t in range(frames):
        place = view.start * (total - 1) + view.length * (total - 1) * t / (frames - 1)
        low, high = math.floor(place), min(math.ceil(place), total - 1)
        for m in range(persons):
            for j in range(joints):
                one, other = made[low, m, j].astype(float), made[high, m, j].astype(float)
                if one[-1] > 0 and other[-1] > 0:
                    out[m, t, j] = one + (other - one) * (place - low)
                elif one[-1] > 0 or other[-1] > 0:
                    out[m, t, j] = one if one[-1] > 0 else other
    return out


def centred(made: np.ndarray) -> np.ndarray:
    """Normalised in float64, straight from the definition."""
    there = made[..., -1] > 0
    points = made[..., :-1]
    middle = points[there].mean(axis=0)
    squares = []
    for m, t in np.ndindex(there.shape[:2]):
        own = points[m, t][there[m, t]]
        squares += [] if not len(own) else list(((own - own.mean(axis=0)) ** 2).sum(axis=1))
    out = np.zeros_like(made)
    out[..., :-1][there] = (points[there] - middle) / math.sqrt(sum(squares) / len(squares))
    out[..., -1] = made[..., -1]
    return out


@every_kind
def test_equal_parameters_give_equal_bytes_and_the_clip_is_left_as_it_is(kind: str) -> None:
    made = clip(**KINDS[kind])
    before = made.copy()
    for view in views(kind):
        one = render(made, view, spec(**KINDS[kind]))
        assert one.dtype == np.float32 and one.flags.c_contiguous and np.isfinite(one).all()
        assert one.shape == (KINDS[kind]["persons"], 32, made.shape[2], made.shape[3])
        assert one.tobytes() == render(made, view, spec(**KINDS[kind])).tobytes()
    np.testing.assert_array_equal(made, before)


@every_kind
def test_rendered_views_stay_as_they_are(kind: str) -> None:
    digest = hashlib.sha256()
    made = clip(1, **KINDS[kind])
    for view in views(kind):
        digest.update(np.round(render(made, view, spec(**KINDS[kind])) * 1024).astype("<i4").tobytes())
    assert digest.hexdigest()[:32] == GOLDEN[kind]


@pytest.mark.parametrize("frames", [2, 7, 32, 60, 119])
@pytest.mark.parametrize("missing", [0.0, 0.3, 0.7])
def test_resampling_is_what_a_slow_loop_gives(frames: int, missing: float) -> None:
    made = clip(3, missing=missing)
    for view in (View(), View(0.25, 0.5), View(0.125, 0.8125)):
        expected = centred(slow(made, view, frames))
        found = render(made, view, spec(frames))
        np.testing.assert_array_equal(found[..., -1] > 0, expected[..., -1] > 0)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_whole_clip_at_its_own_frames_is_the_clip() -> None:
    made = clip(frames=47)
    found = render(made, View(), spec(47))
    np.testing.assert_array_equal(found[0, ..., -1], made[:, 0, :, -1])


def test_a_frame_with_nobody_stays_empty() -> None:
    made = clip(frames=21, missing=0.0)
    lose(made, np.s_[8:13])
    found = render(made, View(), spec(41))  # frame 2 t is the clip's frame t
    assert not found[0, 16:25].any() and found[0, :15, :, -1].all() and found[0, 26:, :, -1].all()
    np.testing.assert_array_equal(found[0, 15], found[0, 14])  # between both: the one that is there


def test_one_frame_is_the_middle_one_and_one_frame_is_enough() -> None:
    made = clip(frames=21, missing=0.0)
    np.testing.assert_array_equal(render(made, View(), spec(1)), render(made[10:11], View(), spec(1)))
    assert len(np.unique(render(made[:1], View(), spec(8)), axis=1)[0]) == 1


@every_kind
def test_a_mirror_of_a_mirror_is_the_clip(kind: str) -> None:
    made, one = clip(**KINDS[kind]), spec(**KINDS[kind])
    places = LAYOUTS[kind].mirrored()
    plain, mirrored = render(made, View(), one), render(made, View(mirror=1), one)
    assert not np.array_equal(plain, mirrored)
    back = mirrored[:, :, places].copy()
    back[..., 0] *= -1
    np.testing.assert_allclose(back, plain, atol=1e-5)
    np.testing.assert_array_equal(back[..., -1], plain[..., -1])
    turned = made[:, :, places].copy()
    turned[..., 0] *= -1
    np.testing.assert_array_equal(render(turned, View(mirror=1), one), plain)


def test_a_mirror_puts_the_left_joint_in_the_place_of_the_right_one() -> None:
    made = clip(missing=0.0)
    lose(made, np.s_[:, :, LAYOUTS["penn13"].joints.index("left_wrist")])
    found = render(made, View(mirror=1), spec())
    assert not found[:, :, 6].any() and found[:, :, 5, -1].all()


@every_kind
def test_where_and_how_large_somebody_is_changes_nothing(kind: str) -> None:
    made = clip(**KINDS[kind])
    for view in views(kind, 3):
        plain = render(made, view, spec(**KINDS[kind]))
        moved, larger, other = made.copy(), made.copy(), made.copy()
        moved[..., :-1] += 5
        larger[..., :-1] *= 4
        other[..., :-1] *= 1.7
        np.testing.assert_allclose(render(moved, view, spec(**KINDS[kind])), plain, atol=1e-4)
        np.testing.assert_array_equal(render(larger, view, spec(**KINDS[kind])), plain)
        np.testing.assert_allclose(render(other, view, spec(**KINDS[kind])), plain, atol=1e-4)


@pytest.mark.parametrize("kind", ["penn13", "ntu25"])
def test_a_turn_keeps_all_distances_and_a_turn_back_undoes_it(kind: str) -> None:
    made, one = clip(**KINDS[kind]), spec(**KINDS[kind])
    plain = render(made, View(), one)

    def distances(found: np.ndarray) -> np.ndarray:
        return np.linalg.norm(found[..., :, None, :-1] - found[..., None, :, :-1], axis=-1)

    there = plain[..., -1] > 0
    both = there[..., None, :] & there[..., :, None]
    for axis in range(3):
        angle = tuple(0.7 if axis == place else 0.0 for place in range(3))
        turned = render(made, View(angle=angle), one)
        np.testing.assert_allclose(distances(turned)[both], distances(plain)[both], atol=1e-4)
        assert np.array_equal(turned, plain) == (made.shape[-1] == 3 and axis < 2)
        if made.shape[-1] == 4:  # the axis itself stays
            np.testing.assert_allclose(turned[..., axis], plain[..., axis], atol=1e-4)


def test_two_dimensions_turn_clockwise_as_they_are_seen() -> None:
    made = clip(missing=0.0)
    plain, turned = (render(made, View(angle=(0, 0, a)), spec()) for a in (0.0, math.pi / 2))
    np.testing.assert_allclose(turned[..., 0], -plain[..., 1], atol=1e-5)
    np.testing.assert_allclose(turned[..., 1], plain[..., 0], atol=1e-5)


def test_scale_multiplies_what_is_normalised() -> None:
    made = clip()
    plain, double = render(made, View(), spec()), render(made, View(scale=2.0), spec())
    np.testing.assert_allclose(double[..., :-1], 2 * plain[..., :-1], rtol=1e-6)
    there = plain[..., -1] > 0
    middle = plain[..., :-1][there].mean(axis=0)
    np.testing.assert_allclose(middle, 0, atol=1e-5)


@pytest.mark.parametrize("shear", [(0.5, 0.0), (0.0, 0.5)])
def test_shear_moves_x_by_y_and_y_by_x(shear: tuple[float, float]) -> None:
    made = clip(missing=0.0)
    plain = render(made, View(), spec())[..., :2].reshape(-1, 2)
    sheared = render(made, View(shear=shear), spec())[..., :2].reshape(-1, 2)
    expected = plain + plain[:, ::-1] * shear
    factor = (expected * sheared).sum() / (sheared * sheared).sum()  # sizes are normalised after
    np.testing.assert_allclose(sheared * factor, expected, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_three_dimensions_turn_right_handed(axis: int) -> None:
    made = clip(dims=3, missing=0.0)
    angle = tuple(math.pi / 2 if axis == place else 0.0 for place in range(3))
    one = spec(dims=3)
    plain, turned = render(made, View(), one), render(made, View(angle=angle), one)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    np.testing.assert_allclose(turned[..., second], plain[..., first], atol=1e-5)
    np.testing.assert_allclose(turned[..., first], -plain[..., second], atol=1e-5)


def test_a_corruption_is_handed_what_is_there_and_nothing_else() -> None:
    made, handed = clip(persons=2, missing=0.3), []
    made[..., :-1][~present(made)] = 7
    made[:, :, 2, 0] = np.nan

    class Looks(Corruption):
        def apply(self, content: np.ndarray, drawn: Any, layout: Any = None) -> np.ndarray:
            handed.append((content, drawn, layout))
            return content

    render(made, View(), spec(persons=3), (Looks(), "drawn"))
    [(content, what, layout)] = handed
    gone = ~present(content)
    assert content.shape == (3, 32, 13, 3) and what == "drawn" and layout == LAYOUTS["penn13"]
    assert gone[2].all() and gone[:, :, 2].all() and gone.mean() < 0.6
    assert np.isnan(content[gone, :-1]).all() and not content[gone, -1].any()


@every_kind
def test_what_is_not_there_is_all_zero_whatever_stood_there(kind: str) -> None:
    made = clip(**KINDS[kind], missing=0.4)
    dirty = made.copy()
    gone = ~present(made)
    garbage = np.array([1e30, -np.inf, np.nan, 7.0], np.float32)
    dirty[gone, :-1] = np.resize(garbage, (gone.sum(), made.shape[-1] - 1))
    for view in views(kind, 3):
        plain = render(made, view, spec(**KINDS[kind]))
        assert plain.tobytes() == render(dirty, view, spec(**KINDS[kind])).tobytes()
        assert not plain[plain[..., -1] == 0].any()


def test_a_joint_without_coordinates_is_not_there_whatever_its_score() -> None:
    made = clip(missing=0.0)
    made[:, :, 3, :-1] = np.nan
    made[:, :, 4, 0] = np.inf
    found = render(made, View(), spec())
    assert np.isfinite(found).all() and not found[:, :, 3:5].any()


def test_a_score_of_next_to_nothing_still_marks_who_is_there() -> None:
    made = clip(missing=0.0)
    made[..., -1] = 1e-20
    np.testing.assert_array_equal(render(made, View(), spec())[..., -1], np.float32(LEAST_SCORE))


def test_persons_who_are_not_there_stay_zero() -> None:
    made = clip(persons=1)
    found = render(made, View(mirror=1, angle=(0, 0, 0.5)), spec(persons=3))
    assert not found[1:].any()
    np.testing.assert_array_equal(found[0], render(made, View(mirror=1, angle=(0, 0, 0.5)), spec())[0])
    empty = clip(persons=2)
    lose(empty, np.s_[:, 0])
    found = render(empty, View(), spec(persons=2))
    assert found[0].any() and not found[1].any()


def test_those_who_move_most_are_kept() -> None:
    made = clip(persons=4, missing=0.0)  # each moves more than the one before
    assert by_motion(made).tolist() == [3, 2, 1, 0]
    np.testing.assert_array_equal(
        render(made, View(), spec(persons=2)), render(made[:, [3, 2]], View(), spec(persons=2))
    )
    still = np.repeat(made[:1], 5, axis=0)
    assert by_motion(still).tolist() == [0, 1, 2, 3]  # nobody moves: as they come
    lose(still, np.s_[:, 1])
    assert by_motion(still).tolist() == [0, 2, 3, 1]


def test_nobody_at_all_is_all_zero() -> None:
    made = clip(persons=2)
    lose(made, np.s_[:])
    assert not render(made, View(mirror=1, angle=(0, 0, 1.0)), spec(persons=2)).any()


def test_a_single_joint_is_normalised_by_how_far_it_moves() -> None:
    made = clip(missing=0.0)
    lose(made, np.s_[:, :, 1:])
    found = render(made, View(), spec())
    np.testing.assert_allclose(np.square(found[0, :, 0, :-1]).sum(axis=-1).mean(), 1, rtol=1e-4)
    np.testing.assert_array_equal(render(made[:1], View(), spec())[..., :-1], 0)


def test_an_own_layout_is_described_in_the_spec() -> None:
    described = {
        "joints": ["head", "left_hand", "right_hand"],
        "bones": [["left_hand", "head"], ["right_hand", "head"]],
        "left_right": [["left_hand", "right_hand"]],
    }
    made = clip()[:, :, :3]
    plain, mirrored = (render(made, View(mirror=m), spec(layout=described)) for m in (0, 1))
    np.testing.assert_array_equal(mirrored[..., -1], plain[:, :, [0, 2, 1], -1])


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (clip(layout="coco17"), "17 joints in 2 dimensions: expected 13"),
        (clip(dims=3), "in 3 dimensions"),
        (clip()[:0], "shape"),
        (clip()[:, 0], "shape"),
    ],
    ids=["joints", "dimensions", "frames", "persons"],
)
def test_another_kind_of_clip_is_refused(made: np.ndarray, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        render(made, View(), spec())

"""What a student sees worse than its teacher: without state, without a trace of what is lost."""

import hashlib
import json
import pickle
from typing import Any

import numpy as np
import pytest

from stillroom import registry
from stillroom.errors import ParamsError
from stillroom.modalities import base, named
from stillroom.modalities.skeletons.corruptions.mixture import Mixture
from stillroom.modalities.skeletons.fields import View
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.measures import present, spread
from stillroom.modalities.skeletons.policies import make_recipe
from stillroom.modalities.skeletons.render import render
from tests.modalities.skeletons import drawn
from tests.modalities.skeletons.drawn import clip, lose, spec

PACKAGE = "stillroom.modalities.skeletons"
LAYOUT = LAYOUTS["penn13"]
CONFIGS: dict[str, dict[str, Any]] = {
    "joint_loss": {"name": "joint_loss", "joints": 8},
    "hold": {"name": "joint_drop", "p": 0.6},
    "mean": {"name": "joint_drop", "p": 0.6, "fill": "mean"},
    "none": {"name": "joint_drop", "p": 0.6, "fill": "none"},
    "jitter": {"name": "jitter", "size": 0.2},
    "block_loss": {"name": "block_loss", "share": 0.4},
    "swap": {"name": "swap", "share": 0.5, "p": 0.5},
    "one_of": {
        "name": "mixture",
        "of": [{"name": "joint_loss", "joints": 4}, {"name": "jitter", "size": 0.1}],
    },
    "together": {
        "name": "mixture",
        "together": True,
        "of": [{"name": "joint_loss", "joints": 4}, {"name": "jitter", "size": 0.1}],
    },
}
LEVEL_0: dict[str, dict[str, Any]] = {
    "joint_loss": {"name": "joint_loss", "joints": 0},
    "hold": {"name": "joint_drop", "p": 0.0},
    "mean": {"name": "joint_drop", "p": 0.0, "fill": "mean"},
    "jitter": {"name": "jitter", "size": 0.0},
    "block_loss": {"name": "block_loss", "share": 0.0},
    "swap_of_no_frames": {"name": "swap", "share": 0.0},
    "swap_of_no_joints": {"name": "swap", "share": 1.0, "p": 0.0},
    "together": {
        "name": "mixture",
        "together": True,
        "of": [{"name": "joint_loss", "joints": 0}, {"name": "jitter", "size": 0.0}],
    },
}
# sha256 over what the corruptions make of a clip, in 1/64 pixel: another stream of numbers shows here
GOLDEN = {
    "joint_loss": "760944a0ae2498ed22da49dba19e828b",
    "hold": "7e8ef4b01024cd8931f06e2b90a7ecf1",
    "mean": "ed98178690291c2349181baddbe7ad2b",
    "none": "0ca24ac724f93c52b0b198c1efe0ff40",
    "jitter": "eebfc01828c0810486b2c9ea6982a51e",
    "block_loss": "ecf702350a983b2d291ee58b39ea8ece",
    "swap": "ca4f64ecdf7a8cb73cdcc852e4cbb581",
    "one_of": "1121fd5b0f2e4385d82459f349a2c097",
    "together": "3db9a3062a0d6daee45e3cd10168096a",
}
every_one = pytest.mark.parametrize("name", CONFIGS)
SAMPLE = drawn.sample(clip())


def made(config: dict[str, Any]) -> Any:
    return named.corruption(PACKAGE, config, "params.yaml")


def content(seed: int = 0, **kind: Any) -> np.ndarray:
    """As `render` hands it over: float32 [M, T, J, D + 1]."""
    return np.ascontiguousarray(clip(seed, frames=24, **kind).swapaxes(0, 1))


def applied(corruption: Any, given: np.ndarray, number: int = 0, key: str = "clip") -> np.ndarray:
    found: np.ndarray = corruption.apply(given, corruption.draw(0, drawn.sample(clip(), key), number), LAYOUT)
    return found


def test_every_corruption_is_tried_here() -> None:
    assert {config["name"] for config in CONFIGS.values()} == set(registry.names(f"{PACKAGE}.corruptions"))


@every_one
def test_a_draw_depends_on_seed_key_and_number_alone(name: str) -> None:
    given = content(persons=2)
    jobs = [(key, number) for key in ("a", "b") for number in (0, 1, 2, base.EVALUATION_DRAWS)]
    first = [applied(made(CONFIGS[name]), given, number, key) for key, number in jobs]
    one = made(CONFIGS[name])
    again = [applied(one, given, number, key) for key, number in jobs[::-1]][::-1]
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert len({one.tobytes() for one in first}) > len(jobs) // 2  # a block has few places
    other = one.apply(given, one.draw(1, drawn.sample(clip(), "a"), 0), LAYOUT)
    assert other.tobytes() != first[0].tobytes()


@every_one
def test_what_is_handed_over_is_left_as_it_is(name: str) -> None:
    given = content(persons=2)
    before = given.copy()
    given.setflags(write=False)
    found = applied(made(CONFIGS[name]), given)
    np.testing.assert_array_equal(given, before)
    assert found is not given and found.shape == given.shape and found.dtype == np.float32
    gone = ~present(found)
    assert np.isnan(found[gone, :-1]).all() and not found[gone, -1].any()


@every_one
def test_what_is_drawn_can_be_sent_to_a_worker_and_made_again_from_json(name: str) -> None:
    one, given = made(CONFIGS[name]), content()
    again = made(json.loads(json.dumps(one.describe())))
    assert again.describe() == one.describe()
    sent, number = pickle.loads(pickle.dumps((one, one.draw(0, SAMPLE, 1))))
    np.testing.assert_array_equal(sent.apply(given, number, LAYOUT), applied(again, given, 1))


@every_one
def test_corruptions_stay_as_they_are(name: str) -> None:
    digest = hashlib.sha256()
    for number in range(4):
        found = applied(made(CONFIGS[name]), content(2, persons=2), number)
        digest.update(np.round(np.nan_to_num(found) * 64).astype("<i4").tobytes())
    assert digest.hexdigest()[:32] == GOLDEN[name]


@pytest.mark.parametrize("name", LEVEL_0)
def test_nothing_made_worse_is_what_the_teacher_sees_bit_for_bit(name: str) -> None:
    one, given = made(LEVEL_0[name]), content(persons=2)
    assert applied(one, given) is given
    walk = clip()
    for view in range(4):
        seen = make_recipe({}).draw(0, SAMPLE, view)
        worse = (one, one.draw(0, SAMPLE, view))
        assert render(walk, seen, spec(), worse).tobytes() == render(walk, seen, spec()).tobytes()


@pytest.mark.parametrize("name", ["joint_loss", "hold", "mean", "none", "block_loss", "together"])
def test_where_lost_joints_were_leaves_no_trace(name: str) -> None:
    """Neither in the centre, nor in the size, nor in what fills the gaps, nor in the noise."""
    one, given = made(CONFIGS[name]), content(persons=2)
    parts = CONFIGS[name].get("of", [CONFIGS[name]])[:1]
    if name == "together":
        [place, drawn_part], *_ = one.draw(0, SAMPLE, 0)
        lost = ~present(one.parts[place].apply(given, drawn_part, LAYOUT))
    else:
        plain = made({**parts[0], **({"fill": "none"} if "p" in parts[0] else {})})
        lost = ~present(applied(plain, given))
    assert (lost & present(given)).sum() > 50
    other = given.copy()
    garbage = np.random.default_rng(0).normal(size=given.shape) * 1e6
    other[..., :-1][lost & present(given)] = garbage[..., :-1][lost & present(given)]
    other[..., -1][lost & present(given)] = 0.77
    np.testing.assert_array_equal(applied(one, given), applied(one, other))


@pytest.mark.parametrize("fill", ["hold", "mean", "none"])
def test_all_joints_lost_is_all_zero(fill: str) -> None:
    for config in ({"name": "joint_drop", "p": 1.0, "fill": fill}, {"name": "block_loss", "share": 1.0}):
        one = made(config)
        for view in (View(), View(mirror=1, angle=(0.1, 0.2, 0.3), shear=(0.1, 0.1))):
            found = render(clip(), view, spec(), (one, one.draw(0, SAMPLE, 0)))
            np.testing.assert_array_equal(found, 0)


@every_one
def test_nobody_is_made_worse_without_a_word(name: str) -> None:
    empty = content(persons=2)
    lose(empty, np.s_[:])
    assert not present(applied(made(CONFIGS[name]), empty)).any()


@every_one
@pytest.mark.parametrize("frames", [1, 2, 32])
def test_what_is_rendered_is_finite_and_zero_where_nobody_is(name: str, frames: int) -> None:
    one = made(CONFIGS[name])
    for number in range(5):
        found = render(clip(persons=2), View(), spec(frames, persons=3), (one, one.draw(0, SAMPLE, number)))
        assert np.isfinite(found).all() and not found[found[..., -1] == 0].any() and not found[2].any()


def test_lost_joints_are_lost_in_all_frames_and_of_everybody() -> None:
    given, chosen = content(persons=2, missing=0.0), set()
    for number in range(60):
        there = present(applied(made({"name": "joint_loss", "joints": 5}), given, number))
        assert (there == there[:1, :1]).all() and (~there[0, 0]).sum() == 5
        chosen |= {tuple(np.flatnonzero(~there[0, 0]))}
    assert len(chosen) > 55 and {joint for one in chosen for joint in one} == set(range(13))
    for joints, told in ((13, "13 joints"), (200, "13 joints")):
        with pytest.raises(ParamsError, match=told):
            applied(made({"name": "joint_loss", "joints": joints}), given)


def test_joints_are_dropped_as_often_as_asked() -> None:
    given = content(persons=2, missing=0.0)
    for p in (0.1, 0.5, 0.9):
        one = made({"name": "joint_drop", "p": p, "fill": "none"})
        lost = np.mean([~present(applied(one, given, number)) for number in range(20)])
        assert abs(lost - p) < 0.02


def dropped(given: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Which joints stay."""
    return present(applied(made({**config, "fill": "none"}), given))


def test_hold_takes_the_last_value_that_is_there() -> None:
    given = content(missing=0.2)
    there = dropped(given, CONFIGS["hold"])
    found = applied(made(CONFIGS["hold"]), given)
    for t, j in np.ndindex(24, 13):
        if there[0, t, j] or not present(given)[0, t, j]:
            np.testing.assert_array_equal(found[0, t, j], given[0, t, j])
            continue
        before = [s for s in range(t) if there[0, s, j]]
        if before:
            np.testing.assert_array_equal(found[0, t, j], given[0, before[-1], j])
        else:
            assert found[0, t, j, -1] == 0


def test_hold_knows_nothing_of_what_comes_after() -> None:
    one, given = made(CONFIGS["hold"]), content(missing=0.1)
    for frame in (1, 9, 20):
        later = given.copy()
        later[:, frame:, :, :-1] += 100
        lose(later[:, frame + 1 :], np.s_[:, :, 3])
        np.testing.assert_array_equal(applied(one, later)[:, :frame], applied(one, given)[:, :frame])


def test_mean_takes_three_frames_to_either_side() -> None:
    given = content(missing=0.2)
    there = dropped(given, CONFIGS["mean"])
    found = applied(made(CONFIGS["mean"]), given)
    for t, j in np.ndindex(24, 13):
        near = [s for s in range(max(0, t - 3), min(24, t + 4)) if there[0, s, j]]
        if there[0, t, j] or not present(given)[0, t, j]:
            np.testing.assert_array_equal(found[0, t, j], given[0, t, j])
        elif near:
            expected = given[0, near, j].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(found[0, t, j], expected, rtol=1e-6)
        else:
            assert found[0, t, j, -1] == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_jitter_is_a_share_of_the_bodys_size_and_touches_no_score(dims: int) -> None:
    given = content(persons=2, dims=dims, missing=0.1)
    there = present(given)
    size = spread(np.where(there[..., None], given[..., :-1], np.float32(0)), there)
    moves = []
    for number in range(20):
        found = applied(made({"name": "jitter", "size": 0.3}), given, number)
        np.testing.assert_array_equal(found[..., -1], given[..., -1])
        moves.append((found - given)[..., :-1][there] / size)
    assert abs(np.std(moves) - 0.3) < 0.005 and abs(np.mean(moves)) < 0.005
    assert np.mean(np.abs(moves) > 0.6) == pytest.approx(0.0455, abs=0.006)  # beyond two deviations
    first, second = np.reshape(moves, (-1, dims))[:, :2].T
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def test_jitter_follows_a_clip_of_another_size() -> None:
    given = content()
    larger = given.copy()
    larger[..., :-1] *= 4
    one = made(CONFIGS["jitter"])
    np.testing.assert_array_equal(applied(one, larger)[..., :-1], 4 * applied(one, given)[..., :-1])


def test_a_block_is_one_run_of_frames_anywhere() -> None:
    given, starts = content(missing=0.0), set()
    for number in range(200):
        there = present(applied(made({"name": "block_loss", "share": 0.25}), given, number))
        lost = np.flatnonzero(~there[0].any(axis=1))
        assert len(lost) == 6 == lost[-1] - lost[0] + 1 and there[0].sum() == 18 * 13
        starts.add(int(lost[0]))
    assert starts == set(range(19))


def test_a_swap_exchanges_left_and_right_in_a_run() -> None:
    given = content(persons=2)
    mirrored = given[:, :, LAYOUT.mirrored()]
    np.testing.assert_array_equal(applied(made({"name": "swap", "share": 1.0}), given), mirrored)
    found = applied(made({"name": "swap", "share": 0.25}), given)
    runs = []
    for person in range(2):
        same = [np.array_equal(found[person, t], given[person, t], equal_nan=True) for t in range(24)]
        swapped = [t for t in range(24) if not same[t]]
        assert len(swapped) == 6 == swapped[-1] - swapped[0] + 1
        np.testing.assert_array_equal(found[person, swapped], mirrored[person, swapped])
        runs.append(swapped)
    assert runs[0] != runs[1]


def test_a_swap_with_a_chance_takes_whole_pairs() -> None:
    given, count = content(missing=0.0), 0
    for number in range(50):
        found = applied(made({"name": "swap", "share": 1.0, "p": 0.3}), given, number)
        for left, right in LAYOUT.pairs:
            swapped = not np.array_equal(found[:, :, left], given[:, :, left])
            expected = given[:, :, [right, left]] if swapped else given[:, :, [left, right]]
            np.testing.assert_array_equal(found[:, :, [left, right]], expected)
            count += swapped
        np.testing.assert_array_equal(found[:, :, 0], given[:, :, 0])
    assert 0.2 < count / 300 < 0.4


def test_a_swap_needs_sides() -> None:
    one = made(CONFIGS["swap"])
    with pytest.raises(ParamsError, match="left and right"):
        one.apply(content(), one.draw(0, SAMPLE, 0), None)


def test_a_mixture_gives_each_view_one_of_its_parts() -> None:
    one, given = made(CONFIGS["one_of"]), content(missing=0.0)
    kinds = [bool(present(applied(one, given, number)).all()) for number in range(200)]
    assert 70 < sum(kinds) < 130  # jitter loses nothing
    together = made(CONFIGS["together"])
    for number in range(5):
        found = applied(together, given, number)
        there = present(found)
        assert there.sum() == 24 * 9 and not (found == given)[there][:, 0].any()


def test_two_parts_of_one_kind_draw_apart() -> None:
    part = {"name": "joint_drop", "p": 0.5, "fill": "none"}
    one = made({"name": "mixture", "together": True, "of": [part, part]})
    there = present(applied(one, content(missing=0.0)))
    assert 0.15 < there.mean() < 0.35


def test_parts_are_made_once() -> None:
    one = made(CONFIGS["one_of"])
    assert isinstance(one, Mixture) and one.parts is one.parts


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"name": "joint_los"}, "joint_loss"),
        ({"name": "joint_loss"}, "student.corruption.joints"),
        ({"name": "joint_loss", "joints": -1}, "student.corruption.joints"),
        ({"name": "joint_drop", "p": 1.5}, "student.corruption.p"),
        ({"name": "joint_drop", "p": 0.5, "fill": "held"}, "hold"),
        ({"name": "jitter", "sise": 0.1}, "size"),
        ({"name": "block_loss", "share": 2.0}, "student.corruption.share"),
        ({"name": "mixture", "of": []}, "student.corruption.of"),
        ({"name": "mixture", "of": [{"name": "jiter", "size": 0.1}]}, "jitter"),
        ({"name": "mixture", "of": [{"name": "jitter", "size": -0.1}]}, "size"),
        ({"name": "mixture", "of": [{"name": "jitter", "size": 0.1, "seed": 3}]}, "seed"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_a_wrong_corruption_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ParamsError) as error:
        made(config)
    assert told in str(error.value) and "params.yaml" in str(error.value)

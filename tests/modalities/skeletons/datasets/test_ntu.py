"""NTU RGB+D: five genuine files by their published numbers, the three benchmarks, bad files named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.errors import ParamsError
from stillroom.modalities.skeletons.arrays import sound
from stillroom.modalities.skeletons.datasets import ntu as data_set
from stillroom.modalities.skeletons.datasets.ntu import ACTIONS, LAYOUT, parse
from tests.modalities.skeletons.datasets.clips_on_disk import (
    SHARED,
    clip_of,
    counts,
    needs,
    ntu,
    ntu_folder,
    prepared,
    refused,
)

SAMPLE = SHARED / "ntu_sample"
FRAMES = {
    "S001C001P001R001A011": (82, 1, "reading"),
    "S001C003P008R002A058": (70, 2, "shaking hands"),
    "S002C001P003R001A003": (100, 1, "brush teeth"),
    "S003C001P015R001A034": (71, 1, "rub two hands"),
    "S004C002P003R001A017": (124, 1, "take off a shoe"),
}


def names(actions=(1, 2), performers=(1, 3), cameras=(1, 2), setups=(1,)) -> list[str]:
    return [
        f"S{setup:03d}C{camera:03d}P{performer:03d}R001A{action:03d}"
        for setup in setups
        for camera in cameras
        for performer in performers
        for action in actions
    ]


@needs("ntu_sample")
@pytest.mark.parametrize("name", sorted(FRAMES))
def test_genuine_files_have_the_frames_and_bodies_of_their_description(name):
    frames, bodies, action = FRAMES[name]
    content = (SAMPLE / f"{name}.skeleton").read_bytes()
    clip = parse(content).joints
    assert clip.shape == (frames, bodies, 25, 4)
    assert ACTIONS[int(name[-3:]) - 1] == action
    assert set(np.unique(clip[..., 3])) <= {0.5, 1.0} and not np.isnan(clip).any()
    # the first body's first joint, as the text has it
    words = content.decode().split("\r\n")[4].split()
    first = np.float32(words[:3])
    assert any(np.array_equal(clip[0, body, 0, :3], first) for body in range(bodies))
    head, foot = (clip[..., LAYOUT.joints.index(joint), 1].mean() for joint in ("head", "left_foot"))
    assert head - foot > 0.3, "y upwards, metres"


@needs("ntu_sample")
def test_the_published_list_is_taken_as_it_is(tmp_path):
    bad = (SAMPLE / "missing_skeletons_60.txt").read_text().split()
    assert len(bad) == 302
    root = ntu_folder(tmp_path / "set", [bad[0], bad[1], *names()])
    done = prepared(
        "ntu",
        tmp_path / "data",
        path=str(root),
        official=False,
        skip=str(SAMPLE / "missing_skeletons_60.txt"),
    )
    assert len(done.samples) == 8
    assert done.account.skipped == sorted(f"{name}.skeleton" for name in bad[:2])


@pytest.mark.parametrize(
    ("benchmark", "actions", "train"),
    [
        ("xsub", 60, {"P001"}),
        ("xview", 60, {"C002"}),
        ("xsub", 120, {"P001"}),
        ("xset", 120, {"S002"}),
    ],
)
def test_a_benchmark_splits_by_its_rule(tmp_path, benchmark, actions, train):
    root = ntu_folder(tmp_path / "set", names(setups=(1, 2)))
    done = prepared(
        "ntu", tmp_path / "data", path=str(root), official=False, benchmark=benchmark, actions=actions
    )
    for row in done.samples.rows:
        assert (row.split == "train") == any(mark in row.key for mark in train)
        assert row.group == f"P{row.key[9:12]}", "a performer is never divided between folds"
    assert counts(done.samples) == {"train": 8, "val": 0, "test": 8}
    assert done.samples.classes == ("drink water", "eat meal")


def test_the_published_performers_are_counted():
    assert len([one for one in data_set.TRAIN_PERFORMERS if one <= 40]) == 20
    assert len(data_set.TRAIN_PERFORMERS) == 53
    assert len(ACTIONS) == len(set(ACTIONS)) == 120


@pytest.mark.parametrize(("benchmark", "actions"), [("xview", 120), ("xset", 60)])
def test_a_benchmark_of_the_other_set_is_refused(tmp_path, benchmark, actions):
    with pytest.raises(ParamsError, match=r"data\.benchmark"):
        prepared("ntu", tmp_path, path=str(tmp_path), benchmark=benchmark, actions=actions)


def test_other_counts_are_not_the_published_set(tmp_path):
    root = ntu_folder(tmp_path / "set", names())
    message = refused("ntu", tmp_path / "data", path=str(root))
    assert "expected 40,091 train and 16,487 test clips for xsub, found 4 and 4" in message
    assert "data.skip names no list" in message


def test_actions_beyond_the_set_and_other_names_are_passed_over(tmp_path):
    root = ntu_folder(tmp_path / "set", [*names(), "S018C001P045R001A061", "odd"])
    account = prepared("ntu", tmp_path / "data", path=str(root), official=False).account
    assert account.passed_over == {
        "not named S001C001P001R001A001": ["odd.skeleton"],
        "of actions beyond 60": ["S018C001P045R001A061.skeleton"],
    }


def test_a_skip_list_that_names_something_else_is_refused(tmp_path):
    root = ntu_folder(tmp_path / "set", names())
    (tmp_path / "list").write_text("S001C001P001R001A001.skeleton\n# a remark\nreading\n")
    message = refused("ntu", tmp_path / "data", path=str(root), official=False, skip=str(tmp_path / "list"))
    assert "name no clip of NTU RGB+D:\n    reading\n" in message


def test_line_ends_make_no_difference():
    assert np.array_equal(
        parse(ntu(1, ends="\r\n").encode()).joints, parse(ntu(1, ends="\n").encode()).joints
    )


def test_bodies_that_move_most_are_kept_and_come_first():
    text = ntu(3, frames=5, bodies=3)
    still = parse(text.encode(), bodies=1).joints
    both = parse(text.encode(), bodies=2).joints
    assert still.shape[1] == 1 and both.shape[1] == 2
    assert np.array_equal(both[:, :1], still), "body 0 moves most"
    lines = text.split("\r\n")
    swapped = [lines[0]]
    for frame in range(5):  # body 2, which moves least, is listed first
        block = lines[1 + frame * 82 : 1 + (frame + 1) * 82]
        swapped += [block[0], *block[55:], *block[1:55]]
    assert np.array_equal(parse("\n".join(swapped).encode(), bodies=2).joints, both)


def test_a_body_is_followed_by_its_name_and_absent_elsewhere():
    one, two = (
        ntu(5, frames=4, bodies=1).split("\r\n")[2 + 28 * frame : 29 + 28 * frame] for frame in (0, 1)
    )
    other = ["99 0 1 1 1 1 0 0 0 2", *two[1:]]
    text = "\n".join(["4", "1", *one, "0", "2", *other, *one, "1", *two])
    clip = parse(text.encode()).joints
    assert clip.shape == (4, 2, 25, 4)
    there = clip[..., 3].any(axis=2)
    assert there.tolist() == [[True, False], [False, False], [True, True], [True, False]]
    assert np.isnan(clip[~there][..., :3]).all()


def test_a_joint_at_zero_is_not_there_and_states_are_scores():
    lines = ntu(0, frames=1).split("\r\n")
    lines[4] = "0 0 0 1 2 3 4 0 0 0 1 0"
    lines[5] = f"{lines[5][:-1]}1"
    lines[6] = f"{lines[6][:-1]}0"
    clip = parse("\n".join(lines).encode()).joints[0, 0]
    assert np.isnan(clip[0, :3]).all()
    assert clip[:4, 3].tolist() == [0, 0.5, 0.25, 1]


BAD = {
    "truncated": (ntu()[:2000], "truncated"),
    "empty": ("", "truncated: the number of frames"),
    "no frame": ("0\r\n", "no frame"),
    "nobody": ("2\r\n0\r\n0\r\n", "nobody"),
    "huge": ("1000000000000\r\n1\r\n", "truncated: 1,000,000,000,000 frames"),
    "many bodies": ("1\r\n1000000000\r\n", "truncated: 1,000,000,000 bodies"),
    "joints": (ntu().replace("\r\n25\r\n", "\r\n24\r\n"), "24 joints"),
    "more": (ntu() + "7 7", "more than its counts say"),
    "infinite": (ntu().replace(" 4.000000 ", " inf "), "not finite"),
    "nan": (ntu().replace(" 4.000000 ", " nan "), "not finite"),
    "word": (ntu().replace(" 4.000000 ", " x "), "could not convert"),
    "state": (ntu().replace(" 2\r\n", " 7\r\n"), "trackingState"),
    "negative": ("-1\r\n", "the number of frames is '-1'"),
    "twice": (
        ntu(frames=1, bodies=2).replace("72057594037944731", "72057594037944730"),
        "frame 1 has the body 72057594037944730 twice",
    ),
    "binary": (bytes(range(256)).decode("latin-1"), "no text"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_a_bad_file_is_named(tmp_path, kind):
    content, words = BAD[kind]
    root = ntu_folder(tmp_path / "set", names())
    (root / f"{names()[0]}.skeleton").write_bytes(content.encode("latin-1"))
    message = refused("ntu", tmp_path / "data", path=str(root), official=False)
    assert f"{names()[0]}.skeleton: " in message and words in message and names()[1] not in message


def test_body_names_are_told_apart_to_the_last_digit(tmp_path):
    """They have 17 digits: two of them are one number in floating point."""
    root = ntu_folder(tmp_path / "set", names())
    (root / f"{names()[0]}.skeleton").write_text(ntu(frames=3, bodies=2))
    done = prepared("ntu", tmp_path / "data", path=str(root), official=False)
    assert clip_of(done.samples, names()[0]).shape == (3, 2, 25, 4)


TEXT = ntu(frames=2)


@given(
    st.integers(0, len(TEXT)),
    st.integers(0, 40),
    st.sampled_from(["", "0", "-", " ", "\n", "1e999", "nan", "é", "25", "9" * 30, "\0", "1_0"]),
)
@settings(deadline=None, max_examples=150)
def test_a_mutated_file_is_read_or_refused_in_words(place, length, piece):
    content = (TEXT[:place] + piece + TEXT[place + length :]).encode()
    try:
        clip = sound(parse(content).joints, LAYOUT, 3)
    except ValueError as error:
        assert str(error)
    else:
        assert clip.shape[2:] == (25, 4)

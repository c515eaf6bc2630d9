"""Kinetics-skeleton: six genuine clips by their known numbers, people chosen per frame, bad files named."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.modalities.skeletons.arrays import sound
from stillroom.modalities.skeletons.datasets.kinetics_skeleton import LAYOUT, parse
from stillroom.modalities.skeletons.preparation.files import parse_json
from tests.modalities.skeletons.datasets.clips_on_disk import (
    SHARED,
    clip_of,
    counts,
    kinetics,
    kinetics_folder,
    needs,
    person,
    prepared,
    refused,
)

SAMPLE = SHARED / "kinetics_skeleton_sample"
# clip: (label, frames, most people in a frame, frames with nobody, joints with score 0 in %)
CLIPS = {
    "__NrybzYzUg": ("abseiling", 299, 2, 234, 52),
    "__U_scuxNlQ": ("clay pottery making", 299, 2, 0, 43),
    "__lt03EF4ao": ("passing American football (in game)", 249, 9, 0, 18),
    "__u6odV5hrI": ("parkour", 299, 2, 269, 69),
    "__vOysOPoCY": ("parkour", 249, 3, 82, 39),
    "__vzEs2wzdQ": ("strumming guitar", 164, 5, 1, 60),
}


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinetics")
    return prepared("kinetics_skeleton", folder, path=str(SAMPLE), official=False)


@needs("kinetics_skeleton_sample")
@pytest.mark.parametrize("key", sorted(CLIPS))
def test_genuine_clips_have_the_numbers_of_their_description(genuine, key):
    label, frames, most, nobody, missing = CLIPS[key]
    row = genuine.samples.rows[genuine.samples.row_of(key)]
    assert (genuine.samples.classes[row.label], row.split, row.size) == (label, "test", (340, 256))
    clip = clip_of(genuine.samples, key)
    assert clip.shape == (frames, min(most, 2), 18, 3)
    there = clip[..., 2] > 0
    assert (~there.any(axis=(1, 2))).sum() == nobody
    tree = json.loads((SAMPLE / "kinetics_val" / f"{key}.json").read_bytes())
    scores = np.array([one["score"] for frame in tree["data"] for one in frame["skeleton"]])
    assert round(100 * (scores == 0).mean()) == missing
    assert np.isnan(clip[~there][:, :2]).all() and not np.isnan(clip[there]).any()


@needs("kinetics_skeleton_sample")
def test_an_entry_without_a_skeleton_is_passed_over_and_absent_labels_are_no_classes(genuine):
    assert counts(genuine.samples) == {"train": 0, "val": 0, "test": 6}
    assert genuine.account.passed_over == {
        "without a skeleton (has_skeleton is false)": ["kinetics_val/-3l8q12D7lA.json"]
    }
    order = ["abseiling", "clay pottery making", "parkour", "passing American football (in game)"]
    assert list(genuine.samples.classes) == [*order, "strumming guitar"], (
        "in the order of the published labels"
    )


@needs("kinetics_skeleton_sample")
def test_a_part_is_not_the_published_set(tmp_path):
    message = refused("kinetics_skeleton", tmp_path / "data", path=str(SAMPLE))
    assert "has kinetics_val" in message and "data.official to false" in message


def test_other_counts_are_not_the_published_set(tmp_path):
    root = kinetics_folder(tmp_path / "set")
    message = refused("kinetics_skeleton", tmp_path / "data", path=str(root))
    assert "expected 240,436 train clips, found 4" in message and "expected 400 labels, found 2" in message


def test_both_parts_are_read_and_val_is_the_test_split(tmp_path):
    root = kinetics_folder(tmp_path / "set")
    (root / "kinetics_val" / "more.json").write_text("{}")
    done = prepared("kinetics_skeleton", tmp_path / "data", path=str(root), official=False)
    assert counts(done.samples) == {"train": 4, "val": 0, "test": 4}
    assert done.samples.classes == ("abseiling", "archery")
    assert done.account.passed_over == {"not in kinetics_val_label.json": ["kinetics_val/more.json"]}


def test_the_surest_of_the_first_five_people_are_kept_in_their_order():
    people = [person(number, score) for number, score in enumerate((0.2, 0.9, 0.1, 0.4, 0.3, 1.0))]
    clip = parse({"data": [{"frame_index": 1, "skeleton": people}]}, bodies=2).joints
    assert clip[0, :, 0, 2].tolist() == pytest.approx([0.9, 0.4]), "the sixth is not looked at"
    pose = np.array(people[1]["pose"]).reshape(18, 2) * (340, 256)
    assert clip[0, 0, :, :2] == pytest.approx(pose)


def test_a_frame_lies_at_its_index():
    later = {"data": [{"frame_index": index, "skeleton": [person(index)]} for index in (3, 305)]}
    clip = parse(later).joints
    assert clip.shape[0] == 305, "beyond the 300 frames of the published reader"
    assert np.flatnonzero(clip[..., 2].any(axis=(1, 2))).tolist() == [2, 304]
    zero = {"data": [{"frame_index": index, "skeleton": [person(index)]} for index in (0, 1)]}
    assert parse(zero).joints.shape[0] == 2


def changed(**fields: object) -> dict:
    clip = kinetics()
    clip["data"][1] |= fields
    return clip


def with_person(**fields: object) -> dict:
    return changed(skeleton=[person() | fields])


BAD = {
    "truncated": ('{"data": [{"frame_index": 1, "skel', "perhaps truncated"),
    "empty": ("", "no sound JSON"),
    "nested": ("[" * 100_000, "lists in lists without end"),
    "list": ("[]", "expected"),
    "no frame": ('{"data": []}', "no frame"),
    "nobody": ('{"data": [{"frame_index": 1, "skeleton": []}]}', "nobody"),
    "missing": (with_person(score=[0] * 18) | {"data": with_person(score=[0] * 18)["data"][1:2]}, "nobody"),
    "twice": (changed(frame_index=1), "frame_index 1 is there twice"),
    "huge": (changed(frame_index=10**12), "expected frame_index"),
    "word": (changed(frame_index="1"), "expected frame_index"),
    "person": (changed(skeleton=[[]]), "without pose or score"),
    "joints": (with_person(pose=[0.5] * 34, score=[1] * 17), "34 coordinates and 17 scores"),
    "text": (with_person(score=["a"] * 18), "no number"),
    "infinite": (with_person(score=[float("inf")] * 18), "not finite"),
    "nan": (with_person(pose=[float("nan")] * 36), "not finite"),
    "overflow": (with_person(score=[10**400] * 18), "too large"),
    "negative": (with_person(score=[-1] * 18), "score is below 0"),
    "label": (kinetics(label="archery"), "its label is 'archery', and 'abseiling'"),
    "bytes": ("\xff\xfe", "no text in UTF-8"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_a_bad_file_is_named(tmp_path, kind):
    content, words = BAD[kind]
    root = kinetics_folder(tmp_path / "set")
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "kinetics_train" / "-train_0_0.json").write_bytes(text.encode("latin-1"))
    message = refused("kinetics_skeleton", tmp_path / "data", path=str(root), official=False)
    assert "kinetics_train/-train_0_0.json: " in message and words in message and "_0_1" not in message


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("kinetics_val_label.json", '{"a": ', "cannot be read"),
        ("kinetics_val_label.json", "[]", "cannot be read"),
        ("kinetics_val_label.json", '{"a": {}}', "expected has_skeleton"),
        ("kinetics_val_label.json", '{"../a": {"label": "x", "label_index": 1}}', "expected has_skeleton"),
        (
            "kinetics_val_label.json",
            '{"a": {"label": "x", "label_index": 1}}',
            "kinetics_val/a.json is not there",
        ),
        ("kinetics_val_label.json", '{"a": {"label": "x", "label_index": 0}}', "'abseiling' elsewhere"),
        ("label_name.txt", "abseiling\narchery\n", "does not fit"),
    ],
    ids=["truncated", "list", "entry", "leaves", "absent", "name", "names"],
)
def test_a_bad_label_file_is_named(tmp_path, file, content, words):
    root = kinetics_folder(tmp_path / "set")
    (root / file).write_text(content)
    message = refused("kinetics_skeleton", tmp_path / "data", path=str(root), official=False)
    assert file in message and words in message


TEXT = json.dumps(kinetics(frames=2))


@given(
    st.integers(0, len(TEXT)),
    st.integers(0, 60),
    st.sampled_from(["", "null", "[", "]", "{}", ",", "1e999", "NaN", "true", '"', "-1", "9" * 400]),
)
@settings(deadline=None, max_examples=200)
def test_a_mutated_file_is_read_or_refused_in_words(place, length, piece):
    try:
        tree = parse_json((TEXT[:place] + piece + TEXT[place + length :]).encode())
        clip = sound(parse(tree).joints, LAYOUT, 2)
    except ValueError as error:
        assert str(error)
    else:
        assert clip.shape[2:] == (18, 3)

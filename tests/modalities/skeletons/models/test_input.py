"""What a network is shown: streams, and what stands for joints that are missing."""

from typing import Any

import numpy as np
import pytest
import torch

from stillroom.modalities.skeletons.layouts import LAYOUTS, Layout
from stillroom.modalities.skeletons.models.graph import hops
from stillroom.modalities.skeletons.models.input import Input, channels
from tests.modalities.skeletons.models.specs import clips, spec

STREAMS = ("joint", "bone", "motion", "bone_motion")


def prepared(raw: torch.Tensor, **changed: Any) -> torch.Tensor:
    about = spec(**changed)
    return Input.of(about, LAYOUTS[about["layout"]])(raw)


def lossy(persons: int = 2, share: float = 0.6) -> torch.Tensor:
    """Clips whose joints are lost at random, one of whose persons is absent, another in one frame."""
    raw = clips(4, persons=persons, frames=6)
    lost = torch.rand(raw.shape[:-1], generator=torch.Generator().manual_seed(2)) < share
    lost[1, -1] = True
    lost[2, 0, 3] = True
    raw[lost] = 0
    return raw


def slowly(raw: np.ndarray, layout: Layout, stream: str, score: bool, fill: str) -> np.ndarray:
    """One clip, joint by joint."""
    persons, frames, joints = raw.shape[:3]
    far, parents = hops(layout), layout.parents()
    filled = np.zeros_like(raw[..., :-1])
    for person in range(persons):
        for frame in range(frames):
            there = [joint for joint in range(joints) if raw[person, frame, joint, -1] > 0]
            for joint in range(joints):
                near = sorted((far[joint, one], one) for one in there if far[joint, one] < joints)
                if joint in there:
                    filled[person, frame, joint] = raw[person, frame, joint, :-1]
                elif fill == "neighbour" and near:
                    filled[person, frame, joint] = raw[person, frame, near[0][1], :-1]
    seen = (raw[..., -1] > 0).any(axis=2)
    bone = filled - filled[:, :, parents]
    motion = np.zeros_like(filled)
    for person in range(persons):
        for frame in range(frames - 1):
            if seen[person, frame] and seen[person, frame + 1]:
                motion[person, frame] = filled[person, frame + 1] - filled[person, frame]
    parts = {"joint": [filled], "bone": [bone], "motion": [motion], "bone_motion": [bone, motion]}[stream]
    return np.concatenate([*parts, raw[..., -1:]] if score else parts, axis=-1)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("score", [False, True], ids=["alone", "score"])
@pytest.mark.parametrize("fill", ["neighbour", "centre"])
def test_inputs_are_those_of_a_loop(stream: str, score: bool, fill: str) -> None:
    raw = lossy()
    found = prepared(raw, stream=stream, score=score, fill=fill)
    assert found.dtype == torch.float32 and found.shape[-1] == channels(spec(stream=stream, score=score))
    for clip, one in zip(raw.numpy(), found.numpy(), strict=True):
        assert np.array_equal(one, slowly(clip, LAYOUTS["penn13"], stream, score, fill))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("score", [False, True], ids=["alone", "score"])
@pytest.mark.parametrize("fill", ["neighbour", "centre"])
def test_nothing_of_what_stands_for_missing_joints_is_shown(stream: str, score: bool, fill: str) -> None:
    raw = lossy()
    other = raw.clone()
    missing = raw[..., -1] == 0
    garbage = torch.tensor([float("nan"), float("inf"), -1e30])
    other[..., :-1][missing] = garbage[torch.arange(int(missing.sum())) % 3, None]
    found = prepared(raw, stream=stream, score=score, fill=fill)
    assert torch.equal(found, prepared(other, stream=stream, score=score, fill=fill))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("fill", ["neighbour", "centre"])
def test_an_absent_person_is_zero_and_others_are_not(stream: str, fill: str) -> None:
    found = prepared(lossy(), stream=stream, score=True, fill=fill)
    nonzero = (found != 0).flatten(2).any(dim=2)
    assert not nonzero[1, 1] and nonzero.sum() == nonzero.numel() - 1


def test_by_default_which_joints_are_missing_is_not_told_where_they_lie_on_their_neighbours() -> None:
    """A joint that is filled by its neighbour is, in coordinates, one that lies there."""
    raw = clips(1)
    raw[:, :, :, 0] = 0
    there = raw.clone()
    there[:, :, :, 0] = raw[:, :, :, 1]  # the head's nearest: the left shoulder
    assert torch.equal(prepared(raw), prepared(there))


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("stream", STREAMS)
def test_the_shortest_clips_have_every_stream(stream: str, frames: int) -> None:
    found = prepared(clips(2, frames=frames), stream=stream, frames=frames)
    assert found.shape == (2, 1, frames, 13, channels(spec(stream=stream))) and found.isfinite().all()

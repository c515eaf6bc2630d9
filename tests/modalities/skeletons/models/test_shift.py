"""The shifts of Shift-GCN against slow versions."""

import math

import numpy as np
import pytest
import torch

from stillroom.modalities.skeletons.models.shiftgcn import FrameShift, frame_shift, joint_shift


@pytest.mark.parametrize(("joints", "channels"), [(13, 4), (5, 12), (25, 64)], ids=["few", "many", "paper"])
def test_the_joint_shift_takes_channel_c_of_joint_i_from_joint_i_plus_c(joints: int, channels: int) -> None:
    x = torch.arange(joints * channels).reshape(joints, channels)
    shifted = x.flatten()[joint_shift(joints, channels, 1)].reshape(joints, channels)
    for joint in range(joints):
        for channel in range(channels):
            assert shifted[joint, channel] == x[(joint + channel) % joints, channel]
    assert torch.equal(shifted.flatten()[joint_shift(joints, channels, -1)], x.flatten())


def slowly(x: np.ndarray, offsets: np.ndarray, stride: int) -> np.ndarray:
    count, channels, frames, joints = x.shape

    def at(clip: int, channel: int, frame: int, joint: int) -> float:
        return float(x[clip, channel, frame, joint]) if 0 <= frame < frames else 0.0

    found = np.zeros((count, channels, math.ceil(frames / stride), joints))
    for clip, channel, frame, joint in np.ndindex(*found.shape):
        place = stride * frame + offsets[channel]
        low = math.floor(place)
        after = place - low
        found[clip, channel, frame, joint] = (1 - after) * at(clip, channel, low, joint) + after * at(
            clip, channel, low + 1, joint
        )
    return found


OFFSETS = [0.0, 0.25, -0.6, 1.0, -2.0, 3.5, -7.3, 1e6, -1e6]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 6, 7])
def test_the_frame_shift_interpolates_between_frames_and_is_zero_beyond_them(
    stride: int, frames: int
) -> None:
    x = torch.randn(2, len(OFFSETS), frames, 3, generator=torch.Generator().manual_seed(0)).double()
    offsets = torch.tensor(OFFSETS).double()
    expected = slowly(x.numpy(), offsets.numpy(), stride)
    assert np.allclose(frame_shift(x, offsets, stride).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_frame_shift_has_the_gradient_of_what_it_computes(stride: int) -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 5, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    offsets = torch.tensor([0.3, -0.7, 1.4, -2.45], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, offsets: frame_shift(x, offsets, stride), (x, offsets))


def test_fresh_offsets_differ_and_each_has_a_gradient() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        shift = FrameShift(64)
    shift(torch.randn(4, 64, 8, 5, generator=torch.Generator().manual_seed(2))).square().sum().backward()
    assert len(set(shift.offsets.tolist())) == 64 and (shift.offsets != shift.offsets.floor()).all()
    assert shift.offsets.grad is not None and (shift.offsets.grad != 0).all()


def test_offsets_that_are_no_numbers_give_none_and_no_crash() -> None:
    found = frame_shift(torch.ones(1, 2, 4, 3), torch.tensor([float("nan"), 0.0]))
    assert found[:, 0].isnan().all() and (found[:, 1] == 1).all()

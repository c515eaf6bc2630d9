"""The fourteen actions: each draws its style from the dice and returns a pose for each moment of a clip.

Hands are given from their shoulders in lengths of an arm: (forward, outwards, up). Angles are in degrees.
Actions share their ways of standing and of holding an idle arm, and amplitudes overlap, so that one limb
alone seldom tells two of them apart: walking from running, squatting from sitting down, waving from throwing.
"""

from collections.abc import Callable

import numpy as np

from stillroom.modalities.skeletons.datasets.sketch_skeletons.dice import Dice
from stillroom.modalities.skeletons.datasets.sketch_skeletons.figure import Leg, Pose

Hand = tuple[float, float, float]
WIDTH, ARM = 0.11, 0.325  # half the width of usual shoulders and the length of a usual arm, in heights
# what an arm does that has nothing to do: it hangs, rests on the hip, on the thigh, before the body or on the
# chest
IDLE: tuple[Hand, ...] = (
    (0.05, 0.12, -0.97),
    (0.12, 0.15, -0.93),
    (0.00, 0.25, -0.90),
    (0.02, 0.38, -0.58),
    (0.30, 0.05, -0.80),
    (0.40, -0.10, -0.50),
    (0.35, -0.30, -0.20),
)


# Time: [T] from 0 to 1 -> phase


def once(dice: Dice, time: np.ndarray) -> np.ndarray:
    """From 0 to 1, with a rest before; now and then the clip ends before the action does."""
    begin, end, pace = dice.between(0.0, 0.22), dice.between(0.75, 1.08), dice.between(0.8, 1.25)
    return np.asarray(np.clip((time - begin) / (end - begin), 0.0, 1.0) ** pace)


def repeated(dice: Dice, time: np.ndarray, most: int) -> np.ndarray:
    """`once`, cut into one to `most` runs from 0 to 1."""
    whole = once(dice, time) * dice.pick(range(1, most + 1))
    return np.asarray(np.where(whole == np.round(whole), np.sign(whole), whole % 1.0))


def cycles(dice: Dice, time: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low` to `high` cycles from anywhere within one, their pace not quite even."""
    start, count, uneven, at = dice.unit(), dice.between(low, high), dice.near(0, 0.3), dice.unit()
    return np.asarray(start + count * (time + uneven * np.sin(2 * np.pi * (time + at)) / (2 * np.pi)))


# Phase -> a value in each frame


def beat(phase: np.ndarray, middle: float, spread: float, shift: float = 0.0) -> np.ndarray:
    """A sine around `middle`, [T]; `shift` in cycles."""
    return np.asarray(middle + spread * np.sin(2 * np.pi * (phase + shift)))


def through(phase: np.ndarray, *keys: tuple[float, float | Hand]) -> np.ndarray:
    """From key to key, slow at each: [T], or [T, 3] between places; constant before and after."""
    at = np.array([key[0] for key in keys])
    values = np.array([key[1] for key in keys], dtype=float)
    last = np.clip(np.searchsorted(at, phase, side="right") - 1, 0, len(at) - 2)
    share = np.clip((phase - at[last]) / (at[last + 1] - at[last]), 0.0, 1.0)
    share = share * share * (3 - 2 * share)
    if values.ndim == 2:
        share = share[:, None]
    return np.asarray(values[last] * (1 - share) + values[last + 1] * share)


def moved(dice: Dice, hand: Hand, spread: float = 0.1) -> Hand:
    """A place near another."""
    return dice.near(hand[0], spread), dice.near(hand[1], spread), dice.near(hand[2], spread)


def idle_hand(dice: Dice) -> Hand:
    """Where a hand is that has nothing to do."""
    return moved(dice, dice.pick(IDLE), 0.07)


def standing(dice: Dice, time: np.ndarray) -> Pose:
    """A figure that stands, sways a little, and whose arms are idle."""

    def sway(spread: float) -> np.ndarray:
        return beat(time * dice.near(1, 0.6), dice.near(0, 0.6 * spread), dice.near(0, spread), dice.unit())

    stride, spread, bent = dice.near(0, 10), dice.between(2, 11), dice.between(2, 14)
    legs = [
        Leg(sway(2) + side * stride + bent / 2, np.full_like(time, spread), sway(2) + bent)
        for side in (1, -1)
    ]
    hands = [np.array(idle_hand(dice)) + np.stack([sway(0.07) for _ in range(3)], axis=-1) for _ in range(2)]
    zero = np.zeros_like(time)
    return Pose(hands, legs, sway(4) + 2, sway(4), sway(7), sway(8), zero, zero, "feet")


def bend(pose: Pose, knee: np.ndarray, share: float) -> None:
    """Bend both knees by [T] more, and the hips by `share` of it."""
    for leg in pose.legs:
        leg.knee = leg.knee + knee
        leg.hip = leg.hip + share * knee


def joined(pose: Pose, middle: np.ndarray, apart: float = 0.03) -> None:
    """Put both hands side by side, in lengths of an arm.

    Args:
        middle: [T, 3], forward, to the left and up from the middle of the shoulders.
        apart: half of what is between the hands, in heights of a body.
    """
    for number, side in enumerate((1.0, -1.0)):
        out = side * middle[:, 1] - (WIDTH - apart) / ARM
        pose.hands[number] = np.stack([middle[:, 0], out, middle[:, 2]], axis=-1)


# The actions


def gait(dice: Dice, time: np.ndarray, phase: np.ndarray, stride: float, swing: float, arms: float) -> Pose:
    """Legs that go forward in turn, and arms that swing against them."""
    pose = standing(dice, time)
    pose.anchor = "hips"
    stance, low = dice.between(3, 12), dice.between(2, 5)
    height, reach = dice.near(0, 0.08), dice.between(0.85, 1.0) - arms / 200
    for number, shift in enumerate((0.0, 0.5)):
        hip = beat(phase, stride / 5, stride, shift)
        # a foot is lifted while its leg swings forward
        forward = np.maximum(np.cos(2 * np.pi * (phase + shift + 0.06)), 0.0)
        pose.legs[number] = Leg(hip, np.full_like(time, low), stance + swing * forward**1.3)
        angle = np.radians(beat(phase, 0.35 * arms, arms, shift + 0.5))
        pose.hands[number] = reach * np.stack(
            [np.sin(angle), np.full_like(angle, 0.1 + height), -np.cos(angle)], axis=-1
        )
    if dice.chance(0.15):  # one hand in a pocket, or with a phone in it
        pose.hands[dice.pick((0, 1))] = np.tile(moved(dice, IDLE[3]), (len(time), 1))
    pose.twist = pose.twist + beat(phase, 0, dice.between(2, 10), 0.5)
    return pose


def walk(dice: Dice, time: np.ndarray) -> Pose:
    """A gait with a foot on the floor at all times."""
    phase = cycles(dice, time, 1.2, 3.4)
    pose = gait(dice, time, phase, dice.between(17, 32), dice.between(28, 56), dice.between(12, 42))
    pose.lean = pose.lean + dice.between(0, 9)
    pose.lift = np.abs(beat(phase, 0, 0.012))
    pose.travel = time * dice.between(0, 1.6)
    return pose


def run(dice: Dice, time: np.ndarray) -> Pose:
    """A gait with longer steps, elbows bent and a moment in the air."""
    phase = cycles(dice, time, 1.8, 4.2)
    pose = gait(dice, time, phase, dice.between(25, 48), dice.between(52, 100), dice.between(26, 58))
    pose.lean = pose.lean + dice.between(3, 17)
    pose.lift = np.abs(beat(phase, 0, dice.between(0.02, 0.07), 0.1))
    pose.travel = time * dice.between(0, 2.2)
    return pose


def jump(dice: Dice, time: np.ndarray) -> Pose:
    """Crouch, swing the arms up, leave the floor, land."""
    phase = repeated(dice, time, 3)
    pose = standing(dice, time)
    deep, high, out = dice.between(35, 85), dice.between(0.07, 0.26), dice.between(0.05, 0.7)
    bend(pose, through(phase, (0, 0), (0.25, deep), (0.42, 4), (0.66, 8), (0.78, 0.7 * deep), (1, 0)), 0.65)
    pose.lean = pose.lean + through(phase, (0, 0), (0.25, 0.45 * deep), (0.45, 0), (0.78, 0.3 * deep), (1, 0))
    flight = np.clip((phase - 0.40) / 0.30, 0, 1)
    pose.lift = 4 * high * flight * (1 - flight)
    pose.travel = dice.between(0, 0.5) * through(phase, (0.38, 0), (0.72, 1)) * dice.pick((0, 0, 1))
    spread = through(flight, (0, 0), (0.5, dice.between(0, 16)), (1, 0))
    top = dice.between(0.1, 1.0)
    for number in range(2):
        pose.legs[number].spread = pose.legs[number].spread + spread
        back: Hand = (-0.45, 0.1, -0.8)
        pose.hands[number] = through(
            phase,
            (0, IDLE[0]),
            (0.22, moved(dice, back)),
            (0.36, (0.75, 0.5 * out, -0.2)),
            (0.5, (0.35, out, top)),
            (0.75, (0.5, 0.5 * out, -0.6)),
            (1, IDLE[0]),
        )
    return pose


def jumping_jack(dice: Dice, time: np.ndarray) -> Pose:
    """Arms up and legs apart, and back, with a hop each time."""
    phase = cycles(dice, time, 1.2, 3.2)
    pose = standing(dice, time)
    top, low, wide = dice.between(95, 172), dice.between(6, 28), dice.between(9, 30)
    share = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    late = 0.5 - 0.5 * np.cos(2 * np.pi * (phase + dice.near(0, 0.06)))
    ahead, reach = dice.between(0.0, 0.5), dice.between(0.8, 1.0)
    angle = np.radians(low + (top - low) * share)
    for number in range(2):
        hand = np.stack([ahead * np.sin(angle), np.sin(angle), -np.cos(angle)], axis=-1)
        pose.hands[number] = reach * hand / np.linalg.norm(hand, axis=1, keepdims=True)
        pose.legs[number].spread = 3 + wide * late
    pose.lift = dice.between(0.02, 0.13) * np.sin(2 * np.pi * phase) ** 2
    bend(pose, dice.between(8, 40) * np.cos(2 * np.pi * phase) ** 2, 0.5)
    return pose


def squat(dice: Dice, time: np.ndarray) -> Pose:
    """Down on bent knees and up, again and again."""
    phase = cycles(dice, time, 0.9, 2.4)
    pose = standing(dice, time)
    depth = dice.between(65, 120)
    down = 0.5 - 0.5 * np.cos(2 * np.pi * phase)
    bend(pose, depth * down, dice.between(0.7, 0.95))
    pose.lean = pose.lean + dice.between(12, 42) * down
    wide = dice.between(5, 20)
    style = dice.pick(("forward", "forward", "head", "idle", "chest"))
    front = moved(dice, (0.95, 0.05, 0.1))
    for number in range(2):
        pose.legs[number].spread = np.full_like(time, wide)
        if style == "forward":
            pose.hands[number] = through(
                down, (0.0, moved(dice, IDLE[0], 0.05)), (dice.between(0.6, 1), front)
            )
        elif style != "idle":
            place: Hand = (0.1, 0.25, 0.4) if style == "head" else (0.35, -0.1, -0.1)
            pose.hands[number] = np.tile(moved(dice, place, 0.05), (len(time), 1))
    return pose


def sit_down(dice: Dice, time: np.ndarray) -> Pose:
    """Down onto a seat and there, or also up again."""
    phase = once(dice, time)
    again = dice.chance(0.3)
    down = (
        through(phase, (0, 0), (0.38, 1), (0.65, 1), (1, 0))
        if again
        else through(phase, (0.05, 0), (0.75, 1))
    )
    moving = 4 * down * (1 - down)
    pose = standing(dice, time)
    bend(pose, dice.between(70, 100) * down, dice.between(0.82, 1.02))
    pose.lean = pose.lean + dice.between(10, 36) * moving + dice.near(6, 14) * down
    for number in range(2):
        if dice.chance(0.75):
            rest = moved(dice, dice.pick(((0.6, 0.0, -0.55), (0.15, 0.25, -0.8), (0.45, -0.15, -0.45))), 0.1)
            pose.hands[number] = through(down, (0, moved(dice, IDLE[0], 0.06)), (1, rest))
        reach = dice.between(0.0, 0.5)
        pose.hands[number] = pose.hands[number] + moving[:, None] * np.array([reach, 0.05, 0.5 * reach])
    return pose


def wave(dice: Dice, time: np.ndarray) -> Pose:
    """One raised hand that goes to and fro."""
    pose = standing(dice, time)
    phase = cycles(dice, time, 1.5, 5)
    raised = through(time, (dice.near(-0.1, 0.15), 0), (dice.between(0.15, 0.35), 1))
    if dice.chance(0.4):
        raised = raised * through(time, (dice.between(0.65, 0.85), 1), (dice.between(0.92, 1.1), 0))
    place = np.array(moved(dice, (0.35, 0.4, 0.5), 0.25))
    wide, forth = dice.between(0.13, 0.38), dice.between(0, 0.2)
    swing = np.stack(
        [forth * beat(phase, 0, 1), wide * beat(phase, 0, 1), beat(phase, 0, 0.06, 0.25)], axis=-1
    )
    number = dice.pick((0, 1))
    rest = np.array(idle_hand(dice))
    pose.hands[number] = rest + raised[:, None] * (place + swing - rest)
    pose.side = pose.side + (2 * number - 1) * -dice.near(2, 5) * raised
    return pose


def clap(dice: Dice, time: np.ndarray) -> Pose:
    """Hands that meet in front again and again."""
    pose = standing(dice, time)
    phase = cycles(dice, time, 2, 5.5)
    middle = np.array(moved(dice, (0.6, 0.0, -0.1), 0.1)) + np.array([0, 0, dice.between(-0.2, 0.5)])
    wide = dice.between(0.03, 0.11) * np.sin(np.pi * phase) ** 2
    raised = through(time, (dice.near(-0.2, 0.2), 0), (dice.between(0.1, 0.3), 1))
    before = [np.array(moved(dice, IDLE[0])), np.array(moved(dice, IDLE[0]))]
    joined(pose, np.tile(middle, (len(time), 1)), apart=0.012)
    for number in range(2):
        pose.hands[number][:, 1] += wide / ARM
        pose.hands[number] = before[number] + raised[:, None] * (pose.hands[number] - before[number])
    return pose


def throw(dice: Dice, time: np.ndarray) -> Pose:
    """One hand goes back behind the head, then forward and down, with a step."""
    phase = repeated(dice, time, 2)
    pose = standing(dice, time)
    number = dice.pick((0, 1))
    back = moved(dice, dice.pick(((-0.45, 0.45, 0.45), (-0.3, 0.35, 0.7), (-0.5, 0.7, 0.1))), 0.12)
    front = moved(dice, (0.85, 0.1, 0.35), 0.15)
    release = dice.between(0.5, 0.62)
    pose.hands[number] = through(
        phase,
        (0, idle_hand(dice)),
        (release - 0.2, back),
        (release, front),
        (release + 0.14, moved(dice, (0.55, -0.35, -0.55), 0.15)),
        (1, idle_hand(dice)),
    )
    if dice.chance(0.6):  # the other arm points where it goes
        pose.hands[1 - number] = through(
            phase, (0, IDLE[0]), (release - 0.2, moved(dice, (0.7, 0.3, 0.1), 0.2)), (release + 0.1, IDLE[0])
        )
    toward = 1 if number == 1 else -1  # to its left turns the right shoulder forward
    turn = dice.between(10, 38)
    pose.twist = pose.twist + toward * through(
        phase, (0, 0), (release - 0.2, -turn), (release + 0.1, turn), (1, 0)
    )
    pose.lean = pose.lean + through(
        phase, (0, 0), (release - 0.2, -9), (release + 0.12, dice.between(5, 26)), (1, 0)
    )
    step(pose, dice, 1 - number, through(phase, (release - 0.25, 0), (release, 1), (0.9, 1), (1.0, 0.5)))
    return pose


def step(pose: Pose, dice: Dice, number: int, share: np.ndarray) -> None:
    """One leg goes forward and the other is left behind."""
    wide = dice.between(0, 22)
    pose.legs[number].hip = pose.legs[number].hip + wide * share
    pose.legs[number].knee = pose.legs[number].knee + 0.4 * wide * share
    pose.legs[1 - number].hip = pose.legs[1 - number].hip - 0.8 * wide * share


def punch(dice: Dice, time: np.ndarray) -> Pose:
    """A fist that goes from the chin straight forward and back, the other one on guard."""
    phase = repeated(dice, time, 3)
    pose = standing(dice, time)
    number = dice.pick((0, 1))
    guard = moved(dice, dice.pick(((0.35, -0.05, 0.1), (0.35, -0.05, -0.1), (0.2, 0.05, -0.45))), 0.1)
    out = moved(dice, (0.97, -0.15, 0.1), 0.15)
    wide = dice.between(0.1, 0.26)
    hit = through(phase, (0.5 - wide - 0.05, 0), (0.5, 1), (0.5 + wide + 0.1, 0))
    guard_place = np.array(guard)
    # a windup makes a fist's way like a throw's
    pull = dice.between(0, 0.45) * through(phase, (0.1, 0), (0.45 - wide, 1), (0.5, 0))
    drawn_back = np.array([-0.8, 0.4, 0.2])
    pose.hands[number] = (
        guard_place + hit[:, None] * (np.array(out) - guard_place) + pull[:, None] * drawn_back
    )
    if dice.chance(0.7):
        sway = np.stack([beat(time * 2, 0, 0.05, dice.unit()) for _ in range(3)], axis=-1)
        pose.hands[1 - number] = np.array(moved(dice, guard, 0.08)) + sway
    toward = 1 if number == 1 else -1
    pose.twist = pose.twist + toward * dice.between(8, 34) * (hit - 0.4)
    pose.lean = pose.lean + dice.between(0, 16) * hit
    step(pose, dice, 1 - number, 0.4 + 0.6 * hit)
    bend(pose, dice.between(0, 22) * np.ones_like(time), 0.6)
    return pose


def kick(dice: Dice, time: np.ndarray) -> Pose:
    """One leg swings back, then forward and up."""
    phase = repeated(dice, time, 2)
    pose = standing(dice, time)
    number = dice.pick((0, 1))
    pose.anchor = "right" if number == 0 else "left"
    high, back, hit = dice.between(28, 95), dice.between(5, 38), dice.between(0.48, 0.6)
    leg, other = pose.legs[number], pose.legs[1 - number]
    leg.hip = leg.hip + through(phase, (0, 0), (hit - 0.22, -back), (hit, high), (0.95, 0))
    leg.knee = leg.knee + through(
        phase, (0, 0), (hit - 0.16, dice.between(40, 95)), (hit, 2), (0.8, 20), (1, 0)
    )
    leg.spread = leg.spread + through(phase, (hit - 0.2, 0), (hit, dice.near(0, 14)), (0.9, 0))
    other.hip = other.hip * 0.5
    other.knee = other.knee + through(phase, (0, 0), (hit - 0.2, dice.between(5, 25)), (hit, 8), (1, 0))
    pose.lean = pose.lean + through(phase, (0, 0), (hit - 0.22, 6), (hit, -dice.between(0, 24)), (0.95, 0))
    toward = 1 if number == 1 else -1
    turn = dice.between(0, 22)
    pose.twist = pose.twist + toward * through(phase, (0, 0), (hit - 0.2, turn), (hit, -turn), (0.95, 0))
    if dice.chance(0.7):  # arms out, for balance
        ways: tuple[Hand, Hand] = ((0.1, 0.7, -0.35), (0.4, 0.5, -0.45))
        for one in range(2):
            out = moved(dice, ways[int(one == number)], 0.2)
            pose.hands[one] = through(
                phase, (0, idle_hand(dice)), (hit - 0.1, out), (1, moved(dice, IDLE[0]))
            )
    return pose


def bow(dice: Dice, time: np.ndarray) -> Pose:
    """The trunk goes down, rests there, comes up."""
    phase = once(dice, time)
    pose = standing(dice, time)
    start, back = dice.between(0.3, 0.45), dice.between(0.55, 0.75)
    down = through(phase, (0, 0), (start, 1), (back, 1), (1, 0))
    depth = dice.between(35, 92)
    pose.lean = pose.lean + depth * down
    pose.nod = pose.nod + dice.between(5, 30) * down
    hanging = dice.between(0, 1)  # 0: the arms stay by the body; 1: they hang down
    angle = np.radians(hanging * depth * down)
    style = dice.pick(("hang", "hang", "hang", "idle", "front"))
    ahead = dice.between(0.1, 0.5)
    for number in range(2):
        if style == "hang":
            pose.hands[number] = np.stack(
                [0.05 + 0.93 * np.sin(angle), np.full_like(angle, 0.1), -0.95 * np.cos(angle)], axis=-1
            )
        elif style == "front":
            target = (ahead + 0.2, -0.1, -0.55)
            pose.hands[number] = through(down, (0, moved(dice, IDLE[0], 0.06)), (1, moved(dice, target)))
    bend(pose, dice.between(0, 26) * down, 0.3)
    return pose


def lift(dice: Dice, time: np.ndarray) -> Pose:
    """Both hands go down to the floor for something, and come up with it."""
    phase = once(dice, time)
    pose = standing(dice, time)
    grasp, gone = dice.between(0.32, 0.48), dice.between(0.8, 1.0)
    down = through(phase, (0, 0), (grasp, 1), (grasp + 0.06, 1), (gone, 0))
    knees = dice.between(12, 105)
    bend(pose, knees * down, 0.75)
    depth = dice.between(38, 68) + 0.25 * (105 - knees)
    pose.lean = pose.lean + depth * down
    angle = np.radians(0.75 * depth)
    low: Hand = (float(0.97 * np.sin(angle)), 0.0, float(-0.97 * np.cos(angle)))
    end = dice.pick(((0.55, 0.0, -0.35), (0.45, 0.0, -0.6), (0.45, 0.0, 0.1), (0.2, 0.0, 1.0)))
    middle = through(
        phase, (0, (0.25, 0, -0.9)), (grasp, low), (grasp + 0.06, low), (gone, moved(dice, end, 0.08))
    )
    before = [np.array(idle_hand(dice)) for _ in range(2)]
    joined(pose, middle, apart=dice.between(0.03, 0.12))
    share = through(phase, (0, 0), (0.7 * grasp, 1))[:, None]
    for number in range(2):
        pose.hands[number] = before[number] + share * (pose.hands[number] - before[number])
    return pose


def swing_bat(dice: Dice, time: np.ndarray) -> Pose:
    """Both hands together go from beside one shoulder across the body to the other side."""
    phase = repeated(dice, time, 2)
    pose = standing(dice, time)
    way = dice.pick((1, -1))  # 1: from its right to its left
    hit, turn = dice.between(0.45, 0.6), dice.between(18, 52)
    high, end = dice.near(0.1, 0.25), dice.near(0.15, 0.4)
    start: Hand = (0.3, -way * dice.between(0.35, 0.65), high)
    stop: Hand = (0.3, way * dice.between(0.4, 0.68), end)
    middle = through(
        phase,
        (0, (0.5, 0.0, dice.near(-0.4, 0.2))),
        (hit - 0.2, start),
        (hit, (0.85, 0.05 * way, dice.near(-0.25, 0.2))),
        (hit + 0.18, stop),
        (1.0, (0.5, 0.0, -0.45)),
    )
    joined(pose, middle)
    pose.twist = pose.twist + way * through(phase, (0, 0), (hit - 0.2, -turn), (hit + 0.15, turn), (1, 0))
    pose.lean = pose.lean + dice.between(2, 16)
    step(pose, dice, 0 if way > 0 else 1, through(phase, (hit - 0.25, 0), (hit, 1)))
    bend(pose, dice.between(4, 28) * np.ones_like(time), 0.6)
    return pose


ACTIONS: dict[str, Callable[[Dice, np.ndarray], Pose]] = {
    action.__name__: action
    for action in (
        bow,
        clap,
        jump,
        jumping_jack,
        kick,
        lift,
        punch,
        run,
        sit_down,
        squat,
        swing_bat,
        throw,
        walk,
        wave,
    )
}

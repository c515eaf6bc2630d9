"""NTU RGB+D, 60 and 120 actions: Kinect's skeletons of 25 joints in metres, one or two people.

Shahroudy, Liu, Ng, Wang: NTU RGB+D: A Large Scale Dataset for 3D Human Activity Analysis, CVPR 2016; Liu,
Shahroudy, Perez, Wang, Duan, Kot: NTU RGB+D 120, TPAMI 2019; https://rose1.ntu.edu.sg/dataset/actionRecognition

`data.path` holds the `.skeleton` files, in folders or not; `data.skip` names the published list of clips
whose skeletons are missing or bad.
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from stillroom.errors import DataError, ParamsError, listing
from stillroom.files import read_small
from stillroom.modalities.entries import skip_list
from stillroom.modalities.skeletons import settings
from stillroom.modalities.skeletons.arrays import empty
from stillroom.modalities.skeletons.layouts import LAYOUTS
from stillroom.modalities.skeletons.preparation.clips import Account, Clips, Content, Entry
from stillroom.modalities.skeletons.preparation.files import found_files, path_of
from stillroom.progress import Progress

LAYOUT = LAYOUTS["ntu25"]
DIMS = 3
TAKES = ("skip",)  # of data's keys
NAME = re.compile(
    r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})"
)  # setup, camera, performer, replication, action

# xsub: the performers of the training clips
TRAIN_PERFORMERS = {
    *(1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38),
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89),
    *(91, 92, 93, 94, 95, 97, 98, 100, 103),
}
TRAIN_CAMERAS = {2, 3}  # xview
# xset: even setups train
# Train and test clips of the first 60 actions, without the published list of missing skeletons
OFFICIAL = {"xsub": (40_091, 16_487), "xview": (37_646, 18_932)}

# Scores by Kinect's trackingState: not tracked (but placed somewhere), inferred, tracked
SCORES = (0.25, 0.5, 1.0)
VALUES = 12  # of a joint
MOST_BYTES = 64 * 2**20  # of a file; the largest official one has under 4 MB
MOST_BODIES = 100  # that a file may name; lost tracking and furniture make some

ACTIONS = tuple(
    one.strip()
    for one in """
    drink water | eat meal | brush teeth | brush hair | drop | pick up | throw | sit down | stand up |
    clapping | reading | writing | tear up paper | put on jacket | take off jacket | put on a shoe |
    take off a shoe | put on glasses | take off glasses | put on a hat/cap | take off a hat/cap |
    cheer up | hand waving | kicking something | reach into pocket | hopping | jump up | phone call |
    play with phone/tablet | type on a keyboard | point to something | taking a selfie |
    check time (from watch) | rub two hands | nod head/bow | shake head | wipe face | salute |
    put palms together | cross hands in front | sneeze/cough | staggering | falling down | headache |
    chest pain | back pain | neck pain | nausea/vomiting | fan self | punch/slap | kicking | pushing |
    pat on back | point finger | hugging | giving object | touch pocket | shaking hands |
    walking towards | walking apart | put on headphone | take off headphone | shoot at basket |
    bounce ball | tennis bat swing | juggle table tennis ball | hush | flick hair | thumb up |
    thumb down | make OK sign | make victory sign | staple book | counting money | cutting nails |
    cutting paper | snap fingers | open bottle | sniff/smell | squat down | toss a coin | fold paper |
    ball up paper | play magic cube | apply cream on face | apply cream on hand | put on bag |
    take off bag | put object into bag | take object out of bag | open a box | move heavy objects |
    shake fist | throw up cap/hat | capitulate | cross arms | arm circles | arm swings | run on the spot
    | butt kicks | cross toe touch | side kick | yawn | stretch oneself | blow nose | hit with object |
    wield knife | knock over | grab stuff | shoot with gun | step on foot | high-five | cheers and drink
    | carry object | take a photo | follow | whisper | exchange things | support somebody | rock-paper-
    scissors
    """.split("|")
)


class Data(settings.Data):
    """`data`: NTU RGB+D."""

    # xsub: by performer; xview: by camera (60 actions); xset: by setup (120 actions)
    benchmark: Literal["xsub", "xview", "xset"] = "xsub"
    actions: Literal[60, 120] = 60
    bodies: Annotated[int, Field(ge=1, le=16)] = 2  # that are kept of a clip: those of the largest motion
    official: bool = True  # check the counts against the published ones


def load(data: Data, progress: Progress, account: Account) -> Clips:
    """The data set at `data.path`; see `datasets.load`. Where it need not be the published one, actions
    without any clip are no classes. A clip's group is its performer.

    Raises:
        ParamsError: there is no `data.path`, or the benchmark is not one of these actions.
    """
    root = path_of(data, "the folder of the .skeleton files")
    if (data.benchmark == "xview" and data.actions == 120) or (
        data.benchmark == "xset" and data.actions == 60
    ):
        raise ParamsError(
            f"data.benchmark = {data.benchmark!r} is not one of {data.actions} actions",
            fix="xsub and xview are those of 60 actions, xsub and xset of 120",
        )
    entries, others, later = [], [], []
    for file in found_files(root, (".skeleton",)):
        path = file.relative_to(root).as_posix()
        form = NAME.fullmatch(file.stem)
        if form is None:
            others.append(path)
            continue
        setup, camera, performer, _, action = map(int, form.groups())
        if not 1 <= action <= data.actions:
            later.append(path)
            continue
        train = {
            "xsub": performer in TRAIN_PERFORMERS,
            "xview": camera in TRAIN_CAMERAS,
            "xset": setup % 2 == 0,
        }[data.benchmark]
        entries.append(Entry(file.stem, path, "train" if train else "test", action - 1, f"P{performer:03d}"))
    account.pass_over("not named S001C001P001R001A001", others)
    account.pass_over(f"of actions beyond {data.actions}", later)
    entries = _without_bad(entries, Path(data.skip) if data.skip else None, account)
    present = sorted({entry.label for entry in entries})
    if data.official:
        _check_official(root, entries, data, progress)
        present = list(range(data.actions))
    return Clips(
        "ntu",
        tuple(ACTIONS[action] for action in present),
        [replace(entry, label=present.index(entry.label)) for entry in entries],
        lambda entry: parse(read_small(root / entry.path, MOST_BYTES), data.bodies),
        LAYOUT,
        DIMS,
        root,
        published=data.official,
    )


def _without_bad(entries: list[Entry], skip: Path | None, account: Account) -> list[Entry]:
    """The entries without those that a list names: by name, as the published lists do, with `.skeleton` or a
    path before it. A clip of these lists need not be there.
    """
    if skip is None:
        return entries
    lines = list(skip_list(skip).values())
    names = {line: Path(line).name.removesuffix(".skeleton") for line in lines}
    odd = [line for line, name in names.items() if not NAME.fullmatch(name)]
    if odd:
        raise DataError(
            f"{skip} has lines that name no clip of NTU RGB+D:\n{listing(odd)}",
            "a line is a name such as S001C002P005R002A008",
            "mend these lines",
        )
    bad = set(names.values())
    account.skipped += sorted(entry.path for entry in entries if entry.key in bad)
    return [entry for entry in entries if entry.key not in bad]


def _check_official(root: Path, entries: list[Entry], data: Data, progress: Progress) -> None:
    counts = Counter(entry.split for entry in entries)
    found = (counts["train"], counts["test"])
    if data.actions == 120:
        progress.note(
            f"{found[0]:,} train and {found[1]:,} test clips of 120 actions: their number is not checked"
        )
        return
    expected = OFFICIAL[data.benchmark]
    if found != expected:
        raise DataError(
            f"{root} is not the published NTU RGB+D: expected {expected[0]:,} train and {expected[1]:,} test "
            f"clips for {data.benchmark}, found {found[0]:,} and {found[1]:,}",
            "the published counts are without the clips whose skeletons are missing"
            + ("" if data.skip else ", and data.skip names no list of them"),
            "set data.skip to the published list of missing skeletons, get the files that are lacking, or "
            "set data.official: false if the data set is meant to differ",
        )


def parse(content: bytes, bodies: int = 2) -> Content:
    """What is in a `.skeleton` file: text, with any line ends.

    The number of frames; for each frame the number of bodies; for each body a line of 10 values, of which
    the first is its name, the number of joints, and for each joint a line of 12: x, y, z in metres (y
    upwards) are the first three, how it is tracked the last. A joint at exactly (0, 0, 0) was not found.

    A body is followed by its name. Of more than `bodies` those of the largest motion are kept: by the sum,
    over frames and joints, of squared distances from a joint's mean. They come in that order.

    Raises:
        ValueError: it is no such file; says why.
    """
    try:
        words = content.decode("ascii").split()
    except UnicodeDecodeError:
        raise ValueError("no text") from None
    place = 0

    def count(what: str, each: int) -> int:
        """The next word, a count of things that take at least so many words each."""
        nonlocal place
        if place >= len(words):
            raise ValueError(f"truncated: the number of {what} is lacking")
        word, place = words[place], place + 1
        if not word.isdecimal() or len(word) > 18:
            raise ValueError(f"the number of {what} is {word[:40]!r}")
        if int(word) * each > len(words) - place:
            raise ValueError(f"truncated: {int(word):,} {what}, and {len(words) - place:,} values follow")
        return int(word)

    frames = count("frames", 1)
    tracks: dict[str, list[tuple[int, int]]] = {}  # of each body: frames, and where their values begin
    for frame in range(frames):
        for _ in range(count("bodies", 11)):
            body = words[place]
            place += 10
            joints = count("joints", VALUES)
            if joints != len(LAYOUT.joints):
                raise ValueError(f"{joints} joints, and the layout {LAYOUT.name} has {len(LAYOUT.joints)}")
            track = tracks.setdefault(body, [])
            if track and track[-1][0] == frame:
                raise ValueError(f"frame {frame + 1} has the body {body[:40]} twice")
            if len(tracks) > MOST_BODIES:
                raise ValueError(f"more than {MOST_BODIES} bodies")
            track.append((frame, place))
            place += VALUES * joints
    if place < len(words):
        raise ValueError(f"{len(words) - place:,} values more than its counts say")
    if not tracks:
        raise ValueError("nobody is in it" if frames else "no frame")
    values = np.array([float(word) for word in words])
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    found = (_joints(values, np.array(track), frames) for track in tracks.values())
    return Content(np.stack(sorted(found, key=_motion, reverse=True)[:bodies], axis=1))


def _joints(values: np.ndarray, track: np.ndarray, frames: int) -> np.ndarray:
    """A body through the clip, [T, J, 4], not there in the other frames.

    Args:
        values: all of the file.
        track: int [N, 2], the body's frames, and where their values begin.
    """
    clip = empty(frames, 1, len(LAYOUT.joints), DIMS)[:, 0]
    span = np.arange(VALUES * len(LAYOUT.joints))
    told = values[track[:, 1:] + span].reshape(len(track), len(LAYOUT.joints), VALUES)
    points, states = told[..., :3], told[..., 11]
    odd = states[~np.isin(states, (0, 1, 2))]
    if len(odd):
        raise ValueError(f"a joint's trackingState is {odd[0]:g}, expected 0, 1 or 2")
    there = (points != 0).any(axis=-1)
    clip[track[:, 0], :, :3] = np.where(there[..., None], points, np.nan)
    clip[track[:, 0], :, 3] = np.where(there, np.array(SCORES)[states.astype(int)], 0)
    return clip


def _motion(body: np.ndarray) -> float:
    points = body[body[..., 3].any(axis=1), :, :3].astype(np.float64)
    if not len(points):
        return 0.0
    there = ~np.isnan(points)
    counts = np.maximum(there.sum(axis=0), 1)
    means = np.where(there, points, 0).sum(axis=0) / counts
    return float((np.where(there, points - means, 0) ** 2).sum())

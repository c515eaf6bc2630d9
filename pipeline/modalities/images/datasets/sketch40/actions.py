"""The forty actions: for each class its poses, hands, things, scenes and frames, shared between classes."""

from collections.abc import Callable
from dataclasses import dataclass

from stillroom.modalities.images.datasets.sketch40.dice import Dice
from stillroom.modalities.images.datasets.sketch40.figure import Figure
from stillroom.modalities.images.datasets.sketch40.pen import Pen, Point
from stillroom.modalities.images.datasets.sketch40.scenes import INDOORS, OUTDOORS
from stillroom.modalities.images.datasets.sketch40.things_in_hand import (
    book_and_pen,
    book_in_hands,
    bubbles,
    camera,
    cigarette,
    claps,
    cup_at_mouth,
    frisbee,
    guitar,
    phone_at_ear,
    phone_in_hands,
    pouring,
    toothbrush,
    umbrella,
    violin,
    waves,
)
from stillroom.modalities.images.datasets.sketch40.things_indoors import (
    board,
    chalk,
    chopping,
    counter,
    desk,
    laptop,
    microscope,
    sink,
    stove,
    table,
    telescope,
    television,
    worktop,
)
from stillroom.modalities.images.datasets.sketch40.things_moving import (
    bike,
    boat,
    broken_bike,
    car,
    cart,
    dog_on_lead,
    fodder,
    horse,
    hungry_horse,
    reins,
    shadow,
    speed,
    wrench,
)
from stillroom.modalities.images.datasets.sketch40.things_outdoors import (
    axe,
    bow,
    felled_tree,
    garden_tool,
    mop,
    plants,
    rocks,
    rod,
    target,
)

Frame = tuple[float, float, float, float]

Thing = Callable[[Pen, Dice, Figure], None]

# What must be seen: left, right, top, bottom.
WHOLE: Frame = (-0.40, 0.40, -1.02, 0.04)
UPPER: Frame = (-0.30, 0.42, -1.02, -0.36)
AHEAD: Frame = (-0.30, 0.78, -1.02, 0.04)

FREE = None  # a hand with nothing to do

Hands = tuple[Point, Point | None]


@dataclass(frozen=True)
class Action:
    """What a class looks like.

    Attributes:
        bodies: poses of trunk and legs, one is drawn.
        hands: ways to hold the hands (near, far), offsets from the shoulder; one is drawn.
        behind: things drawn before the figure.
        held: things drawn between trunk and near arm.
        front: things drawn over all.
        scenes: where it is usually seen; now and then it is seen somewhere else.
        frames: what the picture shows, one is drawn.
        faces: which way the figure looks: `side`, `front` or `back`.
    """

    bodies: tuple[str, ...]
    hands: tuple[Hands, ...]
    behind: tuple[Thing, ...] = ()
    held: tuple[Thing, ...] = ()
    front: tuple[Thing, ...] = ()
    scenes: tuple[str, ...] = INDOORS + OUTDOORS
    frames: tuple[Frame, ...] = (WHOLE,)
    faces: tuple[str, ...] = ("side",)


AT_MOUTH: Hands = ((0.14, -0.05), FREE)
AT_WORK: Hands = ((0.20, 0.24), (0.16, 0.26))
ON_STICK: Hands = ((0.20, 0.24), (0.10, 0.06))

ACTIONS: dict[str, Action] = {
    "applauding": Action(
        ("stand", "sit"),
        (((0.20, 0.02), (0.19, 0.06)),),
        front=(claps,),
        frames=(UPPER, WHOLE),
        scenes=("room", "office", "street"),
    ),
    "blowing_bubbles": Action(
        ("stand", "sit"),
        (AT_MOUTH,),
        front=(bubbles,),
        frames=((-0.26, 0.66, -1.02, -0.40),),
        scenes=("field", "beach", "room"),
    ),
    "brushing_teeth": Action(
        ("stand",),
        (((0.20, -0.03), FREE),),
        front=(toothbrush,),
        frames=(UPPER,),
        scenes=("bathroom", "bathroom", "room"),
    ),
    "cleaning_the_floor": Action(
        ("stoop", "walk"),
        (ON_STICK,),
        held=(mop,),
        frames=((-0.42, 0.62, -1.02, 0.06),),
        scenes=("room", "kitchen", "office"),
    ),
    "climbing": Action(
        ("climb",),
        (((0.16, -0.26), (0.17, -0.12)), ((0.17, -0.14), (0.15, -0.28))),
        behind=(rocks,),
        scenes=("field", "forest", "room"),
        frames=((-0.35, 0.5, -1.12, 0.06),),
    ),
    "cooking": Action(
        ("stand",),
        (AT_WORK,),
        behind=(counter,),
        held=(stove,),
        scenes=("kitchen", "kitchen", "field"),
        frames=(AHEAD,),
    ),
    "cutting_trees": Action(
        ("lunge", "stoop", "stand"),
        (((0.22, 0.12), (0.08, 0.24)),),
        behind=(felled_tree,),
        held=(axe,),
        scenes=("forest", "field"),
        frames=((-0.36, 0.78, -1.05, 0.06),),
    ),
    "cutting_vegetables": Action(
        ("stand",),
        (AT_WORK,),
        behind=(worktop,),
        held=(chopping,),
        scenes=("kitchen", "kitchen", "room"),
        frames=(AHEAD,),
    ),
    "drinking": Action(
        ("stand", "sit"),
        (((0.17, -0.06), FREE),),
        front=(cup_at_mouth,),
        frames=(UPPER,),
        scenes=("room", "street", "beach", "kitchen"),
    ),
    "feeding_a_horse": Action(
        ("stand", "walk"),
        (((0.30, 0.06), FREE),),
        behind=(hungry_horse,),
        front=(fodder,),
        scenes=("field", "forest", "street"),
        frames=((-0.28, 1.05, -1.05, 0.05),),
    ),
    "fishing": Action(
        ("stand", "sit"),
        (((0.20, 0.18), (0.12, 0.22)),),
        held=(rod,),
        scenes=("lake", "lake", "beach"),
        frames=((-0.34, 0.80, -1.05, 0.08),),
    ),
    "fixing_a_bike": Action(
        ("squat", "stoop", "sit"),
        (((0.26, 0.16), (0.24, 0.20)),),
        behind=(broken_bike,),
        front=(wrench,),
        scenes=("street", "room", "field"),
        frames=((-0.30, 0.84, -0.95, 0.06),),
    ),
    "fixing_a_car": Action(
        ("bend", "stoop"),
        (((0.18, 0.26), (0.24, 0.20)),),
        behind=(car,),
        front=(wrench,),
        scenes=("street", "field", "room"),
        frames=((-0.36, 1.0, -1.0, 0.06),),
    ),
    "gardening": Action(
        ("squat", "stoop"),
        (((0.20, 0.24), (0.10, 0.08)),),
        behind=(plants,),
        front=(garden_tool,),
        scenes=("field", "forest"),
        frames=((-0.34, 0.74, -1.0, 0.06),),
    ),
    "holding_an_umbrella": Action(
        ("stand", "walk"),
        (((0.14, 0.08), FREE), ((0.12, 0.0), FREE)),
        held=(umbrella,),
        scenes=("street", "field", "beach"),
        frames=((-0.36, 0.50, -1.28, 0.04), (-0.36, 0.50, -1.28, -0.36)),
        faces=("side", "front"),
    ),
    "jumping": Action(
        ("jump",),
        (((0.20, -0.24), (-0.20, -0.24)), ((0.28, -0.08), (-0.28, -0.10)), ((0.24, -0.20), (-0.1, 0.2))),
        behind=(shadow,),
        scenes=(*OUTDOORS, "room"),
        frames=((-0.40, 0.40, -1.30, 0.04),),
        faces=("side", "front"),
    ),
    "looking_through_a_microscope": Action(
        ("stoop",),
        (((0.22, 0.20), (0.20, 0.22)),),
        behind=(table,),
        held=(microscope,),
        scenes=("office", "room"),
        frames=(AHEAD, (-0.26, 0.66, -1.0, -0.26)),
    ),
    "looking_through_a_telescope": Action(
        ("stand", "stoop"),
        (((0.20, -0.08), (0.26, -0.06)),),
        behind=(telescope,),
        scenes=("field", "beach", "room"),
        frames=((-0.30, 0.72, -1.12, 0.04),),
    ),
    "phoning": Action(
        ("stand", "sit", "walk"),
        (((0.09, -0.09), FREE),),
        front=(phone_at_ear,),
        frames=(UPPER, UPPER, WHOLE),
    ),
    "playing_guitar": Action(
        ("stand", "sit"),
        (((0.06, 0.24), (0.30, 0.06)),),
        held=(guitar,),
        scenes=("room", "street", "field"),
        frames=((-0.36, 0.50, -1.02, -0.30), WHOLE),
        faces=("side", "front"),
    ),
    "playing_violin": Action(
        ("stand", "sit"),
        (((0.16, 0.10), (0.32, -0.02)),),
        held=(violin,),
        scenes=("room", "street", "field"),
        frames=((-0.32, 0.50, -1.06, -0.36), WHOLE),
    ),
    "pouring_liquid": Action(
        ("stand",),
        (((0.24, 0.02), FREE),),
        behind=(worktop,),
        held=(pouring,),
        scenes=("kitchen", "room", "office"),
        frames=((-0.28, 0.70, -1.02, -0.26), AHEAD),
    ),
    "pushing_a_cart": Action(
        ("walk", "stoop"),
        (((0.26, 0.17), (0.26, 0.15)),),
        held=(cart,),
        scenes=("street", "room", "office"),
        frames=((-0.36, 0.84, -1.02, 0.06),),
    ),
    "reading": Action(
        ("sit", "stand", "lounge"),
        (((0.21, 0.12), (0.22, 0.10)),),
        held=(book_in_hands,),
        frames=((-0.34, 0.48, -1.0, -0.10), UPPER),
        scenes=("room", "office", "field", "beach"),
    ),
    "riding_a_bike": Action(
        ("cycle",),
        (((0.16, 0.22), (0.18, 0.22)),),
        behind=(bike,),
        scenes=("street", "field", "forest", "beach"),
        frames=((-0.50, 0.54, -1.02, 0.04),),
    ),
    "riding_a_horse": Action(
        ("astride",),
        (((0.22, 0.16), (0.22, 0.18)),),
        behind=(horse,),
        front=(reins,),
        scenes=("field", "forest", "beach", "street"),
        frames=((-0.48, 0.62, -1.10, 0.04),),
    ),
    "rowing_a_boat": Action(
        ("row",),
        (((0.27, 0.10), (0.28, 0.10)), ((0.16, 0.14), (0.18, 0.14))),
        front=(boat,),
        scenes=("lake",),
        frames=((-0.56, 0.70, -0.75, 0.16),),
    ),
    "running": Action(
        ("run",),
        (((0.16, 0.10), (-0.16, 0.16)), ((-0.14, 0.16), (0.18, 0.08))),
        behind=(speed,),
        scenes=OUTDOORS,
        frames=((-0.44, 0.40, -1.0, 0.04),),
    ),
    "shooting_an_arrow": Action(
        ("stand", "lunge"),
        (((0.02, -0.02), (0.33, -0.02)),),
        behind=(target,),
        held=(bow,),
        scenes=("field", "forest", "room"),
        frames=((-0.30, 0.66, -1.05, 0.04), (-0.30, 0.62, -1.08, -0.32)),
    ),
    "smoking": Action(
        ("stand", "sit"),
        (((0.18, 0.0), FREE),),
        front=(cigarette,),
        frames=(UPPER,),
        scenes=("street", "room", "beach", "office"),
    ),
    "taking_photos": Action(
        ("stand", "squat"),
        (((0.16, -0.10), (0.18, -0.09)),),
        front=(camera,),
        frames=(UPPER, (-0.34, 0.44, -1.02, -0.1)),
    ),
    "texting_message": Action(
        ("stand", "sit", "walk"),
        (((0.17, 0.12), (0.18, 0.13)),),
        front=(phone_in_hands,),
        frames=(UPPER, UPPER, WHOLE),
    ),
    "throwing_frisby": Action(
        ("lunge", "run", "walk"),
        (((0.32, -0.06), (-0.18, 0.16)), ((0.30, 0.06), (-0.2, 0.1))),
        held=(frisbee,),
        scenes=("field", "beach", "street"),
        frames=((-0.40, 0.66, -1.02, 0.04),),
    ),
    "using_a_computer": Action(
        ("sit",),
        (((0.22, 0.18), (0.24, 0.17)),),
        behind=(desk, laptop),
        scenes=("office", "office", "room"),
        frames=((-0.34, 0.78, -0.90, 0.04),),
    ),
    "walking_the_dog": Action(
        ("walk", "stand"),
        (((0.16, 0.22), FREE),),
        front=(dog_on_lead,),
        scenes=("street", "field", "forest", "beach"),
        frames=((-0.34, 0.78, -1.02, 0.05),),
    ),
    "washing_dishes": Action(
        ("stand",), (AT_WORK,), behind=(counter, sink), scenes=("kitchen", "kitchen", "room"), frames=(AHEAD,)
    ),
    "watching_TV": Action(
        ("lounge", "sit"),
        (((0.08, 0.22), (0.14, 0.2)), ((0.18, 0.12), FREE)),
        behind=(television,),
        scenes=("room", "room", "office"),
        frames=((-0.38, 0.96, -0.88, 0.04),),
    ),
    "waving_hands": Action(
        ("stand", "walk"),
        (((0.16, -0.26), FREE), ((0.18, -0.26), (-0.18, -0.26))),
        front=(waves,),
        frames=((-0.38, 0.38, -1.14, -0.36), WHOLE),
        faces=("front", "front", "side"),
    ),
    "writing_on_a_board": Action(
        ("stand",),
        (((0.22, -0.12), FREE), ((0.20, -0.02), FREE)),
        behind=(board,),
        front=(chalk,),
        scenes=("office", "room"),
        frames=((-0.32, 0.66, -1.1, -0.3), AHEAD),
        faces=("back", "side"),
    ),
    "writing_on_a_book": Action(
        ("sit",),
        (((0.24, 0.18), (0.16, 0.2)),),
        behind=(desk,),
        held=(book_and_pen,),
        scenes=("office", "room", "kitchen"),
        frames=((-0.34, 0.70, -0.88, 0.0),),
    ),
}

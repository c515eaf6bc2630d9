"""What `params.yaml` may say of skeletons, beside the keys that all kinds of data share."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from stillroom import params
from stillroom.errors import ParamsError
from stillroom.modalities.skeletons import layouts
from stillroom.params import FAMILY, Plain, name_like

FAMILIES = ("stgcn", "shiftgcn", "ctrgcn", "spacetime")
Family = Annotated[str, name_like(FAMILY, lambda: FAMILIES)]
Persons = Annotated[int, Field(ge=1, le=16)]
Frames = Annotated[int, Field(ge=1, le=4096)]

# joint: coordinates; bone: each joint minus its parent; motion: each frame minus the one before; bone_motion
Stream = Literal["joint", "bone", "motion", "bone_motion"]
# What stands for the coordinates of a joint that is not there: those of its nearest joint along the bones, or
# the middle of the body
Fill = Literal["neighbour", "centre"]


class Rendered(params.Section):
    """What of a spec decides what is rendered; the rest of it is not looked at."""

    model_config = ConfigDict(extra="ignore")

    frames: Frames
    persons: Persons
    dims: Annotated[int, Field(ge=2, le=3)]
    layout: Any


class Shown(Rendered):
    """A whole spec: also what a network makes of it."""

    stream: Stream
    score: bool
    fill: Fill


def wrong_in(spec: Any, kind: type[Rendered]) -> str:
    """What is wrong with a spec that a file holds, as `name = value`; empty: nothing.

    Args:
        kind: how much of it counts.
    """
    try:
        layouts.read(kind.model_validate(spec).layout, "input.layout")
    except ValidationError as error:
        fault = error.errors()[0]
        value = None if fault["type"] == "missing" else fault["input"]
        return f"{'.'.join(map(str, ('input', *fault['loc'])))} = {value!r:.80}"
    except ParamsError as error:
        return error.what
    return ""


class Data(params.Data):
    """`data`: which clips. What a data set looks at beside `path` is in its own file."""

    name: str = "sketch_skeletons"


class Views(params.Views):
    """`views`: the augmented views of a training clip."""

    size: Frames = 32  # frames that a view is resampled to
    # name: of a policy (move, still), and what that policy takes, which checks it
    recipe: Plain = {"name": "move"}


class Teacher(params.Teacher):
    """`teacher`: the graph network whose outputs are cached."""

    arch: Family = "stgcn"
    size: Literal["micro", "tiny", "small", "base"] = "small"  # of its family
    persons: Persons = 1  # bodies that are looked at: the ones that move most
    stream: Stream = "joint"
    # whether it is shown how sure each joint is. A joint's absence may tell the class: the default hides it
    score: bool = False
    fill: Fill = "neighbour"


class StudentModel(params.StudentModel):
    """`student.model`: which model of a family, the same for all arms."""

    frames: Frames | None = None  # None: what the teacher saw
    # what it makes of its views; None: as its teacher does
    stream: Stream | None = None
    score: bool | None = None
    fill: Fill | None = None


class Student(params.Student):
    """`student`: the matrix of students, and how each is trained."""

    families: Annotated[list[Family], Field(min_length=1)] = ["stgcn"]
    model: StudentModel = StudentModel()

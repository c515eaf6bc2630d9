"""What `params.yaml` may say of vectors."""

from typing import Annotated

from pydantic import Field

from stillroom import params
from stillroom.params import Count, Plain

FAMILIES = ("narrow", "wide")
WIDTHS = {"narrow": 8, "wide": 32}


class Data(params.Data):
    """`data`: points around a centre for each class, drawn."""

    name: str = "blobs"
    length: Annotated[int, Field(ge=2, le=64)] = 6
    train_per_class: Count = 12
    test_per_class: Count = 6


class Views(params.Views):
    """`views`: the same points, moved a little."""

    recipe: Plain = {"name": "jitter"}


class Teacher(params.Teacher):
    """`teacher`: a wide one."""

    arch: str = "wide"


class Student(params.Student):
    """`student`: narrow ones, or wide."""

    families: Annotated[list[str], Field(min_length=1)] = ["narrow"]

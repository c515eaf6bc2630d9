"""What `params.yaml` may say of images, beside the keys that all kinds of data share."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stillroom import params
from stillroom.params import FAMILY, LOCAL, REMOTE, Count, Folder, PathText, Plain, brought, name_like

FAMILIES = ("vit", "pvt", "convit", "mvit", "swin", "twins")
Family = Annotated[str, name_like(FAMILY, lambda: FAMILIES)]


def _source(value: str) -> str:
    if not brought(value):
        raise ValueError(f"must be {LOCAL}FOLDER or {REMOTE}USER/REPO")
    return value


def _named(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not re.fullmatch(FAMILY, name):
            raise ValueError(f"{name!r} is no name for a family: lower-case letters, digits, _ and .")
    return value


Source = Annotated[PathText, AfterValidator(_source)]


class Data(params.Data):
    """`data`: which images."""

    # stanford40, folder, shards: `path` is where the data set lies (stanford40 also reads its three zip files
    # there; of shards it may be an address: s3://, ssh://, https://).
    # Without one, stanford40 is downloaded to artifacts/downloads/stanford40.
    name: str = "sketch40"
    # stanford40: check counts, names and split digests against the published ones
    official: bool = True
    # folder: the table of the split, where it cannot lie in data.path as split.csv
    split_file: Folder | None = None
    # folder, shards: what the names of folders or shards (or the words of the table) mean, as
    # {train: train, eval: test}; none: the usual names
    splits: dict[str, Literal["train", "val", "test"]] = {}
    # folder: a class most of whose files are of no format that is read: stop, or go on without these files
    unread: Literal["refuse", "accept"] = "refuse"
    train_per_class: Count = 15  # sketch40 only
    test_per_class: Count = 10  # sketch40 only
    image_size: Annotated[int, Field(ge=32, le=1024)] = 96  # sketch40 only: short side of a picture in pixels


class Views(params.Views):
    """`views`: the augmented views of a training image."""

    # side in pixels of what the teacher sees; None: the size in timm's data config of the teacher
    size: Annotated[int, Field(ge=16, le=4096)] | None = None
    # name: of a policy (crop, three_augment, strong, centre), and what that policy takes, which checks it
    recipe: Plain = {"name": "crop"}


class Teacher(params.Teacher):
    """`teacher`: the CNN whose logits are cached."""

    # any timm model; local-dir:FOLDER or hf-hub:USER/REPO, with its weights (safetensors); MODULE:FUNCTION, a
    # function of Python that makes one (docs/teacher.md)
    arch: str = "convnext_atto"


class StudentModel(params.StudentModel):
    """`student.model`: which model of a family, the same for both arms."""

    image_size: Annotated[int, Field(ge=16, le=4096)] | None = None  # None: what the teacher saw
    # further families by names of your own, as {mine: local-dir:FOLDER}: models that start from the weights
    # there. What is recorded is what they are, not where they lie.
    sources: Annotated[dict[str, Source], Field(exclude=True), AfterValidator(_named)] = {}


class Student(params.Student):
    """`student`: the matrix of students, and how each is trained."""

    families: Annotated[list[Family], Field(min_length=1)] = list(FAMILIES)
    model: StudentModel = StudentModel()

"""What `params.yaml` may say of images, beside the keys that all kinds of data share."""

from typing import Annotated, Literal

from pydantic import Field

from stillroom import params
from stillroom.params import FAMILY, Count, Folder, Plain, name_like

FAMILIES = ("vit", "pvt", "convit", "mvit", "swin", "twins")
Family = Annotated[str, name_like(FAMILY, lambda: FAMILIES)]


class Data(params.Data):
    """`data`: which images."""

    # stanford40, folder, shards: `path` is where the data set lies (stanford40 also reads its three zip files
    # there; of shards it may be an address: hf://, s3://, ssh://, https://).
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

    arch: str = "convnext_atto"  # any timm ConvNeXt, or any other timm CNN


class StudentModel(params.StudentModel):
    """`student.model`: which model of a family, the same for both arms."""

    image_size: Annotated[int, Field(ge=16, le=4096)] | None = None  # None: what the teacher saw


class Student(params.Student):
    """`student`: the matrix of students, and how each is trained."""

    families: Annotated[list[Family], Field(min_length=1)] = list(FAMILIES)
    model: StudentModel = StudentModel()

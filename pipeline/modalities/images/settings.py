"""What `params.yaml` may say of images, beside the keys that all kinds of data share."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stillroom import params
from stillroom.errors import ParamsError
from stillroom.params import FAMILY, LOCAL, REMOTE, Count, Folder, PathText, Plain, brought, name_like

# What to do about classes that are in one split only
MISSING = (
    "add images of these classes, or remove the classes from the other split; to go on without: "
    "--set data.allow_missing_classes=true"
)
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


REPOSITORY = r"[\w][\w.-]*/[\w][\w.-]*(@[\w][\w./-]*)?"
FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
Source = Annotated[PathText, AfterValidator(_source)]


class Data(params.Data):
    """`data`: which images."""

    # `path` is where the data set lies (stanford40 also reads its three zip files there; of shards it may be
    # an address: hf://, s3://, ssh://, https://; of a table it is the folder that paths start from, if not
    # its own).
    # Without one, stanford40 is downloaded to artifacts/downloads/stanford40.
    name: str = "sketch40"
    # stanford40: check counts, names and split digests against the published ones
    official: bool = True
    # folder, table, torchvision: the table of the split, where it does not lie in data.path as split.csv
    split_file: Folder | None = None
    # all but stanford40 and sketch40: what the names of folders, shards or parts (or the words of a table)
    # mean, as {train: train, held_out: test}; none: the usual names
    splits: dict[str, Literal["train", "val", "test", "unlabelled"]] = {}
    # folder: a class most of whose files are of no format that is read: stop, or go on without these files
    unread: Literal["refuse", "accept"] = "refuse"
    # folder, table: a text file with the names of the classes in label order, one a line; none: those that
    # are there, sorted
    classes: Folder | None = None
    # folder, table, huggingface: which column says what, where it has no usual name: {file: id, label: kind}
    columns: dict[str, str] = {}
    # all but stanford40 and sketch40: go on where a class has no image in train, or none in test
    allow_missing_classes: bool = False
    # so many training images of each class keep their label, drawn by `seed`; the others become the split
    # `unlabelled`, of which nobody learns the class. None: all keep theirs
    labels_per_class: Count | None = None
    # images without a label: the teacher is asked of them, and students learn from what it says; or leave
    # them out
    unlabelled: Literal["use", "leave"] = "use"
    train_per_class: Count = 15  # sketch40 only
    test_per_class: Count = 10  # sketch40 only
    image_size: Annotated[int, Field(ge=32, le=1024)] = 96  # sketch40 only: short side of a picture in pixels

    def files(self) -> dict[str, str | None]:
        """The files beside the images that it names, but for those of every kind of data; by their key."""
        return {"data.split_file": self.split_file, "data.classes": self.classes}


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


def is_entry(arch: str) -> bool:
    """Whether a name is one of a function."""
    return re.fullmatch(FUNCTION, arch) is not None


def check_name(name: str, key: str) -> None:
    """Refuse what no folder and no repository can be called. Nothing is looked at.

    Args:
        name: begins with `local-dir:` or `hf-hub:`.
        key: what names it, for the message.

    Raises:
        ParamsError: see above.
    """
    kind, _, rest = name.partition(":")
    if f"{kind}:" == LOCAL:
        if not rest.strip() or "\0" in rest:
            raise ParamsError(f"{key}: {name!r} names no folder", fix=f"give {LOCAL}FOLDER")
    elif not re.fullmatch(REPOSITORY, rest):
        raise ParamsError(
            f"{key}: {name!r} names no repository of the hub",
            fix=f"give {REMOTE}USER/REPO, or {REMOTE}USER/REPO@REVISION",
        )

"""The parameters: every key of `params.yaml` with its type, default, range and meaning, and no other."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import ParamsError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
FAMILIES = ("vit", "pvt", "convit", "mvit", "swin", "twins")
# a student's family, or any timm model by its own name; both become part of a folder's name
Family = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.]{0,79}$")]
Arm = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


def _listed(value: Any) -> Any:
    """YAML knows lists only."""
    return tuple(value) if isinstance(value, list) else value


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not 0 < low <= high:
        raise ValueError(f"must be [low, high] with 0 < low <= high, not [{low}, {high}]")
    return value


Range = Annotated[tuple[float, float], BeforeValidator(_listed), AfterValidator(_rising)]
# the teacher's weight in a loss: one number, or [at the start, at the end], changing linearly with the steps
Alpha = Fraction | Annotated[tuple[Fraction, Fraction], BeforeValidator(_listed)]
Temperature = Annotated[float, Field(gt=0, le=100)]
Outputs = Annotated[list[str], Field(min_length=1)]


class Section(BaseModel):
    """Strict: no unknown key, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Data(Section):
    """`data`: which images."""

    name: Literal["sketch40", "stanford40", "folder"] = "sketch40"
    # stanford40, folder: where the data set lies (stanford40 also reads its three zip files there).
    # Without one, stanford40 is downloaded to artifacts/downloads/stanford40.
    path: str | None = None
    # stanford40: check counts, names and split digests against the published ones
    official: bool = True
    # share of train set aside, stratified, to look at while training; never used for fitting
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # equal files in train and test, or in two classes: say so, stop, or go on without them
    duplicates: Literal["warn", "refuse", "drop"] = "warn"
    # a text file: images to leave out, one a line, as paths from data.path
    skip: str | None = None
    # folder: the table of the split, where it cannot lie in data.path as split.csv
    split_file: str | None = None
    # folder: what the names of its folders (or the words of the table) mean, as {train: train, eval: test};
    # none: the usual names
    splits: dict[str, Literal["train", "val", "test"]] = {}
    # folder: a class most of whose files are of no format that is read: stop, or go on without these files
    unread: Literal["refuse", "accept"] = "refuse"
    seed: Seed = 0  # draws the validation slice, and the pictures of sketch40
    train_per_class: Count = 15  # sketch40 only
    test_per_class: Count = 10  # sketch40 only
    image_size: Annotated[int, Field(ge=32, le=1024)] = 96  # sketch40 only: short side of a picture in pixels


class Views(Section):
    """`views`: the augmented views of a training image."""

    count: Annotated[int, Field(ge=1, le=65535)] = 8  # views a sample in the cache
    # side in pixels of what the teacher sees; None: the size in timm's data config of the teacher
    size: Annotated[int, Field(ge=16, le=4096)] | None = None
    seed: Seed = 0
    # name: of a policy (crop, three_augment, strong, centre), and what that policy takes; views.recipe checks
    # it
    recipe: dict[str, Any] = {"name": "crop"}


class Train(Section):
    """How a model is fitted: timm's words for timm's factories."""

    epochs: Annotated[int, Field(ge=0)] = 30
    batch_size: Count = 48
    opt: str = "adamw"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.05
    warmup_epochs: Annotated[int, Field(ge=0)] = 3  # linear warm-up from a hundredth of lr
    sched: Literal["cosine", "poly", "tanh", "wsd", "constant"] = "cosine"  # timm's schedules, over all steps
    clip_grad: NonNegative = 1.0  # largest norm of the gradient; 0: none
    accumulate: Count = 1  # parts that a batch is cut into, where it does not fit into memory at once
    # 0: none; else the decay of an average of the weights (timm's ModelEmaV3, warmed up), which is the result
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    label_smoothing: Fraction = 0.0
    drop_path: Fraction = 0.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # each layer learns so much slower than the next
    amp: Literal["none", "bf16"] = "none"  # bf16: autocast
    compile: bool = False  # torch.compile: worth its minute of compilation in long runs on a GPU


class Teacher(Section):
    """`teacher`: the CNN whose logits are cached."""

    arch: str = "convnext_atto"  # any timm ConvNeXt, or any other timm CNN
    overrides: dict[str, Any] = {}  # further arguments of timm.create_model
    weights: str = "none"  # hub | none | a .safetensors file with timm's names
    seed: Seed = 0
    train: Train = Train()


class Cache(Section):
    """`cache`: how the teacher's logits are stored, and which cache students learn from."""

    # the cache that students and the report read: a folder, or an address (s3://, ssh://, https://) of one;
    # (or its manifest.json, which is all that DVC then looks at). `stillroom cache` writes artifacts/cache.
    path: Annotated[
        str, Field(min_length=1), AfterValidator(lambda path: path.removesuffix("/manifest.json"))
    ] = "artifacts/cache"
    store: Literal["zarr", "hdf5"] = "zarr"
    encoding: Literal["float16", "int8", "topk"] = "float16"
    k: Count = 16  # topk only: logits kept a view
    block_samples: Annotated[int, Field(ge=1, le=1_048_576)] = 1024  # samples in a block (of one view)
    # of the teacher's forward pass on a GPU; a CPU takes fewer at a time, one pass a core
    batch_size: Count = 64
    amp: Literal["none", "bf16"] = "none"
    # output: the folder of its teacher. More than one: each looks at the same views.
    teachers: Annotated[dict[str, str], Field(min_length=1)] = {"logits": "artifacts/teacher"}

    @field_validator("teachers")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) or name in ("keys", "labels", "views"):
                raise ValueError(f"{name!r} is no name for an output: lower case letters, digits and _")
        return value


class Ce(Section):
    """`student.losses.ce`: cross-entropy with the labels; it has no parameter of its own."""


class Taught(Section):
    """What every loss with a teacher takes."""

    # which outputs of the cache teach; of more than one, the mean of their softened probabilities
    outputs: Outputs = ["logits"]


class Kd(Taught):
    """`student.losses.kd`: alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy."""

    alpha: Alpha = 0.6
    temperature: Temperature = 4.0


class Soft(Taught):
    """`student.losses.soft`: T^2 * KL(teacher || student), without labels."""

    temperature: Temperature = 1.0


class Dkd(Taught):
    """`student.losses.dkd`: the KL's part between target and rest, and its part within the rest."""

    alpha: Alpha = 0.5
    temperature: Temperature = 4.0
    target_weight: NonNegative = 1.0
    other_weight: NonNegative = 8.0


class Dist(Taught):
    """`student.losses.dist`: correlation between classes, and within classes over the batch."""

    alpha: Alpha = 0.5
    temperature: Temperature = 1.0
    inter: NonNegative = 1.0
    intra: NonNegative = 1.0


class Standardised(Taught):
    """`student.losses.standardised`: KL between z-scores of the logits."""

    alpha: Alpha = 0.9
    temperature: Temperature = 2.0
    weight: NonNegative = 10.0


class Mse(Taught):
    """`student.losses.mse`: squared difference of the logits."""

    alpha: Alpha = 0.5


class Hard(Taught):
    """`student.losses.hard`: cross-entropy with the teacher's likeliest class."""

    alpha: Alpha = 0.5


class Losses(Section):
    """`student.losses`: what an arm's loss takes. A loss of one's own (pipeline/losses/NAME.py) is one more
    entry, checked against its signature where it is used.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, dict[str, Any]]

    ce: Ce = Ce()
    kd: Kd = Kd()
    soft: Soft = Soft()
    dkd: Dkd = Dkd()
    dist: Dist = Dist()
    standardised: Standardised = Standardised()
    mse: Mse = Mse()
    hard: Hard = Hard()

    def of(self, arm: str) -> dict[str, Any]:
        """An arm's parameters; those of a loss of one's own as they were given."""
        found = getattr(self, arm, None)
        return found.model_dump() if isinstance(found, Section) else dict(found or {})


class StudentModel(Section):
    """`student.model`: which model of a family, the same for both arms."""

    size: Literal["micro", "tiny", "small", "base"] = "micro"  # of the six families
    image_size: Annotated[int, Field(ge=16, le=4096)] | None = None  # None: what the teacher saw
    weights: str = "none"  # hub | none | a .safetensors file with timm's names
    family_weights: dict[str, str] = {}  # other weights for single families, as {vit: FILE}
    overrides: dict[str, Any] = {}

    def weights_of(self, family: str) -> str:
        """The weights that a family starts from."""
        return self.family_weights.get(family, self.weights)


class StudentTrain(Train):
    """`student.train`: how a student is fitted."""

    # where epochs exceed views: the same turn again, or each turn in another order
    view_order: Literal["cycle", "shuffle"] = "cycle"


class Student(Section):
    """`student`: the matrix of students, and how each is trained."""

    families: Annotated[list[Family], Field(min_length=1)] = ["vit", "pvt", "convit", "mvit", "swin", "twins"]
    arms: Annotated[list[Arm], Field(min_length=1)] = ["ce", "kd"]  # losses, by name
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    model: StudentModel = StudentModel()
    train: StudentTrain = StudentTrain()
    # other training values for single families, all arms: {vit: {lr: 1.0e-4, layer_decay: 0.7}}
    family_train: dict[str, dict[str, Any]] = {}
    losses: Losses = Field(default_factory=lambda: Losses.model_validate({}))

    def train_of(self, family: str) -> StudentTrain:
        """How a family is trained: `train`, with what `family_train` says otherwise."""
        return StudentTrain.model_validate(self.train.model_dump() | self.family_train.get(family, {}))

    @field_validator("family_train")
    @classmethod
    def _trainable(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for family, values in value.items():
            try:
                StudentTrain.model_validate(values)
            except ValidationError as error:
                faults = "; ".join(f"{_dotted(fault['loc'])}: {fault['msg']}" for fault in error.errors())
                raise ValueError(
                    f"{family}: {faults}; valid keys: {', '.join(StudentTrain.model_fields)}"
                ) from None
        return value

    @field_validator("families", "arms", "seeds")
    @classmethod
    def _distinct(cls, value: list) -> list:
        if len(set(value)) < len(value):
            raise ValueError("names an entry twice")
        return value


class Report(Section):
    """`report`: the page."""

    title: str = "stillroom"


class Params(Section):
    """The whole of `params.yaml`."""

    data: Data = Data()
    views: Views = Views()
    teacher: Teacher = Teacher()
    cache: Cache = Cache()
    student: Student = Student()
    report: Report = Report()


def keys(kind: type[Section] = Params, prefix: str = "") -> list[str]:
    """Every key of the parameters, dotted: `views.count`, ..."""
    found: list[str] = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            found += keys(inner, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def load_params(file: Path, overrides: tuple[str, ...] = ()) -> Params:
    """Read a params file and check every key and value of it.

    Args:
        file: YAML 1.2 (as DVC reads it).
        overrides: `section.key=value` strings; the value is YAML.

    Raises:
        ParamsError: the file is missing or no YAML, or a key or a value is not one that `Params` allows.
    """
    try:
        tree = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{file} is not there", fix="run `stillroom preset sketch40 > params.yaml`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{file} cannot be read", str(error)) from None
    except YAMLError as error:
        raise ParamsError(f"{file} is not valid YAML", " ".join(str(error).split())) from None
    if tree is None:
        raise ParamsError(f"{file} is empty", fix="run `stillroom preset sketch40 > params.yaml`")
    if not isinstance(tree, dict):
        raise ParamsError(
            f"{file} must hold sections ({', '.join(Params.model_fields)}), not a {type(tree).__name__}"
        )
    check(tree, str(file))  # before --set, so that a fault is looked for where it is
    for override in overrides:
        set_value(tree, *parse_override(override))
    return check(tree, f"--set {' '.join(overrides)}" if overrides else str(file))


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `section.key=value` into its path and its YAML value."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ParamsError(
            f"--set {text!r} is not of the form section.key=value", fix="for example --set views.count=4"
        )
    try:
        return name.strip().split("."), YAML(typ="safe").load(value)
    except YAMLError:
        raise ParamsError(
            f"--set {text!r}: {value!r} is not a YAML value", fix="put quotes around text"
        ) from None


def set_value(tree: dict, path: list[str], value: Any) -> None:
    """Set one value in nested sections, making the sections on the way."""
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            inner = tree[name] = {}
        tree = inner
    tree[path[-1]] = value


def check(tree: dict, source: str) -> Params:
    """Check nested sections against `Params`; every fault is named, with the nearest valid key."""
    return validated(Params, tree, source)


Kind = TypeVar("Kind", bound=Section)


def validated(kind: type[Kind], tree: dict, source: str, prefix: tuple[str, ...] = ()) -> Kind:
    """A section from plain data; `prefix` is where it stands in the parameters.

    Raises:
        ParamsError: names every unknown key and every wrong value.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(kind, fault, prefix) for fault in error.errors(include_url=False)]
        unique = list(dict.fromkeys(lines))
        raise ParamsError(
            f"{source}: " + ("; ".join(unique) if len(unique) == 1 else "\n  " + "\n  ".join(unique))
        ) from None


def _dotted(path: Any) -> str:
    return ".".join(str(part) for part in path)


def _explain(kind: type[Section], fault: Any, prefix: tuple[str, ...]) -> str:
    path = [str(part) for part in fault["loc"]]
    name = _dotted([*prefix, *path])
    if fault["type"] == "extra_forbidden":
        section: Any = kind
        for part in path[:-1]:
            section = section.model_fields[part].annotation
        valid = list(section.model_fields)
        near = difflib.get_close_matches(path[-1], valid, n=1, cutoff=0.5)
        hint = (
            f"did you mean {_dotted([*prefix, *path[:-1], near[0]])}?"
            if near
            else f"valid keys: {', '.join(valid) or 'none'}"
        )
        return f"unknown key {name}; {hint}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{name} = {fault['input']!r}: {message[:1].lower() + message[1:]}"

"""The parameters: every key of `params.yaml` with its type, default, range and meaning, and no other.

Here are the keys that all kinds of data share; a modality's `settings.py` adds its own, and
`stillroom.modalities.params` reads a file with both.
"""

import difflib
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Amp = Literal["none", "bf16", "fp16"]  # the precision of a model's passes


def name_like(pattern: str, known: Callable[[], Sequence[str]]) -> Any:
    """Checks a name that becomes part of a folder's name; `known` gives those that hints come from."""

    def checked(value: str) -> str:
        if not re.fullmatch(pattern, value):
            near = difflib.get_close_matches(value.lower(), known(), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"must begin with a lower-case letter, then a-z, 0-9 and _{hint}")
        return value

    return AfterValidator(checked)


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _range(value: Any) -> tuple[float, float]:
    """YAML knows lists only."""
    pair = list(value) if isinstance(value, list | tuple) else []
    if len(pair) != 2 or not all(_number(one, 0, math.inf) and one < math.inf for one in pair):
        raise ValueError("must be a list of two numbers, [low, high]")
    if not 0 < pair[0] <= pair[1]:
        raise ValueError(f"must be [low, high] with 0 < low <= high, not [{pair[0]}, {pair[1]}]")
    return float(pair[0]), float(pair[1])


def _alpha(value: Any) -> float | tuple[float, float]:
    if _number(value, 0, 1):
        return float(value)
    pair = list(value) if isinstance(value, list | tuple) else []
    if len(pair) != 2 or not all(_number(one, 0, 1) for one in pair):
        raise ValueError("must be a number from 0 to 1, or two of them: [at the start, at the end]")
    return float(pair[0]), float(pair[1])


def _plain(value: Any) -> Any:
    """What a record keeps as JSON must be JSON: YAML has dates, infinities and loops beside."""
    if not _is_json(value):
        raise ValueError("must hold text, finite numbers, true, false, null, lists and sections alone")
    return value


def _is_json(value: Any, depth: int = 32) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(
            isinstance(key, str) and _is_json(one, depth - 1) for key, one in value.items()
        )
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_json(one, depth - 1) for one in value)
    if isinstance(value, int | float):
        return abs(value) < 2**63
    return value is None or isinstance(value, str)


def _encoding(value: Any) -> str | dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("name"), str) and _is_json(value):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a name, or a section with a name and what it takes: {name: topk, k: 16}")
    return value


def _path(path: str) -> str:
    """A path that the system can hold."""
    if "\0" in path:
        raise ValueError("must hold no character 0")
    if len(path) > 4000 or any(len(part.encode(errors="surrogatepass")) > 255 for part in path.split("/")):
        raise ValueError("is longer than a path can be")
    return path


def _expanded(path: str) -> str:
    """A path with `~` as the shell reads it; quotes keep it from the shell."""
    return os.path.expanduser(path)


def _weights(value: str) -> str:
    if value.lower() in ("hub", "none") and value != value.lower():
        raise ValueError(f"must be {value.lower()}, in small letters, or a .safetensors file")
    return value


def _cache_path(path: str) -> str:
    if path.startswith("~"):
        raise ValueError(f"must be written out, {os.path.expanduser(path)}: DVC reads it too, and knows no ~")
    return path.removesuffix("/manifest.json")


MOST_FOLDS = 1000  # of a cross-fitted teacher
FAMILY = r"[a-z0-9][a-z0-9_.]{0,79}"  # a student's family, or a model by its own name
LOCAL, REMOTE = "local-dir:", "hf-hub:"  # what timm calls a model in a folder, and one of a hub
Arm = Annotated[str, name_like(r"[a-z][a-z0-9_]{0,31}", lambda: list(Losses.model_fields))]
Range = Annotated[tuple[float, float], BeforeValidator(_range)]
# the teacher's weight in a loss: one number, or [at the start, at the end], changing linearly with the steps
Alpha = Annotated[float | tuple[float, float], BeforeValidator(_alpha)]
Temperature = Annotated[float, Field(gt=0, le=100)]
Outputs = Annotated[list[str], Field(min_length=1)]
Layer = Annotated[str, Field(min_length=1, max_length=200)]
Levels = Annotated[list[float | int], Field(min_length=1, max_length=20)]
PathText = Annotated[str, Field(min_length=1), AfterValidator(_path)]
Folder = Annotated[PathText, AfterValidator(_expanded)]
Weights = Annotated[PathText, AfterValidator(_weights)]
Encoding = Annotated[str | dict[str, Any], PlainValidator(_encoding)]
Plain = Annotated[dict[str, Any], AfterValidator(_plain)]


def brought(arch: str) -> bool:
    """Whether it names a folder or a repository, which brings its weights."""
    return arch.startswith((LOCAL, REMOTE))


class Section(BaseModel):
    """Strict: no unknown key, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Data(Section):
    """`data`: which data set."""

    name: str
    path: Folder | None = None  # where the data set lies
    # share of train set aside, stratified, to look at while training; never used for fitting
    val_fraction: Share = 0.0
    # equal files in train and test, or in two classes: say so, stop, or go on without them
    duplicates: Literal["warn", "refuse", "drop"] = "warn"
    # a text file: files to leave out, one a line, as paths from data.path
    skip: Folder | None = None
    # a table (CSV) with the columns file, as a path from data.path, and group: what must not be divided
    # between two folds of a cross-fitted teacher, as photos of one person
    groups: Folder | None = None
    seed: Seed = 0  # draws the validation slice, and what a data set draws

    def place(self) -> str | None:
        """The folder or address that paths of samples start from; None: the data set has one of its own."""
        return self.path


class Views(Section):
    """`views`: the augmented views of a training sample."""

    count: Annotated[int, Field(ge=1, le=65535)] = 8  # views a sample in the cache
    seed: Seed = 0
    # name: of a policy of the modality, and what that policy takes, which checks it
    recipe: Plain


BALANCE = ("class_weights", "order")  # keys that came later, of how a model is fitted


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
    ema: Share = 0.0
    label_smoothing: Share = 0.0
    drop_path: Share = 0.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # each layer learns so much slower than the next
    # autocast; fp16, for GPUs without bfloat16, with a loss that is scaled so that small gradients are kept
    amp: Amp = "none"
    compile: bool = False  # torch.compile: worth its minute of compilation in long runs on a GPU
    # of the cross-entropy with the labels. balanced: samples of a rare class weigh more, as much as it is
    # rarer (scikit-learn's `balanced`), so that all classes weigh alike
    class_weights: Literal["none", "balanced"] = "none"
    # of the samples in an epoch. shuffle: each once. balanced: as many of each class, those of a rare one
    # several times; an epoch has as many samples as ever
    order: Literal["shuffle", "balanced"] = "shuffle"

    @model_serializer(mode="wrap")
    def _as_before(self, values: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A record names later keys where they say something: others stay as those of earlier versions."""
        told: dict[str, Any] = values(self)
        usual = type(self).model_fields
        return {name: one for name, one in told.items() if name not in BALANCE or one != usual[name].default}


class TeacherTrain(Train):
    """`teacher.train`: how a teacher is fitted."""

    # trunk: only the head is fitted, by L-BFGS to the trunk's features of three views, its penalty chosen on
    # a part of train; minutes instead of hours. What is said of epochs and steps counts for nothing then.
    freeze: Literal["none", "trunk"] = "none"


class Teacher(Section):
    """`teacher`: the model whose outputs are cached."""

    arch: str
    overrides: Plain = {}  # further arguments of what makes it
    weights: Weights = "none"  # hub | none | a .safetensors file
    seed: Seed = 0
    # cross-fitted: so many models, each fitted without one fold of train, whose outputs it is asked for
    folds: Annotated[int, Field(ge=1, le=MOST_FOLDS)] = 1
    # and one that is fitted to all of train: what the test split is reported with, and new samples are shown
    folds_and_whole: bool = False
    train: TeacherTrain = TeacherTrain()


class Features(Section):
    """An entry of `cache.teachers` that is no folder: what else a teacher gives of each view, in the same
    forward pass as its logits; stored as float16.

    `{from: FOLDER, layer: LAYER}` says the same: `from` is the folder of the output that `of` names.
    """

    of: str = "logits"  # the output of `cache.teachers` that is the teacher's logits
    # which of the arrays that its model gives: pooled, last, or a module's output, by its name in the network
    take: Annotated[str, Field(min_length=1, max_length=200)]


TAGS = ("<folder>", "<features>")  # pydantic names them in the path of a fault


def _sort(value: Any) -> str:
    return TAGS[isinstance(value, dict | Features)]


Taught = Annotated[Annotated[Folder, Tag(TAGS[0])] | Annotated[Features, Tag(TAGS[1])], Discriminator(_sort)]


def _respelled(name: Any, entry: dict[str, Any], folders: dict[str, Any]) -> dict[str, Any]:
    """An entry of features with `of` and `take` for `from` and `layer`.

    Args:
        folders: the output of each folder that `cache.teachers` names.
    """
    entry = dict(entry)
    wrong = [key for key in ("from", "layer") if key in entry and not isinstance(entry[key], str)]
    if wrong:
        raise ValueError(f"{name}.{wrong[0]} must be text")
    if "from" in entry and not {"layer", "take"} & entry.keys():
        raise ValueError(f"{name}.layer is missing: which layer's output, as pooled")
    for key, same in (("from", "of"), ("layer", "take")):
        if key in entry and same in entry:
            raise ValueError(f"{name} has both {key} and {same}, which say the same; leave one out")
    if "layer" in entry:
        entry["take"] = entry.pop("layer")
    if "from" in entry:
        folder = os.path.normpath(_expanded(entry.pop("from")))
        if folder not in folders:
            known = ", ".join(folders) or "none"
            raise ValueError(
                f"{name} is taken from {folder!r}, and the folders of the outputs are {known}; name one of "
                "these, or add an output with this folder, for its logits"
            )
        entry["of"] = folders[folder]
    return entry


class Cache(Section):
    """`cache`: how the outputs of the teacher are stored, and which cache students learn from."""

    # the cache that students and the report read: a folder, or an address (hf://, s3://, ssh://, https://) of
    # one, or its manifest.json, which is all that DVC then looks at (it knows no hf://: docs/team.md).
    # `stillroom cache` writes artifacts/cache.
    path: Annotated[PathText, AfterValidator(_cache_path)] = "artifacts/cache"
    store: str = "zarr"  # or hdf5: a file of pipeline/cache/stores
    # or int8, topk, packed, sampled: a file of pipeline/cache/encodings; {name: NAME, ...} with what it takes
    encoding: Encoding = "float16"
    k: Count = 16  # topk and packed: logits kept a view
    block_samples: Annotated[int, Field(ge=1, le=1_048_576)] = 1024  # samples in a block (of one view)
    # of the teacher's forward pass on a GPU; a CPU takes fewer at a time, one pass a core
    batch_size: Count = 64
    amp: Amp = "none"
    # output: the folder of its teacher, for its logits. More than one: each looks at the same views.
    # output: {from: FOLDER, layer: LAYER}, for features of the teacher in a folder that another output names,
    # from the same forward pass; or {of: OUTPUT, take: LAYER}, which names that output.
    teachers: Annotated[dict[str, Taught], Field(min_length=1)] = {"logits": "artifacts/teacher"}

    @field_validator("teachers", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        """Features in one spelling, `of` and `take`: what is recorded does not depend on how it was said."""
        if not isinstance(value, dict):
            return value
        folders = {
            os.path.normpath(_expanded(one)): name
            for name, one in reversed(value.items())
            if isinstance(one, str)
        }
        return {
            name: _respelled(name, one, folders) if isinstance(one, dict) else one
            for name, one in value.items()
        }

    @field_validator("teachers")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) or name in ("keys", "labels", "views"):
                raise ValueError(f"{name!r} is no name for an output: lower case letters, digits and _")
        return value

    @field_validator("teachers")
    @classmethod
    def _taken(cls, value: dict[str, Any]) -> dict[str, Any]:
        folders = [name for name, one in value.items() if not isinstance(one, Features)]
        for name, one in value.items():
            if isinstance(one, Features) and one.of not in folders:
                known = ", ".join(folders) or "none"
                raise ValueError(f"{name} is taken of {one.of!r}, and the outputs with a folder are {known}")
        return value

    @property
    def folders(self) -> dict[str, str]:
        """The folder of each teacher, by the output that is its logits."""
        return {name: one for name, one in self.teachers.items() if not isinstance(one, Features)}

    @property
    def features(self) -> dict[str, Features]:
        """What else is taken of teachers, by output."""
        return {name: one for name, one in self.teachers.items() if isinstance(one, Features)}

    def outputs_of(self, teacher: str) -> list[str]:
        """The outputs of a teacher: its logits, then its features."""
        return [teacher, *(name for name, one in self.features.items() if one.of == teacher)]

    def folder_of(self, output: str) -> Path | None:
        """Where the teacher of an output lies, as far as the parameters give it."""
        one = self.features.get(output)
        folder = self.folders.get(output if one is None else one.of)
        return None if folder is None else Path(folder)


# The default of a loss's parameter stands in one place, the signature of its function in pipeline/losses
OWN: Any = Field(default=None)


class Ce(Section):
    """`student.losses.ce`: cross-entropy with the labels; it has no parameter of its own."""


class Given(Section):
    """What is not given has no value here: the loss has its own."""

    @model_serializer
    def _given(self) -> dict[str, Any]:
        return {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }


class Distilled(Given):
    """What every loss with a teacher's logits takes."""

    # which outputs of the cache teach; of more than one, the mean of their softened probabilities
    outputs: Outputs = OWN


class Kd(Distilled):
    """`student.losses.kd`: alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy."""

    alpha: Alpha = OWN
    temperature: Temperature = OWN
    correction: Fraction = OWN


class Soft(Distilled):
    """`student.losses.soft`: T^2 * KL(teacher || student), without labels."""

    temperature: Temperature = OWN


class Dkd(Distilled):
    """`student.losses.dkd`: the KL's part between target and rest, and its part within the rest."""

    alpha: Alpha = OWN
    temperature: Temperature = OWN
    target_weight: NonNegative = OWN
    other_weight: NonNegative = OWN


class Dist(Distilled):
    """`student.losses.dist`: correlation between classes, and within classes over the batch."""

    alpha: Alpha = OWN
    temperature: Temperature = OWN
    inter: NonNegative = OWN
    intra: NonNegative = OWN


class Standardised(Distilled):
    """`student.losses.standardised`: KL between z-scores of the logits."""

    alpha: Alpha = OWN
    temperature: Temperature = OWN
    weight: NonNegative = OWN


class Mse(Distilled):
    """`student.losses.mse`: squared difference of the logits."""

    alpha: Alpha = OWN


class Hard(Distilled):
    """`student.losses.hard`: cross-entropy with the teacher's likeliest class."""

    alpha: Alpha = OWN


class Gm(Given):
    """`student.losses.gm`: nodes and edges of the features as of a graph."""

    features: Annotated[str, Field(min_length=1)] = OWN  # which output of the cache
    layer: Layer = OWN  # of the student; not given: the one that the teacher's are of
    alpha: Alpha = OWN
    nodes: NonNegative = OWN
    edges: NonNegative = OWN


class Skd(Distilled):
    """`student.losses.skd`: `kd` and `gm`, with revised gradients."""

    features: Annotated[str, Field(min_length=1)] = OWN
    layer: Layer = OWN
    alpha: Alpha = OWN
    temperature: Temperature = OWN
    nodes: NonNegative = OWN
    edges: NonNegative = OWN
    # whose gradients are held against the labels': those of all other terms together, of each by itself, none
    revise: Literal["sum", "each", "none"] = OWN


class Compared(Distilled):
    """What every loss takes that compares features, beside logits or not."""

    features: Annotated[str, Field(min_length=1)] = OWN  # which output of the cache
    layer: Layer = OWN  # of the student: pooled, last, or a module
    alpha: Alpha = OWN
    kd: NonNegative = OWN  # weight of the logits' divergence, beside the features
    temperature: Temperature = OWN
    # whose gradients are held against the labels': those of all other terms together, of each by itself, none
    revise: Literal["sum", "each", "none"] = OWN


class Fitnet(Compared):
    """`student.losses.fitnet`: squared difference of the features, the student's through a learned map."""

    weight: NonNegative = OWN


class Rkd(Compared):
    """`student.losses.rkd`: distances and angles between the samples of a batch."""

    distances: NonNegative = OWN
    angles: NonNegative = OWN


class At(Compared):
    """`student.losses.at`: where the two networks attend to."""

    weight: NonNegative = OWN


class Losses(Section):
    """`student.losses`: what an arm's loss takes. A loss of the user (pipeline/losses/NAME.py) is one more
    entry, checked against its signature where it is used.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Plain]

    ce: Ce = Ce()
    kd: Kd = Kd()
    soft: Soft = Soft()
    dkd: Dkd = Dkd()
    dist: Dist = Dist()
    standardised: Standardised = Standardised()
    mse: Mse = Mse()
    hard: Hard = Hard()
    gm: Gm = Gm()
    skd: Skd = Skd()
    fitnet: Fitnet = Fitnet()
    rkd: Rkd = Rkd()
    at: At = At()

    def of(self, arm: str) -> dict[str, Any]:
        """The parameters given for an arm; its function has the defaults of all else."""
        settings = getattr(self, arm, None)
        return settings.model_dump() if isinstance(settings, Section) else dict(settings or {})


class StudentModel(Section):
    """`student.model`: which model of a family, the same for both arms."""

    size: Literal["micro", "tiny", "small", "base"] = "micro"  # of a family
    weights: Weights = "none"  # hub | none | a .safetensors file
    family_weights: dict[str, Weights] = {}  # other weights for single families, as {vit: FILE}
    overrides: Plain = {}

    def weights_of(self, family: str) -> str:
        """The weights that a family starts from."""
        return self.family_weights.get(family, self.weights)


class StudentTrain(Train):
    """`student.train`: how a student is fitted."""

    epochs: Count = 30
    # where epochs exceed views: the same turn again, or each turn in another order
    view_order: Literal["cycle", "shuffle"] = "cycle"
    # share of each class's training samples whose labels students are given; of the others they are given
    # what the teacher says alone
    labelled: Annotated[float, Field(gt=0, le=1)] = 1.0


def _trainable(values: dict[str, Any]) -> dict[str, Any]:
    """Checks some of `StudentTrain`'s values; pydantic puts where they stand before what it raises."""
    StudentTrain.model_validate(values)
    return values


def _distinct(value: list[Any]) -> list[Any]:
    twice = [one for number, one in enumerate(value) if one in value[:number]]
    if twice:
        raise ValueError(f"names an entry twice: {twice[0]}")
    return value


class Student(Section):
    """`student`: the matrix of students, and how each is trained."""

    families: Annotated[list[Annotated[str, name_like(FAMILY, tuple)]], Field(min_length=1)]
    arms: Annotated[list[Arm], Field(min_length=1)] = ["ce", "kd"]  # losses, by name
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    model: StudentModel = StudentModel()
    train: StudentTrain = StudentTrain()
    # other training values for single families, all arms: {vit: {lr: 1.0e-4, layer_decay: 0.7}}
    family_train: dict[str, Annotated[dict[str, Any], AfterValidator(_trainable)]] = {}
    losses: Losses = Field(default_factory=lambda: Losses.model_validate({}))
    # what students see worse than their teacher, while they are trained and on the test split:
    # {name: NAME, ...} of a corruption of the modality, and what it takes; empty: nothing
    corruption: Plain = {}

    def train_of(self, family: str) -> StudentTrain:
        """How a family is trained: `train`, with what `family_train` says otherwise."""
        return StudentTrain.model_validate(self.train.model_dump() | self.family_train.get(family, {}))

    @field_validator("families", "arms", "seeds")
    @classmethod
    def _once(cls, value: list[Any]) -> list[Any]:
        return _distinct(value)


class Report(Section):
    """`report`: the page."""

    title: str = "stillroom"
    # curves over how much students see: a key of student.corruption, and the values that finished students
    # and the teacher are measured at, as {joints: [0, 4, 8]}; empty: none
    levels: Annotated[dict[str, Levels], Field(max_length=1)] = {}


class Params(Section):
    """The whole of `params.yaml`."""

    data: Data
    views: Views
    teacher: Teacher
    cache: Cache = Cache()
    student: Student
    report: Report = Report()
    # where the curves of training go beside the results, which are the same with or without: files of
    # pipeline/trackers (dvclive, tensorboard, wandb, mlflow); no parameter of a stage for DVC
    track: list[str] = ["dvclive"]

    @field_validator("track")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        return _distinct(value)

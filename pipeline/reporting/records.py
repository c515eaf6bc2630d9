"""What the report reads, as the stages wrote it: the records of the teacher, the cache and the students."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Entry = tuple[str, str, int]  # family, arm, seed
Percent = Annotated[float, Field(ge=0, le=100)]


class Record(BaseModel):
    """Strict in type, open to further keys: the stages may write more than the report needs."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class Metrics(Record):
    """`metrics.json`: percent on the test split."""

    accuracy: Percent
    mAP: Percent
    top5: Percent
    calibration_error: Percent
    balanced_accuracy: Percent | None = None  # the key came later, as the next
    macro_f1: Percent | None = None
    train_seconds_per_image: float | None = None


class Epoch(Record):
    """One epoch of a history: its number, mean training loss, its terms where it has several, and learning
    rate.
    """

    epoch: int
    loss: float
    lr: float
    terms: dict[str, float] = {}


class Weights(Record):
    """Where the teacher's weights came from, and which of its tensors they did not fit."""

    source: str
    missing: list[str] = []
    unexpected: list[str] = []
    remade: list[str] = []


def _with(*names: str) -> AfterValidator:
    """Checks digests by name: there must be these, and one that the modality names."""

    def check(value: dict[str, str]) -> dict[str, str]:
        lacking = [name for name in names if name not in value]
        if lacking or len(value) == len(names):
            raise ValueError(f"lacks {', '.join(lacking) or 'what the samples are like'}")
        return value

    return AfterValidator(check)


# Of the test split: its keys and labels, in the order of the predictions, and its samples (`images`)
Tested = Annotated[dict[str, str], _with("keys", "labels")]
# What two arms must share: initial weights, order of the samples, and inputs (`pixels`)
Digests = Annotated[dict[str, str], _with("init", "order")]


class Known(Record):
    """How well folds' models know samples of train: percent, nats (`entropy`), and [0, 1] (`confidence`)."""

    accuracy: Percent
    calibration_error: Percent
    confidence: float
    entropy: float
    per_class: dict[str, Percent]


class Folds(Record):
    """Of a cross-fitted teacher: what its models make of samples that they were fitted to, and were not."""

    count: int
    whole: str | None = None  # digest of the model of all samples, where there is one
    in_fold: Known
    out_of_fold: Known


class Teacher(Record):
    """`teacher.json`, with the `metrics.json` beside it."""

    format: Literal["stillroom-teacher/1"]
    arch: str
    overrides: dict[str, Any]
    params: int
    flops: int | float | None
    digest: str
    weights: Weights
    classes: list[str]
    input: dict[str, Any]
    config: dict[str, Any]
    epochs: int
    history: list[Epoch]
    test: Tested
    metrics: Metrics
    folds: Folds | None = None


class Student(Record):
    """`student.json`, with the `metrics.json` beside it.

    `per_class_ap`: average precision of each class in percent; a class without a test sample has none (None).
    `unlabelled`: how many samples of its cache have no label. `seconds`: training time. `latency_ms`: by
    batch size. `cache_parts`: digests of what it took from the cache: of `data`, and of each output by its
    name.
    """

    format: Literal["stillroom-student/1"]
    family: str
    arm: str
    seed: int
    arch: str
    overrides: dict[str, Any]
    input: dict[str, Any] = {}
    params: int
    flops: int | float | None
    cache: str
    cache_parts: dict[str, str]
    digests: Digests
    test: Tested
    latency_ms: dict[str, float]
    config: dict[str, Any]
    history: list[Epoch]
    per_class_ap: dict[str, Percent | None]
    unlabelled: Annotated[int, Field(ge=0)] = 0
    seconds: float
    metrics: Metrics


class Extents(Record):
    """Views a sample, and samples, in the cache."""

    views: Annotated[int, Field(ge=1)]
    samples: Annotated[int, Field(ge=1)]


class Manifest(Record):
    """The parts of the cache's `manifest.json` that the report shows."""

    id: str
    extents: Extents
    identity: dict[str, Any]
    backend: str
    quality: Any = None
    environment: Any = None


@dataclass(frozen=True)
class Runs:
    """Everything the report is made from.

    Attributes:
        teacher: None: the cache was imported, and its teacher is elsewhere.
        cache_bytes: the sum of the sizes of the cache's files.
        labels: int64 [N] of the test split; None where no table was given.
        logits: float32 [D, N, C], what a student predicted for the test split, by (family, arm, seed); of
            those that kept it. D is 1, or how often the corruption of what students see was drawn.
        teacher_logits: float32 [N, C], likewise the teacher's, or None.
        corrupted: the teacher's scores on what students see, as of `metrics.json`; None: they see what it
            saw, or its weights are not here.
        levels: accuracy over how much is lost: `key` of the corruption, its `values`, `draws` of each,
            `teacher` (percent at each value; None: its weights are not here), and `students`, by family and
            arm the means over seeds. None: no curve is asked for.
    """

    teacher: Teacher | None
    manifest: Manifest
    cache_bytes: int
    students: tuple[Student, ...]
    labels: np.ndarray | None = None
    logits: dict[Entry, np.ndarray] = field(default_factory=dict)
    teacher_logits: np.ndarray | None = None
    corrupted: dict[str, Any] | None = None
    levels: dict[str, Any] | None = None

    @property
    def corruption(self) -> dict[str, Any] | None:
        """What students see worse than the teacher, which `pairing` holds equal for all."""
        return self.students[0].config.get("corruption") if self.students else None

    @property
    def labelled(self) -> float:
        """The share of training samples whose labels students were given, where it is the same for all."""
        shares = {student.config.get("train", {}).get("labelled", 1.0) for student in self.students}
        return shares.pop() if len(shares) == 1 else 1.0

    @property
    def unlabelled(self) -> int:
        """How many samples of the cache have no label."""
        return self.students[0].unlabelled if self.students else 0


def folder_name(entry: Entry) -> str:
    """The name of a student's folder."""
    return "{}-{}-{}".format(*entry)


def training_command(entry: Entry) -> str:
    """The command that trains a student."""
    return "stillroom student --family {} --arm {} --seed {}".format(*entry)


def first_commands(commands: Iterable[str]) -> str:
    """The first four of these commands, and how many more there are."""
    each = [f"`{command}`" for command in dict.fromkeys(commands)]
    return ", ".join(each[:4]) + (f" and {len(each) - 4} more" if len(each) > 4 else "")

"""The teacher that a folder with `teacher.json` and its weights holds: one model, or one for each fold."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.cache.read.store import Store
from stillroom.errors import CacheError, ParamsError, WeightsError
from stillroom.folds import Folds, divide, well_formed
from stillroom.modalities.base import Architecture, Model, Policy, Spec
from stillroom.modalities.weights import weights_digest
from stillroom.samples import Samples


def fold_file(fold: int) -> str:
    """What the weights of a fold's model are called in a teacher's folder."""
    return f"fold-{fold}.safetensors"


def weight_files(described: dict[str, Any]) -> list[str]:
    """The files that `load_teacher` reads in a teacher's folder."""
    if "folds" in described:
        return [fold_file(fold) for fold in range(len(described["folds"]["models"]))]
    return ["model.safetensors"]


@dataclass(frozen=True)
class Teacher:
    """Who is asked of the training samples.

    Attributes:
        models: one, or one for each fold, which was not fitted to the samples of it.
        folds: of the training samples; None: one model is asked of all.
    """

    models: Sequence[Model]
    folds: Folds | None = field(default=None)

    @property
    def spec(self) -> Spec:
        """What its models see."""
        return self.models[0].spec

    def to(self, device: Any) -> "Teacher":
        """Itself, with its models on a device."""
        for model in self.models:
            model.net.to(device)
        return self

    def asked(self, rows: np.ndarray) -> Iterator[tuple[Model, np.ndarray]]:
        """Which model is asked of which of these rows.

        Args:
            rows: of the training samples, int [n].

        Yields:
            a model, and positions in `rows`, ascending: each once.
        """
        if self.folds is None:
            yield self.models[0], np.arange(len(rows))
            return
        fold = self.folds.of_row[rows]
        for number in np.unique(fold):
            yield self.models[number], np.flatnonzero(fold == number)


def folds_of(described: dict[str, Any], train: Samples) -> Folds | None:
    """The folds of a teacher, divided again; None: it has none.

    Args:
        described: the content of its `teacher.json`.
        train: the training samples.

    Raises:
        CacheError: these samples fall into other folds than those that it was fitted to.
    """
    recorded = described.get("folds")
    if recorded is None:
        return None
    try:
        folds = divide(train, recorded["count"], recorded["seed"])
    except ParamsError:
        here = f"the samples here cannot be cut into {recorded['count']} folds any more"
    else:
        if folds.digest == recorded["digest"]:
            return folds
        here = f"{folds.digest[:16]}... of the samples here"
    raise CacheError(
        "the teacher was fitted in other folds than these training samples fall into",
        f"digest {recorded['digest'][:16]}... in teacher.json, {here}: keys, labels or groups changed, and a "
        "model could be asked of what it was fitted to",
        "put the old samples back, or run `stillroom teacher`",
    )


def with_folds(train: Samples, described: dict[str, dict[str, Any]], policy: Policy) -> Samples:
    """The training samples as views are drawn of them: where views are mixed, a cross-fitted teacher must
    know neither of the two, so both are of one fold.

    Args:
        described: by output, the content of its `teacher.json`.
        policy: what draws the views.

    Raises:
        ParamsError: views are mixed, and the teachers have not the same folds: they would see other views.
        CacheError: see `folds_of`.
    """
    folds = {name: folds_of(one, train) for name, one in described.items()}
    if not policy.mixes:
        return train
    kinds = {None if one is None else one.digest: one for one in folds.values()}
    if not kinds:
        return train
    if len(kinds) > 1:
        counts = (f"{name}: {'none' if one is None else one.count}" for name, one in sorted(folds.items()))
        raise ParamsError(
            "views are mixed, and the teachers of one cache have not the same folds",
            f"{', '.join(counts)}; a sample is mixed with one of its fold, so that its teacher knows neither",
            "fit all of them with the same teacher.folds and teacher.seed, or mix nothing (views.recipe)",
        )
    (one,) = kinds.values()
    return train if one is None else replace(train, fold=one.of_row)


def folds_in(store: Store, train: Samples | None) -> dict[str, np.ndarray]:
    """Which fold each row of a cache is in, int [N], for each of its outputs whose teacher is cross-fitted.

    They follow from keys and labels, which a cache holds; where groups or equal files decided, from the
    samples table alone. An output whose folds cannot be told is left out.

    Args:
        train: the training samples that are at hand, if there are any.
    """
    recorded = {
        name: folds
        for name, output in store.manifest.identity["outputs"].items()
        if well_formed(folds := folds_named(output))
    }
    if not recorded:
        return {}
    # a label of a stranger's cache may be any number: nothing is made as large as it
    names = sorted(label for label in {*store.labels.tolist()} if label >= 0)
    number = {label: place for place, label in enumerate(names)}
    rows = zip(store.keys, store.labels.tolist(), strict=True)
    bare = Samples(
        "", tuple(map(str, names)), tuple(_Row(key, number.get(label, -1)) for key, label in rows), Path()
    )
    known = {}
    for name, folds in recorded.items():
        for samples in (train, bare):
            if samples is None or len(samples) != len(bare):
                continue
            with suppress(ParamsError):
                divided = divide(samples, folds["count"], folds["seed"])
                if divided.digest == folds["digest"]:
                    known[name] = divided.of_row
    return known


def folds_named(output: Any) -> Any:
    """What an entry of `identity["outputs"]` says of folds; None: nothing."""
    teacher = output.get("teacher") if isinstance(output, dict) else None
    return teacher.get("folds") if isinstance(teacher, dict) else None


@dataclass(frozen=True)
class _Row:
    """What a cache holds of a sample."""

    key: str
    label: int
    split: str = "train"
    group: str = ""

    @property
    def sha256(self) -> str:
        """As if no two files were equal."""
        return self.key


def load_teacher(folder: Path, described: dict[str, Any], train: Samples) -> Teacher:
    """Make what `teacher.json` describes, with its weights.

    Args:
        folder: the one that `stillroom teacher` wrote.
        described: the content of its `teacher.json`.
        train: the training samples, which say who is in which fold.

    Raises:
        WeightsError: weights are missing, or not those that `teacher.json` describes.
        CacheError: see `folds_of`.
    """
    folds = folds_of(described, train)
    if folds is None:
        return Teacher([load_one(folder / "model.safetensors", described, described["digest"])])
    digests = described["folds"]["models"]
    models = [load_one(folder / fold_file(fold), described, digests[fold]) for fold in range(folds.count)]
    return Teacher(models, folds)


def load_first(folder: Path, described: dict[str, Any]) -> Model:
    """One of a teacher's models, whichever: to time it, or to ask for the shape of what it gives."""
    if "folds" in described:
        return load_one(folder / fold_file(0), described, described["folds"]["models"][0])
    return load_one(folder / "model.safetensors", described, described["digest"])


def load_one(file: Path, described: dict[str, Any], digest: str) -> Model:
    """A model that `teacher.json` describes, from a weights file.

    Args:
        digest: of the weights, as `teacher.json` has it.

    Raises:
        WeightsError: the file is missing, or holds other weights.
    """
    modality = modalities.of_record(described)
    classes = tuple(described["classes"])
    architecture = Architecture(described["arch"], described["overrides"], described["input"], classes)
    model = modality.create(architecture, len(classes), weights=str(file))
    if described.get("source") != model.made_by().get("source"):
        raise WeightsError(
            f"the file of {model.arch} has changed since `stillroom teacher` called it",
            "with the same weights it may answer otherwise",
            "put it back, or run `stillroom teacher` again (to keep the weights: teacher.weights: a copy of "
            f"{file.name}, and teacher.train.epochs: 0)",
        )
    digest_here = weights_digest(model.net)
    if digest_here != digest:
        raise WeightsError(
            f"{file} does not hold the weights that teacher.json describes",
            f"digest expected {digest[:16]}..., digest_here {digest_here[:16]}...",
            "run `stillroom teacher` again, or put the right weights back",
        )
    return model

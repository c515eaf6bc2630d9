"""What a later stage would refuse, reported before an earlier one spends its time."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stillroom import losses, modalities
from stillroom.cache import encodings
from stillroom.cache.format.outputs import source_of
from stillroom.errors import DataError, ParamsError
from stillroom.modalities.base import Spec
from stillroom.params import Cache, Params, Train
from stillroom.samples import Samples


def check_students(params: Params, samples: Samples, seen: Spec) -> list[str]:
    """Refuse students of the matrix that could not be trained from a teacher's cache.

    Args:
        samples: all of them, for the number of classes and of training samples.
        seen: what the teacher sees.

    Returns:
        notes on parameters that have no effect.

    Raises:
        ParamsError: a family cannot take its input, a batch cannot be cut, a loss learns nothing from so few
            classes or samples, or needs features that the cache will not have.
        DataError: there is one class.
    """
    student, notes = params.student, []
    modalities.get(samples.modality).check_students(params, seen)
    check_corruption(params, samples.modality, seen)
    one_each = {student.train_of(family).model_dump_json(): family for family in student.families}
    for arm in student.arms:
        _check_features(arm, params)
        for family in one_each.values():  # of those that are trained alike, one
            notes += check_arm(arm, params, samples, family)
    return list(dict.fromkeys(notes))


def check_corruption(params: Params, modality: str, seen: Spec) -> None:
    """Refuse what cannot make the views worse that students see, also at one of `report.levels`.

    Args:
        seen: what the teacher sees.

    Raises:
        ParamsError: see above.
    """
    kind, config = modalities.get(modality), params.student.corruption
    corruption = kind.corruption(config)
    if corruption is not None:
        corruption.check(seen)
    kind.levels(config, params.report.levels, spec=seen)


def _check_features(arm: str, params: Params) -> None:
    """Refuse a loss whose features `cache.teachers` does not name."""
    wanted, named = losses.load(arm, params.student.losses.of(arm)).features, params.cache.features
    if wanted is not None and wanted not in named:
        raise ParamsError(
            f"the loss {arm} needs the features {wanted!r}, and the cache will have none of that name",
            f"cache.teachers names {'the features ' + ', '.join(named) if named else 'logits alone'}",
            f"put {wanted}: {{of: logits, take: LAYER}} into cache.teachers and run `stillroom cache`, or "
            f"name others (student.losses.{arm}.features)",
        )


def check_taught(
    params: Params, samples: Samples, seen: Spec, outputs: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse students whose features are not those that their cache will hold.

    Args:
        seen: what the teacher sees.
        outputs: of the cache, as its identity has them.

    Raises:
        ParamsError: a student has no such layer, or its loss cannot compare what the two give.
    """
    from stillroom.losses._effect import check_features

    modality, arms = modalities.get(samples.modality), params.student.arms
    wanted = {arm: loss for arm in arms if (loss := losses.load(arm, params.student.losses.of(arm))).features}
    for family in params.student.families if wanted else ():
        architecture = replace(modality.student(family, params.student.model, seen), start=None)
        model = modality.create(architecture, len(samples.classes))
        for arm, loss in wanted.items():
            output = outputs[str(loss.features)]
            shape = model.shape_of(loss.layer or source_of(dict(output)), f"the loss {arm}")
            check_features(arm, loss, shape, output["shape"])


def check_arm(arm: str, params: Params, samples: Samples, family: str) -> list[str]:
    """The same of one family's loss.

    Raises:
        ParamsError, DataError: as `check_students`.
    """
    from stillroom.losses._effect import check_effect

    classes = len(samples.classes)
    if classes < 2:
        raise DataError("there is one class alone", "nothing can be learned from it", "add samples of others")
    train = params.student.train_of(family)
    check_balance(train, _where(params, family))
    loss = losses.load(arm, params.student.losses.of(arm))
    if train.class_weights != "none" and not loss.weighs:
        raise ParamsError(
            f"the loss {arm} takes no class weights, and {_where(params, family)}.class_weights is "
            f"{train.class_weights}",
            f"{arm} has no keyword class_weights in pipeline/losses/{arm}.py",
            "give it that keyword, and hand it on to its cross-entropy; or set order to balanced instead",
        )
    part = smallest_part(len(samples.in_cache()), train, _where(params, family))
    return check_effect(arm, loss, classes, part)


def check_balance(train: Train, key: str) -> None:
    """Refuse to make up for rare classes twice.

    Raises:
        ParamsError: samples of them are seen more often, and weigh more as well.
    """
    if train.class_weights == train.order == "balanced":
        raise ParamsError(
            f"{key}.class_weights and {key}.order are both balanced",
            "each alone makes all classes count alike; with both, rare ones count more than others",
            f"set {key}.class_weights to none, or {key}.order to shuffle",
        )


def smallest_part(count: int, train: Train, key: str) -> int:
    """The fewest samples that one forward pass sees.

    Raises:
        ParamsError: a batch has fewer samples than it is to be cut into.
    """
    if count == 0:
        raise DataError(
            "no sample is in train",
            "nothing can be learned from the others",
            "add some (data.path, data.table), then run `stillroom prepare`",
        )
    batch = count // -(-count // train.batch_size)
    if batch < train.accumulate:
        raise ParamsError(
            f"{key}.accumulate = {train.accumulate}: a batch of {batch} samples cannot be cut into "
            f"{train.accumulate} parts",
            f"batch_size is {train.batch_size}, and there are {count} training samples",
            "lower accumulate",
        )
    return batch // train.accumulate


def late(train: Train, key: str) -> list[str]:
    """The message about a warm-up that does not end."""
    if 0 < train.epochs <= train.warmup_epochs:
        return [
            f"note: {key}.warmup_epochs is {train.warmup_epochs}, epochs {train.epochs}: "
            "training ends while lr still rises"
        ]
    return []


def check_k(cache: Cache, classes: int) -> None:
    """Refuse to keep more logits than there are.

    Raises:
        ParamsError: `cache.k` is larger than the number of classes.
    """
    asked = encodings.described(cache)
    if asked.get("k", 0) > classes:
        raise ParamsError(
            f"cache.k = {asked['k']}, and there are {classes} classes",
            f"cache.encoding is {asked['encoding']}, which keeps the k largest logits",
            f"set cache.k to {classes} or less, or cache.encoding to float16",
        )


def _where(params: Params, family: str) -> str:
    own = params.student.family_train.get(family)
    return f"student.family_train.{family}" if own else "student.train"

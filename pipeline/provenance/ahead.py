"""What a later stage would refuse, said before an earlier one spends its time."""

from stillroom import losses
from stillroom.errors import DataError, ParamsError
from stillroom.params import Cache, Params, Train
from stillroom.samples import Samples


def check_students(params: Params, samples: Samples, size: int) -> list[str]:
    """Refuse students of the matrix that could not be trained from a teacher's cache.

    Args:
        samples: all of them, for the number of classes and of training samples.
        size: what the teacher sees, in pixels.

    Returns:
        notes on parameters that have no effect.

    Raises:
        ParamsError: a family cannot take its size, a batch cannot be cut, a loss learns nothing from so few
            classes or samples.
        DataError: there is one class.
    """
    student, notes = params.student, []
    _check_sizes(params, student.model.image_size or size)
    one_each = {student.train_of(family).model_dump_json(): family for family in student.families}
    for arm in student.arms:
        for family in one_each.values():  # of those that are trained alike, one
            notes += check_arm(arm, params, samples, family)
    return list(dict.fromkeys(notes))


def _check_sizes(params: Params, side: int) -> None:
    """Refuse a size that families of the matrix do not take; all are named, with sizes that suit all.

    Raises:
        ParamsError: see above.
    """
    from stillroom.modalities.images.models.create import near_sizes, takes
    from stillroom.modalities.images.models.families import FAMILIES, student_arch

    overrides = params.student.model.overrides

    def fault(family: str, side: int) -> ParamsError | None:
        try:
            arch, arguments = student_arch(family, params.student.model.size, side, overrides)
        except ParamsError as error:
            return error
        if overrides and family in FAMILIES:  # what is no override is known to work
            taken, why = takes(arch, side, [arguments])
            if taken is None:
                return ParamsError(
                    f"{family}: timm cannot make {arch} with {overrides}",
                    why,
                    "change student.model.overrides, or train the families that take them by themselves",
                )
        return None

    families = params.student.families
    faults = [found for found in (fault(family, side) for family in families) if found is not None]
    if len(faults) < 2:
        for found in faults:
            raise found
        return
    arch = FAMILIES["vit"].names["micro"]
    works = [near for near in near_sizes(arch, side) if not any(fault(one, near) for one in families)][:2]
    key = "student.model.image_size" if params.student.model.image_size else "views.size"
    raise ParamsError(
        "; ".join(found.what for found in faults),
        "; ".join(dict.fromkeys(found.why for found in faults)),
        f"set {key} to {' or '.join(map(str, sorted(works)))}" if works else "train them by themselves",
    )


def check_arm(arm: str, params: Params, samples: Samples, family: str) -> list[str]:
    """The same of one family's loss.

    Raises:
        ParamsError, DataError: as `check_students`.
    """
    from stillroom.losses._effect import check_effect

    classes = len(samples.classes)
    if classes < 2:
        raise DataError("there is one class alone", "nothing can be learned from it", "add images of others")
    train = params.student.train_of(family)
    part = smallest_part(len(samples.of("train")), train, _where(params, family))
    return check_effect(arm, losses.load(arm, params.student.losses.of(arm)), classes, part)


def smallest_part(count: int, train: Train, where: str) -> int:
    """The fewest samples that one forward pass sees.

    Raises:
        ParamsError: a batch has fewer samples than it is to be cut into.
    """
    batch = count // -(-count // train.batch_size) if count else 0
    if batch < train.accumulate:
        raise ParamsError(
            f"{where}.accumulate = {train.accumulate}: a batch of {batch} samples cannot be cut into "
            f"{train.accumulate} parts",
            f"batch_size is {train.batch_size}, and there are {count} training samples",
            "lower accumulate",
        )
    return batch // train.accumulate


def late(train: Train, where: str) -> list[str]:
    """What to say of a warm-up that does not end."""
    if 0 < train.epochs <= train.warmup_epochs:
        return [
            f"note: {where}.warmup_epochs is {train.warmup_epochs}, epochs {train.epochs}: "
            "training ends while lr still rises"
        ]
    return []


def check_k(cache: Cache, classes: int) -> None:
    """Refuse to keep more logits than there are.

    Raises:
        ParamsError: says how many.
    """
    if cache.encoding == "topk" and cache.k > classes:
        raise ParamsError(
            f"cache.k = {cache.k}, and there are {classes} classes",
            "cache.encoding is topk, which keeps the k largest logits",
            f"set cache.k to {classes} or less, or cache.encoding to float16",
        )


def _where(params: Params, family: str) -> str:
    own = params.student.family_train.get(family)
    return f"student.family_train.{family}" if own else "student.train"

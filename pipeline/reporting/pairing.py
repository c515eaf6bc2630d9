"""Refuses what cannot be compared: another teacher, another cache, arms that differ in more than the loss."""

from pathlib import Path
from typing import Any

from stillroom.cache.format.identity import identity_id
from stillroom.errors import CacheError, DataError, listing
from stillroom.reporting.records import Manifest, Student, Teacher, first_commands, training_command


def refuse_other_teacher(cache: Path, artifacts: Path, manifest: Manifest, teacher: Teacher) -> None:
    """The teacher that is reported must be one that the cache was made from."""
    outputs = manifest.identity.get("outputs")
    described = outputs.values() if isinstance(outputs, dict) else ()
    teachers = [output.get("teacher") for output in described if isinstance(output, dict)]
    digests = [cached.get("digest") for cached in teachers if isinstance(cached, dict)]
    recorded = ", ".join(str(digest) for digest in digests) or None
    if teacher.digest not in digests:
        raise CacheError(
            f"{cache} was not made from the teacher in {artifacts / 'teacher'}",
            f"teacher.digest: the cache says {recorded}, teacher.json says {teacher.digest}",
            "run `dvc repro`, which makes the cache again, or put the old teacher back",
        )


def refuse_unpaired(cache: Path, manifest: Manifest, students: tuple[Student, ...]) -> None:
    """Refuse students of another cache, arms of a family and seed that differ in more than the loss, seeds of
    an arm that differ in more than the seed, and families that were given other labels or see other views.
    """
    foreign: list[str] = []
    unpaired: list[str] = []
    redo: list[tuple[str, str, int]] = []
    first: dict[tuple[str, int], Student] = {}
    families: dict[str, Student] = {}
    arms: dict[tuple[str, str], Student] = {}
    for student in students:
        name = f"{student.family}-{student.arm}-{student.seed}"
        if not _was_trained_from(student, manifest):
            foreign.append(f"{name}: trained from cache {student.cache}, but {cache} is {manifest.id}")
            redo.append((student.family, student.arm, student.seed))
        other = first.setdefault((student.family, student.seed), student)
        differences = _differences(other, student)
        if other is student:
            other = families.setdefault(student.family, student)
            differences = _settings(other, student)
        if not differences:  # over arms, the loss is another; over seeds it is not
            other = arms.setdefault((student.family, student.arm), student)
            differences = _apart(other, student, "loss")
        if not differences:  # all are measured on the test split as they see it
            other = students[0]
            differences = _apart(other, student, "corruption", "train.labelled")
        if differences:
            pair = f"{other.family}-{other.arm}-{other.seed} and {name}"
            unpaired += [f"{pair}: {field} is {left} and {right}" for field, left, right in differences]
            redo += [(one.family, one.arm, one.seed) for one in (other, student)]
    if not foreign and not unpaired:
        return
    fix = f"train again: {first_commands(training_command(entry) for entry in redo)}"
    faults = foreign + unpaired
    if foreign:
        raise CacheError(
            "students were not trained from this cache:\n" + listing(faults, len(faults)),
            "the cache was made again, or a student was copied here; it says nothing about this cache",
            f"{fix}; `dvc repro` does it for all",
        )
    raise DataError(
        "arms cannot be compared:\n" + listing(faults, len(faults)),
        "ce and kd must differ in the target alone: a gain between these would mix in the other change",
        f"{fix}; `dvc repro` does it for all",
    )


def _was_trained_from(student: Student, manifest: Manifest) -> bool:
    """Whether a cache holds what a student was trained from: it may have got further outputs since."""
    if student.cache == manifest.id:
        return True
    identity, used = manifest.identity, dict(student.cache_parts)
    if not isinstance(identity.get("outputs"), dict):
        return False
    data = {name: value for name, value in identity.items() if name != "outputs"}
    held = {name: identity_id(output) for name, output in identity["outputs"].items()}
    return used.pop("data", "") == identity_id(data) and used.items() <= held.items()


def _differences(left: Student, right: Student) -> list[tuple[str, str, str]]:
    """What two arms should share and do not: (field, value, value)."""
    data, other_data = (student.cache_parts.get("data") for student in (left, right))
    pairs: list[tuple[str, Any, Any]] = [("cache", data, other_data)]
    for name in left.digests | right.digests:
        pairs.append((f"digests.{name}", left.digests.get(name), right.digests.get(name)))
    found = [(field, str(one), str(two)) for field, one, two in pairs if one != two]
    return found + _settings(left, right)


def _settings(left: Student, right: Student) -> list[tuple[str, str, str]]:
    """What differs between two models, and between how they were trained, but for the loss."""
    pairs = [
        (name, getattr(left, name), getattr(right, name)) for name in ("arch", "overrides", "params", "input")
    ]
    found = [(field, str(one), str(two)) for field, one, two in pairs if one != two]
    return found + _apart(left, right, "model", "train", "corruption")


def _apart(left: Student, right: Student, *sections: str) -> list[tuple[str, str, str]]:
    """What differs between their settings: (field, value, value)."""
    pairs: list[tuple[str, Any, Any]] = []
    for section in sections:
        one, two = (_flat(_under(side.config, section), section) for side in (left, right))
        for key in sorted(one.keys() | two.keys()):
            pairs.append((f"config.{key}", one.get(key, "not set"), two.get(key, "not set")))
    return [(field, str(one), str(two)) for field, one, two in pairs if one != two]


def _under(config: dict[str, Any], keys: str) -> Any:
    """What a dotted key holds; empty: nothing."""
    tree: Any = config
    for key in keys.split("."):
        tree = tree.get(key, {}) if isinstance(tree, dict) else {}
    return tree


def _flat(tree: Any, prefix: str) -> dict[str, Any]:
    """Nested sections as dotted keys."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {key: value for name in tree for key, value in _flat(tree[name], f"{prefix}.{name}").items()}

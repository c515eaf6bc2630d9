"""What a cache is made from, as the project describes it, and the check of a cache against it."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from stillroom import modalities
from stillroom.cache import encodings
from stillroom.cache.format import identity as identities
from stillroom.cache.format.manifest import Manifest
from stillroom.cache.format.outputs import imported, kind_of, origin_of, source_of
from stillroom.errors import AccessError, CacheError
from stillroom.files import read_small
from stillroom.folds import well_formed
from stillroom.modalities import LARGEST_RECORD
from stillroom.modalities.base import Model, Spec
from stillroom.params import Cache, Params, Teacher, Views, brought
from stillroom.samples import Samples

FIXES = {
    "outputs": "put the old teacher back, or run `stillroom cache --replace` to cache the present one",
    "samples": "use the data, split and class order that the cache was made from, or run "
    "`stillroom cache --replace`",
    "views": "set views.recipe and views.seed to what the cache was made with, or run "
    "`stillroom cache --replace`",
}
ENCODING_FIX = "set cache.encoding to what the cache was made with, or run `stillroom cache --replace`"
INPUT_FIX = (
    "set views.size (and the teacher's normalisation) to what the cache was made with, or run "
    "`stillroom cache --replace`"
)


def of_data(train: Samples, views: Views) -> dict[str, Any]:
    """The part of an identity that a student can know: its samples and its recipe."""
    return {
        "samples": {"count": len(train), **train.digests()},
        "views": {
            "recipe": modalities.get(train.modality).policy(views.recipe).describe(),
            "seed": views.seed,
        },
    }


def of_teacher(described: dict[str, Any]) -> dict[str, Any]:
    """What `teacher.json` records of an output: `teacher` and `input` in `identity["outputs"][NAME]`."""
    teacher = {
        "arch": described["arch"],
        "overrides": described["overrides"],
        "digest": described["digest"],
        "classes": len(described["classes"]),
    }
    if "source" in described:  # of the function that made it
        teacher["source"] = described["source"]
    if "folds" in described:
        folds = described["folds"]
        teacher["folds"] = {name: folds[name] for name in ("count", "seed", "digest", "models")}
    return {"teacher": teacher, "input": described["input"]}


def of_output(described: dict[str, Any], cache: Cache) -> dict[str, Any]:
    """An entry of `identity["outputs"]`, whole: of a teacher's logits."""
    return {
        "kind": "logits",
        **encodings.described(cache),
        "shape": [len(described["classes"])],
        **of_teacher(described),
    }


def of_outputs(
    described: dict[str, dict[str, Any]], cache: Cache, models: Callable[[str], Model]
) -> dict[str, dict[str, Any]]:
    """`identity["outputs"]` of the cache that the parameters ask for.

    Args:
        described: by output of `cache.folders`, the content of its `teacher.json`.
        models: gives the teacher of such an output, or one like it; asked where features are to be cached.

    Raises:
        ParamsError: a teacher has no such features; names those that it has.
    """
    outputs = {name: of_output(teacher, cache) for name, teacher in described.items()}
    for name, one in cache.features.items():
        shape = models(one.of).shape_of(one.take, f"cache.teachers.{name}.take")
        outputs[name] = {
            "kind": "features",
            "take": one.take,
            "encoding": "float16",
            "shape": list(shape),
            **of_teacher(described[one.of]),
        }
    return outputs


def refuse_other_data(described: dict[str, Any], folder: Path, samples: Samples) -> None:
    """Refuse a teacher of another kind of data, or of other data as far as they show it.

    Args:
        described: the content of its `teacher.json`.
        folder: where that lies, for the message.

    Raises:
        CacheError: see above.
    """
    kind = described.get("modality", "images")
    if kind != samples.modality:
        raise CacheError(
            f"{folder} holds a teacher of {kind}, and the samples are {samples.modality}",
            "cache.teachers names it",
            f"name a teacher of {samples.modality}, or run `stillroom prepare` for {kind}",
        )
    modalities.get(kind).check_seen(samples, described["input"])


def read_teacher(file: Path) -> dict[str, Any]:
    """The content of `teacher.json`.

    Raises:
        CacheError: it is missing or damaged.
        AccessError: this user may not read it.
    """
    try:
        record = json.loads(read_small(file, LARGEST_RECORD))
        of_teacher(record)
    except FileNotFoundError:
        fix = "run `stillroom teacher`, or fetch it (`dvc pull teacher`)"
        raise CacheError(f"{file} is not there", fix=fix) from None
    except PermissionError:
        raise AccessError(file) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"{file} cannot be read", f"{type(error).__name__}: {error}", "run `stillroom teacher`"
        ) from None
    for name, value, sound in (
        ("arch", record["arch"], isinstance(record["arch"], str)),
        ("overrides", record["overrides"], isinstance(record["overrides"], dict)),
        ("classes", record["classes"], isinstance(record["classes"], list) and len(record["classes"]) > 0),
        ("digest", record["digest"], isinstance(record["digest"], str)),
        ("folds", record.get("folds"), "folds" not in record or well_formed(record["folds"])),
    ):
        if not sound:
            raise CacheError(
                f"{file} is damaged",
                f"{name} = {value!r:.80}",
                "put the right file back, or run `stillroom teacher`",
            )
    wrong = modalities.of_record(record).check_spec(record["input"])
    if wrong:
        raise CacheError(f"{file} is damaged", wrong, "put the right file back, or run `stillroom teacher`")
    return dict(record)


def parts(identity: dict[str, Any], outputs: Sequence[str]) -> dict[str, str]:
    """Digests of what a student takes from a cache: `data` (samples and views), and each output it learns
    from.

    They stay the same where a cache gets another output, as its id does not.
    """
    data = {name: value for name, value in identity.items() if name != "outputs"}
    used = {name: identities.identity_id(identity["outputs"][name]) for name in outputs}
    return {"data": identities.identity_id(data), **used}


def check_samples(manifest: Manifest, train: Samples) -> None:
    """Refuse a cache of other samples: other images, split, labels or class order.

    Raises:
        CacheError: names each field that differs, with both values and what to do.
    """
    expected = {"samples": {"count": len(train), **train.digests()}}
    identities.check(expected, manifest.identity, fixes(()))


def check_against_cache(
    manifest: Manifest,
    train: Samples,
    params: Params,
    outputs: Sequence[str] = (),
    features: str | None = None,
) -> None:
    """Refuse a cache that does not belong to these samples and this recipe, nor to a teacher that is at hand.

    Args:
        outputs: what is to be used of its logits.
        features: what is to be used of its features.

    Raises:
        CacheError: names each field that differs, with both values and what to do.
    """
    held = manifest.identity["outputs"]
    for output in held.values():
        modalities.get(train.modality).check_seen(train, output["input"])
    missing = [name for name in outputs if name not in held]
    if missing:
        raise CacheError(
            f"the cache has no output {', '.join(missing)}",
            f"it holds {', '.join(sorted(held))}",
            "choose one of these (student.losses.kd.outputs), or add its teacher to cache.teachers and run "
            "`stillroom cache`",
        )
    wrong = [name for name in outputs if kind_of(held[name]) != "logits"]
    if wrong:
        raise CacheError(
            f"{', '.join(wrong)} of this cache {'are' if len(wrong) > 1 else 'is'} no output of logits",
            f"{kind_of(held[wrong[0]])} of the layer {source_of(held[wrong[0]])}",
            "name an output of logits",
        )
    if features is not None and (features not in held or kind_of(held[features]) != "features"):
        there = [name for name, one in held.items() if kind_of(one) == "features"]
        raise CacheError(
            f"the cache has no features {features!r}",
            f"it holds {'the features ' + ', '.join(sorted(there)) if there else 'logits alone'}",
            f"put {features}: {{of: logits, take: LAYER}} into cache.teachers and run `stillroom cache`",
        )
    expected = of_data(train, params.views)
    known: dict[str, Any] = {}
    if features is not None and features in params.cache.features:
        known[features] = {"take": params.cache.features[features].take}
    asked = modalities.get(train.modality).asked(params.views)
    other_input = not any(asked.items() <= one["input"].items() for one in held.values())
    for name in held:
        folder = params.cache.folder_of(name)
        if origin_of(held[name]) is not None:
            folder = None  # whatever lies there is not its teacher
        if folder is not None and (folder / "teacher.json").exists():
            known.setdefault(name, {}).update(of_teacher(read_teacher(folder / "teacher.json")))
        if other_input:
            known.setdefault(name, {})["input"] = {**held[name]["input"], **asked}
    identities.check({**expected, "outputs": known}, manifest.identity, fixes(known))


def input_seen(described: dict[str, dict[str, Any]]) -> Spec:
    """What students see of these teachers' cache: as `input_of` of its manifest."""
    return dict(described.get("logits", described[min(described)])["input"])


def input_of(manifest: Manifest) -> Spec:
    """What the teacher of `logits` saw, or that of the first output."""
    outputs = manifest.identity["outputs"]
    return dict(outputs.get("logits", outputs[min(outputs)])["input"])


def ignored(manifest: Manifest, params: Params) -> list[str]:
    """The message about parameters that ask for another cache, where that is no reason to refuse this one."""
    lines, outputs = [], manifest.identity["outputs"]
    for name, origin in sorted(imported(outputs).items()):
        lines.append(
            f"note: output {name} of this cache was imported from {origin}; no teacher here has a part in it"
        )
    arch, asked_for = outputs.get("logits", {}).get("teacher", {}).get("arch"), params.teacher.arch
    ours = "logits" in params.cache.teachers and "logits" not in imported(outputs)
    if ours and arch != asked_for and not brought(asked_for):
        lines.append(
            f"note: teacher.arch is {params.teacher.arch}; this cache was made by {arch}, which counts here"
        )
    if manifest.layout.views > params.views.count:
        lines.append(
            f"note: views.count is {params.views.count}; this cache holds {manifest.layout.views}, "
            "which are all used"
        )
    asked = {"k": params.cache.k} | encodings.described(params.cache)
    for name, output in sorted(manifest.identity["outputs"].items()):
        if kind_of(output) == "features":
            continue  # stored as they always are
        for key in asked:
            if key in output and output[key] != asked[key]:
                lines.append(
                    f"note: cache.{key} is {asked[key]}; {name} of this cache has {output[key]}, "
                    "which counts here"
                )
    if manifest.layout.views < params.views.count:
        lines.append(
            f"note: views.count is {params.views.count}; this cache holds {manifest.layout.views}, "
            "which are used in turn (`stillroom cache` computes the others)"
        )
    return lines


def other_teacher(described: dict[str, Any], teacher: Teacher) -> list[str]:
    """The message where the teacher that is there was made from other parameters."""
    made = described.get("config")
    if not isinstance(made, dict):
        return []
    asked, usual = _flat(teacher), _flat(type(teacher).model_construct())
    train = made.get("train")
    train = {f"train.{key}": value for key, value in train.items()} if isinstance(train, dict) else {}
    known = {**usual, **made, **train}  # a key that came later has its default in an older record
    differ = [
        f"{key} {known.get(key)} (params: {value})" for key, value in asked.items() if known.get(key) != value
    ]
    if not differ:
        return []
    return [f"note: the teacher that is there counts; it was made with {', '.join(differ)}"]


def _flat(teacher: Teacher) -> dict[str, Any]:
    """A section `teacher` by dotted keys."""
    values = teacher.model_dump(mode="json", exclude={"train"})
    train = {name: getattr(teacher.train, name) for name in type(teacher.train).model_fields}
    return {**values, **{f"train.{key}": value for key, value in train.items()}}


def check_growth(manifest: Manifest, identity: dict[str, Any], views: int) -> None:
    """Refuse to replace a cache by one that is not the same with more views or outputs.

    Args:
        manifest: of the cache that is there.
        identity, views: of the one that is to replace it.

    Raises:
        CacheError: names each field that differs, and what to do.
    """
    old = manifest.identity["outputs"]
    origins = imported(old)
    if origins:
        name, origin = next(iter(origins.items()))
        raise CacheError(
            f"output {name} of the cache that is there was imported from {origin}",
            "a teacher here can add nothing to it",
            "for more views, write them (`stillroom cache export-views`) and import the logits of all again; "
            "or give it up: `stillroom cache --replace`",
        )
    lost = [name for name in old if name not in identity["outputs"]]
    if lost:
        raise CacheError(
            f"the cache holds the outputs {', '.join(sorted(old))}; {', '.join(lost)} would be lost",
            "cache.teachers does not name them",
            "add them to cache.teachers, or run `stillroom cache --replace`",
        )
    shared = {name: identity["outputs"][name] for name in old}
    identities.check({**identity, "outputs": shared}, manifest.identity, fixes(old))
    if views < manifest.layout.views:
        raise CacheError(
            f"the cache holds {manifest.layout.views} views, and views.count is {views}",
            f"{manifest.layout.views - views} planes would be lost",
            f"set views.count to {manifest.layout.views} or more, or run `stillroom cache --replace`",
        )


def shares(manifest: Manifest, identity: dict[str, Any]) -> bool:
    """Whether a cache holds at least one output of an identity, of the same samples and views."""
    held, wanted = manifest.identity, json.loads(identities.canonical(identity))
    rest = [{name: value for name, value in one.items() if name != "outputs"} for one in (held, wanted)]
    return rest[0] == rest[1] and any(
        held["outputs"].get(name) == output for name, output in wanted["outputs"].items()
    )


def fixes(outputs: Iterable[str]) -> dict[str, str]:
    """What to do about each field of an identity."""
    special = dict.fromkeys(["encoding", *encodings.all_parameters()], ENCODING_FIX) | {"input": INPUT_FIX}
    contents = {
        f"samples.{name}": f"put the old {name} back, or make all of it again from the new ones: `dvc "
        "repro`, or `stillroom prepare`, `stillroom teacher`, `stillroom cache --replace` and the students"
        for name in modalities.names()
    }
    return (
        FIXES
        | contents
        | {f"outputs.{name}.{field}": fix for name in outputs for field, fix in special.items()}
    )

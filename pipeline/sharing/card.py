"""The card of what is shared: a README.md with the metadata that the Hub reads, and a page for people.

Keys of the metadata: https://github.com/huggingface/hub-docs, modelcard.md and datasetcard.md.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom import hub, modalities
from stillroom.cache.format.manifest import Manifest
from stillroom.cache.format.outputs import kind_of, origin_of
from stillroom.errors import ParamsError, StillroomError
from stillroom.fetched import masked
from stillroom.reporting.wording import between, family_name, method, percent, quantity, size
from stillroom.sharing.contents import Shared

# how samples lie, and no data set's name
_LAYOUTS = ("folder", "huggingface", "poses", "shards", "table", "torchvision")
MARK = "<!-- Written by `stillroom share`, which writes it anew; without this line it is left as it is. -->"
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
_SCORES = {
    "accuracy": "Accuracy, percent",
    "mAP": "Mean average precision, percent",
    "top5": "Top-5 accuracy, percent",
}


@dataclass(frozen=True)
class Around:
    """What the project knows of what is shared, beside the folder itself.

    Attributes:
        dataset: the name of the data set.
        results: the report's `results.json`, where it is about this very student.
        manifest: of the cache that a student learned from, or that a teacher made.
    """

    dataset: str | None = None
    results: dict[str, Any] | None = None
    manifest: Manifest | None = None


def look_around(shared: Shared, data: Path, report: Path, cache: Path) -> Around:
    """Find what belongs to it: what is of other data, another cache or another run is left out.

    Args:
        data: the folder of the samples table.
        report: the file `results.json`.
        cache: the folder of a cache.
    """
    dataset = results = manifest = None
    with suppress(StillroomError):
        samples = modalities.load_samples(data, Path())
        told = "samples" if shared.manifest else "test"
        recorded = shared.manifest.identity.get(told) if shared.manifest else shared.record.get(told)
        digests = (samples.in_cache() if shared.manifest else samples.in_splits("test")).digests()
        if isinstance(recorded, dict) and recorded.get("keys") == digests["keys"]:
            dataset = None if samples.dataset in _LAYOUTS else samples.dataset
    with suppress(OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        found = json.loads(report.read_text(encoding="utf-8"))
        mine = {name: shared.record.get(name) for name in ("family", "arm", "seed")}
        mine |= {name: shared.scores[name] for name in ("accuracy", "mAP")}
        rows = [row for row in found["rows"] if all(row[name] == value for name, value in mine.items())]
        if shared.kind == "student" and rows and found["cache"]["id"] == shared.record["cache"]:
            results = found
    with suppress(StillroomError):
        known = Manifest.load(cache)
        wanted = {"student": shared.record.get("cache") == known.id, "cache": False}
        if wanted.get(shared.kind, shared.record.get("digest") in _digests(known)):
            manifest = known
    return Around(dataset, results, manifest)


def card(shared: Shared, address: str, around: Around, licence: str | None = None) -> str:
    """The text of `README.md`, which `huggingface_hub` has read again.

    Args:
        address: where it is to be shared.
        licence: an identifier that the Hub knows, such as `apache-2.0`.

    Raises:
        ParamsError: the metadata cannot be read again.
    """
    from huggingface_hub import DatasetCard, ModelCard

    described = _of_cache if shared.kind == "cache" else _of_model
    metadata, body = described(shared, masked(address).rstrip("/"), around)
    if licence is not None:
        metadata.license = licence
    text = f"---\n{metadata.to_yaml()}\n---\n\n{MARK}\n\n{body}"
    kind = DatasetCard if shared.kind == "cache" else ModelCard
    try:
        again = kind(text)
    except ValueError as error:
        raise ParamsError("the card cannot be read again", str(error)[:300]) from None
    if again.data.to_yaml() != metadata.to_yaml():
        raise ParamsError("the card cannot be read again", "its metadata would be other ones")
    return text


def _of_cache(shared: Shared, address: str, around: Around) -> tuple[Any, str]:
    from huggingface_hub import DatasetCardData

    manifest = shared.manifest
    assert manifest is not None
    identity, layout = manifest.identity, manifest.layout
    images = "images" in identity.get("samples", {})
    name = around.dataset or "a data set"
    metadata = DatasetCardData(
        pretty_name=f"Teacher outputs on {name}, {layout.views} views",
        tags=["stillroom", "knowledge-distillation", "teacher-outputs"],
        task_categories=["image-classification"] if images else ["other"],
        size_categories=[next((word for most, word in _SIZES if layout.samples < most), "n>1M")],
        viewer=False,
    )
    recipe = identity.get("views", {})
    rows = [
        ("cache id", f"`{manifest.id}`"),
        ("views", f"{layout.views} of each of {layout.samples:,} samples of {_cell(name)}"),
        ("recipe", f"{_compact(recipe.get('recipe', {}))}, seed {recipe.get('seed')}"),
        ("size", f"{size(sum(shared.files.values()))} in {len(shared.files)} files ({manifest.backend})"),
    ]
    for output, entry in identity["outputs"].items():
        what = f"{kind_of(entry)} {list(entry['shape'])}, {entry['encoding']}"
        rows.append((f"`{output}`", f"{what}; {_teacher_of(entry)}"))
    body = f"""# A teacher's outputs on {_cell(name)}, cached

What a teacher said about {layout.views} augmented views of each sample, with each view's parameters,
made by stillroom. Students train from it without the teacher.

{_table(rows)}

## Use

```console
$ stillroom store verify {address}
$ stillroom student --family vit --arm kd --set cache.path={address}
```

```python
import stillroom

cache = stillroom.open_cache("{address}")
cache.keys, cache.labels      # of the samples
cache.logits(0)               # float32 [{layout.samples}, {_classes(identity)}], of view 0
cache.parameters(0)           # what view 0 is of each sample
stillroom.CachedDataset(cache, data="artifacts/data")     # for any training loop
```

It has the samples' keys and labels, not the samples: to train, the data set must be at hand. It does hold
small renderings of {len(manifest.probes)} views, by which a reader's machine is compared with the writer's.
"""
    return metadata, body


def _of_model(shared: Shared, address: str, around: Around) -> tuple[Any, str]:
    from huggingface_hub import EvalResult, ModelCardData

    record = shared.record
    images = record.get("modality", "images") == "images"
    student = shared.kind == "student"
    name = around.dataset or "its data set"
    short = f"{family_name(record['family'])} {record['arm']}" if student else record["arch"]
    base = _base_model(record, student)
    timm = images and "config.json" in shared.files
    results = [
        EvalResult(
            task_type="image-classification" if images else "other",
            dataset_name=name,
            dataset_type=around.dataset or "unknown",
            dataset_split="test",
            metric_type=metric,
            metric_name=_SCORES[metric],
            metric_value=shared.scores[metric],
        )
        for metric in _SCORES
        if isinstance(shared.scores.get(metric), int | float)
    ]
    more: dict[str, Any] = {"base_model": base} if base else {}
    if results:
        more |= {"model_name": f"{short} on {name}", "eval_results": results, "metrics": ["accuracy", "mAP"]}
    if around.dataset:
        more["datasets"] = [around.dataset]
    if images:
        more["pipeline_tag"] = "image-classification"
    metadata = ModelCardData(
        library_name="timm" if timm else "stillroom",
        tags=[
            "stillroom",
            "knowledge-distillation",
            *(["timm"] if timm else []),
            shared.kind,
        ],
        **more,
    )
    made = "distilled" if student and record["arm"] != "ce" else "trained"
    what = f"A {shared.kind}: `{_cell(record['arch'])}`, {made}"
    parameters = quantity(record.get("params"))
    body = f"""# {_cell(short)} on {_cell(name)}

{what} with stillroom: {parameters} parameters, {len(record["classes"])} classes.

{_scores(shared, around)}
## Use

{_use(shared, address, images)}
## How it was made

{_table(_made(shared, around, base))}
"""
    return metadata, body


def _scores(shared: Shared, around: Around) -> str:
    """The table of results, in percent on the test split, and the gain over the labels alone."""
    scores, record = shared.scores, shared.record
    if not scores:
        return ""
    lines = [
        "Percent on the test split:",
        "",
        "| | accuracy | mAP | top-5 | calibration error |",
        "|---|---:|---:|---:|---:|",
        f"| **this model** | {_four(scores)} |",
    ]
    results = around.results
    if results is None:
        return "\n".join([*lines, ""])
    rows = [
        row for row in results["rows"] if (row["family"], row["seed"]) == (record["family"], record["seed"])
    ]
    for row in rows:
        if row["arm"] == "ce" and record["arm"] != "ce":
            lines.append(f"| the same from labels alone (`ce`) | {_four(row)} |")
    lines += [f"| teacher, `{_cell(results['teacher']['arch'])}` | {_four(results['teacher'])} |", ""]
    line: dict[str, Any] = next(
        (line for line in results["summary"] if line["family"] == record["family"]), {}
    )
    gain = line.get("gains", {}).get(record["arm"])
    if gain and gain["accuracy"] is not None:
        gains = [between(gain[name], gain[f"{name}_interval"]) for name in ("accuracy", "mAP")]
        over = f"over {len(line['seeds'])} seeds" if len(line["seeds"]) > 1 else "of one seed"
        lines += [
            f"**Gain over `ce`** ({over}, in points): accuracy {gains[0]}, mAP {gains[1]}. Initial weights, "
            f"inputs, order and schedule are the same. {method(results)}",
            "",
        ]
    return "\n".join(lines)


def _four(scores: dict[str, Any]) -> str:
    return " | ".join(percent(scores.get(name)) for name in ("accuracy", "mAP", "top5", "calibration_error"))


def _use(shared: Shared, address: str, images: bool) -> str:
    place = hub.place_of(address)
    folder = shared.folder.name
    if place is None:
        copy = {"s3": f"aws s3 cp --recursive {address} {folder}"}.get(address.partition(":")[0])
        fetch = f"`{copy}`, then:" if copy else f"Copy `{address}` to `{folder}`, then:"
        timm = f"local-dir:{folder}"
    else:
        at = f" --revision {place.revision}" if place.revision else ""
        part = f" --include '{place.path}/*'" if place.path else ""
        fetch = f"`hf download {place.repo}{at}{part} --local-dir {folder}`, then:"
        timm = f"hf-hub:{place.repo}" + (f"@{place.revision}" if place.revision else "")
        if place.path:
            folder = f"{folder}/{place.path}"
            timm = f"local-dir:{folder}"
    whole = images and "config.json" in shared.files
    trust = f', trust="{shared.record["arch"]}"' if "source" in shared.record else ""
    lines = [fetch, ""] if place is None or not whole else []
    if whole:
        lines += [
            "```python",
            "import timm",
            "",
            f'model = timm.create_model("{timm}", pretrained=True).eval()',
            "```",
            "",
        ]
    if place is not None and whole:
        lines += [fetch, ""]
    lines += [
        "```python",
        "import stillroom",
        "",
        f'model = stillroom.load_model("{folder}"{trust})',
        "```",
        "",
    ]
    return "\n".join(lines)


def _made(shared: Shared, around: Around, base: str | None) -> list[tuple[str, str]]:
    record = shared.record
    config, known = record.get("config", {}), around.manifest
    train = config.get("train", {})
    rows = []
    if shared.kind == "student":
        rows += [
            ("arm", f"`{record['arm']}` {_compact(config.get('loss', {}))}".rstrip()),
            ("seed", f"{record['seed']}"),
        ]
        rows.append(("cache id", f"`{record['cache']}`, {record.get('views', '?')} views"))
        if known is not None:
            views = known.identity["views"]
            rows.append(("views", f"{_compact(views['recipe'])}, seed {views['seed']}"))
            rows += [
                (f"teacher (`{name}`)", _teacher_of(entry))
                for name, entry in known.identity["outputs"].items()
            ]
    else:
        rows.append(("digest of its weights", f"`{record['digest']}`"))
        if known is not None:
            rows.append(("its outputs", f"cache `{known.id}`"))
        if "recipe" in record:
            rows.append(("views in training", _compact(record["recipe"])))
    rows.append(("initial weights", f"`{base}`" if base else _initial(record, shared.kind == "student")))
    names = ("epochs", "batch_size", "opt", "lr", "weight_decay", "warmup_epochs", "drop_path", "amp")
    rows.append(("training", ", ".join(f"{name} {train[name]}" for name in names if name in train)))
    if config.get("corruption"):
        rows.append(("corruption of what it sees", _compact(config["corruption"])))
    rows.append(("input", _compact(record["input"])))
    versions = record.get("environment", {})
    rows.append(
        ("versions", ", ".join(f"{name} {versions[name]}" for name in ("torch", "timm") if name in versions))
    )
    return [(name, _cell(value)) for name, value in rows if value]


def _base_model(record: dict[str, Any], student: bool) -> str | None:
    """The model of the Hub that it began from; None: none is known."""
    import timm

    weights = _initial(record, student)
    if weights.startswith("hf-hub:"):
        return weights.removeprefix("hf-hub:").partition("@")[0]
    if weights != "hub":
        return None
    known: Any = timm.models.get_pretrained_cfg(record["arch"])
    name = getattr(known, "hf_hub_id", None) if known else None
    if not name:
        return None
    return f"{name}{known.architecture}.{known.tag}" if name.endswith("/") else str(name)


def _initial(record: dict[str, Any], student: bool) -> str:
    """Where its weights began: `none`, `hub`, a name; of a file the last part of its path, no more."""
    config = record.get("config", {})
    if student:
        model = config.get("model", {})
        asked = model.get("family_weights", {}).get(record.get("family"), model.get("weights", "none"))
        weights = record.get("weights", {}).get("source", asked)
    else:
        weights = record.get("weights", {}).get("source", config.get("weights", "none"))
    text = str(weights)
    return text if text.startswith("hf-hub:") else Path(text).name


def _teacher_of(entry: dict[str, Any]) -> str:
    origin = origin_of(entry)
    if origin is not None:
        return f"imported: {_cell(origin.get('text', '?'))}"
    teacher = entry.get("teacher", {})
    folds = f", {teacher['folds']['count']} folds" if isinstance(teacher.get("folds"), dict) else ""
    layer = f"{entry['take']} of " if "take" in entry else ""
    name, digest = _cell(teacher.get("arch", "unknown")), str(teacher.get("digest", ""))[:16]
    return f"{layer}`{name}`{folds}, weights `{digest}`"


def _digests(manifest: Manifest) -> list[str]:
    return [entry.get("teacher", {}).get("digest") for entry in manifest.identity["outputs"].values()]


def _classes(identity: dict[str, Any]) -> str:
    entry = identity["outputs"].get("logits") or next(iter(identity["outputs"].values()))
    return ", ".join(map(str, entry["shape"]))


def _compact(values: dict[str, Any]) -> str:
    """Settings in one line, their name first, what is not set left out."""
    left = {name: value for name, value in values.items() if value not in (None, {}, []) and name != "name"}
    text = ", ".join(f"{name} {_one(value)}" for name, value in left.items())
    return ", ".join(part for part in (str(values.get("name", "")), text) if part)


def _one(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_compact(value)})"
    if isinstance(value, list):
        return f"[{', '.join(map(_one, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _cell(text: str) -> str:
    """A text that cannot leave its line, its cell, or turn into HTML."""
    return re.sub(r"[|<>\n\r]", " ", masked(str(text)))

"""`stillroom plan`: what the cache will cost, and when it pays."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import DATA, TEACHER
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.cache.format.layout import ArraySpec
    from stillroom.modalities.base import Modality, Model
    from stillroom.params import Params
    from stillroom.samples import Samples
    from stillroom.teaching.rate import Rate


@click.command(epilog=about("stillroom plan --set views.count=64"))
@stage
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--no-measure", is_flag=True, help="Count files and bytes only; run no model.")
@click.option(
    "--devices",
    type=click.IntRange(1, 100_000),
    multiple=True,
    default=(1, 8, 64),
    show_default=True,
    help="How many devices like this machine's, each with as many cores: how long stage one takes on them. "
    "Give it once for each number.",
)
@click.option(
    "--price",
    type=click.FloatRange(0),
    default=None,
    help="Of a device, an hour: what stage one costs on each number of them.",
)
def plan(
    params: "Params", as_json: bool, no_measure: bool, devices: tuple[int, ...], price: float | None
) -> None:
    """Say how large the cache will be, how long stage one takes here, and when it beats an online teacher.

    It counts the whole cache, whatever is there already, and writes nothing. Bytes are at most: before
    compression. The time is measured for some seconds on real samples, in one process, with the teacher if it
    is there, else with an untrained one like it, which is as fast; several GPUs divide it.

    \b
    stage one = views x samples x (rendering + teacher), both at once where they can be
    online    = samples x teacher, an epoch of a student without a cache

    Rendering for the student happens in both cases. So the cache is cheaper than an online teacher after

    \b
    stage one / online = views x (rendering + teacher) / teacher

    epochs of students, in all of the matrix together.
    """
    from stillroom import modalities
    from stillroom.cache.format.estimate import estimate
    from stillroom.device import environment, settle
    from stillroom.errors import DataError
    from stillroom.provenance.ahead import check_students, late
    from stillroom.provenance.identity import input_seen, of_data, of_outputs, other_teacher
    from stillroom.teaching.generate import array_specs

    settle()
    samples_table = samples_to_read(params)
    modality = modalities.get(samples_table.modality)
    train = samples_table.in_cache()
    if not len(samples_table.in_splits("train")):
        raise DataError(
            f"the table in {DATA} has no training sample", fix="mend the split, run `stillroom prepare`"
        )
    taught, epochs = _students(params)
    cache, views, samples = params.cache, params.views.count, len(train)
    teachers = {name: _describe(Path(folder), params, train) for name, folder in cache.folders.items()}
    modality.check_asked(params.views, [one["input"] for one in teachers.values()])
    notes = check_students(params, samples_table, input_seen(teachers))
    notes += late(params.student.train, "student.train")
    for name, folder in cache.folders.items():
        if not (Path(folder) / "teacher.json").exists():
            notes += late(params.teacher.train, "teacher.train")
        elif Path(folder) == TEACHER:
            notes += other_teacher(teachers[name], params.teacher)
    models = {}
    if cache.features or not no_measure:
        models = {name: _model(name, teachers[name], params, modality) for name in teachers}
    identity = {**of_data(train, params.views), "outputs": of_outputs(teachers, cache, models.__getitem__)}
    specs = array_specs(identity, modality)
    size = estimate(
        cache.store,
        views,
        samples,
        cache.block_samples,
        specs,
        train.longest_key(),
        identity,
    )
    rates = {} if no_measure else {name: _rate(model, params, train) for name, model in models.items()}
    times = _times(rates, taught, train, params, epochs)
    facts: dict[str, Any] = {
        "teachers": [
            {
                "output": name,
                "folder": cache.folders[name],
                "arch": described["arch"],
                **modality.rendering(described["input"]),
                "sees": modality.shown(described["input"]),
                "classes": len(described["classes"]),
                "trained": (Path(cache.folders[name]) / "teacher.json").exists(),
                "folds": described["folds"]["count"] if "folds" in described else None,
            }
            for name, described in teachers.items()
        ],
        "fitting": _fitting(params, samples_table.in_splits("train"), rates),
        "views": views,
        "samples": samples,
        "classes": len(train.classes),
        "store": cache.store,
        "encoding": next(iter(identity["outputs"].values()))["encoding"],
        "files": size.files,
        "bytes_raw": {
            "outputs": size.outputs,
            "parameters": size.parameters,
            "keys": size.keys,
            "labels": size.labels,
            "manifest": size.manifest,
        },
        "bytes_of_outputs": _bytes_of_outputs(identity, views * samples),
        "bytes_at_most": size.bytes,
        "bytes_per_view_at_most": size.bytes_per_view,
        "student_epochs": epochs,
        **times,
        **_outlook(identity, specs, times["seconds"], train, params, (devices, price)),
        "notes": notes,
        "environment": environment(modality.environment()),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _show(facts, params)
        for line in notes:
            click.echo(line)


def _bytes_of_outputs(identity: dict[str, Any], count: int) -> dict[str, int]:
    """What the arrays of each output take before compression, of so many views."""
    from stillroom.cache.encodings import encoding_for

    return {
        name: count
        * sum(one.row_bytes for one in encoding_for(output).fields(name, tuple(output["shape"])).values())
        for name, output in identity["outputs"].items()
    }


def _students(params: "Params") -> tuple[list[str], int]:
    """The outputs that teach, and for how many student epochs in all."""
    from stillroom import losses
    from stillroom.errors import ParamsError

    student = params.student
    loaded = {arm: losses.load(arm, student.losses.of(arm)) for arm in student.arms}
    arms = {arm: loss.outputs for arm, loss in loaded.items() if loss.reads}
    given = [loss.features for loss in loaded.values() if loss.features in params.cache.features]
    known = list(params.cache.folders)
    taught: list[str] = []
    for arm, outputs in arms.items():
        for name in outputs:
            if name not in known:
                raise ParamsError(
                    f"student.losses.{arm}.outputs names {name!r}, and the cache will have no such output",
                    f"cache.teachers makes {', '.join(known)}",
                    "name one of these, or add its teacher to cache.teachers",
                )
            taught.append(name)
    epochs = sum(student.train_of(family).epochs for family in student.families)
    taught += [params.cache.features[name].of for name in given if name is not None]
    return list(dict.fromkeys(taught)) or known, epochs * len(arms) * len(student.seeds)


def _fitting(params: "Params", train: "Samples", rates: "dict[str, Rate]") -> dict[str, Any] | None:
    """What `stillroom teacher` has to do; None: nothing, there is a teacher or none that teaches here.

    `views` are the views that its models look at in all; a step of training takes a forward pass and about
    two more for the gradients.
    """
    from stillroom.training.head import VIEWS

    config, samples = params.teacher, len(train)
    outputs = [name for name, folder in params.cache.folders.items() if Path(folder) == TEACHER]
    if not outputs or (TEACHER / "teacher.json").exists():
        return None
    if config.train.freeze == "none" and not config.train.epochs:
        return None
    divided = config.folds > 1
    models = config.folds + config.folds_and_whole if divided else 1
    # of all samples: K models without one fold each are K - 1 models' worth, and one may see all
    passes = config.folds - 1 + config.folds_and_whole if divided else 1
    if config.train.freeze == "trunk":
        views, forwards = (1 + VIEWS) * samples, 1
    else:
        views, forwards = passes * config.train.epochs * samples, 3
    rate = rates.get(outputs[0])
    seconds = None if rate is None else views * (rate.render + forwards * rate.forward)
    return {"models": models, "views": views, "seconds_about": seconds}


def _describe(folder: Path, params: "Params", train: "Samples") -> dict[str, Any]:
    """What `teacher.json` says, or will say of a teacher as `teacher` describes it."""
    from stillroom import modalities
    from stillroom.provenance.identity import read_teacher, refuse_other_data

    if (folder / "teacher.json").exists():
        described = read_teacher(folder / "teacher.json")
        refuse_other_data(described, folder, train)
        return described
    architecture = modalities.get(train.modality).teacher_of(params, train.classes)
    return {
        "arch": architecture.arch,
        "overrides": architecture.overrides,
        "digest": "0" * 64,
        "classes": list(train.classes),
        "input": architecture.spec,
        **(
            {"folds": _folds(params.teacher.folds, params.teacher.seed, train)}
            if params.teacher.folds > 1
            else {}
        ),
    }


def _folds(count: int, seed: int, train: "Samples") -> dict[str, Any]:
    """What `teacher.json` will say of its folds, as long as it does."""
    from stillroom.folds import divide

    return {**divide(train, count, seed).describe(), "models": ["0" * 64] * count}


def _model(name: str, described: dict[str, Any], params: "Params", modality: "Modality") -> "Model":
    """The teacher of an output, or where there is none yet an untrained one like it."""
    import torch

    from stillroom.modalities.base import Architecture
    from stillroom.provenance.teacher import load_first

    folder = Path(params.cache.folders[name])
    with torch.random.fork_rng():  # making a model draws from torch's global generator
        if (folder / "teacher.json").exists():
            return load_first(folder, described)
        classes = tuple(described["classes"])
        architecture = Architecture(described["arch"], described["overrides"], described["input"], classes)
        return modality.create(architecture, len(classes))


def _rate(model: "Model", params: "Params", train: "Samples") -> "Rate":
    """How fast a teacher is."""
    from stillroom import modalities
    from stillroom.device import device
    from stillroom.teaching.rate import measure

    cache = params.cache
    model.net.to(device())
    recipe = modalities.get(train.modality).policy(params.views.recipe)
    return measure(model, train, recipe, params.views.seed, cache.batch_size, cache.amp, cache.block_samples)


def _times(
    rates: "dict[str, Rate]", taught: list[str], train: "Samples", params: "Params", epochs: int
) -> dict[str, Any]:
    """What the rates come to; every value None where nothing was measured."""
    from stillroom import modalities

    names = (
        "seconds_per_view",
        "views_per_second",
        "seconds",
        "online_seconds_per_epoch",
        "pays_after_student_epochs",
        "online_seconds",
        "saved_seconds",
    )
    if not rates:
        return dict.fromkeys(names)
    samples, views = len(train), params.views.count
    mixes = modalities.get(train.modality).policy(params.views.recipe).mixes
    block = params.cache.block_samples
    seconds = sum(rate.seconds(train, views, block, mixes) for rate in rates.values())
    epoch = samples * sum(rates[name].forward for name in taught)
    per_view = {
        "decode": max(rate.decode for rate in rates.values()),
        "render": sum(rate.render for rate in rates.values()),
        "teacher": sum(rate.forward for rate in rates.values()),
        "stage_one": seconds / (views * samples),
    }
    values = (
        per_view,
        views * samples / seconds,
        seconds,
        epoch,
        math.ceil(seconds / epoch),
        epochs * epoch,
        epochs * epoch - seconds,
    )
    return dict(zip(names, values, strict=True))


def _outlook(
    identity: dict[str, Any],
    specs: "dict[str, ArraySpec]",
    computing: float | None,
    train: "Samples",
    params: "Params",
    asked: tuple[tuple[int, ...], float | None],
) -> dict[str, Any]:
    """What stage one takes of memory, and of time on so many devices."""
    from dataclasses import asdict

    from stillroom import modalities
    from stillroom.machine import resident
    from stillroom.teaching.generate import bytes_of_block
    from stillroom.teaching.outlook import memory, outlook, publishing_rate

    if computing is None:
        return {"memory_at_most": None, "publishing_seconds": None, "on_devices": []}
    (devices, price), cache, views = asked, params.cache, params.views.count
    modality = modalities.get(train.modality)
    blocks = views * -(-len(train) // cache.block_samples)
    publishing = views * len(train) * publishing_rate(cache.store, identity, specs)
    answers = bytes_of_block(identity["outputs"], min(cache.block_samples, len(train)))
    spec = next(iter(identity["outputs"].values()))["input"]
    return {
        "memory_at_most": memory(resident(), train, modality, spec, cache.batch_size, answers, blocks),
        "publishing_seconds": publishing,
        "on_devices": [asdict(outlook(one, computing, publishing, blocks, price)) for one in devices],
    }


def _show(facts: dict[str, Any], params: "Params") -> None:
    """A table on a terminal, else a line a fact."""
    from stillroom.cache import encodings

    raw, per_view = facts["bytes_raw"], facts["seconds_per_view"]
    epochs, pays = facts["student_epochs"], facts["pays_after_student_epochs"]
    made = [
        f"{one['arch']} at {one['sees']}, "
        + (f"{one['folds']} folds, " if one["folds"] else "")
        + (f"in {one['folder']}" if one["trained"] else f"untrained: there is none in {one['folder']} yet")
        for one in facts["teachers"]
    ]
    encoding = f"{facts['encoding']}{encodings.described(params.cache).get('k', '')}"
    lines = [("teacher" if len(made) == 1 else "teachers", "; ".join(made))]
    lines += [
        (
            "extents",
            f"{facts['views']} views x {facts['samples']} samples x {facts['classes']} classes, {encoding}",
        ),
        ("files", f"{facts['files']} ({facts['store']})"),
        (
            "size",
            f"at most {_bytes(facts['bytes_at_most'])}, before compression: "
            f"{facts['bytes_per_view_at_most']} bytes a view",
        ),
        ("  of these", ", ".join(f"{name} {_bytes(value)}" for name, value in raw.items())),
    ]
    if len(facts["bytes_of_outputs"]) > 1:
        each = [f"{name} {_bytes(value)}" for name, value in facts["bytes_of_outputs"].items()]
        lines.append(("  outputs", ", ".join(each)))
    fitting = facts["fitting"]
    if fitting:
        models = "a model" if fitting["models"] == 1 else f"{fitting['models']} models"
        about = (
            "" if fitting["seconds_about"] is None else f"about {duration(fitting['seconds_about'])} here: "
        )
        lines.append(("fitting", f"{about}{models}, {fitting['views']:,} views"))
    if per_view is None:
        lines.append(("students", f"{epochs} epochs of distillation in the matrix"))
    else:
        online, seconds, saved = facts["online_seconds"], facts["seconds"], facts["saved_seconds"]
        lines += [
            (
                "a view",
                f"{1e3 * per_view['render']:.2f} ms to render, {1e3 * per_view['teacher']:.2f} ms of the "
                f"teacher; {1e3 * per_view['decode']:.2f} ms to read a sample",
            ),
            ("stage one", f"{duration(seconds)} here, at {facts['views_per_second']:.3g} views/s"),
            *(
                (
                    f"  on {one['devices']}",
                    f"{duration(one['seconds'])}, {one['device_hours']:.3g} device hours"
                    + ("" if one["cost"] is None else f", costs {one['cost']:,.4g}")
                    + (f"; {one['idle']} of them get no block" if one["idle"] else ""),
                )
                for one in facts["on_devices"]
            ),
            ("memory", f"at most {_bytes(facts['memory_at_most'])} a process of stage one, with its workers"),
            (
                "online",
                f"{duration(facts['online_seconds_per_epoch'])} of the teacher for each student epoch",
            ),
            (
                "pays after",
                f"{pays} student epochs in all: the cache is cheaper than an online teacher from there on",
            ),
            (
                "the matrix",
                f"{epochs} epochs of distillation: {duration(online)} of an online teacher, "
                f"{duration(seconds)} for the cache, "
                + (f"{duration(saved)} saved" if saved >= 0 else f"{duration(-saved)} lost"),
            ),
        ]
    title = "the cache that the parameters ask for"
    if not sys.stdout.isatty():
        click.echo(f"{title}\n" + "\n".join(f"{name:<11} {value}" for name, value in lines))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, title=title, title_justify="left")
    for name, value in lines:
        table.add_row(name, value)
    Console().print(table, markup=False, highlight=False)


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """Seconds as one speaks of them: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 40 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"

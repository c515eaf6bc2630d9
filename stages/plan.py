"""`stillroom plan`: what the cache will cost, and when it pays."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stages.console import DATA, data_root, stage

if TYPE_CHECKING:
    from pipeline.config import Params


@click.command()
@stage
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def plan(params: "Params", as_json: bool) -> None:
    """Say how large the cache will be, how long stage one takes here, and when it beats an online teacher.

    Measures for a few seconds, with the teacher if it is there, else with an untrained one like it.

    An online teacher runs on every view of every epoch of every student; the cache is paid once, whole:
    views x (rendering + teacher) against epochs x teacher, so it pays after
    views x (rendering + teacher) / teacher epochs of students in all.
    """
    from pipeline.cache.estimate import estimate
    from pipeline.device import device, environment, keep_memory
    from pipeline.generation.generate import array_specs
    from pipeline.generation.identity import of_output, read_teacher
    from pipeline.generation.rate import measure
    from pipeline.losses import NEEDS_TEACHER
    from pipeline.models.create import create
    from pipeline.samples import Samples
    from pipeline.views.recipe import make_recipe

    keep_memory()
    train = Samples.load(DATA, data_root(params)).of("train")
    recipe, cache = make_recipe(params.views.recipe.model_dump()), params.cache
    outputs, render, forward, whole, made = {}, 0.0, 0.0, 0.0, []
    for name, folder in cache.teachers.items():
        file = Path(folder) / "teacher.json"
        if file.exists():
            described = read_teacher(file)
            arch, overrides, size = described["arch"], described["overrides"], described["input"]["size"]
            made.append(f"{arch} in {folder}")
        else:
            arch, overrides, size = params.teacher.arch, params.teacher.overrides, params.views.size
            made.append(f"{arch}, untrained: there is none in {folder} yet")
        model = create(arch, len(train.classes), overrides, size=size)
        model.net.to(device())
        described = {
            "arch": arch,
            "overrides": overrides,
            "digest": "",
            "classes": train.classes,
            "input": {"size": model.size, "mean": list(model.mean), "std": list(model.std)},
        }
        outputs[name] = of_output(described, cache)
        rate = measure(model, train, recipe, params.views.seed, cache.batch_size, cache.amp)
        render, forward, whole = render + rate.render, forward + rate.forward, whole + rate.whole
    views, samples = params.views.count, len(train)
    key_bytes = max(len(row.key.encode()) for row in train.rows)
    specs = array_specs({"outputs": outputs})
    size_of = estimate(cache.store, views, samples, cache.block_samples, specs, key_bytes)
    student = params.student
    epochs = len(student.seeds) * sum(
        student.train_of(family).epochs
        for family in student.families
        for arm in student.arms
        if arm in NEEDS_TEACHER
    )
    pays = math.ceil(views * whole / forward)
    facts = {
        "teachers": made,
        "views": views,
        "samples": samples,
        "classes": len(train.classes),
        "store": cache.store,
        "encoding": cache.encoding,
        "files": size_of.files,
        "bytes_at_most": size_of.bytes,
        "bytes_per_view_at_most": size_of.bytes_per_view,
        "seconds_per_view": {"render": render, "teacher": forward, "stage_one": whole},
        "views_per_second": 1 / whole,
        "seconds": views * samples * whole,
        "student_epochs": epochs,
        "pays_after_student_epochs": pays,
        "online_seconds": epochs * samples * forward,
        "environment": environment(),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, title="the cache that params.yaml asks for", title_justify="left")
    for name, value in (
        ("teacher", ", ".join(made)),
        ("extents", f"{views} views x {samples} samples x {len(train.classes)} classes, {cache.encoding}"),
        ("files", f"{size_of.files} ({cache.store})"),
        ("size", f"at most {size_of.bytes / 2**20:.2f} MiB: {size_of.bytes_per_view} bytes a view"),
        ("a view", f"{1e3 * render:.2f} ms to render, {1e3 * forward:.2f} ms of the teacher"),
        ("stage one", f"{duration(views * samples * whole)} here, at {1 / whole:.3g} views/s"),
        ("students", f"{epochs} epochs of distillation in the matrix"),
        ("online", f"{duration(epochs * samples * forward)} of the teacher, were there no cache"),
        ("pays after", f"{pays} student epochs" + (": the matrix has fewer" if epochs < pays else "")),
    ):
        table.add_row(name, value)
    Console().print(table, markup=False, highlight=False)


def duration(seconds: float) -> str:
    """Seconds in the units that one speaks of."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"

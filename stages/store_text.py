"""What `stillroom store` prints for people: the facts of a cache, and of an audit."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stillroom.modalities.base import Modality


def print_info(path: Path | str, facts: dict[str, Any], manifest: Any) -> None:
    """Print what `stillroom store info` reports of a cache."""
    from rich.console import Console
    from rich.table import Table

    from stillroom import modalities
    from stillroom.cache.format.outputs import origin_of
    from stillroom.fetched import masked
    from stillroom.folds import well_formed

    title = f"cache {facts['id'][:16]} in {masked(str(path))}"
    table = Table(show_header=False, title=title, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    identity = manifest.identity
    modality = modalities.of_identity(identity)
    table.add_row("id", facts["id"])
    table.add_row(
        "extents", f"{facts['views']} views x {facts['samples']} samples, in {facts['blocks']} blocks"
    )
    if facts.get("unlabelled"):
        table.add_row("labels", f"{facts['unlabelled']:,} of the samples have none")
    table.add_row(
        "size",
        f"{facts['bytes'] / 2**20:.2f} MiB in {facts['files']} files ({facts['backend']}): "
        f"{facts['bytes_per_view']} bytes a view",
    )
    with_label = " of samples with a label" if facts.get("unlabelled") else ""
    samples, views = identity.get("samples", {}), identity.get("views", {})
    # enough of a digest to compare by eye; --json has them whole
    for name, value in samples.items():
        if name != "count":
            table.add_row(f"samples.{name}", f"{value}"[:16])
    table.add_row("views.recipe", ", ".join(f"{k} {v}" for k, v in views.get("recipe", {}).items()))
    table.add_row("views.seed", f"{views.get('seed')}")
    for name, entry in identity["outputs"].items():
        teacher = entry.get("teacher", {})
        kept = f"{entry['encoding']}{entry.get('k', '')} x {entry['shape']}"
        layer = f"{entry['take']} of " if "take" in entry else ""
        seen = modality.shown(entry.get("input", {})) if modality else f"{entry.get('input', '?')}"
        origin = origin_of(entry)
        if origin is None:
            table.add_row(name, f"{kept}, by {layer}{teacher.get('arch', 'unknown')} at {seen}")
            table.add_row("  teacher", teacher.get("digest", "unknown")[:16])
        else:
            table.add_row(name, f"{kept}, imported, of views at {seen}")
            table.add_row("  origin", f"{origin.get('text', '?')}")
            table.add_row("  file", f"sha256 {origin.get('sha256', '?')}"[:23])
        if well_formed(teacher.get("folds")):
            count = teacher["folds"]["count"]
            table.add_row(
                "  folds", f"{count}: each sample by a model that was fitted to the {count - 1} others"
            )
        one = facts["outputs"].get(name)
        if one is None:
            continue
        if "length" in one:
            zeros = f"; {one['zeros']} views are all zero" if one["zeros"] else ""
            table.add_row("  length", f"{one['length']:.3g} in the mean{zeros}")
            for what, error in one["divergence"].items():
                table.add_row(f"  {what} error", f"{error['mean']:.2e} mean, {error['max']:.2e} largest")
            continue
        if one["accuracy"] is not None:
            by_view = f"{min(one['accuracy_by_view']):.2f}-{max(one['accuracy_by_view']):.2f}% by view"
            table.add_row("  accuracy", f"{one['accuracy']:.2f}% over all views{with_label}, {by_view}")
            table.add_row("  calibration error", f"{one['calibration_error']:.2f}%")
        table.add_row(
            "  entropy", f"{one['entropy']:.3f} nats, mean confidence {100 * one['confidence']:.1f}%"
        )
        if one["agreement"] is not None:
            table.add_row("  agreement between views", f"{one['agreement']:.2f}% of pairs")
        for fold, scores in enumerate(one.get("folds", ())):
            right = "" if scores["accuracy"] is None else f"{scores['accuracy']:.2f}% right, "
            error = scores["calibration_error"]
            error = "" if error is None else f", calibration error {error:.2f}%"
            table.add_row(
                f"  fold {fold}, unseen",
                f"{right}confidence {100 * scores['confidence']:.1f}%, {scores['entropy']:.3f} nats{error}",
            )
        for temperature, kl in one["divergence"].items():
            table.add_row(
                f"  KL to float32, {temperature}", f"{kl['mean']:.2e} mean, {kl['max']:.2e} largest"
            )
    versions = (f"{name} {value}" for name, value in manifest.environment.items() if isinstance(value, str))
    table.add_row("written with", ", ".join(versions))
    Console().print(table, markup=False, highlight=False)


def print_audit(audit: Any, modality: "Modality") -> None:
    """Print the results of `stillroom store audit`."""
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "found", "means", title=f"audit of {audit.output}: {audit.views} views")
    if audit.pixels:
        pixels = f"by {audit.pixels:.3g} {modality.UNITS} at most, {audit.pixels_mean:.3g} in the mean"
    else:
        pixels = "equal bit for bit"
    table.add_row(f"{modality.INPUTS} of the probes", pixels, "rendered here, against the manifest")
    table.add_row(
        "parameters",
        f"{audit.parameters} drawn otherwise",
        "by this version's generator; the stored ones count",
    )
    table.add_row("values equal", f"{audit.equal} of {audit.views}", "bit for bit, after encoding")
    table.add_row("largest difference", f"{audit.largest:.2e}", f"mean {audit.mean:.2e}")
    table.add_row("this machine's noise", f"{audit.here:.2e}", "the same views in other batches")
    table.add_row("explained by noise", f"up to {audit.noise:.2e}", "float arithmetic and the encoding")
    if audit.another_view is not None:
        table.add_row(
            "a wrong view", f"{audit.another_view:.2e}", "median difference between views of a sample"
        )
    Console().print(table)
    for key, view, apart in audit.beyond[:20]:
        click.echo(f"beyond noise: {key}, view {view}: {apart:.3g}")
    if len(audit.beyond) > 20:
        click.echo(f"... and {len(audit.beyond) - 20} more")
    click.echo("the cache holds what this teacher says" if audit.ok else "this is not what the teacher says")

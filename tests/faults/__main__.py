"""`make faults`: what a cache survives, in numbers. Ends with 1 if it does not.

python -m tests.faults [--kills 100] [--flips 1000] [--manifests 200] [--samples 1000000] [--nodes 8]
    [--json FILE]
"""

import importlib.util
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.faults import damage, kills, ray_kills, size

COMMANDS = [
    ["store", "info"],
    ["store", "verify"],
    ["store", "audit", "--views", "8"],
    ["store", "show", "applauding_002", "--out", "sheet.png"],
    ["store", "repair"],
    ["cache", "--set", "views.count=61"],
    ["cache", "--replace", "--set", "cache.store=hdf5"],
]


@click.command()
@click.option("--kills", "killed", default=100, show_default=True, help="SIGKILLs of `stillroom cache`.")
@click.option("--flips", "flipped", default=1000, show_default=True, help="Single-bit flips.")
@click.option("--manifests", default=200, show_default=True, help="Hostile manifests.")
@click.option("--samples", default=1_000_000, show_default=True, help="Of the large cache, 1,000 classes.")
@click.option("--views", default=64, show_default=True, help="Of the caches of 4,000 x 40.")
@click.option("--nodes", default=8, show_default=True, help="Of a Ray cluster; three eighths are killed.")
@click.option("--only", multiple=True, metavar="START", help="Parts whose name starts so; all if left out.")
@click.option("--json", "file", type=click.Path(path_type=Path), default=None, help="Also write this file.")
def main(
    killed: int,
    flipped: int,
    manifests: int,
    samples: int,
    views: int,
    nodes: int,
    only: tuple[str, ...],
    file: Path | None,
) -> None:
    """Kill, damage, fill and measure caches; print what happened."""
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="stillroom-faults-"))
    results: dict[str, dict] = {}
    ok = True
    table = Table("what", "result", "whole", title="faults")

    def part(
        name: str, work: Callable[[], dict], show: Callable[[dict], str], good: Callable[[dict], bool]
    ) -> None:
        nonlocal ok
        if only and not name.startswith(only):
            return
        began = time.monotonic()
        try:
            found = work()
        except PermissionError as error:
            table.add_row(name, f"not run: {error}", "-")
            return
        results[name] = found
        fine = good(found)
        ok = ok and fine
        table.add_row(name, show(found), "yes" if fine else "NO")
        seconds = time.monotonic() - began
        console.print(f"{name}: {show(found)} ({seconds:.0f} s)", markup=False, highlight=False)
        for fault in [
            fault for kind in ("faults", "missed", "accepted", "changed") for fault in found.get(kind, [])
        ]:
            console.print(f"    {fault}", markup=False, highlight=False)

    try:
        part(
            "kills",
            lambda: kills.kills(folder / "kills", killed),
            lambda f: (
                f"{f['kills']} ({f['starting']} starting, {f['computing']} computing, {f['publishing']} "
                f"publishing), {f['finished']} runs finished: {len(f['faults'])} faults"
            ),
            lambda f: not f["faults"] and f["kills"] == killed,
        )
        part(
            "bit flips",
            lambda: damage.flips(folder / "flips", flipped),
            lambda f: f"{f['found']} found, {f['harmless']} changed no value, {len(f['missed'])} missed",
            lambda f: not f["missed"],
        )
        part(
            "wounds",
            lambda: damage.wounds(folder / "wounds"),
            lambda f: (
                f"{f['wounds']} files cut, emptied, deleted, swapped, foreign: {len(f['missed'])} missed"
            ),
            lambda f: not f["missed"],
        )
        part(
            "hostile manifests",
            lambda: damage.manifests(folder / "manifests", manifests),
            lambda f: (
                f"{f['refused']} refused, each within {f['seconds']} s and {f['megabytes']} MB; "
                f"{len(f['accepted'])} accepted"
            ),
            lambda f: not f["accepted"] and f["megabytes"] < 200 and f["refused"] == manifests,
        )
        part(
            "linked stores",
            lambda: damage.links(folder / "kills", COMMANDS),
            lambda f: f"{f['commands']} commands, {len(f['changed'])} changed a linked file",
            lambda f: not f["changed"],
        )
        part(
            "full and read-only disk",
            lambda: damage.full_disk(folder / "kills", folder / "disk"),
            lambda f: f"stopped with a message, {f['kept']} blocks kept and not computed again",
            lambda f: not f["faults"] and f["kept"] > 0,
        )
        if importlib.util.find_spec("ray"):
            part(
                "ray nodes",
                lambda: ray_kills.ray_kills(folder / "ray", nodes, nodes * 3 // 8),
                lambda f: (
                    f"{f['killed']} of {f['nodes']} killed, {f['lost']} of {f['tasks']} tasks done twice; "
                    f"{len(f['faults'])} faults"
                ),
                lambda f: not f["faults"] and f["killed"] > 0,
            )
        small = size.small(folder / "small", views) if not only or "4,000".startswith(only) else {}
        for name, one in small.items():
            part(f"4,000 x {views} x 40 {name}", lambda one=one: one, _show_small, partial(_good_small, name))
        for count in (samples // 10, samples):
            work = partial(size.large, folder / "large", count)
            part(f"{count:,} x 4 x 1,000 topk", work, _show_large, _good_large)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(table)
    if file:
        file.write_text(json.dumps(results, indent=2) + "\n")
    sys.exit(0 if ok else 1)


def _show_small(found: dict) -> str:
    return (
        f"{found['bytes_per_view']} bytes a view, KL {found['kl']:.1e}; verify {found['verify_mb_s']} MB/s, "
        f"{found['ratio']} of sha256sum; first plane after {found['open_and_plane_ms']} ms"
    )


def _good_small(name: str, found: dict) -> bool:
    most = 92 if "float16" in name else 58
    return found["bytes_per_view"] <= most and found["kl"] < 2e-5


def _show_large(found: dict) -> str:
    write, read = found["write"], found["verify"]
    return (
        f"{write['bytes_per_view']} bytes a view; written in {write['seconds']} s, {write['megabytes']} MB, "
        f"verified in {read['seconds']} s ({read['mb_s']} MB/s), {read['megabytes']} MB"
    )


def _good_large(found: dict) -> bool:
    return found["write"]["bytes_per_view"] < 80 and not found["verify"]["damage"]


if __name__ == "__main__":
    main()

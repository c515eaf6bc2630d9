"""How the report writes what it found: names, numbers with their units, gains with their intervals."""

from collections.abc import Sequence
from typing import Any

FAMILY_NAMES = {
    "vit": "ViT",
    "pvt": "PVT",
    "convit": "ConViT",
    "mvit": "MViT",
    "swin": "Swin",
    "twins": "Twins",
    "stgcn": "ST-GCN",
    "shiftgcn": "Shift-GCN",
    "ctrgcn": "CTR-GCN",
    "spacetime": "Space-time",
}
SHARED = ("seed", "draw_at", "draws")  # keys that all corruptions have
FEW_SEEDS = 5  # with fewer the intervals are too narrow (measured: pipeline/reporting/bootstrap.py)


def family_name(family: str) -> str:
    """A family as papers write it."""
    return FAMILY_NAMES.get(family, family)


def percent(value: float | None) -> str:
    """Two decimals, or a dash for what was not measured."""
    return "-" if value is None else f"{value:.2f}"


def signed(value: float | None, decimals: int = 2) -> str:
    """A gain with its sign; one that rounds to nothing has none."""
    if value is None:
        return "-"
    rounded = round(value, decimals) + 0.0
    return f"{rounded:+.{decimals}f}" if rounded else f"{0:.{decimals}f}"


def size(count: float) -> str:
    """Bytes in decimal units, as `ls --si` shows them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def quantity(count: float | None) -> str:
    """A number of parameters or operations: `5.52 M`, `1.26 G`."""
    if count is None:
        return "-"
    for unit in ("", " k", " M", " G"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} T"


def method(results: dict[str, Any]) -> str:
    """What the intervals are and which are missing, in a sentence or two; empty where there is no gain."""
    taught = [
        (family_name(line["family"]), arm, gain)
        for line in results["summary"]
        for arm, gain in line["gains"].items()
        if gain["accuracy"] is not None
    ]
    without = [f"{family} {arm}" for family, arm, gain in taught if gain["accuracy_interval"] is None]
    if not taught:
        return ""
    if len(without) == len(taught):
        return "No intervals: the students' predictions were not kept. Students trained again keep theirs."
    made = results["bootstrap"]
    fewest, most = (f(len(line["seeds"]) for line in results["summary"]) for f in (min, max))
    resampled = f"{made['images']:,} test {word(results, 'samples')}" + (
        f" and {most} seeds" if most > 1 else ""
    )
    count = f"{made['resamples']:,}"
    text = f"Intervals: 95%, paired bootstrap, {count} resamples of {resampled} (`stillroom report`)"
    if most == 1:
        text += "; with one seed, what another would change is not in them"
    elif fewest < FEW_SEEDS:
        text += "; so few seeds tell too little of what others would change"
    if without:
        text += f". None for {', '.join(without)}: a student's predictions were not kept"
    return text + "."


def corruption(described: dict[str, Any]) -> str:
    """A corruption with its numbers: `joint_loss (joints 8), drawn anew each epoch`."""
    own = {
        name: value
        for name, value in described.items()
        if name not in ("name", *SHARED) and value is not False and value is not None
    }
    numbers = ", ".join(f"{name} {_compact(value)}" for name, value in own.items())
    draws = "one fixed draw a sample" if described.get("draw_at") == "fixed" else "drawn anew each epoch"
    return f"{described['name']}{f' ({numbers})' if numbers else ''}, {draws}"


def draws(count: int) -> str:
    """`one draw`, or `3 draws`."""
    return "one draw" if count == 1 else f"{count} draws"


def share(value: float) -> str:
    """A share in [0, 1] as a number of percent, with the decimals it needs: `10`, `0.5`."""
    return f"{100 * value:g}"


def without_label(results: dict[str, Any]) -> str:
    """The sentence about samples that nobody knows the class of; empty: there are none."""
    count, whole = results["cache"].get("unlabelled", 0), results["cache"]["samples"]
    if not count:
        return ""
    noun = word(results, "samples")
    return (
        f"{count:,} of the {whole:,} {noun} that students see have no label: ce learns from the "
        f"{whole - count:,} others alone."
    )


def uneven(results: dict[str, Any]) -> bool:
    """Whether classes are of so different sizes on the test split that the mean over classes is another."""
    return any(
        abs(row["balanced_accuracy"] - row["accuracy"]) >= 0.01
        for row in results["rows"]
        if row.get("balanced_accuracy") is not None
    )


def _compact(value: Any) -> str:
    if isinstance(value, dict):
        inner = [f"{name} {_compact(one)}" for name, one in value.items() if name != "name"]
        return " ".join([str(value.get("name", "")), *inner]).strip()
    return " + ".join(map(_compact, value)) if isinstance(value, list) else str(value)


def word(results: dict[str, Any], what: str) -> str:
    """What the modality calls its `samples` or `inputs`; results of earlier versions are of images."""
    noun: str = results.get("words", {"samples": "images", "inputs": "pixels"})[what]
    return noun


def between(gain: float | None, interval: Sequence[float] | None) -> str:
    """A gain with its interval, where there is one: `+3.42 [+1.10, +5.70]`."""
    if gain is None or interval is None:
        return signed(gain)
    return f"{signed(gain)} [{signed(interval[0])}, {signed(interval[1])}]"

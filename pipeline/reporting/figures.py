"""The figures of the report as inline SVG.

Positions across are percentages, so that a figure fits any width at one text size. Colours come from the
page's custom properties (`--muted`, `--line`, `--paper`, `--accent`), which change between light and dark;
`STYLE` is the CSS that goes with the figures.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

from stillroom.reporting.records import Student, Teacher
from stillroom.reporting.wording import family_name, signed

STYLE = """
svg.figure { display: block; width: 100%; overflow: visible; font: 13px var(--sans); }
svg.figure { font-variant-numeric: tabular-nums; }
svg.figure text { fill: currentColor; }
svg.figure .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 5px; stroke-linejoin: round; }
svg.figure .muted { fill: var(--muted); }
svg.figure .small { font-size: 11.5px; }
svg.figure .name { font-weight: 600; }
svg.figure .gain { fill: var(--accent-text); font-weight: 600; }
svg.figure .grid { stroke: var(--line); stroke-width: 1; }
svg.figure .axis { stroke: var(--muted); stroke-width: 1; }
svg.figure .teacher { stroke: currentColor; stroke-width: 1.25; stroke-dasharray: 2 4; }
svg.figure .link { stroke: var(--accent); stroke-width: 3; stroke-opacity: .4; }
svg.figure .link.loss { stroke: var(--muted); }
svg.figure .dot.ce { fill: var(--paper); stroke: var(--muted); stroke-width: 2.25; }
svg.figure .dot.kd { fill: var(--accent); stroke: var(--paper); stroke-width: 1.5; }
svg.figure .dot.term { fill: var(--muted); }
svg.figure .dot.teacher { fill: var(--paper); stroke-dasharray: 1 2; }
svg.figure .whisker { stroke: var(--accent); stroke-width: 1.25; }
svg.figure .seed { stroke: var(--muted); stroke-width: 1.5; stroke-opacity: .7; }
svg.figure .seed.kd { stroke: var(--accent); }
svg.figure .curve { fill: none; stroke: var(--muted); stroke-width: 1.75; stroke-linejoin: round; }
svg.figure .curve.term { stroke-width: 1; stroke-dasharray: 3 2.5; }
svg.figure .curve.kd, svg.figure .curve.teacher-loss { stroke: var(--accent); }
svg.figure .bar { fill: var(--accent); }
svg.figure .bar.loss { fill: var(--muted); fill-opacity: .65; }
@media (max-width: 480px) { svg.figure { font-size: 12px; } svg.figure .small { font-size: 11px; } }
"""

LEFT, WIDTH = 19.0, 64.0  # dumbbell: where the plot begins and how wide it is, in percent of the figure
ROW = 40  # dumbbell: height of a family in pixels
SHORT = 9  # dumbbell: characters of a family that fit before the plot; a longer name stands above its line
FAR = 2.0  # dumbbell: a teacher farther off than so many times the students' range is not on the axis
LABEL = 15.0  # dumbbell: room of a number beside its mark on a narrow screen, in percent of the figure
BARS = 40  # class_change and class_memory draw at most this many classes
NAME = 28  # class_change: characters of a class name that fit half of a narrow screen


def dumbbell(results: dict[str, Any], metric: str) -> str:
    """One line a family from `ce` (ring) to the arm with a teacher (disc), with the teacher as a dotted line,
    if its score is known.

    A teacher far from all students is only named, at the side where it would be: what the figure is for, the
    gains, would be too small to see.

    The whisker is the gain's interval, set off from the ring: where it does not reach the ring, the interval
    leaves out zero.

    Args:
        results: what `table.summarise` returns.
        metric: `accuracy` or `mAP`.

    Returns:
        An `<svg>` element; single seeds are small ticks under the means.
    """
    gain = "gain" if metric == "accuracy" else "mAP_gain"
    summary, teacher, main = results["summary"], results["teacher"][metric], results["arm"]
    rows = [row for row in results["rows"] if any(_counts(line, row, main) for line in summary)]
    whiskers = [_whisker(line, metric, gain) for line in summary]
    reached = [*(row[metric] for row in rows), *(edge for pair in whiskers for edge in pair)] or [teacher]
    known = teacher is not None
    teacher = teacher if known else min(reached)
    off = max(min(reached) - teacher, teacher - max(reached))
    near = known and off <= FAR * (max(reached) - min(reached) or 1.0)
    low, high = _widen([teacher, *reached] if near else reached)
    top, bottom = 40, 40 + ROW * len(summary)
    scale = _Scale(low, high)
    parts = []
    for tick in _ticks(low, high, 5):
        if 0 <= tick <= 100:
            x = scale.across(tick)
            parts.append(_line(x, top - 8, x, bottom, "grid"))
            parts.append(_text(f"{x:.2f}%", bottom + 18, f"{tick:g}", "muted small", "middle"))
    at = min(max(scale.across(teacher), LEFT), LEFT + WIDTH)  # one that is far stands at the edge
    side = "middle" if LEFT + 12 < at < LEFT + WIDTH - 20 else "start" if at <= LEFT + 12 else "end"
    label = f"teacher {teacher:.1f}"
    if not near:
        label = f"\u2190 {label}" if side == "start" else f"{label} \u2192"
    if known:
        parts.append(_text(f"{at:.2f}%", top - 16, label, "small", side, dx=4 if side == "end" else 0))
    if any(line[gain] is not None for line in summary):
        parts.append(_text("100%", top - 16, "gain", "muted small", "end"))
    under = len(parts)  # the teacher's line goes here, under every mark
    spoken, breaks = [], [top - 8]
    for index, (line, whisker) in enumerate(zip(summary, whiskers, strict=True)):
        middle = top + ROW * index + ROW // 2 - 4
        values = {arm: line[f"{metric}_{arm}"] for arm in ("ce", main) if line[f"{metric}_{arm}"] is not None}
        marks = [*values.values(), *whisker]
        on_left = {arm: len(values) == 2 and _is_left(arm, values, main) for arm in values}
        # the teacher's line stops around a row where it would cross a number
        if known and any(
            min(marks) - teacher >= 0 and scale.across(min(marks)) - at <= LABEL
            if left
            else teacher - max(marks) >= 0 and at - scale.across(max(marks)) <= LABEL
            for left in on_left.values()
        ):
            breaks += [middle - 10, middle + 8]
        seeds = [row for row in rows if _counts(line, row, main)] if len(line["seeds"]) > 1 else []
        parts += _name_and_link(family_name(line["family"]), values, main, middle, scale)
        parts += _spread(whisker, [(row["arm"], row[metric]) for row in seeds], middle, scale)
        parts += _dots(values, marks, on_left, middle, scale)
        if line[gain] is not None:
            kind = "gain" if line[gain] > 0 else "muted"
            parts.append(_text("100%", middle + 4, minus(signed(line[gain], 1)), kind, "end"))
        spoken.append(_in_words(line, values, gain))
    breaks.append(bottom)
    if near:
        parts[under:under] = [
            _line(at, y1, at, y2, "teacher") for y1, y2 in zip(breaks[::2], breaks[1::2], strict=True)
        ]
    told = f"teacher {teacher:.1f}; " if known else ""
    title = f"{metric} in percent on the test split by family; {told}{'; '.join(spoken)}"
    return _figure(title, bottom + 26, parts)


class _Scale(NamedTuple):
    """The values at both ends of a dumbbell's axis."""

    low: float
    high: float

    def across(self, value: float) -> float:
        """Where a value lies, in percent of the figure's width."""
        return LEFT + WIDTH * (value - self.low) / (self.high - self.low)


def _name_and_link(
    name: str, values: dict[str, float], main: str, middle: int, scale: _Scale
) -> Iterator[str]:
    """A family's line: its name, and what connects its two values."""
    yield _line(LEFT, middle, LEFT + WIDTH, middle, "grid")
    if len(name) <= SHORT:
        yield _text("0", middle + 4, name, "name", "start")
    else:
        yield _text("0", middle - 10, name, "name small halo", "start")
    if len(values) == 2:
        kind = "link" if values[main] >= values["ce"] else "link loss"
        yield _line(scale.across(values["ce"]), middle, scale.across(values[main]), middle, kind)


def _spread(
    whisker: list[float], seeds: list[tuple[str, float]], middle: int, scale: _Scale
) -> Iterator[str]:
    """The gain's interval, and a tick for each single seed, given as (arm, value)."""
    for edge in whisker:
        x = scale.across(edge)
        yield _line(x, middle - 4, x, middle + 4, "whisker")
    if whisker:
        yield _line(scale.across(whisker[0]), middle, scale.across(whisker[1]), middle, "whisker")
    for arm, value in seeds:
        x = scale.across(value)
        yield _line(x, middle + 9, x, middle + 14, "seed" if arm == "ce" else "seed kd")


def _dots(
    values: dict[str, float], marks: list[float], on_left: dict[str, bool], middle: int, scale: _Scale
) -> Iterator[str]:
    """A mark for each arm's mean with its number beside all marks, on the left or the right."""
    for arm, value in values.items():
        kind = "halo small" + " muted" * (arm == "ce")
        x, anchor, shift = (min(marks), "end", -11) if on_left[arm] else (max(marks), "start", 11)
        yield _text(f"{scale.across(x):.2f}%", middle + 4, f"{value:.1f}", kind, anchor, dx=shift)
        dot = "ce" if arm == "ce" else "kd"
        yield f'<circle class="dot {dot}" cx="{scale.across(value):.2f}%" cy="{middle}" r="6"/>'


def _in_words(line: dict[str, Any], values: dict[str, float], gain: str) -> str:
    """What a family's line shows, for who cannot see it."""
    text = " and ".join(f"{arm} {value:.1f}" for arm, value in values.items())
    if line[gain] is not None and line[f"{gain}_interval"]:
        between = " to ".join(minus(signed(edge, 1)) for edge in line[f"{gain}_interval"])
        text += f", gain {minus(signed(line[gain], 1))} ({between})"
    return f"{family_name(line['family'])} {text}"


def _whisker(line: dict[str, Any], metric: str, gain: str) -> list[float]:
    """What the arm with a teacher reaches at either end of the gain's interval; empty without one."""
    return [line[f"{metric}_ce"] + edge for edge in line[f"{gain}_interval"] or ()]


def _is_left(arm: str, values: dict[str, float], main: str) -> bool:
    """Whether the smaller of a family's two values is this arm's, the one that its number stands left of."""
    other = values["ce" if arm == main else main]
    return values[arm] < other or (values[arm] == other and arm == "ce")


def _counts(line: dict[str, Any], row: dict[str, Any], main: str) -> bool:
    """A student that is in one of its family's two means."""
    shown = row["arm"] == "ce" or row["arm"] == main
    return shown and row["family"] == line["family"] and row["seed"] in line["seeds"]


class Curve(NamedTuple):
    """A small figure with what it shows: `name` of the family or of the teacher; the teacher has no `arm`.
    `terms`: of the loss, each with its mean in the last epoch.
    """

    name: str
    arm: str
    svg: str
    terms: tuple[tuple[str, float], ...] = ()


def loss_curves(students: Sequence[Student]) -> list[Curve]:
    """Mean training loss by epoch: one small figure a family and arm, one line a seed, and thin ones for the
    terms of the loss.

    The figures of one arm share their axes, so that families can be compared. The arms do not: another loss
    is another quantity. Students without a history (no epoch was trained) have no figure.
    """
    trained = [student for student in students if student.history]
    curves = []
    for family in dict.fromkeys(student.family for student in trained):
        for arm in dict.fromkeys(student.arm for student in trained):
            lines = [student for student in trained if (student.family, student.arm) == (family, arm)]
            if lines:
                same_arm = [student for student in trained if student.arm == arm]
                top = max(epoch.loss for student in same_arm for epoch in student.history)
                last = max(epoch.epoch for student in same_arm for epoch in student.history)
                points = [[(epoch.epoch, epoch.loss) for epoch in student.history] for student in lines]
                terms = [
                    [(epoch.epoch, epoch.terms[term]) for epoch in student.history if term in epoch.terms]
                    for student in lines
                    for term in lines[0].history[-1].terms
                ]
                svg = _curves(
                    f"{family_name(family)} {arm}", points, top, last, arm, [line for line in terms if line]
                )
                curves.append(Curve(family_name(family), arm, svg, _last_terms(lines)))
    return curves


def _last_terms(students: Sequence[Student]) -> tuple[tuple[str, float], ...]:
    """The terms of the last epoch's loss, mean over the seeds."""
    last = [student.history[-1].terms for student in students]
    shared = [name for name in last[0] if all(name in terms for terms in last)]
    return tuple((name, sum(terms[name] for terms in last) / len(last)) for name in shared)


def teacher_curve(teacher: Teacher) -> Curve | None:
    """The teacher's mean training loss by epoch; None where it was adopted as it is."""
    points = [(epoch.epoch, epoch.loss) for epoch in teacher.history]
    if not points:
        return None
    top, last = max(loss for _, loss in points), max(epoch for epoch, _ in points)
    return Curve("Teacher", "", _curves("teacher", [points], top, last, "teacher-loss"))


def _curves(
    name: str,
    lines: list[list[tuple[int, float]]],
    top: float,
    last: int,
    kind: str,
    terms: Sequence[list[tuple[int, float]]] = (),
) -> str:
    height = 92
    first = min(epoch for line in lines for epoch, _ in line)
    low = min(0.0, min(loss for line in (*lines, *terms) for _, loss in line))
    top = max(top, max((value for line in terms for _, value in line), default=top))
    span = (top - low) or 1.0
    parts = [_line(0, 14, 100, 14, "grid"), _line(0, 14 + height, 100, 14 + height, "axis")]
    paths = []
    for line, style in [*((line, kind) for line in lines), *((line, "term") for line in terms)]:
        # A single epoch is drawn as a level line: a polyline of one point shows nothing.
        line = line if len(line) > 1 else [(first, line[0][1]), (first + 1, line[0][1])]
        end = max(last, line[-1][0])
        steps = [
            f"{100 * (epoch - first) / ((end - first) or 1):.2f},{100 * (1 - (loss - low) / span):.2f}"
            for epoch, loss in line
        ]
        paths.append(
            f'<polyline class="curve {escape(style)}" vector-effect="non-scaling-stroke"'
            f' points="{" ".join(steps)}"/>'
        )
    inner = "".join(paths)
    parts.append(
        f'<svg x="0" y="14" width="100%" height="{height}" viewBox="0 0 100 100" preserveAspectRatio="none"'
        f' overflow="visible">{inner}</svg>'
    )
    final = sum(line[-1][1] for line in lines) / len(lines)
    parts.append(_text("0", 9, f"{top:.2f}", "muted small", "start"))
    parts.append(_text("100%", 9, f"→ {final:.2f}", "small", "end"))
    parts.append(_text("0", height + 30, f"{first}", "muted small", "start"))
    parts.append(_text("100%", height + 30, f"epoch {last}", "muted small", "end"))
    return _figure(
        f"training loss of {name}: {lines[0][0][1]:.2f} at first, {final:.2f} at last", height + 36, parts
    )


def level_curves(levels: dict[str, Any], family: str, main: str) -> str:
    """Accuracy over the level of a corruption: of the teacher (dotted), `ce`, the arm `main`, and others.

    Levels stand across where their values are, whatever their order. A single one is in the middle, a dot
    each: a line of one point shows nothing.

    Args:
        levels: as `Runs.levels`.
    """
    lines = {**({"teacher": levels["teacher"]} if levels["teacher"] else {}), **levels["students"][family]}
    values, height = sorted(levels["values"]), 180
    order = sorted(range(len(values)), key=levels["values"].__getitem__)
    lines = {name: [line[place] for place in order] for name, line in lines.items()}
    low, high = min(min(one) for one in lines.values()), max(max(one) for one in lines.values())
    span = (high - low) or 1.0
    width = values[-1] - values[0]
    across = [100 * (value - values[0]) / width if width else 50.0 for value in values]
    parts, inner, dots = [], "", []
    for name, line in lines.items():
        points = " ".join(
            f"{x:.2f},{100 * (high - value) / span:.2f}" for x, value in zip(across, line, strict=True)
        )
        kind = {"teacher": "teacher", "ce": "curve", main: "curve kd"}.get(name, "curve term")
        title = ", ".join(f"{value:.1f}" for value in line)
        if not width:
            dot, radius = {"teacher": ("teacher", 6), "ce": ("ce", 6), main: ("kd", 6)}.get(name, ("term", 4))
            dots.append(
                f'<circle class="dot {dot}" cx="50.00%" cy="{14 + height * (high - line[0]) / span:.2f}"'
                f' r="{radius}"><title>{escape(name)}: {title}</title></circle>'
            )
            continue
        inner += (
            f'<polyline class="{kind}" fill="none" vector-effect="non-scaling-stroke" points="{points}">'
            f"<title>{escape(name)}: {title}</title></polyline>"
        )
    for tick in _ticks(low, high, 4) if high > low else []:
        y = 14 + height * (high - tick) / span
        parts.append(_line(0, y, 100, y, "grid"))
        parts.append(_text("0", y - 4, f"{tick:g} %", "muted small", "start"))
    parts.append(
        f'<svg x="0" y="14" width="100%" height="{height}" viewBox="0 0 100 100" preserveAspectRatio="none"'
        f' overflow="visible">{inner}</svg>'
    )
    parts += dots
    for index, (x, value) in enumerate(zip(across, values, strict=True)):
        side = (
            "middle"
            if not width
            else "start"
            if index == 0
            else "end"
            if index == len(values) - 1
            else "middle"
        )
        parts.append(_text(f"{x:.2f}%", height + 32, f"{value:g}", "muted small", side))
    return _figure(
        f"accuracy of {family_name(family)} and its teacher over {levels['key']}", height + 38, parts
    )


def class_change(gains: Sequence[tuple[str, float]]) -> str:
    """Change of average precision a class as bars around zero, in points.

    Args:
        gains: what `table.class_gains` returns, largest first. Of more than 40 classes both ends are drawn.
    """
    shown: list[tuple[str, float] | None] = list(gains)
    if len(gains) > BARS:
        shown = [*gains[: BARS // 2], None, *gains[-BARS // 2 :]]
    largest = max((abs(change) for _, change in gains), default=0.0) or 1.0
    unit, row, top = 36 / largest, 21, 26  # 36 %: the other 14 % of a half are for the value
    bottom = top + row * len(shown)
    parts = []
    for tick in _ticks(-largest, largest, 5):
        x = 50 + unit * tick
        parts.append(_line(x, top - 4, x, bottom, "axis" if tick == 0 else "grid"))
        parts.append(
            _text(
                f"{x:.2f}%",
                top - 11,
                minus(signed(tick, 0 if tick == int(tick) else 1)),
                "muted small",
                "middle",
            )
        )
    for index, bar in enumerate(shown):
        y = top + row * index
        if bar is None:
            text = f"{len(gains) - BARS} more classes between"
            parts.append(_text("50%", y + 15, text, "halo muted small", "middle"))
            continue
        name, change = bar
        start, length = (50.0, unit * change) if change > 0 else (50 + unit * change, -unit * change)
        hover = f"<title>{escape(name)}: {minus(signed(change))}</title>"
        kind = "bar" if change > 0 else "bar loss"
        # The name stands on the empty side of zero, so that no gutter is needed.
        label_side, value_side = ("end", "start") if change > 0 else ("start", "end")
        offset = 8 if change > 0 else -8
        end = 50 + unit * change
        parts.append(
            f'<g>{hover}<rect class="{kind}" x="{start:.2f}%" y="{y + 4}" width="{length:.2f}%"'
            f' height="{row - 7}" rx="1.5"/>'
            + _text("50%", y + 15, _short(name), "halo", label_side, dx=-offset)
            + _text(
                f"{end:.2f}%", y + 15, minus(signed(change, 1)), "muted small halo", value_side, dx=offset
            )
            + "</g>"
        )
    up = sum(change > 0 for _, change in gains)
    down = sum(change < 0 for _, change in gains)
    return _figure(
        f"change of average precision by class: {up} up, {down} down, of {len(gains)}", bottom + 4, parts
    )


def class_memory(pairs: Sequence[tuple[str, float, float]]) -> str:
    """Accuracy a class of a cross-fitted teacher's models: on samples that they were not fitted to (ring) and
    that they were (disc).

    Args:
        pairs: what `table.class_memory` returns, the largest difference first. Of more than 40 classes both
            ends are drawn.
    """
    shown: list[tuple[str, float, float] | None] = list(pairs)
    if len(pairs) > BARS:
        shown = [*pairs[: BARS // 2], None, *pairs[-BARS // 2 :]]
    row, top, left, width = 21, 26, 50.0, 47.0
    bottom = top + row * len(shown)
    parts = []
    for tick in (0, 25, 50, 75, 100):
        x = left + width * tick / 100
        parts.append(_line(x, top - 4, x, bottom, "grid"))
        parts.append(_text(f"{x:.2f}%", top - 11, f"{tick}", "muted small", "middle"))
    for index, pair in enumerate(shown):
        y = top + row * index + 11
        if pair is None:
            text = f"{len(pairs) - BARS} more classes between"
            parts.append(_text("50%", y + 4, text, "halo muted small", "middle"))
            continue
        name, unseen, seen = pair
        ring, disc = (left + width * value / 100 for value in (unseen, seen))
        parts.append(
            f"<g><title>{escape(name)}: {unseen:.1f} not fitted to, {seen:.1f} fitted to</title>"
            + _text(f"{left:.2f}%", y + 4, _short(name), "", "end", dx=-12)
            + _line(ring, y, disc, y, "link" if seen >= unseen else "link loss")
            + f'<circle class="dot ce" cx="{ring:.2f}%" cy="{y}" r="5"/>'
            + f'<circle class="dot kd" cx="{disc:.2f}%" cy="{y}" r="5"/></g>'
        )
    larger = sum(seen > unseen for _, unseen, seen in pairs)
    return _figure(
        f"accuracy of the folds' models by class: higher on samples that they were fitted to in {larger} of "
        f"{len(pairs)} classes",
        bottom + 4,
        parts,
    )


def _short(name: str) -> str:
    """A class's name as there is room for it."""
    label = name.replace("_", " ")
    return label if len(label) <= NAME else label[: NAME - 1].rstrip() + "…"


def minus(text: str) -> str:
    """A number with a true minus sign."""
    return text.replace("-", "−") if len(text) > 1 else text


def _figure(title: str, height: int, parts: Iterable[str]) -> str:
    label = escape(title, quote=True)
    return (
        f'<svg class="figure" role="img" aria-label="{label}" width="100%" height="{height}">'
        f"<title>{label}</title>{''.join(parts)}</svg>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{escape(kind)}" x1="{x1:.2f}%" y1="{y1:g}" x2="{x2:.2f}%" y2="{y2:g}"/>'


def _text(x: str, y: float, text: str, kind: str, anchor: str, dx: float = 0) -> str:
    shift = f' dx="{dx:g}"' if dx else ""
    attributes = f'x="{x}" y="{y:g}"{shift} text-anchor="{anchor}"'
    return f'<text class="{escape(kind.strip())}" {attributes}>{escape(text)}</text>'


def _widen(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values with room at both ends for the numbers written beside them."""
    low, high = min(values), max(values)
    margin = 0.2 * ((high - low) or 2.0)
    return low - margin, high + margin


def _ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers (1, 2 or 5 times a power of ten apart) within a range."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(index * step, 10) for index in range(first, last + 1)]

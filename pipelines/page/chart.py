"""The page's figures: SVG whose places are shares of its width, so that words keep their size on a phone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from pipelines.base.errors import one_line

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
MOST_LABELS = 12  # on an axis
LEFT, RIGHT = 3.0, 97.0  # per cent
TOP, BOTTOM, HEIGHT = 26, 230, 270  # pixels
LANE, HEAD = 46, 8
FITS = (27.0, 9.0)  # per cent of a phone's width, of a desk's, that twelve digits take
AFTER = 0.08  # of the time shown: what is wanted still is drawn beyond the newest commit


@dataclass(frozen=True)
class Point:
    """A month's value. `faint`: the model has seen the month; `ends` of an interval; `tone` is a class."""

    month: str
    value: float
    says: str
    faint: bool = False
    ends: tuple[float, float] | None = None
    tone: str = ""


@dataclass(frozen=True)
class Line:
    """A series and its class, which has its colour."""

    kind: str
    points: Sequence[Point]


def by_month(id: str, title: str, says: str, lines: Sequence[Line], floor: float | None = None) -> Markup:
    """A chart by month, of one line or several; empty where there is no point."""
    points = [point for line in lines for point in line.points]
    if not points:
        return Markup("")
    months = _months(min(p.month for p in points), max(p.month for p in points))
    shown = [v for p in points for v in (p.value, *(p.ends or ()))] + ([] if floor is None else [floor])
    low, high, step = ticks(min(0.0, *shown), max(0.0, *shown))

    def x(month: str) -> float:
        return LEFT + (RIGHT - LEFT) * (months.index(month) + 0.5) / len(months)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)

    parts = []
    for n in range(round((high - low) / step) + 1):
        value = low + n * step
        kind = "zero" if abs(value) < step / 1e6 else "grid"
        parts.append(_line(0, y(value), 100, y(value), kind))
        parts.append(_text(0, y(value) - 4, f"{value:.{_digits(step)}f}", "tick"))
    if floor is not None:
        parts.append(_line(0, y(floor), 100, y(floor), "floor"))
        parts.append(_text(100, y(floor) - 4, f"floor {floor:g}", "tick end bad"))
    every = math.ceil(len(months) / MOST_LABELS)
    for n, month in enumerate(months):
        if n % every == 0:
            parts.append(_text(x(month), BOTTOM + 18, MONTHS[int(month[5:]) - 1], "tick middle"))
        if n == 0 or month.endswith("-01"):
            parts.append(_text(x(month), BOTTOM + 34, month[:4], "tick middle"))
    for line in lines:
        drawn = []
        for before, after in zip(line.points, line.points[1:], strict=False):
            kind = "faint" if after.faint or before.faint else "drawn"
            drawn.append(_line(x(before.month), y(before.value), x(after.month), y(after.value), kind))
        for point in line.points:
            if point.ends:
                drawn.append(
                    _line(x(point.month), y(point.ends[0]), x(point.month), y(point.ends[1]), "ends")
                )
            dot = '<circle cx="{:.3f}%" cy="{:.2f}" r="{}" class="{}"><title>{}</title></circle>'
            kind = "hollow" if point.faint else f"dot {point.tone}".strip()
            drawn.append(
                Markup(dot).format(
                    x(point.month), y(point.value), 3.5 if point.faint else 5, kind, one_line(point.says)
                )
            )
        parts.append(Markup('<g class="{}">{}</g>').format(line.kind, Markup("").join(drawn)))
    return _svg(id, title, says, HEIGHT, parts)


@dataclass(frozen=True)
class Bar:
    """What was wanted from `since` to `until`, in seconds since the epoch (None: still)."""

    label: str
    kind: str
    says: str
    since: int
    until: int | None


def lanes(id: str, title: str, says: str, rows: Mapping[str, Sequence[Bar]]) -> Markup:
    """A lane for each name, with its bars in time."""
    bars = [bar for of in rows.values() for bar in of]
    if not bars:
        return Markup("")
    first, last = min(bar.since for bar in bars), max(bar.until or bar.since for bar in bars)
    span = max(1, last - first) * (1 + AFTER)

    def x(moment: float) -> float:
        return 100 * (moment - first) / span

    parts, foot = [], HEAD + LANE * len(rows)
    for row, (name, of) in enumerate(rows.items()):
        top = HEAD + LANE * row
        parts.append(_text(0, top + 11, name, "lane"))
        for bar in sorted(of, key=lambda bar: bar.since):
            left, right = x(bar.since), x(bar.until) if bar.until is not None else 100.0
            share = max(0.4, right - left - 0.25)
            inner = Markup(
                '<svg x="{:.3f}%" y="{}" width="{:.3f}%" height="22" class="{}">'
                '<rect width="100%" height="22" rx="4"><title>{}</title></rect>'
                "{}</svg>"
            )
            named = _named(bar.label, share)
            parts.append(inner.format(left, top + 16, share, bar.kind, one_line(bar.says), named))
    parts.append(_text(0, foot + 16, when(first), "tick"))
    parts.append(_text(x(last), foot + 16, when(last), "tick end"))
    parts.append(_line(x(last), HEAD, x(last), foot, "floor now"))
    return _svg(id, title, says, foot + 24, parts)


def _named(label: str, share: float) -> Markup:
    """A bar's label where it fits: on each screen, or on a desk's alone."""
    kind = "" if share >= FITS[0] else "desk"
    made = Markup('<text x="7" y="15.5" class="{}">{}</text>').format(kind, label)
    return made if share >= FITS[1] else Markup("")


def when(moment: int) -> str:
    """A moment in words, to the minute, UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}"


def _months(first: str, last: str) -> list[str]:
    start, end = (int(month[:4]) * 12 + int(month[5:]) - 1 for month in (first, last))
    return [f"{n // 12:04}-{n % 12 + 1:02}" for n in range(start, end + 1)]


def ticks(low: float, high: float) -> tuple[float, float, float]:
    """Ends and step of an axis, in round numbers."""
    high = high if high > low else low + 1
    rough = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * n for n in (1, 2, 2.5, 5, 10) if size * n >= rough)
    return step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), step


def _digits(step: float) -> int:
    return max(0, -math.floor(math.log10(step)) + (f"{step:e}"[:3] == "2.5"))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    made = Markup('<line x1="{:.3f}%" y1="{:.2f}" x2="{:.3f}%" y2="{:.2f}" class="{}"/>')
    return made.format(x1, y1, x2, y2, kind)


def _text(x: float, y: float, words: str, kind: str) -> Markup:
    return Markup('<text x="{:.3f}%" y="{:.2f}" class="{}">{}</text>').format(x, y, kind, words)


def _svg(id: str, title: str, says: str, height: int, parts: Sequence[Markup]) -> Markup:
    made = Markup(
        '<svg role="img" aria-labelledby="{0}-title {0}-says" width="100%" height="{1}">'
        '<title id="{0}-title">{2}</title><desc id="{0}-says">{3}</desc>{4}</svg>'
    )
    return made.format(id, height, title, one_line(says, 600), Markup("").join(parts))

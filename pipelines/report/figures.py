"""The plots of report.html, drawn from gate.json: each a picture that needs no network and no script."""

import base64
import io
import warnings
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.base.errors import one_line
from pipelines.core.tasks.task import Task
from pipelines.report.findings import MODELS, MOST_PARTS, by_feature, explained, limits, slice_sign, split
from pipelines.report.markdown import PALETTE

COLOUR = {name: colour for name, (_, colour) in PALETTE.items()}
MARK = {"champion": "s", "candidate": "o"}  # told apart without colour, too
LINE = {"champion": "--", "candidate": "-"}
BAD, DIM = "#D55E00", "#666666"
TENTHS = ("predicted", "observed", "observed_interval")  # of gate.json's calibration
SHORT = 28  # characters of a label
MOST_SLICES, MOST_FEATURES, MOST_EFFECTS = 40, 15, 6
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "greenlight",  # the same figures give the same bytes
    "text.parse_math": False,  # a proposal's `$` is a letter
}


def draw(gate: dict[str, Any], task: Task) -> dict[str, Markup]:
    """The plots by name, each the URI of an SVG; those are missing of which gate.json has nothing."""
    makers = (_metrics, _slices, _curve, _calibration, _importance, _dependence, _shap)
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font does not have is drawn as a box
        drawn = {make.__name__[1:]: make(gate, task) for make in makers}
        return {name: uri(figure) for name, figure in drawn.items() if figure is not None}


def uri(figure: Figure) -> Markup:
    """As an image, an SVG can neither run a script nor load anything."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Markup("data:image/svg+xml;base64,") + base64.b64encode(out.getvalue()).decode()


def _figure(width: float, height: float, *grid: int, **shared: Any) -> tuple[Figure, Any]:
    """With its axes, in a list where there is a grid of them."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(*grid, squeeze=False, **shared).flatten() if grid else figure.subplots()


# --- candidate beside champion -----------------------------------------------------------------------------


def _metrics(gate: dict[str, Any], task: Task) -> Figure | None:
    """Δ of each metric with its interval, better to the right; the margin where there is one."""
    rows = [row for row in gate["metrics"] if None not in (row["difference"] or [None])]
    if not rows:
        return None
    names = {metric.key: metric.name for metric in task.compared}
    margins = {names[key]: margin for key, margin in limits(gate, "margin", names).items()}
    figure, grid = _figure(7.6, 0.62 * len(rows) + 0.5, len(rows), 1)
    for axes, row in zip(grid, rows, strict=True):
        point, low, high = row["difference"]
        sign = 1 if row["better"] == "higher" else -1
        margin = margins.get(row["name"], 0)
        reach = 1.25 * max(abs(low), abs(high), margin, 1e-6)
        axes.set_xlim(-sign * reach, sign * reach)
        axes.axvline(0, color=DIM, linewidth=0.8)
        if margin:
            axes.axvspan(-sign * reach, -sign * margin, color=BAD, alpha=0.12, linewidth=0)
            axes.axvline(-sign * margin, color=BAD, linestyle="--", linewidth=1)
        axes.plot([low, high], [0, 0], color=COLOUR["candidate"], linewidth=2, solid_capstyle="butt")
        axes.plot([point], [0], "o", color=COLOUR["candidate"], markersize=6)
        axes.set_ylim(-1, 1)
        axes.set_yticks([0], [one_line(row["name"], SHORT)])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="x", labelsize=7.5)
        axes.locator_params(axis="x", nbins=7)
        figures = f"{point:+.4f}\n[{low:+.4f}, {high:+.4f}]"
        axes.text(1.01, 0.5, figures, transform=axes.transAxes, va="center")
    words = "Δ candidate − champion; better is to the right, the shaded side is beyond the margin"
    figure.supxlabel(words, size=8)
    return figure


def _slices(gate: dict[str, Any], task: Task) -> Figure | None:
    """Δ loss of each slice with its simultaneous bounds, and what the gate allows."""
    asked = limits(gate, "slice", dict.fromkeys(("fail", "warn"), task.loss.name))
    judged = [part for part in gate["slices"] if part["low"] is not None and part["high"] is not None]
    judged = sorted(judged, key=lambda part: (part["slice"], -part["difference"]))[:MOST_SLICES]
    if not judged:
        return None
    figure, axes = _figure(7.6, 0.24 * len(judged) + 1.1)
    colours = {"FAIL": BAD, "WARNING": COLOUR["champion"], "": COLOUR["candidate"]}
    marks = {"FAIL": "X", "WARNING": "^", "": "o"}
    for y, part in enumerate(judged):
        sign = slice_sign(part, asked)
        axes.plot([part["low"], part["high"]], [y, y], color=colours[sign], linewidth=2)
        axes.plot([part["difference"]], [y], marks[sign], color=colours[sign], markersize=6)
    axes.axvline(0, color=DIM, linewidth=0.8)
    if fail := asked.get("fail"):
        axes.axvline(fail, color=BAD, linestyle="--", linewidth=1)
        words = f"refused where the whole bar is beyond {fail:.3g} "
        clear = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # of the line at 0
        axes.text(fail, -0.6, words, color=BAD, size=7.5, va="bottom", ha="right", bbox=clear)
    names = [f"{one_line(p['slice'], SHORT)}: {one_line(p['value'], SHORT)}  ({p['rows']:,})" for p in judged]
    axes.set_yticks(range(len(judged)), names)
    axes.set_ylim(len(judged) - 0.4, -1.4)
    axes.locator_params(axis="x", nbins=7)
    axes.set_xlabel(f"Δ {task.loss.name}{task.loss.unit}, candidate − champion; worse is to the right")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _curve(gate: dict[str, Any], task: Task) -> Figure | None:
    curves = {name: list(gate["curve"].get(name, {}).values()) for name in MODELS}
    if not any(map(any, curves.values())):
        return None
    figure, (axes,) = _squares("chance")
    for name, (x, y) in ((name, curve) for name, curve in curves.items() if any(curve)):
        axes.plot(x, y, LINE[name], color=COLOUR[name], linewidth=1.8, label=name)
    xlabel, ylabel = task.axes.values()
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right")
    return figure


def _squares(diagonal: str, count: int = 1) -> tuple[Figure, Sequence[Axes]]:
    side = 3.8 if count == 1 else 2.9
    figure, grid = _figure(side * count, side, 1, count)
    for axes in grid:
        axes.axline((0, 0), (1, 1), linestyle=":", color=COLOUR[""], label=diagonal)
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    return figure, grid


def _calibration(gate: dict[str, Any], task: Task) -> Figure | None:
    models = {name: gate["calibration"][name] for name in MODELS if name in gate["calibration"]}
    if not models:
        return None
    figure, grid = _squares("calibrated", len(parts := task.parts[-MOST_PARTS:]))
    for axes, part in zip(grid, parts, strict=True):
        tenths = {n: [split(told[key], task)[part] for key in TENTHS] for n, told in models.items()}
        found = [value for predicted, observed, _ in tenths.values() for value in predicted + observed]
        pad = 0.05 * (max(found) - (0 if task.bounds else min(found)))
        low, top = (0 if task.bounds else min(found) - pad), max(found) + pad
        for name, (x, y, intervals) in tenths.items():
            how: Any = {"color": COLOUR[name], "markersize": 4.5, "linewidth": 1, "label": name}
            for p, ends in zip(x, intervals, strict=False):
                if None not in ends:
                    axes.plot([p, p], ends, color=COLOUR[name], linewidth=1.2, alpha=0.8)
                    low, top = min(low, ends[0]), max(top, ends[1] + pad / 2)
            axes.plot(x, y, MARK[name] + LINE[name], **how)
        ends = (max(low, task.bounds[0]), min(top, 1.02 * task.bounds[1])) if task.bounds else (low, top)
        words = "" if len(parts) > 1 else " of the test window"  # for which several have no room
        axes.set(xlabel=f"mean {part} of a tenth{words}", xlim=ends, ylim=ends)
    grid[0].set_ylabel(task.observed)
    grid[0].legend(loc="upper left")
    return figure


# --- what the models look at -------------------------------------------------------------------------------


def _importance(gate: dict[str, Any], task: Task) -> Figure | None:
    models, features = explained(gate, "importance")[0], by_feature(gate, "importance")
    order = list(features.items())[:MOST_FEATURES]
    if not order:
        return None
    figure, axes = _figure(7.6, 0.34 * len(order) + 0.9)
    placed = [(y, told) for y, (_, told) in enumerate(order)]
    _bars(axes, {n: [(y, of[n]["mean"], of[n]["sd"]) for y, of in placed if n in of] for n in models})
    _features(axes, [one_line(feature, SHORT) for feature, _ in order])
    rise = f"rise of the {task.loss.name}{task.loss.unit} when the feature is shuffled"
    axes.set_xlabel(f"{rise} (mean ± standard deviation)")
    axes.legend(loc="lower right")
    return figure


def _dependence(gate: dict[str, Any], task: Task) -> Figure | None:
    features = by_feature(gate, "dependence")
    if not features:
        return None
    panels = [(part, *feature) for feature in features.items() for part in task.parts[-MOST_PARTS:]]
    wide = max(2, len(panels) // len(features))  # a row a feature, where an answer has several parts
    rows = -(-len(panels) // wide)
    figure, grid = _figure(3.8 * min(wide, 3), 2.5 * rows, rows, wide, sharey=True if wide == 2 else "col")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for place, (axes, (part, feature, models)) in enumerate(zip(grid, panels, strict=False)):
        for name, told in models.items():
            x = [one_line(value, 12) for value in told["values"]] if told["category"] else told["values"]
            y, line = split(told["p"], task)[part], "" if told["category"] else LINE[name]
            axes.plot(x, y, MARK[name] + line, color=COLOUR[name], markersize=4.5, label=name)
            axes.set_xlabel(one_line(f"{feature}, {told['unit']}" if told["unit"] else feature, 48))
            if told["category"] and max(map(len, x), default=0) > 3:
                axes.tick_params(axis="x", rotation=60, labelsize=7.5)
        axes.grid(alpha=0.3)
        if place % wide == 0 or len(task.parts) > 1:
            axes.set_ylabel(f"mean {part}")
    for axes in grid[:wide]:
        axes.set_ylim(bottom=task.bounds[0] if task.bounds else None)
    grid[0].legend(loc="best")
    return figure


def _shap(gate: dict[str, Any], task: Task) -> Figure | None:
    models, _ = explained(gate, "shap")
    if not models:
        return None
    first = models.get("candidate") or next(iter(models.values()))
    rows = (len(first["rows"]) + 1) // 2
    figure, grid = _figure(8.6, 2.3 * rows, rows, 2, sharex=True)
    for axes in grid[len(first["rows"]) :]:
        axes.set_visible(False)
    for index, axes in enumerate(grid[: len(first["rows"])]):
        values = {name: (told["features"], told["rows"][index]["values"]) for name, told in models.items()}
        effects = {name: dict(zip(*both, strict=True)) for name, both in values.items()}
        row = first["rows"][index]
        given = dict(zip(first["features"], row["given"], strict=True))
        top = sorted(given, key=lambda f: -max(abs(of.get(f, 0)) for of in effects.values()))[:MOST_EFFECTS]
        _bars(axes, {name: [(y, effects[name].get(f, 0), 0) for y, f in enumerate(top)] for name in effects})
        names = [one_line(f, 24) + ("" if given[f] is None else f" = {one_line(given[f], 10)}") for f in top]
        _features(axes, names, fontsize=8)
        p = " / ".join(f"{told['rows'][index]['p']:.2f}" for told in reversed(models.values()))
        axes.set_title(f"{task.answer} {p}, outcome: {row['label']}")
    grid[0].legend(loc="best", fontsize=7.5)
    for axes in grid[max(0, len(first["rows"]) - 2) : len(first["rows"])]:
        axes.set_xlabel(f"SHAP value: what it adds to {task.explained}")
        axes.tick_params(labelbottom=True)
    return figure


def _bars(axes: Axes, models: dict[str, list[tuple[int, float, float]]]) -> None:
    """For each model its bars: (place, length, standard deviation or 0), the candidate's above."""
    for shift, name in zip((-0.2, 0.2) if len(models) > 1 else (0,), reversed(models), strict=False):
        places, lengths, errors = ([bar[part] for bar in models[name]] for part in range(3))
        drawn: Any = {"xerr": errors, "error_kw": {"ecolor": DIM, "elinewidth": 1}} if any(errors) else {}
        drawn |= {"hatch": "///" if name == "champion" else None, "edgecolor": "white", "label": name}
        axes.barh([y + shift for y in places], lengths, 0.36, color=COLOUR[name], **drawn)


def _features(axes: Axes, names: Sequence[str], **style: Any) -> None:
    axes.set_yticks(range(len(names)), names, **style)
    axes.invert_yaxis()
    axes.axvline(0, color=DIM, linewidth=0.8)

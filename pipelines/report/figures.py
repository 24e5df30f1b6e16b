"""The plots of report.html, drawn from gate.json: each a picture that needs no network and no script."""

import base64
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.report.findings import MODELS, explained, slice_sign
from pipelines.report.markdown import PALETTE, plain

COLOUR = {name: colour for name, (_, colour) in PALETTE.items()}
MARK = {"champion": "s", "candidate": "o"}  # told apart without colour, too
LINE = {"champion": "--", "candidate": "-"}
BAD, DIM = "#D55E00", "#666666"
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


def draw(gate: dict[str, Any]) -> dict[str, Markup]:
    """The plots by name, each the URI of an SVG; those are missing of which gate.json has nothing."""
    makers: dict[str, Callable[[dict[str, Any]], Figure | None]] = {
        "metrics": _metrics,
        "slices": _slices,
        "roc": _roc,
        "calibration": _calibration,
        "importance": _importance,
        "dependence": _dependence,
        "shap": _shap,
    }
    drawn = {}
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font does not have is drawn as a box
        for name, make in makers.items():
            if (figure := make(gate)) is not None:
                drawn[name] = _uri(figure)
    return drawn


def _uri(figure: Figure) -> Markup:
    """As an image, an SVG can neither run a script nor load anything."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Markup("data:image/svg+xml;base64,") + base64.b64encode(out.getvalue()).decode()


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _short(value: Any, longest: int = 28) -> str:
    return plain(value, longest)


# --- candidate beside champion -----------------------------------------------------------------------------


def _metrics(gate: dict[str, Any]) -> Figure | None:
    """Δ of each metric with its interval, better to the right; the margin where there is one."""
    rows = [row for row in gate.get("metrics") or [] if None not in (row.get("difference") or [None])]
    if not rows:
        return None
    margins = (gate.get("thresholds") or {}).get("margin") or {}
    figure = _figure(7.6, 0.62 * len(rows) + 0.5)
    for axes, row in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        point, low, high = row["difference"]
        sign = 1 if row["better"] == "higher" else -1
        margin = margins.get({"ROC-AUC": "roc_auc", "log-loss": "log_loss"}.get(row["name"], ""))
        reach = 1.25 * max(abs(low), abs(high), margin or 0, 1e-6)
        axes.set_xlim(-sign * reach, sign * reach)
        axes.axvline(0, color=DIM, linewidth=0.8)
        if margin:
            axes.axvspan(-sign * reach, -sign * margin, color=BAD, alpha=0.12, linewidth=0)
            axes.axvline(-sign * margin, color=BAD, linestyle="--", linewidth=1)
        _interval(axes, 0, point, low, high, COLOUR["candidate"])
        axes.set_ylim(-1, 1)
        axes.set_yticks([0], [_short(row["name"])])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="x", labelsize=7.5)
        axes.locator_params(axis="x", nbins=7)
        axes.text(
            1.01, 0.5, f"{point:+.4f}\n[{low:+.4f}, {high:+.4f}]", transform=axes.transAxes, va="center"
        )
    figure.supxlabel(
        "Δ candidate − champion; better is to the right, the shaded side is beyond the margin", size=8
    )
    return figure


def _interval(axes: Axes, y: float, point: float, low: float, high: float, colour: str) -> None:
    axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    axes.plot([point], [y], "o", color=colour, markersize=6)


def _slices(gate: dict[str, Any]) -> Figure | None:
    """Δ log-loss of each slice with its simultaneous bounds, and what the gate allows."""
    found = gate["slices"]
    limits = (gate.get("thresholds") or {}).get("slice") or {}
    judged = [part for part in found if part.get("low") is not None and part.get("high") is not None]
    judged = sorted(judged, key=lambda part: (part["slice"], -part["difference"]))[:MOST_SLICES]
    if not judged:
        return None
    figure = _figure(7.6, 0.24 * len(judged) + 1.1)
    axes = figure.subplots()
    colours = {"FAIL": BAD, "WARNING": COLOUR["champion"], "": COLOUR["candidate"]}
    marks = {"FAIL": "X", "WARNING": "^", "": "o"}
    for y, part in enumerate(judged):
        sign = slice_sign(part, limits)
        axes.plot([part["low"], part["high"]], [y, y], color=colours[sign], linewidth=2)
        axes.plot([part["difference"]], [y], marks[sign], color=colours[sign], markersize=6)
    axes.axvline(0, color=DIM, linewidth=0.8)
    if "fail" in limits:
        axes.axvline(limits["fail"], color=BAD, linestyle="--", linewidth=1)
        words = f"refused where the whole bar is beyond {limits['fail']:g}"
        clear = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # of the line at 0
        axes.text(limits["fail"], -0.6, f"{words} ", color=BAD, size=7.5, va="bottom", ha="right", bbox=clear)
    names = [f"{_short(part['slice'])}: {_short(part['value'])}  ({part['rows']:,})" for part in judged]
    axes.set_yticks(range(len(judged)), names)
    axes.set_ylim(len(judged) - 0.4, -1.4)
    axes.locator_params(axis="x", nbins=7)
    axes.set_xlabel("Δ log-loss in nats, candidate − champion; worse is to the right")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _roc(gate: dict[str, Any]) -> Figure | None:
    curves = gate.get("roc") or {}
    models = [name for name in MODELS if curves.get(name, {}).get("found")]
    if not models:
        return None
    figure = _figure(3.8, 3.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color=COLOUR[""], label="chance")
    for name in models:
        x, y = curves[name]["false_alarms"], curves[name]["found"]
        axes.plot(x, y, LINE[name], color=COLOUR[name], linewidth=1.8, label=name)
    axes.set(
        xlabel="share of false alarms", ylabel="share found", xlim=(0, 1), ylim=(0, 1.01), aspect="equal"
    )
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    return figure


def _calibration(gate: dict[str, Any]) -> Figure | None:
    told = gate.get("calibration") or {}
    models = [name for name in MODELS if name in told]
    if not models:
        return None
    figure = _figure(3.8, 3.8)
    axes = figure.subplots()
    top = 1.05 * max(max(told[name]["predicted"] + told[name]["observed"]) for name in models)
    axes.plot([0, 1], [0, 1], ":", color=COLOUR[""], label="calibrated")
    for name in models:
        x, y = told[name]["predicted"], told[name]["observed"]
        for p, ends in zip(x, told[name].get("observed_interval") or [], strict=False):
            if None not in ends:
                axes.plot([p, p], ends, color=COLOUR[name], linewidth=1.2, alpha=0.8)
                top = max(top, 1.03 * ends[1])
        axes.plot(x, y, MARK[name] + LINE[name], color=COLOUR[name], markersize=4.5, linewidth=1, label=name)
    top = min(top, 1.02)
    axes.set(
        xlabel="mean p of a tenth of the test window",
        ylabel="observed share",
        xlim=(0, top),
        ylim=(0, top),
        aspect="equal",
    )
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    return figure


# --- what the models look at -------------------------------------------------------------------------------


def _importance(gate: dict[str, Any]) -> Figure | None:
    models, _ = explained(gate, "importance")
    figures = {name: {f["feature"]: f for f in told["features"]} for name, told in models.items()}
    order = list(dict.fromkeys(f for name in reversed(figures) for f in figures[name]))[:MOST_FEATURES]
    if not order:
        return None
    figure = _figure(7.6, 0.34 * len(order) + 0.9)
    axes = figure.subplots()
    for shift, (name, found) in zip((-0.2, 0.2), reversed(figures.items()), strict=False):
        places = [
            y + (shift if len(figures) > 1 else 0) for y, feature in enumerate(order) if feature in found
        ]
        values = [found[feature] for feature in order if feature in found]
        axes.barh(
            places,
            [value["mean"] for value in values],
            0.36,
            xerr=[value["sd"] for value in values],
            error_kw={"ecolor": DIM, "elinewidth": 1},
            color=COLOUR[name],
            hatch="///" if name == "champion" else None,
            edgecolor="white",
            label=name,
        )
    axes.set_yticks(range(len(order)), [_short(feature) for feature in order])
    axes.invert_yaxis()
    axes.axvline(0, color=DIM, linewidth=0.8)
    axes.set_xlabel("rise of the log-loss in nats when the feature is shuffled (mean ± standard deviation)")
    axes.legend(loc="lower right")
    return figure


def _dependence(gate: dict[str, Any]) -> Figure | None:
    models, _ = explained(gate, "dependence")
    found = {name: {f["feature"]: f for f in told["features"]} for name, told in models.items()}
    order = list(dict.fromkeys(f for name in reversed(found) for f in found[name]))
    if not order:
        return None
    rows = (len(order) + 1) // 2
    figure = _figure(7.6, 2.5 * rows)
    grid = figure.subplots(rows, 2, squeeze=False, sharey=True).flatten()
    for axes in grid[len(order) :]:
        axes.set_visible(False)
    for place, (axes, feature) in enumerate(zip(grid, order, strict=False)):
        for name in (name for name in MODELS if feature in found.get(name, ())):
            told = found[name][feature]
            x = [_short(value, 12) for value in told["values"]] if told["category"] else told["values"]
            line = "" if told["category"] else LINE[name]
            axes.plot(x, told["p"], MARK[name] + line, color=COLOUR[name], markersize=4.5, label=name)
            axes.set_xlabel(_short(f"{feature}, {told['unit']}" if told.get("unit") else feature, 48))
            if told["category"] and max(map(len, x), default=0) > 3:
                axes.tick_params(axis="x", rotation=60, labelsize=7.5)
        axes.grid(alpha=0.3)
        if place % 2 == 0:
            axes.set_ylabel("mean p")
    grid[0].set_ylim(bottom=0)
    grid[0].legend(loc="best")
    return figure


def _shap(gate: dict[str, Any]) -> Figure | None:
    models, _ = explained(gate, "shap")
    if not models:
        return None
    first = models.get("candidate") or next(iter(models.values()))
    rows = (len(first["rows"]) + 1) // 2
    figure = _figure(8.6, 2.3 * rows)
    grid = figure.subplots(rows, 2, squeeze=False, sharex=True).flatten()
    for axes in grid[len(first["rows"]) :]:
        axes.set_visible(False)
    for index, axes in enumerate(grid[: len(first["rows"])]):
        effects = {
            name: dict(zip(told["features"], told["rows"][index]["values"], strict=True))
            for name, told in models.items()
        }
        row = first["rows"][index]
        given = dict(zip(first["features"], row["given"], strict=True))
        top = sorted(given, key=lambda f: -max(abs(values.get(f, 0)) for values in effects.values()))
        _effects(axes, effects, [(feature, given[feature]) for feature in top[:MOST_EFFECTS]])
        p = " / ".join(f"{told['rows'][index]['p']:.2f}" for told in reversed(models.values()))
        axes.set_title(f"p {p}, outcome: {'yes' if row['label'] else 'no'}")
    grid[0].legend(loc="best", fontsize=7.5)
    for axes in grid[max(0, len(first["rows"]) - 2) : len(first["rows"])]:
        axes.set_xlabel("SHAP value: what it adds to p")
        axes.tick_params(labelbottom=True)
    return figure


def _effects(
    axes: Axes, effects: dict[str, dict[str, float]], features: Sequence[tuple[str, str | None]]
) -> None:
    for shift, name in zip((-0.2, 0.2), reversed(effects), strict=False):
        places = [y + (shift if len(effects) > 1 else 0) for y in range(len(features))]
        values = [effects[name].get(feature, 0) for feature, _ in features]
        hatch = "///" if name == "champion" else None
        axes.barh(places, values, 0.36, color=COLOUR[name], hatch=hatch, edgecolor="white", label=name)
    labels: Iterable[str] = (
        _short(feature, 24) if given is None else f"{_short(feature, 24)} = {_short(given, 10)}"
        for feature, given in features
    )
    axes.set_yticks(range(len(features)), list(labels), fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color=DIM, linewidth=0.8)

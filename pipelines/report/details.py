"""The folded parts of the report: each says in Markdown what gate.json holds of one thing, or nothing."""

from collections.abc import Iterable
from typing import Any

from pipelines.report.markdown import SIGNS, bar, chart, code, number, signed, table, text

MOST_ROWS = 60  # of a list that a proposal can make as long as it likes
MOST_FEATURES = 20  # of the importances
MODELS = ("champion", "candidate")


def details(gate: dict[str, Any]) -> dict[str, str]:
    """Each part by its title, the most telling first; empty where gate.json does not have it."""
    return {
        "Slices": _slices(gate),
        "Month by month": _months(gate),
        "What the models look at": _importance(gate),
        "Partial dependence": _dependence(gate),
        "Single rows explained (SHAP)": _shap(gate),
        "Calibration": _calibration(gate),
        "ROC": _roc(gate),
        "Data": _data(gate),
        "Hashes and days": _hashes(gate),
    }


def _slices(gate: dict[str, Any]) -> str:
    found = gate["slices"]
    limits = (gate.get("thresholds") or {}).get("slice") or {}
    lines = [
        [
            SIGNS.get(slice_sign(part, limits), ""),
            f"{text(part['slice'])} {text(part['value'], 40)}",
            f"{part['rows']:,}",
            str(part["days"]),
            f"{part['label_rate']:.1%}",
            number(part["candidate"]["log_loss"], 3),
            signed(part.get("difference"), 3),
            f"[{signed(part.get('low'), 3)}, {signed(part.get('high'), 3)}]",
            number(part["candidate"].get("roc_auc"), 3),
            signed(_less(part, "roc_auc"), 3),
        ]
        for part in sorted(found, key=lambda part: (part["slice"], -(part.get("difference") or -9)))
    ]
    if not lines:
        return ""
    head = ["", "slice", "n", "days", "label rate", "log-loss", "Δ", "bounds", "ROC-AUC", "Δ"]
    note = (
        "The worst come first. The bounds of Δ log-loss hold for all slices at once (max-statistic); "
        "one that has none is too small to judge. ROC-AUC is shown, not judged."
    )
    if "fail" in limits:
        note += f" ❌ Δ is shown above {limits['fail']:g}."
    if "warn" in limits:
        note += f" ⚠️ Δ is above {limits['warn']:g} and shown above 0."
    return f"{table(head, lines[:MOST_ROWS], range(2, 10))}\n\n{note}"


def slice_sign(part: dict[str, Any], limits: dict[str, Any]) -> str:
    """FAIL or WARNING by the gate's limits for a slice, else nothing."""
    low, difference = part.get("low"), part.get("difference")
    if low is None or difference is None:
        return ""
    if "fail" in limits and low > limits["fail"]:
        return "FAIL"
    return "WARNING" if "warn" in limits and difference > limits["warn"] and low > 0 else ""


def _less(part: dict[str, Any], metric: str) -> float | None:
    candidate, champion = ((part[name] or {}).get(metric) for name in ("candidate", "champion"))
    return None if candidate is None or champion is None else candidate - champion


def _months(gate: dict[str, Any]) -> str:
    return _parts("month of the test window", gate.get("months") or [])


def _parts(title: str, parts: Iterable[dict[str, Any]]) -> str:
    lines = [
        [
            text(part["name"]),
            f"{part['rows']:,}",
            f"{part['label_rate']:.1%}",
            number(part["candidate"]["roc_auc"]),
            signed(_less(part, "roc_auc")),
            number(part["candidate"]["log_loss"]),
            signed(_less(part, "log_loss")),
        ]
        for part in parts
    ]
    head = [text(title), "n", "label rate", "ROC-AUC", "Δ", "log-loss", "Δ"]
    return table(head, lines, range(1, 7)) if lines else ""


def explained(gate: dict[str, Any], part: str) -> tuple[dict[str, Any], list[str]]:
    """What "explain" says of each model in one of its parts, and notes on those that it cannot explain."""
    told = (gate.get("explain") or {}).get(part) or {}
    notes = [f"The {name} {told[name]['note']}." for name in MODELS if "note" in told.get(name, ())]
    return {name: told[name] for name in MODELS if name in told and "note" not in told[name]}, notes


def _importance(gate: dict[str, Any]) -> str:
    models, notes = explained(gate, "importance")
    figures = {name: {f["feature"]: f for f in told["features"]} for name, told in models.items()}
    parts = [text(note, 400) for note in notes]
    order = list(dict.fromkeys(f for name in reversed(figures) for f in figures[name]))
    if order:
        greatest = max(f["mean"] for found in figures.values() for f in found.values())
        lines = []
        for feature in order[:MOST_FEATURES]:
            cells = [f"`{code(feature, 60)}`"]
            for found in figures.values():
                one = found.get(feature)
                cells.append("–" if one is None else f"{one['mean']:.4f} ± {one['sd']:.4f}")
                cells.append("" if one is None else bar(one["mean"], greatest))
            lines.append(cells)
        parts.append(table(["feature", *(cell for name in figures for cell in (name, ""))], lines))
        told = gate["explain"]
        parts.append(
            "Permutation importance: by how much the log-loss rises when a feature's values are shuffled "
            f"among {told['rows']:,} rows of the test window; mean ± standard deviation of {told['repeats']} "
            "shuffles."
        )
        if (more := len(order) - MOST_FEATURES) > 0:
            parts.append(f"Not shown, because they matter less: {more}.")
    return "\n\n".join(parts)


def _dependence(gate: dict[str, Any]) -> str:
    models, notes = explained(gate, "dependence")
    found = {name: {f["feature"]: f for f in told["features"]} for name, told in models.items()}
    parts = [text(note, 400) for note in notes]
    charts = []
    for feature in dict.fromkeys(f for name in reversed(found) for f in found[name]):
        curves = {name: found[name][feature] for name in reversed(found) if feature in found[name]}
        first = next(iter(curves.values()))
        unit = f" ({first['unit']})" if first.get("unit") else ""
        axis = [value if first["category"] else f"{value:g}" for value in first["values"]]
        kind = "bar" if len(curves) == 1 or first["category"] else "line"
        kinds = {name: "line" if name == "candidate" else kind for name in curves}
        charts.append(
            chart(
                f"mean p, by {feature}{unit}",
                axis,
                "p",
                **{n: (kinds[n], curves[n]["p"]) for n in reversed(curves)},
            )
        )
    if charts:
        parts += [
            "The mean probability when all rows have one value of a feature and keep the rest: the candidate "
            "in blue, the champion in orange.",
            *charts,
        ]
    return "\n\n".join(parts)


def _shap(gate: dict[str, Any]) -> str:
    models, notes = explained(gate, "shap")
    parts = [text(note, 400) for note in notes]
    for name in reversed(models):
        told = models[name]
        lines = []
        for row in told["rows"]:
            effects = list(zip(told["features"], row["given"], row["values"], strict=True))
            up = sorted((e for e in effects if e[2] >= 0.0005), key=lambda e: -e[2])[:3]
            down = sorted((e for e in effects if e[2] <= -0.0005), key=lambda e: e[2])[:3]
            lines.append([number(row["p"], 3), "yes" if row["label"] else "no", _effects(up), _effects(down)])
        parts.append(table([f"{name}: p", "it came true", "raised by", "lowered by"], lines))
        parts.append(f"The {name}'s p is {told['base']:.3f} on average.")
    if models:
        parts.append(
            "The same rows of the test window, from the lowest p of the candidate to the highest. SHAP "
            "values add up to p minus the average; the three greatest of each sign are shown."
        )
    return "\n\n".join(parts)


def _effects(effects: Iterable[tuple[str, str | None, float]]) -> str:
    return (
        ", ".join(
            f"`{code(feature if given is None else f'{feature} {given}', 80)}` {value:+.3f}"
            for feature, given, value in effects
        )
        or "–"
    )


def _calibration(gate: dict[str, Any]) -> str:
    models = gate.get("calibration") or {}
    if not models:
        return ""
    lines = [
        [
            text(name),
            *(_with_interval(model, figure) for figure in ("slope", "intercept")),
            number(model.get("ece")),
        ]
        for name, model in models.items()
    ]
    note = (
        "Calibrated is slope 1, intercept 0; a slope below 1: the probabilities are too extreme. ECE (the "
        "mean gap between p and observed share, in tenths of the test window) is shown, not judged."
    )
    charts = [
        chart(
            f"{name}: observed share (bars) and p (line), by tenths of the test window",
            [str(tenth) for tenth in range(1, len(model["predicted"]) + 1)],
            "share",
            observed=("bar", model["observed"]),
            **{name: ("line", model["predicted"])},
        )
        for name, model in models.items()
    ]
    return "\n\n".join([table(["", "slope", "intercept", "ECE"], lines), note, *charts])


def _with_interval(model: dict[str, Any], figure: str) -> str:
    interval = model.get(f"{figure}_interval")
    ends = f" [{number(interval[0], 2)}, {number(interval[1], 2)}]" if interval else ""
    return number(model.get(figure), 2) + ends


def _roc(gate: dict[str, Any]) -> str:
    models = {name: curve for name, curve in (gate.get("roc") or {}).items() if curve["found"]}
    if not models:
        return ""
    shares = next(iter(models.values()))["false_alarms"][::2]  # more labels than that would overlap
    series = {name: ("line", curve["found"][::2]) for name, curve in models.items()}
    axis = [f"{share:g}" for share in shares]
    drawn = chart("share found, by share of false alarms", axis, "found", chance=("line", shares), **series)
    return f"Candidate in blue, champion in orange, chance in grey.\n\n{drawn}"


def _data(gate: dict[str, Any]) -> str:
    told = gate.get("validation")
    if not told:
        return ""
    if "note" in told:
        return text(f"{told['note']}.", 400)
    months = [f"{text(m['month'])}: {m['held']} of {m['of']}" for m in told["months"]]
    parts = [f"Expectations that hold, by the proposal's build: {', '.join(months)}."]
    if told["nearest"]:
        lines = [
            [
                text(n["month"]),
                f"`{code(n['column'])}`",
                text(n["what"]),
                f"{n['share']:.2%}",
                f"{n['allowed']:.2%}",
            ]
            for n in told["nearest"]
        ]
        parts += ["Nearest to being refused:", table(["month", "column", "", "share", "allowed"], lines)]
    return "\n\n".join(parts)


def _hashes(gate: dict[str, Any]) -> str:
    lines = []
    for name in MODELS:
        if (model := gate.get(name)) is not None:
            rate = "–" if model["label_rate"] is None else f"{model['label_rate']:.1%}"
            days = f"{text(model['first'])} to {text(model['last'])}"
            settings = f"`{code(model['estimator'])}` `{code(model['settings'])}`"
            lines.append([name, f"`{code(model['sha256'])}`", days, f"{model['rows']:,}", rate, settings])
    if not lines:
        return ""
    parts = [table(["", "SHA-256 of model.onnx", "trained on", "rows", "label rate", "what it is"], lines)]
    if champion := gate.get("champion"):
        parts.append(f"The champion is {text(champion['origin'])}.")
    if anchor := gate.get("anchor"):
        parts.append(f"The anchor is {text(anchor['origin'])}, SHA-256 `{code(anchor['sha256'])}`.")
    limits = gate["thresholds"]
    parts.append(
        f"Asked for: {limits['days']} days, margins {limits['margin']['roc_auc']:g} (ROC-AUC) and "
        f"{limits['margin']['log_loss']:g} (log-loss), floors {limits['floor']['roc_auc']:g} (ROC-AUC) and "
        f"{limits['floor']['brier_skill']:g} (Brier skill), by the base branch's params.yaml."
    )
    return "\n\n".join(parts)

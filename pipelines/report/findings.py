"""What the report, its plots and its templates read of gate.json: signs, order, reasons, and by feature."""

from collections.abc import Iterable
from typing import Any

from pipelines.core.params import absolute, share
from pipelines.core.tasks.task import Task
from pipelines.report.markdown import SIGNS

WORDS = {
    "PASS": "This proposal may merge.",
    "INCONCLUSIVE": "This proposal may not merge yet: the evidence does not decide.",
    "FAIL": "This proposal may not merge.",
}
MODELS = ("champion", "candidate")
MOST_PARTS = 4  # of an answer that are drawn, the last ones: what matters most stands last


def sign_of(finding: dict[str, Any]) -> str:
    """PASS, INCONCLUSIVE, FAIL, or WARNING for a PASS that a reviewer should look at."""
    return "WARNING" if finding["verdict"] == "PASS" and finding.get("warning") else finding["verdict"]


def in_order(findings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What needs a reader's eye first."""
    return sorted(findings, key=lambda finding: list(SIGNS).index(sign_of(finding)))


def limits(gate: dict[str, Any], section: str, metrics: dict[str, str]) -> dict[str, float]:
    """The thresholds of a section of params.yaml: gate in the unit of the metric that each is of: {key: name
    of the metric}. A share of the champion's is left out where there is no champion."""
    said = (gate["thresholds"] or {}).get(section) or {}
    its = {row["name"]: row["champion"][0] for row in gate["metrics"] if row.get("champion")}
    found = {key: (said[key], its.get(name)) for key, name in metrics.items() if key in said}
    return {key: absolute(one, of or 0.0) for key, (one, of) in found.items() if share(one) is None or of}


def slice_sign(part: dict[str, Any], limits: dict[str, Any]) -> str:
    """FAIL or WARNING by the gate's limits for a slice, else nothing."""
    low, difference = part.get("low"), part.get("difference")
    if low is None or difference is None:
        return ""
    if "fail" in limits and low > limits["fail"]:
        return "FAIL"
    return "WARNING" if "warn" in limits and difference > limits["warn"] and low > 0 else ""


def explained(gate: dict[str, Any], part: str) -> tuple[dict[str, Any], list[str]]:
    """What "explain" says of each model in one of its parts, and notes on those that it cannot explain."""
    told = (gate.get("explain") or {}).get(part) or {}
    notes = [f"The {name} {told[name]['note']}." for name in MODELS if "note" in told.get(name, ())]
    return {name: told[name] for name in MODELS if name in told and "note" not in told[name]}, notes


def by_feature(gate: dict[str, Any], part: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The same as {feature: {model: what it says}}, in the candidate's order, then in the champion's."""
    models, _ = explained(gate, part)
    found = {name: {f["feature"]: f for f in told["features"]} for name, told in models.items()}
    order = dict.fromkeys(feature for name in reversed(found) for feature in found[name])
    return {f: {name: found[name][f] for name in found if f in found[name]} for f in order}


def greatest(features: dict[str, dict[str, dict[str, Any]]]) -> float:
    """The greatest importance of any feature to any model."""
    return max(told["mean"] for found in features.values() for told in found.values())


def split(values: list[Any], task: Task) -> dict[str, list[Any]]:
    """{part of an answer: its own} of a list that has the values of each part in turn."""
    each = len(values) // len(task.parts)
    return {part: values[place * each :][:each] for place, part in enumerate(task.parts)}


def lines(found: dict[str, dict[str, Any]], part: str, task: Task) -> list[tuple[str, str, list[float]]]:
    """A chart's series of a feature's curves, as `by_feature` has them: (model, bar or line, values of p)."""
    *_, told = found.values()
    kind = "bar" if len(found) == 1 or told["category"] else "line"
    drawn = {name: split(curve["p"], task)[part] for name, curve in found.items()}
    return [(name, "line" if name == "candidate" else kind, values) for name, values in drawn.items()]


def curves(gate: dict[str, Any]) -> list[tuple[str, str, list[float]]]:
    """The same of the task's curves, chance first. Each second point: more labels than that would overlap."""
    found = {name: list(curve.values()) for name, curve in gate["curve"].items()}
    drawn = {name: [values[::2] for values in axes] for name, axes in found.items() if all(axes)}
    chance = [("chance", "line", x) for x, _ in drawn.values()][:1]
    return [*chance, *((name, "line", y) for name, (_, y) in drawn.items())]


def extremes(told: dict[str, Any], row: dict[str, Any]) -> tuple[list[tuple[str, str | None, float]], ...]:
    """The three greatest SHAP values of a row, up and down: (feature, its value, what it adds to p)."""
    added = sorted(zip(told["features"], row["given"], row["values"], strict=True), key=lambda e: -abs(e[2]))
    return [e for e in added if e[2] >= 0.0005][:3], [e for e in added if e[2] <= -0.0005][:3]

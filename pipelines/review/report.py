"""`ml report`: what a reviewer reads on the pull request, as Markdown that GitHub renders."""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.console import step, summary
from pipelines.errors import UserError
from pipelines.files import read_json, write_text

LIMIT = 60_000  # characters; GitHub refuses a comment above 65,536
MOST_ROWS = 60  # of a list that a proposal can make as long as it likes
LONGEST = 120  # characters of a text that comes from a proposal
SIGNS = {"PASS": "✅", "INCONCLUSIVE": "🟡", "FAIL": "❌"}
COLOURS = {"PASS": "green", "INCONCLUSIVE": "yellow", "FAIL": "red"}
WORDS = {
    "PASS": "This proposal may merge.",
    "INCONCLUSIVE": "This proposal may not merge yet: the evidence does not decide.",
    "FAIL": "This proposal may not merge.",
}


def run(evidence: Path = Path("evidence"), out: Path | None = None) -> Path:
    """Write report.md beside gate.json (or to `out`), and add it to the step's summary on GitHub.

    Returns its path. UserError where gate.json is missing or not the gate's.
    """
    path = write_text(out or evidence / "report.md", render(_read(evidence)))
    summary(path.read_text(encoding="utf-8"))
    step(f"written: {path}")
    return path


def render(gate: dict[str, Any]) -> str:
    """The report on what gate.json holds: one screen, then folded details; under LIMIT characters.

    Details that would exceed the limit are left out from the end, and named.
    """
    screen = "\n\n".join(
        part for part in (_verdict(gate), _rules(gate), _metrics(gate), _changes(gate)) if part
    )
    details = {
        "Month by month": _months(gate),
        "Slices": _slices(gate),
        "Calibration": _calibration(gate),
        "ROC": _roc(gate),
        "Hashes and days": _hashes(gate),
    }
    left_out = []
    for title, text in details.items():
        if not text:
            continue
        folded = f"\n\n<details><summary>{title}</summary>\n\n{text}\n\n</details>"
        if len(screen) + len(folded) > LIMIT - 500:
            left_out.append(title)
        else:
            screen += folded
    if left_out:
        screen += (
            f"\n\nLeft out, because GitHub takes no longer comment: {', '.join(left_out)}; see gate.json."
        )
    return screen + "\n"


def _read(evidence: Path) -> dict[str, Any]:
    path = evidence / "gate.json"
    gate = read_json(path)
    if not isinstance(gate, dict) or gate.get("verdict") not in SIGNS or not gate.get("findings"):
        raise UserError(f"{path} has no verdict with findings: run `ml gate`, which makes it")
    return gate


# --- the first screen --------------------------------------------------------------------------------------


def _verdict(gate: dict[str, Any]) -> str:
    verdict = gate["verdict"]
    reasons = [text(f["sentence"], 400) for f in gate["findings"] if f["verdict"] == verdict != "PASS"]
    if verdict == "PASS":
        lone = {f["rule"]: f["sentence"] for f in gate["findings"]}
        reasons = [text(lone[rule]) for rule in ("unchanged", "equal") if rule in lone]
        if window := gate.get("window"):
            reasons.append(
                f"Judged on {window['rows']:,} rows of {window['days']} days that neither model has seen."
            )
    return f"## {SIGNS[verdict]} {verdict}\n\n**{WORDS[verdict]}** {' '.join(reasons)}".rstrip()


def _rules(gate: dict[str, Any]) -> str:
    findings = sorted(gate["findings"], key=lambda finding: -list(SIGNS).index(finding["verdict"]))
    lines = [
        [SIGNS[f["verdict"]], f"`{code(f['rule'])}`", text(f["sentence"], 400)] for f in findings[:MOST_ROWS]
    ]
    return _table(["", "rule", "what it says"], lines)


def _metrics(gate: dict[str, Any]) -> str:
    rows = gate.get("metrics")
    if not rows:
        return ""
    lines = []
    for row in rows:
        arrow = "↑" if row["better"] == "higher" else "↓"
        lines.append(
            [
                f"{row['name']} {arrow}",
                _interval(row.get("champion")),
                _interval(row["candidate"]),
                _interval(row.get("difference"), signed=True),
            ]
        )
    note = "Intervals hold 90 % of a bootstrap of the days, in blocks; both models get the same days."
    return f"{_table(['', 'champion', 'candidate', 'Δ'], lines)}\n\n{note}"


def _interval(value: Sequence[float | None] | None, signed: bool = False) -> str:
    if value is None:
        return "–"
    point, low, high = ("–" if number is None else f"{number:{'+' if signed else ''}.4f}" for number in value)
    return f"{'**' if signed else ''}{point}{'**' if signed else ''} [{low}, {high}]"


def _changes(gate: dict[str, Any]) -> str:
    parts = ["### What changed"]
    if diff := gate.get("params"):
        lines = [
            [f"`{code(d['key'])}`", f"`{code(d['base'])}`", f"`{code(d['proposal'])}`"]
            for d in diff[:MOST_ROWS]
        ]
        parts.append(_table(["params.yaml", "base", "proposal"], lines))
    else:
        parts.append("params.yaml: nothing.")
    base, proposal = gate["data"]["base"], gate["data"]["proposal"]
    if proposal is not None:
        same = "the same months" if base == proposal else f"**{_span(base)} became {_span(proposal)}**"
        parts.append(f"Data: {same} ({_span(proposal)}){_training(gate)}.")
    if gate.get("code") is not None:
        files = [f"`{code(path)}`" for path in gate["code"][:MOST_ROWS]]
        more = f" and {len(gate['code']) - MOST_ROWS} more" if len(gate["code"]) > MOST_ROWS else ""
        parts.append(f"Files: {', '.join(files) or 'none'}{more}.")
    return "\n\n".join(parts)


def _training(gate: dict[str, Any]) -> str:
    words = [
        f"{name} trained on {gate[name]['rows']:,} rows"
        for name in ("champion", "candidate")
        if gate.get(name) is not None
    ]
    return f"; {', '.join(words)}" if words else ""


def _span(months: Sequence[str]) -> str:
    return f"{text(months[0])} to {text(months[1])}"


# --- folded ------------------------------------------------------------------------------------------------


def _months(gate: dict[str, Any]) -> str:
    return _parts("month of V", gate.get("months") or [])


def _slices(gate: dict[str, Any]) -> str:
    by_slice: dict[str, list[dict[str, Any]]] = {}
    for part in gate.get("slices") or []:
        by_slice.setdefault(part["slice"], []).append(part | {"name": part["value"]})
    return "\n\n".join(_parts(name, parts) for name, parts in by_slice.items())


def _parts(title: str, parts: Iterable[dict[str, Any]]) -> str:
    lines = []
    for part in parts:
        candidate, champion = part.get("candidate", {}), part.get("champion", {})
        lines.append(
            [
                text(part["name"]),
                f"{part['rows']:,}",
                f"{part['label_rate']:.1%}",
                _number(candidate.get("roc_auc")),
                _delta(candidate.get("roc_auc"), champion.get("roc_auc")),
                _number(candidate.get("log_loss")),
                _delta(candidate.get("log_loss"), champion.get("log_loss")),
            ]
        )
    if not lines:
        return ""
    return _table([text(title), "n", "label rate", "ROC-AUC", "Δ", "log-loss", "Δ"], lines)


def _calibration(gate: dict[str, Any]) -> str:
    models = gate.get("calibration") or {}
    if not models:
        return ""
    words = [
        f"{name}: slope {_number(model['slope'], 2)}, intercept {_number(model['intercept'], 2)}"
        for name, model in models.items()
    ]
    charts = []
    for name, model in models.items():
        axis = [f'"{tenth}"' for tenth in range(1, len(model["predicted"]) + 1)]
        lines = [("bar", model["observed"]), ("line", model["predicted"])]
        charts.append(
            _chart(f"{name}: observed share (bars) and p (line), tenths of V", axis, lines, "share")
        )
    ideal = "Calibrated is slope 1, intercept 0; below 1 the probabilities are too extreme."
    return f"{'; '.join(words)}. {ideal}\n\n" + "\n\n".join(charts)


def _roc(gate: dict[str, Any]) -> str:
    models = {name: curve for name, curve in (gate.get("roc") or {}).items() if curve["found"]}
    if not models:
        return ""
    shares = next(iter(models.values()))["false_alarms"]
    axis = [f'"{share:.2f}"' for share in shares]
    lines = [("line", curve["found"]) for curve in models.values()] + [("line", shares)]
    names = ", ".join([*models, "chance"])
    return _chart(f"share found, by share of false alarms ({names})", axis, lines, "found")


def _chart(title: str, axis: Sequence[str], lines: Sequence[tuple[str, Sequence[float]]], unit: str) -> str:
    drawn = [f"    {kind} [{', '.join(f'{value:.4f}' for value in values)}]" for kind, values in lines]
    highest = min(1.0, max(max(values) for _, values in lines) * 1.05)
    head = ["```mermaid", "xychart-beta", f'    title "{title}"', f"    x-axis [{', '.join(axis)}]"]
    return "\n".join([*head, f'    y-axis "{unit}" 0 --> {highest:.2f}', *drawn, "```"])


def _hashes(gate: dict[str, Any]) -> str:
    lines = []
    for name in ("champion", "candidate"):
        if (model := gate.get(name)) is not None:
            rate = "–" if model["label_rate"] is None else f"{model['label_rate']:.1%}"
            days = f"{text(model['first'])} to {text(model['last'])}"
            settings = f"`{code(model['estimator'])}` `{code(model['settings'])}`"
            lines.append([name, f"`{code(model['sha256'])}`", days, f"{model['rows']:,}", rate, settings])
    if not lines:
        return ""
    table = _table(["", "SHA-256 of model.onnx", "trained on", "rows", "label rate", "what it is"], lines)
    origin = f"\n\nThe champion is {text(gate['champion']['origin'])}." if gate.get("champion") else ""
    limits = gate["thresholds"]
    asked = (
        f"Asked for: {limits['days']} days, margins {limits['margin']['roc_auc']:g} (ROC-AUC) and "
        f"{limits['margin']['log_loss']:g} (log-loss), floors {limits['floor']['roc_auc']:g} (ROC-AUC) and "
        f"{limits['floor']['brier_skill']:g} (Brier skill), by the base branch's params.yaml."
    )
    return f"{table}{origin}\n\n{asked}"


# --- Markdown ----------------------------------------------------------------------------------------------


def text(value: Any, longest: int = LONGEST) -> str:
    """A text that may be hostile, as Markdown that shows it: no markup, link, mention, HTML or line break."""
    plain = _plain(value, longest)
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = re.sub(r"([\\`*_{}\[\]|~$!])", r"\\\1", plain)
    plain = re.sub(
        r"(?i)\b(https?|ftp|www)(?=[:.])", "\\1\N{WORD JOINER}", plain
    )  # no link of its own accord
    return re.sub(r"[@#]", "\\g<0>\N{WORD JOINER}", plain)  # nobody is notified, no issue referred to


def code(value: Any, longest: int = LONGEST) -> str:
    """The same for the inside of a code span in a table."""
    return _plain(value, longest).replace("`", "'").replace("|", "\\|") or " "


def _plain(value: Any, longest: int) -> str:
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(value)[: 10 * longest]).split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in ([*head], ["---"] * len(head), *lines)]
    return "\n".join(rows)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _delta(candidate: float | None, champion: float | None) -> str:
    return "–" if candidate is None or champion is None else f"{candidate - champion:+.4f}"


# --- the terminal ------------------------------------------------------------------------------------------


def show(path: Path, details: bool = True) -> None:
    """Print a report on the terminal: charts as bars, hashes left out; without `details` the first screen."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    content = path.read_text(encoding="utf-8")
    verdict = next((word for word in SIGNS if f" {word}\n" in content[:40]), "FAIL")
    theme = Theme({"markdown.h2": f"bold {COLOURS[verdict]}", "markdown.code": "cyan"})
    console = Console(theme=theme, highlight=False, width=None if os.isatty(1) else 118)
    for part in re.split(r"(?=<details>)", content):
        if title := re.match(r"<details><summary>(.*?)</summary>", part):
            if not details or title[1] == "Hashes and days":
                continue
            part = f"### {title[1]}\n" + part[title.end() :].replace("</details>", "")
        part = re.sub(
            r"```mermaid\n(.*?)```", lambda found: f"```text\n{_bars(found[1])}\n```", part, flags=re.DOTALL
        )
        console.print(Markdown(part.replace("\N{WORD JOINER}", "")))


def _bars(chart: str) -> str:
    """A Mermaid xychart as text: a row for each place on the x-axis, a bar for its first series."""
    title = re.search(r'title "(.*)"', chart)
    places = re.findall(r'"([\d.]+)"', (re.search(r"x-axis \[(.*)\]", chart) or [""])[0])
    series = [[float(n) for n in found.split(", ")] for found in re.findall(r"(?:bar|line) \[(.*)\]", chart)]
    lines = [title[1] if title else ""]
    for index, place in enumerate(places):
        values = [values[index] for values in series]
        lines.append(f"{place:>5} {'█' * round(values[0] * 40):40} " + "  ".join(f"{v:.3f}" for v in values))
    return "\n".join(lines)

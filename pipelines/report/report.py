"""`ml report`: what a reviewer reads on the pull request, as Markdown that GitHub renders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.artifacts.verdict import Verdict
from pipelines.base.console import step, summary
from pipelines.base.files import write_text
from pipelines.report.details import MODELS, MOST_ROWS, details
from pipelines.report.findings import WORDS, in_order, reasons, sign_of
from pipelines.report.markdown import SIGNS, code, interval, table, text

LIMIT = 60_000  # characters; GitHub refuses a comment above 65,536


def run(evidence: Path = Path("evidence"), out: Path | None = None) -> Path:
    """Write report.md beside gate.json (or to `out`), and add it to the step's summary on GitHub; then the
    page with plots beside it, report.html.

    Returns the former's path. UserError where gate.json is missing or not the gate's.
    """
    from pipelines.report import page  # matplotlib takes a second, which the rest does without

    verdict = Verdict.read(evidence)
    path = write_text(out or evidence / "report.md", render(verdict))
    summary(path.read_text(encoding="utf-8"))
    plots = write_text(path.with_suffix(".html"), page.render(verdict))
    step(f"written: {path} and {plots}")
    return path


def render(verdict: Verdict) -> str:
    """The report on what gate.json holds: one screen, then folded details; under LIMIT characters.

    Details that would exceed the limit are left out from the end, and named.
    """
    gate = verdict.model_dump()
    screen = "\n\n".join(
        part for part in (_verdict(gate), _rules(gate), _metrics(gate), _changes(gate)) if part
    )
    left_out = []
    for title, found in details(gate).items():
        if not found:
            continue
        folded = f"\n\n<details><summary>{title}</summary>\n\n{found}\n\n</details>"
        if len(screen) + len(folded) > LIMIT - 500:
            left_out.append(title)
        else:
            screen += folded
    if left_out:
        screen += (
            f"\n\nLeft out, because GitHub takes no longer comment: {', '.join(left_out)}; see gate.json."
        )
    return screen + "\n"


def _verdict(gate: dict[str, Any]) -> str:
    verdict = gate["verdict"]
    why = " ".join(text(reason, 400) for reason in reasons(gate))
    return f"## {SIGNS[verdict]} {verdict}\n\n**{WORDS[verdict]}** {why}".rstrip()


def _rules(gate: dict[str, Any]) -> str:
    lines = [
        [SIGNS[sign_of(f)], f"`{code(f['rule'])}`", text(f["sentence"], 400)]
        for f in in_order(gate["findings"])[:MOST_ROWS]
    ]
    return table(["", "rule", "what it says"], lines)


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
                interval(row.get("champion")),
                interval(row["candidate"]),
                _difference(row.get("difference")),
            ]
        )
    note = "Intervals hold 90 % of a bootstrap of the days, in blocks; both models get the same days."
    return f"{table(['', 'champion', 'candidate', 'Δ'], lines)}\n\n{note}"


def _difference(value: Sequence[float | None] | None) -> str:
    point, _, ends = interval(value, difference=True).partition(" ")
    return f"**{point}** {ends}" if ends else point


def _changes(gate: dict[str, Any]) -> str:
    parts = ["### What changed"]
    if diff := gate.get("params"):
        lines = [
            [f"`{code(d['key'])}`", f"`{code(d['base'])}`", f"`{code(d['proposal'])}`"]
            for d in diff[:MOST_ROWS]
        ]
        parts.append(table(["params.yaml", "base", "proposal"], lines))
    else:
        parts.append("params.yaml: nothing.")
    base, proposal = ((gate["data"] or {}).get(end) for end in ("base", "proposal"))
    if base is not None and proposal is not None:
        same = "the same months" if base == proposal else f"**{_span(base)} became {_span(proposal)}**"
        parts.append(f"Data: {same} ({_span(proposal)}){_training(gate)}.")
    if gate.get("code") is not None:
        files = [f"`{code(path)}`" for path in gate["code"][:MOST_ROWS]]
        more = f" and {len(gate['code']) - MOST_ROWS} more" if len(gate["code"]) > MOST_ROWS else ""
        parts.append(f"Files: {', '.join(files) or 'none'}{more}.")
    return "\n\n".join(parts)


def _training(gate: dict[str, Any]) -> str:
    rows = {name: gate[name]["rows"] for name in MODELS if gate.get(name)}
    words = [f"{name} trained on {count:,} rows" for name, count in rows.items()]
    if len(rows) == 2 and (more := rows["candidate"] - rows["champion"]):
        words[-1] += f" ({more:+,})"
    return f"; {', '.join(words)}" if words else ""


def _span(months: Sequence[str]) -> str:
    return f"{text(months[0])} to {text(months[1])}"

"""What report.md and report.html both say of the findings: their signs, their order, the verdict's why."""

from collections.abc import Iterable
from typing import Any

from pipelines.report.markdown import SIGNS, plain

WORDS = {
    "PASS": "This proposal may merge.",
    "INCONCLUSIVE": "This proposal may not merge yet: the evidence does not decide.",
    "FAIL": "This proposal may not merge.",
}


def sign_of(finding: dict[str, Any]) -> str:
    """PASS, INCONCLUSIVE, FAIL, or WARNING for a PASS that a reviewer should look at."""
    return "WARNING" if finding["verdict"] == "PASS" and finding.get("warning") else finding["verdict"]


def in_order(findings: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What needs a reader's eye first."""
    return sorted(findings, key=lambda finding: list(SIGNS).index(sign_of(finding)))


def reasons(gate: dict[str, Any]) -> list[str]:
    """Why the verdict is what it is, in plain sentences that may be hostile."""
    verdict = gate["verdict"]
    if verdict != "PASS":
        return [plain(f["sentence"], 400) for f in gate["findings"] if f["verdict"] == verdict]
    lone = {f["rule"]: f["sentence"] for f in gate["findings"]}
    found = [plain(lone[rule]) for rule in ("unchanged", "equal") if rule in lone]
    if gate.get("superior"):
        found.append("It is shown better than the champion.")
    if window := gate.get("window"):
        found.append(
            f"Judged on {window['rows']:,} rows of {window['days']} days that neither model has seen."
        )
    if warned := [f["rule"] for f in gate["findings"] if sign_of(f) == "WARNING"]:
        found.append(f"Look at {', '.join(plain(rule) for rule in warned)} before you merge.")
    return found

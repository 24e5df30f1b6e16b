"""`ml report`: what a reviewer reads on the pull request, as Markdown that GitHub renders."""

from pathlib import Path

from pipelines.artifacts.verdict import Verdict
from pipelines.base.console import step, summary
from pipelines.base.files import write_text
from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.report import document, page

LIMIT_CHARACTERS = 60_000  # GitHub refuses a comment above 65,536


def run(contract: Contract, evidence: Path = Path("evidence"), out: Path | None = None) -> Path:
    """Write report.md beside gate.json (or to `out`), which the step's summary on GitHub shows too, and the
    page with plots, report.html. Returns the former's path. UserError where gate.json is missing or not the
    gate's."""
    verdict = Verdict.read(evidence).of(tasks.of(contract))
    path = write_text(out or evidence / "report.md", render(verdict, contract))
    summary(path.read_text(encoding="utf-8"))
    plots = write_text(path.with_suffix(".html"), page.render(verdict, contract))
    step(f"written: {path} and {plots}")
    return path


def render(verdict: Verdict, contract: Contract) -> str:
    """The report on what gate.json holds: one screen, then folded details; those that would exceed
    LIMIT_CHARACTERS are left out, and named."""
    screen, details = document.parts(verdict.model_dump(), contract)
    left_out = []
    for title, content in details.items():
        folded = f"\n\n<details><summary>{title}</summary>\n\n{content}\n\n</details>"
        if len(screen) + len(folded) > LIMIT_CHARACTERS - 500:
            left_out.append(title)
        else:
            screen += folded
    if left_out:
        names = ", ".join(left_out)
        screen += f"\n\nLeft out, because GitHub takes no longer comment: {names}; see gate.json."
    return screen + "\n"

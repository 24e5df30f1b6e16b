"""The drift check's report: Markdown for people and for the retraining proposal, JSON for machines."""

from functools import partial
from pathlib import Path

from pipelines.artifacts.drift import Check
from pipelines.base.console import summary
from pipelines.base.files import write_text
from pipelines.core.tasks.task import Task
from pipelines.report.markdown import render

SAYS = {
    "STEADY": "Nothing asks for a new model.",
    "INCONCLUSIVE": "There is too little to say anything, and no data never passes.",
    "RETRAIN": "The champion has grown stale: a model that knows the months since should take its place.",
    "FAULT": "The data that production sees are faulty. Mend them first: a new model would learn the fault.",
}


def write(check: Check, out: Path, task: Task) -> None:
    """Write OUT/drift.json and OUT/drift.md, print the report, add it to GitHub's step summary, if any."""
    text = markdown(check, task)
    check.write(out)
    write_text(out / "drift.md", text)
    summary(text)
    print(terminal(check, task))


def markdown(check: Check, task: Task) -> str:
    """The report: verdict, reasons, the months, what moved, and where the numbers come from."""
    known, shown = check.reference, [month for month in check.months if month.psi]
    ours = [(m.month, m.skill) for m in check.months if m.skill is not None]
    points = [*known.skills.items(), *ours]
    psi, limit = shown[-1].psi if shown else {}, known.thresholds
    return render(
        "drift.md.j2",
        check=check,
        task=task,
        says=SAYS[check.verdict],
        known=known,
        points=points,
        best=max([0.0, *(skill for _, skill in points)]),
        shown=shown,
        features=sorted(psi, key=lambda name: -psi[name] / limit[name]),
        releases=dict.fromkeys(release for month in check.months for release in month.releases),
        share=partial(_share, task),
        figure=_number,
    )


def terminal(check: Check, task: Task) -> str:
    """The same in a few lines without markup."""
    lines = [f"{check.verdict}: {check.environment} through {check.through}. {SAYS[check.verdict]}"]
    lines += [f"  {reason}" for reason in check.reasons]
    lines += [f"  note: {warning}" for warning in check.warnings]
    mean, wide = f"mean {task.parts[-1]}", max(12, len(task.rate_name) + 2)
    said = max(9, len(mean) + 2)
    head = f"{'predictions':>12}{task.rate_name:>{wide}}{mean:>{said}}{'skill':>9}  95 % interval"
    lines.append(f"  {'month':9}{head}")
    for month in check.months:
        interval = "{:6.3f} to {:.3f}".format(*month.interval) if month.interval else ""
        rates = f"{_share(task, month.label_rate):>{wide}}{_share(task, month.mean_p):>{said}}"
        told = f"{rates}{_number(month.skill):>9}"
        lines.append(f"  {month.month:9}{month.predictions:>12,}{told}  {interval:18} {month.state}")
    return "\n".join(lines)


def _share(task: Task, value: float | None) -> str:
    return "" if value is None else task.rate_words(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

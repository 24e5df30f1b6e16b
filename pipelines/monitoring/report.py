"""The drift check's report: Markdown for people and for the retraining proposal, JSON for machines."""

from pathlib import Path

from pipelines.artifacts.drift import Check, Month
from pipelines.base.console import summary
from pipelines.base.files import write_text

SAYS = {
    "STEADY": "Nothing asks for a new model.",
    "INCONCLUSIVE": "There is too little to say anything, and no data never passes.",
    "RETRAIN": "The champion has grown stale: a model that knows the months since should take its place.",
    "FAULT": "The data that production sees are faulty. Mend them first: a new model would learn the fault.",
}
MARKS = {"good": "good", "bad": "**bad**", "fault": "**fault**", "unknown": "unknown"}
BAR = 12  # characters


def write(check: Check, out: Path) -> None:
    """Write OUT/drift.json and OUT/drift.md, print the report, add it to GitHub's step summary, if any."""
    text = markdown(check)
    check.write(out)
    write_text(out / "drift.md", text)
    summary(text)
    print(terminal(check))


def markdown(check: Check) -> str:
    """The report: verdict, reasons, the months, what moved, and where the numbers come from."""
    parts = [
        f"## Drift check of {check.environment} through {check.through}: {check.verdict}",
        f"{SAYS[check.verdict]}",
        "\n".join(f"- {reason}" for reason in check.reasons),
    ]
    if check.warnings:
        parts += ["Worth a look:", "\n".join(f"- {warning}" for warning in check.warnings)]
    parts += [_months(check), _chart(check), _features(check), _sources(check)]
    return "\n\n".join(part for part in parts if part) + "\n"


def terminal(check: Check) -> str:
    """The same in a few lines without markup."""
    lines = [f"{check.verdict}: {check.environment} through {check.through}. {SAYS[check.verdict]}"]
    lines += [f"  {reason}" for reason in check.reasons]
    lines += [f"  note: {warning}" for warning in check.warnings]
    lines.append(
        f"  {'month':9}{'predictions':>12}{'label rate':>12}{'mean p':>9}{'skill':>9}  95 % interval"
    )
    for month in check.months:
        interval = "{:6.3f} to {:.3f}".format(*month.interval) if month.interval else ""
        rates = f"{_share(month.label_rate):>12}{_share(month.mean_p):>9}{_number(month.brier_skill):>9}"
        lines.append(f"  {month.month:9}{month.predictions:>12,}{rates}  {interval:18} {month.state}")
    return "\n".join(lines)


def _months(check: Check) -> str:
    best = max([0.0, *(m.brier_skill or 0.0 for m in check.months), *check.reference.skills.values()])
    rows = [
        "| month | events | asked | label rate | mean p | Brier skill | 95 % interval | | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |",
    ]
    for name, skill in check.reference.skills.items():
        bar = _bar(skill, best)
        rows.append(f"| {name} | | | | | {skill:.3f} | | {bar} | in training |")
    for month in check.months:
        interval = "{:.3f} to {:.3f}".format(*month.interval) if month.interval else ""
        rows.append(
            f"| {month.month} | {month.events:,} | {_asked(month)} | {_share(month.label_rate)} "
            f"| {_share(month.mean_p)} | {_number(month.brier_skill)} | {interval} "
            f"| {_bar(month.brier_skill, best)} | {MARKS[month.state]}{month.why and ': ' + month.why} |"
        )
    floor, row = check.params.brier_skill, check.params.months
    return "\n".join(rows) + (
        f"\n\nA month below {floor:g} is bad; {row} in a row ask for a new model. Brier skill is against the "
        "month's own label rate; training months were judged by models of the months before them. "
        "Intervals resample days."
    )


def _chart(check: Check) -> str:
    points = [(name, skill) for name, skill in check.reference.skills.items()]
    points += [(month.month, month.brier_skill) for month in check.months if month.brier_skill is not None]
    if len(points) < 2:
        return ""
    names = ", ".join(f'"{name}"' for name, _ in points)
    values = ", ".join(f"{skill:.3f}" for _, skill in points)
    floor = ", ".join(f"{check.params.brier_skill:g}" for _ in points)
    return (
        "```mermaid\nxychart-beta\n"
        '    title "Brier skill by month, and the floor"\n'
        f"    x-axis [{names}]\n"
        '    y-axis "Brier skill"\n'
        f"    bar [{values}]\n    line [{floor}]\n```"
    )


def _features(check: Check) -> str:
    shown = [month for month in check.months if month.psi]
    if not shown:
        return ""
    thresholds = check.reference.thresholds
    names = sorted(shown[-1].psi, key=lambda name: -shown[-1].psi[name] / thresholds[name])
    head = ["feature", "threshold", *(month.month for month in shown)]
    rows = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for name in names:
        cells = [f"**{m.psi[name]:.2f}**" if name in m.moved else f"{m.psi[name]:.2f}" for m in shown]
        rows.append(f"| {name} | {thresholds[name]:.2f} | {' | '.join(cells)} |")
    many = len(shown[-1].moved)
    return (
        f"<details><summary>Features: {many} of {len(names)} outside of what the training months knew "
        f"(PSI)</summary>\n\n" + "\n".join(rows) + "\n\n"
        "A threshold is the largest PSI of a training month against the others. A season moves features each "
        "year, so they say where to look and ask for nothing by themselves.\n\n</details>"
    )


def _sources(check: Check) -> str:
    log, known = check.log, check.reference
    by = {release: n for month in check.months for release, n in month.releases.items()}
    releases = ", ".join(f"`{release[:12]}`" for release in by)
    return (
        f"Trained on {known.first} to {known.last}, label rate {_share(known.label_rate)}. The log has "
        f"{log['lines']:,} lines: {log['predictions']:,} with a key, {log['repeated']:,} asked again, "
        f"{log['without_key']:,} without a key"
        + (f", {log['shadow']:,} answers to copies of requests, which do not count" if log["shadow"] else "")
        + "."
        + (f" Answered by {releases}." if releases else "")
    )


def _asked(month: Month) -> str:
    return f"{month.predictions:,}" if month.predictions else "0"


def _bar(value: float | None, best: float) -> str:
    if value is None or best <= 0:
        return ""
    return "█" * max(0, round(BAR * value / best)) or "▏"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"

"""What the page's figures show: who was wanted when, how good each release was, and what production saw."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from pipelines.artifacts.drift import Check
from pipelines.artifacts.drift import Month as Seen_month
from pipelines.core.tasks.task import Task
from pipelines.page import chart
from pipelines.page.chart import Bar, Line, Point
from pipelines.page.evidence import Evidence
from pipelines.page.seen import Place, Seen

MOST_LINES = 6  # releases in one chart, the newest ones


def of_index(seen: Seen, task: Task) -> dict[str, Any]:
    """The figures of the first page, by their names in its template."""
    return {
        "lanes": _lanes(seen),
        "skills": _skills(seen, task),
        "drift": {place.name: drifted for place in seen.places if (drifted := _drift(place, task))},
    }


def of_release(release: Evidence, task: Task, kind: str) -> Markup:
    """How good it was month by month, when it was released."""
    says = f"{task.skill.name} of release {release.id[:12]} by month; months of its training are hollow"
    return chart.by_month("skill", f"{task.skill.name} by month", says, [_line(release, task, kind)])


def _lanes(seen: Seen) -> Markup:
    rows = {
        place.name: [
            Bar(
                stay.release[:12],
                seen.colours[stay.release],
                f"{stay.release[:12]}: {stay.why} by {stay.by}, {chart.when(stay.since)} UTC",
                stay.since,
                stay.until,
            )
            for stay in place.stays
        ]
        for place in seen.places
    }
    says = "; ".join(
        f"{place.name} wants {place.now.release[:12]} since {chart.when(place.since)} UTC"
        for place in seen.places
    )
    return chart.lanes("lanes", "What each environment wanted, by the ledger", says, rows)


def _skills(seen: Seen, task: Task) -> Markup:
    shown = [release for release in seen.releases if release.months][:MOST_LINES]
    says = "; ".join(
        f"{release.id[:12]}: {month.name} {value:.3f}"
        for release in shown
        for month in release.months[-1:]
        if (value := month.figures.get(task.skill.key)) is not None
    )
    title = f"{task.skill.name} by month, of each release when it was made"
    return chart.by_month(
        "skills", title, says, [_line(release, task, seen.colours[release.id]) for release in reversed(shown)]
    )


def _line(release: Evidence, task: Task, kind: str) -> Line:
    points = [
        Point(month.name, value, f"{release.id[:12]}, {month.name}: {value:.3f}", faint=month.trained)
        for month in release.months
        if (value := month.figures.get(task.skill.key)) is not None
    ]
    return Line(kind, points)


def months(checks: Sequence[Check]) -> dict[str, tuple[Check, Seen_month]]:
    """Each month that was checked, by the newest check that knows it."""
    ordered = sorted(checks, key=lambda check: check.through)
    found = {month.month: (check, month) for check in ordered for month in check.months}
    return dict(sorted(found.items()))


def _drift(place: Place, task: Task) -> dict[str, Any]:
    """The chart of what an environment saw, its months and its newest check; empty without any."""
    if not place.checks:
        return {}
    found, newest = months(place.checks), max(place.checks, key=lambda check: check.through)
    trained = [
        Point(name, skill, f"{name}: {skill:.3f}, in training, by a model of the months before", faint=True)
        for name, skill in newest.reference.skills.items()
        if name not in found
    ]
    seen = [
        Point(
            name,
            month.skill,
            f"{name}: {month.skill:.3f}, {month.state}",
            ends=month.interval,
            tone=month.state,
        )
        for name, (_, month) in found.items()
        if month.skill is not None
    ]
    points = sorted([*trained, *seen], key=lambda point: point.month)
    floor = getattr(newest.params, task.skill.key)
    says = f"{newest.verdict} through {newest.through}: {' '.join(newest.reasons)}"
    title = f"{task.skill.name} by month, of what {place.name} answered"
    drawn = chart.by_month(f"drift-{place.name}", title, says, [Line("c0", points)], float(floor))
    return {"chart": drawn, "months": found, "check": newest}

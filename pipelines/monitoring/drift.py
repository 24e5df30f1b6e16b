"""`ml drift`: what production sees, compared with what the champion was trained on; month by month.

The verdict rests on the task's skill, on what users got. Features warn: they show where to look."""

import itertools
import math
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.artifacts.drift import Check, Fault, Month, State, Training, Verdict
from pipelines.artifacts.reference import Reference
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.core import periods, stats, tasks, units
from pipelines.core.contract import Contract
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task
from pipelines.host import host as hosts
from pipelines.monitoring import faults, labels

EXIT: dict[Verdict, int] = {"STEADY": 0, "INCONCLUSIVE": 3, "RETRAIN": 4, "FAULT": 4}
RESAMPLES = 1000
SEED = 7
UNREADABLE = 0.01  # of the log's lines: above it, what was lost could say something else than what is left


def drift(
    environment: str, through: str, home: Path, known: Reference, params: Params, problem: Problem
) -> Check:
    """Judge `environment` by its months after the champion's training, up to the period `through`.

    Reads its prediction log and HOME/labels/PERIOD.parquet; `known` is the running release's. UserError where
    the champion has seen these months, or has no such features."""
    contract = problem.contract
    if lacking := [column.name for column in contract.loggable if column.name not in known.named]:
        why = f"the champion's reference.json has no feature {lacking[0]}, which columns.py has"
        raise UserError(f"{why}: run the drift check at the commit of the running release")
    since = periods.end(periods.at(date.fromisoformat(known.last), like=through))
    first = periods.at(since, like=through)
    if not (counted := periods.between(first, through)):
        raise UserError(f"the champion has seen {through}: what is newer counts, from {first} on")
    log = labels.predictions(hosts.place(home, environment, contract.name) / "predictions", contract)
    step(f"{environment}: {len(log.rows):,} predictions with a key in {log.lines:,} lines of the log")
    events = {period: labels.events(home / "labels", period, problem) for period in counted}
    months = by_month(events, contract).items()
    judged = [judge(month, table, log, known, params, contract) for month, table in months]
    # without the months before production began; the newest always stays
    begun = next((n for n, month in enumerate(judged) if month.predictions), len(judged) - 1)
    return conclude(environment, through, judged[begun:], log, known, params, problem.task)


def by_month(events: Mapping[str, pd.DataFrame | None], contract: Contract) -> dict[str, pd.DataFrame | None]:
    """The events of each month, from those of the periods that it shares days with; None where the labels of
    one of these have not come."""
    first, last = periods.start(min(events)), periods.end(max(events)) - timedelta(days=1)
    found: dict[str, pd.DataFrame | None] = {}
    for month in periods.between(f"{first:%Y-%m}", f"{last:%Y-%m}"):
        start, end = periods.start(month), periods.end(month)
        its = [of for name, of in events.items() if start < periods.end(name) and periods.start(name) < end]
        tables = [table for table in its if table is not None]
        whole = pd.concat(tables, ignore_index=True) if len(tables) == len(its) else None
        if whole is not None:
            whole = whole[periods.within(whole[contract.time.name], month, month)].reset_index(drop=True)
        found[month] = whole
    return found


def judge(
    month: str,
    table: pd.DataFrame | None,
    log: labels.Log,
    known: Reference,
    params: Params,
    contract: Contract,
) -> Month:
    """One month: its skill, its features and its faults."""
    if table is None:
        why = f"its labels have not come: `ml ingest --through {month} --labels-to host`"
        return Month(month=month, state="unknown", why=why, events=0)
    joined = labels.join(log, table, contract)
    if joined.empty:
        why = "there are no predictions of its events"
        return Month(month=month, state="unknown", why=why, events=len(table))
    features, task = known.named, tasks.of(contract)
    bins = {name: feature.bins for name, feature in features.items()}
    wrong = faults.find(joined, table, bins, params.drift.psi, contract)
    seen = {c.name: joined[f"{c.name}_seen"].to_numpy(dtype=object) for c in contract.loggable}
    shares = {name: bins[name].frequencies(values) for name, values in seen.items()}
    psi = {name: stats.psi(features[name].frequencies, share) for name, share in shares.items()}
    over = {name: value / features[name].threshold for name, value in psi.items()}
    skill = _skill(joined[joined[contract.label.name].notna()], params, contract)
    state, why = _state(skill, wrong, params, task)
    answers = task.stacked(joined[labels.ANSWER])
    values = {
        "month": month,
        "state": state,
        "why": why,
        "events": len(table),
        "predictions": len(joined),
        "mean_p": float(task.level(answers).mean()),
        "said": task.named(answers.mean(axis=0).tolist()),
        **skill,
        "psi": psi,
        "moved": tuple(sorted((name for name in over if over[name] > 1), key=lambda name: -over[name])),
        "faults": tuple(wrong),
        "releases": {str(k): int(v) for k, v in joined[labels.RELEASE].value_counts().items()},
    }
    return Month.model_validate(values, by_name=True)


def conclude(
    environment: str,
    through: str,
    judged: list[Month],
    log: labels.Log,
    known: Reference,
    params: Params,
    task: Task,
) -> Check:
    """The verdict over the months, the newest of which is the one that is asked about."""
    thresholds = {feature.name: feature.threshold for feature in known.features}
    skills, rate = _own_skills(known, task), task.rate(known.constant)
    days, shares = {"first": known.first, "last": known.last}, task.named(known.constant)
    training = Training(**days, label_rate=rate, shares=shares, thresholds=thresholds, skills=skills)
    newest, warnings = judged[-1], _notes(judged, log, training, params, task)
    verdict: Verdict
    if newest.faults:
        # A model trained on faulty data learns the fault: the data come first, whatever the skill says.
        verdict = "FAULT"
        reasons = [f"{newest.month}: {fault.feature}: {fault.sentence}" for fault in newest.faults]
    elif newest.state == "unknown":
        verdict, reasons = "INCONCLUSIVE", [f"{newest.month} says nothing: {newest.why}"]
    elif (lost := log.unreadable + log.cut) > UNREADABLE * log.lines:
        verdict = "INCONCLUSIVE"
        reasons = [f"{lost:,} of {log.lines:,} lines of the prediction log are unreadable"]
    elif len(run := _run(judged)) >= params.drift.months:
        verdict, reasons = "RETRAIN", [_bad_run(run, training, params, task)]
    else:
        verdict, reasons = "STEADY", [_steady(newest, run, params, task)]
    counts = {name: int(value) for name, value in vars(log).items() if name != "asked"}
    return Check(
        environment=environment,
        through=through,
        verdict=verdict,
        reasons=tuple(reasons),
        warnings=tuple(warnings),
        months=tuple(judged),
        reference=training,
        log=counts | {"predictions": len(log.rows)},
        params=params.drift,
    )


def _skill(rows: pd.DataFrame, params: Params, contract: Contract) -> dict[str, Any]:
    """Skill against the month's own constant, and its interval by resampling days.

    The month's own, not the training's, is the one to beat here: against the training's a model whose answers
    have gone stale looks better the more the world has moved away, because the constant suffers with it."""
    days = rows[contract.time.name].dt.normalize().nunique()
    numbers: dict[str, Any] = {"rows": len(rows), "days": days, "skill": None}
    if rows.empty:
        return numbers
    task = tasks.of(contract)
    label = task.labels(rows[contract.label.name])
    numbers["label_rate"] = task.rate(constant := task.constant(label))
    numbers["shares"] = task.named(constant)
    if task.lacks(label):
        return numbers
    drawn = units.of(rows, contract, params.gate.unit)
    answers = task.stacked(rows[labels.ANSWER])
    sums = task.sums(label, answers, drawn.of, drawn.count, constant, params.decision)
    draws = task.own_skill(sums, drawn.weights(RESAMPLES, SEED))
    draws = draws[np.isfinite(draws)]  # a resample of one class only
    numbers |= {"skill": float(task.own_skill(sums)), "drawn": drawn.name}
    if len(draws):
        interval, below = stats.interval(draws, 0.95), float((draws < _floor(params, task)).mean())
        numbers |= {"interval": interval, "below": below}
    return numbers


def _own_skills(known: Reference, task: Task) -> dict[str, float]:
    """The training months' skills, restated from the constant of the months before each to its own."""
    skills = {}
    for index, month in enumerate(known.skills):
        later = known.skills[index:]
        rows = known.rows - sum(each.rows for each in later)
        total = known.rows * np.asarray(known.constant) - sum(m.rows * np.asarray(m.constant) for m in later)
        own = task.restated(month.skill, month.constant, total / rows) if rows > 0 else math.nan
        if math.isfinite(own):
            skills[month.month] = own
    return skills


def _floor(params: Params, task: Task) -> float:
    return float(getattr(params.drift, task.skill.key))


def _state(skill: Mapping[str, Any], wrong: list[Fault], params: Params, task: Task) -> tuple[State, str]:
    if wrong:
        return "fault", ""
    if not skill["rows"]:
        return "unknown", "none of its predictions has a label"
    if skill["days"] < params.drift.days:
        return "unknown", f"its labels are of {skill['days']} days, and {params.drift.days} are needed"
    if skill["skill"] is None:
        return "unknown", "its labels are all the same"
    return ("good" if skill["skill"] >= _floor(params, task) else "bad"), ""


def _run(judged: list[Month]) -> list[Month]:
    """The bad months in a row that end with the newest.

    The floor and the row make a control chart's run rule (Western Electric 1956). One month's interval
    spans .2 to .3 of skill, because all events of a day share their weather, so to ask that it be below
    the floor as a whole would never speak up (2013's worst month: .01, -.10 to .09), and one month below it
    is common: of the flights' training months, each judged by a model of those before it, February and April
    are, and no two in a row. A proposal is cheap and the gate judges it, a decay that is left alone is not.
    """
    return list(itertools.takewhile(lambda month: month.state == "bad", reversed(judged)))[::-1]


def _notes(judged: list[Month], log: labels.Log, training: Training, params: Params, task: Task) -> list[str]:
    found, floor = [], _floor(params, task)
    if moved := judged[-1].moved:
        # By itself no reason to retrain: seasons do it each year, and the skill of July did not suffer.
        far = [f"{name} (PSI {judged[-1].psi[name]:.2f} > {training.thresholds[name]:.2f})" for name in moved]
        found.append(f"in {judged[-1].month} other values than in training: {', '.join(far)}")
    if absent := [name for name, share in judged[-1].shares.items() if not share]:
        found.append(f"in {judged[-1].month} nothing was {', nor '.join(absent)}: its figures are without it")
    for month in judged[:-1]:
        found += [f"{month.month} is left out: {fault.feature}: {fault.sentence}" for fault in month.faults]
    if log.cut or log.unreadable:
        found.append(f"the prediction log has {log.cut:,} cut and {log.unreadable:,} unreadable lines")
    below = itertools.groupby(skill < floor for skill in training.skills.values())
    longest = max((len(list(row)) for bad, row in below if bad), default=0)
    if longest >= params.drift.months:
        found.append(
            f"{longest} training months in a row were below {floor:g} too: "
            f"drift.{task.skill.key} in params.yaml is too strict for this problem"
        )
    return found


def _bad_run(run: list[Month], training: Training, params: Params, task: Task) -> str:
    each = ", ".join(f"{m.month} {m.skill:.3f} ({_interval(m)})" for m in run)
    was = f"the {task.skill.name} was below {_floor(params, task):g}"
    said = f"{was} in {len(run)} months in a row: {each}"
    before = ", ".join(f"{skill:.3f}" for skill in training.skills.values())
    return said + (f"; in training, month by month: {before}" if before else "")


def _steady(newest: Month, run: list[Month], params: Params, task: Task) -> str:
    floor = _floor(params, task)
    said = f"the {task.skill.name} of {newest.month} is {newest.skill:.3f} ({_interval(newest)})"
    if run:
        return (
            f"{said}, below {floor:g}: {len(run)} of the {params.drift.months} bad months "
            "in a row that would ask for a new model"
        )
    return f"{said}, and {floor:g} is asked for"


def _interval(month: Month) -> str:
    if month.interval is None:
        return "one draw has no interval"
    return f"95 % interval {month.interval[0]:.2f} to {month.interval[1]:.2f}"

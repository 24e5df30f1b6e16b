"""Does the candidate know what it cannot know when it is asked?"""

import numpy as np
import pandas as pd

from pipelines.base.errors import one_line
from pipelines.core.contract import Finding
from pipelines.core.tasks.task import Task
from pipelines.judge.evidence import Evidence


def inputs(e: Evidence) -> Finding | None:
    """No input that is known too late for the prediction, by the base's contract."""
    if e.proposal is None:
        return None
    too_late = {column.name for column in e.contract.forbidden} | {e.contract.key.name, e.contract.time.name}
    if found := sorted(too_late & set(e.proposal.model.inputs)):
        words = f"The model asks for {', '.join(found)}: not known {e.contract.horizon:g} h before the event"
        return Finding("inputs", "FAIL", f"{words}, or its key.")
    count = len(e.proposal.model.inputs)
    return Finding("inputs", "PASS", f"All {count} inputs are known in time.", {"inputs": count})


def leakage(e: Evidence) -> Finding | None:
    """No day is both trained on and judged on, by the candidate's own card."""
    if e.proposal is None or e.window is None or not e.window.days:
        return None
    card = e.proposal.card
    if seen := [day for day in e.window.days if card.first <= day <= card.last]:
        sentence = (
            f"The candidate has trained on {len(seen)} of the {len(e.window.days)} days that judge it: its "
            f"model.json says {card.first} to {card.last}, while params.yaml ends training with "
            f"{e.proposal.params.train.last}."
        )
        return Finding("leakage", "FAIL", sentence, {"days": len(seen)})
    sentence = f"No day of the test window is among the training days ({card.first} to {card.last})."
    return Finding("leakage", "PASS", sentence)


def single_feature(e: Evidence) -> Finding | None:
    """No feature alone tells the label: one that does was most likely made from it."""
    if e.candidate is None or e.window is None:
        return None
    limit = e.params.gate.leak.feature
    tried = ((str(n), values) for n, values in e.candidate.features.items())
    found = {name: alone(values, e.window.label, e.window.day, e.task) for name, values in tried}
    found = {name: auc for name, auc in found.items() if np.isfinite(auc)}
    if not found:
        sentence = "No feature could be tried alone on the test window."
        return Finding("single_feature", "INCONCLUSIVE", sentence)
    name, auc = max(found.items(), key=lambda entry: entry[1])
    numbers = {e.task.ranking.key: auc, "limit": limit}
    words = f"{one_line(name, 60)!r} alone has {e.task.ranking.name} {auc:.3f} on the test window"
    if auc > limit:
        sentence = f"{words}, more than {limit:g}: it looks as if it were made from the outcome."
        return Finding("single_feature", "FAIL", sentence, numbers)
    return Finding("single_feature", "PASS", f"No feature tells the label: {words}.", numbers)


def alone(values: pd.Series, label: np.ndarray, day: np.ndarray, task: Task) -> float:
    """How much one feature tells, as `Task.knows`, in whichever direction tells more. NaN where the test
    window has one class. A missing number ranks below all others; a category by its mean outcome on the days
    of the other half (odd and even), so that many rare categories do not tell their own label."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return _area(task, label, np.nan_to_num(numbers, nan=-np.inf, neginf=-np.inf, posinf=np.inf))
    odd, rank, outcomes = day % 2 == 1, np.empty(len(label)), task.level(label)
    names = values.astype(str).to_numpy()
    for half in (odd, ~odd):
        rates = pd.Series(outcomes[~half]).groupby(names[~half]).mean()
        rank[half] = pd.Series(names[half]).map(rates).fillna(outcomes[~half].mean() if (~half).any() else 0)
    areas = [_area(task, label[half], rank[half]) for half in (odd, ~odd) if half.any()]
    return float(np.mean(areas))


def _area(task: Task, label: np.ndarray, rank: np.ndarray) -> float:
    if task.lacks(label):
        return float("nan")
    auc = task.knows(label, np.unique(rank, return_inverse=True)[1])
    return max(auc, 1 - auc)


def shuffled(e: Evidence) -> Finding | None:
    """A model of shuffled outcomes knows nothing; where it does, features are made from outcomes. The judge
    measures it wherever the base's code trains; else the build does (stage `verify`), as only the proposal's
    own code can make its features."""
    if e.candidate is None or e.proposal is None or any(found.rule == "reproducible" for found in e.gathered):
        return None
    auc, limit = e.shuffled, e.params.gate.leak.shuffled
    if auc is None:
        left = f"The build left no {e.task.ranking.name} of shuffled outcomes"
        sentence = f"{left}: run `ml reproduce`, whose stage `verify` measures it."
        return Finding("shuffled", "INCONCLUSIVE", sentence)
    words = f"Trained on shuffled outcomes, the {e.task.ranking.name} on the test window is {auc:.3f}"
    numbers = {e.task.ranking.key: auc, "limit": limit}
    if auc > limit:
        sentence = f"{words}, more than {limit:g}: the features are made from the outcomes."
        return Finding("shuffled", "FAIL", sentence, numbers)
    return Finding("shuffled", "PASS", f"{words}: chance.", numbers)

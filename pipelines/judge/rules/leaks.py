"""Does the candidate know what it cannot know when it is asked?"""

import numpy as np
import pandas as pd

from pipelines.base.errors import one_line
from pipelines.core import stats
from pipelines.core.contract import Finding
from pipelines.core.tasks.task import Task
from pipelines.judge.evidence import Evidence
from pipelines.judge.rules import size

FEW = 5  # rows: what fewer say of a word is mostly chance
FEWEST = (12 * 5) ** -0.5  # the error of chance of five positives among many


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
    card = e.proposal.card.train
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
    """No feature alone tells the label: one that does was most likely made from it.

    FAIL only where one is shown to tell more than the limit, all features tried at once (Bonferroni). Where
    one is not, and yet tells more than chance could, a person looks at it. What chance gives blocks nobody:
    a window of few rows would never be without it."""
    if e.candidate is None or e.window is None:
        return None
    task, label, day, limit = e.task, e.window.label, e.window.day, e.params.gate.leak.feature
    unit = e.window.units.of
    features, sides = e.candidate.features.items(), task.sides(label)
    tried = {(str(name), n): (values, side) for name, values in features for n, side in enumerate(sides)}
    found = {one: of_a_side(*pair, day, task) for one, pair in tried.items()}
    found = {one: auc for one, auc in found.items() if np.isfinite(auc)}
    if not found:
        sentence = "No feature could be tried alone on the test window."
        return Finding("single_feature", "INCONCLUSIVE", sentence)
    tries, rows = len(found), size.words(task, label)

    def told(one: tuple[str, int]) -> tuple[bool, float, float]:
        """Whether it is more than chance gives, the interval's lower end, and what was measured."""
        if found[one] <= limit:
            return False, 0.0, found[one]
        values, side = tried[one]
        ranks, _ = ranked(values, side, day)
        least = low(task, side, ranks, unit, found[one], limit, tries)
        return found[one] > reach(task, side, ranks, unit, 2 * tries), least, found[one]

    surely, least, knows = told(best := max(found, key=told))
    numbers = {task.ranking.key: knows, "low": least, "limit": limit}
    words = f"{one_line(best[0], 60)!r} alone has {task.ranking.name} {knows:.3f} on the test window"
    if knows <= limit:
        sentence = f"No feature tells the label: {words}."
        if blind := reach(task, label, np.zeros(len(label)), unit, 2 * tries) >= 1:
            sentence = f"{words}, and on {rows} even one that tells all could not be told from chance."
        return Finding("single_feature", "PASS", sentence, numbers, warning=blind)
    words += f", more than {limit:g}"
    if not surely:
        sentence = f"{words}, which chance gives to one of {tries // len(sides)} features on {rows}."
        return Finding("single_feature", "PASS", sentence, numbers, warning=True)
    if least > limit:
        sentence = f"{words}: it looks as if it were made from the outcome."
        return Finding("single_feature", "FAIL", sentence, numbers)
    sentence = (
        f"{words}, and more than chance gives, though {rows} do not show more than {least:.3f}: look "
        "whether it is made from the outcome, or add to the test window."
    )
    return Finding("single_feature", "INCONCLUSIVE", sentence, numbers)


def alone(values: pd.Series, label: np.ndarray, day: np.ndarray, task: Task) -> float:
    """How much one feature tells of the label: of that side of it which it tells best."""
    return float(np.fmax.reduce([of_a_side(values, side, day, task) for side in task.sides(label)]))


def of_a_side(values: pd.Series, label: np.ndarray, day: np.ndarray, task: Task) -> float:
    """How much one feature tells, as `Task.knows`, in whichever direction tells more. NaN where the test
    window has one class."""
    ranks, parts = ranked(values, label, day)
    return float(np.mean([_area(task, label[part], ranks[part]) for part in parts]))


def ranked(values: pd.Series, label: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """By what one feature puts the rows in order, and the parts inside which it does. A missing number ranks
    below all others; a category by its mean outcome on the days of the other half (odd and even), so that
    many rare categories do not tell their own label; a text that is not among these by its words."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        ranks = np.nan_to_num(numbers, nan=-np.inf, neginf=-np.inf, posinf=np.inf)
        return np.unique(ranks, return_inverse=True)[1], [np.ones(len(label), dtype=bool)]
    odd, rank = day % 2 == 1, np.empty(len(label))
    names = values.astype(str).to_numpy()
    for half in (odd, ~odd):
        mean = label[~half].mean() if (~half).any() else 0
        rates = pd.Series(label[~half]).groupby(names[~half]).mean()
        told = pd.Series(names[half]).map(rates)
        rank[half] = told.fillna(_of_words(names, label, half, mean)) if told.isna().any() else told
    return rank, [half for half in (odd, ~odd) if half.any()]


def _of_words(texts: np.ndarray, label: np.ndarray, half: np.ndarray, mean: float) -> pd.Series:
    """For each text of `half` the mean outcome of its words on the other days, each word's drawn to `mean` as
    by FEW rows more."""
    word = pd.Series(texts).str.split().explode()
    outcome = pd.Series(label, dtype=np.float64).reindex(word.index) - mean
    learnt = outcome[~half[word.index]].groupby(word[~half[word.index]]).agg(["sum", "count"])
    told = word[half[word.index]].map(learnt["sum"] / (learnt["count"] + FEW)).fillna(0)
    return told.groupby(level=0).mean().reset_index(drop=True) + mean


def _area(task: Task, label: np.ndarray, rank: np.ndarray) -> float:
    if task.lacks(label):
        return float("nan")
    auc = task.knows(label, np.unique(rank, return_inverse=True)[1])
    return max(auc, 1 - auc)


def reach(task: Task, label: np.ndarray, ranks: np.ndarray, unit: np.ndarray, tries: int) -> float:
    """What the best of so many that know nothing stays below in 95 of 100 windows: by the beta law with the
    error of chance, exact for a correlation and for one positive among many, and half a row for the steps.
    Of a category, whose means on the days of the other half are chance too, in 83 to 90 of 100."""
    from scipy.special import betaincinv  # type: ignore[import-untyped]

    shape = max((0.25 / task.knows_error(label, ranks, unit, 0.5) ** 2 - 1) / 2, 0.5)
    return float(betaincinv(shape, shape, 1 - 0.05 / tries)) + 0.5 / len(label)


def low(
    task: Task, label: np.ndarray, ranks: np.ndarray, unit: np.ndarray, knows: float, limit: float, tries: int
) -> float:
    """The lower end of an interval for what one of `tries` features knows, all of which hold at once in 95 of
    100 windows; in logits, with the error that it had at the limit: near 1 its own would be none. Never above
    the limit where only about five rows of the rarer answer, or fewer, are independent."""
    if task.knows_error(label, ranks, unit, 0.5) > FEWEST:
        return min(knows, limit)
    error = task.knows_error(label, ranks, unit, limit) / (limit * (1 - limit))
    odds = knows / max(1 - knows, 1e-9)
    return float(1 / (1 + np.exp(stats.normal(1 - 0.05 / tries) * error) / odds))


def shuffled(e: Evidence) -> Finding | None:
    """A model of shuffled outcomes knows nothing; where it does, features are made from outcomes. The judge
    measures it wherever the base's code trains; else the build does (stage `verify`), as only the proposal's
    own code can make its features. FAIL only where that is more than chance adds to the limit: outcomes
    that were dealt out are independent, so each row is a unit of its own."""
    if e.candidate is None or e.proposal is None or any(found.rule == "reproducible" for found in e.gathered):
        return None
    auc, limit, name = e.shuffled, e.params.gate.leak.shuffled, e.task.ranking.name
    if auc is None or e.dealt is None:
        sentence = (
            f"There is no {name} of shuffled outcomes: run `ml reproduce`, whose stage `verify` measures it "
            "where outcomes are not so rare that chance deals them all to one side."
        )
        return Finding("shuffled", "INCONCLUSIVE", sentence)
    each, same = np.arange(len(e.dealt)), np.zeros(len(e.dealt))
    chance = reach(e.task, e.dealt, same, each, 1) - 0.5
    words = f"Trained on shuffled outcomes, the {name} on the test window is {auc:.3f}"
    numbers = {e.task.ranking.key: auc, "low": auc - chance, "limit": limit}
    if auc - chance > limit:
        sentence = f"{words}, more than {limit:g}: the features are made from the outcomes."
        return Finding("shuffled", "FAIL", sentence, numbers)
    if auc > limit:
        rows = size.words(e.task, e.dealt)
        sentence = f"{words}, more than {limit:g}, and no more than chance adds to that on {rows}."
        return Finding("shuffled", "PASS", sentence, numbers, warning=True)
    return Finding("shuffled", "PASS", f"{words}: chance.", numbers)

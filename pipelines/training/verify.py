"""Stage 5: what only the build can try of its own training: does it repeat itself, and can it cheat?"""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.artifacts.model import Shuffled
from pipelines.base.console import step
from pipelines.base.files import write_bytes
from pipelines.core import datafiles, periods
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.training import table
from pipelines.training.prepare import prepare
from pipelines.training.train import answers, fit

OUT = Path("models/verification")
DEALS = 20  # of the outcomes, at most


def run(
    params: Params,
    problem: Problem,
    folder: Path = datafiles.DATA,
    prepared: Path = table.PREPARED,
    out: Path = OUT,
) -> None:
    """Write again.onnx, the model trained once more from the same seed in another process than train's, and
    shuffled.json, what `Task.knows` says of a model of shuffled outcomes. The gate judges both."""
    step("training again from the same seed, and on shuffled outcomes")
    rows = table.load(prepared)
    with ThreadPoolExecutor(1) as aside:
        again = aside.submit(fit, params, rows, problem)
        raw = datafiles.read(folder, params.data.first, params.data.through, problem.contract)
        found, name = of_shuffled_outcomes(params, raw, problem), problem.task.ranking.name
        write_bytes(out / "again.onnx", again.result())
    knows = round(found, 3) if math.isfinite(found) else None
    Shuffled.model_validate({"knows": knows}, by_name=True).write(out)
    step(f"trained on shuffled outcomes, the {name} on the test window is {found:.3f}: chance gives 0.5")


def of_shuffled_outcomes(params: Params, raw: pd.DataFrame, problem: Problem) -> float:
    """What the task `knows` on the test window when outcomes are dealt out anew before the features are made.

    All columns that are known too late move together, so nothing known in time says anything about them: what
    is above 0.5 by more than chance was made from outcomes. A permutation test (Ojala & Garriga 2010), of the
    features and not of the fit alone."""
    contract, task = problem.contract, problem.task
    rows = prepare(dealt(params, raw, problem), problem)
    trained, later = (part(params, rows, contract) for part in (table.training, table.later))
    label = outcomes(later, problem)
    if task.lacks(label) or task.lacks(outcomes(trained, problem)):
        return math.nan  # events so rare that chance dealt them all to one side, each time
    judged = later[later[contract.label.name].notna()]
    return task.knows(label, answers(problem, params, trained, judged))


def dealt(params: Params, raw: pd.DataFrame, problem: Problem) -> pd.DataFrame:
    """The rows with their outcomes dealt out anew, the same in each run. Where chance leaves the training or
    the test window without what can be learnt, it is asked again."""
    contract = problem.contract
    late = raw[[column.name for column in contract.forbidden if column.name in raw.columns]]
    draw = np.random.default_rng(params.train.seed)
    for _ in range(DEALS):
        order = draw.permutation(len(raw))
        found = raw.assign(**late.iloc[order].set_axis(raw.index))
        inside = periods.within(found[contract.time.name], params.train.first, params.train.last)
        parts = found[inside], table.later(params, found, contract)
        if not any(problem.task.lacks(outcomes(part, problem)) for part in parts):
            break
    return found


def outcomes(rows: pd.DataFrame, problem: Problem) -> np.ndarray:
    """The labels of the rows that have one."""
    return problem.task.labels(rows[problem.contract.label.name].dropna())

"""`ml tune`: better settings, searched inside the training months. The test window, the judge, is not seen.

Each trial answers the newest months of the window by models of the months before, as reference.json does."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import sha256, write_text
from pipelines.core import params as files
from pipelines.core import stats, units
from pipelines.core.contract import Contract
from pipelines.core.params import Params, Setting, Values
from pipelines.core.problem import Problem
from pipelines.training import table, tracking, train

if TYPE_CHECKING:
    import optuna

STUDIES = Path(".greenlight/tune.db")
UNPRUNED = 5  # trials, before one is stopped for being worse than their median after the same months
LEVEL = 0.90


def tune(
    params: Params,
    problem: Problem,
    trials: int | None = None,
    minutes: float | None = None,
    write: bool = True,
    prepared: Path = table.PREPARED,
    file: Path = Path("params.yaml"),
) -> None:
    """Search `params.tune.space` for settings of a lower loss than the current ones, and print them all.

    Stops after so many trials or minutes, or on Ctrl-C; the study is kept in STUDIES, and the same command
    goes on with it. With `write`, the best go into `file`, but only where they are shown to be better.
    UserError for a space that does not suit the estimators."""
    _check(params, problem)
    tracking.ready(problem.name)
    rows = table.training(params, table.load(prepared), problem.contract)
    folds, now, results, study, new = searched(params, problem, rows, trials or params.tune.trials, minutes)
    loss = problem.task.loss.name
    print(_table(results, params, _mean(now, folds), len(_finished(study)), loss))
    better = [result for result in results if result.high < 0]
    if not better:
        print("\nNo trial is shown to be better than the current settings: params.yaml stays as it is.")
    elif write:
        write_text(file, files.edited(file.read_text(encoding="utf-8"), better[0].values(params)))
        print(_next(better[0], params, file, loss))
    else:
        print(f"\nTrial {better[0].number} is shown to be better; without --dry-run it goes into {file}.")
    if new and results:
        _log(problem, params, results, _mean(now, folds), study)


def searched(
    params: Params, problem: Problem, rows: pd.DataFrame, trials: int, minutes: float | None = None
) -> "tuple[tuple[Fold, ...], np.ndarray, list[Result], optuna.Study, int]":
    """Run what is missing of `trials`. Folds, the current settings' loss by day, results, best first, the
    study, its new trials."""
    folds = rolling_folds(params, rows, problem.contract)
    study = _study(params, problem, folds)
    step(f"the current settings, on {folds[0].month} to {folds[-1].month}")
    if "now" not in study.user_attrs:
        study.set_user_attr("now", np.concatenate(list(day_losses(params, problem, folds))).tolist())
    now = np.array(study.user_attrs["now"])
    if before := len(_finished(study)):
        step(f"{before} trials are known from before")
    started, loss = time.monotonic(), _mean(now, folds)
    try:
        for number in range(before + 1, trials + 1):
            if minutes is not None and time.monotonic() - started >= 60 * minutes:
                step(f"{minutes:g} minutes are over; the same command goes on")
                break
            step(f"trial {number} of {trials}: {_trial(study, params, problem, folds, number, loss)}")
    except KeyboardInterrupt:
        step("interrupted; the same command goes on")
    return folds, now, _results(study, params, folds, now), study, len(_finished(study)) - before


@dataclass(frozen=True)
class Fold:
    """A month, and the months before it."""

    month: str
    past: pd.DataFrame
    rows: pd.DataFrame
    drawn: units.Units  # of `rows`: days, or what else the gate draws

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each day."""
        return np.bincount(self.drawn.of)


def rolling_folds(params: Params, rows: pd.DataFrame, contract: Contract) -> tuple[Fold, ...]:
    """Rolling origin: the newest months of the labelled training rows, each with all months before it."""
    month = rows[contract.time.name].dt.to_period("M")
    names = sorted(month.unique())
    if len(names) <= params.tune.folds:
        raise UserError(
            f"params.yaml: tune.folds is {params.tune.folds}, but {params.train.first} to "
            f"{params.train.last}, less the first month, which only trains, leaves {len(names) - 1}"
        )
    parts = ((name, rows[month < name], rows[month == name]) for name in names[-params.tune.folds :])
    unit = params.gate.unit
    folds = tuple(Fold(str(name), past, now, units.of(now, contract, unit)) for name, past, now in parts)
    if unit != "day" and (count := sum(fold.drawn.count for fold in folds)) < units.FEWEST:
        wrong = f"params.yaml: gate.unit is {unit}, and tune.folds has {count} of them"
        raise UserError(f"{wrong}: an interval needs {units.FEWEST}, so raise tune.folds")
    return folds


def day_losses(params: Params, problem: Problem, folds: Sequence[Fold]) -> Iterator[np.ndarray]:
    """The loss of each day, summed over its rows: an array a fold."""
    for fold in folds:
        p = train.answers(problem, params, fold.past, fold.rows)
        label = problem.task.labels(fold.rows[problem.contract.label.name])
        yield np.bincount(fold.drawn.of, weights=problem.task.losses(label, p), minlength=len(fold.sizes))


def _mean(losses: np.ndarray, folds: Sequence[Fold]) -> float:
    """Loss of a row, over as many of the folds as there are losses of."""
    rows = np.concatenate([fold.sizes for fold in folds])
    return float(losses.sum() / rows[: len(losses)].sum())


# --- the study --------------------------------------------------------------------------------------------


def _study(params: Params, problem: Problem, folds: Sequence[Fold]) -> "optuna.Study":
    """The study of this very question; another window, space, seed or estimator is another study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = pd.concat([folds[-1].past, folds[-1].rows])
    asked = [
        params.train.model_dump(),
        params.tune.model_dump(exclude={"trials"}),
        params.gate.unit,
        sha256(problem.folder / "estimators.py"),
        hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest(),
    ]
    STUDIES.parent.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{STUDIES.absolute()}",
        study_name=f"{problem.name} {hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]}",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED),
    )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # its process was killed
    return study


def _finished(study: "optuna.Study") -> list[Any]:
    """The trials that were run to their end, or stopped by the pruner; interrupted ones do not count."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _trial(
    study: "optuna.Study", params: Params, problem: Problem, folds: Sequence[Fold], number: int, now: float
) -> str:
    """Run one trial, and say how it went."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    # Anew for each trial, so that an interrupted study goes on as if it had not been interrupted.
    study.sampler = TPESampler(seed=params.train.seed + number)
    trial = study.ask()
    try:
        candidate = _suggested(trial, params)
        settings = _words(candidate.train.settings, params)
        losses = np.empty(0)
        for fold, more in zip(folds, day_losses(candidate, problem, folds), strict=True):
            losses = np.append(losses, more)
            value = _mean(losses, folds)
            trial.report(value, len(losses))
            if fold is not folds[-1] and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return f"stopped after {fold.month}, {settings}"
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    trial.set_user_attr("number", number)
    trial.set_user_attr("losses", losses.tolist())
    trial.set_user_attr("estimator", candidate.train.estimator)
    trial.set_user_attr("settings", candidate.train.settings)
    study.tell(trial, value)
    return f"{problem.task.loss.name} {value:.4f} ({value - now:+.4f}), {settings}"


# --- the space --------------------------------------------------------------------------------------------


def _suggested(trial: "optuna.Trial", params: Params) -> Params:
    """`params` with the settings that Optuna proposes."""
    names = sorted(params.tune.space)
    name = names[0] if len(names) == 1 else trial.suggest_categorical("estimator", names)
    space = params.tune.space[name].items()
    return with_settings(params, name, {s: _value(trial, f"{name}.{s}", v) for s, v in space})


def _value(trial: "optuna.Trial", name: str, values: Values) -> Setting:
    if values.choices:
        return trial.suggest_categorical(name, values.choices)
    low, high, apart = values.low, values.high, values.step
    if isinstance(low, int) and isinstance(high, int) and not isinstance(apart, float):
        return trial.suggest_int(name, low, high, step=apart or 1, log=values.log)
    assert low is not None and high is not None  # or params.py would have refused it
    number = trial.suggest_float(name, low, high, step=apart, log=values.log)
    return float(f"{number:.3g}")  # as a person would write it


def with_settings(params: Params, estimator: str, settings: dict[str, Setting]) -> Params:
    """`params` with this estimator and settings; those that are not searched stay as they are."""
    kept = params.train.settings if estimator == params.train.estimator else {}
    train = params.train.model_copy(update={"estimator": estimator, "settings": {**kept, **settings}})
    return params.model_copy(update={"train": train})


def _check(params: Params, problem: Problem) -> None:
    """Whether the estimators take both ends of each range, and each of the choices."""
    if not params.tune.space:
        raise UserError("params.yaml: tune.space names no estimator: there is nothing to search")
    for name, space in params.tune.space.items():
        if name not in problem.estimators:
            raise UserError(
                f"params.yaml: tune.space.{name} is not an estimator; pipelines/problem/estimators.py has "
                f"{', '.join(sorted(problem.estimators))}"
            )
        if not space:
            raise UserError(f"params.yaml: tune.space.{name} names no setting: there is nothing to search")
        tried = {setting: values.choices or (values.low, values.high) for setting, values in space.items()}
        first = {setting: values[0] for setting, values in tried.items()}
        for changed in [{setting: value} for setting, values in tried.items() for value in values]:
            try:
                train.estimator(with_settings(params, name, first | changed), problem)
            except UserError as error:
                raise UserError(str(error).replace("train.settings", f"tune.space.{name}")) from None


# --- what came of it --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """A trial that went through all folds; `difference` of its loss to the current settings'."""

    number: int
    estimator: str
    settings: dict[str, Setting]
    loss: float
    difference: float
    low: float
    high: float

    def values(self, params: Params) -> dict[str, Any]:
        """What of params.yaml changes."""
        other = {} if self.estimator == params.train.estimator else {"train.estimator": self.estimator}
        return {"train.settings": self.settings, **other}


def _results(study: "optuna.Study", params: Params, folds: Sequence[Fold], now: np.ndarray) -> list[Result]:
    """The results, best first."""
    found = [trial.user_attrs for trial in _finished(study) if "losses" in trial.user_attrs]
    if not found:
        return []
    losses = np.array([attributes["losses"] for attributes in found])
    rows = np.concatenate([fold.sizes for fold in folds])
    drawn = params.gate.resamples, params.train.seed, folds[0].drawn.block
    low, high = intervals(losses - now, rows, *drawn)
    said = [[attributes[name] for name in ("number", "estimator", "settings")] for attributes in found]
    means = (losses.sum(axis=1) / rows.sum(), (losses - now).sum(axis=1) / rows.sum(), low, high)
    figures = zip(*(mean.tolist() for mean in means), strict=True)
    results = (Result(*its, *numbers) for its, numbers in zip(said, figures, strict=True))
    return sorted(results, key=lambda result: result.loss)


def intervals(
    differences: np.ndarray, rows: np.ndarray, resamples: int, seed: int, block: int = stats.BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """LEVEL intervals of T mean differences, that hold together: the best of many looks better than it is.

    `differences` (T, D) are sums of days, `rows` (D,) the days' rows. Studentised max-statistic over the
    trials (Westfall & Young 1993), from a day bootstrap in which all trials get the same weights."""
    weights = stats.day_weights(len(rows), resamples, seed, block)
    drawn = (weights @ differences.T) / (weights @ rows)[:, None]
    mean = differences.sum(axis=1) / rows.sum()
    error = drawn.std(axis=0)
    with np.errstate(invalid="ignore"):
        apart = np.append(np.abs(drawn - mean) / error, np.zeros((resamples, 1)), axis=1)
        farthest = np.nanmax(apart, axis=1)
    reach = np.quantile(farthest, LEVEL) * error
    return mean - reach, mean + reach


def _words(settings: dict[str, Setting], params: Params) -> str:
    """The settings that the search moves, as text."""
    moved = {name for space in params.tune.space.values() for name in space}
    return " ".join(f"{name}={value}" for name, value in settings.items() if name in moved)


def _table(results: Sequence[Result], params: Params, now: float, finished: int, loss: str) -> str:
    several = len({result.estimator for result in results}) > 1
    lines = [f"{'trial':>5}  {loss:>8}  difference  {f'{LEVEL:.0%} interval':^20}  settings"]
    lines.append(f"{'now':>5}  {now:8.4f}")
    for result in results:
        interval = f"{result.low:+.4f} to {result.high:+.4f}"
        name = f"{result.estimator} " if several else ""
        lines.append(
            f"{result.number:5}  {result.loss:8.4f}  {result.difference:+10.4f}  {interval:^20}  "
            f"{name}{_words(result.settings, params)}"
        )
    if stopped := finished - len(results):
        lines.append(f"{stopped} more were stopped early, behind the median of the others.")
    return "\n".join(lines)


def _next(best: Result, params: Params, file: Path, loss: str) -> str:
    old, new = (
        {"train.estimator": made.estimator, **{f"train.settings.{n}": v for n, v in made.settings.items()}}
        for made in (params.train, best)
    )
    both = ((name, old.get(name, "not set"), new.get(name, "not set")) for name in old | new)
    changes = [f"  {name}: {was} -> {now}" for name, was, now in both if was != now]
    return "\n".join(
        (
            f"\nTrial {best.number} is shown to be better. {file} now says",
            *changes,
            "\nThese make it a proposal, which is trained and judged like any other:\n",
            f"  git switch --create tune-{best.number}",
            f'  git commit --message "Tuned: {loss} {best.difference:+.4f} in the training months" {file}',
            "  git push --set-upstream origin HEAD",
        )
    )


def _log(problem: Problem, params: Params, results: Sequence[Result], now: float, study: Any) -> None:
    best, loss, train = results[0], problem.task.loss.key, params.train
    logged = train.model_dump(include={"first", "last", "seed"}) | {"folds": params.tune.folds}
    logged |= {f"settings.{name}": value for name, value in best.settings.items()}
    logged["estimator"] = best.estimator
    figures = {f"{loss}_now": now, "difference": best.difference, "trials": len(_finished(study))}
    figures |= {"difference_low": best.low, "difference_high": best.high}
    losses = loss, {result.number: result.loss for result in results}
    name = f"tune {train.first} to {train.last}"
    tracking.run(problem.name, name, {"study": "tune"}, logged, figures, losses)

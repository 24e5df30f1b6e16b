"""What the rules need: the models scored on V, here and now, against labels that the base's code reads."""

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines import stats
from pipelines.console import step
from pipelines.contract import Finding
from pipelines.errors import UserError
from pipelines.model import Inputs, Model
from pipelines.params import Params, load
from pipelines.problem import source
from pipelines.problem.columns import CONTRACT
from pipelines.review import champion as champions
from pipelines.review import proposal as proposals
from pipelines.review.champion import Champion, Production
from pipelines.review.proposal import Bad, Proposal

SEED = 1  # of the bootstrap: the same days are drawn in each run, so a second run brings no second chance
SAME = 1e-9  # max |Δp| up to which two models are one
TIMED = 300  # requests of one row, to each model in turn


@dataclass(frozen=True)
class Window:
    """V's labelled rows, in time's order, as the base's code reads them."""

    days: tuple[str, ...]  # D days
    day: np.ndarray  # (n,) 0..D-1
    label: np.ndarray  # (n,) bool
    rows: pd.DataFrame  # (n) key, time and slices


@dataclass(frozen=True)
class Scored:
    """A model's answers on V and what the metrics need of them."""

    p: np.ndarray  # (n,)
    sums: stats.DaySums
    rate: float  # the label rate of its training days
    features: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)  # (n) what it was asked with


@dataclass(frozen=True)
class Evidence:
    """All that a rule may look at. What could not be had is None, and a finding of `gathered` says why."""

    params: Params  # the base's: thresholds are never the proposal's
    gathered: tuple[Finding, ...] = ()
    proposal: Proposal | None = None
    champion: Champion | None = None
    anchor: Champion | None = None  # where it is another than the champion
    window: Window | None = None
    scored: Scored | None = None  # the candidate
    beside: Scored | None = None  # the champion
    anchored: Scored | None = None  # the anchor
    repeated: float | None = None  # max |Δp| on V of the candidate and itself, trained again
    latency: tuple[float, float] | None = None  # seconds a row, the median: candidate, champion
    same_lock: bool = False  # dvc.lock names the base branch's model: what is merged changes no model

    @cached_property
    def weights(self) -> np.ndarray:
        """(B, D) how often each day of V is drawn, the same for all models and every metric."""
        assert self.window is not None
        return stats.day_weights(len(self.window.days), self.params.gate.resamples, SEED)

    @property
    def unchanged(self) -> bool:
        """The proposal's model is the champion's, byte for byte."""
        return self.same_lock or (
            self.proposal is not None
            and self.champion is not None
            and self.proposal.sha256 == self.champion.sha256
            and (self.largest_difference or 0.0) <= SAME
        )

    @property
    def equal(self) -> bool:
        """The candidate answers V as the champion does."""
        return self.largest_difference is not None and self.largest_difference <= SAME

    @cached_property
    def largest_difference(self) -> float | None:
        """max |Δp| of the two models on V."""
        if self.scored is None or self.beside is None:
            return None
        return float(np.abs(self.scored.p - self.beside.p).max())


def gather(
    candidate: Path, base: Path, production: Production | None = None, anchor: Production | None = None
) -> Evidence:
    """The evidence on the proposal whose build left `candidate`, against the checkout `base`.

    `anchor` is the last release that was shown superior, or the first. Never raises for what a proposal's
    files hold: that becomes a finding. UserError where `base` is broken.
    """
    params = load(base / "params.yaml")
    if not candidate.is_dir():
        raise UserError(f"{candidate} does not exist: it is the folder that a proposal's build leaves")
    step("reading the proposal's files")
    try:
        recorded = champions.recorded_in(base)
    except champions.Missing as error:
        raise UserError(f"{base}: {error}") from None
    if recorded is not None and proposals.locked_model(candidate) == recorded[0]:
        return Evidence(params, same_lock=True)
    try:
        proposal = proposals.read(candidate, CONTRACT)
        raw = _months(proposal)
    except Bad as error:
        return Evidence(params, (Finding("files", "FAIL", f"The build is not to be judged: {error}."),))
    return _Gathering(params, base, proposal, raw).all(production, anchor)


class _Gathering:
    """Finds and scores one model after the other, and keeps a finding for each that cannot be had."""

    def __init__(self, params: Params, base: Path, proposal: Proposal, raw: pd.DataFrame) -> None:
        self.params, self.base, self.proposal, self.raw = params, base, proposal, raw
        self.findings: list[Finding] = []

    def all(self, production: Production | None, anchor: Production | None) -> Evidence:
        step("looking for the champion")
        champion = self.find("champion", production)
        first = None
        if anchor is not None and production is not None and anchor.release != production.release:
            step("looking for the anchor, which many small losses may not lead away from")
            first = self.find("anchor", anchor)
        window = _window(self.raw, _first_day(self.proposal, champion, first), CONTRACT.label.name)
        if not window.days:
            return Evidence(self.params, tuple(self.findings), self.proposal, champion, first, window)
        step(f"scoring on {len(window.label):,} rows of {len(window.days)} days")
        scored = self.score_candidate(window)
        beside = self.score("champion", champion, window)
        anchored = self.score("anchor", first, window)
        repeated = self.repeat(scored)
        latency = self.time(scored, champion, beside)
        return Evidence(
            self.params,
            tuple(self.findings),  # after all that may add one
            self.proposal,
            champion,
            first,
            window,
            scored,
            beside,
            anchored,
            repeated,
            latency,
        )

    def find(self, rule: str, production: Production | None) -> Champion | None:
        try:
            what = {"champion": "production's release", "anchor": "the anchor, release"}[rule]
            return champions.find(self.base, production, what)
        except champions.Missing as error:
            self.findings.append(Finding(rule, "INCONCLUSIVE", f"There is nothing to compare with: {error}."))
            return None

    def score_candidate(self, window: Window) -> Scored | None:
        try:
            return _score(
                self.proposal.model, self.proposal.window, window, self.raw, self.proposal.card, self.params
            )
        except Bad as error:
            self.findings.append(Finding("rows", "FAIL", f"The candidate cannot be scored: {error}."))
            return None

    def score(self, rule: str, model: Champion | None, window: Window) -> Scored | None:
        if model is None:
            return None
        try:
            rows = champions.rows(model, self.raw)
            return _score(model.model, rows, window, self.raw, model.card, self.params)
        except (Bad, champions.Missing) as error:
            sentence = f"The {rule} ({model.words}) cannot be scored: {error}."
            self.findings.append(Finding(rule, "INCONCLUSIVE", sentence))
            return None

    def repeat(self, scored: Scored | None) -> float | None:
        if scored is None or self.proposal.again is None:
            return None
        try:
            again = _answers(self.proposal.again, proposals.inputs(self.proposal.again, scored.features))
        except Bad as error:
            sentence = f"The model that was trained again cannot be scored: {error}."
            self.findings.append(Finding("reproducible", "FAIL", sentence))
            return None
        return float(np.abs(again - scored.p).max()) if again.shape == scored.p.shape else None

    def time(
        self, scored: Scored | None, champion: Champion | None, beside: Scored | None
    ) -> tuple[float, float] | None:
        if scored is None or champion is None or beside is None:
            return None
        pairs = ((self.proposal.model, scored.features), (champion.model, beside.features))
        return _latencies([(model, proposals.inputs(model, rows.iloc[:TIMED])) for model, rows in pairs])


def _latencies(models: list[tuple[Model, Inputs]]) -> tuple[float, float]:
    """Median seconds of a request of one row, each model asked in turn, so that noise meets all alike."""
    taken: list[list[float]] = [[] for _ in models]
    for row in range(len(next(iter(models[0][1].values())))):
        for seconds, (model, inputs) in zip(taken, models, strict=True):
            one = {name: values[row : row + 1] for name, values in inputs.items()}
            started = time.perf_counter()
            model.predict(one)
            seconds.append(time.perf_counter() - started)
    candidate, champion = (float(np.median(seconds)) for seconds in taken)
    return candidate, champion


def _months(proposal: Proposal) -> pd.DataFrame:
    """The months that the proposal names, as the base's source reads them; sorted as data files are."""
    first, through = proposal.params.data.first, proposal.params.data.through
    has = source.months()
    if first not in has or through not in has:
        raise Bad(f"params.yaml: data names {first} to {through}, and the source has {has[0]} to {has[-1]}")
    raw = pd.concat([source.read(month) for month in has if first <= month <= through], ignore_index=True)
    return raw.sort_values([CONTRACT.time.name, CONTRACT.key.name], kind="stable", ignore_index=True)


def _first_day(proposal: Proposal, *others: Champion | None) -> str:
    """The day from which all are judged: later than what params.yaml says of the candidate's training, and
    than the others'. What the candidate's own model.json says is a rule's business (`leakage`)."""
    ends = [str(pd.Period(proposal.params.train.last, freq="M").end_time.date())]
    ends += [other.card.last for other in others if other is not None]
    return str((pd.Timestamp(max(ends)) + pd.Timedelta(days=1)).date())


def _window(raw: pd.DataFrame, first: str, label: str) -> Window:
    later = raw[(raw[CONTRACT.time.name] >= pd.Timestamp(first)) & raw[label].notna()]
    day, days = pd.factorize(later[CONTRACT.time.name].dt.strftime("%Y-%m-%d"), sort=True)
    names = [CONTRACT.key.name, CONTRACT.time.name, *(column.name for column in CONTRACT.slices)]
    rows = later[[name for name in names if name in later.columns]].reset_index(drop=True)
    return Window(tuple(days), day, later[label].to_numpy(dtype=bool), rows)


def _score(
    model: Model,
    features: pd.DataFrame,
    window: Window,
    raw: pd.DataFrame,
    card: proposals.Card,
    params: Params,
) -> Scored:
    """`model` asked for every row of `window`. Bad where a row is missing or an answer is no probability."""
    key = CONTRACT.key.name
    place = pd.Index(features[key]).get_indexer(pd.Index(window.rows[key]))
    if absent := int((place < 0).sum()):
        example = window.rows[key][place < 0].iloc[0]
        raise Bad(
            f"{absent:,} of {len(place):,} labelled rows of V are not among its rows, such as {example!r}"
        )
    asked = features.iloc[place].reset_index(drop=True)
    p = _answers(model, proposals.inputs(model, asked))
    if p.shape != window.label.shape:
        raise Bad(f"the model gives {p.shape} answers for {len(window.label):,} rows")
    if wrong := int((~((p >= 0) & (p <= 1))).sum()):
        raise Bad(f"{wrong:,} of {len(p):,} answers are no probability (NaN, infinite, below 0 or above 1)")
    sums = stats.day_sums(window.label, p, window.day, len(window.days), params.decision.threshold)
    return Scored(p, sums, _rate(raw, card), asked[list(model.inputs)])


def _answers(model: Model, inputs: Inputs) -> np.ndarray:
    try:
        return model.predict(inputs)
    except Exception as error:  # onnxruntime's classes; IndexError or ValueError where the outputs are others
        raise Bad(f"the model does not answer ({' '.join(str(error).split())[:200]})") from None


def _rate(raw: pd.DataFrame, card: proposals.Card) -> float:
    """The label rate of the training days, by the base's labels and not by the model's word."""
    day = raw[CONTRACT.time.name]
    trained = (day >= pd.Timestamp(card.first)) & (day < pd.Timestamp(card.last) + pd.Timedelta(days=1))
    labels = raw[CONTRACT.label.name][trained].dropna()
    if labels.empty:
        raise Bad(f"its training days {card.first} to {card.last} are not in the data")
    return float(labels.astype(bool).mean())

"""The evidence, gathered: one model after the other is found and scored, and none stops the others."""

import importlib
import threading
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.base.console import step
from pipelines.base.errors import Refused, UserError
from pipelines.core.contract import Finding
from pipelines.core.model import Inputs, Model
from pipelines.core.params import Params, load
from pipelines.core.problem import Problem
from pipelines.judge import answers, changes, contained, latency, onnx, retrain, rows
from pipelines.judge import champion as champions
from pipelines.judge import proposal as proposals
from pipelines.judge.champion import Champion, Production
from pipelines.judge.changes import Changes
from pipelines.judge.evidence import Again, Evidence, Scored, made_of
from pipelines.judge.proposal import InvalidProposal, Proposal
from pipelines.judge.retrain import Retrained
from pipelines.judge.rows import Window
from pipelines.training.prepare import as_the_model_takes_them, prepare


def gather(
    candidate: Path,
    base: Path,
    problem: Problem,
    production: Production | None = None,
    anchor: Production | None = None,
    head: str | None = None,
) -> Evidence:
    """The evidence on the proposal `head` whose build left `candidate`, against the checkout `base`.

    `anchor` is the last release that was shown superior, or the first. Never raises for what a proposal's
    files hold: that becomes a finding. UserError where `base` is broken.
    """
    params, contract = load(base / "params.yaml"), problem.contract
    if not candidate.is_dir():
        raise UserError(f"{candidate} does not exist: it is the folder that a proposal's build leaves")
    step("reading the proposal's files")
    try:
        recorded = champions.locked_in(base)
    except champions.ChampionUnavailable as error:
        raise UserError(f"{base}: {error}") from None
    found = changes.of(base, head)
    try:
        if head is not None and found.known:
            proposals.as_committed(candidate, lambda name: changes.file(base, head, name))
            if found.data:
                proposals.check_data(*changes.file(base, head, "data.dvc"))
        if (
            recorded is not None
            and proposals.locked(candidate) == recorded
            and made_of(proposals.values(candidate)) == made_of(params)  # else the lock may lie
            and not found.data
        ):
            return Evidence(params, problem, same_lock=True, changes=found)
        proposal = proposals.read(candidate, contract)
        raw = rows.read(proposal.params.data, problem)
        own = prepare(raw, problem) if found.known and not found.features else None
        if own is None and proposal.window is None:
            raise InvalidProposal("models/window.parquet is not there: the build did not end")
    except (InvalidProposal, Refused, UserError) as error:
        sentence = f"The build is not to be judged: {str(error).rstrip('.')}."
        return Evidence(params, problem, (Finding("files", "FAIL", sentence),), changes=found)
    return _Gathering(params, base, problem, proposal, raw, own, found).all(production, anchor)


class _Gathering:
    """Finds and scores one model after the other, and keeps a finding for each that cannot be had."""

    def __init__(
        self,
        params: Params,
        base: Path,
        problem: Problem,
        proposal: Proposal,
        raw: pd.DataFrame,
        own: pd.DataFrame | None,
        found: Changes,
    ) -> None:
        self.params, self.base, self.proposal, self.raw = params, base, proposal, raw
        self.problem, self.contract, self.task = problem, problem.contract, problem.task
        self.own, self.changes = own, found  # the rows of data/, by the base's features.py: to train on
        self.findings: list[Finding] = []
        self.months: list[str] = []  # those of the test window

    @cached_property
    def built(self) -> pd.DataFrame:
        """Every row of the window's months with the base's features and their history, as in production."""
        return rows.with_features(self.raw, self.months, self.problem)

    @cached_property
    def judged(self) -> pd.DataFrame:
        """The same, as the model takes them."""
        return as_the_model_takes_them(self.built, self.contract)

    def all(self, production: Production | None, anchor: Production | None) -> Evidence:
        trainers = None
        if self.own is not None and self.by_the_base:
            step(f"training {self.proposal.params.train.estimator} again, by the base's code")
            trainers = retrain.start(self.proposal.params, self.own, self.raw, self.problem)
        step("looking for the champion")
        champion = self.find("champion", production)
        first = None
        if anchor is not None and production is not None and anchor.release != production.release:
            step("looking for the anchor, which many small losses may not lead away from")
            first = self.find("anchor", anchor)
        window = rows.window(self.raw, _first_day(self.proposal, champion, first), self.contract)
        self.months = rows.months(window)
        if not window.days or self.has_one_class(window):
            findings = tuple(self.findings)
            return Evidence(
                self.params,
                self.problem,
                findings,
                self.proposal,
                champion,
                first,
                window,
                changes=self.changes,
            )
        step(f"scoring on {len(window.label):,} rows of {len(window.days)} days")
        candidate = self.score_candidate(window)
        its = self.score("champion", champion, window)
        firsts = self.score("anchor", first, window)
        repeated, shuffled = self.repeat(candidate), self.proposal.shuffled
        retrained = None
        if candidate is not None and trainers is not None:
            retrained, shuffled = self.train_again(candidate, trainers)
        latency = self.time(candidate, champion, its)
        return Evidence(
            self.params,
            self.problem,
            tuple(self.findings),  # after all that may add one
            self.proposal,
            champion,
            first,
            window,
            candidate,
            its,
            firsts,
            repeated=repeated,
            retrained=retrained,
            shuffled=shuffled,
            changes=self.changes,
            latency=latency,
        )

    @property
    def by_the_base(self) -> bool:
        """Whether the base's code makes this candidate from params.yaml, so that the judge can."""
        return self.own is not None and not self.changes.training

    def has_one_class(self, window: Window) -> bool:
        if (lacks := self.task.lacks(window.label)) is None:
            return False
        sentence = (
            f"{self.contract.label.name} is {lacks[0]} in all {len(window.label):,} rows of the test window, "
            f"and a metric needs {lacks[1]}: add months to the test window, or train on fewer."
        )
        self.findings.append(Finding("classes", "INCONCLUSIVE", sentence))
        return True

    def find(self, rule: str, production: Production | None) -> Champion | None:
        try:
            what = {"champion": "production's release", "anchor": "the anchor, release"}[rule]
            return champions.find(self.base, production, what)
        except champions.ChampionUnavailable as error:
            self.findings.append(Finding(rule, "INCONCLUSIVE", f"There is nothing to compare with: {error}."))
            return None

    def score_candidate(self, window: Window) -> Scored | None:
        proposal, theirs = self.proposal, self.proposal.window
        try:
            if theirs is not None and (why := rows.differing(theirs, self.raw, window, self.contract)):
                raise InvalidProposal(f"a raw column is not the source's: {proposals.one_line(why)}")
            features = theirs if self.own is None else self.judged
            assert features is not None
            return self._scored(proposal.model, features, window, proposal.card)
        except (InvalidProposal, Refused, UserError) as error:
            sentence = f"The candidate cannot be scored: {str(error).rstrip('.')}."
            self.findings.append(Finding("rows", "FAIL", sentence))
            return None

    def score(self, rule: str, model: Champion | None, window: Window) -> Scored | None:
        if model is None:
            return None
        try:
            its = champions.rows(model, self.months)
            its = self.built if its is None else its
            return self._scored(model.model, its, window, model.card)
        except (InvalidProposal, UserError, champions.ChampionUnavailable) as error:
            sentence = f"The {rule} ({model.words}) cannot be scored: {error}."
            self.findings.append(Finding(rule, "INCONCLUSIVE", sentence))
            return None

    def _scored(self, model: Model, features: pd.DataFrame, window: Window, card: proposals.Card) -> Scored:
        rate = _rate(self.raw, card, self.problem)
        return _score(model, features, window, rate, self.problem, self.params)

    def train_again(self, scored: Scored, trainers: retrain.Trainers) -> tuple[Again | None, float | None]:
        """The judge's own training, beside which the build's word does not count."""
        assert self.own is not None
        shap = threading.Thread(target=importlib.import_module, args=("shap",), daemon=True)
        shap.start()  # explain.py needs it, and it takes long to import, while others train
        try:
            made = retrain.again(self.proposal.params, self.own, self.problem, trainers)
            _check_card(self.proposal.card, made)
            p = _answers(made.model, proposals.inputs(made.model, self.own_of(scored)))
            apart = self.task.difference(p, scored.p)
            alike = onnx.alike(self.proposal.path.read_bytes(), made.content)
            found = Again(float(apart.max()), float(apart.mean()), alike, beside=self.beside(made))
            if not found.same:
                found = replace(found, repeats=made.repeats_itself())
            return found, made.of_shuffled_outcomes()
        except contained.Ended as error:
            sentence = (
                f"The judge cannot train this candidate again: {error}; let it take less (params.yaml: "
                "train), or a maintainer decides."
            )
            self.findings.append(Finding("reproducible", "INCONCLUSIVE", sentence))
            return None, None
        except (InvalidProposal, Refused, UserError, onnx.Refused) as error:
            sentence = f"The base's code does not train this candidate: {str(error).rstrip('.')}."
            self.findings.append(Finding("reproducible", "FAIL", sentence))
            return None, None
        finally:
            shap.join()

    def beside(self, made: Retrained) -> str | None:
        """What of the files beside the model is not what the judge, by the base's code, makes of it."""
        if self.changes.figures:
            return None
        step("making what stands beside the model again")
        try:
            return proposals.differing(self.proposal.path.parents[1], made.beside(self.proposal.model))
        except (InvalidProposal, Refused, answers.Failed, KeyError) as error:
            return f"What stands beside the model cannot be held against what the judge makes: {error}"

    def own_of(self, scored: Scored) -> pd.DataFrame:
        return self.judged.loc[scored.place].reset_index(drop=True)

    def repeat(self, scored: Scored | None) -> float | None:
        if scored is None or self.proposal.again is None or self.by_the_base:
            return None  # or the judge does it
        try:
            again = _answers(self.proposal.again, proposals.inputs(self.proposal.again, scored.features))
        except InvalidProposal as error:
            sentence = f"The model that was trained again cannot be scored: {error}."
            self.findings.append(Finding("reproducible", "FAIL", sentence))
            return None
        return float(self.task.difference(again, scored.p).max()) if again.shape == scored.p.shape else None

    def time(
        self, scored: Scored | None, champion: Champion | None, beside: Scored | None
    ) -> tuple[float, float] | None:
        if scored is None or champion is None or beside is None:
            return None
        try:
            return latency.measured(
                (self.proposal.path, proposals.inputs(self.proposal.model, scored.features)),
                (champion.path, proposals.inputs(champion.model, beside.features)),
                self.params.gate.budget.latency,
            )
        except answers.Failed as error:
            sentence = f"Candidate and champion cannot be timed: {error}."
            self.findings.append(Finding("latency", "INCONCLUSIVE", sentence))
            return None


def _check_card(given: proposals.Card, made: Retrained) -> None:
    """InvalidProposal where model.json says otherwise of the training than the training itself."""
    for name, true in made.card.items():
        if (said := getattr(given, name)) != true:
            shown = "another one" if name == "schema" else f"{proposals.one_line(str(said), 40)}, not {true}"
            raise InvalidProposal(
                f"models/model.json has a {name} that this training does not give ({shown})"
            )


def _first_day(proposal: Proposal, *others: Champion | None) -> str:
    """The day from which all are judged: later than what params.yaml says of the candidate's training, and
    than the others'. What the candidate's own model.json says is a rule's business (`leakage`)."""
    ends = [str(pd.Period(proposal.params.train.last, freq="M").end_time.date())]
    ends += [other.card.last for other in others if other is not None]
    return str((pd.Timestamp(max(ends)) + pd.Timedelta(days=1)).date())


def _score(
    model: Model,
    features: pd.DataFrame,
    window: Window,
    rate: float,
    problem: Problem,
    params: Params,
) -> Scored:
    """`model` asked for every row of `window`.

    InvalidProposal where a row is missing or an answer is not a probability.
    """
    key, task = problem.contract.key.name, problem.task
    place = pd.Index(features[key]).get_indexer(pd.Index(window.rows[key]))
    if absent := int((place < 0).sum()):
        example = window.rows[key][place < 0].iloc[0]
        raise InvalidProposal(
            f"{absent:,} of {len(place):,} labelled rows of the test window are not among its rows, "
            f"such as {example!r}"
        )
    asked = features.iloc[place].reset_index(drop=True)
    p = _answers(model, proposals.inputs(model, asked))
    if p.shape != window.label.shape:
        raise InvalidProposal(f"the model gives {p.shape} answers for {len(window.label):,} rows")
    wrong, kind = task.wrong(p)
    if wrong.any():
        raise InvalidProposal(f"{int(wrong.sum()):,} of {len(p):,} answers are no {kind}")
    sums = task.sums(window.label, p, window.day, len(window.days), rate, params.decision)
    return Scored(p, sums, rate, asked[list(model.inputs)], place)


def _answers(model: Model, inputs: Inputs) -> np.ndarray:
    try:
        return model.predict(inputs)
    except Exception as error:  # onnxruntime's classes; IndexError or ValueError where the outputs are others
        raise InvalidProposal(f"the model does not answer ({' '.join(str(error).split())[:200]})") from None


def _rate(raw: pd.DataFrame, card: proposals.Card, problem: Problem) -> float:
    """The label rate of the training days, by the base's labels and not by the model's word."""
    contract = problem.contract
    day = raw[contract.time.name]
    trained = (day >= pd.Timestamp(card.first)) & (day < pd.Timestamp(card.last) + pd.Timedelta(days=1))
    labels = raw[contract.label.name][trained].dropna()
    if labels.empty:
        raise InvalidProposal(f"its training days {card.first} to {card.last} are not in the data")
    return problem.task.constant(problem.task.labels(labels))

"""The evidence, gathered: one model after the other is found and scored, and none stops the others."""

import importlib
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.artifacts.model import Description, Trained
from pipelines.artifacts.serving import Interval, Settings
from pipelines.base.console import step
from pipelines.base.errors import Refused, UserError, one_line
from pipelines.core import periods, stats
from pipelines.core.contract import Finding, Verdict
from pipelines.core.model import Inputs, Model
from pipelines.core.params import Params, load
from pipelines.core.problem import Problem
from pipelines.judge import answers, changes, contained, onnx, retrain, rows
from pipelines.judge import champion as champions
from pipelines.judge import proposal as proposals
from pipelines.judge.champion import Champion, Production
from pipelines.judge.changes import Changes
from pipelines.judge.evidence import Again, Evidence, Scored, made_of
from pipelines.judge.proposal import InvalidProposal, Proposal
from pipelines.judge.retrain import Retrained
from pipelines.training import table, verify
from pipelines.training.prepare import as_the_model_takes_them, prepare


def gather(
    candidate: Path,
    base: Path,
    problem: Problem,
    production: Production | None = None,
    anchor: Production | None = None,
    head: str | None = None,
) -> Evidence:
    """The evidence on the proposal `head` whose build left `candidate`, against the checkout `base`. `anchor`
    is the last release that was shown superior, or the first. UserError where `base` is broken; what a
    proposal's files hold becomes a finding."""
    params, contract = problem.task.suited(load(file := base / "params.yaml"), file), problem.contract
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
            proposals.as_committed(candidate, lambda name: changes.file(base, head, name), found.data)
        if (
            recorded is not None
            and proposals.locked(candidate) == recorded
            and made_of(proposals.values(candidate, problem.task)) == made_of(params)  # else the lock may lie
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


@dataclass
class _Gathering:
    """Finds and scores one model after the other, and keeps a finding for each that cannot be had."""

    params: Params
    base: Path
    problem: Problem
    proposal: Proposal
    raw: pd.DataFrame
    own: pd.DataFrame | None  # the rows of data/, by the base's features.py: to train on
    changes: Changes
    findings: list[Finding] = field(default_factory=list)

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
        # All are judged from a day later than what params.yaml says of the candidate's training, and than the
        # others'. What the candidate's own model.json says is a rule's business (`leakage`).
        others = [one.card.train.last for one in (champion, first) if one is not None]
        ends = [periods.end(self.proposal.params.train.last)]
        ends += [pd.Timestamp(last) + pd.Timedelta(days=1) for last in others]
        since, unit = f"{max(ends):%Y-%m-%d}", self.params.gate.unit
        self.window = rows.window(self.raw, since, self.problem.contract, unit)
        e = Evidence(
            self.params, self.problem, (), self.proposal, champion, first, self.window, changes=self.changes
        )
        if self.window.days and not self.has_one_class():
            e = self.scored(e, trainers)
        return replace(e, gathered=tuple(self.findings))  # after all that may add one

    def scored(self, e: Evidence, trainers: retrain.Trainers | None) -> Evidence:
        step(f"scoring on {len(self.window.label):,} rows of {len(self.window.days)} days")
        candidate, shuffled = self.score_candidate(), self.proposal.shuffled
        champion, anchor = self.score("champion", e.champion_model), self.score("anchor", e.anchor_model)
        e = replace(e, candidate=candidate, champion=champion, anchor=anchor, shuffled=shuffled)
        if candidate is None:
            return e
        dealt = verify.dealt(params := self.proposal.params, self.raw, self.problem)
        e = replace(e, dealt=verify.outcomes(table.later(params, dealt, e.contract), self.problem))
        if trainers is not None:
            retrained, shuffled = self.train_again(candidate, trainers)
            e = replace(e, retrained=retrained, shuffled=shuffled)
        return replace(e, repeated=self.repeat(candidate), latency=self.time(e))

    def note(self, rule: str, verdict: Verdict, sentence: str) -> None:
        self.findings.append(Finding(rule, verdict, sentence))

    @cached_property
    def built(self) -> pd.DataFrame:
        """Every row of the window's periods with the base's features and their history, as in production."""
        return rows.with_features(self.raw, self.periods, self.problem)

    @property
    def periods(self) -> list[str]:
        """Those of data/ that the window touches."""
        return rows.touched(self.window, like=self.params.data.first)

    @cached_property
    def judged(self) -> pd.DataFrame:
        """The same, as the model takes them."""
        return as_the_model_takes_them(self.built, self.problem.contract)

    @property
    def by_the_base(self) -> bool:
        """Whether the base's code makes this candidate from params.yaml, so that the judge can."""
        return self.own is not None and not self.changes.training

    def has_one_class(self) -> bool:
        if lacks := self.problem.task.lacks(self.window.label):
            said = f"is {lacks[0]} in all {len(self.window.label):,} rows of the test window"
            way_out = "add months to the test window, or train on fewer"
            sentence = f"{self.problem.contract.label.name} {said}, and a metric needs {lacks[1]}: {way_out}."
            self.note("classes", "INCONCLUSIVE", sentence)
        return lacks is not None

    def find(self, rule: str, production: Production | None) -> Champion | None:
        try:
            what = {"champion": "production's release", "anchor": "the anchor, release"}[rule]
            return champions.find(self.base, self.problem.task, production, what)
        except champions.ChampionUnavailable as error:
            self.note(rule, "INCONCLUSIVE", f"There is nothing to compare with: {error}.")
            return None

    def score_candidate(self) -> Scored | None:
        proposal, theirs, contract = self.proposal, self.proposal.window, self.problem.contract
        try:
            if theirs is not None and (why := rows.differing(theirs, self.raw, self.window, contract)):
                raise InvalidProposal(f"a raw column is not the source's: {one_line(why)}")
            features = theirs if self.own is None else self.judged
            assert features is not None
            return self.answered(proposal.model, features, proposal.card.train)
        except (InvalidProposal, Refused, UserError) as error:
            self.note("rows", "FAIL", f"The candidate cannot be scored: {str(error).rstrip('.')}.")
            return None

    def score(self, rule: str, model: Champion | None) -> Scored | None:
        if model is None:
            return None
        try:
            its = champions.rows(model, self.periods)
            return self.answered(model.model, self.built if its is None else its, model.card.train)
        except (InvalidProposal, UserError, champions.ChampionUnavailable) as error:
            self.note(rule, "INCONCLUSIVE", f"The {rule} ({model.words}) cannot be scored: {error}.")
            return None

    def answered(self, model: Model, features: pd.DataFrame, trained: Trained) -> Scored:
        """`model` asked for every row of the window. InvalidProposal where a row is missing or an answer is
        not of the task's kind."""
        window, task, key = self.window, self.problem.task, self.problem.contract.key.name
        constant = _constant(self.raw, trained, self.problem)
        place = pd.Index(features[key]).get_indexer(pd.Index(window.rows[key]))
        if absent := int((place < 0).sum()):
            example = window.rows[key][place < 0].iloc[0]
            raise InvalidProposal(
                f"{absent:,} of {len(place):,} labelled rows of the test window are not among its rows, "
                f"such as {example!r}"
            )
        asked = features.iloc[place].reset_index(drop=True)
        p = _answers(model, proposals.inputs(model, asked))
        if p.shape != (len(window.label), *task.shape):
            raise InvalidProposal(f"the model gives {p.shape} answers for {len(window.label):,} rows")
        wrong, kind = task.wrong(p)
        if wrong.any():
            raise InvalidProposal(f"{int(wrong.sum()):,} of {len(p):,} answers are no {kind}")
        units = window.units
        sums = task.sums(window.label, p, units.of, units.count, constant, self.params.decision)
        return Scored(p, sums, constant, asked[list(model.inputs)], place)

    def train_again(self, scored: Scored, trainers: retrain.Trainers) -> tuple[Again | None, float | None]:
        """The judge's own training, beside which the build's word does not count."""
        assert self.own is not None
        shap = threading.Thread(target=importlib.import_module, args=("shap",), daemon=True)
        shap.start()  # explain.py needs it, and it takes long to import, while others train
        try:
            made = retrain.again(self.proposal.params, self.own, self.problem, trainers)
            _check_card(self.proposal.card, made.card)
            own = self.judged.loc[scored.place].reset_index(drop=True)
            p = _answers(made.model, proposals.inputs(made.model, own))
            apart = self.problem.task.difference(p, scored.p)
            alike = onnx.alike(self.proposal.path.read_bytes(), made.content)
            found = Again(float(apart.max()), float(apart.mean()), alike, True, *self.beside(made))
            if not found.same:
                found = replace(found, repeats=made.repeats_itself())
            return found, stats.finite(made.of_shuffled_outcomes())
        except contained.Ended as error:
            way_out = "let it take less (params.yaml: train), or a maintainer decides"
            words = f"The judge cannot train this candidate again: {error}; {way_out}."
            self.note("reproducible", "INCONCLUSIVE", words)
        except (InvalidProposal, Refused, UserError, onnx.Refused) as error:
            words = f"The base's code does not train this candidate: {str(error).rstrip('.')}."
            self.note("reproducible", "FAIL", words)
        finally:
            shap.join()
        return None, None

    def beside(self, made: Retrained) -> tuple[str | None, Interval | None]:
        """What of the files beside the model is not what the judge, by the base's code, makes of it; and the
        interval there."""
        if self.changes.figures:
            return None, None
        step("making what ships beside the model again")
        try:
            files = made.beside(self.proposal.model)
            interval = Settings.parse(files[f"models/{Settings.NAME}"]).interval
            return proposals.differing(self.proposal.path.parents[1], files), interval
        except contained.Ended:
            raise
        except (InvalidProposal, Refused, KeyError) as error:
            return f"What ships beside the model cannot be held against what the judge makes: {error}", None

    def repeat(self, scored: Scored) -> float | None:
        if self.proposal.again is None or self.by_the_base:
            return None  # or the judge does it
        try:
            again = _answers(self.proposal.again, proposals.inputs(self.proposal.again, scored.features))
        except InvalidProposal as error:
            self.note("reproducible", "FAIL", f"The model trained again cannot be scored: {error}.")
            return None
        same = again.shape == scored.p.shape
        return float(self.problem.task.difference(again, scored.p).max()) if same else None

    def time(self, e: Evidence) -> tuple[float, float] | None:
        if e.candidate is None or e.champion is None or e.champion_model is None:
            return None
        mine, its = self.proposal, e.champion_model
        candidate = mine.path, proposals.inputs(mine.model, e.candidate.features)
        champion = its.path, proposals.inputs(its.model, e.champion.features)
        try:
            return answers.timed(candidate, champion, self.params.gate.budget.latency, self.problem.task)
        except Refused as error:
            self.note("latency", "INCONCLUSIVE", f"Candidate and champion cannot be timed: {error}.")
            return None


def _check_card(given: Description, made: Description) -> None:
    """InvalidProposal where model.json says otherwise of the training than the training itself."""
    for name in ("first", "last", "rows"):
        if (said := getattr(given.train, name)) != (true := getattr(made.train, name)):
            wrong = f"models/model.json has a {name} that this training does not give"
            raise InvalidProposal(f"{wrong} ({said}, not {true})")
    if given.request != made.request:
        raise InvalidProposal("models/model.json has another schema than this training gives")


def _answers(model: Model, inputs: Inputs) -> np.ndarray:
    try:
        return model.predict(inputs)
    except Exception as error:  # onnxruntime's classes; IndexError or ValueError where the outputs are others
        raise InvalidProposal(f"the model does not answer ({' '.join(str(error).split())[:200]})") from None


def _constant(raw: pd.DataFrame, days: Trained, problem: Problem) -> Any:
    """The task's, of the training days, by the base's labels and not by the model's word."""
    contract = problem.contract
    day = raw[contract.time.name]
    trained = (day >= pd.Timestamp(days.first)) & (day < pd.Timestamp(days.last) + pd.Timedelta(days=1))
    labels = raw[contract.label.name][trained].dropna()
    if labels.empty:
        raise InvalidProposal(f"its training days {days.first} to {days.last} are not in the data")
    return problem.task.constant(problem.task.labels(labels))

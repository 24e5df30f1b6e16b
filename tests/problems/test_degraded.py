"""Each way in which a model goes wrong in practice, made on purpose for a problem of each kind of answer and
judged beside an honest one: each is refused for its own reason. The rows are a real month; no file is
written, so that a problem takes seconds."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.artifacts.serving import Interval
from pipelines.core import params as parameters
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.judge import beside, rules
from pipelines.judge import rows as judged
from pipelines.judge.evidence import Again, Evidence, Scored
from pipelines.judge.rules import calibration, leaks, serving, structure
from pipelines.training import reference, table, train
from pipelines.training.prepare import prepare

RULES = (leaks.leakage, leaks.single_feature, structure.reproducible, calibration.coverage)


@dataclass(frozen=True)
class Case:
    """A problem of tests/problems: what goes wrong there in its own way, and the rules that must see what."""

    name: str
    honest: dict[str, Any]  # settings that are as good as those of params.yaml
    few: dict[str, Any]  # of an undertrained model
    units: dict[str, Callable[[Any], Any]]  # what another station would send
    lost: tuple[str, str]  # a category's value that the training never saw
    leaky: str  # a derived number
    clock: tuple[str, float, float]  # the time of day, an hour of it, and a whole day
    late: tuple[str, ...]  # what is measured each hour, beside it
    refused: dict[str, set[str]]
    last: str = "2013-05"  # of training; the month after it judges

    @cached_property
    def problem(self) -> Problem:
        return Problem(f"tests.problems.{self.name}")

    @cached_property
    def params(self) -> Params:
        found = parameters.load(Path(__file__).parent / self.name / "params.yaml")
        through = found.data.model_copy(update={"through": str(pd.Period(self.last) + 1)})
        ended = found.train.model_copy(update={"last": self.last})
        return self.problem.task.suited(found.model_copy(update={"data": through, "train": ended}))

    @cached_property
    def raw(self) -> pd.DataFrame:
        return judged.read(self.params.data, self.problem)

    @cached_property
    def rows(self) -> pd.DataFrame:
        return prepare(self.raw, self.problem)

    @cached_property
    def trained(self) -> pd.DataFrame:
        return table.training(self.params, self.rows, self.problem.contract)

    @cached_property
    def later(self) -> pd.DataFrame:
        """The labelled rows of the test window."""
        found = table.later(self.params, self.rows, self.problem.contract)
        return found[found[self.label].notna()].reset_index(drop=True)

    @property
    def label(self) -> str:
        return self.problem.contract.label.name

    @cached_property
    def interval(self) -> Interval | None:
        """That of the honest model."""
        answers = partial(train.answers, self.problem)
        return reference.build(self.params, self.trained, answers, self.problem.contract).interval

    def fit(self, rows: pd.DataFrame | None = None, **settings: Any) -> Any:
        """A model of `rows`, else of the training."""
        chosen = {"settings": {**self.params.train.settings, **settings}}
        given = self.params.model_copy(update={"train": self.params.train.model_copy(update=chosen)})
        return train.fit_pipeline(given, self.trained if rows is None else rows, self.problem)

    @cached_property
    def champion(self) -> Any:
        return self.fit()

    @cached_property
    def as_good(self) -> Any:
        return self.fit(**self.honest)


@dataclass
class Candidate:
    """A model, and what it was asked with where that is not the source's rows."""

    model: Any
    asked: pd.DataFrame | None = None
    more: dict[str, Any] = field(default_factory=dict)  # of the evidence


def undertrained(case: Case) -> Candidate:
    return Candidate(case.fit(**case.few))


def label_noise(case: Case) -> Candidate:
    """Half of the labels are those of other rows."""
    draw, labels = np.random.default_rng(1), case.trained[case.label].to_numpy().copy()
    wrong = np.flatnonzero(draw.random(len(labels)) < 0.5)
    labels[wrong] = labels[draw.permutation(wrong)]
    return Candidate(case.fit(case.trained.assign(**{case.label: labels})))


def a_leak(case: Case) -> Candidate:
    """A derived column that was made from the outcome."""

    def told(rows: pd.DataFrame) -> pd.DataFrame:
        level = case.problem.task.level(case.problem.task.labels(rows[case.label])).astype(np.float64)
        noise = np.random.default_rng(1).normal(0, level.std() / 20, len(rows))
        return rows.assign(**{case.leaky: (level + noise).astype(np.float32)})

    return Candidate(case.fit(told(case.trained)), told(case.later))


def a_unit_fault(case: Case) -> Candidate:
    sent = {name: of(case.later[name]).astype(np.float32) for name, of in case.units.items()}
    return Candidate(case.as_good, case.later.assign(**sent))


def a_lost_category(case: Case) -> Candidate:
    """Its rows were lost on the way to the training."""
    column, value = case.lost
    return Candidate(case.fit(case.trained[case.trained[column] != value]))


def off_by_an_hour(case: Case) -> Candidate:
    """The clock is ahead, as where summer time was forgotten, and what is measured comes late."""
    time, hour, day = case.clock
    late = case.later.groupby(case.problem.contract.slices[0].name)[list(case.late)].shift(1)
    ahead = ((case.later[time] + hour) % day).astype(np.float32)
    return Candidate(case.as_good, case.later.assign(**late, **{time: ahead}))


def trained_on_the_test_window(case: Case) -> Candidate:
    """And its card says otherwise: the judge trains what the card says."""
    known = case.rows[case.rows[case.label].notna()]
    cheat, told = (
        case.problem.task.predicted(model, train.frame(case.later, case.problem.contract))
        for model in (case.fit(known), case.champion)
    )
    apart = case.problem.task.difference(cheat, told)
    again = Again(float(apart.max()), float(apart.mean()), alike=False, interval=case.interval)
    return Candidate(case.fit(known), more={"retrained": again})


def and_it_says_so(case: Case) -> Candidate:
    last = str(case.later[case.problem.contract.time.name].max().date())
    return Candidate(case.champion, more={"last": last})


def an_interval_of_its_own_training(case: Case) -> Candidate:
    """Of trees that know each row of the training by heart: what they do not know seems small."""
    model = case.fit(trees=400, leaf=2)
    label = case.problem.task.labels(case.trained[case.label])
    known = case.problem.task.predicted(model, train.frame(case.trained, case.problem.contract))
    half_width = float(np.quantile(np.abs(label - known), 0.9))
    return Candidate(model, more={"interval": Interval(level=0.9, half_width=half_width, days=31)})


FAULTS = (
    undertrained,
    label_noise,
    a_leak,
    a_unit_fault,
    a_lost_category,
    off_by_an_hour,
    trained_on_the_test_window,
    and_it_says_so,
    an_interval_of_its_own_training,
)


def judge(case: Case, candidate: Candidate) -> dict[str, str]:
    """The verdict of each rule that has a say."""
    problem, contract, task = case.problem, case.problem.contract, case.problem.task
    window = judged.window(case.raw, str(case.later[contract.time.name].min().date()), contract)
    constant = table.constant(case.trained, contract)

    def scored(model: Any, asked: pd.DataFrame) -> Scored:
        p = task.predicted(model, train.frame(asked, contract))
        sums = task.sums(window.label, p, window.day, len(window.days), constant, case.params.decision)
        features = train.frame(asked, contract)
        return Scored(p, sums, constant, features)

    days = case.trained[contract.time.name].dt.date
    more = {"last": str(days.max()), "interval": case.interval, "retrained": None} | candidate.more
    more = {"level": case.params.decision.coverage} | more
    card = SimpleNamespace(train=SimpleNamespace(first=str(days.min()), last=more["last"]))
    decision = case.params.decision.model_copy(update={"coverage": more["level"]})
    own = case.params.model_copy(update={"decision": decision})
    proposal: Any = SimpleNamespace(card=card, params=own, interval=more["interval"])
    asked = case.later if candidate.asked is None else candidate.asked
    e = Evidence(
        case.params,
        problem,
        proposal=proposal,
        window=window,
        candidate=scored(candidate.model, asked),
        champion=scored(case.champion, case.later),
        repeated=0.0,
        retrained=more["retrained"],
    )
    found = rules.ask(e, (*RULES, *rules.statistics(task)))
    said: dict[str, str] = {finding.rule: finding.verdict for finding in found}
    # What a proposal's own code made of raw columns is held against the source.
    return said | ({"rows": "FAIL"} if judged.differing(asked, case.raw, window, contract) else {})


HEAT = Case(
    name="heat",
    honest={"trees": 64},
    few={"trees": 8},
    units={"air": lambda f: (f - 32) / 1.8, "dew": lambda f: (f - 32) / 1.8},
    lost=("station", "EWR"),
    leaky="air_change",
    clock=("hour_of_day", 1, 24),
    late=("air", "dew", "moisture", "wind_from", "wind", "rain_now", "barometer", "sight", "air_change"),
    refused={
        "undertrained": {"mae", "rmse"},
        "label_noise": {"mae", "rmse"},
        "a_leak": {"single_feature"},
        "a_unit_fault": {"rows", "mae", "rmse", "coverage"},
        "a_lost_category": {"mae", "rmse"},
        "off_by_an_hour": {"rows", "mae"},
        "trained_on_the_test_window": {"reproducible"},
        "and_it_says_so": {"leakage"},
        "an_interval_of_its_own_training": {"coverage"},
    },
)
DELAY = Case(
    name="delay",
    honest={"trees": 50},
    few={"trees": 2},
    units={"air": lambda f: (f - 32) / 1.8, "rain": lambda i: i * 25.4, "miles": lambda m: m * 1.609344},
    lost=("airline", "MQ"),
    leaky="minute",
    clock=("minute", 60, 1440),
    late=(),
    refused={
        "undertrained": {"log_loss"},
        "label_noise": {"roc_auc"},
        "a_leak": {"single_feature"},
        "a_unit_fault": {"rows", "log_loss"},
        "a_lost_category": {"log_loss"},
        "off_by_an_hour": {"roc_auc"},
        "trained_on_the_test_window": {"reproducible"},
        "and_it_says_so": {"leakage"},
    },
)
CASES = {case.name: case for case in (HEAT, DELAY)}


PAIRS = [(case, fault) for case in CASES.values() for fault in FAULTS if fault.__name__ in case.refused]


@pytest.mark.parametrize(
    ("case", "fault"), PAIRS, ids=[f"{case.name}-{fault.__name__}" for case, fault in PAIRS]
)
def test_what_goes_wrong_is_refused_for_its_reason(case: Case, fault: Callable[[Case], Candidate]) -> None:
    found = judge(case, fault(case))
    assert case.refused[fault.__name__] <= {rule for rule, verdict in found.items() if verdict == "FAIL"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_model_that_is_as_good_is_refused_by_none_of_these_rules(case: Case) -> None:
    found = judge(case, Candidate(case.as_good))
    assert set(found.values()) == {"PASS"} and len(found) > len(RULES), found


def of_the_judge(interval: Interval | None) -> Again:
    return Again(0.0, 0.0, alike=True, interval=interval)


def test_the_judge_goes_by_its_own_interval_and_not_by_the_proposal_s() -> None:
    narrow, wide = (Interval(level=0.9, half_width=width, days=31) for width in (1.0, 100.0))
    told = {"interval": wide, "retrained": of_the_judge(narrow)}
    assert judge(HEAT, Candidate(HEAT.as_good, more=told))["coverage"] == "FAIL"
    told = {"interval": narrow, "retrained": of_the_judge(wide)}
    assert judge(HEAT, Candidate(HEAT.as_good, more=told))["coverage"] == "PASS"
    assert beside.difference(
        {"interval": wide.model_dump()}, {"interval": narrow.model_dump()}, "serving.json"
    )
    tiny, twice = ({"interval": {"half_width": width}} for width in (1e-4, 2e-4))
    assert beside.difference(twice, tiny, "serving.json") == "interval.half_width is 0.0002, not 0.0001"


def test_winter_months_know_too_little_of_spring_for_an_interval() -> None:
    """As good as the champion, whose interval was too narrow as well."""
    spring = replace(HEAT, last="2013-03")
    found = judge(spring, Candidate(spring.as_good))
    assert {rule for rule, verdict in found.items() if verdict == "FAIL"} == {"coverage"}


def test_where_no_interval_ships_it_is_said_and_nobody_is_refused() -> None:
    few = HEAT.trained[HEAT.trained[HEAT.problem.contract.time.name] < "2013-02-06"]
    answers = partial(train.answers, HEAT.problem)
    assert reference.build(HEAT.params, few, answers, HEAT.problem.contract).interval is None
    found = judge(HEAT, Candidate(HEAT.as_good, more={"interval": None}))
    assert found["coverage"] == "PASS"
    found = judge(HEAT, Candidate(HEAT.as_good, more={"interval": None, "level": 0.999999}))
    assert found["coverage"] == "INCONCLUSIVE"  # who asks for more than any days tell drops the rule


def test_a_caller_who_gets_an_interval_keeps_it_unless_the_api_is_raised() -> None:
    def said(champion: Interval | None, candidate: Interval | None, api: int = 1) -> tuple[str, str]:
        raised = HEAT.params.serving.model_copy(update={"api": api})
        own = HEAT.params.model_copy(update={"serving": raised})
        card, model = SimpleNamespace(request={"properties": {}}), SimpleNamespace(inputs=("its own",))
        proposal: Any = SimpleNamespace(params=own, interval=candidate, card=card, model=model)
        given = {"serving": SimpleNamespace(api=1, interval=champion), "golden": SimpleNamespace(rows=())}
        beside: Any = SimpleNamespace(card=card, **given)
        e = Evidence(HEAT.params, HEAT.problem, proposal=proposal, champion_model=beside)
        found = serving.compatibility(e)
        assert found is not None
        return found.verdict, found.sentence

    verdict, sentence = said(HEAT.interval, None)
    assert verdict == "FAIL" and "with an interval, the candidate's would come without one" in sentence
    assert said(HEAT.interval, None, api=2)[0] == "PASS"
    for ships in (HEAT.interval, None):  # a champion that gives none has no caller who would lose it
        assert said(None, ships)[0] == said(HEAT.interval, HEAT.interval)[0] == "PASS"


def test_where_groups_are_the_unit_there_must_be_enough_of_them() -> None:
    contract = HEAT.problem.contract
    columns = (replace(column, group=column.name == "station") for column in contract.columns)
    of_stations = replace(contract, columns=tuple(columns))
    answers = partial(train.answers, HEAT.problem)
    assert reference.build(HEAT.params, HEAT.trained, answers, of_stations).interval is None  # of three
    assert HEAT.interval is not None


@pytest.mark.parametrize("change", [{"coverage": 0.5}, {"over": 99.0}], ids=["level", "costs"])
def test_another_decision_is_another_model_even_where_the_file_is_the_same(change: dict[str, float]) -> None:
    decision = HEAT.params.decision.model_copy(update=change)
    lower = HEAT.params.model_copy(update={"decision": decision})
    one = {"sha256": "1", "params": HEAT.params}
    champion, same, other = (SimpleNamespace(**one | more) for more in ({}, {}, {"params": lower}))
    for proposal, unchanged in ((same, True), (other, False)):
        e = Evidence(HEAT.params, HEAT.problem, proposal=proposal, champion_model=champion)  # type: ignore[arg-type]
        assert e.unchanged is unchanged

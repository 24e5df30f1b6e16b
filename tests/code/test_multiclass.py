"""The kind of answer that is one of several classes: its figures are those of the field."""

import json
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import auc, brier_score_loss, confusion_matrix, log_loss, roc_auc_score, roc_curve

from pipelines.base.errors import UserError
from pipelines.core import params, stats, tasks
from pipelines.core.contract import Choice, Column, Contract
from pipelines.core.tasks.binary import BINARY
from pipelines.core.tasks.multiclass import BRIER, COST, LOG_LOSS, ROC_AUC, SKILL, Multiclass
from pipelines.judge import gate
from pipelines.judge.rules.calibration import calibration
from pipelines.judge.rules.leaks import alone
from pipelines.judge.rules.structure import classes
from pipelines.training import table
from tests.problems.delay.columns import CONTRACT

TASK = Multiclass(CONTRACT.label)
COSTS: Any = SimpleNamespace(
    threshold=None,
    costs={
        "on time": {"late": 1.0, "very late": 3.0},
        "late": {"on time": 2.0, "very late": 2.0},
        "very late": {"on time": 6.0, "late": 3.0},
    },
)
MATRIX = np.array([[0, 1, 3], [2, 0, 2], [6, 3, 0]])
SHARES = (0.7, 0.2, 0.1)
DAYS = 6
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Labels, answers and the day of each row: the answers know something, and some are equal."""
    draw = np.random.default_rng(3)
    p = np.round(draw.dirichlet((4, 2, 1.5), 900) + 1e-3, 2)
    p /= p.sum(axis=1, keepdims=True)
    label = np.array([draw.choice(3, p=row) for row in p])
    return label, p, np.sort(draw.integers(0, DAYS, 900))


def test_a_label_that_is_a_category_makes_the_task() -> None:
    assert isinstance(tasks.of(CONTRACT), Multiclass) and TASK.shape == (3,)
    assert (
        pickle.loads(pickle.dumps(TASK)).classes == TASK.classes
    )  # it is sent to the processes of the judge
    two = Multiclass(Column("y", "category", "a label", label=True, values=("a", "b")))
    p = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    sums = two.sums(np.array([0, 1, 1]), p, np.zeros(3, int), 1, (0.5, 0.5), _costs(a={"b": 1}, b={"a": 2}))
    assert ROC_AUC.of(sums, None) == roc_auc_score([0, 1, 1], p[:, 1])
    assert BRIER.of(sums, None) == pytest.approx(2 * brier_score_loss([0, 1, 1], p[:, 1]))


def _costs(**costs: dict[str, float]) -> Any:
    return SimpleNamespace(threshold=None, costs=costs)


def test_each_metric_is_that_of_the_field_on_the_rows_that_the_weights_draw(drawn: Drawn) -> None:
    label, p, day = drawn
    sums = TASK.sums(label, p, day, DAYS, SHARES, COSTS)
    weights = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 0, 3, 0], [0, 0, 6, 0, 0, 0]])
    for row in weights:
        often = np.repeat(np.arange(len(label)), row[day])
        y, said = label[often], p[often]
        brier = brier_score_loss(y, said, labels=[0, 1, 2], scale_by_half=False)
        shares = np.bincount(y, minlength=3) / len(y)
        wanted = {
            ROC_AUC: roc_auc_score(y, said, multi_class="ovr", average="macro"),
            LOG_LOSS: log_loss(y, said),
            BRIER: brier,
            SKILL: 1 - brier / _brier_of_always(y, SHARES),
            COST: MATRIX[y, (said @ MATRIX).argmin(axis=1)].mean(),
        }
        each = enumerate(TASK.details)
        wanted |= {metric: roc_auc_score(y == place, said[:, place]) for place, metric in each}
        for metric, value in wanted.items():
            assert metric.of(sums, row) == pytest.approx(value)
            assert metric.of(sums, weights).shape == (3,)
        assert TASK.own_skill(sums, row) == pytest.approx(1 - brier / _brier_of_always(y, shares))
    assert LOG_LOSS.of(sums, None) == pytest.approx(TASK.losses(label, p).mean())


def _brier_of_always(label: np.ndarray, shares: Any) -> float:
    return float(((np.tile(shares, (len(label), 1)) - np.eye(3)[label]) ** 2).sum(axis=1).mean())


def test_a_class_that_is_not_there_has_no_area_and_all_else_is_told(drawn: Drawn) -> None:
    label, p, day = drawn
    two = label < 2
    sums = TASK.sums(label[two], p[two], day[two], DAYS, SHARES, COSTS)
    assert np.isnan(ROC_AUC.of(sums, None))
    assert all(np.isfinite(metric.of(sums, None)) for metric in (LOG_LOSS, BRIER, SKILL, COST))
    assert TASK.absent(label) == () and TASK.absent(label[two]) == ("very late",)
    assert TASK.lacks(label[two]) is None and TASK.lacks(label[label == 1]) == ("late", "two classes")


def test_skill_against_another_constant_is_told_for_the_days_own(drawn: Drawn) -> None:
    label, p, day = drawn
    sums = TASK.sums(label, p, day, DAYS, SHARES, COSTS)
    own = TASK.constant(label)
    assert TASK.restated(float(SKILL.of(sums, None)), own, SHARES) == pytest.approx(TASK.own_skill(sums))
    assert TASK.named(own) == dict(zip(TASK.classes, np.bincount(label) / len(label), strict=True))
    assert np.isnan(TASK.restated(0.5, (1.0, 0.0, 0.0), SHARES))
    assert "very late 10.0%" in TASK.constant_words(SHARES)


def test_the_decision_is_the_cheapest_and_not_the_likeliest() -> None:
    p = np.array([[0.6, 0.1, 0.3], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6]])
    assert TASK.decided(p, COSTS).tolist() == [1, 0, 2]  # of the first row 2.0, 1.5 and 2.0
    said = TASK.predictions(p, COSTS)
    assert [each["class"] for each in said] == ["late", "on time", "very late"]
    assert json.loads(json.dumps(said))[0]["p"] == {"on time": 0.6, "late": 0.1, "very late": 0.3}
    schema = TASK.schema(CONTRACT.decision, COSTS)["properties"]
    assert list(schema["p"]["properties"]) == schema["class"]["enum"] == list(TASK.classes)
    assert "another flight is offered" in schema["class"]["description"]
    assert TASK.charges(np.array([2, 0, 1]), p, COSTS).tolist() == [3.0, 0.0, 2.0]
    assert TASK.moved(p, p[::-1], COSTS).tolist() == [
        "says very late, not late",
        "",
        "says late, not very late",
    ]
    assert TASK.answer_words(p)[1] == "0.90 / 0.05 / 0.05" and TASK.label_words(np.array([2])) == [
        "very late"
    ]
    assert TASK.stacked(TASK.read(each["p"]) for each in said).tolist() == p.tolist()


def test_what_is_decided_is_counted_beside_what_came_true(drawn: Drawn) -> None:
    label, p, _ = drawn
    found = pd.DataFrame(TASK.confusion(label, p, COSTS)).T
    said = (p @ MATRIX).argmin(axis=1)
    assert (found.to_numpy() == confusion_matrix(label, said)).all()
    assert list(found.index) == list(found.columns) == list(TASK.classes)
    assert (found.to_numpy() != confusion_matrix(label, p.argmax(axis=1))).any()  # not the likeliest
    assert BINARY.confusion(label == 0, p[:, 0], COSTS) == {}


def test_each_class_is_a_part_of_an_answer_and_a_row_is_explained_by_what_came_true(drawn: Drawn) -> None:
    label, p, _ = drawn
    assert TASK.parts == ("p(on time)", "p(late)", "p(very late)")
    assert (TASK.each(p) == p).all() and (TASK.each(label) == np.eye(3)[label]).all()
    assert (TASK.level(p) == p[:, 2]).all() and (TASK.level(label) == (label == 2)).all()
    own = TASK.each(p)[np.arange(len(p)), TASK.part(label)]
    assert -np.log(own).mean() == pytest.approx(TASK.losses(label, p).mean())


def test_the_tenths_are_those_of_each_class_and_their_error_is_the_mean(drawn: Drawn) -> None:
    label, p, day = drawn
    e = _evidence(label, p, p, day)
    e.window.units.count = DAYS
    e.scored = {"candidate": e.candidate}
    (told,) = gate._calibrations(e).values()
    of_each = []
    for place, part in enumerate(np.split(np.transpose([told["predicted"], told["observed"]]), 3)):
        tenths = np.array_split(np.argsort(p[:, place], kind="stable"), 10)
        wanted = [(p[rows, place].mean(), (label[rows] == place).mean()) for rows in tenths]
        assert part == pytest.approx(np.array(wanted))
        of_each.append(np.abs(part[:, 0] - part[:, 1]).mean())
    assert told["ece"] == pytest.approx(np.mean(of_each)) and len(told["observed_interval"]) == 30


@pytest.mark.parametrize(
    "said",
    [0.5, [0.1, 0.2, 0.7], {"on time": 1.0}, {"on time": "1", "late": 0.0, "very late": 0.0}, None],
    ids=["a number", "a list", "one class", "a text", "nothing"],
)
def test_what_is_no_probability_of_each_class_is_not_read(said: Any) -> None:
    with pytest.raises(TypeError):
        TASK.read(said)


def test_what_is_no_distribution_is_no_answer() -> None:
    nan = float("nan")
    answers = np.array([[1, 1, 1], [0.5, 0.6, -0.1], [nan, 0.5, 0.5], [0, 0, 0], [0.2, 0.3, 0.5], [1, 0, 0]])
    wrong, what = TASK.wrong(answers)
    assert wrong.tolist() == [True, True, True, True, False, False] and "each class" in what
    rounded = TASK.answers(np.array([[1.0000004, -3e-7, 0.0]], dtype=np.float32))
    assert rounded.tolist() == [[1.0, 0.0, 0.0]] and not TASK.wrong(rounded)[0].any()
    one, other = np.array([[0.2, 0.3, 0.5]]), np.array([[0.3, 0.1, 0.6]])
    assert TASK.difference(one, other) == pytest.approx([0.2]) and TASK.shifted(one, other) == pytest.approx(
        [0.2]
    )
    swapped = np.array([[0.3, 0.2, 0.5]])  # what the shown class does not tell
    assert TASK.level(one) == TASK.level(swapped) and TASK.shifted(one, swapped) == pytest.approx([0.1])


def test_a_model_of_months_without_a_class_gives_it_nothing() -> None:
    x, y = np.arange(20.0)[:, None], np.repeat([0, 2], 10)
    p = TASK.predicted(LogisticRegression().fit(x, y), x)
    assert p.shape == (20, 3) and (p[:, 1] == 0).all() and np.allclose(p.sum(axis=1), 1)


def test_calibration_is_that_of_each_class_against_the_rest(drawn: Drawn) -> None:
    label, p, day = drawn
    found = TASK.calibration(label, p)
    assert found.keys() == TASK.ideal.keys() == TASK.first.keys() and len(found) == 6
    for place, name in enumerate(TASK.classes):
        safe = np.clip(p[:, place], 1e-9, 1 - 1e-9)
        logit = np.log(safe / (1 - safe))[:, None]
        fit = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(logit, label == place)
        assert found[f"slope ({name})"] == pytest.approx(fit.coef_[0, 0], abs=1e-4)
        ahead = stats.calibration(label == place, p[:, place])[0]
        assert found[f"intercept ({name})"] == pytest.approx(ahead)
    draws = TASK.calibration_draws(label, p, day, np.array([[1] * DAYS, [2, 0, 1, 0, 3, 0]]))
    for name, value in found.items():
        assert draws[name][0] == pytest.approx(value, abs=1e-6) and draws[name][1] != draws[name][0]


def test_knowing_is_the_mean_over_the_classes_and_chance_is_a_half(drawn: Drawn) -> None:
    label, p, _ = drawn
    assert TASK.knows(label, p) == pytest.approx(roc_auc_score(label, p, multi_class="ovr"))
    dealt = np.random.default_rng(1).permutation(label)
    assert TASK.knows(dealt, p) == pytest.approx(0.5, abs=0.05)
    two = label < 2
    assert 0.5 < TASK.knows(label[two], p[two]) < 1


def test_a_feature_that_tells_one_class_of_three_is_found(drawn: Drawn) -> None:
    label, _, day = drawn
    draw = np.random.default_rng(5)

    def told(values: pd.Series) -> float:
        return alone(values, label, day, TASK)

    noise = pd.Series(draw.normal(size=len(label)))
    assert told(noise) < 0.6
    assert told(noise.mask(label == 1, 9.0)) == 1.0
    # As names, whose mean class would tell nothing: half of "x" is class 0 and half class 2.
    names = pd.Series(np.where(label == 1, "y", "x"))
    assert told(names) == 1.0
    assert told(pd.Series(draw.choice(["x", "y"], len(label)))) < 0.6


def test_the_curve_has_the_area_of_the_metric(drawn: Drawn) -> None:
    label, p, _ = drawn
    curves = TASK.plots(label, p)
    x, y = curves["roc"].values()
    assert auc(x, y) == pytest.approx(TASK.knows(label, p), abs=0.005)
    alarms, found, _ = roc_curve(label == 2, p[:, 2])
    assert (np.diff(y) >= 0).all() and np.interp(0.5, alarms, found) == pytest.approx(y[50], abs=0.2)
    told = pd.DataFrame(curves["calibration"])
    assert told["class"].unique().tolist() == list(TASK.classes) and told["observed"].between(0, 1).all()


def test_a_label_that_columns_py_does_not_know_is_one_sentence() -> None:
    column = pd.Series(["late", "on time"], dtype=pd.StringDtype(na_value=np.nan))
    assert TASK.labels(column).tolist() == [1, 0]
    with pytest.raises(
        UserError, match=r"^columns\.py: lateness: 'lost' is in the data and not among its val"
    ):
        TASK.labels(pd.Series(["late", "lost"]))


def test_a_class_that_training_lacks_is_one_sentence(drawn: Drawn) -> None:
    asked = params.load("tests/problems/delay/params.yaml")
    time = pd.date_range("2013-01-01", "2013-06-30 23:00", freq="h")
    names = np.resize(["on time", "late", "very late"], len(time))
    rows = pd.DataFrame({"leaves_at": time, "lateness": names})
    table.both_answers(asked, rows, CONTRACT)
    lacking = rows[(rows["lateness"] != "late") | (rows["leaves_at"] >= "2013-06")]
    with pytest.raises(
        UserError, match=r"^lateness is never late in 2013-01 to 2013-05, and a model knows only"
    ):
        table.both_answers(asked, lacking, CONTRACT)
    table.both_answers(asked, rows[(rows["lateness"] != "late") | (rows["leaves_at"] < "2013-06")], CONTRACT)


def _evidence(label: np.ndarray, p: np.ndarray, champion: np.ndarray, day: np.ndarray) -> Any:
    return SimpleNamespace(
        contract=CONTRACT,
        task=TASK,
        params=params.load("tests/problems/delay/params.yaml"),
        equal=False,
        window=SimpleNamespace(
            label=label, days=[str(d) for d in range(day.max() + 1)], units=SimpleNamespace(of=day)
        ),
        level=0.90,
        weights=stats.day_weights(int(day.max()) + 1, 200, seed=1),
        candidate=SimpleNamespace(p=p),
        champion=SimpleNamespace(p=champion),
    )


def test_a_class_that_the_test_window_lacks_is_said_and_decides_nothing(drawn: Drawn) -> None:
    label, p, day = drawn
    assert classes(_evidence(label, p, p, day)) is None
    two = label < 2
    found = classes(_evidence(label[two], p[two], p[two], day[two]))
    assert found is not None and found.verdict == "INCONCLUSIVE"
    assert found.sentence.startswith("lateness is never very late in the test window")


def test_one_class_that_is_not_calibrated_is_enough(drawn: Drawn) -> None:
    label, p, day = drawn
    draw = np.random.default_rng(2)
    near = p * draw.uniform(0.98, 1.02, p.shape)
    found = calibration(_evidence(label, near / near.sum(axis=1, keepdims=True), p, day))
    assert found is not None and found.verdict == "PASS" and "of 6 figures" in found.sentence
    off = p * [1, 1, 0.4]
    found = calibration(_evidence(label, off / off.sum(axis=1, keepdims=True), p, day))
    assert found is not None and found.verdict == "FAIL"
    assert "very late" in found.sentence and "farther from 0 than the champion's" in found.sentence


@pytest.mark.parametrize(
    ("values", "decision", "why"),
    [
        ((), CONTRACT.decision, "needs values: its classes, two or more, each once"),
        (("late",), CONTRACT.decision, "needs values: its classes, two or more, each once"),
        (("a", "b", "a"), Choice("it", {"a": "x", "b": "y"}), "needs values: its classes"),
        (
            ("a", "b"),
            Choice("it", {"a": "x"}),
            "decision.acts must say what is done for each of a, b, and no",
        ),
        (("a", "b"), Choice("it", {"a": "x", "b": "y", "c": "z"}), "decision.acts must say"),
    ],
)
def test_classes_and_what_is_done_with_each_fit(values: tuple[str, ...], decision: Choice, why: str) -> None:
    label = Column("y", "category", "a class", label=True, values=values)
    others = tuple(column for column in CONTRACT.columns if not column.label)
    with pytest.raises(ValueError, match=f"^columns.py: .*{why}"):
        Contract("late", "a flight", 2.0, decision, (*others, label))


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        ({"late": None}, "decision.costs.late does not say what saying 'on time' costs: write it there"),
        (
            {"late": {"on time": 1.0}},
            "decision.costs.late does not say what saying 'very late' costs: write it there",
        ),
        (
            {"lost": {"late": 1.0}},
            "decision.costs: 'lost' is no class (on time, late, very late): delete it",
        ),
        (
            {"late": {"late": 0.0, "on time": 1.0, "very late": 1.0}},
            "decision.costs.late: 'late' costs nothing",
        ),
        (
            {"late": {"lost": 1.0, "on time": 1.0, "very late": 1.0}},
            "decision.costs.late: 'lost' is no class",
        ),
    ],
)
def test_a_cost_matrix_names_every_class_once(costs: dict[str, Any], sentence: str) -> None:
    asked = params.load("tests/problems/delay/params.yaml")
    assert TASK.suited(asked) is asked
    said = {name: row for name, row in {**COSTS.costs, **costs}.items() if row is not None}
    changed = asked.model_copy(update={"decision": params.Decision(costs=said)})
    with pytest.raises(UserError) as error:
        TASK.suited(changed)
    assert str(error.value).startswith(f"params.yaml: {sentence}")


def test_params_of_another_kind_of_answer_are_one_sentence() -> None:
    from tests.problems.parcels import PARAMS

    with pytest.raises(
        UserError, match=r"^params\.yaml: decision\.false_alarm is of other answers: .* costs$"
    ):
        TASK.suited(PARAMS)

"""The gate on few rows and on rare answers: what it must not refuse, what it must find, and what it says."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import small
from pipelines.base.errors import UserError
from pipelines.core import tables
from pipelines.core.contract import Finding
from pipelines.core.params import Params, parse
from pipelines.core.tasks.binary import LOG_LOSS, ROC_AUC
from pipelines.judge import gate, power, rules
from pipelines.judge.evidence import Evidence
from pipelines.judge.rules import leaks, metrics, size, slices
from tests.model.test_gate_rules import LABEL, TRUTH, blurred, evidence
from tests.problems.parcels import PARAMS, PROBLEM
from tests.problems.yours import REPOSITORY, run

GATE = (*rules.statistics(PROBLEM.task), leaks.single_feature, leaks.shuffled)


def params(**of_gate: dict[str, Any]) -> Params:
    """The tests' params with some values of some sections of params.yaml: gate."""
    values = PARAMS.model_dump()
    values["gate"] |= {name: values["gate"][name] | section for name, section in of_gate.items()}
    return parse(values)


def asking(e: Evidence, **of_gate: dict[str, Any]) -> Evidence:
    return dataclasses.replace(e, params=params(**of_gate))


def drawn(rows: int, ratio: int, seed: int = 0) -> Evidence:
    return small.drawn(rows, ratio, np.random.default_rng([rows, ratio, seed]))


def with_features(e: Evidence, **features: np.ndarray) -> Evidence:
    assert e.candidate is not None
    return dataclasses.replace(e, candidate=dataclasses.replace(e.candidate, features=pd.DataFrame(features)))


def single_feature(e: Evidence) -> Finding:
    found = leaks.single_feature(e)
    assert found is not None
    return found


def telling(e: Evidence, much: float, seed: int = 1) -> np.ndarray:
    """A feature that is higher by so much where the label is true."""
    assert e.window is not None
    return much * e.window.label + np.random.default_rng(seed).normal(size=len(e.window.label))


# --- leaks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "ratio"), [(60, 1), (180, 10)])
def test_equal_models_seldom_fail_and_a_leak_is_found(rows: int, ratio: int) -> None:
    """`make bench ONLY=small` has the whole table."""
    cases = small.of_kind((rows, ratio), 40)
    assert sum(bool(case.fails) for case in cases) <= 8 < sum(bool(case.rival_fails) for case in cases)
    assert sum(case.leak in ("FAIL", "INCONCLUSIVE") for case in cases) >= 36


def test_what_one_of_many_silent_features_tells_by_chance_blocks_nobody() -> None:
    said = []
    for seed in range(60):
        e = drawn(30, 4, seed)
        assert e.candidate is not None and e.window is not None
        e = with_features(
            e, **{name: e.candidate.features[name] for name in e.candidate.features if "silent" in name}
        )
        found, limit = single_feature(e), e.params.gate.leak.feature
        beyond = found.numbers["roc_auc"] > limit  # type: ignore[operator]
        said.append((beyond, found.verdict, found.warning))
    assert sum(beyond for beyond, *_ in said) > 12  # the rule of old refuses a fifth of them and more
    assert sum(verdict == "FAIL" for _, verdict, _ in said) == 0
    assert sum(verdict == "INCONCLUSIVE" for _, verdict, _ in said) <= 6
    assert (True, "PASS", True) in said and not any(
        beyond and not warning for beyond, verdict, warning in said if verdict == "PASS"
    )


def test_a_feature_that_tells_more_than_chance_and_perhaps_more_than_allowed_is_for_a_person() -> None:
    e = drawn(60, 1)
    e = with_features(e, told=telling(e, 1.2))
    found = single_feature(e)
    assert 0.8 < found.numbers["roc_auc"] < 0.9 and found.numbers["low"] < 0.8  # type: ignore[operator]
    assert found.verdict == "INCONCLUSIVE" and "made from the outcome" in found.sentence


def test_where_nothing_could_be_found_the_rule_says_so() -> None:
    e = drawn(60, 200)
    assert e.window is not None and e.window.label.sum() == 1
    found = single_feature(
        with_features(e, told=telling(e, 0.0), **{f"n{n}": telling(e, 0, n) for n in range(9)})
    )
    assert found.verdict == "PASS" and found.warning and "60 rows (1 of them" in found.sentence


@pytest.mark.parametrize("ratio", [20, 50, 200])
def test_no_window_with_too_few_positives_to_find_a_leak_passes_as_a_whole(ratio: int) -> None:
    for seed in range(10):
        e = drawn(60, ratio, seed)
        assert e.window is not None
        said = rules.ask(with_features(e, leak=telling(e, float(small.LEAK))), GATE)
        leak = next(finding for finding in said if finding.rule == "single_feature")
        assert leak.verdict != "PASS" or gate.fold(said) != "PASS"


def test_a_leak_that_is_the_same_on_all_rows_of_a_day_counts_by_days() -> None:
    """Two days of ten positive rows are two facts, and not twenty."""
    day, rows = np.repeat(np.arange(30), 10), 300
    e = drawn(rows, 10)
    assert e.window is not None
    for days, verdict in ((2, "INCONCLUSIVE"), (10, "FAIL")):
        label = day < days
        noise = np.random.default_rng(3).normal(size=(8, 30))[:, day]
        told = np.where(label, 2.0, 0.0) + np.random.default_rng(4).normal(0, 0.1, 30)[day]
        window = dataclasses.replace(e.window, day=day, label=label)
        silent = {f"silent {n}": values for n, values in enumerate(noise)}
        found = single_feature(with_features(dataclasses.replace(e, window=window), told=told, **silent))
        assert found.verdict == verdict, found.sentence


def test_a_category_whose_meaning_turns_every_other_day_is_found() -> None:
    e = drawn(360, 1)
    assert e.window is not None
    turned = np.where(e.window.label ^ (e.window.day % 2 == 1), "a", "b")
    assert single_feature(with_features(e, town=turned)).verdict == "FAIL"


@pytest.mark.parametrize(
    ("rows", "knows", "verdict"), [(30, 0.62, "PASS"), (30, 0.9, "FAIL"), (360, 0.66, "FAIL")]
)
def test_a_model_of_shuffled_outcomes_fails_beyond_what_chance_adds(rows, knows, verdict) -> None:
    found = leaks.shuffled(dataclasses.replace(drawn(rows, 1), shuffled=knows))
    assert found is not None and found.verdict == verdict
    assert found.warning == (verdict == "PASS") and ("chance" in found.sentence) == found.warning


# --- few rows ---------------------------------------------------------------------------------------------


def test_a_fail_on_few_rows_is_shown_more_surely_or_is_for_a_person() -> None:
    def rule(e: Evidence) -> Finding:
        return Finding("mine", "FAIL" if e.level <= shown else "PASS", "Shown worse.")

    def judged(e: Evidence, surely: float) -> str:
        nonlocal shown
        shown = surely
        found = size.careful(rule)(e)
        assert found is not None and (found.verdict == "FAIL" or "do not show that surely" in found.sentence)
        return found.verdict

    shown = 0.0
    assert judged(drawn(360, 1), size.STRICT) == "FAIL" and judged(drawn(360, 1), 0.95) == "INCONCLUSIVE"
    assert judged(drawn(60, 50), 0.999) == "INCONCLUSIVE"  # fewer than ten positives show nothing
    assert judged(evidence(TRUTH, TRUTH), 0.9) == "FAIL"


def test_a_pass_that_could_not_have_been_otherwise_says_so() -> None:
    e = drawn(180, 1, 4)
    by_rule = {finding.rule: finding for finding in rules.ask(e, rules.statistics(e.task))}
    for name in ("cost", "slices", "calibration"):
        assert by_rule[name].verdict == "PASS" and by_rule[name].warning
        assert "could not have shown a loss of" in by_rule[name].sentence
    sure = {finding.rule: finding for finding in rules.ask(evidence(blurred(0.05), TRUTH), GATE)}
    assert not any(sure[name].warning for name in ("cost", "calibration", "floor_roc_auc", "log_loss"))


def test_a_margin_that_lets_the_mean_answer_pass_is_said() -> None:
    """One in 200: a log-loss margin of .005 is a fifth of the loss."""
    e = small.drawn(20_000, 200, np.random.default_rng(6))
    (found,) = rules.ask(e, [size.careful(metrics.not_worse(LOG_LOSS))])
    assert found.verdict == "PASS" and found.warning and "share" in found.sentence
    (found,) = rules.ask(asking(e, margin={"log_loss": "3 %"}), [size.careful(metrics.not_worse(LOG_LOSS))])
    assert found.verdict == "PASS" and not found.warning and "%" in found.sentence


def test_a_floor_that_few_days_do_not_show_to_be_kept_is_said() -> None:
    found = [rules.ask(drawn(60, 1, seed), [size.careful(metrics.floor(ROC_AUC))])[0] for seed in range(9)]
    said = [one for one in found if one.verdict == "PASS" and one.numbers["low"] < 0.65]  # type: ignore[operator]
    assert said and all(one.warning and "do not show" in one.sentence for one in said)


# --- margins as shares ------------------------------------------------------------------------------------


def test_a_margin_may_be_a_share_of_the_champions_loss() -> None:
    e = evidence(blurred(0.3), TRUTH)
    rule = metrics.not_worse(LOG_LOSS)
    lost = rule(e)
    share = lost.numbers["candidate"] / lost.numbers["champion"] - 1  # type: ignore[operator, union-attr]
    for margin, verdict in ((2 * share, "PASS"), (share, "FAIL")):
        found = rule(asking(e, margin={"log_loss": f"{100 * margin:.3f} %"}))
        assert found is not None and found.verdict == verdict and f"+{share:.1%}" in found.sentence
    # a few days that are worse in the same share are sooner decided than in nats
    assert found.numbers["high"] - found.numbers["low"] < share  # type: ignore[operator]


def test_the_limits_of_a_slice_may_be_shares() -> None:
    e = evidence(blurred(1.0), TRUTH)
    hours = pd.Timestamp("2013-06-01") + pd.to_timedelta(np.arange(len(LABEL)) % 24, "h")
    assert e.window is not None
    e = dataclasses.replace(
        e, window=dataclasses.replace(e.window, rows=pd.DataFrame({PROBLEM.contract.time.name: hours}))
    )
    assert slices.slices(asking(e, slice={"fail": "1 %"})).verdict == "FAIL"  # type: ignore[union-attr]
    assert slices.slices(asking(e, slice={"fail": "90 %"})).verdict == "PASS"  # type: ignore[union-attr]


@pytest.mark.parametrize("said", ["5", "5%%", "-5 %", "0 %", "five %", True, 0, -0.1, None, [5]])
def test_a_margin_that_is_neither_is_one_sentence(said: Any) -> None:
    with pytest.raises(UserError) as error:
        params(slice={"fail": said})
    assert "gate.slice.fail" in str(error.value) and "\n" not in str(error.value)


def test_a_share_of_what_is_better_when_more_is_refused() -> None:
    with pytest.raises(UserError, match=r"gate\.margin\.roc_auc is 5 %.*more is better"):
        PROBLEM.task.suited(params(margin={"roc_auc": "5 %"}))
    assert PROBLEM.task.suited(params(margin={"log_loss": "2.5%", "cost": "3 %"}))


# --- which margin the data decide -------------------------------------------------------------------------


def test_power_follows_the_square_root_of_the_days_and_the_margins_unit(
    small_params: Params,
    small_built: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {one.rule: one for one in power.power(small_params, PROBLEM, small_built)}
    assert found.keys() == {"roc_auc", "log_loss", "cost", "slices", "calibration"}
    for one in found.values():
        assert one.least(28) == pytest.approx(one.least(7) / 2)
        assert one.least(one.needs) == pytest.approx(one.margin)
    assert 0.0005 < found["log_loss"].least(30) < 0.02  # another model, and about as good
    assert found["cost"].share and 0.001 < found["cost"].least(30) < 0.1
    auc, loss = found["roc_auc"], found["log_loss"]
    assert not auc.loss and loss.loss == pytest.approx(0.5, abs=0.1)
    margin = small_params.gate.margin.model_copy(update={"log_loss": "2 %"})
    gate_ = small_params.gate.model_copy(update={"margin": margin})
    monkeypatch.chdir(small_built)
    power.run(small_params.model_copy(update={"gate": gate_}), PROBLEM)
    printed = capsys.readouterr().out
    assert (
        f"{100 * loss.least(28) / loss.loss:.2g} %" in printed
        and "2 %" in printed
        and "needs days" in printed
    )


def test_power_of_a_model_that_has_seen_the_days_is_one_sentence(
    small_params: Params, small_built: Path
) -> None:
    shorter = small_params.train.model_copy(update={"last": small_params.train.first})
    with pytest.raises(
        UserError, match=r"models/ was trained to 2013-02-28, and params\.yaml ends with 2013-01"
    ):
        power.power(small_params.model_copy(update={"train": shorter}), PROBLEM, small_built)


def test_power_of_days_without_both_answers_is_one_sentence(
    small_params: Params, small_built: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_built / "models", tmp_path / "models")
    shutil.copytree(small_built / "data", tmp_path / "data")
    label, last = PROBLEM.contract.label.name, tmp_path / "data" / f"{small_params.data.through}.parquet"
    tables.write(last, tables.read(last).assign(**{label: False}))
    with pytest.raises(UserError, match=f"{label} is always false in the months after 2013-02"):
        power.power(small_params, PROBLEM, tmp_path)


def test_power_without_a_model_or_a_proposal_without_its_folder_is_one_sentence(
    small_params: Params, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"model\.onnx does not exist"):
        power.power(small_params, PROBLEM, tmp_path)
    done = run(REPOSITORY, "ml", "gate", check=False)
    assert done.returncode == 2 and "--candidate is missing" in done.stderr

"""What each of the gate's rules must refuse, and what it must not."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.base.errors import UserError
from pipelines.core.contract import Finding
from pipelines.core.schema import refusals, request_schema
from pipelines.judge import answers, gate, rules
from pipelines.judge.champion import Production
from tests.model.proposals import (
    HONEST,
    LABEL,
    OWN_CODE,
    PARAMS,
    Made,
    changed,
    commit,
    git,
    judge,
    linear,
    proposed,
    refused,
    released,
    settings,
)
from tests.problems.parcels import PROBLEM, source
from tests.problems.parcels.columns import CONTRACT

SCHEMA = request_schema(CONTRACT)
FEATURE = next(column for column in CONTRACT.features if column.type != "category")


@pytest.fixture
def verdict_of(fitted, base, window, tmp_path):
    """The gate's word on a candidate that is fine but for what is given."""

    def judged(**what: Any) -> tuple[str, dict[str, dict[str, Any]]]:
        made = Made(**{"model": fitted(HONEST).model, "params": HONEST} | what)
        verdict, findings, _ = judge(made.write(tmp_path / "candidate", window), base)
        return verdict, findings

    return judged


def test_a_fine_candidate_is_asked_by_every_rule_and_passes(verdict_of) -> None:
    verdict, findings = verdict_of()
    assert verdict == "PASS"
    assert {"lock", "compatibility", "days", "inputs", "leakage", "single_feature", "shuffled"} < set(
        findings
    )
    assert {"reproducible", "roc_auc", "log_loss", "slices", "cost", "calibration"} < set(findings)
    assert {"floor_roc_auc", "floor_brier_skill", "size", "latency"} < set(findings)


# --- leaks ------------------------------------------------------------------------------------------------


def test_a_feature_that_tells_the_label_fails(fitted, base, window, table, tmp_path) -> None:
    label = table.set_index(CONTRACT.key.name)[CONTRACT.label.name].reindex(window[CONTRACT.key.name])
    told = np.where(label.fillna(False).to_numpy(dtype=bool), 1.0, 0.0)
    blurred = told + np.random.default_rng(1).normal(0, 0.7, len(told))
    made_so = next(column.name for column in CONTRACT.derived if column in CONTRACT.features)
    leaking = window.assign(**{made_so: blurred.astype(np.float32)})
    made = Made(linear(made_so, 1.0, -1.5), HONEST)
    verdict, findings, _ = judge(made.write(tmp_path / "candidate", leaking), base)
    assert verdict == "FAIL" and "single_feature" in refused(findings)
    assert made_so in findings["single_feature"]["sentence"]


@pytest.mark.parametrize(("auc", "said"), [(0.57, "FAIL"), (None, "INCONCLUSIVE"), (0.549, "PASS")])
def test_a_model_of_shuffled_outcomes_must_know_nothing(verdict_of, auc, said) -> None:
    verdict, findings = verdict_of(shuffled=auc)
    assert verdict == findings["shuffled"]["verdict"] == said


# --- the same lock and seed -------------------------------------------------------------------------------


def test_a_training_that_does_not_repeat_itself_fails(verdict_of, fitted) -> None:
    again = fitted(changed(train={"seed": 8, "settings": HONEST["train"]["settings"]}))
    verdict, findings = verdict_of(again=again.model)
    assert verdict == "FAIL" and refused(findings) == {"reproducible"}


def test_a_second_model_that_cannot_be_asked_fails(verdict_of) -> None:
    verdict, findings = verdict_of(again=linear("somebody else's column", 1, 0))
    assert verdict == "FAIL" and refused(findings) == {"reproducible"}


def test_a_build_without_a_second_model_is_inconclusive(fitted, base, window, tmp_path) -> None:
    candidate = Made(fitted(HONEST).model, HONEST).write(tmp_path / "candidate", window)
    (candidate / "models/verification/again.onnx").unlink()
    verdict, findings, _ = judge(candidate, base)
    assert verdict == "INCONCLUSIVE" and "ml reproduce" in findings["reproducible"]["sentence"]


# --- who calls and who runs it ----------------------------------------------------------------------------


def less(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(SCHEMA) | changes


def without_a_column() -> dict[str, Any]:
    schema = less()
    del schema["properties"][FEATURE.name]
    schema["required"] = [name for name in schema["required"] if name != FEATURE.name]
    return schema


def with_fewer_categories() -> dict[str, Any]:
    """A closed list that has lost what the champion took."""
    schema = less()
    name = next(column.name for column in CONTRACT.features if column.type == "category")
    schema["properties"][name]["enum"] = ["one", "two"]
    return schema


def with_a_new_demand() -> dict[str, Any]:
    schema = less()
    schema["properties"]["new"] = {"type": "string"}
    schema["required"] = [*schema["required"], "new"]
    return schema


def with_another_type() -> dict[str, Any]:
    schema = less()
    schema["properties"][FEATURE.name]["type"] = "string"
    return schema


NARROWER = [without_a_column, with_fewer_categories, with_a_new_demand, with_another_type]


@pytest.mark.parametrize("narrower", NARROWER)
def test_a_schema_that_refuses_what_the_champion_takes_fails_unless_the_api_is_raised(
    verdict_of, narrower
) -> None:
    verdict, findings = verdict_of(schema=narrower())
    assert verdict == "FAIL" and refused(findings) == {"compatibility"}
    assert "serving.api" in findings["compatibility"]["sentence"]
    verdict, findings = verdict_of(schema=narrower(), params=HONEST | {"serving": {"api": 2, "batch": 1000}})
    assert verdict == "PASS" and findings["compatibility"]["warning"]


def test_a_schema_that_takes_more_is_compatible(verdict_of) -> None:
    schema = less()
    schema["properties"]["new"] = {"type": ["string", "null"]}
    schema["required"] = schema["required"][1:]
    assert not refusals(SCHEMA, schema)
    assert verdict_of(schema=schema)[0] == "PASS"


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": 7, "required": []},
        {"properties": {}, "required": 7},
        SCHEMA | {"minProperties": 99},
        SCHEMA | {"type": "nonsense"},
        SCHEMA | {"properties": SCHEMA["properties"] | {FEATURE.name: {"type": "number", "minimum": 1e9}}},
        SCHEMA | {"properties": SCHEMA["properties"] | {FEATURE.name: False}},
    ],
)
def test_a_schema_that_is_none_or_says_more_than_ours_is_a_verdict(verdict_of, schema) -> None:
    verdict, findings = verdict_of(schema=schema)
    assert verdict == "FAIL" and refused(findings) == {"compatibility"}


def test_models_without_a_schema_are_inconclusive(verdict_of) -> None:
    assert verdict_of(schema={})[1]["compatibility"]["verdict"] == "INCONCLUSIVE"


def test_a_model_three_times_as_large_fails(verdict_of, fitted) -> None:
    large = settings(max_iter=180, max_leaf_nodes=15, learning_rate=0.04)
    verdict, findings = verdict_of(model=fitted(large).model, params=large)
    assert verdict == "FAIL" and "size" in refused(findings)
    assert 2.5 < findings["size"]["numbers"]["ratio"] < 4


@pytest.mark.parametrize(
    ("seen", "verdict"), [((1.6, 1.7, 1.4), "FAIL"), ((1.6, 1.4, 1.3), "PASS"), ((1.4,), "PASS")]
)
def test_a_slow_model_fails_on_latency_by_the_median_of_what_was_measured(
    seen, verdict, verdict_of, monkeypatch
) -> None:
    """What is within the limit at once is not measured again."""
    ratios = iter(seen)
    monkeypatch.setattr(answers, "_in_turn", lambda *timed: (next(ratios) * 1e-3, 1e-3))
    found, findings = verdict_of()
    assert found == verdict and ("latency" in refused(findings)) == (verdict == "FAIL")
    assert next(ratios, None) is None


# --- no creep ---------------------------------------------------------------------------------------------


def test_ten_small_losses_in_a_row_do_not_add_up(fitted, table, window, tmp_path) -> None:
    """Each proposal loses a little of what the release before it had; the anchor remembers the first."""
    steps = [settings(learning_rate=rate) for rate in (0.1, *np.linspace(0.05, 0.028, 10).tolist())]
    models = [fitted(values) for values in steps]
    base = commit(models[0].write(tmp_path / "base"))
    head = git(base, "rev-parse", "HEAD")
    productions = [
        Production(f"{number:064x}", head, released(made, tmp_path / f"release{number}"))
        for number, made in enumerate(models)
    ]
    against_champion, against_anchor = [], []
    for number in range(3, len(models)):
        candidate = models[number].write(tmp_path / f"candidate{number}", window)
        code = gate.run(
            candidate,
            base,
            PROBLEM,
            tmp_path / "evidence",
            production=productions[number - 1],
            anchor=productions[0],
            head=proposed(base, candidate, *OWN_CODE),
        )
        written = json.loads((tmp_path / "evidence/gate.json").read_text())
        by_rule = {finding["rule"]: finding for finding in written["findings"]}
        against_champion.append(by_rule["log_loss"]["verdict"])
        against_anchor.append(by_rule["anchor_log_loss"]["verdict"])
        assert written["anchor"]["sha256"] != written["champion"]["sha256"]
    assert set(against_champion) == {"PASS"}
    assert against_anchor[-1] == "FAIL" and code == 4
    assert "anchor" in by_rule["anchor_log_loss"]["sentence"]


def test_where_the_champion_is_the_anchor_it_is_asked_once(fitted, base, window, tmp_path) -> None:
    production = Production(
        "f" * 64, git(base, "rev-parse", "HEAD"), released(fitted(), tmp_path / "release")
    )
    candidate = fitted(HONEST).write(tmp_path / "candidate", window)
    head = proposed(base, candidate, *OWN_CODE)
    gate.run(
        candidate, base, PROBLEM, tmp_path / "evidence", production=production, anchor=production, head=head
    )
    written = json.loads((tmp_path / "evidence/gate.json").read_text())
    assert written["anchor"] is None
    assert not [finding for finding in written["findings"] if finding["rule"].startswith("anchor")]


def test_an_anchor_that_cannot_be_had_is_inconclusive(fitted, base, window, tmp_path) -> None:
    production = Production(
        "f" * 64, git(base, "rev-parse", "HEAD"), released(fitted(), tmp_path / "release")
    )
    candidate = fitted(HONEST).write(tmp_path / "candidate", window)
    lost = Production("e" * 64, "0" * 40, None)
    head = proposed(base, candidate, *OWN_CODE)
    evidence = tmp_path / "evidence"
    assert gate.run(candidate, base, PROBLEM, evidence, production=production, anchor=lost, head=head) == 3
    written = json.loads((tmp_path / "evidence/gate.json").read_text())
    assert {f["rule"]: f["verdict"] for f in written["findings"]}["anchor"] == "INCONCLUSIVE"


def test_only_a_model_that_is_shown_better_and_not_refused_is_the_next_anchor() -> None:
    better = Finding("log_loss", "PASS", "", {"low": -0.02, "high": -0.001})
    assert gate.superior([better], PROBLEM.task)
    assert gate.superior([Finding("roc_auc", "PASS", "", {"low": 0.001, "high": 0.01})], PROBLEM.task)
    assert not gate.superior([better, Finding("size", "FAIL", "")], PROBLEM.task)
    assert not gate.superior([Finding("log_loss", "PASS", "", {"low": -0.02, "high": 0.001})], PROBLEM.task)
    worse = Finding("roc_auc", "PASS", "", {"low": -0.02, "high": -0.001})
    assert not gate.superior([worse], PROBLEM.task) and not gate.superior([better, worse], PROBLEM.task)


def test_a_tiny_gain_after_a_loss_within_the_margin_does_not_move_the_anchor() -> None:
    gain = Finding("roc_auc", "PASS", "", {"low": 1e-6, "high": 2e-6})
    still_lost = Finding("anchor_roc_auc", "PASS", "", {"low": -0.005, "high": 0.001})
    assert not gate.superior([gain, still_lost], PROBLEM.task)
    won_back = Finding("anchor_roc_auc", "PASS", "", {"low": 1e-6, "high": 0.001})
    assert gate.superior([gain, won_back], PROBLEM.task)
    lost = Finding("anchor", "INCONCLUSIVE", "")
    assert gate.superior([gain], PROBLEM.task) and not gate.superior([gain, lost], PROBLEM.task)


# --- a rule of one's own ----------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs/gate.md").read_text()
(OWN,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)  # what the page tells a team to write
STRICT = OWN.replace("> 0.99", "> 0.5")


@pytest.fixture
def own_rules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys
    from importlib.util import module_from_spec, spec_from_file_location

    name = f"{PROBLEM.package}.rules"
    (tmp_path / "rules.py").write_text(STRICT)
    spec = spec_from_file_location(name, tmp_path / "rules.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, name, module)


def test_a_rule_of_ones_own_is_a_function_and_a_line(own_rules, fitted, window, tmp_path) -> None:
    values = changed(gate={"rules": ["never_sure"]})
    base = commit(Made(fitted().model, values).write(tmp_path / "base"))
    verdict, findings, _ = judge(fitted(HONEST).write(tmp_path / "candidate", window), base)
    assert verdict == "FAIL" and refused(findings) == {"never_sure"}


def test_a_rule_that_does_not_exist_is_one_sentence(own_rules) -> None:
    with pytest.raises(UserError, match=r"gate\.rules names 'always_sure'.*rules\.py"):
        rules.named(["always_sure"], PROBLEM)


def test_an_older_params_file_has_the_defaults_of_what_came_later(fitted, window, tmp_path) -> None:
    old = {"days": 28, "resamples": 1000, "margin": {"roc_auc": 0.01, "log_loss": 0.005}}
    values = PARAMS | {"gate": old | {"floor": {"roc_auc": 0.65, "brier_skill": 0.0}}}
    base = commit(Made(fitted().model, values).write(tmp_path / "base"))
    assert judge(fitted(HONEST).write(tmp_path / "candidate", window), base)[0] == "PASS"


def test_a_test_window_of_one_class_is_a_sentence(fitted, base, window, table, tmp_path, monkeypatch) -> None:
    real = source.read

    def dry(month: str) -> pd.DataFrame:
        found = real(month)
        return (
            found.assign(**{LABEL: found[LABEL].mask(found[LABEL].notna(), False)})
            if month > "2013-05"
            else found
        )

    monkeypatch.setattr(source, "read", dry)
    candidate = Made(fitted(HONEST).model, HONEST).write(tmp_path / "candidate", window)
    verdict, findings, _ = judge(candidate, base)
    assert verdict == "INCONCLUSIVE" and "is false in all" in findings["classes"]["sentence"]

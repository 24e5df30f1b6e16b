"""What a build can leave that is not what the proposal makes: each forging is refused by what the judge sees
for itself, and the honest proposal beside it passes."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper

from pipelines import params as parameters
from pipelines.artifacts import verdict as verdicts
from pipelines.contract import Finding
from pipelines.files import sha256
from pipelines.judge import retrain
from pipelines.problem.columns import CONTRACT
from pipelines.review import gate, rules
from pipelines.review.evidence import Evidence
from pipelines.review.proposal import Bad, differing
from pipelines.training import table as tables
from tests.model import proposals
from tests.model.proposals import (
    LABEL,
    PARAMS,
    Made,
    changed,
    commit,
    git,
    judge,
    linear,
    onnx_model,
    proposed,
    refused,
    settings,
    whole,
)

HONEST = settings(learning_rate=0.098)


@pytest.fixture(scope="session")
def rows(table) -> int:
    return len(tables.training(parameters.parse(PARAMS), table))


@pytest.fixture(scope="session")
def honest(fitted, rows, table) -> Made:
    """What the pipeline makes of a proposal that changes params.yaml alone."""
    return whole(Made(fitted(HONEST).model, HONEST, rows=rows), table)


@pytest.fixture
def judged(base, window, tmp_path):
    """The gate's word on a proposal of params.yaml alone that left this."""

    def of(made: Made, left: pd.DataFrame = window, **what: Any) -> tuple[str, dict[str, dict[str, Any]]]:
        candidate = made.write(tmp_path / "candidate", left)
        verdict, findings, _ = judge(candidate, base, **{"code": ()} | what)
        return verdict, findings

    return of


def with_the_label_in(column: str, window: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The label hidden in a fraction: the number reads the same but for what a threshold sees."""
    key = CONTRACT.key.name
    label = table.set_index(key)[LABEL].reindex(window[key]).fillna(False).to_numpy(dtype=bool)
    return window.assign(**{column: (window[column] + np.where(label, 0.25, 0.0)).astype(np.float32)})


def reads_the_fraction(column: str) -> bytes:
    """p = .9 where the column has a fraction, .1 where it has none."""
    constants = [
        helper.make_node("Constant", [], [n], value=helper.make_tensor(n, TensorProto.FLOAT, [1], [v]))
        for n, v in (("scale", 3.2), ("low", 0.1), ("one", 1.0))
    ]
    steps = [
        helper.make_node("Floor", ["x"], ["whole"]),
        helper.make_node("Sub", ["x", "whole"], ["fraction"]),
        helper.make_node("Mul", ["fraction", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "low"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    return onnx_model([column], constants + steps)


def test_an_honest_proposal_of_params_alone_passes_and_the_judge_has_made_it_too(honest, judged) -> None:
    verdict, findings = judged(honest)
    assert verdict == "PASS"
    assert "Trained again by the judge" in findings["reproducible"]["sentence"]
    assert findings["reproducible"]["numbers"]["max_dp"] == 0
    assert not findings["code"]["warning"]


def test_the_builds_own_word_on_its_training_does_not_count(honest, judged) -> None:
    lying = replace(honest, again=linear("distance", 1, 0), shuffled=0.99)
    verdict, findings = judged(lying)
    assert verdict == "PASS" and findings["shuffled"]["numbers"]["roc_auc"] < 0.55


@pytest.mark.parametrize("code", [(), ("pipelines/problem/features.py",)])
def test_the_label_in_the_fraction_of_a_raw_column_fails_whoever_makes_the_features(
    code, honest, judged, window, table
) -> None:
    leaking = with_the_label_in("distance", window, table)
    verdict, findings = judged(Made(reads_the_fraction("distance"), HONEST), leaking, code=code)
    assert verdict == "FAIL" and "rows" in refused(findings)
    assert "distance of" in findings["rows"]["sentence"] and "in the source" in findings["rows"]["sentence"]


def test_a_fraction_below_what_the_model_takes_is_seen_too(honest, judged, window) -> None:
    hidden = window.assign(distance=window["distance"].astype(np.float64) + 1e-9)
    assert refused(judged(honest, hidden)[1]) == {"rows"}


def test_a_constant_model_gets_the_sources_rows_and_not_its_own(honest, judged, window, table) -> None:
    """It answers .095 wherever a flight is a real one, and what its own rows tell it elsewhere."""
    forged = with_the_label_in("departure_minute", window, table)
    verdict, findings = judged(Made(reads_the_fraction("departure_minute"), HONEST), forged)
    assert verdict == "FAIL" and {"reproducible", "log_loss", "floor_roc_auc"} <= refused(findings)


def test_a_model_that_was_trained_on_v_fails_whatever_its_card_says(fitted, judged, rows) -> None:
    seen = changed(train={"last": "2013-06", "settings": HONEST["train"]["settings"]})
    seen["data"] = {"first": "2013-04", "through": "2013-07"}
    verdict, findings = judged(Made(fitted(seen).model, HONEST, rows=rows))
    assert verdict == "FAIL" and "reproducible" in refused(findings)
    assert findings["log_loss"]["verdict"] == "PASS"  # it would be shown better
    assert "not what params.yaml and this code give" in findings["reproducible"]["sentence"]


def test_a_model_of_other_settings_than_params_yaml_names_fails(fitted, judged, rows, table) -> None:
    other = whole(Made(fitted(settings(max_iter=80)).model, HONEST, rows=rows), table)
    verdict, findings = judged(other)
    assert verdict == "FAIL" and refused(findings) == {"reproducible"}


def test_other_settings_beside_the_champions_own_lock_are_no_unchanged_model(
    fitted, base, window, tmp_path
) -> None:
    """The build may leave the champion's files, or none: a release trains from what is merged."""
    champion = Made(fitted().model, settings(max_iter=1))
    candidate = champion.write(tmp_path / "candidate", window)
    assert judge(candidate, base, code=())[0] == "FAIL"
    shutil.rmtree(candidate / "models")
    assert judge(candidate, base, code=())[0] == "FAIL"


def test_other_data_beside_the_champions_own_lock_are_judged(fitted, base, window, tmp_path) -> None:
    """A release trains on what data.dvc names, so the verdict names the model that it is compared with."""
    champion = fitted()
    candidate = champion.write(tmp_path / "candidate", window)
    model = candidate / "models/model.onnx"
    assert judge(candidate, base, code=())[2]["candidate"] is None
    assert judge(candidate, base, code=("data.dvc",))[2]["candidate"]["sha256"] == sha256(model)
    shutil.rmtree(candidate / "models")
    assert judge(candidate, base, code=("data.dvc",))[0] == "FAIL"


@pytest.mark.parametrize(("what", "field"), [({"rows": 7}, "rows"), ({"first": "2013-04-02"}, "first")])
def test_a_card_that_lies_of_an_honest_training_fails(fitted, judged, rows, what, field) -> None:
    verdict, findings = judged(Made(fitted(HONEST).model, HONEST, **{"rows": rows} | what))
    assert verdict == "FAIL" and f"has a {field} that" in findings["reproducible"]["sentence"]


def test_the_same_answers_by_another_graph_wait_for_a_maintainer(honest, judged) -> None:
    """It may answer otherwise where nobody has asked it yet."""
    model = onnx.load_from_string(honest.model)
    for node in model.graph.node:
        node.output[:] = ["p" if name == "probabilities" else name for name in node.output]
    model.graph.node.append(helper.make_node("Identity", ["p"], ["probabilities"]))
    verdict, findings = judged(replace(honest, model=model.SerializeToString()))
    assert verdict == "INCONCLUSIVE" and findings["reproducible"]["verdict"] == "INCONCLUSIVE"


def test_training_by_the_proposals_own_code_is_its_word_and_is_said(fitted, judged) -> None:
    verdict, findings = judged(Made(fitted(HONEST).model, HONEST), code=("pipelines/problem/estimators.py",))
    assert verdict == "PASS" and findings["code"]["warning"]
    assert "estimators.py: its training is its own word" in findings["code"]["sentence"]


# --- what stands beside the model -------------------------------------------------------------------------


def by_hand(made: Made, name: str, change: Callable[[Any], object]) -> Made:
    """One file beside the model edited by hand, and dvc.lock with it."""
    files = copy.deepcopy(made.beside)
    change(files[name])
    return replace(made, beside=files)


EDITS = {
    "a golden answer": ("golden.json", lambda v: v["p"].__setitem__(3, v["p"][3] + 0.01)),
    "a golden request": ("golden.json", lambda v: v["rows"][3].update(distance=1.0)),
    "fewer golden rows": ("golden.json", lambda v: (v["rows"].pop(), v["p"].pop())),
    "drift that is never seen": ("reference.json", lambda v: v["features"][0].update(threshold=99.0)),
    "another training's rate": ("reference.json", lambda v: v.update(label_rate=0.5)),
    "a skill that excuses any": ("reference.json", lambda v: v["brier_skill"][0].update(brier_skill=-5.0)),
    "bins as text": ("reference.json", lambda v: v["features"][0].update(edges="none")),
    "another threshold": ("serving.json", lambda v: v.update(threshold=0.99)),
    "another interface": ("serving.json", lambda v: v.update(api=99)),
    "better figures": ("metrics.json", lambda v: v.update(roc_auc=0.99)),
    "a better month": ("months.csv", lambda v: v[2].__setitem__(4, "0.99")),
    "other settings": ("model.json", lambda v: v["settings"].update(max_iter=1)),
    "one field more": ("model.json", lambda v: v.update(more=1)),
}


@pytest.mark.parametrize("edit", ["a golden answer", "drift that is never seen"])
def test_a_file_beside_the_model_that_was_edited_by_hand_fails(edit, honest, judged) -> None:
    """The model is the honest one, and so would pass."""
    name, change = EDITS[edit]
    verdict, findings = judged(by_hand(honest, f"models/{name}", change))
    assert verdict == "FAIL" and refused(findings) == {"beside"}
    assert f"models/{name} is not what params.yaml and this code give (" in findings["beside"]["sentence"]


def test_what_a_proposal_s_own_code_makes_beside_the_model_is_its_word_and_is_said(honest, judged) -> None:
    """A proposal that measures more would else fail for ever."""
    name, change = EDITS["one field more"]
    made = by_hand(honest, f"models/{name}", change)
    verdict, findings = judged(made, code=("pipelines/training/evaluate.py",))
    assert verdict == "PASS" and findings["beside"]["warning"]
    assert "Trained again by the judge" in findings["reproducible"]["sentence"]
    assert "evaluate.py: what stands beside the model is its own word" in findings["beside"]["sentence"]


@pytest.mark.parametrize("edit", EDITS)
def test_each_edit_of_a_file_beside_the_model_is_named(edit, honest, tmp_path) -> None:
    name, change = EDITS[edit]
    assert differing(honest.write(tmp_path / "honest"), honest.beside) is None
    edited = by_hand(honest, f"models/{name}", change).write(tmp_path / "edited")
    assert str(differing(edited, honest.beside)).startswith(f"models/{name} is not what params.yaml and this")


def test_what_another_processor_rounds_is_no_edit(honest, tmp_path) -> None:
    def round_otherwise(value: Any, by: float) -> None:
        value["p"][:] = [p + by for p in value["p"]]

    for by, same in ((3e-7, True), (3e-6, False)):
        made = by_hand(honest, "models/golden.json", lambda value, by=by: round_otherwise(value, by))
        assert (differing(made.write(tmp_path / f"{by}"), honest.beside) is None) == same


@pytest.mark.parametrize("content", ["", "[1]", "{" * 9999, "[" * 99999, '{"p": 1e999, "rows": []}', "\0"])
@pytest.mark.parametrize("name", ["golden.json", "model.json", "months.csv"])
def test_a_file_beside_the_model_that_is_none_is_named(name, content, honest, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate")
    (candidate / "models" / name).write_text(content)
    try:
        said = differing(candidate, honest.beside)
    except Bad as error:
        said = str(error)
    assert said is not None and said.startswith(f"models/{name} ")


def test_a_file_beside_the_model_that_is_not_left_fails(honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    (candidate / "models/reference.json").unlink()
    assert "models/reference.json is not there" in judge(candidate, base, code=())[1]["beside"]["sentence"]


@pytest.mark.parametrize("name", ["golden.json", "window.parquet"])
def test_a_lock_that_names_another_file_beside_the_model_than_was_judged_fails(
    name, honest, base, window, tmp_path
) -> None:
    """A release may find the other one in the DVC remote."""
    candidate = honest.write(tmp_path / "candidate", window)
    relock(candidate, f"models/{name}", md5="0" * 32)
    verdict, findings, _ = judge(candidate, base, code=())
    assert verdict == "FAIL" and f"dvc.lock names another models/{name}" in findings["lock"]["sentence"]


def test_the_champions_own_model_does_not_cover_another_file_beside_it(
    fitted, table, window, rows, tmp_path
) -> None:
    champion = whole(Made(fitted().model, PARAMS, rows=rows), table)
    base = commit(champion.write(tmp_path / "base"))
    same = champion.write(tmp_path / "same/candidate", window)
    assert judge(same, base, code=())[1].keys() == {"unchanged"}
    other = by_hand(champion, "models/serving.json", lambda value: value.update(threshold=0.99))
    candidate = other.write(tmp_path / "other/candidate", window)
    verdict, findings, _ = judge(candidate, base, code=())
    assert verdict == "FAIL" and "beside" in refused(findings)


def relock(candidate: Path, name: str, md5: str) -> None:
    """Let dvc.lock name this object for a file beside the model."""
    lock = yaml.safe_load((candidate / "dvc.lock").read_text())
    outs = lock["stages"]["train"]["outs"]
    outs[:] = [out for out in outs if out["path"] != name]
    outs.append({"path": name, "md5": md5})
    (candidate / "dvc.lock").write_text(yaml.safe_dump(lock))


# --- the commit, and not what a build says of it ------------------------------------------------------------


def link(base: Path, name: str, target: str) -> str:
    """A commit upon the base's in which a file is a link."""
    before = git(base, "rev-parse", "HEAD")
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(target)
    git(base, "add", "--all")
    git(base, "commit", "--quiet", "-m", "a link")
    head = git(base, "rev-parse", "HEAD")
    git(base, "reset", "--quiet", "--hard", before)
    return head


def word(candidate: Path, base: Path, head: str) -> verdicts.Verdict:
    gate.run(candidate, base, candidate.parent / "evidence", head=head)
    return verdicts.read(candidate.parent / "evidence")


def test_params_yaml_as_a_link_fails_in_the_commit_and_in_the_build(honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    found = word(candidate, base, link(base, "params.yaml", "models/params.yaml"))
    assert found.verdict == "FAIL" and "params.yaml is a link" in found.reason
    head = proposed(base, candidate)
    (candidate / "params.yaml").rename(candidate / "other.yaml")
    (candidate / "params.yaml").symlink_to("other.yaml")
    found = word(candidate, base, head)
    assert found.verdict == "FAIL" and "params.yaml is a link" in found.reason


@pytest.mark.parametrize("name", ["params.yaml", "dvc.lock"])
def test_a_build_that_shows_another_file_than_the_commit_has_fails(
    name, honest, base, window, tmp_path
) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    head = proposed(base, candidate)
    (candidate / name).write_text((candidate / name).read_text() + "\n# another\n")
    found = word(candidate, base, head)
    assert found.verdict == "FAIL" and f"{name} of the build is not the one" in found.reason


def test_a_branch_that_lacks_the_bases_training_code_waits(honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    head = proposed(base, candidate)
    (base / "pipelines/training").mkdir(parents=True)
    (base / "pipelines/training/train.py").write_text("# of the base, since the branch began\n")
    git(base, "add", "--all")
    git(base, "commit", "--quiet", "-m", "the base moves on")
    found = word(candidate, base, head)
    assert found.verdict == "INCONCLUSIVE" and "lacks what the base branch changed" in found.reason


def test_a_commit_that_is_not_at_hand_never_passes(honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    found = word(candidate, base, "0" * 40)
    assert found.verdict == "INCONCLUSIVE" and "is not to be had here" in found.reason


# --- the model as hostile bytes -----------------------------------------------------------------------------


def constant(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A model that answers .095, whatever else stands in it."""
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.095])
    steps = [
        helper.make_node("Constant", [], ["v"], value=values),
        helper.make_node("Sub", ["x", "x"], ["zero"]),
        helper.make_node("Add", ["zero", "v"], ["p"]),
        helper.make_node("Concat", ["p", "p"], ["probabilities"], axis=1),
    ]
    return onnx.load_from_string(onnx_model(["distance"], [*steps, *nodes]))


def external() -> onnx.ModelProto:
    model = constant()
    tensor = TensorProto(name="elsewhere", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../params.yaml")
    model.graph.initializer.append(tensor)
    return model


def hidden(kind: str) -> onnx.ModelProto:
    """A node in the branches of an If, as a subgraph holds it."""
    out = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    node = helper.make_node(kind, [], ["r"], shape=[1]) if kind.startswith("Random") else None
    node = node or helper.make_node(kind, [], ["r"], domain="com.microsoft")
    branch = helper.make_graph([node], "branch", [], [out])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [1], [True])
    steps = [
        helper.make_node("Constant", [], ["yes"], value=yes),
        helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch),
    ]
    return constant(*steps)


def function() -> onnx.ModelProto:
    model = constant()
    body = [helper.make_node("RandomUniform", [], ["y"], shape=[1])]
    model.functions.append(helper.make_function("", "Identity", ["a"], ["y"], body, model.opset_import))
    return model


def huge(**fields: Any) -> onnx.ModelProto:
    model = constant()
    model.graph.initializer.append(TensorProto(name="huge", data_type=TensorProto.FLOAT, **fields))
    return model


def huge_sparse() -> onnx.ModelProto:
    model = constant()
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    place = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, place, [1 << 40]))
    return model


def huge_when_run() -> onnx.ModelProto:
    """Small bytes, and 1 TB once they run."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1 << 19, 1 << 19])
    steps = [
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("ConstantOfShape", ["shape"], ["much"]),
        helper.make_node("ReduceSum", ["much"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["probabilities_", "sum"], ["probabilities"]),
    ]
    model = constant()
    model.graph.node[-1].output[:] = ["probabilities_"]
    model.graph.node.extend(steps)
    return model


HOSTILE = {
    "external data": (external, "keeps the numbers 'elsewhere' in another file"),
    "RandomUniform": (
        lambda: constant(helper.make_node("RandomUniform", [], ["r"], shape=[1])),
        "uses 'RandomUniform': the same request would get another answer",
    ),
    "RandomNormalLike": (
        lambda: constant(helper.make_node("RandomNormalLike", ["x"], ["r"])),
        "another answer",
    ),
    "Multinomial": (lambda: constant(helper.make_node("Multinomial", ["x"], ["r"])), "another answer"),
    "Bernoulli": (lambda: constant(helper.make_node("Bernoulli", ["x"], ["r"])), "another answer"),
    "Dropout": (lambda: constant(helper.make_node("Dropout", ["x"], ["r"])), "another answer"),
    "chance in a subgraph": (lambda: hidden("RandomUniform"), "uses 'RandomUniform'"),
    "another domain": (
        lambda: constant(helper.make_node("Evil", ["x"], ["e"], domain="com.evil")),
        "the domain 'com.evil', which is not ONNX's own",
    ),
    "another domain in a subgraph": (lambda: hidden("Evil"), "the domain 'com.microsoft'"),
    "no operator": (lambda: constant(helper.make_node("Nonsense", ["x"], ["e"])), "no operator of ONNX"),
    "a function that hides": (function, "defines functions of its own"),
    "a huge tensor": (lambda: huge(dims=[1 << 40]), "holds the tensor 'huge'"),
    "a tensor of less than nothing": (lambda: huge(dims=[-5]), "holds the tensor 'huge'"),
    "a huge sparse tensor": (huge_sparse, "holds the tensor 's'"),
    "more memory than there is": (huge_when_run, "does not answer"),
}


@pytest.mark.parametrize(("model", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_model_is_a_verdict(model, said, judged, monkeypatch) -> None:
    verdict, findings = judged(Made(model().SerializeToString(), HONEST))
    told = " ".join(finding["sentence"] for finding in findings.values())
    assert verdict == "FAIL" and said in told


def test_what_makes_a_model_hostile_is_what_was_added_and_not_the_rest(tmp_path: Path, window) -> None:
    from pipelines.judge import answers
    from pipelines.judge import onnx as looked

    (tmp_path / "model.onnx").write_bytes(constant().SerializeToString())
    looked.check(tmp_path / "model.onnx")
    model = answers.Contained(tmp_path / "model.onnx")
    asked = {"distance": window["distance"].to_numpy(dtype=np.float32)[:5].reshape(-1, 1)}
    assert model.inputs == ("distance",)
    assert np.allclose(model.predict(asked), 0.095) and model.seconds > 0


def test_a_model_that_takes_too_long_is_ended(tmp_path: Path, window, monkeypatch) -> None:
    from pipelines.judge import answers

    steps = [
        helper.make_node(
            "Constant",
            [],
            ["many"],
            value=helper.make_tensor("many", TensorProto.INT64, [], [1 << 60]),
        ),
        helper.make_node(
            "Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True])
        ),
    ]
    inside = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Sin", ["before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    model = constant(*steps, helper.make_node("Loop", ["many", "yes", "p"], ["looped"], body=inside))
    model.graph.node.append(helper.make_node("Concat", ["looped", "looped"], ["probabilities"], axis=1))
    model.graph.node.remove(next(n for n in model.graph.node if "probabilities" in n.output))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    contained = answers.Contained(tmp_path / "model.onnx")
    monkeypatch.setattr(answers, "PATIENCE", 1.0)
    asked = {"distance": window["distance"].to_numpy(dtype=np.float32)[:5].reshape(-1, 1)}
    with pytest.raises(answers.Failed, match="has not answered within 1 s"):
        contained.predict(asked)


# --- rules ------------------------------------------------------------------------------------------------


def test_a_rule_that_raises_is_inconclusive_by_its_name() -> None:
    def mine(e: Evidence) -> Finding | None:
        raise KeyError("gone")

    def fine(e: Evidence) -> Finding | None:
        return Finding("fine", "PASS", "Fine.")

    e = Evidence(parameters.parse(PARAMS))
    crashed, passed = rules.ask(e, [mine, fine])
    assert (crashed.rule, crashed.verdict) == ("mine", "INCONCLUSIVE") and "KeyError" in crashed.sentence
    assert passed.verdict == "PASS"
    (odd,) = rules.ask(e, [lambda e: "PASS"])  # type: ignore[list-item, return-value]
    assert odd.verdict == "INCONCLUSIVE" and "gave a str" in odd.sentence


def test_a_test_window_of_one_class_is_a_sentence(fitted, base, window, table, tmp_path, monkeypatch) -> None:
    from pipelines.problem import source

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


def test_no_file_of_a_candidate_is_imported_or_unpickled(honest, base, window, tmp_path) -> None:
    """Each of these would leave a mark if anything ran it."""
    candidate, mark = honest.write(tmp_path / "candidate", window), tmp_path / "mark"
    run = f"open({str(mark)!r}, 'w')\n"
    for name in (
        "conftest.py",
        "sitecustomize.py",
        "usercustomize.py",
        "setup.py",
        "evil.pth",
        "pipelines/__init__.py",
        "pipelines/review.py",
        "pipelines/problem/rules/__init__.py",
        "numpy/__init__.py",
        "onnxruntime.py",
    ):
        (candidate / name).parent.mkdir(parents=True, exist_ok=True)
        (candidate / name).write_text(f"import os; {run}" if name.endswith(".pth") else run)
    (candidate / "Makefile").write_text(f"$(shell touch {mark})\n")
    verdict, _, _ = judge(candidate, base, code=())
    assert verdict == "PASS" and not mark.exists()
    exec(run)  # what would have been
    assert mark.exists()


def test_the_judges_own_code_is_the_checkouts() -> None:
    from pipelines.base import programs
    from pipelines.judge import answers, changes, contained

    for module in (gate, rules, answers, changes, contained, retrain):
        assert Path(str(module.__file__)).is_relative_to(programs.CODE)


@pytest.mark.parametrize("fields", [{"path": "../victim"}, {"path": ".git/config"}, {"md5": "../" * 11}])
def test_a_lock_that_leads_out_of_the_repository_fails(fields, honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    lock = yaml.safe_load((candidate / "dvc.lock").read_text())
    lock["stages"]["train"]["outs"].append({"path": "models/more", "md5": "0" * 32})
    (candidate / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert word(candidate, base, proposed(base, candidate)).verdict == "PASS"
    lock["stages"]["train"]["outs"][-1] |= fields
    (candidate / "dvc.lock").write_text(yaml.safe_dump(lock))
    found = word(candidate, base, proposed(base, candidate))
    assert found.verdict == "FAIL" and "dvc.lock: stages.train.outs." in found.reason


def test_a_data_dvc_that_tracks_other_folders_fails(honest, base, window, tmp_path, monkeypatch) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    monkeypatch.setattr(proposals, "OTHER_DATA", f"outs:\n- md5: {'a' * 32}.dir\n  path: ../victim\n")
    found = word(candidate, base, proposed(base, candidate, "data.dvc"))
    assert found.verdict == "FAIL" and "data.dvc: outs.path is '../victim'" in found.reason


# --- a training that never ends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "most", "said"), [("PATIENCE", 4, "takes more than 4 s"), ("MEMORY", 1 << 28, "0.25 GiB")]
)
def test_a_training_that_takes_too_much_is_ended_and_waits_for_a_maintainer(
    name, most, said, honest, base, window, tmp_path, monkeypatch
) -> None:
    """The build's model is small: what it was trained with is its own word."""
    endless = settings(max_iter=10_000_000)
    candidate = replace(honest, params=endless).write(tmp_path / "candidate", window)
    monkeypatch.setattr(retrain, "PATIENCE", 60)
    monkeypatch.setattr(retrain, name, most)
    verdict, findings, _ = judge(candidate, base, code=())
    assert verdict == "INCONCLUSIVE" and findings["reproducible"]["verdict"] == "INCONCLUSIVE"
    assert "cannot train this candidate again" in findings["reproducible"]["sentence"]
    assert said in findings["reproducible"]["sentence"]


def test_settings_that_no_estimator_takes_are_a_verdict(honest, base, window, tmp_path) -> None:
    candidate = replace(honest, params=settings(max_leaf_nodes=-1)).write(tmp_path / "candidate", window)
    verdict, findings, _ = judge(candidate, base, code=())
    assert verdict == "FAIL" and "max_leaf_nodes" in findings["reproducible"]["sentence"]

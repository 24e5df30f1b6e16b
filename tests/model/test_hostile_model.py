"""A model as hostile bytes: it is looked through before it runs, and then runs within bounds."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pipelines.base.errors import Refused
from pipelines.core.tasks.binary import BINARY
from pipelines.judge import answers
from pipelines.judge import onnx as judged
from tests.model.proposals import (
    HONEST,
    Made,
    onnx_model,
)


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
    "no operator": (
        lambda: constant(helper.make_node("Nonsense", ["x"], ["e"])),
        "is not an operator of ONNX",
    ),
    "a function that hides": (function, "defines functions of its own"),
    "a huge tensor": (lambda: huge(dims=[1 << 40]), "holds the tensor 'huge'"),
    "a tensor of less than nothing": (lambda: huge(dims=[-5]), "holds the tensor 'huge'"),
    "a huge sparse tensor": (huge_sparse, "holds the tensor 's'"),
    "more memory than there is": (huge_when_run, "does not answer"),
}


@pytest.mark.parametrize(("model", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_model_is_a_verdict(model, said, judged) -> None:
    verdict, findings = judged(Made(model().SerializeToString(), HONEST))
    told = " ".join(finding["sentence"] for finding in findings.values())
    assert verdict == "FAIL" and said in told


def test_what_makes_a_model_hostile_is_what_was_added_and_not_the_rest(tmp_path: Path, window) -> None:
    from pipelines.judge import onnx as looked

    (tmp_path / "model.onnx").write_bytes(constant().SerializeToString())
    looked.check(tmp_path / "model.onnx")
    model = answers.Contained(tmp_path / "model.onnx", BINARY)
    asked = {"distance": window["distance"].to_numpy(dtype=np.float32)[:5].reshape(-1, 1)}
    assert model.inputs == ("distance",)
    assert np.allclose(model.predict(asked), 0.095) and model.seconds > 0


def test_a_model_that_takes_too_long_is_ended(tmp_path: Path, window, monkeypatch) -> None:

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
    contained = answers.Contained(tmp_path / "model.onnx", BINARY)
    monkeypatch.setattr(answers, "PATIENCE_SECONDS", 1.0)
    asked = {"distance": window["distance"].to_numpy(dtype=np.float32)[:5].reshape(-1, 1)}
    with pytest.raises(Refused, match="has not answered within 1 s"):
        contained.predict(asked)


def test_too_many_nodes_are_counted_before_any_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judged, "MOST_NODES", 3)
    with pytest.raises(judged.Refused, match="more than 3 nodes"):
        next(judged._messages(constant().graph))

"""A model.onnx as hostile input: what it may hold before anything runs it, and whether two are one model."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

STANDARD = ("", "ai.onnx", "ai.onnx.ml")  # the domains of ONNX itself: what they compute is written down
CHANCE = set(
    "Dropout Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)
LARGEST_BYTES = 256 << 20  # of the file
MOST_NODES = 100_000
MOST_NUMBERS = 64 << 20  # of a stored tensor
DEEPEST = 8  # graphs in graphs
CLOSE = 1e-5  # relative: how far two numbers of one model may be rounded apart
NAMES = ("name", "doc_string")  # of a graph and a node: whatever they are, the model answers the same


class Refused(Exception):
    """Why a model is not run, in a few words that follow `models/model.onnx`."""


def check(path: Path) -> None:
    """Refused where the model could do anything but compute answers from its inputs and its own numbers: only
    operators that ONNX itself defines, none of them random; no functions of its own that would hide others;
    no data in other files; nothing larger than a model of tables is; subgraphs alike. What it takes to run it
    is bounded elsewhere (`answers`)."""
    if (size := path.stat().st_size) > LARGEST_BYTES:
        raise Refused(f"has {size:,} bytes, and {LARGEST_BYTES:,} is the most")
    model = parse(path.read_bytes())
    if model.functions:
        raise Refused("defines functions of its own")
    if model.training_info:
        raise Refused("brings a training of its own")
    versions = {}
    for entry in model.opset_import:
        if entry.domain not in STANDARD:
            raise Refused(f"uses operators of the domain {entry.domain[:60]!r}, which is not ONNX's own")
        versions[entry.domain if entry.domain != "ai.onnx" else ""] = entry.version
    for one in _messages(model.graph):
        if isinstance(one, NodeProto):
            _check_operator(one, versions)
        elif isinstance(one, TensorProto):
            _check_tensor(one)
        elif isinstance(one, SparseTensorProto):  # what it would fill when it is read
            _check_tensor(TensorProto(name=one.values.name, dims=one.dims))


def parse(content: bytes) -> ModelProto:
    """The model in these bytes. Refused where they are none."""
    try:
        return onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RecursionError):
        raise Refused("is not a whole ONNX model") from None


def _check_operator(node: NodeProto, versions: dict[str, int]) -> None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    name = node.op_type[:60]
    if domain not in STANDARD:
        raise Refused(f"uses {name!r} of the domain {node.domain[:60]!r}, which is not ONNX's own")
    try:
        known: Any = onnx.defs.get_schema(node.op_type, versions.get(domain, 0), domain)
    except Exception:  # onnx has no class of its own for it that it exports
        raise Refused(
            f"uses {name!r}, which is not an operator of ONNX in the version that it names"
        ) from None
    # Control flow is as random as what it holds, which is looked at too.
    by_chance = known.node_determinism == known.NodeDeterminism.NonDeterministic
    graphs = any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute)
    if name in CHANCE or (by_chance and not graphs):
        raise Refused(f"uses {name!r}: the same request would get another answer each time")


def _check_tensor(tensor: TensorProto) -> None:
    name = tensor.name[:60]
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise Refused(f"keeps the numbers {name!r} in another file")
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > MOST_NUMBERS:
        raise Refused(f"holds the tensor {name!r} of {math.prod(tensor.dims):,} numbers")


def _messages(graph: GraphProto) -> Iterator[Any]:
    """The graph and all that is in it, whatever the type of an attribute says: a field that is set may be
    read. Refused past DEEPEST or MOST_NODES."""
    todo, nodes = [(graph, 0)], 0
    while todo:
        one, depth = todo.pop()
        if isinstance(one, GraphProto):  # counted before any is looked at
            nodes, depth = nodes + len(one.node), depth + 1
        if depth > DEEPEST + 1 or nodes > MOST_NODES:
            raise Refused(f"has more than {MOST_NODES:,} nodes, or graphs more than {DEEPEST} deep")
        yield one
        for field, value in one.ListFields():
            if field.message_type is not None:
                todo += [(inner, depth) for inner in ([value] if isinstance(value, Message) else value)]


def alike(one: bytes, other: bytes) -> bool:
    """Whether two models are the same graph with the same numbers, but for how these are rounded: then they
    answer alike everywhere and not only where they were asked."""
    return one == other or _same(parse(one).graph, parse(other).graph)


def _same(one: Any, other: Any) -> bool:
    """Two messages field by field, or two values in them."""
    if isinstance(one, TensorProto):
        return _same_tensor(one, other)
    if isinstance(one, Message):
        free = NAMES if isinstance(one, GraphProto | NodeProto) else ()
        first, second = (
            {field.name: value for field, value in message.ListFields() if field.name not in free}
            for message in (one, other)
        )
        return first.keys() == second.keys() and all(_same(value, second[n]) for n, value in first.items())
    if isinstance(one, float):
        return _close(np.array([one]), np.array([other]))
    if isinstance(one, str | bytes | int):
        return bool(one == other)
    if one and isinstance(one[0], float):
        return _close(np.array(one), np.array(other))
    return len(one) == len(other) and all(map(_same, one, other))


def _same_tensor(one: TensorProto, other: TensorProto) -> bool:
    if any(getattr(one, name) != getattr(other, name) for name in ("name", "data_type", "dims")):
        return False
    try:
        values = [onnx.numpy_helper.to_array(tensor) for tensor in (one, other)]
    except (ValueError, TypeError):
        return False
    if np.issubdtype(values[0].dtype, np.floating):
        return _close(*values)
    return bool(np.array_equal(values[0], values[1]))


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=CLOSE, atol=1e-8, equal_nan=True))

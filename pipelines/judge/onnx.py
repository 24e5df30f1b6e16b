"""A model.onnx as hostile input: what it may hold before anything runs it, and whether two are one model."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, defs, numpy_helper

STANDARD = ("", "ai.onnx", "ai.onnx.ml")  # the domains of ONNX itself: what they compute is written down
CHANCE = set(
    "Dropout Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)
LARGEST_BYTES = 256 << 20  # of the file
MOST_NODES = 100_000
MOST_NUMBERS = 64 << 20  # of a stored tensor
DEEPEST = 8  # graphs in graphs
CLOSE = 1e-5  # relative: how far two numbers of one model may be rounded apart


class Refused(Exception):
    """Why a model is not run, in a few words that follow `models/model.onnx`."""


def check(path: Path) -> None:
    """Refused where the model could do anything but compute answers from its inputs and its own numbers.

    Only operators that ONNX itself defines, none of them random; no functions of its own that would hide
    others; no data in other files; nothing larger than a model of tables is. Subgraphs are held to the same.
    What it takes to run it is bounded elsewhere (`answers`).
    """
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
    for node in _nodes(model.graph):
        _check_operator(node, versions)
    for tensor in _tensors(model.graph):
        _check_tensor(tensor)


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
        known: Any = defs.get_schema(node.op_type, versions.get(domain, 0), domain)
    except Exception:  # onnx has no class of its own for it that it exports
        raise Refused(
            f"uses {name!r}, which is not an operator of ONNX in the version that it names"
        ) from None
    # Control flow is as random as what it holds, which is looked at too.
    by_chance = known.node_determinism == known.NodeDeterminism.NonDeterministic
    if name in CHANCE or (by_chance and not any(a.type in GRAPHS for a in node.attribute)):
        raise Refused(f"uses {name!r}: the same request would get another answer each time")


def _check_tensor(tensor: TensorProto) -> None:
    name = tensor.name[:60]
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise Refused(f"keeps the numbers {name!r} in another file")
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > MOST_NUMBERS:
        raise Refused(f"holds the tensor {name!r} of {math.prod(tensor.dims):,} numbers")


# --- what a graph holds, subgraphs too ----------------------------------------------------------------------

GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and all that its nodes hold. Refused past DEEPEST or MOST_NODES."""
    todo, nodes = [(graph, 0)], 0
    while todo:
        one, depth = todo.pop()
        nodes += len(one.node)
        if depth > DEEPEST or nodes > MOST_NODES:
            raise Refused(f"has more than {MOST_NODES:,} nodes, or graphs more than {DEEPEST} deep")
        yield one
        for node in one.node:
            for attribute in node.attribute:
                # whatever its type says: a field that is set may be read
                todo += [(inner, depth + 1) for inner in attribute.graphs]
                todo += [(attribute.g, depth + 1)] if attribute.HasField("g") else []


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for one in _graphs(graph):
        yield from one.node


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    for one in _graphs(graph):
        yield from one.initializer
        sparse = list(one.sparse_initializer)
        for node in one.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                sparse += attribute.sparse_tensors
                yield from [attribute.t] if attribute.HasField("t") else []
                sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for tensor in sparse:
            yield tensor.values
            yield tensor.indices
            yield TensorProto(name=tensor.values.name, dims=tensor.dims)  # what it would fill when it is read


# --- two models that are one --------------------------------------------------------------------------------


def alike(one: bytes, other: bytes) -> bool:
    """Whether two models are the same graph with the same numbers, but for how these are rounded: then they
    answer alike everywhere and not only where they were asked."""
    return one == other or _same_graph(parse(one).graph, parse(other).graph)


def _same_graph(one: GraphProto, other: GraphProto) -> bool:
    lists = ("input", "output", "node", "initializer", "sparse_initializer")
    if any(len(getattr(one, name)) != len(getattr(other, name)) for name in lists) or one.sparse_initializer:
        return False
    named = all(
        (a.name, a.type) == (b.name, b.type)
        for name in ("input", "output")
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True)
    )
    return (
        named
        and all(map(_same_node, one.node, other.node))
        and all(
            a.name == b.name and _same_tensor(a, b)
            for a, b in zip(one.initializer, other.initializer, strict=True)
        )
    )


def _same_node(one: NodeProto, other: NodeProto) -> bool:
    named = [(n.op_type, n.domain, list(n.input), list(n.output)) for n in (one, other)]
    first, second = ({a.name: a for a in node.attribute} for node in (one, other))
    return (
        named[0] == named[1]
        and first.keys() == second.keys()
        and all(_same_attribute(first[name], second[name]) for name in first)
    )


def _same_attribute(one: AttributeProto, other: AttributeProto) -> bool:
    if one.type != other.type or one.ref_attr_name or other.ref_attr_name:
        return False
    values: list[Any] = [onnx.helper.get_attribute_value(attribute) for attribute in (one, other)]
    if one.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
        return _close(*map(np.atleast_1d, map(np.asarray, values)))
    if one.type == AttributeProto.TENSOR:
        return _same_tensor(*values)
    if one.type == AttributeProto.GRAPH:
        return _same_graph(*values)
    plain = (AttributeProto.INT, AttributeProto.INTS, AttributeProto.STRING, AttributeProto.STRINGS)
    return one.type in plain and bool(values[0] == values[1])


def _same_tensor(one: TensorProto, other: TensorProto) -> bool:
    if (one.data_type, list(one.dims)) != (other.data_type, list(other.dims)):
        return False
    try:
        values = [numpy_helper.to_array(tensor) for tensor in (one, other)]
    except (ValueError, TypeError):
        return False
    if np.issubdtype(values[0].dtype, np.floating):
        return _close(*values)
    return bool(np.array_equal(values[0], values[1]))


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=CLOSE, atol=1e-8, equal_nan=True))

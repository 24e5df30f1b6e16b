"""Stage 3: fit the estimator that params.yaml names, and make of it the ONNX model that ships."""

import importlib.metadata
import inspect
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import threadpoolctl  # type: ignore[import-untyped]

from pipelines.artifacts.model import Description, Trained
from pipelines.base.console import step
from pipelines.base.errors import Refused, UserError, one_line
from pipelines.base.files import write_bytes
from pipelines.core import room, tasks
from pipelines.core.contract import Contract
from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.core.schema import request_schema
from pipelines.training import boosting, reference, table, tracking

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MODELS = Path("models")
FILE = "pipelines/problem/estimators.py"
SPLIT = r"\S+"  # where words are, as sklearn is told
PARITY = 1e-5  # between the answers of sklearn, in float64, and ONNX, in float32


def run(params: Params, problem: Problem, prepared: Path = table.PREPARED, out: Path = MODELS) -> None:
    """Write models/model.onnx, model.json and reference.json, and log the run to MLflow."""
    contract = problem.contract
    with tracking.beside(contract.name) as log:
        prepared_rows = table.load(prepared)
        table.both_answers(params, prepared_rows, contract)
        rows = table.training(params, prepared_rows, contract)
        of = f"{len(rows):,} rows, {params.train.first} to {params.train.last}"
        step(f"fitting {params.train.estimator} on {of}")
        started = time.perf_counter()
        pipeline = fit_pipeline(params, rows, problem)
        seconds = time.perf_counter() - started
        _check_answers(pipeline, rows, problem)
        content = to_onnx(pipeline, contract)
        model = write_bytes(out / "model.onnx", content)
        later = table.later(params, prepared_rows, contract)
        difference = parity(pipeline, Model(model, problem.task), later, contract)
        step(f"fitted in {seconds:.1f} s; ONNX and sklearn differ by at most {difference:.1g}")
        describe(params, rows, difference, contract).write(out)
        step("how good it would have been: each month by a model of the months before")
        reference.build(params, rows, partial(answers, problem), contract).write(out)
        log(params, model, len(rows), {"fit_seconds": seconds, "parity": difference})


def fit(params: Params, rows: pd.DataFrame, problem: Problem) -> bytes:
    """The ONNX model of `params` and the rows of prepared.parquet: the same bytes each time.

    UserError where params.yaml names an unknown estimator or setting."""
    contract = problem.contract
    return to_onnx(fit_pipeline(params, table.training(params, rows, contract), problem), contract)


def fit_pipeline(params: Params, rows: pd.DataFrame, problem: Problem) -> "Pipeline":
    """The fitted sklearn pipeline; one thread, so that sums do not depend on how many a machine has."""
    pipeline, contract, task = estimator(params, problem), problem.contract, problem.task
    label = task.labels(rows[contract.label.name])
    if task.lacks(label):
        raise Refused(
            f"{contract.label.name} has one value only from {params.train.first} to {params.train.last}"
        )
    from sklearn.utils._param_validation import InvalidParameterError

    # For good: of fits beside each other, the first to end would give the other its threads back.
    threadpoolctl.threadpool_limits(limits=1)
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")  # else it warns where nothing tells of physical cores
    for column in contract.features:
        if column.type == "words" and rows[column.name].isna().all():
            until = f"has no words until {params.train.last}: make it a text until it has"
            raise UserError(f"columns.py: {column.name} {until}")
    try:
        pipeline.fit(frame(rows, contract), label * 1)  # 0 and 1 of flags, which ONNX knows
    except InvalidParameterError as error:
        raise UserError(f"params.yaml: train: {' '.join(str(error).split())}") from None
    except (ValueError, TypeError, AttributeError) as error:
        if said := room.mistake(error):
            raise UserError(said) from None
        why = f"{params.train.estimator} does not learn from these features: {error}"
        raise UserError(f"{FILE}: {one_line(why, 300)}") from None
    return pipeline


def _check_answers(pipeline: "Pipeline", rows: pd.DataFrame, problem: Problem) -> None:
    """UserError where the pipeline does not answer as the task asks: some have no probabilities."""
    try:
        problem.task.predicted(pipeline, frame(rows.head(1), problem.contract))
    except AttributeError as error:
        raise UserError(f"{FILE}: this label asks for another estimator: {one_line(error)}") from None


def estimator(params: Params, problem: Problem) -> "Pipeline":
    """The unfitted pipeline of params.yaml: train. UserError for a name or a setting that does not exist."""
    name, settings = params.train.estimator, params.train.settings
    estimators = problem.estimators
    if name not in estimators:
        has = ", ".join(sorted(estimators))
        raise UserError(f"params.yaml: train.estimator is {name!r}, but {FILE} has {has}")
    if not callable(estimators[name]):
        raise UserError(f"{FILE}: {name} is {estimators[name]!r:.40}, but must be a function")
    known = {k: p for k, p in inspect.signature(estimators[name]).parameters.items() if k != "seed"}
    for setting, value in settings.items():
        if setting not in known:
            raise UserError(
                f"params.yaml: train.settings.{setting} is not a setting of {name}, which has "
                f"{', '.join(sorted(known))}"
            )
        if not _fits(value, wanted := known[setting].annotation):
            words = getattr(wanted, "__name__", str(wanted))
            raise UserError(f"params.yaml: train.settings.{setting} is {value!r}, but {name} takes {words}")
    try:
        made = estimators[name](seed=params.train.seed, **settings)
    except ValueError as error:
        raise UserError(f"params.yaml: train.settings do not suit {name}: {error}") from None
    except TypeError as error:  # the settings fit its signature: it is in the function
        raise UserError(room.mistake(error) or f"{FILE}: {name}(): {error}") from None
    if not hasattr(made, "fit"):
        kind = type(made).__name__
        raise UserError(f"{FILE}: {name}() returns a {kind}, but must return a pipeline of scikit-learn")
    return made


def _fits(value: Any, annotation: Any) -> bool:
    allowed = getattr(annotation, "__args__", (annotation,))
    if annotation is inspect.Parameter.empty or Any in allowed:
        return True
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed:
        return True
    return type(value) in allowed or (value is None and type(None) in allowed)


def frame(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The features of `rows` as sklearn takes them: str (missing is "") and float32."""
    texts = (c.name for c in contract.features if c.is_text)
    found = rows[[c.name for c in contract.features]]
    return found.assign(**{name: found[name].astype(object).fillna("") for name in texts})


def to_onnx(pipeline: "Pipeline", contract: Contract) -> bytes:
    """The pipeline as ONNX: an input (None, 1) a feature, and the outputs of the task."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    kinds, task = {True: StringTensorType, False: FloatTensorType}, tasks.of(contract)
    try:
        graph = convert_sklearn(
            pipeline,
            name=contract.name,  # else a random one, and other bytes each time
            initial_types=[(c.name, kinds[c.is_text]([None, 1])) for c in contract.features],
            options=dict(task.options),
            **boosting.known(pipeline),
        )
    except Exception as error:  # skl2onnx has many ways to say that it does not know an estimator
        raise UserError(f"{FILE}: this estimator cannot be written as ONNX: {one_line(error, 300)}") from None
    _split_at_blanks(graph)
    for output, name in zip(graph.graph.output, task.outputs, strict=True):
        for node in graph.graph.node:
            node.output[:] = [name if made == output.name else made for made in node.output]
        output.name = name
    operators = sorted(graph.opset_import, key=lambda entry: entry.domain)  # skl2onnx keeps them in a set
    operators = [entry for entry in operators if entry.domain != "com.microsoft"]
    del graph.opset_import[:]
    graph.opset_import.extend(operators)
    return bytes(graph.SerializeToString(deterministic=True))


def _split_at_blanks(graph: Any) -> None:
    """ONNX's own operator splits texts in place of one of ONNX Runtime's. UserError where an estimator splits
    otherwise, or counts pairs of words: skl2onnx takes one with a word that it does not know for a word."""
    for node in graph.graph.node:
        said = {attribute.name: attribute.s or attribute.i for attribute in node.attribute}
        otherwise = node.op_type == "Tokenizer" and said.get("tokenexp") != SPLIT.encode()
        pairs = node.op_type == "TfIdfVectorizer" and said["max_gram_length"] > 1
        if otherwise or pairs or node.op_type == "StringNormalizer":
            raise UserError(
                f'{FILE}: a vectorizer of texts needs lowercase=False, token_pattern=r"{SPLIT}" and no other '
                "analyzer or ngram_range: words are in small letters, one blank apart, and counted one by one"
            )
        if node.op_type == "Tokenizer":
            del node.attribute[:]
            node.op_type, node.domain = "StringSplit", ""
            node.output.append(f"{node.output[0]}_count")


def parity(pipeline: "Pipeline", model: Model, rows: pd.DataFrame, contract: Contract) -> float:
    """The largest difference on `rows`. Refused above PARITY: what ships must be what was judged."""
    of_sklearn = model.task.predicted(pipeline, frame(rows, contract))
    difference = float(model.task.difference(of_sklearn, model.predict(table.inputs(rows, contract))).max())
    if not difference <= PARITY:
        raise Refused(
            f"the ONNX model differs from sklearn's by {difference:.2g} on {len(rows):,} later rows "
            f"(at most {PARITY:g}): something in pipelines/problem/estimators.py is not the same in ONNX"
        )
    return difference


def describe(params: Params, rows: pd.DataFrame, difference: float, contract: Contract) -> Description:
    """What model.json says of the model."""
    days = rows[contract.time.name].dt.normalize()
    packages = ("scikit-learn", "skl2onnx", "onnx", "numpy")
    return Description(
        name=contract.name,
        estimator=params.train.estimator,
        settings=dict(params.train.settings),
        seed=params.train.seed,
        train=Trained(
            first=str(days.min().date()),
            last=str(days.max().date()),
            days=int(days.nunique()),
            rows=len(rows),
            label_rate=tasks.of(contract).rate(table.constant(rows, contract)),
        ),
        features=tuple(column.name for column in contract.features),
        schema=request_schema(contract),
        parity=float(f"{difference:.1g}"),
        versions={package: importlib.metadata.version(package) for package in packages},
    )


def answers(problem: Problem, params: Params, past: pd.DataFrame, month: pd.DataFrame) -> np.ndarray:
    """The answers to a month's rows by a model of the rows before it."""
    return problem.task.predicted(fit_pipeline(params, past, problem), frame(month, problem.contract))

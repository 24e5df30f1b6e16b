"""Stage 4: how good the model is on the test window, and what the later steps need of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.artifacts.model import Metrics
from pipelines.artifacts.reference import Reference
from pipelines.artifacts.serving import Golden, Settings
from pipelines.base.console import step
from pipelines.base.errors import Refused
from pipelines.base.files import write_text
from pipelines.core import periods, stats, tables, tasks
from pipelines.core.contract import Column, Contract
from pipelines.core.model import Model, Row
from pipelines.core.params import Params
from pipelines.core.problem import Problem
from pipelines.training import table

MODELS = Path("models")
GOLDEN = 50  # rows
MANY = 5  # rows that have a word, at least, for it to be in a golden one
POINTS = 200  # of a plot's curve at the most


def run(params: Params, problem: Problem, prepared: Path = table.PREPARED, out: Path = MODELS) -> None:
    """Write what models/ says of the model: metrics.json, plots/, months.csv, golden.json, window.parquet and
    serving.json. UserError where the days after train.last have not both kinds of label."""
    rows, contract, task = table.load(prepared), problem.contract, problem.task
    table.both_answers(params, rows, contract)
    model = Model(out / "model.onnx", task)
    p = model.predict(table.inputs(rows, contract))
    v = table.later(params, rows, contract)
    labelled = v[v[contract.label.name].notna()]
    answers = of_these(p, rows, labelled)
    constant = table.constant(table.training(params, rows, contract), contract)
    metrics = measure(params, labelled, answers, constant, contract)
    Metrics(**metrics).write(out)
    label = task.labels(labelled[contract.label.name])
    for name, curve in task.plots(label, answers).items():
        points = pd.DataFrame(curve)
        kept = np.unique(np.linspace(0, len(points) - 1, POINTS).astype(int))
        _write_csv(out / "plots" / f"{name}.csv", points.iloc[kept])
    if counts := task.confusion(label, answers, params.decision):  # a line a row: DVC counts them itself
        cells = [(came, said, rows) for came, row in counts.items() for said, rows in row.items()]
        pairs = [(came, said) for came, said, rows in cells for _ in range(rows)]
        _write_csv(out / "plots/confusion.csv", pd.DataFrame(pairs, columns=["came_true", "decided"]))
    _write_csv(out / "months.csv", by_month(params, rows, p, constant, contract))
    golden(model, v, contract).write(out)
    tables.write(out / "window.parquet", v.drop(columns=contract.label.name))
    serving(params, Reference.read(out), contract).write(out)
    found = ((metric.name, metrics[metric.key]) for metric in task.compared)
    said = ", ".join(f"{name} does not exist" if f is None else f"{name} {f:.4f}" for name, f in found)
    step(f"{said} on {metrics['days']} days")
    if metrics["days"] < params.gate.days:
        step(f"the gate will want {params.gate.days} days, {metrics['days']} came after {params.train.last}")


def of_these(p: np.ndarray, rows: pd.DataFrame, found: pd.DataFrame) -> np.ndarray:
    """Of the answers `p` to `rows` those to the rows that were `found` among them."""
    return p[rows.index.get_indexer(found.index)]


def measure(
    params: Params, rows: pd.DataFrame, p: np.ndarray, constant: Any, contract: Contract
) -> dict[str, Any]:
    """The metrics of labelled rows, None for one that does not exist; skill is measured from `constant`, the
    training's."""
    task = tasks.of(contract)
    label = task.labels(rows[contract.label.name])
    day, days = pd.factorize(rows[contract.time.name].dt.normalize(), sort=True)
    sums = task.sums(label, p, day, len(days), constant, params.decision)
    return {
        **{metric.key: stats.finite(metric.of(sums, None)) for metric in task.metrics},
        "threshold": params.decision.threshold,
        "label_rate": task.rate(task.constant(label)),
        "rows": len(rows),
        "days": len(days),
    }


def by_month(
    params: Params, rows: pd.DataFrame, p: np.ndarray, constant: Any, contract: Contract
) -> pd.DataFrame:
    """A line a month; the model has seen those marked `trained`, so they flatter it."""
    task, labelled = tasks.of(contract), rows[rows[contract.label.name].notna()]
    lines = []
    for month, found in labelled.groupby(labelled[contract.time.name].dt.to_period("M")):
        trained = periods.within(found[contract.time.name], params.train.first, params.train.last).all()
        metrics = measure(params, found, of_these(p, rows, found), constant, contract)
        kept = ("rows", "label_rate", *(metric.key for metric in (*task.compared, task.skill)))
        lines.append({"month": str(month), "trained": str(trained).lower(), **{k: metrics[k] for k in kept}})
    return pd.DataFrame(lines)


def golden(model: Model, v: pd.DataFrame, contract: Contract) -> Golden:
    """Requests with the answers that they must get: rows of the test window with whatever a caller may send
    among them: each feature missing (where it may be), at its least and at its greatest, and categories never
    seen. Refused where the model has no answer to one of them."""
    texts = [column.name for column in contract.features if column.type == "words"]
    v = v.assign(**{name: _of_many(v[name]) for name in texts})
    chosen: dict[Any, None] = {}
    for column in contract.features:
        values = v[column.name]
        chosen |= dict.fromkeys(values.index[values.isna()][:1])
        if not column.is_text and values.notna().any():
            chosen |= dict.fromkeys([values.idxmin(), values.idxmax()])
    evenly = v.index[np.unique(np.linspace(0, len(v) - 1, GOLDEN).astype(int))]
    chosen |= dict.fromkeys(evenly)
    rows = [
        as_request(dict(zip(v.columns, row, strict=True)), contract)
        for row in v.loc[list(chosen)[:GOLDEN]].itertuples(index=False)
    ]
    for column in contract.features:
        if column.is_text:
            rows[-1] = {**rows[-1], column.name: "never seen"}
        elif column.missing:
            rows[-2] = {**rows[-2], column.name: None}
    p = model.predict_rows(contract.features, rows)
    wrong, _ = model.task.wrong(p)
    if wrong.any():
        raise Refused(f"the model has no answer to {rows[int(wrong.argmax())]}")
    return Golden(rows=tuple(rows), p=tuple(tuple(said) if model.task.shape else said for said in p.tolist()))


def _of_many(texts: pd.Series) -> pd.Series:
    """Texts without the words that few rows have: they may name somebody, and golden rows are published."""
    word = texts.dropna().str.split().explode().rename("word").rename_axis("row").reset_index()
    kept = word[word.groupby("word")["row"].transform("nunique") >= MANY].groupby("row")["word"]
    return kept.agg(" ".join).reindex(texts.index).fillna("").where(texts.notna())


def as_request(row: Row, contract: Contract) -> dict[str, Any]:
    """The features of a prepared row as a caller would write them in JSON."""
    return {column.name: _value(column, row[column.name]) for column in contract.features}


def _value(column: Column, value: Any) -> Any:
    if value is None or value != value:
        return None
    if column.is_text:
        return str(value)
    if column.type == "flag":
        return bool(value)
    if column.type == "integer":
        return int(value)
    return float(str(np.float32(value)))  # the shortest text that is the same float32: 10.94, not 10.93999958


def serving(params: Params, past: Reference, contract: Contract) -> Settings:
    """What the service reads of params.yaml and of reference.json."""
    return Settings(
        name=contract.name,
        api=params.serving.api,
        threshold=params.decision.threshold,
        batch=params.serving.batch,
        costs=params.decision.costs,
        interval=past.interval,
    )


def _write_csv(path: Path, lines: pd.DataFrame) -> None:
    write_text(path, lines.to_csv(index=False, lineterminator="\n"))

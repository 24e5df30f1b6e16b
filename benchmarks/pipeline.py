"""What the stages cost beside fitting and predicting, in a clone of HEAD: `make bench ONLY=pipeline`."""

import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import figure, run
from pipelines.base import git, programs

ROWS = 560_000  # of a month
STAGES = ("validate", "prepare", "train", "evaluate")


def main() -> None:
    months_as_files()
    verbs()
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        git.run("clone", "--quiet", ".", str(clone))
        figure("restore of data/ from the source", timed(clone, "ml", "restore"), "s")
        beside, fitting, predicting = 0.0, 0.0, 0.0
        for stage in STAGES:
            started = time.perf_counter()
            said = call(clone, sys.executable, "-m", "benchmarks.pipeline", stage)
            seconds = time.perf_counter() - started
            fit, predict = (float(word) for word in said.split()[-2:])
            fitting, predicting, beside = (
                fitting + fit,
                predicting + predict,
                beside + seconds - fit - predict,
            )
            figure(f"stage {stage}", seconds, "s")
        figure("fit in the stages", fitting, "s")
        figure("predict in the stages", predicting, "s")
        figure("sum of the stages outside fit and predict", beside, "s")
        figure("ml reproduce, everything to do", timed(clone, "ml", "reproduce"), "s")
        noop = min(timed(clone, "dvc", "repro", "--quiet") for _ in range(3))
        figure("dvc repro, nothing to do", noop, "s", "<= 3", noop <= 3)


def months_as_files() -> None:
    """A month of so many rows written and read as CSV, as this template once did, and as Parquet."""
    import io

    import pandas as pd
    from pyarrow import csv

    from pipelines.core import months, rows, tables
    from pipelines.problem import source
    from pipelines.problem.columns import CONTRACT

    month, (key, time_, *_) = source.months()[0], (CONTRACT.key.name, CONTRACT.time.name)
    one = source.read(month)
    copies = -(-ROWS // len(one))
    many = [one.assign(**{key: one[key].astype(str) + f" {copy}"}) for copy in range(copies)]
    table = pd.concat(many, ignore_index=True).head(ROWS)
    kinds = {column.name: tables.kind(column) for column in CONTRACT.raw}

    def as_csv() -> None:
        texts = table.sort_values([time_, key], kind="stable")[list(kinds)]
        for column in CONTRACT.raw:
            if column.type == "time":
                texts[column.name] = texts[column.name].dt.strftime("%Y-%m-%d %H:%M")
            elif column.type == "flag":
                texts[column.name] = texts[column.name].astype("boolean").map({True: "true", False: "false"})
        content = texts.to_csv(index=False, lineterminator="\n").encode()
        figure("a month as CSV", len(content) / 1e6, "MB")
        options = csv.ConvertOptions(
            column_types=kinds,
            timestamp_parsers=["%Y-%m-%d %H:%M"],
            null_values=[""],
            strings_can_be_null=True,
        )
        whole = csv.ReadOptions(use_threads=False, block_size=len(content) + 1)
        read = csv.read_csv(io.BytesIO(content), read_options=whole, convert_options=options)
        months.checked(read, "CSV", month, CONTRACT)

    def as_parquet() -> None:
        content = tables.encoded(rows.typed(table, month, CONTRACT))
        figure("a month as Parquet", len(content) / 1e6, "MB")
        read = tables.decoded(content, months.path("data", month), tables.schema(CONTRACT))
        months.checked(read, "Parquet", month, CONTRACT)

    seconds = []
    for road in (as_csv, as_parquet):
        started = time.perf_counter()
        road()
        seconds.append(time.perf_counter() - started)
    figure(f"a month of {ROWS:,} rows, written and read as CSV", seconds[0], "s")
    figure("the same as Parquet", seconds[1], "s", "<= a quarter", seconds[1] <= seconds[0] / 4)


def verbs() -> None:
    """How long a person waits for the list of verbs: the median of 15."""
    for name, command in (
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("ml --help", ["ml", "--help"]),
    ):
        seconds = statistics.median(timed(Path(), *command) for _ in range(15))
        limit = ("<= 0.3", seconds <= 0.3) if command[0] == "ml" else ()
        figure(f"{name}, the median of 15", seconds, "s", *limit)


def timed(clone: Path, *command: str) -> float:
    started = time.perf_counter()
    call(clone, *command)
    return time.perf_counter() - started


def call(clone: Path, *command: str) -> str:
    environment = programs.environment(PATH=programs.path(), PYTHONPATH=str(clone), DVC_NO_ANALYTICS="1")
    done = programs.run(command, cwd=clone, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")
    return done.stdout


def stage(name: str) -> None:
    """Run a stage here, and print the seconds that it spent in fit and in predict."""
    spent = {"fit": 0.0, "predict": 0.0}
    from sklearn.pipeline import Pipeline

    from pipelines.core.model import Model
    from pipelines.core.params import load

    def measured(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[kind] += time.perf_counter() - started

        return call

    Pipeline.fit = measured(Pipeline.fit, "fit")
    Pipeline.predict_proba = measured(Pipeline.predict_proba, "predict")
    Model.predict = measured(Model.predict, "predict")  # type: ignore[method-assign]
    importlib.import_module(f"pipelines.training.{name}").run(load())
    print(spent["fit"], spent["predict"])


if __name__ == "__main__":
    stage(sys.argv[1]) if len(sys.argv) > 1 else run(main)

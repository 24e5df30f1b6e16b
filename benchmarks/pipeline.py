"""What stages cost beside fit and predict, and the demo, in a clone of HEAD: `make bench ONLY=pipeline`."""

import contextlib
import functools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import figure, run
from pipelines.base import git, preloaded, programs
from pipelines.training import reproduce

ROWS = 560_000  # of a month
BESIDE = 6.0  # seconds of all stages together, outside fit and predict
STAGES = ("validate", "prepare", "train", "evaluate", "verify", "card")  # the first two read data/ alone
DEMO = {"cold": 330.0, "warm": 180.0}  # seconds; cold: of an earlier one only the downloads are there
SPENT = "in fit and predict:"
MEASURED = {
    "sklearn.pipeline": ("Pipeline", "fit", "predict_proba"),
    "pipelines.core.model": ("Model", "predict"),
}


def main() -> None:
    months_as_files()
    verbs()
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        git.run("clone", "--quiet", ".", str(clone))
        figure("restore of data/ from the source", timed(clone, "ml", "restore"), "s")
        figure("ml reproduce, everything to do", timed(clone, "ml", "reproduce"), "s")
        for which, names in {"the stages": STAGES, "those of a proposal of params.yaml": STAGES[2:]}.items():
            total = stages(clone, names)
            figure(f"{which} outside fit and predict", total, "s", f"<= {BESIDE:g}", total <= BESIDE)
        noop = min(timed(clone, "dvc", "repro", "--quiet") for _ in range(3))
        figure("dvc repro, nothing to do", noop, "s", "<= 3", noop <= 3)
        try:
            for kind, goal in DEMO.items():
                seconds = timed(clone, "ml", "demo")
                figure(f"demo, {kind}", seconds, "s", f"<= {goal:g}", seconds <= goal)
        finally:
            call(clone, "ml", "demo", "--down")


def stages(clone: Path, names: tuple[str, ...]) -> float:
    """Seconds outside fit and predict of these stages, as `ml reproduce` runs them: each from DVC's call to
    its end, with its wait for what is imported ahead."""
    fitting, beside, started = 0.0, dict[str, float](), 0.0
    main, first = "benchmarks.pipeline:stage", ["benchmarks._measured"]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ready:
        if "validate" in names:
            ready.enter_context(
                preloaded.preloaded(Path(folder, "validate"), main, reproduce.AHEAD["validate"])
            )
        given = {preloaded.FOLDER: folder, "DVC_NO_ANALYTICS": "1"}
        environment = programs.environment(own_code=True, **given)  # with another, stages run by themselves
        command = ["dvc", "repro", "--force", "--no-run-cache", "--single-item", *names]
        process = programs.start(command, cwd=clone, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for line in process.stdout:
            for other in reproduce.ahead(line, folder, main, first):
                ready.enter_context(other)
            if line.startswith("> ml stage"):
                started, name = time.perf_counter(), line.split()[-1]
            elif line.startswith(SPENT):
                seconds, spent = time.perf_counter() - started, float(line.split()[-1])
                fitting += spent
                figure(f"stage {name}", seconds - spent, "s")
                beside[name] = seconds - spent
    if process.wait() or beside.keys() != set(names):  # one that ran by itself is not measured
        sys.exit(f"{' '.join(command)}: {process.returncode}, measured: {', '.join(beside)}")
    figure("fit and predict in them", fitting, "s")
    return sum(beside.values())


def months_as_files() -> None:
    """A month of so many rows written and read as CSV, as this template once did, and as Parquet: what a
    source gives is checked, written and read."""
    import io
    import re

    import pandas as pd
    from pyarrow import csv

    from pipelines.core import datafiles, rows, tables
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
            values = texts[column.name]
            if column.type == "time":
                assert (values == values.dt.floor("min")).all()
                values = values.dt.strftime("%Y-%m-%d %H:%M")
            elif column.type == "flag":
                values = values.astype("boolean").map({True: "true", False: "false"})
            elif column.type in ("integer", "number"):
                values = values.astype("Int64" if column.type == "integer" else "float64")
            else:
                assert not values.str.contains(r"[\r\n]").any()
            texts[column.name] = values
        content = texts.to_csv(index=False, lineterminator="\n").encode()
        figure("a month as CSV", len(content) / 1e6, "MB")
        options = csv.ConvertOptions(
            column_types=kinds,
            timestamp_parsers=["%Y-%m-%d %H:%M"],
            null_values=[""],
            strings_can_be_null=True,
        )
        whole = csv.ReadOptions(use_threads=False, block_size=len(content) + 1)
        for _ in range(2):  # the checks were those of reading: what was to be written was read back first
            assert not re.search(rb"\r(?!\n)", content)
            read = csv.read_csv(io.BytesIO(content), read_options=whole, convert_options=options)
            datafiles.checked(read, "CSV", month, CONTRACT)

    def as_parquet() -> None:
        content = tables.encoded(rows.typed(table, month, CONTRACT))
        figure("a month as Parquet", len(content) / 1e6, "MB")
        read = tables.decoded(content, datafiles.path("data", month), tables.schema(CONTRACT))
        datafiles.checked(read, "Parquet", month, CONTRACT)

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


class Measured(MetaPathFinder):
    """Finds the modules of MEASURED as they would be found, and `spent` counts the seconds in which any of
    their functions runs: a stage that has no use for them does not import them."""

    def __init__(self) -> None:
        self.spent, self._since, self._running, self._lock = 0.0, 0.0, 0, threading.Lock()

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name in MEASURED else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def then(module: ModuleType) -> None:
            execute(module)
            kind, *functions = MEASURED[name]
            owner = getattr(module, kind)
            for function in functions:
                setattr(owner, function, self._measured(getattr(owner, function)))

        spec.loader.exec_module = then  # type: ignore[method-assign]
        return spec

    def _measured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._count(1)
            try:
                return function(*arguments, **named)
            finally:
                self._count(-1)

        return call

    def _count(self, step: int) -> None:
        with self._lock:
            now = time.perf_counter()
            self.spent += now - self._since if self._running else 0.0
            self._since, self._running = now, self._running + step


measured = Measured()


def stage() -> None:
    """Run `ml` as it was called, and print the seconds that it spent in fit and predict."""
    from pipelines import cli

    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise
    print(SPENT, measured.spent, flush=True)


if __name__ == "__main__":
    run(main)

"""What an environment predicted, and what came true: the prediction log joined with the months' labels.

Anybody who may ask can ask again with the same key. So a key's prediction is the first that was asked within
the contract's horizon before the event; where none was, as in a replay of past months, the first of all."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.core import datafiles, rows, tasks, words
from pipelines.core.contract import Column, Contract
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task

Entry = tuple[Any, ...]

# Names of the log's own fields; a feature keeps its name, so these must not look like one.
KEY, ANSWER, RELEASE, ASKED, SHADOW = "_key", "_answer", "_release", "_asked", "_shadow"

ZONES = pd.Timedelta(hours=14)  # between a time without a zone, as in the data, and the same in UTC


@dataclass(frozen=True)
class Log:
    """An environment's predictions, and what was left out."""

    asked: pd.DataFrame  # KEY, ANSWER, RELEASE, ASKED and the loggable features, the first asked first
    lines: int  # in all files
    cut: int  # last lines without an end: their process was killed while it wrote
    unreadable: int  # other lines that are not predictions
    without_key: int  # predictions that no label can be joined to
    repeated: int  # predictions of a key that had been asked before
    shadow: int  # answers to copies of requests, or to the deployer, that nobody acted on: no predictions

    @property
    def rows(self) -> pd.DataFrame:
        """The first prediction of each key."""
        return self.asked.drop_duplicates(KEY)


def predictions(folder: Path, contract: Contract) -> Log:
    """Read FOLDER/*.jsonl as the service writes it. Lines that are not predictions are only counted."""
    names, task = [column.name for column in contract.loggable], tasks.of(contract)
    entries: list[Entry] = []
    cut = unreadable = 0
    for file in sorted(folder.glob("*.jsonl")):
        with file.open("rb") as stream:
            for line in stream:
                if (entry := _entry(line, names, task)) is not None:
                    entries.append(entry)
                elif line.endswith(b"\n"):
                    unreadable += 1
                else:
                    cut += 1
    lines = len(entries) + cut + unreadable
    answers = pd.DataFrame(entries, columns=[SHADOW, KEY, ANSWER, RELEASE, ASKED, *names])
    wrong, _ = task.wrong(task.stacked(answers[ANSWER]))
    answers = answers[~wrong]
    table = answers[~answers[SHADOW].astype(bool)].drop(columns=SHADOW)
    keyed = table[table[KEY].notna()]
    return Log(
        asked=_as_the_model_takes_them(keyed.sort_values(ASKED, kind="stable"), contract.loggable),
        lines=lines,
        cut=cut,
        unreadable=unreadable + int(wrong.sum()),
        without_key=len(table) - len(keyed),
        repeated=len(keyed) - keyed[KEY].nunique(),
        shadow=len(answers) - len(table),
    )


def events(folder: Path, month: str, problem: Problem) -> pd.DataFrame | None:
    """The month's events as the source records them later; None where FOLDER/MONTH.parquet is not there."""
    if not datafiles.path(folder, month).is_file():
        return None
    table = rows.of_month(month, problem, rows.read_from(folder, problem))
    contract = problem.contract
    columns = dict.fromkeys((contract.time, contract.label, *contract.groups, *contract.features))
    known = table[[column.name for column in columns]].assign(**{KEY: table[contract.key.name].astype(str)})
    return _as_the_model_takes_them(known, contract.features)


def join(log: Log, table: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The predictions of the events of `table`: its columns, the log's, and each value seen as NAME_seen."""
    asked = log.asked[log.asked[KEY].isin(table[KEY])]
    late = ~_within(asked, table.set_index(KEY)[contract.time.name], contract.horizon)
    first = asked.loc[late.sort_values(kind="stable").index].drop_duplicates(KEY)
    return table.merge(first, on=KEY, how="inner", suffixes=("", "_seen"), validate="1:1")


def _within(asked: pd.DataFrame, events: pd.Series, horizon: float) -> pd.Series:
    """Which predictions were asked when they should be: up to `horizon` hours before their events."""
    at = pd.to_datetime(asked[ASKED], utc=True, format="ISO8601", errors="coerce")
    event = pd.to_datetime(asked[KEY].map(events)).dt.tz_localize("UTC")
    return (event - pd.Timedelta(hours=horizon) - ZONES <= at) & (at <= event + ZONES)


def _as_the_model_takes_them(table: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """Numbers in float32, as in training: an edge between two bins is often a value that occurs, and 8.05546
    in float64 is above the same in float32. Of words their number."""
    numbers = {
        column.name: pd.to_numeric(table[column.name], errors="coerce").astype("Float64").astype(np.float32)
        for column in columns
        if not column.is_text
    }
    counts = {c.name: table[c.name].map(words.count).astype(np.float32) for c in columns if c.type == "words"}
    return table.assign(**numbers, **counts)


def _entry(line: bytes, names: Iterable[str], task: Task) -> Entry | None:
    try:
        value = json.loads(line)
        features, key, answer = value["features"], value["key"], task.read(value[task.answer])
        key = None if key is None else str(key)
        seen = (features.get(name) for name in names)
        return (bool(value.get("shadow")), key, answer, value["release"], value["time"], *seen)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):  # a UTF-8 error is a ValueError
        return None

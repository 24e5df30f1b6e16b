"""What a table's room could be: each column, key, time and label, and what they tell of each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast, get_args

import numpy as np
import pandas as pd

from pipelines.base.errors import UserError
from pipelines.core import coercion, periods, tables, tasks
from pipelines.core.contract import TASKS, Column, Contract, Type
from pipelines.core.tasks.task import Task
from pipelines.judge.rules import leaks
from pipelines.start import dates, guess
from pipelines.start.table import Table

NOW = 0.0  # hours before the event
NEARLY = 0.98  # what one column alone may tell of the label, as Task.knows: 0.5 is chance
SAMPLE = 20_000  # rows, to see what a column tells
PARTS = 50  # of a number, each with as many rows
CLASSES = 10  # whole numbers, from more on, are a number and no classes
LISTED = 30  # values of a category that columns.py lists
SLICED, SLICES = 12, 3  # values of a category that is a slice, and so many of them
TWO_YEARS = 730  # days, after which each month of the year is known twice
CLOCK = {  # what features.py makes of the time: which part of it, up to which number
    "weekday": ("dayofweek", 6, "day of the week, Monday is 0"),
    "hour_of_day": ("hour", 23, "hour of the day"),
    "month_of_year": ("month", 12, "month of the year, January is 1"),
}
NONE = "none"
WORDS = {  # for each field that says what a prediction is for
    "positive": "{label} is {true}",
    "act": "act on it",
    "false_alarm": "acted in vain",
    "miss": "not acted, where it would have been right",
    "quantity": "{label}",
    "over": "more was expected than came",
    "under": "less was expected than came",
    "subject": "{label}",
}
ACT = "done as for {}"  # for each class
MOST_CLASSES = 20

Ask = Callable[[str, str, Sequence[str]], str]  # a question, what is proposed, what else: the answer


@dataclass(frozen=True)
class Said:
    """A column of the room, and what columns.py does not say of it."""

    column: Column
    original: str = ""  # its name in the table; empty where the room makes it
    written: str = ""  # how its dates are, by guess.kind
    true: str = ""  # of a label of two words the one that makes it true
    why: str = ""  # a comment


@dataclass(frozen=True)
class Proposal:
    """A room, and its rows with their derived columns, in order of time."""

    table: Table
    contract: Contract
    said: Mapping[str, Said]  # by the column's name
    rows: pd.DataFrame
    dated: bool
    first: pd.Timestamp  # where it is not: the first of `days` days to which the rows are dealt,
    days: int
    kind: periods.Grain  # of which data/ has a file each
    shuffled: bool  # in a random order, since the table is sorted by its label
    strongest: tuple[str, float]  # the feature that alone tells most of the label, and how much

    @property
    def task(self) -> Task:
        return tasks.of(self.contract)


def propose(table: Table, asked: Mapping[str, str], types: Mapping[str, str], ask: Ask) -> Proposal:
    """The room for a table. `asked` may name its label, time and key (`none`: it is made), `types` the type
    of a column. UserError for what the table lacks, or cannot be."""
    said = _columns(table, types)
    label = _label(table, said, asked.get("label", ""), types, ask)
    time = _time(table, said, asked.get("time", ""), label, ask)
    key = _key(table, said, asked.get("key", ""), (label, time), ask)
    dated, (first, days) = time != NONE, dates.span()
    if table.arrived and not dated:
        raise UserError(
            f"the files of {table.name} are named by the day on which their rows arrived, and without a time "
            "the rows are dealt to other days: name a column with `--time`, or rename the files"
        )
    shuffled = not dated and dates.is_sorted(table.rows[said[label].original])
    rows = pd.DataFrame({name: _given(table.rows[one.original], one) for name, one in said.items()})
    if not dated:
        time = guess.named("arrived", said)
        said[time] = Said(Column(time, "time", "the day on which the row arrived"))
        rows[time] = dates.dealt(len(rows), first, days, shuffled)
    if key == NONE:
        key = guess.named("row", said)
        what = "its time, and its place among those of that time" if dated else "its place in the table"
        said[key] = Said(Column(key, "text", what))
        place = rows.groupby(time).cumcount() if dated else pd.Series(rows.index)
        rows[key] = (rows[time].dt.strftime("%Y-%m-%d %H:%M:%S ") if dated else "") + (place + 1).astype(str)
    _mark(said, key, key=True, type="text", known_at=NOW)
    _mark(said, time, time=True, known_at=NOW)
    _mark(said, label, label=True)
    said = {name: said[name] for name in dict.fromkeys((key, time, *(n for n in said if n != label), label))}
    rows = tables.frame(coercion.typed(rows, table.name, _contract(table, said)))
    rows = rows.sort_values(time, kind="stable", ignore_index=True)
    if dated:
        _derive(said, rows, time)
    if (kind := dates.grain(rows[time]) if dated else "month") is None:
        raise UserError(
            f"{time} has no two months, weeks or days with rows: `--time none` deals the rows to days"
        )
    period = periods.names(rows[time], dates.LIKE[kind])
    for name in said:
        _measure(said, rows, name, time, period)
    strongest = _leaks(said, rows, tasks.of(_contract(table, said)), (key, time, label), ask)
    _slices(said, rows, label)
    return Proposal(table, _contract(table, said), said, rows, dated, first, days, kind, shuffled, strongest)


def _mark(said: dict[str, Said], name: str, why: str = "", **values: Any) -> None:
    one = said[name]
    whole = "; ".join(filter(None, (one.why, why)))
    said[name] = replace(one, column=replace(one.column, **values), why=whole)


def _columns(table: Table, types: Mapping[str, str]) -> dict[str, Said]:
    """Each column of the table that says something, by its name in the room."""
    if unknown := [name for name in types if name not in table.rows]:
        raise UserError(f"--as {unknown[0]}: {_lacks(table, unknown[0])}")
    if wrong := [name for name, kind in types.items() if kind not in get_args(Type)]:
        known = ", ".join(get_args(Type))
        raise UserError(f"--as {wrong[0]}={types[wrong[0]]}: a type is one of {known}")
    said: dict[str, Said] = {}
    for original, values in table.rows.items():
        if original not in types and values.nunique() < 2:
            continue
        kind, written = guess.kind(values)
        why = "day first or month first? source.py can say which" if written == "?" else ""
        if guess.numbered(str(original)) and kind in ("integer", "category"):
            kind = "text"
        elif kind in ("text", "category"):
            why = why or guess.nearly(values)
        if kind == "text" and not why and guess.has_words(values):
            kind = "words"
        if types.get(str(original)) == "time" != kind:
            undated = f"--as {original}=time: not all of its values are dates, written in one known way"
            raise UserError(f"{undated}: take it as a text, and read it in source.py")
        kind = cast(Type, types.get(str(original), kind))
        name = guess.named(str(original), said)
        unit = guess.unit(str(original)) if kind in ("number", "integer") else ""
        column = Column(name, kind, guess.meaning(str(original)), NOW, unit)
        said[name] = Said(column, str(original), written if kind == "time" else "", why=why)
    if len(said) < 2:
        raise UserError(
            f"{table.name} has {len(said)} column that says something, and a label and a feature are two"
        )
    return said


def _lacks(table: Table, name: str) -> str:
    return f"{table.name} has no column {name}; it has {', '.join(map(str, table.rows))[:200]}"


def _chosen(
    table: Table, said: dict[str, Said], given: str, question: str, mine: str, others: Sequence[str], ask: Ask
) -> str:
    """The column by its name in the room, where `given`, or the answer, names it here or in the table."""
    answer = given or ask(question, mine, others)
    found = next((name for name, one in said.items() if answer in (name, one.original)), answer)
    if found not in said and answer != NONE:
        same = f"{answer} cannot be it: it says the same in every row"
        raise UserError(same if answer in table.rows else _lacks(table, answer))
    return found


# --- which column is what ----------------------------------------------------------------------------------


def _label(table: Table, said: dict[str, Said], given: str, types: Mapping[str, str], ask: Ask) -> str:
    """The label's name, its column made one that a label can have."""
    able = [name for name, one in said.items() if one.column.type in TASKS]
    likely = [name for word in guess.WORDS["label"] for name in able if word in guess.words(name)]
    mine = (likely or able[::-1] or list(said)[::-1])[0]
    name = _chosen(table, said, given, "Which column is to be predicted", mine, able, ask)
    if name == NONE:
        raise UserError("a label is needed: `--label` names the column that is to be predicted")
    one = said[name]
    kind, values = one.column.type, table.rows[one.original].dropna()
    found = values.astype(str).str.strip().value_counts()
    more: dict[str, Any] = {}
    if kind == "category" and len(found) == 2:
        kind, one = "flag", replace(one, true=str(found.index[-1]))
    elif kind == "integer" and one.original not in types and _are_classes(values):
        kind = "category"
    if kind in ("number", "integer"):
        more = {"minimum": 0.0, "maximum": 0.0}  # until they are measured
    if kind not in TASKS or (kind == "category" and len(found) > MOST_CLASSES):
        way = one.why or f"`--as {one.original}=TYPE` says what else it is"
        raise UserError(
            f"{name} cannot be a label: its type is {kind}, with {len(found):,} values, and a label is "
            f"one of {', '.join(TASKS)}; {way}"
        )
    if kind == "category":
        more = {"values": tuple(str(coercion.TAKE["category"](value)) for value in sorted(values.unique()))}
    said[name] = replace(one, column=replace(one.column, type=kind, known_at=None, **more))
    return name


def _are_classes(values: pd.Series) -> bool:
    """Whether whole numbers are names: few, without a gap, from 0 or 1, each several times."""
    found = values.value_counts()
    ends = range(int(min(found.index)), int(max(found.index)) + 1)
    return len(found) <= CLASSES and set(found.index) == set(ends) and ends[0] in (0, 1) and found.min() >= 5


def _time(table: Table, said: dict[str, Said], given: str, label: str, ask: Ask) -> str:
    able = [name for name, one in said.items() if one.column.type == "time" and name != label]
    whole = [name for name in able if table.rows[said[name].original].notna().all()]
    early = [name for name in whole if not guess.known_afterwards(said[name].original)]
    early = [n for n in early if dates.grain(_given(table.rows[said[n].original], said[n]))]
    likely = [name for word in guess.WORDS["time"] for name in early if word in guess.words(name)]
    mine = [*likely, *early, NONE][0]
    name = _chosen(table, said, given, "When does the event of a row happen", mine, [*able, NONE], ask)
    if name != NONE and name not in whole:
        is_not = "has rows without one" if name in able else f"is of type {said[name].column.type}"
        raise UserError(f"{name} cannot be the time: it {is_not}; `--time none` deals the rows to days")
    return name


def _key(table: Table, said: dict[str, Said], given: str, others: Sequence[str], ask: Ask) -> str:
    rows = {name: table.rows[one.original] for name, one in said.items() if name not in others}
    able = [name for name, values in rows.items() if values.notna().all() and values.is_unique]
    able = [name for name in able if said[name].column.type in ("text", "words", "integer", "category")]
    likely = [name for name in able if guess.numbered(said[name].original)]
    mine = [*likely, *(name for name in able if said[name].column.type == "text"), NONE][0]
    name = _chosen(table, said, given, "Which column identifies a row", mine, [*able, NONE], ask)
    if name not in (*able, NONE):
        raise UserError(f"{name} cannot be the key: it is not another in each row; `--key none` makes one")
    return name


def _given(values: pd.Series, one: Said) -> pd.Series:
    """What source.py gives of a column."""
    if one.column.type == "time":
        return guess.times(values, one.written)
    if one.true:
        return (values.astype(str).str.strip() == one.true).astype("boolean").mask(values.isna())
    return values


# --- what the values say -----------------------------------------------------------------------------------


def _contract(table: Table, said: Mapping[str, Said]) -> Contract:
    """The contract of these columns. What a prediction says and does is in words that fit any label."""
    label = next(one for one in said.values() if one.column.label)
    wanted = TASKS[label.column.type]
    fill = {"label": label.column.meaning, "true": label.true or "true"}
    acts = {value: ACT.format(value) for value in label.column.values}
    words = {
        field.name: WORDS[field.name].format(**fill) if field.name in WORDS else acts
        for field in fields(wanted)
    }
    stem = "-".join(guess.words(table.name.partition(".")[0]) or ["table"])
    name = f"{stem}-{'-'.join(guess.words(label.column.name))}"
    columns = tuple(one.column for one in said.values())
    return Contract(name, f"a row of {table.name}", NOW, wanted(**words), columns)


def _derive(said: dict[str, Said], rows: pd.DataFrame, time: str) -> None:
    """The columns that features.py makes of the time."""
    short = (rows[time].max() - rows[time].min()).days <= TWO_YEARS
    for name, (part, most, meaning) in CLOCK.items():
        values = getattr(rows[time].dt, part)
        if name in said or values.nunique() < 2 or (part == "month" and short):
            continue
        rows[name] = values
        label = next(reversed(said))
        column = Column(name, "integer", meaning, NOW, "", 0, most, derived=True, loggable=True)
        said |= {name: Said(column), label: said.pop(label)}


def _measure(said: dict[str, Said], rows: pd.DataFrame, name: str, time: str, period: np.ndarray) -> None:
    """Range, values and missing share of a column, and whether its name or its dates say that it is late."""
    one, values = said[name], rows[name]
    column, given = one.column, values.dropna()
    if column.derived or column.key or column.time:
        return
    _mark(said, name, missing=guess.share(values, period))
    if column.type in ("number", "integer") and len(given):
        low, high = guess.bounds(given, column.type == "integer", column.unit)
        _mark(said, name, minimum=low, maximum=high)
    elif column.type == "category" and not column.label and given.nunique() <= LISTED:
        _mark(said, name, values=tuple(sorted(given.unique())))
    if column.label:
        return
    if column.type in ("text", "words"):
        _mark(said, name, "no feature: a text" if column.type == "text" else "any words: no log keeps it")
    elif column.type != "time":
        personal = not set(guess.WORDS["personal"]).isdisjoint(guess.words(one.original))
        _mark(said, name, "of a person: no log keeps it" if personal else "", loggable=not personal)
    if word := guess.known_afterwards(one.original):
        _mark(said, name, f"{word!r} in its name: known only afterwards", known_at=None)
    elif column.type == "time" and (late := float((values > rows[time]).mean())) > 0.5:
        _mark(said, name, f"later than {time} in {late:.0%} of the rows", known_at=None)


def _leaks(
    said: dict[str, Said], rows: pd.DataFrame, task: Task, roles: Sequence[str], ask: Ask
) -> tuple[str, float]:
    """Mark what alone tells nearly all of the label; the strongest of the others."""
    label, time = roles[-1], rows[roles[1]]
    seen = rows[rows[label].notna()]
    seen = seen.iloc[:: max(1, len(seen) // SAMPLE)]
    if lacking := task.lacks(task.labels(seen[label])):
        raise UserError(f"{label} cannot be a label: it is always {lacking[0]}, and {lacking[1]} are needed")
    day = time[seen.index].dt.normalize().rank(method="dense").to_numpy(dtype=np.int64)
    tried = [n for n, one in said.items() if n not in roles and one.column.type not in ("time", "text")]
    labels = task.labels(seen[label])
    told = {name: leaks.alone(seen[name], labels, day, task) for name in tried}
    early = {name: told[name] for name in tried if said[name].column.known_at is not None}
    nearly = [name for name in early if _is_nearly(seen[name], labels, day, task)]
    for name in told.keys() - early.keys():
        _mark(said, name, f"alone it has {task.ranking.name} {told[name]:.3f}")
    for name in nearly if len(nearly) < len(early) else ():
        words = f"alone it has {task.ranking.name} {told[name]:.3f}"
        if ask(f"{name}: {words}. Is it known only afterwards", "yes", ("no",)) == "yes":
            _mark(said, name, f"{words}: nearly the label", known_at=None)
            del early[name]
    if not early:
        raise UserError(
            "no column is left to predict from: all are known afterwards only, or are texts and times"
        )
    return max(early.items(), key=lambda entry: np.nan_to_num(entry[1]))


def _is_nearly(values: pd.Series, label: np.ndarray, day: np.ndarray, task: Task) -> bool:
    """Whether a column alone tells nearly all of each side of the label; a number may do so by its order, or
    by where it is."""
    ways = [values]
    if pd.api.types.is_numeric_dtype(values):
        ways.append(pd.qcut(values.astype("Float64"), PARTS, duplicates="drop").astype(str))
    told = (max(leaks.of_a_side(way, side, day, task) for way in ways) for side in task.sides(label))
    return min(told) > NEARLY


def _slices(said: dict[str, Said], rows: pd.DataFrame, label: str) -> None:
    """Categories of few values, none of them rare, are slices."""
    found = [n for n, one in said.items() if one.column.type == "category" and n != label]
    shares = {name: rows[name].value_counts(normalize=True) for name in found}
    for name in [n for n, of in shares.items() if 2 <= len(of) <= SLICED and of.max() < 0.9][:SLICES]:
        _mark(said, name, slice=True)

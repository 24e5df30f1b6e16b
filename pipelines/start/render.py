"""The files of a room, from templates: as somebody would write them by hand."""

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.base import programs
from pipelines.base.errors import UserError
from pipelines.core.contract import Column
from pipelines.start import dates
from pipelines.start.limits import Limits
from pipelines.start.propose import Proposal

TEMPLATES = Path(__file__).parent / "templates"
ROOM = ("columns.py", "source.py", "features.py", "estimators.py")
WIDTH = 110
PARTS = {"weekday": "dayofweek", "hour_of_day": "hour", "month_of_year": "month"}  # of a time


def rendered(proposal: Proposal, limits: Limits) -> dict[str, str]:
    """The text of each file of the room, and of params.yaml."""
    contract, features = proposal.contract, proposal.contract.features
    values: dict[str, Any] = {
        **vars(proposal),
        "limits": limits,
        "task": proposal.task,
        "label": contract.label,
        "decision": type(contract.decision).__name__,
        "words": {field.name: getattr(contract.decision, field.name) for field in fields(contract.decision)},
        "derived": [column.name for column in contract.derived],
        "parts": PARTS,
        "categories": any(column.type == "category" for column in features),
        "numbers": any(column.type != "category" for column in features),
        "costs": yaml.safe_dump({"decision": limits.costs}, sort_keys=False, allow_unicode=True, width=WIDTH),
        **_source(proposal),
    }
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "literal": literal,
        "column": _column,
        "wrapped": lambda comment: textwrap.wrap(comment, WIDTH - 10),
        "plain": lambda number: yaml.safe_dump(float(f"{number:.6g}")).split()[0],  # 3e-05 is a text to it
        "quoted": lambda text: text.replace("\\", "\\\\").replace('"', '\\"'),
    }
    texts = {name: made.get_template(f"{name}.j2").render(values) for name in (*ROOM, "params.yaml")}
    return {name: python(name, text) if name.endswith(".py") else text for name, text in texts.items()}


def literal(value: Any) -> str:
    """As Python writes it, texts in double quotes."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"' if "'" not in repr(value)[1:-1] and value.isprintable() else repr(value)
    if isinstance(value, tuple | list):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(one)}" for key, one in value.items()) + "}"
    return f"{value:.12g}" if isinstance(value, float) else repr(value)


def _column(column: Column) -> str:
    given = [literal(getattr(column, name)) for name in ("name", "type", "meaning")]
    for field in fields(column)[3:]:
        value = getattr(column, field.name)
        if value != field.default:
            given.append(f"{field.name}={'NOW' if field.name == 'known_at' else literal(value)}")
    return f"Column({', '.join(given)})"


def _source(proposal: Proposal) -> dict[str, Any]:
    """What source.py.j2 asks for."""
    contract, table, said = proposal.contract, proposal.table, proposal.said
    key = "" if said[contract.key.name].original else contract.key.name
    stem, place = table.name.removesuffix(table.ending), literal(table.place)
    return {
        "time": contract.time.name,
        "format": dates.FORMATS[proposal.kind],
        "key": key,
        "query": _text(table.place),
        "path": f"Path({place})"
        if Path(table.place).is_absolute()
        else f"Path(__file__).parents[2] / {place}",
        "later": f"{'*' if table.folder else stem}-????-??-??{table.ending}",
        "names": {one.original: name for name, one in said.items() if one.original not in ("", name)},
        "changed": dict(_changed(proposal)),
        "paragraphs": [textwrap.fill(part, WIDTH) for part in _paragraphs(proposal, key, stem)],
    }


def _changed(proposal: Proposal) -> Iterator[tuple[str, str]]:
    """The columns that source.py does not give as the table has them, with its code."""
    for name, one in proposal.said.items():
        values = f"table[{literal(name)}]"
        if one.true:
            words = f"{values}.astype(str).str.strip() == {literal(one.true)}"
            yield name, f'({words}).astype("boolean").mask({values}.isna())'
        elif one.written == "utc":
            yield name, f"pd.to_datetime({values}, utc=True).dt.tz_localize(None)"
        elif one.written == "iso":
            yield name, f'pd.to_datetime({values}, format="ISO8601")'
        elif one.written:
            yield name, f"pd.to_datetime({values}, format={literal(one.written)})"


def _paragraphs(proposal: Proposal, key: str, stem: str) -> Iterator[str]:
    """The docstring of source.py."""
    table = proposal.table
    yield f"Where the data come from: {'a query' if table.kind == 'query' else table.place}."
    if not proposal.dated:
        order = "in their order"
        if proposal.shuffled:
            order = "in a random order, since the table is sorted by its label"
        yield (
            "The table has no dates, so a row's time is the day on which it arrived. Nobody knows it of the "
            f"first rows: they are dealt to {proposal.days} days, as many to each, {order}. That is an "
            "assumption: what changes over time cannot be seen in them."
        )
    if not proposal.dated and table.kind == "query":
        yield "Before it gives more rows, the query must say when each arrived: else all are dealt anew."
    elif not proposal.dated:
        example = f"{'new' if table.folder else stem}-2030-01-31{table.ending}"
        where = "in it" if table.folder else "beside it"
        yield (
            f"Rows that arrive from now on are in files {where}, named by their day, as {example}: the first "
            "rows stay as they are."
        )
    if any(one.written == "utc" for one in proposal.said.values()):
        yield "Times that have a zone are given as the moment, in UTC."
    if key and proposal.dated:
        yield "A row has no name of its own: its time and its place among the rows of that time are one."


def _text(query: str) -> str:
    """A query as a literal; one of several lines stays so."""
    plain = "\n" in query and "\\" not in query and '"' * 3 not in query and not query.endswith('"')
    return f'"""\n{query}\n"""' if plain else literal(query)


def python(name: str, text: str) -> str:
    """As ruff writes it, where there is one; the text itself is right without. UserError where a name of
    the table makes it no Python."""
    try:
        compile(text, name, "exec")
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{name} would be no Python ({error}): rename the table, or its columns") from None
    command = [sys.executable, "-m", "ruff", "format", "--line-length", str(WIDTH), "-"]
    done = programs.run(command, input=re.sub(r"\n{4,}", "\n\n\n", text))
    return str(done.stdout) if done.returncode == 0 else text

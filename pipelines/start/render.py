"""The files of a room, from templates: as somebody would write them by hand."""

import re
import sys
import textwrap
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
from pipelines.start.propose import CLOCK, Proposal

TEMPLATES = Path(__file__).parent / "templates"
ROOM = ("columns.py", "source.py", "features.py", "estimators.py")
WIDTH = 110


def rendered(proposal: Proposal, limits: Limits) -> dict[str, str]:
    """The text of each file of the room, and of params.yaml."""
    contract, features = proposal.contract, proposal.contract.features
    values: dict[str, Any] = {
        **vars(proposal),
        "limits": limits,
        "task": proposal.task,
        "label": contract.label,
        "decision": type(contract.decision).__name__,
        "words": vars(contract.decision),
        "derived": {column.name: CLOCK[column.name][0] for column in contract.derived},
        "categories": any(column.type == "category" for column in features),
        "texts": any(column.type == "words" for column in features),
        "numbers": any(not column.is_text for column in features),
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
        "filled": _filled,
        "wrapped": lambda comment: textwrap.wrap(comment, WIDTH - 10),
        "plain": lambda number: yaml.safe_dump(float(f"{number:.6g}")).split()[0],  # 3e-05 is a text to it
        "quoted": lambda text: text.replace("\\", "\\\\").replace('"', '\\"'),
    }
    texts = {name: made.get_template(f"{name}.j2").render(values) for name in (*ROOM, "params.yaml")}
    return {name: python(name, text) if name.endswith(".py") else text for name, text in texts.items()}


def literal(value: Any) -> str:
    """As Python writes it; ruff chooses the quotes."""
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
        "stem": stem,
    }


def _filled(docstring: str) -> str:
    """Its paragraphs in lines of WIDTH characters; of several, the quotes have their own line."""
    parts = [textwrap.fill(part.strip(), WIDTH) for part in docstring.strip().split("\n\n")]
    return "\n\n".join(parts) + ("\n" if len(parts) > 1 else "")


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

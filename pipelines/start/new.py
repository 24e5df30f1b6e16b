"""`ml new`: a room and params.yaml for a table that somebody has."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from pipelines.base import git
from pipelines.base.console import aligned, step
from pipelines.base.errors import UserError
from pipelines.base.files import write_text
from pipelines.core import params, periods
from pipelines.start import margins, propose, render, table
from pipelines.start.limits import Limits

ROOM, PARAMS = Path("pipelines/problem"), Path("params.yaml")
OF_BEFORE = ("data.dvc", "dvc.lock")  # they are of another problem's data


def run(
    given: str,
    asked: Mapping[str, str],
    types: Mapping[str, str],
    yes: bool = False,
    force: bool = False,
    top: Path | None = None,
) -> None:
    """Write pipelines/problem/ and params.yaml for the table `given`: all of it or nothing. What is proposed
    is asked for, or, with `yes`, taken. UserError where there is no terminal to ask at, or where git does
    not have what would be overwritten, but with `force`."""
    top = (top or Path()).resolve()
    if not (top / ROOM).is_dir():
        raise UserError(f"{top} has no {ROOM}: run `ml new` at the top of the repository")
    if f"'{ROOM}/" in given or top / ROOM in (path := Path(given).resolve(), *path.parents):
        raise UserError(f"{given} is in {ROOM}/, which is written anew: keep the table elsewhere")
    whole = (str(PARAMS), *OF_BEFORE)
    edited = [path for path in git.dirty(top) if path in whole or ROOM in Path(path).parents]
    if edited and not force:
        raise UserError(f"{edited[0]} has edits that are not committed: commit them, or `--force` drops them")
    if not yes and not sys.stdin.isatty():
        raise UserError("there is no terminal to ask at: `--yes` takes what is proposed")
    found = table.read(given, top)
    proposal = propose.propose(found, asked, types, _taken if yes else _asked)
    wanted = margins.decided(proposal)
    texts = render.rendered(proposal, wanted)
    proposal.task.suited(params.parse(yaml.safe_load(texts[PARAMS.name])))
    put(top, texts)
    _tell(proposal, wanted)


def _taken(question: str, mine: str, others: Sequence[str]) -> str:
    step(f"{question}? {mine}")
    return mine


def _asked(question: str, mine: str, others: Sequence[str]) -> str:
    import typer

    more = f" ({', '.join(list(dict.fromkeys([mine, *others]))[:12])})" if others else ""
    return str(typer.prompt(f"{question}?{more}", default=mine)).strip()


def put(top: Path, texts: Mapping[str, str]) -> None:
    """The room is another folder in one step; where anything fails, the old one is back."""
    room = top / ROOM
    new, old = (room.with_name(f".{room.name}.{word}") for word in ("new", "old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    for name in texts.keys() - {PARAMS.name}:
        write_text(new / name, texts[name])
    shutil.copyfile(room / "__init__.py", new / "__init__.py")
    room.rename(old)
    try:
        new.rename(room)
        write_text(top / PARAMS, texts[PARAMS.name])
    except BaseException:
        shutil.rmtree(room, ignore_errors=True)
        old.rename(room)
        raise
    shutil.rmtree(old)
    for name in OF_BEFORE:
        (top / name).unlink(missing_ok=True)


def _tell(proposal: propose.Proposal, wanted: Limits) -> None:
    rows: list[tuple[str, ...]] = [("column", "type", "unit", "from", "to", "missing", "")]
    for one in proposal.said.values():
        column = one.column
        roles = [role for role in ("key", "time", "label", "slice", "derived") if getattr(column, role)]
        late = ["only afterwards"] if column.known_at is None and not column.label else []
        ends = ("" if end is None else f"{end:g}" for end in (column.minimum, column.maximum))
        notes = ", ".join(roles + late) + (f" ({one.why})" if one.why else "")
        missing = f"{column.missing:.0%}" if column.missing else ""
        rows.append((column.name, column.type, column.unit, *ends, missing, notes))
    print("\n".join(aligned(rows, 80)))
    if proposal.table.kind == "query":
        print(f"\n{table.DUCKDB}")
    days = proposal.rows[proposal.contract.time.name]
    if left := int((~periods.within(days, wanted.first, wanted.through)).sum()):
        where = f"outside {wanted.first} to {wanted.through}, in periods with too few days"
        print(f"\n{left:,} of {len(days):,} rows are {where}: they are left out")
    print(
        f"\n{len(proposal.rows):,} rows; {wanted.first} to {wanted.last} train, those to {wanted.through} "
        f"judge. Look at {ROOM}/ and {PARAMS}, then: ml ingest && ml reproduce\n"
        f"Margins are what these {wanted.days} days decide: `ml gate --power` then says what more would."
    )
    for key, why in wanted.undecided.items():
        print(f"But {wanted.margin[key]:g} of {key}: {why}; till then expect INCONCLUSIVE.")

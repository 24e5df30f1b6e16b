"""`ml status` and `ml history`: what an environment runs now, and what the journal tells of its past."""

from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.delivery import ledger, watch
from pipelines.delivery.host import COLOURS, Host
from pipelines.delivery.journal import Move, shown
from pipelines.delivery.slots import process
from pipelines.errors import UserError

WIDE = 200


def status(env: str, home: Path | None = None) -> int:
    """Print what is wanted, what runs, and where the two differ. Returns 0, also without the ledger."""
    host = Host.load(env, home)
    route, ready = host.edge.route(), host.edge.ready()
    print(f"{env}: {host.edge.model_url}")
    try:
        entry = ledger.wanted(env)
        wanted = entry.release if entry else None
        print(f"  wanted   {wanted[:12] if wanted else 'nothing'}")
    except UserError as error:
        wanted = route.release if route else None
        print(f"  wanted   not known: {error}")
    print(f"  traffic  {f'{route.release[:12]} on {route.slot}' if route else 'nothing'}")
    for colour in COLOURS:
        runs = process.running(host, colour)
        health = "healthy" if ready and host.edge.healthy(colour) else "not healthy"
        print(f"  {colour:8} {f'{runs[:12]}, {health}' if runs else 'stopped'}")
    if not ready:
        print(f"  differs: the edge does not answer; run `ml infra up --env {env}`")
    elif wanted and wanted != (route.release if route else None):
        print(f"  differs: run `ml deploy --env {env}`")
    elif route and not host.edge.healthy(route.slot):
        print(f"  differs: the live slot is not healthy; run `ml deploy --env {env}`")
    if unfinished := host.journal.half_way():
        reason = f" ({unfinished.waits})" if unfinished.waits else ""
        print(f"  unfinished: the move to {unfinished.release[:12]} of {unfinished.at}{reason}")
    if route and route.preview:
        print(f"  preview  {host.edge.model_url}/preview/predict is {route.preview}")
    for last in host.journal.moves()[-1:]:
        if last.result == "failed" and last.release == wanted:
            print(f"  refused  {last.at[:19]}: {last.failing}")
    if watched := watch.told(host):
        print(f"  watch    {watched}")
    return 0


def history(env: str, move: str | None = None, home: Path | None = None) -> int:
    """Print the moves of an environment, oldest first, or each line of one of them. Returns 0.

    UserError where there is no such move.
    """
    host = Host.load(env, home)
    moves = host.journal.moves()
    if move is None:
        _show(_moves(env, moves))
        return 0
    found = [one for one in moves if one.id.startswith(move)]
    if len(found) != 1:
        raise UserError(
            f"--move {move!r} is the id of {len(found)} moves: `ml history --env {env}` lists them"
        )
    _show(_lines(found[0]))
    return 0


def _moves(env: str, moves: list[Move]) -> Table:
    table = Table(
        "at", "move", "why", "from", "to", "slot", "steps", "result", "seconds", title=f"{env}: moves"
    )
    for move in moves:
        origin = move.origin["release"][:12] if move.origin else "nothing"
        table.add_row(
            *(move.at[:19], move.id, move.why, origin, move.release[:12], move.slot),
            *(_steps(move), move.ended, _seconds(move)),
        )
    return table


def _steps(move: Move) -> str:
    """The last step that was finished."""
    done = [e["step"] for e in move.events if e["event"] == "fact" and "skipped" not in e]
    return f"to {done[-1]}" if done else "none"


def _seconds(move: Move) -> str:
    if not move.events:
        return ""
    return f"{(_time(move.events[-1]['at']) - _time(move.at)).total_seconds():.1f}"


def _lines(move: Move) -> Table:
    table = Table("at", "event", "step", "what is known", title=f"move {move.id} to {move.release[:12]}")
    for line in move.events:
        known = "\n".join(f"{name}: {value}" for name, value in shown(line).items())
        table.add_row(line["at"][11:], line["event"], line.get("step", ""), known)
    return table


def _show(table: Table) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)  # a log has no width; 80 columns would break every line
    console.print(table)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)

"""`ml status` and `ml history`: what an environment runs now, and what the journal tells of its past."""

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from pipelines.base.errors import UserError
from pipelines.edge.edge import Route
from pipelines.host import services, trust
from pipelines.host.host import COLOURS, Host
from pipelines.host.slots import process
from pipelines.registry.ledger import Ledger, Look
from pipelines.registry.signing import LIST
from pipelines.rollout import checks, watch
from pipelines.rollout.journal import Journal, Move, shown

WIDE, WIDE_ENOUGH = 200, 120  # columns: of a log; for all that is known of a move


def status(env: str, model: str, home: Path | None = None) -> None:
    """Print what is wanted, what runs, and where the two differ, also without the ledger."""
    host = Host.load(env, model, home)
    route, ready = host.edge.route(), host.edge.ready()
    print(f"{env}: {host.edge.model_url}")
    try:
        found = (ledger := Ledger()).look(env)
        wanted = found.entry.release if found else None
        print(f"  wanted   {wanted[:12] if wanted else 'nothing'}")
        print(f"  signed   {_signed(host, ledger, found)}")
    except UserError as error:
        wanted = route.release if route else None
        print(f"  wanted   not known: {error}")
    print(f"  traffic  {f'{route.release[:12]} on {route.slot}' if route else 'nothing'}")
    for colour in COLOURS:
        print(f"  {colour:8} {slot(host, colour, ready)}")
    if differs := difference(host, route, wanted, ready):
        print(f"  differs: {differs}")
    if unfinished := Journal(host.place).half_way():
        reason = f" ({unfinished.waits})" if unfinished.waits else ""
        print(f"  unfinished: the move to {unfinished.release[:12]} of {unfinished.at}{reason}")
    if route and route.preview:
        print(f"  preview  {host.edge.model_url}/preview/predict is {route.preview}")
    for last in Journal(host.place).moves()[-1:]:
        if last.result == "failed" and last.release == wanted:
            print(f"  refused  {last.at[:19]}: {last.failing}")
    if watched := watch.told(host):
        print(f"  watch    {watched}")


def _signed(host: Host, ledger: Ledger, found: Look | None) -> str:
    """Whose word the entry is."""
    try:
        if trust.signers(host.folder) is None:
            return f"entries are not verified: {host.folder / LIST} does not exist (docs/host.md)"
        who = trust.believe(host, ledger, found)
    except UserError as error:
        return f"no, and it is not deployed: {error}"
    return f"by {who}" if who else "nothing is wanted yet"


def history(env: str, model: str, move: str | None = None, home: Path | None = None) -> None:
    """Print the moves of an environment, oldest first, or each line of one of them."""
    host = Host.load(env, model, home)
    moves = Journal(host.place).moves()
    found = [one for one in moves if move and one.id.startswith(move)]
    if move is not None and len(found) != 1:
        known = f"`ml history --env {env}` lists them"
        raise UserError(f"--move {move!r} is the id of {len(found)} moves: {known}")
    _console().print(_lines(found[0]) if found else _moves(env, moves))


def slot(host: Host, colour: str, ready: bool) -> str:
    """What the slot should run, whether the edge calls it healthy, and what it says itself that it is."""
    runs, answers = process.running(host.slot(colour)), checks.probe(host.slot(colour).url)
    if runs is None and answers is None:
        return "stopped"
    healthy = ready and host.edge.healthy(colour)
    if runs == answers:
        return f"{str(runs)[:12]}, {'healthy' if healthy else 'not healthy'}"
    said = f"{answers[:12]} answers" if answers else "it does not answer"
    return f"{runs[:12] if runs else 'nothing'} should run there, but {said}"


def difference(host: Host, route: Route | None, wanted: str | None, ready: bool) -> str | None:
    """What is not as it should be, and the way out."""
    up, deploy = (f"run `ml {verb} --env {host.environment}`" for verb in ("infra up", "deploy"))
    if not ready:
        return f"the edge does not answer; {up}"
    if not services.alive(host):
        return f"the supervisor does not answer, or is not alone; {up}"
    if wanted and wanted != (route.release if route else None):
        return deploy
    if route is None:
        return None
    if not host.edge.healthy(route.slot):
        return f"the live slot is not healthy; {deploy}"
    for where, url in (("the live slot", host.slot(route.slot).url), ("the edge", host.edge.model_url)):
        answers = checks.probe(url)
        if answers != route.release and not (route.share and answers):
            return f"{where} {f'answers with {answers[:12]}' if answers else 'does not answer'}; {deploy}"
    return None


def _moves(env: str, moves: list[Move]) -> Table:
    """All that fits the terminal: what is needed to go on with comes first."""
    known = {
        "at": lambda move: move.at[:19].replace("T", " "),
        "move": lambda move: move.id,
        "to": lambda move: move.release[:12],
        "why": lambda move: move.why,
        "result": lambda move: move.ended,
        "from": lambda move: move.origin["release"][:12] if move.origin else "nothing",
        "slot": lambda move: move.slot,
        "steps": _last_step,
        "seconds": lambda move: f"{move.seconds:.1f}" if move.events else "",
    }
    shown = list(known) if _console().width >= WIDE_ENOUGH else list(known)[:5]
    whole = ("at", "move", "to", "from")  # ids are copied
    table = Table(*(Column(name, no_wrap=name in whole) for name in shown), title=f"{env}: moves")
    for move in moves:
        table.add_row(*(known[name](move) for name in shown))
    return table


def _last_step(move: Move) -> str:
    done = [e["step"] for e in move.events if e["event"] == "fact" and "skipped" not in e]
    return f"to {done[-1]}" if done else "none"


def _lines(move: Move) -> Table:
    table = Table("at", "event", "step", "what is known", title=f"move {move.id} to {move.release[:12]}")
    for line in move.events:
        known = "\n".join(f"{name}: {value}" for name, value in shown(line).items())
        table.add_row(line["at"][11:], line["event"], line.get("step", ""), known)
    return table


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)  # a log has no width

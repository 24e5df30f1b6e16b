"""`ml store list` and `ml store prune`: what is in the store, who needs it, and what may go."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pipelines.artifacts.entry import Entry
from pipelines.base import machine
from pipelines.base.console import aligned
from pipelines.base.errors import UserError
from pipelines.host import trust
from pipelines.host.host import Host
from pipelines.host.slots import process
from pipelines.registry import store as stores
from pipelines.registry.ledger import Ledger
from pipelines.registry.store import Store
from pipelines.rollout import rollback
from pipelines.rollout.journal import Journal

HEADER = ("RELEASE", "COMMIT", "CREATED", "MLFLOW", "VERDICT", "WANTED BY", "RUNS HERE IN")


def table() -> str:
    """The releases in the store, the newest first, and those that only the ledger names; who wants them."""
    store = stores.of()
    wanted = _by_release((entry.release, env) for env, entry in Ledger().entries().items())
    runs = _by_release((release, host.environment) for host in _hosts() for release in _running(host))
    listed = store.list()
    lines = []
    for about in listed:
        who = (", ".join(named.get(about.id, [])) for named in (wanted, runs))
        said = (value or "-" for value in (about.model.version, about.verdict, *who))
        lines.append((about.id[:12], about.commit[:12], about.created, *said))
    none = [f"no release is in {store.where}: `ml release` makes one"]
    told = aligned([HEADER, *lines]) if lines else none
    for id in sorted(set(wanted) - {about.id for about in listed}):
        told.append(f"{id[:12]} is not in {store.where}, and is wanted by {' and '.join(wanted[id])}")
    return "\n".join(told)


def prune(keep: int, dry_run: bool = False) -> str:
    """Remove all but the newest `keep` releases and those that `needed` names; tells of each what and why.

    UserError, with nothing removed, where the ledger or a journal cannot be read."""
    store, reasons = stores.of(), needed()
    # of the folder too: another machine may have pruned a release whose copy still is here
    known = {about.id: about for place in (Store(store.folder), store) for about in place.list()}
    lines = []
    for place, about in enumerate(stores.newest_first(list(known.values()))):
        id, why = about.id, reasons.get(about.id, [])
        if place < keep:
            why = [f"one of the newest {keep}", *why]
        if not why and not dry_run:
            store.remove(id)
        done = "kept" if why else "would be removed" if dry_run else "removed"
        lines.append((id[:12], about.created, done, "; ".join(why)))
    return "\n".join(aligned(lines)) or f"no release is in {store.where}"


def needed() -> dict[str, list[str]]:
    """Why a release must stay: who wants it, and who on this machine runs it, moves or goes back to it."""
    ledger = Ledger()
    found = [(entry.release, f"{env} wants it") for env, entry in ledger.entries().items()]
    for host in _hosts():
        env, history = host.environment, trust.history(host, ledger)
        found += [(release, f"{env} runs it here") for release in _running(host)]
        found += [(release, f"{env}'s last move here names it") for release in _moved(host) - _running(host)]
        found += [(release, f"{env} would go back to it") for release in _back(host, history)]
    return _by_release(found)


def _hosts() -> list[Host]:
    found = sorted(machine.home().glob(f"*/{Host.NAME}"))
    return [one for path in found for one in Host.read(path.parent).each]


def _running(host: Host) -> set[str]:
    """What the route file names and what the supervisor says of the slots."""
    route = host.edge.route()
    found = (route and route.release, *map(process.running, host.slots))
    return {release for release in found if release}


def _moved(host: Host) -> set[str]:
    """Both ends of the last move, which may be half-way, and whose slots outlive their supervisor."""
    last = Journal(host.place).moves()[-1:]
    return {move.release for move in last} | {str(move.origin["release"]) for move in last if move.origin}


def _back(host: Host, history: Sequence[Entry]) -> set[str]:
    journal = Journal(host.place)
    journal.moves()  # a damaged one is not a reason to remove what it would have named
    try:
        return {rollback.safe(journal, history, trust.signers(host.folder) is not None)}
    except UserError:
        return set()


def _by_release(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for release, what in pairs:
        found[release].append(what)
    return dict(found)

"""The way back: to a release that is known to run, by the ledger and the same move as a deploy."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pipelines.artifacts.entry import Entry
from pipelines.artifacts.release import Release
from pipelines.base.console import step as say
from pipelines.base.errors import UserError
from pipelines.core.contract import Contract
from pipelines.host import trust
from pipelines.host.host import Host
from pipelines.registry import ledger, merged
from pipelines.registry import store as stores
from pipelines.registry.signer import VARIABLE
from pipelines.rollout import deploy
from pipelines.rollout.journal import Journal


def rollback(env: str, contract: Contract, home: Path | None = None) -> int:
    """Have the ledger want the newest release that is safe to go back to, and move there; as `deploy`."""
    host = Host.load(env, contract.name, home)
    book, listed = ledger.Ledger(), trust.signers(host.folder) is not None
    if listed and book.signer is None:
        mine = "set git's gpg.format to ssh and user.signingkey to yours"
        way_out = f"{mine}, give {VARIABLE}, or run the workflow `rollback`"
        raise UserError(f"{env} deploys what a listed key signed, and there is none here: {way_out}")
    history = trust.history(host, book)
    release = safe(Journal(host.place), history, listed)
    entry = next((entry for entry in history if entry.release == release), None)
    if entry is None:
        entry = Entry(release=release, commit=Release.read(stores.of(home).get(release)).commit)
    book.write(env, entry.anew("rollback"))
    say(f"{env}: the ledger now wants {release[:12]}")
    return deploy.deploy(env, contract, home)


def in_ledger(env: str) -> int:
    """Have the ledger want the release before, where no host's journal is at hand; returns 0."""
    book = ledger.Ledger()
    chain = book.chain(env, known=True)
    if book.signer:  # a host with a list takes no entry of an earlier version, which names no evidence
        chain = [written for written in chain if written.entry.beside]
    entry = before(book.wanted(env), [written.entry for written in chain], env)
    merged.require_merged(entry.commit)
    book.require_known(env, next(written.commit for written in chain if written.entry == entry))
    book.write(env, entry.anew("rollback"))
    say(f"{env}: the ledger now wants {entry.release[:12]}; hosts that follow it move there")
    book.tell(f"{env} goes back", entry)
    return 0


def before(wanted: Entry | None, history: Sequence[Entry], env: str) -> Entry:
    """The newest entry of the ledger's history whose release is neither wanted nor was rolled back from.

    Whether its rollout completed only a host knows, which refuses it again; UserError where there is none."""
    barred = _left(history) | ({wanted.release} if wanted else set())
    for entry in history:
        if entry.release not in barred:
            return entry
    none = f"the ledger's history of {env} names no other release that may be gone back to"
    raise UserError(f"{none} ({_told(barred)})")


def safe(journal: Journal, history: Sequence[Entry], named: bool = False) -> str:
    """The newest release whose rollout completed, but not the wanted one nor one that was rolled back from.

    `history`: the ledger's, newest first; `named`: only what it names counts. UserError where there is none.
    """
    known = {entry.release for entry in history}
    barred = _left(history) | {entry.release for entry in history[:1]}
    for done in reversed([m for m in journal.moves() if m.result == "completed"]):
        if done.release not in barred and (done.release in known or not named):
            return done.release
    none = f"{journal.path} tells of no other release that completed its rollout"
    raise UserError(f"{none}: nothing to go back to ({_told(barred)})")


def _left(history: Sequence[Entry]) -> set[str]:
    """The releases that were rolled back from."""
    return {older.release for newer, older in pairwise(history) if newer.why == "rollback"}


def _told(barred: set[str]) -> str:
    gone = ", ".join(sorted(release[:12] for release in barred)) or "none"
    return f"wanted now, or rolled back from: {gone}; `ml release` at a commit releases it again"

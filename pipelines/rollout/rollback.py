"""The way back: to a release that is known to run, by the ledger and the same move as a deploy."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pipelines.artifacts.entry import Entry
from pipelines.artifacts.release import Release
from pipelines.base.console import step as say
from pipelines.base.console import summary
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
        raise UserError(
            f"{env} deploys what a listed key signed, and there is none here: set git's gpg.format to ssh "
            f"and user.signingkey to yours, give {VARIABLE}, or run the workflow `rollback`"
        )
    history = trust.history(host, book)
    release = safe(Journal.of(host), history, listed)
    known = next((entry for entry in history if entry.release == release), None)
    entry = known or Entry(release=release, commit=_commit(home, release))
    book.write(env, entry.anew("rollback"))
    say(f"{env}: the ledger now wants {release[:12]}")
    return deploy.deploy(env, contract, home)


def in_ledger(env: str) -> int:
    """Have the ledger want the release before, where no host's journal is at hand; returns 0.

    Hosts that follow the ledger move there by themselves. UserError where there is nothing to go back to.
    """
    book = ledger.Ledger()
    chain = book.chain(env, known=True)
    if book.signer:  # a host with a list takes no entry of an earlier version, which names no evidence
        chain = [written for written in chain if written.entry.beside]
    entry = before(book.wanted(env), [written.entry for written in chain], env)
    merged.require_merged(entry.commit)
    book.require_known(env, next(written.commit for written in chain if written.entry == entry))
    book.write(env, entry.anew("rollback"))
    say(f"{env}: the ledger now wants {entry.release[:12]}; hosts that follow it move there")
    summary(
        f"### {env} goes back\n\n| | |\n| --- | --- |\n| wanted | `{entry.release}` |\n"
        f"| commit | `{entry.commit[:12]}` |\n| ledger | {book.signature} |\n\n"
        "Hosts that follow the ledger move there by themselves."
    )
    return 0


def before(wanted: Entry | None, history: Sequence[Entry], env: str) -> Entry:
    """The newest entry of the ledger's history whose release is neither wanted nor was rolled back from.

    Whether its rollout completed only a host knows: one that was refused there is refused again, and the next
    rollback passes it over. UserError where there is none.
    """
    barred = {wanted.release} if wanted else set()
    barred |= {older.release for newer, older in pairwise(history) if newer.why == "rollback"}
    for entry in history:
        if entry.release not in barred:
            return entry
    gone = ", ".join(sorted(release[:12] for release in barred)) or "none"
    raise UserError(
        f"the ledger's history of {env} names no other release that may be gone back to (wanted now, or "
        f"rolled back from: {gone}; `ml release` at a commit releases it again)"
    )


def safe(journal: Journal, history: Sequence[Entry], named: bool = False) -> str:
    """The newest release whose rollout completed, but not the wanted one nor one that was rolled back from.

    `history` is the ledger's, newest first; `named`: only what it names is a place to go back to. UserError
    where there is none.
    """
    known = {entry.release for entry in history}
    barred = {history[0].release} if history else set()
    barred |= {older.release for newer, older in pairwise(history) if newer.why == "rollback"}
    for done in reversed([m for m in journal.moves() if m.result == "completed"]):
        if done.release not in barred and (done.release in known or not named):
            return done.release
    gone = ", ".join(sorted(release[:12] for release in barred)) or "none"
    raise UserError(
        f"{journal.path} tells of no other release that completed its rollout: nothing to go back to "
        f"(wanted now, or rolled back from: {gone}; `ml release` at a commit releases it again)"
    )


def _commit(home: Path | None, release: str) -> str:
    return Release.read(stores.of(home).get(release)).commit

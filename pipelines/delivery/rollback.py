"""The way back: to a release that is known to run, by the ledger and the same move as a deploy."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pipelines.console import step as say
from pipelines.delivery import ledger, rollout
from pipelines.delivery import store as stores
from pipelines.delivery.host import Host
from pipelines.delivery.journal import Journal
from pipelines.errors import UserError
from pipelines.files import read_json


def rollback(env: str, home: Path | None = None) -> int:
    """Have the ledger want the newest release that is safe to go back to, and move there; as `deploy`."""
    host = Host.load(env, home)
    history = ledger.history(env)
    release = safe(host.journal, history)
    known = [entry.model_dump(exclude={"by", "why", "at"}) for entry in history if entry.release == release]
    fields = known[0] if known else {"release": release, "commit": _commit(home, release)}
    ledger.write(env, ledger.Entry(**{**fields, "why": "rollback"}))
    say(f"{env}: the ledger now wants {release[:12]}")
    return rollout.deploy(env, home)


def safe(journal: Journal, history: Sequence[ledger.Entry]) -> str:
    """The newest release whose rollout completed, but not the wanted one nor one that was rolled back from.

    `history` is the ledger's, newest first. UserError where there is none.
    """
    barred = {history[0].release} if history else set()
    barred |= {older.release for newer, older in pairwise(history) if newer.why == "rollback"}
    for done in reversed([m for m in journal.moves() if m.result == "completed"]):
        if done.release not in barred:
            return done.release
    gone = ", ".join(sorted(release[:12] for release in barred)) or "none"
    raise UserError(
        f"{journal.path} tells of no other release that completed its rollout: nothing to go back to "
        f"(wanted now, or rolled back from: {gone}; `ml release` at a commit releases it again)"
    )


def _commit(home: Path | None, release: str) -> str:
    return str(read_json(stores.of(home).get(release) / "release.json")["commit"])

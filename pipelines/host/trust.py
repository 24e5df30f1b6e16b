"""Whose word a host takes: where it has a list of keys, an entry of the ledger that one of them signed.

The list is the host's own file, ENVIRONMENT/allowed_signers, so nothing that anybody pushes can change it.
Without it entries are taken as they are, and `ml status` says so.
"""

import os
from pathlib import Path

from pipelines.artifacts.entry import Entry
from pipelines.artifacts.host import Followed
from pipelines.base.console import step as say
from pipelines.base.errors import UserError, few
from pipelines.base.files import write_text
from pipelines.host.host import Host
from pipelines.registry import merged, verified
from pipelines.registry.attestation import ListedKeys, Verifier
from pipelines.registry.keyless import Workflow
from pipelines.registry.ledger import BRANCH, Ledger, Look, Written
from pipelines.registry.signing import LIST, Signers, Untrusted

VERIFY = "GREENLIGHT_VERIFY"


def believe(host: Host, ledger: Ledger, found: Look | None) -> str | None:
    """Who signed the environment's entry; None where nothing is wanted, or the host has no list.

    UserError where nobody on the list did, where the entry was written for another environment or repository,
    and where an older state of the branch was pushed again."""
    listed = signers(host.folder)
    if listed is None or found is None:
        return None
    name = f"{host.environment}.json on the branch {BRANCH} ({found.commit[:12]})"
    if merges := ledger.merges(found.commit, found.head):
        raise UserError(f"{name} came by a merge ({merges[0][:12]}), which can bring back old ones: {AGAIN}")
    try:
        who = _who(host, ledger, listed, found)
    except Untrusted as reason:
        raise UserError(f"{name} {reason}: {AGAIN}") from None
    if found.entry.beside is None:
        raise UserError(f"{name} {OLD}: run `ml release` at its commit again, then `ml promote`")
    now = Followed(head=found.head, written=found.commit, moment=ledger.moment(found.commit))
    before = Followed.found(host.place)
    old = before and before.written != now.written and now.moment <= before.moment
    if old and before and not ledger.holds(now.head, before.head):
        # what was signed once stays signed: a branch set back would deploy an old release
        why = f"{name} is not newer than {before.written[:12]}, which was followed here"
        raise UserError(f"the branch {BRANCH} was rewritten, and {why}: {AGAIN}")
    if before != now:
        now.write(host.place)
    return who


def history(host: Host, ledger: Ledger) -> list[Entry]:
    """The entries of the environment that are believed here, the newest first; says which are passed over."""
    chain = ledger.chain(host.environment)
    if (listed := signers(host.folder)) is None:
        return [written.entry for written in chain]
    found, left = [], []
    for written in chain:
        try:
            _who(host, ledger, listed, written)
            if written.entry.beside is None:
                raise Untrusted(OLD)
            found.append(written.entry)
        except Untrusted as reason:
            left.append(f"{written.entry.release[:12]} ({written.commit[:12]} {reason})")
    if left:
        what = "passed over, as nobody listed signed it, for a place to go back to"
        say(f"{host.environment}: {what}: {few(left)}")
    return found


def attested(host: Host, ledger: Ledger, entry: Entry, folder: Path, back: bool) -> None:
    """UserError where the release in `folder`, with image, SBOM and provenance, is not what was signed.

    Not asked where the host has no list, unless GREENLIGHT_VERIFY is `keyless`. `back`: a rollout to it has
    completed here. Then one without an attestation, of an earlier version, passes: it was believed by the
    rules of its day, and a way back that is shut is not safe."""
    asked: list[Verifier] = []
    if (listed := signers(host.folder)) is not None:
        asked.append(ListedKeys(listed))
    elif how := os.environ.get(VERIFY):
        if how != "keyless":
            raise UserError(f"{VERIFY} is {how!r}, and only `keyless` is known: correct or unset it")
        asked.append(Workflow(ledger.spelling, merged.default_branch()))
    if not asked:
        return
    try:
        for line in verified.check(folder, asked, ledger.repository, entry):
            say(f"{host.environment}: {line}")
    except verified.Unattested as reason:
        if not back:
            raise UserError(f"release {entry.release[:12]} {reason}") from None
        say(f"{host.environment}: {entry.release[:12]} has no attestation, and ran here before: it may again")
    except Untrusted as reason:
        way_out = f"remove it from the store, and run `ml release` again at {entry.commit[:12]}"
        raise UserError(f"release {entry.release[:12]} {reason}: {way_out}") from None


def _who(host: Host, ledger: Ledger, listed: Signers, written: Written) -> str:
    """Who signed an entry for this environment. Untrusted, which says why, where nobody listed did."""
    who, here = listed.who(ledger.content(written.commit)), (host.environment, ledger.repository)
    for what, ours in zip(("environment", "repository"), here, strict=True):
        if (said := getattr(written.entry, what)) != ours:
            raise Untrusted(f"was signed for the {what} {said}, and this is {ours}")
    return who


def signers(folder: Path) -> Signers | None:
    """Who may sign for the environment in this folder; None where it has no list."""
    path = folder / LIST
    return Signers.load(path) if path.exists() or path.is_symlink() else None


def allow(file: Path, folder: Path) -> None:
    """Make the keys of `file` those that may sign for the environment. UserError where it lists none."""
    found = Signers.load(file)
    write_text(folder / LIST, file.read_text(encoding="utf-8"))
    say(f"{folder.name}: {len(found.lines)} keys may sign the ledger")


OLD = "is of an earlier version and does not say what evidence/ holds"
AGAIN = "write it again with a listed key (`ml promote`, `ml rollback`, or their workflows)"

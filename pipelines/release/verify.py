"""`ml release --verify`: what anybody can check of a release, from its files and the registry."""

from pathlib import Path

from pipelines.artifacts.release import Release
from pipelines.base import git, machine
from pipelines.base.errors import Refused, UserError
from pipelines.registry import merged, store, verified
from pipelines.registry.attestation import ListedKeys, Verifier
from pipelines.registry.keyless import Workflow
from pipelines.registry.ledger import Ledger
from pipelines.registry.signing import LIST, Signers, Untrusted


def verify(release: str, listed: Path | None = None) -> list[str]:
    """What was checked, a line each; `listed` has the keys that may sign. Refused where something is not as
    it was signed, UserError where a key has signed it and no list says whose keys count."""
    folder, ledger = store.of().get(release), Ledger()
    about, takers = Release.read(folder), verifiers(listed)
    signed = {file for file in (ListedKeys.file, Workflow.file) if (folder / "evidence" / file).is_file()}
    if signed and signed.isdisjoint(taker.file for taker in takers):
        way_out = "give one, `--signers FILE`"
        raise UserError(
            f"release {about.id[:12]} is signed with a key, and no list here says whose counts: {way_out}"
        )
    try:
        found = verified.check(folder, takers, ledger.repository)
    except Untrusted as reason:
        raise Refused(f"release {about.id[:12]} {reason}") from None
    return [f"release {about.id}", *found]


def verifiers(listed: Path | None) -> list[Verifier]:
    """By the list that is given, else a host's of this machine, else git's; and by the workflow."""
    named = git.config("gpg.ssh.allowedSignersFile")
    hosts = sorted(machine.home().glob(f"*/{LIST}"))
    places = [listed, *hosts, Path(named).expanduser() if named else None]
    keys = next(filter(None, places), None)
    found: list[Verifier] = [Workflow(Ledger().spelling, merged.default_branch())]
    if keys:
        found.insert(0, ListedKeys(Signers.load(keys)))
    return found

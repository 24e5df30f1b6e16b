"""The ledger: the branch `environments` on origin, a file an environment, naming the release it should run.

It is written without a worktree, and every write starts from the branch as it is on origin: two writers never
undo each other.
"""

import contextlib
import functools
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.artifacts.entry import Entry
from pipelines.base import git
from pipelines.base.console import summary
from pipelines.base.errors import UserError
from pipelines.registry import signer as signers
from pipelines.registry.committed import committed
from pipelines.registry.signing import Untrusted, public_of

BRANCH = "environments"
HERE = "refs/greenlight/environments"  # the last fetched state; never what a reader trusts without a fetch
TRIES = 20  # of a write; each lost one means that another writer got through
REFUSED = 3  # refusals while the branch stayed as it was: no other writer, but a rule or a missing right


class Unreachable(UserError):
    """Origin does not answer."""


class Broken(UserError):
    """An environment's file is not an entry."""


@dataclass(frozen=True)
class Written:
    """An entry of an environment's history, and the commit that wrote it."""

    commit: str
    entry: Entry


@dataclass(frozen=True)
class Look(Written):
    """The entry that origin has now, and the branch's newest commit there."""

    head: str


class Ledger:
    """The ledger of the repository in a folder."""

    def __init__(self, repository: Path | str = ".", remote: str = "origin") -> None:
        self._repository, self._remote = Path(repository), remote

    @functools.cached_property
    def signer(self) -> signers.Key | signers.Person | None:
        """Who signs what is written here; None where nobody does. UserError where the key cannot be used."""
        return signers.signer(self._setting)

    @property
    def signature(self) -> str:
        """Who signs what is written here, in words."""
        if self.signer:
            return f"signed with {self.signer.fingerprint}"
        return f"not signed; hosts that list who may sign need the secret {signers.VARIABLE} (docs/github.md)"

    @property
    def repository(self) -> str:
        """OWNER/NAME of the remote, or the end of its path, in small letters."""
        return self.spelling.lower()

    @property
    def spelling(self) -> str:
        """The same as the remote spells it."""
        url = self._setting(f"remote.{self._remote}.url") or ""
        parts = re.split(r"[/:]+", url.rstrip("/").removesuffix(".git"))
        return "/".join(parts[-2:])

    def wanted(self, environment: str) -> Entry | None:
        """The environment's entry, or None. UserError where origin is out of reach or the file is broken."""
        return self._entry(self._fetch(), environment)

    def required(self, environment: str) -> Entry:
        """As `wanted`. UserError where nothing is, too."""
        if (entry := self.wanted(environment)) is None:
            raise UserError(f"the ledger wants nothing for {environment} yet: run `ml release`")
        return entry

    def look(self, environment: str) -> Look | None:
        """The environment's entry with the commit that wrote it. Unreachable, or UserError, as `wanted`."""
        head = self._fetch()
        if head is None or (entry := self._entry(head, environment)) is None:
            return None
        return Look(self._wrote(head, environment), entry, head)

    def holds(self, newer: str, older: str) -> bool:
        """Whether the commit `older` is part of the history of `newer`, or `newer` itself."""
        return git.is_ancestor(older, newer, self._repository)

    def content(self, commit: str) -> bytes:
        """A commit's very bytes, as it was signed or not."""
        done = self._git("cat-file", "commit", commit)
        if done.code:
            raise UserError(f"{commit[:12]} of the branch {BRANCH} cannot be read: {done.words}")
        return done.out

    def merges(self, commit: str, head: str) -> list[str]:
        """The merges among a commit of the branch and what came on top of it."""
        return self._read("rev-list", "--merges", head, "--not", f"{commit}^@").split()

    def entries(self) -> dict[str, Entry]:
        """The entry of every environment, by its name; empty before the first release. As `wanted`."""
        head = self._fetch()
        files = self._read("ls-tree", "--full-tree", "--name-only", head).splitlines() if head else []
        names = [name.removesuffix(".json") for name in files if name.endswith(".json")]
        return {name: entry for name in names if (entry := self._entry(head, name))}

    def write(self, environment: str, entry: Entry) -> bool:
        """Make `entry` the wanted one; False where the same, of the same commit, is wanted already.

        Signed where there is a key: then the same is written again where nobody that is known signed it.
        UserError where origin cannot be reached or refuses."""
        entry = self._addressed(environment, entry)
        unmoved = 0
        for lost in range(TRIES):
            old = self._fetch()
            now = self._entry(old, environment)
            same = now and all(
                getattr(now, n) == getattr(entry, n) for n in ("release", "commit", "beside", "image")
            )
            if same and old and (not self.signer or self._is_known(self._wrote(old, environment))):
                return False
            ref, lease = f"refs/heads/{BRANCH}", f"--force-with-lease=refs/heads/{BRANCH}:{old or ''}"
            new = f"{self._commit(old, environment, entry)}:{ref}"
            pushed = self._git("push", "--quiet", "--porcelain", lease, self._remote, new)
            if pushed.code == 0:
                return True
            unmoved = unmoved + 1 if self._fetch() == old else 0
            if unmoved == REFUSED:
                raise UserError(f"origin refused the ledger's branch {BRANCH}: {pushed.words}")
            time.sleep(random.uniform(0, 0.05 * (lost + 1)))
        raise UserError(f"{TRIES} writers were faster on origin's branch {BRANCH}: try again")

    def promote(self, check: Callable[[Entry], None] = lambda entry: None) -> Entry:
        """Make what staging wants wanted in production, once `check` passed. UserError as `require_known`."""
        if (found := self.look("staging")) is None:
            raise UserError("the ledger names no release for staging: run `ml release` first")
        check(found.entry)
        self.require_known("staging", found.commit)
        entry = self._addressed("production", found.entry.anew("promote"))
        self.write("production", entry)
        self.tell("production", entry)
        return entry

    def tell(self, title: str, entry: Entry) -> None:
        """Say in the summary of a workflow's run what is wanted now."""
        rows = {"wanted": f"`{entry.release}`", "commit": f"`{entry.commit[:12]}`", "ledger": self.signature}
        table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
        summary(f"### {title}\n\n| | |\n| --- | --- |\n{table}\n\nHosts that follow the ledger move there.")

    def require_known(self, environment: str, commit: str) -> None:
        """UserError where the writer signs, and nobody that is known signed what is to be taken over.

        Also where somebody signed it, and here is no key: hosts with a list would refuse the new entry."""
        content, name = self.content(commit), f"{environment}.json on the branch {BRANCH} ({commit[:12]})"
        if self.signer is None and public_of(content):
            way_out = f"give the job the secret {signers.VARIABLE} (docs/github.md)"
            raise UserError(f"{name} is signed, and there is no key here to sign with: {way_out}")
        try:
            signers.known(content, self.signer, self._setting)
        except Untrusted as reason:
            way_out = "write it with `ml release` and its key"
            raise UserError(f"{name} {reason}, so it is not signed again here: {way_out}") from None

    def history(self, environment: str) -> list[Entry]:
        """Each entry that the environment had, the newest first; without one that was broken and mended."""
        return [written.entry for written in self.chain(environment)]

    def chain(self, environment: str, known: bool = False) -> list[Written]:
        """The same, with their commits; `known`: where the writer signs, those that somebody known signed."""
        if (head := self._fetch()) is None:
            return []
        path = f":/{_named(environment)}.json"
        found = []
        for number, commit in enumerate(self._read("rev-list", "--first-parent", head, "--", path).split()):
            with contextlib.suppress(*((Broken,) if number else ())):
                if entry := self._entry(commit, environment):
                    found.append(Written(commit, entry))
        return [one for one in found if not known or self._is_known(one.commit)]

    def released(self, environment: str) -> Entry | None:
        """The newest entry that is not a rollback: the last commit that was released here, or promoted."""
        return next((entry for entry in self.history(environment) if entry.why != "rollback"), None)

    def anchor(self, environment: str) -> Entry | None:
        """The newest release that was shown superior, else the first: what many small losses add up against.

        Releases that were rolled back are passed over. None where the environment had no entry yet."""
        history = self.history(environment)
        at = found = 0
        while at < len(history):
            found = at = _origin(history, at)
            if history[at].evidence.get("superior") is True:
                break
            at += 1
        return history[found] if history else None

    def _fetch(self, tries: int = TRIES) -> str | None:
        """The branch's commit on origin, now also here; None where there is no such branch."""
        listed = self._git("ls-remote", "--heads", self._remote, f"refs/heads/{BRANCH}")
        if listed.code:
            told = f"the remote {self._remote} cannot be reached ({listed.words})"
            raise Unreachable(
                f"{told}; the ledger is a branch of it: look at `git remote -v` and the network"
            )
        if not listed.text:
            return None
        fetched = self._git("fetch", "--quiet", "--no-tags", self._remote, f"+refs/heads/{BRANCH}:{HERE}")
        if fetched.code and "cannot lock ref" in fetched.err:
            if not tries:
                locked = self._read("rev-parse", "--git-path", f"{HERE}.lock")
                raise UserError(f"{locked} was left by a git that was killed: remove it")
            time.sleep(0.05)  # another process fetches here just now
            return self._fetch(tries - 1)
        if fetched.code:
            raise UserError(f"the branch {BRANCH} cannot be fetched from {self._remote}: {fetched.words}")
        return self._read("rev-parse", HERE)

    def _addressed(self, environment: str, entry: Entry) -> Entry:
        return entry.model_copy(update={"environment": environment, "repository": self.repository})

    def _wrote(self, head: str, environment: str) -> str:
        """The commit that gave the environment's file its content, along the branch's own line."""
        return self._read("rev-list", "--first-parent", "-1", head, "--", f":/{environment}.json")

    def _is_known(self, commit: str) -> bool:
        try:
            signers.known(self.content(commit), self.signer, self._setting)
        except Untrusted:
            return False
        return True

    def _entry(self, commit: str | None, environment: str) -> Entry | None:
        name = f"{_named(environment)}.json"
        if commit is None or (content := git.blob(commit, name, self._repository)) is None:
            return None
        try:
            return Entry.parse(content, f"{name} on the branch {BRANCH} ({commit[:12]})")
        except UserError as error:
            raise Broken(str(error)) from None

    def _commit(self, old: str | None, environment: str, entry: Entry) -> str:
        name = f"{_named(environment)}.json"
        moment = max(int(time.time()), self.moment(old) + 1 if old else 0)
        said = f"{environment}: {entry.why} {entry.release[:12]}"
        return committed(old, name, entry.text, said, self.signer, moment, self._repository)

    def moment(self, commit: str) -> int:
        """When a commit says that it was made, in seconds since the epoch: later than the one before it."""
        found = re.search(rb"^committer .* (\d+) [+-]\d{4}$", self.content(commit), re.MULTILINE)
        return int(found[1]) if found else 0

    def _read(self, *command: str, text: str | None = None) -> str:
        return git.run(*command, at=self._repository, text=text)

    def _git(self, *command: str) -> git.Done:
        return git.tried(*command, at=self._repository)

    def _setting(self, name: str) -> str | None:
        return git.config(name, at=self._repository)


def _origin(history: list[Entry], at: int) -> int:
    """Where the release of the entry `at` came from: a rollback counts as the entry that it went back to."""
    if (rolled := history[at]).why != "rollback":
        return at
    later = enumerate(history[at:], at)
    same = (n for n, entry in later if entry.release == rolled.release and entry.why != "rollback")
    return max(same, default=at)


def _named(environment: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", environment):
        raise UserError(f"{environment!r} is not an environment's name: use small letters, digits and -")
    return environment

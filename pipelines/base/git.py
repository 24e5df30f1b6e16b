"""The one way to ask git: neither a person's settings nor a hook's variables steer what it answers or does.

A hook exports GIT_DIR, which git reads before `-C`: so no GIT_* variable gets through but those that bring a
login. Settings keep what reaches a remote (credentials, insteadOf, proxies, safe.directory, ssh); those that
change an answer or run a program are pinned. What is parsed is asked of plumbing.

Git's failure is never the answer no: `commit`, `blob`, `config` say None only where git looked and found
nothing. Everything else that goes wrong is Failed: one sentence with the way out.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError

UNSAID = "refs/heads/main"  # a remote's default branch, where it names none
PATIENCE_SECONDS = 120.0  # for one command; a remote that hangs is one that cannot be reached

PINNED = {
    # nobody's programs run
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.pager": "cat",
    "init.templateDir": "",  # it may bring hooks
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "push.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # files are the commit's bytes
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.safecrlf": "false",
    "core.attributesFile": os.devnull,
    # answers are the same everywhere
    "color.ui": "false",
    "core.quotePath": "false",
    "diff.noprefix": "false",
    "diff.mnemonicPrefix": "false",
    "diff.orderFile": os.devnull,
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
    "log.showSignature": "false",
    "status.relativePaths": "true",
    "status.renames": "false",
    "status.showUntrackedFiles": "normal",
    # a command does what it was told, and no more
    "clone.defaultRemoteName": "origin",
    "commit.cleanup": "whitespace",
    "fetch.prune": "false",
    "fetch.pruneTags": "false",
    "fetch.recurseSubmodules": "false",
    "merge.ff": "true",
    "merge.verifySignatures": "false",
    "push.followTags": "false",
    "push.recurseSubmodules": "no",
    "safe.bareRepository": "all",
    "submodule.recurse": "false",
}
# What brings a login, or says where to look for one.
LOGIN = re.compile(
    r"GIT_(SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|SSL_\w+|HTTP_\w+|PROXY_\w+|ALLOW_PROTOCOL)"
    r"|GIT_CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)"
)
# The same among the settings that GIT_CONFIG_COUNT, KEY_n and VALUE_n hand over.
LOGIN_SETTING = re.compile(
    r"(credential|url|https?|ssh|protocol)\..+|core\.(sshcommand|askpass|gitproxy)|safe\.directory",
    re.IGNORECASE,
)


class Failed(UserError):
    """Git itself failed: it is missing, refuses the folder, or a command did not end well."""


class NoRepository(Failed):
    """The folder is in no repository at all."""


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code (124: no answer in time) and what it printed."""

    command: tuple[str, ...]
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output less the spaces around it; a file's name that is no UTF-8 survives."""
        return self.out.decode("utf-8", "surrogateescape").strip()

    @property
    def words(self) -> str:
        """Why it failed, as git says it, in one line."""
        return " ".join((self.err or self.text).split())[-300:] or f"exit code {self.code}"

    def ended(self, at: Path | str, *fine: int) -> "Done":
        """This, where it ended with 0 or a code that is fine; else Failed."""
        if self.code not in (0, *fine):
            raise Failed(f"git {self.command[0]} failed in {Path(at).resolve()}: {self.words}")
        return self


def run(*command: str, at: Path | str = ".", **options: Any) -> str:
    """What a command prints, less the spaces around it; options as `tried`. Failed where it ends with a code
    other than 0."""
    return tried(*command, at=at, **options).ended(at).text


def tried(
    *command: str,
    at: Path | str = ".",
    text: str | None = None,
    settings: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    within: float | None = None,
) -> Done:
    """Run a command in the folder `at`; the caller reads its exit code. `text` goes to standard input,
    `settings` win over PINNED, `given` are GIT_* variables that are meant, `within` is in seconds, else
    PATIENCE_SECONDS. Failed where git is missing or does not take the folder."""
    within = within or PATIENCE_SECONDS
    own = {name.lower() for name in settings or {}}
    pins = (f"{name}={value}" for name, value in PINNED.items() if name.lower() not in own)
    pinned = [part for pin in pins for part in ("-c", pin)]
    try:
        done = subprocess.run(
            ["git", "-C", str(at), *pinned, *command],
            input=None if text is None else text.encode("utf-8", "surrogateescape"),
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            env=environment(settings or {}) | {**(given or {})},
            timeout=within,
        )
    except FileNotFoundError:
        raise Failed("git is not on PATH: install it") from None
    except subprocess.TimeoutExpired:
        return Done(command, 124, b"", f"no answer within {within:g} s")
    err = done.stderr.decode("utf-8", "replace")
    if done.returncode and (refusal := _refusal(err, Path(at))):
        raise refusal
    return Done(command, done.returncode, done.stdout, err)


def commit(name: str, at: Path | str = ".") -> str | None:
    """The id of the commit that a branch, a tag or an id names; None where there is no such commit."""
    return _object(f"{name}^{{commit}}", at)


def head(at: Path | str = ".") -> str:
    """The commit that is checked out. Failed where there is none yet."""
    if (found := commit("HEAD", at)) is None:
        raise Failed(f"{Path(at).resolve()} has no commit yet: make the first one")
    return found


def object_of(commit: str, path: str, at: Path | str = ".") -> str | None:
    """The id of a file or a folder of a commit; None where the commit, or the path in it, does not exist.
    `path` is from the top of the repository, or from `at` where it begins with `./`."""
    return _object(f"{commit}:{path}", at)


def blob(commit: str, path: str, at: Path | str = ".") -> bytes | None:
    """A file's bytes as a commit has them; None as `object_of`."""
    found = object_of(commit, path, at)
    return tried("cat-file", "blob", found, at=at).ended(at).out if found else None


def tree(commit: str, *paths: str, at: Path | str = ".") -> dict[str, str]:
    """The blobs of a commit by their files' paths, all of them or those under `paths`."""
    lines = run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths, at=at).split("\0")
    entries = [line.partition("\t") for line in lines if line]
    return {path: about.split()[2] for about, _, path in entries}


def hashes(paths: Sequence[str], at: Path | str = ".") -> list[str]:
    """The blobs that files of a checkout would be, as they are now and by nobody's filters."""
    if named := next((path for path in paths if "\n" in path), None):
        raise Failed(f"{named!r} has a line end in its name: rename it")
    told = "".join(f"{path}\n" for path in paths)
    return run("hash-object", "--no-filters", "--stdin-paths", at=at, text=told).split()


def changes(old: str, new: str, at: Path | str = ".") -> list[str]:
    """The paths in which two commits differ; a moved file is two."""
    listed = run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new, "--", at=at)
    return [path for path in listed.split("\0") if path]


def merge_base(one: str, other: str, at: Path | str = ".") -> str | None:
    """The commit that two have in common; None where their histories have none."""
    return tried("merge-base", one, other, at=at).ended(at, 1).text or None


def is_ancestor(older: str, newer: str, at: Path | str = ".") -> bool:
    """Whether `older` is part of the history of `newer`, or `newer` itself; not where one does not exist."""
    if commit(older, at) is None or commit(newer, at) is None:
        return False
    return tried("merge-base", "--is-ancestor", older, newer, at=at).ended(at, 1).code == 0


def config(name: str, at: Path | str = ".") -> str | None:
    """A setting of the repository or the person; None where it is not set."""
    done = tried("config", "--get", name, at=at).ended(at, 1)
    return done.text if done.code == 0 else None


def remote_url(remote: str = "origin", at: Path | str = ".") -> str | None:
    """A remote's address; None where the repository has no such remote."""
    run("rev-parse", "--git-dir", at=at)
    return run("remote", "get-url", remote, at=at) if config(f"remote.{remote}.url", at) else None


def default_branch(remote: str = "origin", at: Path | str = ".") -> tuple[str, str | None]:
    """What a remote says now: its default branch, UNSAID where it names none, and that one's newest commit,
    None where there is none. Failed where it does not answer."""
    listed = tried("ls-remote", "--symref", remote, "HEAD", UNSAID, at=at).ended(at)
    lines = [line.split("\t") for line in listed.text.splitlines() if "\t" in line]
    named = next((what.removeprefix("ref: ") for what, name in lines if what.startswith("ref: ")), UNSAID)
    heads = {name: what for what, name in lines if not what.startswith("ref: ")}
    if "HEAD" not in heads and UNSAID in heads:
        named = UNSAID
    return named, heads.get("HEAD") or heads.get(UNSAID)


def dirty(at: Path | str = ".", untracked: bool = True) -> list[str]:
    """Paths of a checkout that are not as its commit has them, as far as git's own index tells: without what
    is ignored or marked skip-worktree, which `tree` knows."""
    asked = ("status", "--porcelain=v1", "-z", "--no-renames", "--ignore-submodules=none")
    done = tried(*asked, f"--untracked-files={'all' if untracked else 'no'}", at=at).ended(at)
    return [line[3:] for line in done.out.decode("utf-8", "surrogateescape").split("\0") if line]


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """What git sees of this process's environment: of the GIT_* variables those alone that bring a login.
    `settings` are git's, handed over so that no list of processes shows them."""
    other = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    other.pop("GREENLIGHT_LEDGER_KEY", None)  # it signs in this process, and is nobody else's to read
    other.pop("LANGUAGE", None)
    return other | variables(settings) | {"LC_ALL": "C"}


def variables(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The GIT_* variables alone, for a program that may ask git itself."""
    kept = {name: value for name, value in os.environ.items() if LOGIN.fullmatch(name)}
    kept |= {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0"}
    count = os.environ.get("GIT_CONFIG_COUNT", "")
    numbers = range(int(count) if count.isdigit() else 0)
    handed = ((os.environ.get(f"GIT_CONFIG_{part}_{n}", "") for part in ("KEY", "VALUE")) for n in numbers)
    pairs = [(name, value) for name, value in handed if LOGIN_SETTING.fullmatch(name)]
    pairs += (settings or {}).items()
    for number, (name, value) in enumerate(pairs):
        kept |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return kept | ({"GIT_CONFIG_COUNT": str(len(pairs))} if pairs else {})


def _object(name: str, at: Path | str) -> str | None:
    if "\n" in name:
        return None
    said = run("cat-file", "--batch-check=%(objectname) %(objecttype)", at=at, text=f"{name}\n")
    found = re.fullmatch(r"([0-9a-f]{40,64}) (?:commit|tree|blob|tag)", said)
    return found[1] if found else None


def _refusal(err: str, at: Path) -> Failed | None:
    """What no command can go on after; a remote's refusal is the caller's to tell."""
    if "Could not read from remote repository" in err:
        return None
    if "dubious ownership" in err or "unsafe repository" in err:
        told = re.search(r"safe\.directory (\S.*)", err)
        folder = told[1].strip() if told else str(at.resolve())
        return Failed(
            f"git does not read {at.resolve()}, which belongs to another user: run "
            f"`git config --global --add safe.directory {folder}`, or give it to the user who runs this"
        )
    if "not a git repository" in err:
        return NoRepository(f"{at.resolve()} is not a Git repository: run this in a clone")
    return None

"""`ml ci retrain`: where the drift check asks for it, a pull request whose model knows the newer months.

A proposal like any other: the gate judges it, a person merges it. Nothing here touches the checkout. One is
open at a time: a newer one takes the place of those before it, and is there before they go.
"""

import base64
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipelines.artifacts.drift import Check
from pipelines.base import git, programs
from pipelines.base.console import step, summary
from pipelines.base.errors import UserError
from pipelines.base.files import write_text
from pipelines.base.github import GitHub, token
from pipelines.core import params, periods

Build = Callable[[Path, str], None]

CLI = "pipelines.cli"
LOGINS = ("core.sshCommand", "remote.origin.receivepack")
COMMITTER = ("greenlight", "greenlight@users.noreply.github.com")
FILES = ("params.yaml", "data.dvc"), ("dvc.lock",)  # of the first commit, and of the second
BRANCHES = "retrain/"
NOTE = (
    "Trains on all data through {last}; what is newer, through {through}, judges. The window grows and does "
    "not roll, so that every season stays in it. {checks}"
)
STARTS = "GREENLIGHT_CHECKS_BY"  # who starts a proposal's checks: an `app`, a deploy `key`, else a person
CHECKS = {
    "app": "A GitHub App opened it, so its checks run.",
    "key": "A deploy key pushed its newest commit, so that one's checks run; those of the first may wait.",
    "": "It was opened with GITHUB_TOKEN, so its checks wait until a person with write access presses "
    '"Approve and run" below; an app or a deploy key spares that (docs/proposals.md, Retraining proposals).',
}
REPLACED = "#{number} takes its place: it trains on newer months too."

Pull = dict[str, Any]  # as GitHub's API describes it


def propose(evidence: Path, remote: str = "origin", build: Build | None = None) -> None:
    """Read EVIDENCE/drift.json; on RETRAIN push the branch retrain/MONTH and open its pull request.

    The branch is the default one with params.yaml moved on to that month, its data ingested and the stages
    run. A proposal of that month that is open already is brought up to date, never doubled; those of earlier
    months are closed with their branches. Killed anywhere, the same command finishes. Without GITHUB_TOKEN
    and GITHUB_REPOSITORY the branch is pushed and the command that opens the pull request is printed.
    UserError where git, the source or GitHub refuses, or people have committed to the branch."""
    check = Check.read(evidence)
    if check.verdict != "RETRAIN":
        step(f"nothing to propose: the drift check's verdict is {check.verdict}")
        return
    through, branch = check.through, f"{BRANCHES}{check.through}"
    with tempfile.TemporaryDirectory(prefix="greenlight-retrain-") as folder:
        clone = Path(folder)
        base = _clone(clone, remote)
        file = clone / "params.yaml"
        if params.load(file).data.through >= through:
            step(f"nothing to propose: {base} knows {through} already")
            return
        if newer := max((b for b in _branches(clone) if b > branch and _pull(base, b)), default=None):
            step(f"nothing to propose: {newer} does already, with more than {through}")
            return
        write_text(file, move_on(file.read_text(encoding="utf-8"), through))
        last = params.load(file).train.last
        step(f"{branch}: ingest and training, in a clone of {remote}/{base}")
        (build or _build)(clone, through)
        _commit(clone, branch, f"Data through {through}", f"Train through {last}: {check.reasons[0]}")
        if os.environ.get(STARTS) == "key" and not _pull(base, branch):
            # checks start at what a key pushes to a pull request that is there, not at its opening by a token
            _push(clone, base, branch, "HEAD^")
            _open(evidence, base, branch, last, check)
        _push(clone, base, branch, "HEAD")
        if pull := _open(evidence, base, branch, last, check):
            _replace(clone, base, branch, pull)


def move_on(text: str, through: str) -> str:
    """params.yaml with data.through moved to `through`, and train.last to the newest period that leaves
    gate.days days to judge by; comments stay."""
    last = periods.before(through)
    days = params.parse(yaml.safe_load(text)).gate.days
    while (periods.end(through) - periods.end(last)).days < days:
        last = periods.before(last)
    return params.edited(text, {"data.through": through, "train.last": last})


def _clone(folder: Path, remote: str) -> str:
    """The default branch as the remote has it now, with this checkout's DVC cache and remotes; its name."""
    if (url := git.remote_url(remote)) is None:
        raise UserError(f"this repository has no remote {remote}: add it with `git remote add {remote} URL`")
    url = str(Path(url).absolute()) if Path(url).is_dir() else url
    _git(Path(), "clone", "--quiet", url, str(folder))
    settings = Path(".dvc/config.local")
    if settings.is_file():
        write_text(folder / settings, settings.read_text())
    cache = Path(".dvc/cache").absolute()
    if cache.is_dir():
        _run(folder, sys.executable, "-m", "dvc", "cache", "dir", "--local", str(cache))
    return _git(folder, "symbolic-ref", "--short", "HEAD")


def _build(clone: Path, through: str) -> None:
    """The old months must be what they were; the new ones are added; then the stages run."""
    ml = (sys.executable, "-m", CLI)
    dvc = (sys.executable, "-m", "dvc")
    moved = (clone / "params.yaml").read_text(encoding="utf-8")
    _git(clone, "checkout", "--quiet", "params.yaml")
    _run(clone, *ml, "restore")
    write_text(clone / "params.yaml", moved)
    _run(clone, *ml, "ingest", "--through", through)
    _run(clone, *dvc, "add", "--quiet", "data")
    _run(clone, *ml, "reproduce")
    if _run(clone, *dvc, "config", "core.remote", check=False).strip():
        _run(clone, *ml, "push")


def _commit(clone: Path, branch: str, *messages: str) -> None:
    """Two commits on the base: what to train on, then what came of it."""
    _git(clone, "checkout", "--quiet", "-B", branch)
    for files, message in zip(FILES, messages, strict=True):
        _git(clone, "add", "--", *files)
        _git(clone, "commit", "--quiet", "--allow-empty", "--message", message)


def _push(clone: Path, base: str, branch: str, commit: str) -> None:
    """Make `commit` the branch's newest. A branch that says the same stays; one with people's commits is
    theirs."""
    ref, there = f"refs/heads/{branch}", f"origin/{branch}"
    if old := git.commit(there, clone):
        if people := _people(clone, base, branch):
            raise UserError(f"{branch} has commits of {', '.join(people)}: merge or delete it")
        if not git.changes(there, commit, clone) and git.is_ancestor(f"origin/{base}", there, clone):
            step(f"{branch} is up to date")
            return
    _git(clone, "push", "--quiet", f"--force-with-lease={ref}:{old or ''}", "origin", f"{commit}:{ref}")
    _git(clone, "update-ref", f"refs/remotes/{there}", commit)
    step(f"{branch} is pushed")


def _people(clone: Path, base: str, branch: str) -> list[str]:
    """Who else than we committed to a branch."""
    authors = set(_git(clone, "log", "--format=%ae", f"origin/{base}..origin/{branch}").split())
    return sorted(authors - {COMMITTER[1]})


def _branches(clone: Path) -> list[str]:
    """The branches of retraining proposals, as they were when the clone was made."""
    told = _git(clone, "for-each-ref", "--format=%(refname:lstrip=3)", f"refs/remotes/origin/{BRANCHES}")
    return told.split()


def _github() -> GitHub | None:
    there = token() and os.environ.get("GITHUB_REPOSITORY")
    return GitHub.from_environment() if there else None


def _pull(base: str, branch: str) -> Pull | None:
    """The open pull request of a branch of ours."""
    if (github := _github()) is None:
        return None
    owner = github.repository.partition("/")[0]
    found = github.call("GET", f"/pulls?state=open&base={base}&head={owner}:{branch}")
    return found[0] if found else None


def _open(evidence: Path, base: str, branch: str, last: str, check: Check) -> Pull | None:
    title, checks = f"Retrain through {last}", CHECKS[os.environ.get(STARTS, "")]
    note = NOTE.format(last=last, through=check.through, checks=checks)
    body = f"{(evidence / 'drift.md').read_text(encoding='utf-8')}\n{note}\n"
    if (github := _github()) is None:
        file = write_text(evidence / "proposal.md", body)
        print(f"Open a pull request of {branch} into {base}: '{title}', with the text in {file}")
        return None
    fields = {"title": title, "body": body}
    if old := _pull(base, branch):
        pull: Pull = github.call("PATCH", f"/pulls/{old['number']}", fields)
    else:
        pull = github.call("POST", "/pulls", {**fields, "head": branch, "base": base})
    said = f"#{pull['number']} {title}: {pull['html_url']}"
    summary(f"The drift check of {check.environment} {'updated' if old else 'opened'} {said}")
    print(said)
    return pull


def _replace(clone: Path, base: str, branch: str, by: Pull) -> None:
    """Close the proposals of earlier months, each with a comment that names the newer one, and delete their
    branches, the last thing that is seen of them. One on which people work stays."""
    said = REPLACED.format(number=by["number"])
    for older in (found for found in _branches(clone) if found < branch):
        if people := _people(clone, base, older):
            step(f"{older} stays: it has commits of {', '.join(people)}")
            continue
        if (github := _github()) and (pull := _pull(base, older)):
            comments = f"/issues/{pull['number']}/comments"
            if not any(comment["body"] == said for comment in github.list(comments)):
                github.call("POST", comments, {"body": said})
            github.call("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
            step(f"#{pull['number']} is closed: {said}")
        ref = f"refs/heads/{older}"
        lease = f"--force-with-lease={ref}:{git.commit(f'origin/{older}', clone)}"
        _git(clone, "push", "--quiet", lease, "origin", f":{ref}")


def _git(folder: Path, *arguments: str) -> str:
    """Git as the bot, with GitHub's token where no list of processes shows it."""
    settings = dict(zip(("user.name", "user.email"), COMMITTER, strict=True))
    if secret := token():
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        credentials = base64.b64encode(f"x-access-token:{secret}".encode()).decode()
        settings[f"http.{server}/.extraheader"] = f"AUTHORIZATION: basic {credentials}"
    for name in LOGINS:  # what a deploy key of this checkout needs
        settings |= {name: value} if (value := git.config(name)) else {}
    done = git.tried(*arguments, at=folder, settings=settings, within=600)
    if done.code:
        raise UserError(f"`git {' '.join(arguments)}` failed: {done.words}")
    return done.text


def _run(folder: Path, *command: str, check: bool = True) -> str:
    """Standard output; the progress of `ml` is shown. A failed command's last sentence is the UserError."""
    errors = []
    # the clone's own code before the installed one
    env = programs.environment(PATH=programs.path(), PYTHONPATH=str(folder))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        with programs.start(command, cwd=folder, env=env, stdout=out, stderr=subprocess.PIPE) as run:
            for line in run.stderr or ():
                errors.append(line)
                if CLI in command:
                    print(line, end="", file=sys.stderr, flush=True)
        out.seek(0)
        printed = out.read()
    if check and run.returncode:
        said = [line for line in (errors or printed.splitlines()) if line.strip()] or ["no word"]
        words = re.sub(r"^(ml|fatal|ERROR|error): ", "", said[-1].strip())
        shown = " ".join(command[2:]).replace(CLI, "ml")  # without `python -m`
        raise UserError(f"`{shown}` failed: {words}")
    return printed

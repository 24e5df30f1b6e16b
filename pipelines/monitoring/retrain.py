"""`ml ci retrain`: where the drift check asks for it, a pull request whose model knows the newer months.

A proposal like any other: the gate judges it, a person merges it. Nothing here touches the checkout.
"""

import base64
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

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
COMMITTER = ("greenlight", "greenlight@users.noreply.github.com")
FILES = ("params.yaml", "data.dvc", "dvc.lock")
NOTE = (
    "Trains on all data through {last}; what is newer, through {through}, judges. The window grows and does "
    "not roll, so that every season stays in it. Where it was opened with GITHUB_TOKEN, its checks "
    'wait until a person with write access presses "Approve and run" below.'
)


def propose(evidence: Path, remote: str = "origin", build: Build | None = None) -> None:
    """Read EVIDENCE/drift.json; on RETRAIN push the branch retrain/MONTH and open its pull request.

    The branch is the default one with params.yaml moved on to that month, its data ingested and the stages
    run. A proposal of that month that is open already is brought up to date, never doubled. Without
    GITHUB_TOKEN and GITHUB_REPOSITORY the branch is pushed and the command that opens the pull request is
    printed.
    UserError where git, the source or GitHub refuses, or people have committed to the branch."""
    check = Check.read(evidence)
    if check.verdict != "RETRAIN":
        step(f"nothing to propose: the drift check's verdict is {check.verdict}")
        return
    through, branch = check.through, f"retrain/{check.through}"
    with tempfile.TemporaryDirectory(prefix="greenlight-retrain-") as folder:
        clone = Path(folder)
        base = _clone(clone, remote)
        file = clone / "params.yaml"
        if params.load(file).data.through >= through:
            step(f"nothing to propose: {base} knows {through} already")
            return
        write_text(file, move_on(file.read_text(encoding="utf-8"), through))
        last = params.load(file).train.last
        step(f"{branch}: ingest and training, in a clone of {remote}/{base}")
        (build or _build)(clone, through)
        _push(clone, base, branch, f"Train through {last}: {check.reasons[0]}")
    _open(evidence, base, branch, last, check)


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


def _push(clone: Path, base: str, branch: str, message: str) -> None:
    """One commit on the base. A branch that says the same stays; one with people's commits is theirs."""
    _git(clone, "add", "--", *FILES)
    _git(clone, "checkout", "--quiet", "-B", branch)
    _git(clone, "commit", "--quiet", "--message", message)
    ref, there = f"refs/heads/{branch}", f"origin/{branch}"
    if old := git.commit(there, clone):
        authors = set(_git(clone, "log", "--format=%ae", f"origin/{base}..{there}").split())
        if people := sorted(authors - {COMMITTER[1]}):
            raise UserError(f"{branch} has commits of {', '.join(people)}: merge or delete it")
        if not git.changes(there, "HEAD", clone) and git.is_ancestor(f"origin/{base}", there, clone):
            step(f"{branch} is up to date")
            return
    _git(clone, "push", "--quiet", f"--force-with-lease={ref}:{old or ''}", "origin", f"HEAD:{ref}")
    step(f"{branch} is pushed")


def _open(evidence: Path, base: str, branch: str, last: str, check: Check) -> None:
    title = f"Retrain through {last}"
    note = NOTE.format(last=last, through=check.through)
    body = f"{(evidence / 'drift.md').read_text(encoding='utf-8')}\n{note}\n"
    if not (token() and os.environ.get("GITHUB_REPOSITORY")):
        file = write_text(evidence / "proposal.md", body)
        print(f"Open a pull request of {branch} into {base}: '{title}', with the text in {file}")
        return
    github = GitHub.from_environment()
    owner = os.environ["GITHUB_REPOSITORY"].partition("/")[0]
    open_ones = github.call("GET", f"/pulls?state=open&base={base}&head={owner}:{branch}")
    fields = {"title": title, "body": body}
    if open_ones:
        pull = github.call("PATCH", f"/pulls/{open_ones[0]['number']}", fields)
    else:
        pull = github.call("POST", "/pulls", {**fields, "head": branch, "base": base})
    said = f"#{pull['number']} {title}: {pull['html_url']}"
    summary(f"The drift check of {check.environment} {'updated' if open_ones else 'opened'} {said}")
    print(said)


def _git(folder: Path, *arguments: str) -> str:
    """Git as the bot, with GitHub's token where no list of processes shows it."""
    settings = dict(zip(("user.name", "user.email"), COMMITTER, strict=True))
    if secret := token():
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        credentials = base64.b64encode(f"x-access-token:{secret}".encode()).decode()
        settings[f"http.{server}/.extraheader"] = f"AUTHORIZATION: basic {credentials}"
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

"""What `ml init` writes into .github/ binds on the default branch alone: it is pushed there, while nothing
forbids that."""

from pathlib import Path

from pipelines.base import git
from pipelines.base.github import Declined, GitHub
from pipelines.setup.refusals import by_plan
from pipelines.setup.setting import REPOSITORY, Found, Setting

FOLDER, RULESET = ".github/", "main"
MESSAGE = "Who owns the code, who signs the ledger"


def setting(hub: GitHub, checkout: Path, branch: str) -> Setting:
    """It comes before the rulesets: after them a pull request brings files there."""
    return Setting("files in .github/", lambda: look(hub, checkout, branch), group=REPOSITORY)


def look(hub: GitHub, checkout: Path, branch: str) -> Found:
    new = [path for path in git.dirty(checkout) if path.startswith(FOLDER)]
    if not new:
        return Found(True, f"nothing here waits for {branch}")
    says, before = f"{', '.join(new)} not yet on {branch}", tip(checkout, branch)
    if before != git.head(checkout) or forbidden(hub, checkout, branch):
        return Found(False, says, way_out=f"commit, and bring it to {branch} by a pull request")

    def change() -> None:
        git.run("add", "--", *new, at=checkout)
        try:
            git.run("commit", "--quiet", "--message", MESSAGE, "--", *new, at=checkout)
            git.run("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}", at=checkout)
        finally:
            if tip(checkout, branch) == before:
                git.run("reset", "--quiet", before, at=checkout)  # the files stay, for people to commit

    return Found(False, says, f"commit it, and push it to {branch}", change)


def tip(checkout: Path, branch: str) -> str:
    """The newest commit of a branch, as origin has it now; empty where origin says nothing."""
    return git.tried("ls-remote", "origin", f"refs/heads/{branch}", at=checkout).text.partition("\t")[0]


def forbidden(hub: GitHub, checkout: Path, branch: str) -> bool:
    """Whether a ruleset would not let a person push there, or git not: without a name, or a login."""
    try:
        if any(one["name"] == RULESET for one in hub.list("/rulesets?includes_parents=false")):
            return True
    except Declined as error:
        if not by_plan(error):
            raise
    asked = (("var", "GIT_COMMITTER_IDENT"), ("push", "--dry-run", "origin", f"HEAD:refs/heads/{branch}"))
    return any(git.tried(*command, at=checkout).code for command in asked)

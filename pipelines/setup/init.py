"""`ml init`: a fresh copy becomes a repository whose checks mean something.

Each setting is looked at and changed where it is wrong, in an order in which a kill anywhere leaves what the
same command finishes. What the plan of GitHub, or an organization, refuses is said, and the rest goes on.
"""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.base import console, git
from pipelines.base.errors import UserError
from pipelines.base.github import Declined, GitHub
from pipelines.setup import environments, repository
from pipelines.setup.refusals import by_plan, passing, reason
from pipelines.setup.setting import Setting
from pipelines.setup.settings import settings
from pipelines.setup.tree import COLUMNS
from pipelines.setup.wanted import Wanted

FOLDER = ".github/"
WIDE = 110  # columns
SET, CHANGED, WOULD, REFUSED, WAITS, YOURS = "is set", "set now", "would", "REFUSED", "WAITS", "yours"


@dataclass(frozen=True)
class Outcome:
    """What became of one setting."""

    what: str
    came: str
    says: str
    matters: bool = True

    @property
    def fails(self) -> bool:
        return self.matters and self.came in (REFUSED, WAITS)


def init(hub: GitHub, wanted: Wanted, checkout: Path = Path(), plan: bool = False) -> int:
    """Make the repository what is wanted, or with `plan` only say what would change. 0, or 3 where something
    that matters could not be set. UserError where nothing more can be set now; it says how far it came."""
    about = repository.about(hub)
    allowed(hub, about, wanted)
    every = settings(hub, about, wanted, checkout)
    width = max(len(setting.what) for setting in every)
    done: list[Outcome] = []
    for setting in every:
        try:
            done.append(outcome(setting, done, plan))
        except UserError as error:
            why = reason(error) if isinstance(error, Declined) else str(error)
            again = "" if "the same command" in why else "; then run the same command again"
            came = "" if plan else f" ({len(done)} of {len(every)} done{again})"
            raise UserError(f"{setting.what}: {why}{came}") from None
        tell(done[-1], width)
    if new := [path for path in git.dirty(checkout) if path.startswith(FOLDER) or path == str(COLUMNS)]:
        print(f"\nCommit {', '.join(new)}, and bring it to the default branch: there it binds.")
    print(f"\n{after(done, plan)}")
    return 3 if any(one.fails for one in done) else 0


def after(done: Iterable[Outcome], plan: bool) -> str:
    """What a person does next."""
    would = sum(one.came == WOULD for one in done)
    if plan and would:
        return f"{would} would change; nothing has: run it without --plan."
    return "`ml doctor` shows what is on and what is off."


def outcome(setting: Setting, before: Iterable[Outcome], plan: bool) -> Outcome:
    """Look at one setting, and change it where it is wrong. Declined where the same call may do later."""
    lacking = [one.what for one in before if one.what in setting.after and one.came in (REFUSED, WAITS)]
    matters = True
    try:
        found = setting.look()
        matters = found.matters
        if found.right:
            return Outcome(setting.what, SET, found.says)
        if found.change is None:
            return Outcome(setting.what, YOURS, f"{found.says}: {found.way_out}", found.matters)
        if lacking:
            return Outcome(setting.what, WAITS, f"for {', '.join(lacking)}", found.matters)
        if plan:
            return Outcome(setting.what, WOULD, f"{found.would} (now: {found.says})", found.matters)
        found.change()
        return Outcome(setting.what, CHANGED, found.would, found.matters)
    except git.Failed as error:
        return Outcome(setting.what, REFUSED, str(error), matters)
    except Declined as error:
        if by_plan(error):
            return Outcome(setting.what, REFUSED, setting.means, matters)
        if passing(error) or error.status == 401:
            raise
        return Outcome(setting.what, REFUSED, reason(error), matters)


def allowed(hub: GitHub, about: Mapping[str, Any], wanted: Wanted) -> None:
    """UserError where whose token it is may not administer the repository, or where it knows no such
    people or branch."""
    if not about.get("permissions", {}).get("admin"):
        way_out = "ask one to run this, or to give you the role admin"
        raise UserError(
            f"only an administrator sets up {hub.repository}, and this token is not one's: {way_out}"
        )
    for name in (*wanted.owners, *wanted.reviewers):
        environments.person(hub, name)
    if wanted.branch and not hub.call("GET", f"/git/ref/heads/{quote(wanted.branch)}", missing={}):
        raise UserError(f"--branch {wanted.branch}: {hub.repository} has no such branch: push it first")


def tell(one: Outcome, width: int) -> None:
    """Print what became of a setting, as soon as it is known."""
    start = f"{one.came:8}  {one.what.ljust(width)}  "
    for line in textwrap.wrap(one.says, console.wide(WIDE) - len(start), break_on_hyphens=False) or [""]:
        print(f"{start}{line}".rstrip(), flush=True)
        start = " " * len(start)

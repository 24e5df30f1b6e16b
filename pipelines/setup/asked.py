"""What a person at a terminal is asked of what `ml init` was not told; elsewhere, what is sensible."""

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.github import Declined, GitHub
from pipelines.setup.tree import OWNER, OWNERS, PLACEHOLDER, owners_of, read
from pipelines.setup.wanted import Wanted

QUESTIONS = {
    "GREENLIGHT_STORE": "Where releases are kept, `github` or `folder` (90 days, as artifacts)",
    "GREENLIGHT_RUNNER": "The label of a self-hosted runner on the host, or nothing",
}
FOLDER = "folder"  # of the store: no variable
STORE = re.compile(r"github:[\w.-]+/[\w.-]+|/.+")


def completed(hub: GitHub, wanted: Wanted, checkout: Path, yes: bool) -> Wanted:
    """`wanted` with what it lacks: asked for at a terminal, but with `yes`. A first owner is who runs it."""
    ask = not yes and sys.stdin.isatty()
    owners = wanted.owners
    if not owners and PLACEHOLDER in owners_of(read(checkout / OWNERS)):
        owners = people(
            prompt("Who must approve code (@NAME or @ORGANIZATION/TEAM)", me(hub)) if ask else me(hub)
        )
    if not ask:
        return replace(wanted, owners=owners)
    reviewers = wanted.reviewers or people(
        prompt("Who lets production move (@NAME), or nothing: as it is", "")
    )
    return replace(wanted, owners=owners, reviewers=reviewers, variables=asked(hub, wanted.variables))


def asked(hub: GitHub, given: Mapping[str, str]) -> dict[str, str]:
    """The variables that were given, and the answers for the others; what is set is what is proposed."""
    found = dict(given)
    for name, question in QUESTIONS.items():
        if name not in found:
            now = str(hub.call("GET", f"/actions/variables/{name}", missing={}).get("value", ""))
            proposed = now or (FOLDER if name == "GREENLIGHT_STORE" else "")
            found[name] = prompt(question, proposed)
            if name == "GREENLIGHT_STORE" and found[name] != proposed:
                kept(found[name])
    return {name: "" if value == FOLDER else value for name, value in found.items()}


def people(text: str) -> tuple[str, ...]:
    """Names, with blanks or commas between them. UserError for what is no name."""
    names = tuple(text.replace(",", " ").split())
    for name in names:
        if not OWNER.fullmatch(name):
            raise UserError(f"{name!r} is not @NAME or @ORGANIZATION/TEAM")
    return names


def kept(store: str) -> str:
    """Where releases are kept. UserError for what would be a folder by mistake, such as `s3`."""
    if store in ("github", FOLDER) or STORE.fullmatch(store):
        return store
    raise UserError(
        f"--store {store!r} is none: say github, github:OWNER/REPO, folder, or a folder's whole path"
    )


def me(hub: GitHub) -> str:
    """Whose token it is; empty for a token that is nobody's."""
    try:
        who: dict[str, Any] = hub.outside("/user")
    except Declined:
        return ""
    return f"@{who['login']}"


def prompt(question: str, proposed: str) -> str:
    import typer

    return str(typer.prompt(question, default=proposed, show_default=bool(proposed))).strip()

"""All that `ml init` sets, in its order."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.github import GitHub
from pipelines.setup import environments, ledgerkey, repository, rulesets, tree, where
from pipelines.setup.check import Check, State
from pipelines.setup.setting import GITHUB, Setting
from pipelines.setup.wanted import Wanted


def github_checks(checkout: Path = Path(), name: str = "") -> list[Check]:
    """What there is of all that `ml init` sets, read only; `name` is OWNER/NAME, else the remote's. Without a
    token, or an answer, it is unknown."""
    found = []
    try:
        hub = where.found(checkout, name).hub()
        for setting in settings(hub, repository.about(hub), Wanted(), checkout):
            found.append(setting.check())
    except UserError as error:
        found.append(Check(GITHUB, "settings", State.UNKNOWN, str(error), "gh auth login"))
    return found


def settings(hub: GitHub, about: Mapping[str, Any], wanted: Wanted, checkout: Path) -> list[Setting]:
    """Files first; then what binds nobody; the rulesets last. `about`: what GitHub says of the repository."""
    branch = wanted.branch or str(about["default_branch"])
    names, holders = environments.named(checkout)
    return [
        *tree.settings(hub, checkout, branch, wanted.owners, wanted.model),
        *repository.settings(hub, about, checkout, branch, wanted.variables),
        *environments.settings(hub, names, branch, wanted.reviewers),
        *ledgerkey.settings(hub, checkout, branch, holders),
        *rulesets.settings(hub, checkout, ledgerkey.KEY),
    ]

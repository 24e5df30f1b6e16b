"""All that `ml init` sets, in its order."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.github import GitHub
from pipelines.setup import environments, ledgerkey, published, repository, rulesets, tree
from pipelines.setup.beside import beside, unknown
from pipelines.setup.check import Check, State
from pipelines.setup.setting import GITHUB, Setting
from pipelines.setup.wanted import Wanted


def github_checks(hub: GitHub, checkout: Path = Path()) -> list[Check]:
    """What there is of all that `ml init` sets, read only. What GitHub does not answer is unknown."""
    try:
        every = settings(hub, repository.about(hub), Wanted(), checkout)
    except UserError as error:
        says, _, way_out = str(error).partition(": ")
        return [Check(GITHUB, "settings", State.UNKNOWN, says, way_out or "gh auth login")]
    return beside([(unknown(one.group, one.what, "gh auth login"), one.check) for one in every])


def settings(hub: GitHub, about: Mapping[str, Any], wanted: Wanted, checkout: Path) -> list[Setting]:
    """Files first; then what binds nobody; the rulesets last. `about`: what GitHub says of the repository."""
    branch = wanted.branch or str(about["default_branch"])
    names = environments.named(checkout)
    return [
        *tree.settings(hub, checkout, branch, wanted.owners, wanted.model),
        *repository.settings(hub, about, checkout, branch, wanted.variables),
        *environments.settings(hub, names, branch, wanted.reviewers),
        *ledgerkey.settings(hub, checkout, branch, names),
        published.setting(hub, checkout, branch),
        *rulesets.settings(hub, checkout, ledgerkey.KEY),
    ]

"""Where releases lie: a folder, or a GitHub repository. The one place where the kind is chosen."""

import os
from pathlib import Path

from pipelines.base import machine
from pipelines.registry.store.assets import Assets, repository
from pipelines.registry.store.folder import Store, newest_first

__all__ = ["Assets", "Store", "newest_first", "of"]


def of(home: Path | None = None) -> Store:
    """The store that GREENLIGHT_STORE names: `github`, `github:OWNER/REPO`, or a folder.

    By default the folder `store` in `home` ($GREENLIGHT_HOME), which otherwise keeps what came from GitHub.
    UserError where the name is no repository's.
    """
    folder = (home or machine.home()) / "store"
    named = os.environ.get("GREENLIGHT_STORE") or str(folder)
    kind, _, name = named.partition(":")
    return Assets(repository(name), folder) if kind == "github" else Store(named)

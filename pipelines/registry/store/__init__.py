"""Where releases are: a folder, or a GitHub repository. The one place where the kind is chosen.

A kind of your own is a subclass of Store in a module here, and a line of `of`.
"""

import os
import re
from pathlib import Path

from pipelines.base import machine
from pipelines.base.errors import UserError
from pipelines.registry.store.assets import Assets, repository
from pipelines.registry.store.folder import Store, newest_first

__all__ = ["Assets", "Store", "newest_first", "of"]


def of(home: Path | None = None) -> Store:
    """The store that GREENLIGHT_STORE names: `github`, `github:OWNER/REPO`, or a folder.

    By default the folder `store` in `home` ($GREENLIGHT_HOME), which else keeps what came from elsewhere.
    UserError where the kind is not known, or the name is not a repository's."""
    folder = (home or machine.home()) / "store"
    named = os.environ.get("GREENLIGHT_STORE") or str(folder)
    kind, _, name = named.partition(":")
    if kind == "github":
        return Assets(repository(name), folder)
    if re.fullmatch(r"[\w+.-]+:.*", named) and not Path(named).exists():  # else s3://NAME were a folder here
        strange = f"GREENLIGHT_STORE is {named!r}, and there is no store of the kind {kind!r}"
        raise UserError(f"{strange}: name `github`, `github:OWNER/REPO` or a folder")
    return Store(named)

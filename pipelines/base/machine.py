"""Where a machine keeps what outlives a checkout: environments, and the store of releases."""

import os
from pathlib import Path

from pipelines.base import git


def home() -> Path:
    """`$GREENLIGHT_HOME`, by default ~/.local/state/greenlight/REPOSITORY."""
    if named := os.environ.get("GREENLIGHT_HOME"):
        return Path(named).absolute()
    try:
        origin = git.remote_url()
    except git.NoRepository:
        origin = None
    name = Path(origin or "").name.removesuffix(".git") or Path.cwd().name
    return Path.home() / ".local" / "state" / "greenlight" / name

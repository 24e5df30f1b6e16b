"""A slot's slot.json: what it serves. A later checkout finds there what an earlier one started."""

from pathlib import Path

from pipelines.artifacts.file import Artifact


class Served(Artifact):
    """All of slot.json: the release, its Bento in the store, and the Python of its environment."""

    NAME = "slot.json"
    WRITER = "`ml deploy`"
    WAY_OUT = "remove it, and run `ml deploy` for this environment"

    release: str
    bento: Path
    python: Path

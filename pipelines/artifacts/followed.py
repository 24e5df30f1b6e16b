"""A model's followed.json: the newest of the ledger that was believed on this host."""

from pipelines.artifacts.file import Artifact


class Followed(Artifact):
    """All of followed.json: what comes after these commits may be followed."""

    NAME = "followed.json"
    WRITER = "`ml deploy`"
    WAY_OUT = "it tells which entries were followed, so remove it once `ml status` names what you expect"

    head: str
    written: str  # the commit that wrote the environment's entry
    moment: int  # of that commit, in seconds since the epoch

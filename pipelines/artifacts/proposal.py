"""proposal.json: what GitHub knows of the pull request that brought a commit."""

from pipelines.artifacts.file import Artifact, Commit


class Proposal(Artifact):
    """All of proposal.json: its head, the run that judged it, and who let it through, where somebody did."""

    NAME = "proposal.json"
    WRITER = "`ml ci evidence`"
    WAY_OUT = "run `ml ci evidence`, which makes it"

    number: int
    title: str
    head: Commit
    run: int | None
    override: str | None

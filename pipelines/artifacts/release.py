"""release.json: what a release is made of, and which models were compared with the one that ships; and
proposal.json: what GitHub knows of the pull request that brought its commit."""

from typing import Annotated, Any

from pydantic import Field

from pipelines.artifacts.file import Artifact, Closed, Commit, Digest
from pipelines.core.contract import Verdict

MODELS = "bento/src/models"  # in a release's folder


class Shipped(Closed):
    """The model that ships, and its version in the MLflow registry."""

    sha256: Digest
    version: str


class Other(Closed):
    """Another model than the one that ships: its hash, and how far the two differ on the test window."""

    sha256: Digest
    max_dp: float


class Image(Closed):
    """The release's image, HOST/PATH of where it was pushed, else its name in an engine; the digest of its
    manifest; the image that it is built from, NAME@DIGEST, without the digest by an earlier version."""

    name: str
    digest: Annotated[str, Field(pattern=r"\Asha256:[0-9a-f]{64}\z")]
    base: str

    @property
    def reference(self) -> str | None:
        """HOST/PATH@DIGEST of an image in a registry; None of one that only an engine has."""
        return f"{self.name}@{self.digest}" if "/" in self.name else None


class Release(Artifact):
    """All of release.json. `image` is there where `ml release` pushed one, or `ml image` made one."""

    NAME = "release.json"
    WRITER = "`ml release`"
    WAY_OUT = "remove the folder, and make the release again with `ml release` at its commit"

    id: Digest
    commit: Commit
    name: str
    api: int
    model: Shipped
    rebuilt: Other
    judged: Other | None = None
    verdict: Verdict | None = None
    lock: Digest  # of requirements/serve.txt
    image: Image | None = None
    created: str

    @property
    def value(self) -> dict[str, Any]:
        """As it was read, without what it did not name: the ledger holds the SHA-256 of most of it."""
        return self.model_dump(mode="json", exclude_unset=True)


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

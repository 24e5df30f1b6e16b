"""ENVIRONMENT.json on the ledger's branch: the release that an environment should run."""

import getpass
import os
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from pipelines.artifacts.file import Artifact, Digest
from pipelines.base import git

Why = Literal["release", "promote", "rollback"]


class Entry(Artifact):
    """The release that an environment should run, and how that came about."""

    WRITER = "`ml`"
    WAY_OUT = "revert that commit on the branch"

    release: Digest
    commit: str
    model: str | None = None  # version in the MLflow registry
    evidence: dict[str, float | str | bool | None] = Field(default_factory=dict)
    beside: Digest | None = None  # beside.digest of the release
    image: str | None = None  # HOST/PATH@sha256:..., where it was pushed
    by: str = Field(
        default_factory=lambda: os.environ.get("GITHUB_ACTOR") or git.config("user.name") or getpass.getuser()
    )
    why: Why = "release"
    at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    environment: str | None = None  # what the entry was written for, so that a copy elsewhere is no entry
    repository: str | None = None

    def anew(self, why: Why) -> "Entry":
        """The same release, wanted once more, by whoever asks now."""
        return Entry(**self.model_dump(exclude={"by", "why", "at"}), why=why)

    @property
    def text(self) -> str:
        """What is committed: without the version as long as there is one, because hosts of earlier checkouts
        read the same branch, and refuse a field that they do not know."""
        unsaid = {"version"} | ({"image"} if self.image is None else set())
        return self.model_dump_json(indent=2, exclude=unsaid) + "\n"

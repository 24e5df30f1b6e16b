"""What a host keeps: host.json of an environment, slot.json of a slot, and a model's followed.json."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipelines.artifacts.file import Artifact, Closed

Port = Annotated[int, Field(ge=1, le=65535)]


class Slots(Closed):
    """A model that the environment serves, and the ports of its slots."""

    name: str
    blue: Port
    green: Port


class Outputs(Artifact):
    """All of host.json, Terraform's output `host`: where an environment of this machine is. The first of the
    models also answers at the edge's top."""

    NAME = "host.json"
    WRITER = "`ml infra up`"
    WAY_OUT = "correct it, or remove it and run `ml infra up` in the repository of each model that it serves"

    environment: str
    home: Path
    folder: Path
    tools: Path
    edge_url: str
    admin_url: str
    models: Annotated[list[Slots], Field(min_length=1)]
    socket: Path


class Served(Artifact):
    """All of slot.json: the release, its Bento in the store, and the Python of its environment. A later
    checkout finds there what an earlier one started."""

    NAME = "slot.json"
    WRITER = "`ml deploy`"
    WAY_OUT = "remove it, and run `ml deploy` for this environment"

    release: str
    bento: Path
    python: Path


class Followed(Artifact):
    """All of followed.json, the newest of the ledger that was believed here: what comes after these commits
    may be followed."""

    NAME = "followed.json"
    WRITER = "`ml deploy`"
    WAY_OUT = "it tells which entries were followed, so remove it once `ml status` names what you expect"

    head: str
    written: str  # the commit that wrote the environment's entry
    moment: int  # of that commit, in seconds since the epoch

"""ENVIRONMENT/host.json: Terraform's output `host`, which says where an environment of this machine is."""

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
    """All of host.json. The first of the models also answers at the edge's top."""

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

"""A host: the machine that holds environments. Its folders, ports and tools, as host.json tells."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.artifacts.host import Outputs, Slots
from pipelines.base import machine
from pipelines.base.errors import UserError
from pipelines.edge.edge import Edge
from pipelines.host.slots.slot import Slot
from pipelines.host.supervisor import Supervisor

COLOURS = ("blue", "green")


@dataclass(frozen=True)
class Host:
    """One environment on this machine, as Terraform's outputs describe it."""

    environment: str
    home: Path
    folder: Path
    tools: Path
    edge_url: str
    admin_url: str
    models: dict[str, dict[str, int]]  # name -> colour -> port; the first also answers at the edge's top
    socket: Path
    model: str  # whose slots, journal and lock this is about

    @classmethod
    def load(cls, environment: str, model: str, at: Path | None = None) -> "Host":
        """Read host.json. UserError where `ml infra up` has not made this environment for this model."""
        path = (at or machine.home()) / environment / Outputs.NAME
        way_out = f"run `ml infra up --env {environment}`"
        if not path.exists():
            raise UserError(f"no host for {environment} ({path}): {way_out}")
        host = cls.told(Outputs.read(path.parent), model)
        if not _same_folder(host.folder, path.parent):
            raise UserError(
                f"{path} is about {host.folder}, from where it was moved: move it back, or {way_out}"
            )
        if model not in host.models:
            raise UserError(f"{environment} serves {', '.join(host.models)} here, not yet {model}: {way_out}")
        return host

    @classmethod
    def parse(cls, value: str | Mapping[str, Any], model: str = "") -> "Host":
        """From Terraform's output `host`. UserError where it is none."""
        return cls.told(Outputs.parse(value, "Terraform's output `host`", "run `ml infra up` again"), model)

    @classmethod
    def told(cls, outputs: Outputs, model: str = "") -> "Host":
        """From what host.json holds. Without a `model` it is about the first."""
        value = outputs.model_dump(exclude={"version"})
        models = {each.pop("name"): each for each in value["models"]}
        return cls(**value | {"models": models}, model=model or next(iter(models)))

    def save(self) -> None:
        """Write host.json."""
        value = asdict(self) | {"models": [Slots(name=name, **slots) for name, slots in self.models.items()]}
        del value["model"]
        Outputs(**value).write(self.folder)

    def of(self, model: str) -> "Host":
        """The same environment for another of its models."""
        return replace(self, model=model)

    @property
    def each(self) -> list["Host"]:
        """The environment once for each model."""
        return [self.of(model) for model in self.models]

    def slot(self, colour: str) -> Slot:
        """One of the model's two slots."""
        return Slot(
            self.model,
            colour,
            self.models[self.model][colour],
            self.place / "slots" / colour,
            predictions=self.predictions,
            environments=self.home / "venvs",
            supervised=self.folder / "supervisor",
            supervisor=self.supervisor,
        )

    @property
    def slots(self) -> list[Slot]:
        """The model's two slots."""
        return [self.slot(colour) for colour in COLOURS]

    @property
    def place(self) -> Path:
        """What is the model's own: journal, lock, slots, predictions."""
        return place(self.home, self.environment, self.model)

    @property
    def predictions(self) -> Path:
        """The prediction log."""
        return self.place / "predictions"

    @property
    def edge(self) -> Edge:
        return Edge(self.folder / "edge", self.edge_url, self.admin_url, self.models, self.model)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.socket)

    @property
    def ports(self) -> dict[str, int]:
        """Every port of this environment, by what it is for."""
        edge, admin = (int(url.rpartition(":")[2]) for url in (self.edge_url, self.admin_url))
        slots = {f"{slot} of {name}": port for name, of in self.models.items() for slot, port in of.items()}
        return {"edge": edge, "admin": admin, **slots}

    @property
    def mark(self) -> str:
        """What the processes of this environment carry, its slots aside (each has a mark of its own)."""
        return str(self.folder)


def place(home: Path, environment: str, model: str) -> Path:
    """Where an environment keeps what is a model's own."""
    return home / environment / "models" / model


def _same_folder(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False

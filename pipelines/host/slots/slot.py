"""A slot: one of a model's two places on a host, the colour `blue` or `green`."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.host.supervisor import Supervisor


@dataclass(frozen=True)
class Slot:
    """Where a server lives and who starts it."""

    model: str
    colour: str
    port: int
    home: Path  # what the server writes; made anew at each start
    predictions: Path  # the folder of the model's prediction log
    environments: Path  # the folder of the virtual environments, one a lock
    supervised: Path  # the folder from which the supervisor starts what it finds there
    supervisor: Supervisor

    @property
    def url(self) -> str:
        """Where the slot answers, past the edge."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def program(self) -> str:
        """What the supervisor calls it."""
        return f"slot-{self.model}-{self.colour}"

    @property
    def mark(self) -> str:
        """What all processes of the slot carry in their environment, and no other process does."""
        return str(self.home)

    @property
    def lock(self) -> Path:
        """What the server holds while it runs; not in its home, which each start makes anew."""
        return self.home.with_name(f"{self.colour}.lock")

    @property
    def log(self) -> Path:
        """Where the server writes, and the supervisor what comes before it; the host keeps it short."""
        return self.home / "log"

"""What is looked at: one thing that is on, off or unknown, and how to switch it on."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"  # it could not be asked, such as without a token


@dataclass(frozen=True)
class Check:
    """What was found of one thing. `matters`: without it something that the README promises does not hold."""

    group: str  # the part of the table: machine, repository, GitHub or host
    what: str
    state: State
    says: str  # what was found, in a few words
    way_out: str = ""  # the command, or the page, that switches it on
    matters: bool = True

    @property
    def fails(self) -> bool:
        """Whether it is off, and matters."""
        return self.matters and self.state is State.OFF

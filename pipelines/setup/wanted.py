"""What a team wants of its repository."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wanted:
    """What is empty stays as it is found. People are `@NAME`, teams `@ORGANIZATION/TEAM`."""

    owners: tuple[str, ...] = ()  # who must approve code
    reviewers: tuple[str, ...] = ()  # who lets production move
    branch: str = ""  # the default branch
    model: str = ""  # its name
    variables: Mapping[str, str] = field(default_factory=dict)  # an empty value: there is none

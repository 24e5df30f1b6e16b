"""What pyproject.toml says: which Pythons the lock is for, and what the template came with."""

import tomllib
from typing import Any

from pipelines.base import programs

FILE = programs.CODE / "pyproject.toml"


def pythons() -> str:
    """The versions, such as >=3.11,<3.15."""
    return str(_read()["project"]["requires-python"])


def example() -> str:
    """The name of the problem that was in the room."""
    return str(_read()["tool"]["greenlight"]["example"])


def tests() -> str:
    """The folder of what was tested of that problem alone."""
    return str(_read()["tool"]["greenlight"]["tests"])


def _read() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))

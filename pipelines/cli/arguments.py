"""How verbs read their arguments."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from pipelines.base.errors import UserError

if TYPE_CHECKING:
    from pipelines.core.params import Params
    from pipelines.core.problem import Problem

Env = Annotated[Literal["staging", "production"], Option("--env", help="The environment.")]


def month(text: str) -> str:
    """A month or another period; `latest` is the newest that the source has."""
    from pipelines.core import periods, rows

    if text != "latest":
        try:
            periods.grain(text)
        except ValueError:
            raise UserError(f"--through {text!r} is not a month: write it as 2013-06, or `latest`") from None
        return text
    return rows.known(problem())[-1]


def at_the_top() -> None:
    """UserError anywhere but at the top of a clone: else a verb would speak of another folder."""
    from pipelines.base import git

    top = Path(git.run("rev-parse", "--show-toplevel"))
    if top.resolve() != Path().resolve():
        raise UserError(f"{Path().resolve()} is a folder of a clone: run this at its top, {top}")


def pairs(texts: list[str] | None) -> dict[str, str]:
    """NAME=VALUE, as often as given."""
    found = dict(text.partition("=")[::2] for text in texts or ())
    if bad := [text for text in texts or () if "=" not in text]:
        raise UserError(f"{bad[0]!r} is not NAME=VALUE")
    return found


def problem() -> "Problem":
    """The team's: a verb that has nothing to do with it imports nothing of it."""
    from pipelines.problem import PROBLEM

    return PROBLEM


def given() -> tuple["Params", "Problem"]:
    """The params and the problem."""
    from pipelines.core.params import load

    return problem().task.suited(load()), problem()

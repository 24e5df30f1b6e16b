"""The team's room, pipelines/problem/, as it was written by hand: a mistake in it is one sentence."""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.base.errors import Refused, UserError
from pipelines.core import periods

FOLDER = Path(__file__).resolve().parents[1] / "problem"
PACKAGE = "pipelines.problem"


def mistake(error: BaseException) -> str | None:
    """What is wrong in the room, in one sentence with file and line; None where `error` is not its fault."""
    if isinstance(error, UserError | Refused):
        return None
    if isinstance(error, SyntaxError) and _inside(error.filename):
        return f"{_name(error.filename)}, line {error.lineno}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _inside(frame.filename)]
    if frames:
        where = f"{_name(frames[-1].filename)}, line {frames[-1].lineno}"
        if isinstance(error, ModuleNotFoundError):
            return (
                f"{where}: {error}: a package goes into the group `train` of pyproject.toml, then "
                "`make lock` and `make .venv/ready`"
            )
        return f"{where}: {_words(error)}"
    # Names that the room should have and does not: raised where they are asked for.
    if isinstance(error, ImportError) and (error.name or "").startswith(f"{PACKAGE}."):
        return f"{(error.name or '').replace('.', '/')}.py: {error.msg}"
    if isinstance(error, AttributeError):
        owner = getattr(error.obj, "__name__", "")
        if isinstance(owner, str) and owner.startswith(f"{PACKAGE}."):
            return f"{owner.replace('.', '/')}.py has no {error.name}"
    return None


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of the room returns. UserError where it cannot be called so."""
    if not callable(function):
        must = "where a function must be: months() and read() of source.py, build() of features.py"
        raise UserError(f"pipelines/problem/ has {function!r:.40} {must}")
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise UserError(
            f"{_of(function)}: {function.__name__}() is called with {len(arguments) or 'no'} "
            f"argument{'' if len(arguments) == 1 else 's'}, and its signature does not fit: {error}"
        ) from None
    return function(*arguments)


def months(function: Callable[[], Any]) -> list[str]:
    """What months() of source.py returns: months, or other periods of one kind, oldest first. UserError where
    it is anything else."""
    found = call(function)
    where = f"{_of(function)}: {function.__name__}()"
    if not isinstance(found, list | tuple) or not found:
        raise UserError(f"{where} returns {found!r:.80}, but must return a list of months such as '2013-06'")
    if len(kinds := sorted({_grain(month, where) for month in found})) > 1:
        raise UserError(f"{where} returns a {' and a '.join(kinds)}: name periods of one kind")
    if list(found) != sorted(set(found)):
        raise UserError(f"{where} must return each month once, oldest first")
    return list(found)


def _grain(month: Any, where: str) -> str:
    try:
        return periods.grain(month)
    except (TypeError, ValueError):
        raise UserError(f"{where} returns {month!r:.80} for a month, which is written as '2013-06'") from None


def _inside(filename: str | None) -> bool:
    return bool(filename) and Path(str(filename)).resolve().parent == FOLDER


def _name(filename: str | None) -> str:
    return f"pipelines/problem/{Path(str(filename)).name}"


def _of(function: Callable[..., Any]) -> str:
    return f"{function.__module__.replace('.', '/')}.py"


def _words(error: BaseException) -> str:
    said = " ".join(str(error).split())[:300]
    if isinstance(error, ValueError) and said.startswith("columns.py: "):  # the contract's own sentence
        return said.removeprefix("columns.py: ")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__

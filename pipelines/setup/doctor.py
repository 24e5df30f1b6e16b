"""`ml doctor`: what is on, what is off, and how to switch it on, in one table."""

import json
import logging
import textwrap
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from pipelines.base import console
from pipelines.base import machine as places
from pipelines.base.errors import UserError
from pipelines.core.problem import Problem
from pipelines.setup import checkout, host, machine, runs, where
from pipelines.setup.beside import beside, unknown
from pipelines.setup.check import Check, State
from pipelines.setup.refusals import INVALID
from pipelines.setup.settings import github_checks

WIDE = 110  # columns
PATIENCE_SECONDS = 30.0  # for a group; most of them take one
VERSION = 1  # of what --json prints


def doctor(problem: Problem, as_json: bool = False, repository: str = "", home: Path | None = None) -> int:
    """Print what was found; `repository` is OWNER/NAME on GitHub, else origin's. Returns 3 where something
    that matters is off, else 0."""
    checks = look(problem, home or places.home(), repository)
    print(_json(checks) if as_json else "\n".join(table(checks)))
    return 3 if any(check.fails for check in checks) else 0


def look(problem: Problem, home: Path, repository: str = "") -> list[Check]:
    """All that is looked at, the groups beside each other."""
    logging.getLogger("dvc.progress").setLevel(logging.CRITICAL)  # its bars are of what nobody has asked for
    groups: dict[str, Callable[[], list[Check]]] = {
        "machine": lambda: machine.checks(home),
        "repository": lambda: checkout.checks(problem),
        "GitHub": lambda: _github(repository),
        "host": lambda: host.checks(home, problem.name),
    }
    asked = [(unknown(group, "all of it"), question) for group, question in groups.items()]
    return _once(beside(asked, within=PATIENCE_SECONDS))


def _github(repository: str = "") -> list[Check]:
    try:
        hub = where.found(name=repository).hub()
    except UserError as error:
        says, _, way_out = str(error).partition(": ")
        return [Check("GitHub", "all of it", State.UNKNOWN, says, way_out)]
    groups = {"settings": lambda: github_checks(hub), "runs": lambda: runs.checks(hub)}
    found = beside([(unknown("GitHub", group), question) for group, question in groups.items()])
    invalid = [replace(check, what="all of it") for check in found if check.says == INVALID]
    return invalid or found  # each row would say it in words of its own


def _once(checks: list[Check]) -> list[Check]:
    """By groups; of what is looked at here and by GitHub too, its word counts where it has one."""
    found: dict[tuple[str, str], Check] = {}
    for check in checks:
        name = (check.group, check.what)
        if name not in found or check.state is not State.UNKNOWN:
            found[name] = check
    order = list(dict.fromkeys(check.group for check in checks))
    return sorted(found.values(), key=lambda check: order.index(check.group))


def table(checks: list[Check]) -> list[str]:
    """Lines of at most WIDE columns, or the terminal's: state, what, what was found, and below that the way
    out. What is off and does not matter is in brackets."""
    first = max(len(_state(check)) for check in checks)
    second = max(len(check.what) for check in checks)
    lines, wide = [], console.wide(WIDE)
    for group, those in groupby(checks, key=lambda check: check.group):
        lines += ["", group]
        for check in those:
            start = f"  {_state(check).ljust(first)}  {check.what.ljust(second)}  "
            told = [check.says] + ([f"→ {check.way_out}"] if _needs(check) else [])
            for text in told:
                wrapped = textwrap.wrap(text, wide - len(start), break_on_hyphens=False) or [""]
                for line in wrapped:
                    lines.append(f"{start}{line}".rstrip())
                    start = " " * len(start)
    return [*lines[1:], "", _sum(checks)]


def _needs(check: Check) -> bool:
    return bool(check.way_out) and check.state is not State.ON


def _state(check: Check) -> str:
    return f"({check.state})" if check.state is State.OFF and not check.matters else str(check.state)


def _sum(checks: list[Check]) -> str:
    off = sum(check.fails for check in checks)
    asked = sum(check.state is State.UNKNOWN for check in checks)
    told = (
        f"{off} of what matters {'is' if off == 1 else 'are'} off" if off else "nothing that matters is off"
    )
    return f"{told}; {asked} could not be asked" if asked else told


def _json(checks: list[Check]) -> str:
    """docs/update.md says what each field is."""
    told = [
        {
            "group": check.group,
            "what": check.what,
            "state": str(check.state),
            "says": check.says,
            "way_out": check.way_out,
            "matters": check.matters,
        }
        for check in checks
    ]
    fails = any(check.fails for check in checks)
    return json.dumps({"version": VERSION, "fails": fails, "checks": told}, indent=2, ensure_ascii=False)

"""`ml abort`: end a rollout that is under way. Its step in hand is undone, and no watch goes on with it."""

import os
import re
import signal
from pathlib import Path

import psutil

from pipelines.base import locks
from pipelines.base.console import step as say
from pipelines.base.errors import UserError
from pipelines.base.waiting import until
from pipelines.host.host import Host
from pipelines.rollout.deploy import DEPLOY
from pipelines.rollout.journal import Journal, Move
from pipelines.rollout.steps import NAMES

BY = "`ml abort`"
ENDS_SECONDS = 120.0  # in which a rollout undoes its step: slots are drained meanwhile


def abort(env: str, model: str, home: Path | None = None, within: float = ENDS_SECONDS) -> None:
    """Give the deploy that runs what Ctrl-C gives it, and leave its move to a person, as one that was held or
    killed; nothing happens where no rollout is under way.

    UserError where something else holds the environment, or the deploy has not ended within so many seconds.
    """
    host = Host.load(env, model, home)
    journal = Journal(host.place)
    before = journal.half_way()
    if before is None or not before.failing:  # what is being undone is not stopped half-way
        _interrupt(host, within)
        with locks.held(host.place, "the abort", env):
            move = journal.half_way()
            if move and not move.failing and not move.paused:
                last = next((event["step"] for event in reversed(move.events) if "step" in event), NAMES[0])
                journal.write(move.id, "pause", step=last, by=BY)
    print(f"{env}: {_told(env, journal.half_way())}; {host.edge.traffic}")


def _told(env: str, move: Move | None) -> str:
    if move is None:
        return "no rollout is under way"
    what = f"the move to {move.release[:12]} is"
    if move.failing:
        return f"{what} turned back already ({move.failing}): `ml deploy --env {env}` ends what was killed"
    undo = f", `ml rollback --env {env}` undoes it" if move.origin else ""
    return f"{what} left half-way: `ml deploy --env {env}` finishes it{undo}"


def _interrupt(host: Host, within: float) -> None:
    """Send SIGINT to the deploy of the environment, where there is one, and wait for its end."""
    holder = locks.holder(host.place)
    if holder is None:
        return
    found = re.fullmatch(rf"{DEPLOY} (\S+) \(process (\d+), .*", holder)
    if not found or not _holds(pid := int(found[2]), host.place):
        raise UserError(f"{host.environment} is held by {holder}, which is not a rollout: wait for it")
    say(f"{host.environment}: ending {holder}")
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return  # it has just ended
    except PermissionError:
        raise UserError(f"{holder} belongs to another user: run `ml abort` as that one") from None
    if not until(lambda: locks.holder(host.place) != holder, within):
        way_out = f"`kill -9 {pid}`, then run `ml deploy` or `ml rollback --env {host.environment}`"
        raise UserError(f"{holder} has not ended within {within:g} s: {way_out}")


def _holds(pid: int, place: Path) -> bool:
    """Whether the process has the lock's file open: a number in a file may be of an older holder. What
    another user's process has open cannot be seen, nor can that be signalled."""
    try:
        return any(Path(file.path) == (place / "lock").resolve() for file in psutil.Process(pid).open_files())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True

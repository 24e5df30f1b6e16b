"""The move of an environment from one release to another, without losing a request.

What a move does are the steps of `steps.STEPS`, which `engine` runs. A run that finds a move which was left
half-way starts it at the top again, where the same release is wanted, or turns it back, where another one is.
"""

import errno
import uuid
from pathlib import Path

from pipelines.base.console import step as say
from pipelines.base.console import summary
from pipelines.base.errors import Refused, UserError
from pipelines.base.locks import held
from pipelines.base.signals import Interrupted, interruptible
from pipelines.core import params
from pipelines.core.contract import Contract
from pipelines.host import services, trust
from pipelines.host.host import COLOURS, Host
from pipelines.host.slots import process
from pipelines.registry import merged
from pipelines.registry import store as stores
from pipelines.registry.ledger import Ledger
from pipelines.registry.store import Store
from pipelines.rollout import checks
from pipelines.rollout.engine import Rollout
from pipelines.rollout.journal import Journal, Move
from pipelines.rollout.steps import NAMES, STEPS

DEPLOY = "the deploy of"  # the holder of an environment's lock, in words


def deploy(
    env: str,
    contract: Contract,
    home: Path | None = None,
    plan: bool = False,
    pause_before: str | None = None,
) -> int:
    """Move an environment to the release that the ledger wants: 0 when it has all traffic, 4 when refused,
    3 when it waits (for callers, or before the step `pause_before`).

    With `plan` only tells what would happen. UserError where there is no host, nothing is wanted, what is
    wanted is not to be believed or is not a merged commit's release, or another deploy holds the environment.
    """
    pause = pause_before if pause_before is None else pause_before.upper()
    if pause is not None and pause not in NAMES:
        raise UserError(f"--pause-before {pause_before!r} is not a step: they are {', '.join(NAMES)}")
    host = Host.load(env, contract.name, home)
    found = (ledger := Ledger()).look(env)
    trust.believe(host, ledger, found)
    if found is None:
        verb = "ml promote" if env == "production" else "ml release"
        raise UserError(f"the ledger wants nothing for {env} yet: run `{verb}`")
    entry, store = found.entry, stores.of(home)
    if not _live(host, entry.release):
        merged.check(entry, folder := store.get(entry.release))
        trust.attested(host, ledger, entry, folder, Journal(host.place).goes_back(entry.release))
    if plan:
        return tell(host, contract, entry.release, store, entry.why)
    code = move(host, contract, entry.release, store, entry.why, pause)
    for last in Journal(host.place).moves()[-1:]:
        summary("\n".join(last.table(env)))
    return code


def move(
    host: Host,
    contract: Contract,
    release: str,
    releases: Store,
    why: str = "release",
    pause_before: str | None = None,
) -> int:
    """Move a host to a release: 0 when it has all traffic; 3 when it waits; 4 when it was refused, traffic
    being as before. A signal raises Interrupted, the step in hand being undone. The same again goes on."""
    limits = params.load().rollout
    try:
        with held(host.place, f"{DEPLOY} {release[:12]}", host.environment), interruptible():
            if not services.alive(host):  # what died comes back, around what still serves
                say(f"{host.environment}: the supervisor or the edge was down, starting it")
                try:
                    with held(host.folder, "another revival", host.environment):
                        services.revive(host)
                except (Refused, OSError) as error:
                    raise UserError(f"{error}: run `ml infra up --env {host.environment}`") from None
            journal = Journal(host.place)
            if not _live(host, release):
                releases.get(release)  # before anything moves: the store may be out of reach
            if half_way := journal.half_way():
                rollout = Rollout(host, contract, releases, journal, half_way, limits)
                if half_way.release == release and not half_way.failing:
                    say(f"{host.environment}: the move to {release[:12]} was left half-way; going on with it")
                    return rollout.run(pause_before)
                code = rollout.make_way(f"{release[:12]} is wanted now")
                if half_way.release == release:
                    return code
            if live := _live(host, release):
                say(f"{host.environment}: {release[:12]} is already live on {live}")
                return 0
            new = _intended(host, release, why)  # to the slot that has no traffic
            details = {"release": new.release, "slot": new.slot, "from": new.origin, "why": new.why}
            journal.write(new.id, "begin", **details)
            return Rollout(host, contract, releases, journal, journal.move(new.id), limits).run(pause_before)
    except Interrupted as signal:
        say(f"{host.environment}: ended by {signal}; run the same again to go on")
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        where = error.filename or host.place
        raise UserError(f"{where}: {error.strerror}: mend that, then run the same again to go on") from None


def tell(host: Host, contract: Contract, release: str, releases: Store, why: str = "release") -> int:
    """Print what `move` would do. Returns 0."""
    limits, journal = params.load().rollout, Journal(host.place)
    half_way = journal.half_way()
    if half_way and (half_way.release != release or half_way.failing):
        print(f"{host.environment}: first the move to {half_way.release[:12]}, left half-way, is turned back")
        half_way = None
    if not half_way and _live(host, release):
        print(f"{host.environment}: {release[:12]} is already live: nothing to do")
        return 0
    rollout = Rollout(host, contract, releases, journal, half_way or _intended(host, release, why), limits)
    print(f"{host.environment}: {release[:12]} ({rollout.why}) to {rollout.slot}, {rollout.begins()}")
    for step in STEPS:
        reason = step.skip(rollout)
        done = "done; " if step.name in rollout.done else ""
        print(f"  {step.name:8} {done}{f'left out: {reason}' if reason else step.says(rollout)}")
    print("  ROLLBACK where a step refuses: its work and the earlier steps' is undone, traffic first")
    return 0


def _intended(host: Host, release: str, why: str) -> Move:
    route = host.edge.route()
    slot = COLOURS[1] if route and route.slot == COLOURS[0] else COLOURS[0]
    origin = {"slot": route.slot, "release": route.release} if route else None
    why = "rollback" if Journal(host.place).goes_back(release) else "release" if why == "rollback" else why
    return Move(uuid.uuid4().hex[:12], release, slot, origin, why, "")


def _live(host: Host, release: str) -> str | None:
    """The slot that serves the release to callers, in health: what is written is asked of slot and edge."""
    route = host.edge.route()
    if route is None or route.release != release or process.running(host.slot(route.slot)) != release:
        return None
    asked = (host.slot(route.slot).url, host.edge.model_url)
    serves = host.edge.healthy(route.slot) and all(checks.serves(url, release) for url in asked)
    return route.slot if serves else None

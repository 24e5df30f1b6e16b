"""A deployer that is SIGKILLed wherever it can be: at each journal line, fsync, rename and call.

The points are those of a move that nobody disturbs, as its own interpreter tells them (sys.setprofile). A
deploy is then killed at one of them, the same command at a later one, and so on; at last it may finish.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import _host, figure
from benchmarks._host import Bench, Callers
from pipelines.base.console import step
from pipelines.core.params import Bake, Canary, Shadow
from pipelines.host.host import Host
from pipelines.problem import PROBLEM
from pipelines.registry.store import Store
from pipelines.rollout import deploy as rollout
from tests.delivery import tiny

KILLS = int(os.environ.get("KILLS", "200"))
RATE = 80.0  # requests a second
EACH = 4  # kills of one move, at most
TIMES = 2  # how often a call is a point while a step lasts: waiting repeats the same ones
WITHIN_SECONDS = 180.0  # for one command
PACKAGE = Path(rollout.__file__).parents[1]
OURS = (  # also what a move holds, and is left by
    *(f"{PACKAGE / room}{os.sep}" for room in ("registry", "host", "edge", "rollout")),
    *(f"{PACKAGE / file}" for file in ("base/locks.py", "base/signals.py")),
)
ON_DISK = {os.fsync: "fsync", os.replace: "rename", os.rename: "rename"}
LIMITS: dict[str, Any] = {
    "bake": Bake(seconds=0.5, requests=5),
    "shadow": Shadow(environments=[_host.ENVIRONMENT], pairs=20, patience=60.0),
    "canary": [Canary(share=20, seconds=0.3, requests=5, patience=60.0)],
}

PLAIN = {**LIMITS, "shadow": Shadow(), "canary": []}  # what is bad shows in the bake, after the flip

Point = tuple[str, str, int]  # the step under way, what happens, the how-manieth time there


@dataclass
class Killed:
    """What became of the moves that were killed."""

    points: set[Point] = field(default_factory=set)
    moves: int = 0
    wrong: list[str] = field(default_factory=list)


def measure(bench: Bench) -> None:
    """Good releases and one that fails its callers, so that turning back is killed too."""
    good = [bench.make(f"killed {n}") for n in range(2)]
    bad = bench.make("killed and bad", errors=True)
    _host.use(**PLAIN)
    bench.require(good[0])
    killed, began = Killed(), time.monotonic()
    with Callers(bench.host.edge_url, RATE, slow=2) as load:
        of_bad, of_good = points(bench, bad, PLAIN), points(bench, good[1], LIMITS)
        step(f"{len(of_bad)} points of a bad release, {len(of_good)} of a good one")
        share = round(KILLS * len(of_bad) / (len(of_bad) + len(of_good)))
        _all(bench, killed, spread(of_bad, share), lambda: bad, PLAIN)
        _all(bench, killed, spread(of_good, KILLS - share), lambda: _other(bench, good), LIMITS)
        rest = [point for point in of_good if point not in killed.points]  # a second run may not come by
        _all(bench, killed, spread(rest, KILLS - len(killed.points)), lambda: _other(bench, good), LIMITS, 1)
    took = time.monotonic() - began
    for reason in killed.wrong:
        print(f"  {reason}")
    steps = Counter(point[0] for point in killed.points)
    print(f"  kills by step: {', '.join(f'{name} {count}' for name, count in steps.items())}")
    figure("deployer SIGKILLed, points", len(killed.points), "", f">= {KILLS}", len(killed.points) >= KILLS)
    figure(f"moves of {killed.moves} that did not converge", len(killed.wrong), "", "== 0", not killed.wrong)
    out = load.outcome
    figure(f"requests not answered by 200 of {out.sent}", out.failed, "", "== 0", out.failed == 0)
    figure("seconds a move, its kills included", took / max(1, killed.moves), "s")


def points(bench: Bench, release: str, limits: dict[str, Any]) -> list[Point]:
    """Where a deploy of the release can be killed, in order: from a run to its end."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        code = deploy(bench, release, limits, trace=Path(file.name))
        found = [(a, b, n) for a, b, n in json.loads(Path(file.name).read_text() or "[]")]
    if not found:
        raise SystemExit(f"the deploy without kills ended with {code}: {last_words(bench)}")
    return found


def spread(found: Sequence[Point], count: int) -> list[Point]:
    """So many of the points, in order: all that touch the disk first, then calls, evenly."""
    written = [p for p in found if p[1].startswith(("before", "after")) or "Journal.write" in p[1]]
    calls = [p for p in found if p not in written]
    chosen = {*_evenly(written, count), *_evenly(calls, max(0, count - len(written)))}
    return [p for p in found if p in chosen]


def chains(chosen: Sequence[Point], each: int = EACH) -> list[list[Point]]:
    """The points that one move is killed at, in their order: of a step one at most, since the next run of the
    command does that step otherwise, and need not come by there again."""
    left: dict[str, list[Point]] = {}
    for point in chosen:
        left.setdefault(point[0], []).append(point)
    found = []
    while any(left.values()):
        longest = sorted(left, key=lambda step: -len(left[step]))[:each]
        found.append([left[step].pop(0) for step in left if step in longest and left[step]])
    return found


def deploy(
    bench: Bench, release: str, limits: dict[str, Any], at: Point | None = None, trace: Path | None = None
) -> int | None:
    """The exit code of a deployer in a process of its own: -9 where it was killed, None where it hung."""
    context = _servers()
    arguments = (bench.host.home, release, bench.store.folder, limits, _log(bench), at, trace)
    process = context.Process(target=deployer, args=arguments)
    process.start()
    try:
        process.join(WITHIN_SECONDS)
        return process.exitcode  # of one that runs still: None
    finally:
        process.kill()
        process.join()


def deployer(
    home: Path,
    release: str,
    store: Path,
    limits: dict[str, Any],
    log: Path,
    at: Point | None,
    trace: Path | None,
) -> None:
    """What the child runs."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    _host.use(**limits)
    host, seen = Host.load(_host.ENVIRONMENT, PROBLEM.name, home), list[Point]()
    if at or trace:
        sys.setprofile(watcher(seen, at))
    code = rollout.move(host, tiny.CONTRACT, release, Store(store))
    sys.setprofile(None)
    if trace:
        trace.write_text(json.dumps(seen))
    sys.exit(code)


def watcher(seen: list[Point], at: Point | None) -> Callable[[FrameType, str, Any], None]:
    """A profile function that appends the points to `seen`, and kills this process at `at`."""
    stage, times = ["start"], Counter[tuple[str, str]]()

    def look(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            code = frame.f_code
            if not code.co_filename.startswith(OURS) or "<" in code.co_name:
                return
            what, limit = f"{Path(code.co_filename).stem}.{code.co_qualname}", TIMES
        elif event in ("c_call", "c_return") and arg in ON_DISK:
            what, limit = f"{'before' if event == 'c_call' else 'after'} {ON_DISK[arg]}", 100
        else:
            return
        writes = what == "journal.Journal.write"
        times[stage[0], what] += 1
        point = (stage[0], what, times[stage[0], what])
        if point[2] <= (100 if writes else limit):
            seen.append(point)
            if point == at:
                os.kill(os.getpid(), signal.SIGKILL)
        if writes:
            known = frame.f_locals
            stage[0] = known["details"].get("step", known["event"])

    return look


def last_words(bench: Bench, lines: int = 12) -> str:
    """The end of what deployers said."""
    path = _log(bench)
    return "\n".join(path.read_text().splitlines()[-lines:]) if path.exists() else ""


def _all(
    bench: Bench,
    killed: Killed,
    chosen: Sequence[Point],
    release: Callable[[], str],
    limits: dict[str, Any],
    each: int = EACH,
) -> None:
    for chain in chains(chosen, each):
        wanted, stays = release(), bench.live().release
        code, known = 4 if limits is PLAIN else 0, len(killed.wrong)
        for point, ended in _through(bench, wanted, limits, chain):
            if ended == -signal.SIGKILL and point:
                killed.points.add(point)
            elif ended != code:
                said = f"the same command ended with {ended}, not {code}, after kills at {chain}"
                killed.wrong.append(f"{said}: {last_words(bench)}")
        killed.moves += 1
        if troubles := bench.troubles(stays if code else wanted):
            killed.wrong.append(f"after kills at {chain}: {'; '.join(troubles)}")
            bench.settle(stays)
        for reason in killed.wrong[known:]:
            step(reason)
        step(f"{len(killed.points)} kills, {killed.moves} moves, {len(killed.wrong)} wrong")


def _through(
    bench: Bench, release: str, limits: dict[str, Any], chain: Sequence[Point]
) -> Iterator[tuple[Point | None, int | None]]:
    """The same command, killed at each of the points, and then left alone."""
    for point in chain:
        ended = deploy(bench, release, limits, point)
        yield point, ended
        if ended != -signal.SIGKILL:  # it did not come by there again, and is done
            return
    yield None, deploy(bench, release, limits)


def _other(bench: Bench, releases: Sequence[str]) -> str:
    return releases[0] if bench.live().release == releases[1] else releases[1]


def _evenly(found: Sequence[Point], count: int) -> list[Point]:
    count = min(count, len(found))
    return [found[int(n * len(found) / count)] for n in range(count)]


def _servers() -> ForkServerContext:
    """Children of a process that has only imported what a deploy needs: a deployer then starts at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks._kills"])
    return context


def _log(bench: Bench) -> Path:
    return bench.host.home / "deployers.log"

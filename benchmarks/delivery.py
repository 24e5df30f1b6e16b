"""What a rollout costs its callers, whatever happens to it: `make bench ONLY=delivery`.

All is real: Terraform, Envoy, supervisord, Bentos in slots; only the releases are small. PART=flips, kills,
deaths or bad runs one part. FLIPS, REQUESTS, KILLS, DEATHS and BAKED are their sizes, RATE requests a second.
"""

import os
import time

from benchmarks import _bad, _deaths, _host, _kills, _load, figure, run
from benchmarks._host import Bench, Callers, Turn
from pipelines.base.console import step
from pipelines.base.errors import Refused
from pipelines.core.params import Bake
from pipelines.edge.edge import Route
from pipelines.host.host import COLOURS
from pipelines.host.slots import process
from pipelines.rollout import checks
from pipelines.rollout.journal import Journal

FLIPS = int(os.environ.get("FLIPS", "100"))
REQUESTS = int(os.environ.get("REQUESTS", "500000"))
RATE = float(os.environ.get("RATE", "400"))
AT_REST_SECONDS = 30.0
RIVALS = 3  # times each


def main() -> None:
    chosen = os.environ.get("PART", "").split() or list(PARTS)
    for name in chosen:
        if name not in PARTS:
            raise SystemExit(f"PART={name}: there are {', '.join(PARTS)}")
    with _host.small_host() as bench:
        for name in chosen:
            step(f"delivery: {name}")
            PARTS[name](bench)


def flips(bench: Bench) -> None:
    """Moves under load, one after the other; what they lose, how long they take, what callers wait."""
    _host.use(bake=Bake(seconds=1.0, requests=20))
    releases = [bench.make(name, **_host.QUIET) for name in ("one", "two", "three")]
    bench.require(releases[0])
    with Callers(bench.host.edge_url, RATE) as rest:
        time.sleep(AT_REST_SECONDS)
    before, done, refused = len(Journal(bench.host.place).moves()), 0, list[str]()
    with Callers(bench.host.edge_url, RATE) as load, _host.turns() as turns:
        while done < FLIPS or load.sent < 1.05 * REQUESTS:  # on a full machine some are late
            done += 1
            try:
                if code := bench.move(releases[done % 3]):
                    refused.append(f"move {done} ended with {code}")
            except Refused as error:
                refused.append(f"move {done}: {error}")
            step(f"flip {done}, about {load.sent:,} requests")
    flipped = [move.first("fact", "FLIP") for move in Journal(bench.host.place).moves()[before:]]
    seconds = sorted(fact["seconds"] for fact in flipped if fact)
    out, kept = load.outcome, load.outcomes[_load.KEPT]
    for reason in refused:
        print(f"  {reason}")
    figure("flips", len(seconds), "", f">= {FLIPS}", len(seconds) >= FLIPS and not refused)
    for name, part in load.outcomes.items():
        print(f"  {name}: {part.sent}")
    _counted(out)
    late = stale(out, turns)
    figure("answers of the old colour after a flip", late, "", "== 0", late == 0)
    worst = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
    figure("flip to confirmed traffic, p50", 1e3 * seconds[len(seconds) // 2], "ms")
    figure("flip to confirmed traffic, p99", 1e3 * worst, "ms", "<= 100", worst <= 0.1)
    for name, at in (("at rest", rest.outcomes[_load.KEPT]), ("while flipping", kept)):
        for q in (0.5, 0.99, 0.999):
            figure(f"open loop {name}, p{100 * q:g}", 1e3 * at.quantile(q), "ms")
    rivals(bench, releases)


def stale(outcome: _load.Outcome, turns: list[Turn]) -> int:
    """Requests that were sent after a flip was confirmed and answered by the release before all the same.

    Releases take turns, three of them, so that what comes next is never the one before.
    """
    flips: list[Turn] = []
    for turn in turns:
        if turn.route and (not flips or flips[-1].route.release != turn.route.release):  # type: ignore[union-attr]
            flips.append(turn)
    ends = [turn.confirmed for turn in flips[1:]] + [float("inf")]
    count = 0
    for old, new, end in zip(flips, flips[1:], ends[1:], strict=False):
        assert old.route and new.route
        sent = (outcome.at > new.confirmed) & (outcome.at < end)
        count += int((outcome.release[sent] == old.route.release).sum())
    return count


def rivals(bench: Bench, releases: list[str]) -> None:
    """What simpler ways lose, on the same host and under the same load."""
    for name, way in (("restart in place", _in_place), ("flip by the slot's own /readyz", _own_probe)):
        bench.require(releases[0])
        with Callers(bench.host.edge_url, RATE) as load:
            for number in range(1, RIVALS + 1):
                time.sleep(2)
                way(bench, releases[number % 3])
            time.sleep(2)
        figure(f"rival, {name}: not 200 of {load.outcome.sent}", load.outcome.failed / RIVALS, "a flip")


def _in_place(bench: Bench, release: str) -> None:
    slot = bench.live().slot
    process.start(bench.host.slot(slot), release, bench.store.get(release))
    bench.host.edge.route_to(Route(slot, release))
    _until_ready(bench, slot)


def _own_probe(bench: Bench, release: str) -> None:
    old = bench.live().slot
    new = next(slot for slot in COLOURS if slot != old)
    process.start(bench.host.slot(new), release, bench.store.get(release))
    _until_ready(bench, new)
    bench.host.edge.route_to(Route(new, release))
    process.stop(bench.host.slot(old))


def _until_ready(bench: Bench, slot: str, within: float = 60.0) -> None:
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            checks.answers(bench.host.slot(slot).url)
            return
        except Refused:
            time.sleep(0.02)


def _counted(outcome: _load.Outcome) -> None:
    lost, answered = sum(outcome.lost.values()), outcome.answered
    other = outcome.failed - lost
    figure("requests", outcome.sent, "", f">= {REQUESTS}", outcome.sent >= REQUESTS)
    figure(f"lost {dict(outcome.lost) or ''}".strip(), lost, "", "== 0", lost == 0)
    named = {status: count for status, count in answered.items() if status != 200}
    figure(f"not 200 {named or ''}".strip(), other, "", "== 0", other == 0)


PARTS = {"flips": flips, "kills": _kills.measure, "deaths": _deaths.measure, "bad": _bad.measure}

if __name__ == "__main__":
    run(main)

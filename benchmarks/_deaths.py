"""The edge, the live slot and the supervisor are SIGKILLed under load, with no deployer there to help."""

import os
import statistics
import time

from benchmarks import _host, _kills, _load, figure, supervision
from benchmarks._host import Bench, Callers
from pipelines.core.params import Bake
from pipelines.rollout import checks

DEATHS = int(os.environ.get("DEATHS", "20"))
RATE = float(os.environ.get("RATE", "400"))
BAKED = int(os.environ.get("BAKED", "100000"))  # requests while the live slot dies


def measure(bench: Bench) -> None:
    _host.use(bake=Bake(seconds=1.0, requests=20))
    one, two = (bench.make(name, **_host.QUIET) for name in ("mortal one", "mortal two"))
    bench.require(one)
    _edge(bench)
    _supervisor(bench, two)
    _slot(bench, one)


def _edge(bench: Bench) -> None:
    before = bench.live()
    found = supervision.edge_gaps(bench.host, DEATHS)
    same = bench.live() == before and checks.answers(bench.host.edge_url) == before.release
    figure("edge SIGKILLed: gap, median", 1e3 * statistics.median(found), "ms")
    worst = max(found)
    figure(
        f"edge SIGKILLed: gap, worst of {DEATHS}",
        1e3 * worst,
        "ms",
        "<= 200",
        worst <= supervision.GAP_SECONDS,
    )
    figure("edge SIGKILLed: the route is the same", float(same), "", "== 1", same)


def _supervisor(bench: Bench, release: str) -> None:
    """Killed; the next deploy finds its children again and replaces the release."""
    with Callers(bench.host.edge_url, RATE / 2) as load:
        time.sleep(1.0)
        _host.kill([int((bench.host.folder / "supervisor" / "supervisord.pid").read_text())])
        time.sleep(5.0)
        code = bench.move(release)
        time.sleep(1.0)
    out, fine = load.outcome, code == 0 and not bench.troubles(release)
    _told(out)
    figure(f"supervisor SIGKILLed: not 200 of {out.sent}", out.failed, "", "== 0", out.failed == 0)
    figure("supervisor SIGKILLed: the next deploy works", float(fine), "", "== 1", fine)


def _slot(bench: Bench, release: str) -> None:
    """The deployer dies in the bake, and then the live slot, again and again."""
    point, before = ("BAKE", "checks.probe", 1), bench.live().release
    if (ended := _kills.deploy(bench, release, _kills.PLAIN, point)) != -9:
        raise SystemExit(f"the deployer was to be killed in the bake and ended with {ended}")
    route = bench.live()
    assert route.release == release and route.fallback
    kills = 0
    with Callers(bench.host.edge_url, RATE) as load:
        while kills < DEATHS or load.sent < BAKED:
            time.sleep(BAKED / RATE / DEATHS if kills < DEATHS else 1.0)
            if kills < DEATHS and bench.host.edge.healthy(route.slot):
                _host.kill(_host.marked(bench.host, route.slot))
                kills += 1
        time.sleep(2.0)
    out = load.outcome
    _told(out)
    few = out.failed <= out.sent / 100_000
    figure(f"requests, live slot SIGKILLed {kills} times", out.sent, "", f">= {BAKED}", out.sent >= BAKED)
    figure("live slot SIGKILLed: not 200", out.failed, "", "<= 1e-5", few)
    code = bench.move(release)  # 4 where the deaths show it to be worse than what it replaces, as they may
    fine = code in (0, 4) and not bench.troubles(before if code else release)
    figure("live slot SIGKILLed: the same command ends it", float(fine), "", "== 1", fine)


def _told(outcome: _load.Outcome) -> None:
    """Print what was not answered by 200, and when, in seconds after the first request."""
    if outcome.failed:
        at = outcome.at[outcome.status != 200] - outcome.at[0]
        when = f"sent {at.min():.1f} to {at.max():.1f} s after the first"
        print(f"  answered {dict(outcome.answered)}, lost {dict(outcome.lost)}, {when}")

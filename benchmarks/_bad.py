"""Releases that ought not to stay, under load: how long each has the traffic, and what its callers notice."""

import os
import time
from typing import Any

from benchmarks import _host, figure
from benchmarks._host import Bench, Callers
from pipelines.base.console import step
from pipelines.core.params import Bake, Shadow
from pipelines.rollout.journal import Journal

RATE = float(os.environ.get("BAD_RATE", "200"))
RECORD_SECONDS = 10.0  # in which the live release shows what is usual
GOOD = {"slow": 0.04, "silent": True}  # 20 to 60 ms, so that twice as long is more than the machine's noise
FAULTS: dict[str, tuple[dict[str, Any], float]] = {  # by what is wrong: the fault, seconds until it is back
    "every answer 500": ({"errors": 1.0}, 2.0),
    "5 % answers 500": ({"errors": 0.05}, 30.0),
    "twice the p99": ({"slow": 0.08}, 30.0),
}
NEVER: dict[str, dict[str, Any]] = {
    "golden rows differ": {"p": 0.26},
    "other answers than its model's": {"skew": 0.01, "silent": False},
}


def measure(bench: Bench) -> None:
    good = bench.make("sound", **{**GOOD, "silent": False})
    _host.use(bake=Bake(seconds=1.0, requests=20))
    bench.require(good)
    with Callers(bench.host.edge_url, RATE) as load:
        time.sleep(RECORD_SECONDS)
        for name, (fault, limit) in FAULTS.items():
            _host.use(bake=Bake(seconds=max(limit, 30.0), requests=20))
            _after_the_flip(bench, name, fault, limit)
            bench.settle(good)  # where it did stay
        shadow = Shadow(environments=[_host.ENVIRONMENT], pairs=200, patience=120.0)
        _host.use(shadow=shadow)
        for name, fault in NEVER.items():
            _before_the_flip(bench, name, fault)
    stayed, out = not bench.troubles(good), load.outcome
    figure("bad releases: the good one is live at the end", float(stayed), "", "== 1", stayed)
    figure(f"bad releases: callers' not 200 of {out.sent}", out.failed, "", "== 0", out.failed == 0)


def _after_the_flip(bench: Bench, name: str, fault: dict[str, Any], limit: float) -> None:
    release = bench.make(name, **{**GOOD, **fault})
    with _host.turns() as turns:
        code = bench.move(release)
    flipped = [turn for turn in turns if turn.route and turn.route.release == release]
    back = turns[-1]
    if code != 4 or not flipped or (back.route and back.route.release == release):
        step(f"{name}: the deploy ended with {code}: {_reason(bench)}")
        figure(f"{name}: stayed", 1, "", "== 0", False)
        return
    step(f"{name}: {_reason(bench)}")
    seconds = back.confirmed - flipped[0].confirmed
    figure(f"{name}: flip until traffic is back", seconds, "s", f"<= {limit:g}", seconds <= limit)


def _before_the_flip(bench: Bench, name: str, fault: dict[str, Any]) -> None:
    release = bench.make(name, **{**GOOD, **fault})
    with _host.turns() as turns:
        code = bench.move(release)
    flipped = sum(1 for turn in turns if turn.route and turn.route.release == release)
    step(f"{name}: {_reason(bench)}")
    figure(f"{name}: flips", flipped, "", "== 0", flipped == 0 and code == 4)


def _reason(bench: Bench) -> str:
    """Why the last move was turned back."""
    return Journal(bench.host.place).moves()[-1].failing or "it was not turned back"

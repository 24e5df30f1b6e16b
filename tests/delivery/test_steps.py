"""The steps of a rollout: what each refuses, waits for, and leaves behind when it is interrupted."""

import json
import mmap
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.base.errors import Refused, UserError
from pipelines.base.signals import Interrupted, interruptible
from pipelines.core import params
from pipelines.edge.edge import Edge, Route
from pipelines.host.host import Host
from pipelines.host.slots import process
from pipelines.registry.store import Store
from pipelines.rollout import abort, checks, deploy, status, steps
from pipelines.rollout.journal import Journal
from pipelines.rollout.load import Load
from tests.delivery import tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def live(host: Host, store: Store, good: str, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host with `good` on one slot, the other one idle and nothing half-way."""
    assert deploy.move(host, tiny.CONTRACT, good, store) == 0
    return host


def journal(host: Host) -> Journal:
    return Journal(host.place)


def idle(host: Host) -> str:
    route = host.edge.route()
    assert route
    return "green" if route.slot == "blue" else "blue"


def ask(url: str) -> Any:
    body = json.dumps({"rows": [{"x": 0.5}]}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())["release"]


def logged(host: Host, release: str) -> list[dict[str, Any]]:
    files = host.predictions.glob("*.jsonl")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if line["release"] == release]


def test_a_plan_tells_every_step_and_changes_nothing(
    live: Host, store: Store, better: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, route = len(journal(live).read()), live.edge.route()
    assert deploy.tell(live, tiny.CONTRACT, better, store) == 0
    told = capsys.readouterr().out
    assert [name for name in steps.NAMES if f"  {name}" in told] == list(steps.NAMES)
    assert "SHADOW   left out: not in params.yaml: rollout.shadow.environments" in told
    assert len(journal(live).read()) == lines and live.edge.route() == route
    assert process.running(live.slot(idle(live))) is None


def test_a_plan_of_what_is_live_says_so(
    live: Host, store: Store, good: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.tell(live, tiny.CONTRACT, good, store) == 0
    assert "already live: nothing to do" in capsys.readouterr().out


def test_a_step_that_does_not_exist_is_one_sentence(live: Host) -> None:
    with pytest.raises(UserError, match="--pause-before 'FLOP' is not a step: they are PREPARE, VERIFY"):
        deploy.deploy("staging", tiny.CONTRACT, pause_before="FLOP")


def test_before_a_step_a_person_can_look_and_the_same_command_goes_on(
    live: Host, store: Store, good: str, better: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.move(live, tiny.CONTRACT, better, store, pause_before="FLIP") == 3
    (preview,) = capsys.readouterr().out.split()[-1:]
    assert ask(f"{live.edge_url}/predict") == good
    assert ask(preview) == better
    assert ask(f"{live.edge_url}/v1/models/{live.model}/predict") == good
    assert logged(live, better) and all(line["shadow"] for line in logged(live, better))
    assert "shadow" not in logged(live, good)[-1]
    assert deploy.move(live, tiny.CONTRACT, better, store) == 0
    assert ask(f"{live.edge_url}/predict") == better
    assert "shadow" not in logged(live, better)[-1]


INSIDE: dict[str, tuple[Any, str]] = {
    "PREPARE": (process, "start"),
    "VERIFY": (checks, "golden_rows"),
    "FLIP": (Edge, "route_to"),
    "BAKE": (checks, "probe"),
    "RETIRE": (Edge, "drain"),
}


@pytest.mark.parametrize(
    ("step", "number"), [("BAKE", signal.SIGINT), *((step, signal.SIGTERM) for step in INSIDE)]
)
def test_a_signal_undoes_the_step_in_hand_and_the_same_command_goes_on(
    host: Host,
    store: Store,
    good: str,
    better: str,
    step: str,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = host.edge.route()
    old, new = (better, good) if before and before.release == better else (good, better)
    assert deploy.move(host, tiny.CONTRACT, old, store) == 0
    before = host.edge.route()
    assert before
    where, name = INSIDE[step]
    original = getattr(where, name)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        done = original(*arguments, **named)
        monkeypatch.setattr(where, name, original)
        os.kill(os.getpid(), number)
        return done

    with Load(host.edge_url, tiny.CALLS) as load:
        monkeypatch.setattr(where, name, interrupted)
        with pytest.raises(Interrupted) as left, interruptible():  # as a benchmark, which ends by it
            deploy.move(host, tiny.CONTRACT, new, store)
        assert left.value.exit_code == 128 + number
        last = journal(host).moves()[-1]
        assert last.result is None and last.events[-1]["event"] == "interrupted"
        assert last.events[-1]["step"] == step
        route = host.edge.route()
        if step in ("BAKE", "RETIRE"):
            assert route and route.slot != before.slot
        else:
            assert route == before
        assert deploy.move(host, tiny.CONTRACT, new, store) == 0
    assert not load.lost, load.lost
    assert journal(host).moves()[-1].result == "completed" and journal(host).half_way() is None


SHADOW = {"environments": ["staging"], "pairs": 100, "patience": 2.0}


def test_abort_undoes_the_step_in_hand_of_a_rollout_that_runs(
    live: Host, store: Store, better: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, asked = live.edge.route(), Edge.route_to
    assert before
    other = threading.Thread(target=abort.abort, args=("staging", live.model, live.home))

    def aborted(edge: Edge, *arguments: Any, **named: Any) -> Any:
        done = asked(edge, *arguments, **named)
        if not other.ident:
            other.start()
            time.sleep(30)  # the signal comes to this thread
        return done

    monkeypatch.setattr(Edge, "route_to", aborted)
    with pytest.raises(Interrupted, match="SIGINT"), interruptible():
        deploy.move(live, tiny.CONTRACT, better, store)
    other.join()
    assert live.edge.route() == before
    last = journal(live).moves()[-1]
    assert last.waits == f"pause at {last.events[-2]['step']}: `ml abort`"
    assert f"{before.release[:12]} on {before.slot} has the traffic" in capsys.readouterr().out
    assert deploy.move(live, tiny.CONTRACT, better, store) == 0


def test_shadow_without_callers_holds_the_rollout_and_goes_on_with_them(
    live: Host, store: Store, good: str, better: str, limits: Callable[..., None]
) -> None:
    limits(shadow=params.Shadow(**SHADOW), bake=params.Bake(seconds=0.6, requests=3))
    assert deploy.move(live, tiny.CONTRACT, better, store) == 3
    route, new = live.edge.route(), idle(live)
    assert route and route.release == good and route.mirror == new
    waits = str(journal(live).moves()[-1].waits)
    assert "of 100 pairs of answers after 2 s (params.yaml: rollout.shadow.pairs and patience)" in waits
    assert "with params.yaml: rollout.shadow.ask_again: true the logged requests of 30 days" in waits
    with Load(live.edge_url, tiny.CALLS) as load:
        assert deploy.move(live, tiny.CONTRACT, better, store) == 0
    assert not load.lost
    compared = next(
        e["compared"] for e in journal(live).moves()[-1].events if e["event"] == "fact" and "compared" in e
    )
    assert compared["pairs"] >= 100 and compared["skew"] <= 1e-6
    assert any(line.get("shadow") for line in logged(live, better))


FEW = SHADOW | {"patience": 0.5, "ask_again": True}


def asked_by_callers(host: Host, day: str, xs: Iterable[float]) -> None:
    """Lines of the prediction log, as callers' requests of that day left them."""
    lines = [
        {
            "time": f"{day}T12:00:00.000+00:00",
            "request": f"r{x}",
            "row": 0,
            "release": "r",
            "key": None,
            "p": x / 2,
        }
        | {"features": {"x": x}}
        for x in xs
    ]
    host.predictions.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (host.predictions / f"{day}.blue.1.jsonl").write_text(text)


def test_with_few_callers_logged_requests_are_asked_again_and_count_as_nobodys(
    live: Host, store: Store, good: str, better: str, limits: Callable[..., None]
) -> None:
    limits(shadow=params.Shadow(**FEW), bake=params.Bake(seconds=0.6, requests=3))
    for old in live.predictions.glob("*.jsonl"):
        old.unlink()
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    long_ago = f"{datetime.now(UTC) - timedelta(days=60):%Y-%m-%d}"
    asked_by_callers(live, long_ago, [number / 1000 for number in range(500)])
    asked_by_callers(live, yesterday, [number / 100 for number in range(5)] * 9)
    assert deploy.move(live, tiny.CONTRACT, better, store) == 3, "five different requests say too little"
    assert "fewer than 20 with what the log of 30 days has" in str(journal(live).moves()[-1].waits)
    asked_by_callers(live, yesterday, [number / 100 for number in range(40)])
    assert deploy.move(live, tiny.CONTRACT, better, store) == 0
    fact = next(e for e in journal(live).moves()[-1].events if e["event"] == "fact" and "compared" in e)
    assert fact["compared"]["pairs"] == fact["asked_again"] == 40 and fact["compared"]["skew"] <= 1e-6
    own = [
        line for release in (good, better) for line in logged(live, release) if "again-" in line["request"]
    ]
    assert len(own) == 80 and all(line["shadow"] for line in own)


def test_a_logged_request_at_which_the_new_release_fails_turns_it_back(
    live: Host, store: Store, make: Callable[..., str], limits: Callable[..., None]
) -> None:
    limits(shadow=params.Shadow(**FEW))
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    asked_by_callers(live, yesterday, [number / 100 for number in range(40)])
    assert deploy.move(live, tiny.CONTRACT, make("fails", errors=1.0), store) == 4
    assert "fails (500) at a logged request that the live release answers" in str(
        journal(live).moves()[-1].failing
    )


def test_a_release_that_serves_other_answers_than_its_model_gives_is_stopped_in_shadow(
    live: Host,
    store: Store,
    good: str,
    make: Callable[..., str],
    limits: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits(shadow=params.Shadow(**SHADOW | {"patience": 30.0}))
    skewed = make("skewed", skew=0.01)
    with Load(live.edge_url, tiny.CALLS) as load:
        assert deploy.move(live, tiny.CONTRACT, skewed, store) == 4
    assert set(load.answered) == {good} and not load.lost
    assert "serves other answers than its model gives offline" in capsys.readouterr().err
    assert not any(e.get("step") == "FLIP" for e in journal(live).moves()[-1].events)


def test_a_refusal_before_the_flip_brings_the_route_back_though_the_live_slot_stalls(
    live: Host,
    store: Store,
    good: str,
    make: Callable[..., str],
    limits: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits(
        canary=[params.Canary(share=20, seconds=0.5, requests=5)], bake=params.Bake(seconds=0.6, requests=3)
    )
    route, healthy = live.edge.route(), Edge.healthy
    assert route

    def refused(*_: Any) -> None:
        monkeypatch.setattr(Edge, "healthy", lambda edge, slot: slot != route.slot and healthy(edge, slot))
        raise Refused("as the test asked")

    monkeypatch.setattr(steps.Watched, "look", refused)
    assert deploy.move(live, tiny.CONTRACT, make("refused in canary"), store) == 4
    assert live.edge.route() == route and process.running(live.slot(idle(live))) is None


def test_a_canary_gets_its_share_and_then_everything(
    live: Host, store: Store, good: str, better: str, limits: Callable[..., None]
) -> None:
    canary = [params.Canary(share=20, seconds=1, requests=40)]
    limits(canary=canary, bake=params.Bake(seconds=0.6, requests=3))
    with Load(live.edge_url, tiny.CALLS, per_second=200) as load:
        assert deploy.move(live, tiny.CONTRACT, better, store) == 0
    assert not load.lost
    (step,) = next(e["steps"] for e in journal(live).moves()[-1].events if "steps" in e)
    counted = {name: step[name]["requests"] for name in ("new", "live")}
    assert counted["new"] >= 40 and 0.1 < counted["new"] / sum(counted.values()) < 0.3


def test_a_canary_without_callers_holds_the_rollout(
    live: Host, store: Store, good: str, better: str, limits: Callable[..., None]
) -> None:
    limits(canary=[params.Canary(share=20, seconds=0.5, requests=40, patience=1.0)])
    assert deploy.move(live, tiny.CONTRACT, better, store) == 3
    assert ask(f"{live.edge_url}/predict") in (good, better)
    limits(canary=[], bake=params.Bake(seconds=0.6, requests=3))
    assert deploy.move(live, tiny.CONTRACT, better, store) == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [({"errors": 0.05}, "fails"), ({"slow": 0.3}, "is slow over 2 times")],
    ids=["errors", "slow"],
)
def test_a_release_that_is_worse_in_the_bake_gives_the_traffic_back(
    live: Host,
    store: Store,
    good: str,
    make: Callable[..., str],
    limits: Callable[..., None],
    fault: dict[str, float],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits(bake=params.Bake(seconds=30, requests=20))
    worse = make(f"worse {reason}", **fault)
    with Load(live.edge_url, tiny.CALLS, per_second=200) as load:
        time.sleep(5)  # a record of the live release to compare with
        assert deploy.move(live, tiny.CONTRACT, worse, store) == 4
    assert not load.lost, load.lost
    assert f"is worse than the live release: the new release {reason}" in capsys.readouterr().err
    route = live.edge.route()
    assert route and route.release == good and route.fallback is None


@pytest.mark.parametrize(
    ("callers", "seconds", "least", "most"), [(0, 30.0, 0.3, 25.0), (20, 3.0, 3.0, 60.0)]
)
def test_a_bake_lasts_its_time_where_callers_come_and_less_where_none_does(
    live: Host,
    store: Store,
    make: Callable[..., str],
    limits: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    callers: int,
    seconds: float,
    least: float,
    most: float,
) -> None:
    limits(bake=params.Bake(seconds=seconds, requests=3))
    monkeypatch.setattr(steps, "UNASKED_SECONDS", 0.3)
    new = make(f"baked before {callers} callers")
    with Load(live.edge_url, tiny.CALLS, per_second=callers) if callers else nullcontext():
        assert deploy.move(live, tiny.CONTRACT, new, store) == 0
    at = {
        event["event"]: datetime.fromisoformat(event["at"])
        for event in Journal(live.place).moves()[-1].events
        if event.get("step") == "BAKE"
    }
    assert least <= (at["fact"] - at["intent"]).total_seconds() < most


def test_the_history_shows_each_move_and_each_line_of_one(
    live: Host,
    store: Store,
    make: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert deploy.move(live, tiny.CONTRACT, make("unwell", p=0.9), store) == 4
    capsys.readouterr()
    status.history("staging", tiny.CONTRACT.name)
    told = capsys.readouterr().out
    last = journal(live).moves()[-1]
    assert last.id in told and "failed: " in told and "completed" in told
    with monkeypatch.context() as narrow:
        narrow.setattr(status, "_console", lambda: Console(width=80))
        status.history("staging", tiny.CONTRACT.name)
        narrowly = capsys.readouterr().out
    assert (
        last.id in narrowly and last.release[:12] in narrowly and max(map(len, narrowly.splitlines())) <= 80
    )
    status.history("staging", tiny.CONTRACT.name, last.id[:6])
    told = capsys.readouterr().out
    assert "turn-back" in told and "golden rows" in told
    with pytest.raises(UserError, match="is the id of 0 moves"):
        status.history("staging", tiny.CONTRACT.name, "zzz")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_one_sentence_and_leaves_the_traffic(
    live: Host, store: Store, good: str, better: str, tmp_path: Path
) -> None:
    """The journal is on a disk that has no room."""
    path, disk = Journal(live.place).path, tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {disk}"):
        pytest.skip("this machine does not let root mount")
    kept, route = path.read_bytes(), live.edge.route()
    try:
        lines = kept if len(kept) < 32 * 1024 else kept[-(32 * 1024) :].split(b"\n", 1)[-1]
        full_pages = b" " * (-len(lines) % mmap.PAGESIZE) + lines  # else a line fits into the last page
        (disk / "journal.jsonl").write_bytes(full_pages)
        with pytest.raises(OSError):
            (disk / "filler").write_bytes(b"0" * 128 * 1024)
        path.unlink()
        path.symlink_to(disk / "journal.jsonl")
        with pytest.raises(UserError, match="No space left on device: mend that"):
            deploy.move(live, tiny.CONTRACT, better, store)
        assert live.edge.route() == route and ask(f"{live.edge_url}/predict") == good
    finally:
        path.unlink()
        path.write_bytes(kept)
        os.system(f"umount {disk}")
    assert deploy.move(live, tiny.CONTRACT, better, store) == 0


def test_a_release_that_takes_too_long_for_a_row_is_refused(
    live: Host,
    store: Store,
    good: str,
    better: str,
    limits: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits(answer_within=1e-6)
    assert deploy.move(live, tiny.CONTRACT, better, store) == 4
    assert "for one row (the median of 30), at most" in capsys.readouterr().err
    assert ask(f"{live.edge_url}/predict") == good


def test_a_port_that_somebody_else_took_is_named_and_traffic_stays(
    live: Host, store: Store, good: str, better: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", live.slot(idle(live)).port)):
        assert deploy.move(live, tiny.CONTRACT, better, store) == 4
    told = capsys.readouterr().err
    assert f"port {live.slot(idle(live)).port} ({idle(live)} of" in told and "is in use by" in told
    assert ask(f"{live.edge_url}/predict") == good


def test_the_top_is_a_line_of_text_and_no_page(live: Host) -> None:
    for top in (live.edge_url, f"{live.edge_url}/v1/models/{live.model}"):
        with urllib.request.urlopen(f"{top}/", timeout=10) as answer:
            assert answer.read().startswith(f"{live.model}: POST predict".encode())


def test_a_route_says_where_traffic_goes(live: Host, good: str) -> None:
    route = live.edge.route()
    assert route == Route(route.slot if route else "", good)

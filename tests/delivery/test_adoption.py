"""An environment has one supervisor, wherever its socket went, and a slot is asked what it serves."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipelines.artifacts.host import Slots
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_json
from pipelines.edge.envoy import Room
from pipelines.host import keeper, services, supervision
from pipelines.host.host import Host
from pipelines.host.slots import launch, process
from pipelines.registry.store import Store
from pipelines.rollout import checks, deploy, status
from pipelines.rollout.load import Load
from pipelines.rollout.rehearse import free_ports
from tests.delivery import tiny
from tests.delivery.waiting import edge_process, runs, until

pytestmark = pytest.mark.slow


@pytest.fixture
def live(host: Host, store: Store, good: str) -> Iterator[Host]:
    services.revive(host)
    assert deploy.move(host, tiny.CONTRACT, good, store) == 0
    yield host
    services.revive(host)


def supervisors(host: Host) -> list[int]:
    return [each.pid for each in supervision.supervisors(host)]


def test_a_supervisor_whose_socket_was_removed_is_found_and_no_request_is_lost(
    live: Host, store: Store, good: str, better: str, capsys: pytest.CaptureFixture[str]
) -> None:
    until(lambda: len(supervisors(live)) == 1)
    (before,) = supervisors(live)
    with Load(live.edge_url, tiny.CALLS, per_second=200) as load:
        live.socket.unlink()
        assert not services.alive(live)
        for release in (better, good):
            assert deploy.move(live, tiny.CONTRACT, release, store) == 0
    assert not load.lost, load.lost
    until(lambda: len(supervisors(live)) == 1)
    (after,) = supervisors(live)
    assert after != before
    route = live.edge.route()
    assert route
    killed = process.server(live.slot(route.slot))
    workers = psutil.Process(killed).children(
        recursive=True
    )  # they answer on, until the new server ends them
    os.kill(killed, signal.SIGKILL)
    until(lambda: not any(runs(worker) for worker in workers))
    until(lambda: process.server(live.slot(route.slot)) not in (0, killed))
    until(lambda: checks.probe(live.slot(route.slot).url) == good)
    until(lambda: live.edge.healthy(route.slot))
    assert checks.answers(live.edge_url) == good
    capsys.readouterr()
    status.status("staging", tiny.CONTRACT.name)
    assert f"{good[:12]}, healthy" in (told := capsys.readouterr().out) and "but" not in told


def test_a_second_supervisor_does_not_start_and_one_beside_the_lock_is_ended(live: Host) -> None:
    until(lambda: len(supervisors(live)) == 1)
    (one,) = supervisors(live)
    supervision.start(live)
    until(lambda: supervisors(live) == [one])
    (live.folder / "supervisor" / "lock").unlink()  # as if an earlier version had started it
    assert not services.alive(live)
    server = process.server(live.slots[0])
    assert services.revive(live)
    until(lambda: len(supervisors(live)) == 1)  # a child that is not yet its program looks like another
    assert supervisors(live) != [one] and services.alive(live)
    assert process.server(live.slots[0]) == server


def test_status_and_deploy_ask_the_slot_what_it_serves(
    live: Host, store: Store, good: str, better: str, capsys: pytest.CaptureFixture[str]
) -> None:
    route = live.edge.route()
    assert route and deploy._live(live, good)
    written = live.place / "slots" / route.slot / "slot.json"
    before = read_json(written)
    with live.edge._alone():
        table = live.edge._table()
    try:  # what two supervisors led to: it is written that better runs, and good answers
        write_json(written, before | {"release": better})
        live.edge.route_to(replace(route, release=better))
        capsys.readouterr()
        status.status("staging", tiny.CONTRACT.name)
        told = capsys.readouterr().out
        assert f"{better[:12]} should run there, but {good[:12]} answers" in told
        assert f"differs: the live slot answers with {good[:12]}" in told or "differs: run `ml deploy" in told
        assert ", healthy" not in told
        assert deploy._live(live, better) is None
        assert status.difference(live, live.edge.route(), better, True) == (
            f"the live slot answers with {good[:12]}; run `ml deploy --env staging`"
        )
    finally:
        write_json(written, before)
        live.edge.route_to(table.routes[live.model])


def test_a_deep_home_with_odd_letters_has_a_supervisor_that_can_be_reached(
    live: Host, tmp_path: Path
) -> None:
    home = tmp_path / ("deep" * 30)
    port = free_ports()
    deep = Host(
        environment=live.environment,
        home=home,
        folder=home / "staging",
        tools=live.tools,
        edge_url=f"http://127.0.0.1:{port}",
        admin_url=f"http://127.0.0.1:{port + 1}",
        models=[Slots(name=live.model, blue=port + 2, green=port + 3)],
        socket=home / "staging" / "supervisor" / "socket",
        model=live.model,
    )
    assert len(str(deep.socket)) > 107
    try:
        services.start(deep)
        assert services.alive(deep) and deep.supervisor.state("edge") == "RUNNING"
    finally:
        services.stop(deep)
    assert not supervisors(deep) and not launch.leftovers(deep.mark)


def test_a_home_that_was_moved_is_one_sentence(live: Host, tmp_path: Path) -> None:
    written = read_json(live.folder / "host.json")
    write_json(tmp_path / "staging" / "host.json", written)
    with pytest.raises(
        UserError, match=r"is about .*, from where it was moved: move it back, or run `ml infra"
    ):
        Host.load("staging", tiny.CONTRACT.name, tmp_path)
    (tmp_path / "link").symlink_to(live.home)
    assert Host.load("staging", tiny.CONTRACT.name, tmp_path / "link") == live


def test_the_edge_may_open_the_files_that_its_limits_reckon_with(live: Host) -> None:
    soft, hard = psutil.Process(edge_process(live)).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == keeper.files(hard)
    bootstrap = json.dumps(read_json(live.folder / "edge" / "bootstrap.json"))
    assert f'"max_active_downstream_connections": {Room.of(soft, 1).callers}' in bootstrap


@pytest.mark.parametrize("files", [256, 1024, 4096, 65_536])
@pytest.mark.parametrize("models", [1, 3, 16])
def test_callers_and_slots_fit_the_files_of_the_edge(files: int, models: int) -> None:
    room = Room.of(files, models)
    assert room.callers > 0 and room.slots > 0
    assert room.callers + min(3 * models, 12) * room.slots < files


def test_what_callers_sent_and_servers_said_is_for_their_user_alone(live: Host, store: Store) -> None:
    (live.folder / "edge" / "envoy.log").chmod(0o644)  # as an earlier version left it
    launch.clear(live.mark)
    services.revive(live)
    kinds = ("*.log", "log", "*.jsonl", "*.log.*")
    logs = [log for kind in kinds for log in live.folder.rglob(kind) if "journal" not in log.name]
    assert {"envoy.log", "supervisord.log", "start.log", "log"} <= {log.name for log in logs}
    assert {log.name: oct(log.stat().st_mode & 0o077) for log in logs if log.stat().st_mode & 0o077} == {}
    assert live.predictions.stat().st_mode & 0o777 == 0o700

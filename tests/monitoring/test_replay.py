"""A replay must count every answer as what it was: a deploy is judged by these counts."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.monitoring import replay as module
from pipelines.monitoring.replay import events, local_address, replay
from pipelines.rollout.load import HEADER
from tests.problems.parcels import PROBLEM
from tests.problems.parcels.columns import CONTRACT

ROWS = [{"key": str(number), "x": 1.0} for number in range(250)]
Answer = tuple[int, dict[str, str], bytes]
Respond = Callable[[int, list[Any]], Answer | None]  # None: the connection is closed without a word


def good(number: int, rows: list[Any], release: str = "one") -> Answer:
    body = {"release": release, "predictions": [{"p": 0.5, "act": True} for _ in rows]}
    return 200, {HEADER: release}, json.dumps(body).encode()


@contextmanager
def server(respond: Respond) -> Iterator[tuple[str, list[Any]]]:
    """An edge that answers as `respond` says; yields its url and what it was sent."""
    seen: list[Any] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet, or the client waits 40 ms for the second

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["content-length"])))["rows"]
            with lock:
                number = len(seen)
                seen.append(
                    {"rows": rows, "id": self.headers["x-request-id"], "port": self.client_address[1]}
                )
            answer = respond(number, rows)
            if answer is None:
                self.close_connection = True
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"x-request-id": self.headers["x-request-id"], **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", seen
    finally:
        httpd.shutdown()
        httpd.server_close()


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The month's events are ROWS; the fixture makes them fewer."""

    def only(rows: int) -> None:
        monkeypatch.setattr(module, "events", lambda month, problem: ROWS[:rows])

    only(len(ROWS))
    return only


def test_a_replay_sends_each_row_once_and_names_the_releases(tmp_path: Path) -> None:
    with server(lambda number, rows: good(number, rows, "one" if number < 2 else "two")) as (url, seen):
        tally = replay("2013-07", url, PROBLEM, tally=tmp_path / "tally.json")
    assert sorted(int(row["key"]) for request in seen for row in request["rows"]) == list(range(250))
    assert (tally.sent, tally.answered, tally.lost, tally.mixed, tally.rows) == (3, 3, 0, 0, 250)
    assert tally.releases == {"one": 2, "two": 1}
    assert tally.exit_code == 0
    assert json.loads((tmp_path / "tally.json").read_text())["releases"] == tally.releases
    assert "by one" in tally.table()


def test_requests_have_their_own_ids_and_come_over_kept_and_new_connections() -> None:
    with server(good) as (url, seen):
        replay("2013-07", url, PROBLEM, batch=1, connections=2)
    assert len({request["id"] for request in seen}) == len(ROWS)
    ports = {request["port"] for request in seen}
    assert 2 < len(ports) < len(ROWS)  # two that are kept, and one for each tenth request


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (lambda number, rows: (503, {}, b"no healthy upstream"), "status 503"),
        (lambda number, rows: None, "RemoteDisconnected"),
        (lambda number, rows: (200, {}, b"<html>"), "no answer of the contract"),
        (lambda number, rows: (200, {}, b"[]"), "no answer of the contract"),
        (lambda number, rows: good(number, rows[1:]), "not an answer for each row"),
        (
            lambda number, rows: (200, {}, b'{"release": "one", "predictions": [{"p": NaN}]}'),
            "not an answer for each row",
        ),
        (
            lambda number, rows: (200, {"x-request-id": "x"}, good(number, rows)[2]),
            "the answer to another request",
        ),
    ],
)
def test_whatever_is_no_whole_answer_is_lost(
    respond: Respond, reason: str, few_rows: Callable[[int], None]
) -> None:
    few_rows(5)
    with server(respond) as (url, _):
        tally = replay("2013-07", url, PROBLEM, batch=1)
    assert (tally.sent, tally.answered, tally.lost) == (5, 0, 5)
    assert tally.losses == {reason: 5}
    assert tally.exit_code == 4


def test_one_lost_among_many_answered_is_found() -> None:
    with server(lambda number, rows: None if number == 100 else good(number, rows)) as (url, _):
        tally = replay("2013-07", url, PROBLEM, batch=1)
    assert (tally.sent, tally.answered, tally.lost, tally.exit_code) == (250, 249, 1, 4)


def test_an_answer_that_takes_too_long_is_lost(few_rows: Callable[[int], None]) -> None:
    few_rows(1)
    held = threading.Event()
    try:
        with server(lambda number, rows: good(number, rows) if held.wait(20) else None) as (url, _):
            tally = replay("2013-07", url, PROBLEM, batch=1, timeout=0.2)
    finally:
        held.set()
    assert tally.losses == {"TimeoutError": 1}


@pytest.mark.parametrize("header", ["two", None])
def test_an_answer_not_of_exactly_one_named_release_is_mixed(
    header: str | None, few_rows: Callable[[int], None]
) -> None:
    few_rows(4)

    def respond(number: int, rows: list[Any]) -> Answer:
        return 200, {HEADER: header} if header else {}, good(number, rows)[2]

    with server(respond) as (url, _):
        tally = replay("2013-07", url, PROBLEM, batch=1)
    assert (tally.answered, tally.lost, tally.mixed, tally.releases) == (4, 0, 4, {})
    assert tally.exit_code == 4


def test_rows_of_two_releases_in_one_answer_are_mixed(few_rows: Callable[[int], None]) -> None:
    few_rows(6)

    def respond(number: int, rows: list[Any]) -> Answer:
        predictions = [{"p": 0.5, "release": "one"}, {"p": 0.5, "release": "two"}]
        body = json.dumps({"release": "one", "predictions": predictions})
        return 200, {HEADER: "one"}, body.encode()

    with server(respond) as (url, _):
        assert replay("2013-07", url, PROBLEM, batch=2).mixed == 3


def test_until_goes_round_until_the_file_exists(tmp_path: Path) -> None:
    stop = tmp_path / "stop"

    def respond(number: int, rows: list[Any]) -> Answer:
        if number == 400:  # the second time round
            stop.touch()  # at once: a file that is synced first comes too late on a busy machine
        return good(number, rows)

    with server(respond) as (url, _):
        tally = replay("2013-07", url, PROBLEM, batch=1, until=stop)
    assert 400 < tally.sent < 800 and not tally.lost


def test_a_stop_that_is_there_before_the_first_request_lets_none_go(tmp_path: Path) -> None:
    assert list(module._requests([{}], 1, tmp_path)) == []


def test_load_goes_to_this_machine_only() -> None:
    assert local_address("http://127.0.0.1:18080") == ("127.0.0.1", 18080)
    for url in (
        "http://example.org:80",
        "https://127.0.0.1:1",
        "127.0.0.1:80",
        "http://127.0.0.1.example.org",
    ):
        with pytest.raises(UserError, match="this machine only"):
            local_address(url)


def test_nothing_is_sent_where_nothing_listens() -> None:
    with server(good) as (url, _):
        pass
    with pytest.raises(UserError, match=r"nothing listens at .*ml deploy"):
        replay("2013-07", url, PROBLEM)


def test_an_unknown_month_is_one_sentence() -> None:
    with pytest.raises(UserError, match="the source has no month 2014-01: it has 2013-01 to 2013-12"):
        events("2014-01", PROBLEM)


def test_rows_are_what_the_service_asks_for() -> None:
    from pipelines.serving.request import Reader

    rows = events("2013-02", PROBLEM)
    assert set(rows[0]) == {CONTRACT.key.name, *(column.name for column in CONTRACT.features)}
    assert any(None in row.values() for row in rows)  # what the source does not know is sent as null
    reader = Reader(CONTRACT, 1000)
    assert len(reader.read(json.dumps({"rows": rows[:1000]}, allow_nan=False).encode())) == 1000
    with pytest.raises(UserError):
        reader.read(json.dumps({"rows": [{**rows[0], CONTRACT.features[0].name: 1}]}).encode())

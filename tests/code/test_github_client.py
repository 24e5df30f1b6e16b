"""The client of GitHub's API, against a server that answers as it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipelines.base import github as client
from pipelines.base.errors import UserError
from pipelines.base.github import GitHub, NotFound, TooMany

LATER = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)


class Script:
    """Answers, one after the other, the last for ever: (status, body, headers). `seen`: the calls."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.seen: list[str] = []
        self.url = ""

    def say(self, status: int, body: Any = None, **headers: str) -> "Script":
        self.answers.append((status, body, {name.replace("_", "-"): text for name, text in headers.items()}))
        return self


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.seen.append(f"{self.command} {self.path}")
            answers = script.answers
            status, body, headers = answers.pop(0) if len(answers) > 1 else answers[0]
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, text in ({"Content-Length": str(len(sent))} | headers).items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(sent)
            self.close_connection = "Content-Length" in headers

        def log_message(self, format: str, *args: Any) -> None:
            pass

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    server.server_close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, on a clock that only waiting moves."""
    found: list[float] = []
    monkeypatch.setattr(client.time, "sleep", found.append)
    monkeypatch.setattr(client.time, "monotonic", lambda: sum(found))
    return found


@pytest.fixture
def github(script: Script, waits: list[float]) -> GitHub:
    return GitHub(script.url, "o/r", "secret-token")


CUT = {"Content-Length": "900"}
TRANSIENT: dict[str, Callable[[Script], Script]] = {
    "502": lambda s: s.say(502, b"<html>Bad Gateway</html>"),
    "503 that says when": lambda s: s.say(503, {"message": "x"}, Retry_After="7"),
    "429": lambda s: s.say(429, {"message": "slow down"}, Retry_After="30"),
    "a secondary limit": lambda s: s.say(403, {"message": "You have exceeded a secondary rate limit."}),
    "a secondary limit that says when": lambda s: s.say(403, {"message": "x"}, Retry_After="60"),
    "a date to wait for": lambda s: s.say(429, {"message": "x"}, Retry_After=LATER),
    "HTML for JSON": lambda s: s.say(200, b"<html>Unicorn!</html>"),
    "JSON that was cut": lambda s: s.say(200, b'{"a": '),
    "a line that broke": lambda s: s.say(200, b'{"a": ', **CUT),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_what_can_be_asked_twice_is_asked_again(name: str, script: Script, github: GitHub, waits) -> None:
    TRANSIENT[name](script).say(200, {"id": 1})
    assert github.call("GET", "/x") == {"id": 1}
    assert script.seen == ["GET /repos/o/r/x"] * 2 and len(waits) == 1


@pytest.mark.parametrize("name", TRANSIENT)
def test_after_about_a_minute_it_is_one_sentence(name: str, script: Script, github: GitHub, waits) -> None:
    TRANSIENT[name](script)
    with pytest.raises(UserError, match=r"GET /repos/o/r/x") as told:
        github.call("GET", "/x")
    assert "\n" not in str(told.value) and "secret-token" not in str(told.value)
    assert 30 <= sum(waits) <= 75
    assert len(waits) >= (1 if max(waits) >= 30 else 4)


def test_githubs_own_word_on_when_is_kept(script: Script, github: GitHub, waits, monkeypatch) -> None:
    script.say(429, {"message": "x"}, Retry_After="30").say(503, {}, Retry_After="7").say(200, [])
    github.call("GET", "/x")
    assert waits == [30, 7]


def test_a_limit_that_ends_much_later_is_not_waited_for(script: Script, github: GitHub, waits) -> None:
    reset = str(int(client.time.time()) + 1800)
    script.say(
        403, {"message": "API rate limit exceeded"}, x_ratelimit_remaining="0", x_ratelimit_reset=reset
    )
    with pytest.raises(UserError, match=r"403 API rate limit exceeded: try again in 1[78]\d\d s"):
        github.call("GET", "/x")
    assert not waits


def test_a_post_that_may_have_been_done_is_not_sent_twice(script: Script, github: GitHub, waits) -> None:
    script.say(502, b"<html>")
    with pytest.raises(UserError, match=r"refused POST /repos/o/r/issues/1/comments: 502"):
        github.call("POST", "/issues/1/comments", {"body": "x"})
    assert len(script.seen) == 1


@pytest.mark.parametrize("name", ["429", "a secondary limit", "a date to wait for"])
def test_a_post_that_github_did_not_look_at_is_sent_again(name: str, script, github: GitHub) -> None:
    TRANSIENT[name](script).say(201, {"id": 1})
    assert github.call("POST", "/issues/1/comments", {"body": "x"}) == {"id": 1}


def test_a_status_is_set_again_because_twice_is_once(script: Script, github: GitHub, capsys) -> None:
    script.say(502, b"<html>").say(201, {"id": 1})
    github.status("a" * 40, "greenlight/gate", "success", "ok", None)
    assert script.seen == [f"POST /repos/o/r/statuses/{'a' * 40}"] * 2


def test_what_an_earlier_try_has_deleted_is_deleted(script: Script, github: GitHub) -> None:
    script.say(502, b"").say(404, {"message": "Not Found"})
    github.call("DELETE", "/x")
    with pytest.raises(NotFound):  # the control: the first try finds nothing
        github.call("DELETE", "/x")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_no_is_not_asked_again(status: int, script: Script, github: GitHub, waits) -> None:
    script.say(status, {"message": "Resource not accessible by integration"})
    with pytest.raises(UserError, match=f"refused PATCH /repos/o/r/x: {status}"):
        github.call("PATCH", "/x", {})
    assert len(script.seen) == 1 and not waits


def test_nobody_there_is_one_sentence(waits) -> None:
    with pytest.raises(UserError, match=r"^GitHub does not answer GET /repos/o/r/x at http://127.0.0.1:9"):
        GitHub("http://127.0.0.1:9", "o/r", "x").call("GET", "/x")
    assert sum(waits) >= 45


def pages(script: Script, *parts: Any) -> None:
    for number, part in enumerate(parts, 2):
        more = f'<{script.url}/repos/o/r/x?per_page=100&page={number}>; rel="next"'
        script.say(200, part, **({"Link": more} if number <= len(parts) else {}))


def test_a_list_is_read_by_its_links_also_where_pages_are_short(script: Script, github: GitHub) -> None:
    pages(script, [{"id": 1}], [], [{"id": 2}, {"id": 3}])
    assert [entry["id"] for entry in github.list("/x")] == [1, 2, 3]


def test_a_list_within_an_object_is_read_by_its_links(script: Script, github: GitHub) -> None:
    pages(script, *({"total_count": 2, "runs": [{"id": n}]} for n in (1, 2)))
    assert [entry["id"] for entry in github.list("/x?event=push", "runs")] == [1, 2]
    assert script.seen[0] == "GET /repos/o/r/x?event=push&per_page=100"


def test_a_list_that_would_be_cut_is_no_list(script: Script, github: GitHub) -> None:
    pages(script, [{"id": 1}, {"id": 2}], [{"id": 3}])
    with pytest.raises(TooMany, match="more than 2 entries at /x"):
        github.list("/x", most=2)


def test_a_list_that_github_cuts_itself_is_no_list(script: Script, github: GitHub) -> None:
    script.say(200, {"total_count": 1001, "runs": [{"id": 1}]})
    with pytest.raises(TooMany, match="gives out 1 of the 1001 entries at /x"):
        github.list("/x", "runs")


def test_a_list_of_exactly_as_many_is_whole(script: Script, github: GitHub) -> None:
    pages(script, [{"id": 1}, {"id": 2}])
    assert len(github.list("/x", most=2)) == 2


def test_the_token_does_not_follow_a_link_elsewhere(script: Script, github: GitHub) -> None:
    script.say(200, [], Link='<http://127.0.0.1:9/x>; rel="next"')
    with pytest.raises(UserError, match="next page is elsewhere"):
        github.list("/x")


def test_the_base_url_may_have_a_path_as_an_enterprise_server_has(script: Script, waits) -> None:
    script.say(200, {})
    GitHub(f"{script.url}/api/v3", "o/r", "x").call("GET", "/commits/main?a=b")
    assert script.seen == ["GET /api/v3/repos/o/r/commits/main?a=b"]


def test_loopback_is_never_asked_through_a_proxy(script: Script, github: GitHub, monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    script.say(200, {"id": 1})
    client._kit.cache_clear()
    assert github.call("GET", "/x") == {"id": 1}


def test_where_a_proxy_is_set_others_are_asked_through_it(script: Script, waits, monkeypatch) -> None:
    """The control: github.invalid is nowhere, and the proxy answers."""
    monkeypatch.setenv("http_proxy", script.url)
    script.say(200, {"id": 1})
    assert GitHub("http://github.invalid", "o/r", "x").call("GET", "/x") == {"id": 1}


def test_the_token_is_githubs_variable_or_that_of_its_command(monkeypatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    monkeypatch.delenv("GH_TOKEN", raising=False)
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    with pytest.raises(UserError, match="GITHUB_TOKEN is not set"):
        GitHub.from_environment()
    monkeypatch.setenv("GH_TOKEN", "second")
    assert GitHub.from_environment().token == "second"
    monkeypatch.setenv("GITHUB_TOKEN", "first")
    assert GitHub.from_environment().token == "first"
    assert "first" not in repr(GitHub.from_environment())

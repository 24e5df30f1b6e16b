"""Load on an edge of this machine: requests from a few threads, each sent once and each answer counted."""

import http.client
import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipelines.core.model import Row

FRESH = 10  # each tenth request opens a connection of its own: a flip must lose neither kind
HEADER = "x-greenlight-release"


@dataclass(frozen=True)
class Answer:
    """Why a request was lost, else the one release that has answered; None where it is not exactly one."""

    rows: int
    seconds: float
    lost: str = ""
    release: str | None = None


class Load:
    """Sends `requests`, each some rows, to `url`/predict while the `with` block runs or until they end.

    At most `per_second` of them in all, by so many threads. Nothing is sent twice: a request is lost when it
    gets no answer within `timeout` seconds, another status than 200, or not for each row a prediction that
    `accepts` takes."""

    def __init__(
        self,
        url: str,
        requests: Iterable[Sequence[Row]],
        per_second: float | None = 200,
        threads: int = 4,
        timeout: float = 60,
        accepts: Callable[[Sequence[Any]], bool] = lambda predictions: True,
    ) -> None:
        self.answers: list[Answer] = []
        self._open = lambda: http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
        self._accepts, self._timeout = accepts, timeout
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._plan = self._due(requests, 1 / per_second if per_second else 0)
        self.threads = [threading.Thread(target=self._send, daemon=True) for _ in range(threads)]

    @property
    def sent(self) -> int:
        """Requests with a known end."""
        return len(self.answers)

    @property
    def lost(self) -> Counter[str]:
        """The requests without an answer of exactly one release, by reason."""
        return Counter(one.lost or "not of exactly one release" for one in self.answers if not one.release)

    @property
    def answered(self) -> Counter[str]:
        """The others by release, in the order in which these first answered."""
        return Counter(answer.release for answer in self.answers if answer.release)

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join(self._timeout)

    def _due(self, requests: Iterable[Sequence[Row]], pause: float) -> Iterator[Sequence[Row]]:
        due = time.monotonic()
        for rows in requests:
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            yield rows
            due = max(due + pause, time.monotonic() - 1)  # after a stall, no burst to make up for it

    def _send(self) -> None:
        kept = self._open()
        for number in itertools.count(1):
            with self._lock:
                if (rows := next(self._plan, None)) is None:
                    break
            fresh = number % FRESH == 0
            line = self._open() if fresh else kept
            self.answers.append(answer := self._ask(line, rows, close=fresh))
            if fresh or answer.lost:
                line.close()  # the next request on it connects anew
        kept.close()

    def _ask(self, line: http.client.HTTPConnection, rows: Sequence[Row], close: bool) -> Answer:
        request = str(uuid.uuid4())
        headers = {"content-type": "application/json", "x-request-id": request}
        if close:
            headers["connection"] = "close"
        body = json.dumps({"rows": rows}, separators=(",", ":")).encode()
        begun, release, lost = time.monotonic(), None, ""
        try:
            line.request("POST", "/predict", body, headers)
            response = line.getresponse()
            content = response.read()
            if response.status != 200:
                lost = f"status {response.status}"
            elif response.headers.get("x-request-id", request) != request:
                lost = "the answer to another request"
            else:
                release, lost = self._read(content, response.headers.get(HEADER), len(rows))
        except (OSError, http.client.HTTPException) as error:
            lost = type(error).__name__
        return Answer(len(rows), time.monotonic() - begun, lost, release)

    def _read(self, content: bytes, header: str | None, rows: int) -> tuple[str | None, str]:
        try:
            body = json.loads(content)
            predictions = body["predictions"]
            whole = len(predictions) == rows and self._accepts(predictions)
            releases = {header, body.get("release")} | {r["release"] for r in predictions if "release" in r}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None, "no answer of the contract"
        one = header if len(releases) == 1 else None
        return (one, "") if whole else (None, "not an answer for each row")

"""Callers for a rehearsal: a bounded stream of requests, each counted as answered or lost."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit


class Load:
    """Sends `bodies` to `url`/predict in turn, from a few threads, while the `with` block runs.

    A request is lost when it gets no answer, another status than 200, or an answer whose header and body name
    different releases. Nothing is sent twice."""

    def __init__(self, url: str, bodies: Sequence[bytes], per_second: float = 200, threads: int = 4) -> None:
        self.url, self.bodies, self.pause = url, bodies, threads / per_second
        self.lost: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()  # by release
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]

    @property
    def sent(self) -> int:
        """Requests with a known end."""
        return self.answered.total() + self.lost.total()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _run(self, number: int) -> None:
        host = urlsplit(self.url).netloc
        connection = http.client.HTTPConnection(host, timeout=60)
        due = time.monotonic()
        while not self._stop.is_set():
            reason, release = self._ask(connection, self.bodies[number % len(self.bodies)])
            with self._lock:
                (self.lost if reason else self.answered)[reason or release] += 1
            if reason:
                connection.close()
            number += len(self._threads)
            due = max(due + self.pause, time.monotonic() - 1)  # after a stall, no burst to make up for it
            self._stop.wait(max(0.0, due - time.monotonic()))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[str, str]:
        try:
            connection.request("POST", "/predict", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                return f"status {answer.status}", ""
            release = str(json.loads(content)["release"])
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            return type(error).__name__, ""
        if release != answer.getheader("x-greenlight-release"):
            return "a mixture of releases", ""
        return "", release

"""Callers for the benchmarks: vegeta, which sends at its own pace whatever the server does, and slow ones.

Every request is counted by its end: a status, or the reason why no whole answer came. vegeta repeats nothing
but what provably never arrived, as HTTP allows (its kept connection was closed before a byte was written).

vegeta comes from PATH, else it is built by Go from the versions in benchmarks/vegeta/go.mod.
"""

import asyncio
import base64
import csv
import functools
import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

import h11
import numpy as np

from pipelines.base import programs
from pipelines.base.console import step
from pipelines.base.errors import UserError

BUILT = Path(".greenlight/bench/vegeta")
MODULE, LOCK = "github.com/tsenart/vegeta/v12", Path(__file__).parent / "vegeta"
KEPT, NEW, H2C = "keep-alive", "new connections", "h2c"  # how callers connect; h2c is one HTTP/2 connection
CONNECT = {KEPT: ["-http2=false"], NEW: ["-http2=false", "-keepalive=false"], H2C: ["-h2c"]}
HEADERS = {"content-type": "application/json"}
RELEASE = "x-greenlight-release"  # of an answer: who gave it
RELEASE_LINE = re.compile(rf"^{RELEASE}: *(\S+)".encode(), re.IGNORECASE | re.MULTILINE)
TIMEOUT_SECONDS = 30.0  # until a request counts as lost


@dataclass(frozen=True)
class Outcome:
    """Requests in the order of sending, an array a field. `status` is 0, and `reason` says why, where no
    whole answer came; `release` is the answer's x-greenlight-release, or empty.

    `seconds` run to the answer's last byte, in an open loop from when the request was *due*: a server that
    stalls is charged for those who had to wait behind (https://github.com/giltene/wrk2 on the omission).
    """

    at: np.ndarray  # when it was sent, in seconds since the epoch
    seconds: np.ndarray
    status: np.ndarray
    reason: np.ndarray
    release: np.ndarray

    @property
    def sent(self) -> int:
        return len(self.status)

    @property
    def answered(self) -> Counter[int]:
        """Requests with an answer, by its status."""
        return Counter(self.status[self.status > 0].tolist())

    @property
    def lost(self) -> Counter[str]:
        """Requests without a whole answer, by reason."""
        return Counter(self.reason[self.status == 0].tolist())

    @property
    def failed(self) -> int:
        """Requests that got anything but a whole answer of 200."""
        return int(np.count_nonzero(self.status != 200))

    @property
    def per_second(self) -> float:
        """Answers of 200 a second, from the first request to the last answer."""
        if not self.sent:
            return 0.0
        took = float((self.at + self.seconds).max() - self.at.min())
        return (self.sent - self.failed) / took

    def quantile(self, q: float) -> float:
        """Seconds within which a share q of *all* requests had come to their end."""
        return float(np.quantile(self.seconds, q))

    def __add__(self, other: "Outcome") -> "Outcome":
        fields = ("at", "seconds", "status", "reason", "release")
        both = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in fields}
        order = np.argsort(both["at"], kind="stable")
        return Outcome(**{name: values[order] for name, values in both.items()})


def outcome(records: Iterable[tuple[float, float, int, str, str]]) -> Outcome:
    """From rows of Outcome's fields, in any order."""
    at, seconds, status, reason, release = zip(*sorted(records), strict=True) if records else ((),) * 5
    return Outcome(
        np.array(at, dtype=np.float64),
        np.array(seconds, dtype=np.float64),
        np.array(status, dtype=np.int64),
        np.array(reason, dtype=object),
        np.array(release, dtype=object),
    )


class Attack:
    """vegeta at work on `url` while the `with` block runs, or for `seconds`; then `outcome()`.

    The bodies are posted in turn. An open loop has a `rate` (requests a second) and as many callers as that
    takes; with no rate, each of `callers` sends its next request when the last is answered (a closed loop).
    """

    def __init__(
        self,
        url: str,
        bodies: Sequence[bytes],
        *,
        rate: float = 0.0,
        callers: int | None = None,
        connect: str = KEPT,
        seconds: float = 0.0,
    ) -> None:
        if not rate and not callers:
            raise ValueError("a closed loop needs a number of callers")
        self._rate, self._seconds = rate, seconds
        self._folder = tempfile.TemporaryDirectory(prefix="greenlight-load-")
        self._targets, self._results = (Path(self._folder.name, name) for name in ("targets", "results"))
        self._targets.write_text("".join(f"{_target(url, body)}\n" for body in bodies))
        self._command = [
            *(vegeta(), "attack", "-format=json", f"-targets={self._targets}", f"-output={self._results}"),
            *(f"-rate={round(rate * 1000)}/1000s", f"-duration={seconds}s", f"-timeout={TIMEOUT_SECONDS}s"),
            *("-max-body=0", "-redirects=-1", f"-laddr={_own_address()}", *CONNECT[connect]),
            *([f"-workers={callers}", f"-max-workers={callers}"] if callers else []),
        ]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Attack":
        self._process = programs.start(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        assert self._process
        if not self._seconds or kind:
            self._process.send_signal(signal.SIGINT)  # no new requests; those in flight come to their end
        said, _ = self._process.communicate()
        if self._process.returncode and not kind:
            raise RuntimeError(f"vegeta: {said.strip()}")

    def outcome(self) -> Outcome:
        """What became of every request; asked after the `with` block."""
        table = Path(self._folder.name, "table.csv")
        done = programs.run([vegeta(), "encode", "--to=csv", f"--output={table}", self._results])
        if done.returncode:
            raise RuntimeError(f"vegeta encode: {done.stderr.strip()}")
        with table.open("rb") as lines:
            found = read(lines, self._rate)
        self._folder.cleanup()
        return found


def attack(
    url: str,
    bodies: Sequence[bytes],
    *,
    seconds: float,
    rate: float = 0.0,
    callers: int | None = None,
    connect: str = KEPT,
) -> Outcome:
    """What became of the requests of some `seconds`; see Attack."""
    with Attack(url, bodies, rate=rate, callers=callers, connect=connect, seconds=seconds) as it:
        pass
    return it.outcome()


def read(lines: IO[bytes], rate: float = 0.0) -> Outcome:
    """vegeta's CSV (`vegeta encode -h` names the columns); with a rate, the seconds count from when a request
    was due: the n-th, n / rate after the first."""
    records, number = [], []
    for row in csv.reader(io.TextIOWrapper(lines, "utf-8", errors="replace", newline="")):
        at, status, took, _, _, reason, _, _, n, _, _, headers = row
        release = RELEASE_LINE.search(base64.b64decode(headers))
        number.append(int(n))
        records.append(
            (int(at) / 1e9, int(took) / 1e9, int(status), reason, release[1].decode() if release else "")
        )
    found = outcome(records)
    if not rate or not records:
        return found
    due = np.sort(np.array(number)) / rate
    due += (found.at - due).min()  # nothing is sent before it is due, so this is when the clock began
    return Outcome(found.at, found.seconds + found.at - due, found.status, found.reason, found.release)


class Slow:
    """Callers with a bad line, while the `with` block runs: each opens a connection, sends its body in pieces
    over `over` seconds, reads the answer, and begins anew. Their requests are long in flight at any time.
    """

    def __init__(self, url: str, bodies: Sequence[bytes], *, callers: int = 4, over: float = 0.5) -> None:
        self._url, self._bodies, self._callers, self._over = urlsplit(url), bodies, callers, over
        self._records: list[tuple[float, float, int, str, str]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "Slow":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def outcome(self) -> Outcome:
        """What became of every request; asked after the `with` block."""
        return outcome(self._records)

    async def _run(self) -> None:
        await asyncio.gather(*(self._call(number) for number in range(self._callers)))

    async def _call(self, number: int) -> None:
        while not self._stop.is_set():
            at, started = time.time(), time.monotonic()
            status, reason, release = 0, "", ""
            try:
                status, release = await asyncio.wait_for(
                    self._ask(self._bodies[number % len(self._bodies)]), TIMEOUT_SECONDS
                )
            except (OSError, EOFError, TimeoutError, h11.ProtocolError) as error:
                reason = str(error) or type(error).__name__
                await asyncio.sleep(0.05)  # what refuses at once is not to be asked a million times
            self._records.append((at, time.monotonic() - started, status, reason, release))
            number += self._callers

    async def _ask(self, body: bytes) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        try:
            host, length = self._url.netloc, str(len(body))
            client = h11.Connection(h11.CLIENT)
            headers = [*HEADERS.items(), ("host", host), ("content-length", length), ("connection", "close")]
            request = h11.Request(method="POST", target=self._url.path or "/", headers=headers)
            writer.write(client.send(request) or b"")
            size = max(1, len(body) // 8)
            for start in range(0, len(body), size):
                await writer.drain()
                await asyncio.sleep(self._over / 8)
                writer.write(client.send(h11.Data(data=body[start : start + size])) or b"")
            client.send(h11.EndOfMessage())
            return await _answer(client, reader)
        finally:
            writer.close()


async def _answer(client: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status of a whole answer, and its release."""
    status, release = 0, ""
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(await reader.read(65_536))  # nothing: the answer is cut, and h11 says so
        elif isinstance(event, h11.Response):
            status = event.status_code
            release = dict(event.headers).get(RELEASE.encode(), b"").decode()
        elif isinstance(event, h11.EndOfMessage):
            return status, release
        elif isinstance(event, h11.ConnectionClosed):
            raise EOFError("closed without an answer")


@functools.cache
def vegeta() -> str:
    """The path of vegeta, built here where PATH has none. UserError, with the way to get it, without Go."""
    if found := shutil.which("vegeta"):
        return found
    if not BUILT.exists():
        if not shutil.which("go"):
            raise UserError(
                "the load comes from vegeta, which is not on PATH: install it "
                f"(`go install {MODULE}@latest`, `brew install vegeta`), or Go, and it is built here"
            )
        step("building vegeta (once, less than a minute)")
        BUILT.parent.mkdir(parents=True, exist_ok=True)
        done = programs.run(
            ["go", "build", "-o", BUILT.absolute(), MODULE],
            cwd=LOCK,
            env=programs.environment(GOFLAGS="-mod=readonly", GOWORK="off"),
        )
        if done.returncode:
            said = " ".join(done.stderr.split())[-400:]
            raise UserError(f"Go could not build vegeta from benchmarks/vegeta/go.mod ({said})")
    return str(BUILT.absolute())


def _own_address() -> str:
    """Somewhere on the loopback (Linux has all of 127.0.0.0/8): its 28,000 ports are this attack's alone, and
    none is lost to those who have used up another address's."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"


def _target(url: str, body: bytes) -> str:
    header = {name: [value] for name, value in HEADERS.items()}
    return json.dumps(
        {"method": "POST", "url": url, "header": header, "body": base64.b64encode(body).decode()}
    )


def main() -> None:
    """`python -m benchmarks._load URL BODY RATE SECONDS`: an open loop by hand."""
    url, body, rate, seconds = sys.argv[1:]
    it = attack(url, [body.encode()], rate=float(rate), seconds=float(seconds))
    print(f"{it.sent} sent, answered {dict(it.answered)}, lost {dict(it.lost)}")
    print(", ".join(f"p{100 * q:g} {1000 * it.quantile(q):.2f} ms" for q in (0.5, 0.9, 0.99, 0.999)))


if __name__ == "__main__":
    main()

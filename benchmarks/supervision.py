"""What a killed edge and a killed supervisor cost their callers: `make bench ONLY=supervision`."""

import http.client
import itertools
import os
import signal
import statistics
import threading
import time
from urllib.parse import urlsplit

from benchmarks import figure, run
from benchmarks._host import small_host
from pipelines.host import services
from pipelines.host.host import Host
from pipelines.host.slots import process
from pipelines.rollout.load import Load
from tests.delivery import tiny
from tests.delivery.waiting import edge_process

KILLS = 20
EVERY_SECONDS = 0.005  # between two requests of the caller that measures gaps
GAP_SECONDS = 0.2


def main() -> None:
    """A host of its own with the smallest release, so that the figures are the machinery's."""
    with small_host() as bench:
        host, release = bench.host, bench.make("small")
        bench.require(release)
        gaps = edge_gaps(host)
        figure("edge SIGKILLed: gap, median", 1000 * statistics.median(gaps), "ms")
        worst = max(gaps)
        figure(f"edge SIGKILLed: gap, worst of {KILLS}", 1000 * worst, "ms", "<= 200", worst <= GAP_SECONDS)
        slot = live_slot(host)
        server, load = process.server(host.slot(slot)), without_supervisor(host)
        lost = load.lost.total()
        figure(f"supervisor SIGKILLed: lost of {load.sent}", lost, "", "== 0", lost == 0)
        found = process.server(host.slot(slot)) == server and process.running(host.slot(slot)) == release
        figure("supervisor SIGKILLed: children found again", float(found), "", "== 1", found)


def edge_gaps(host: Host, times: int = KILLS) -> list[float]:
    """The longest time without an answer, in seconds, at each SIGKILL of the edge."""
    return [_gap(host) for _ in range(times)]


def without_supervisor(host: Host, times: int = 3, per_second: float = 500.0) -> Load:
    """The load that ran while the supervisor was killed and brought back `times` times."""
    with Load(host.edge_url, tiny.CALLS, per_second) as load:
        for _ in range(times):
            time.sleep(1.0)
            supervisor = int((host.folder / "supervisor" / "supervisord.pid").read_text())
            os.kill(supervisor, signal.SIGKILL)
            time.sleep(1.0)
            services.revive(host)
        time.sleep(1.0)
    return load


def live_slot(host: Host) -> str:
    """The slot that has the traffic."""
    route = host.edge.route()
    assert route
    return route.slot


def _gap(host: Host) -> float:
    answered, over = list[float](), threading.Event()

    def caller() -> None:
        while not over.wait(EVERY_SECONDS):
            connection = http.client.HTTPConnection(urlsplit(host.edge_url).netloc, timeout=5)
            try:
                connection.request("POST", "/predict", tiny.BODIES[0], {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    answered.append(time.monotonic())
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()

    thread = threading.Thread(target=caller)
    thread.start()
    time.sleep(1.5)  # a keeper that starts twice within a second is cautious at the third time
    os.kill(edge_process(host), signal.SIGKILL)
    killed, until = time.monotonic(), time.monotonic() + 30
    while (not answered or answered[-1] < killed + 0.5) and time.monotonic() < until:
        time.sleep(0.05)
    over.set()
    thread.join()
    return max((b - a for a, b in itertools.pairwise([*answered, time.monotonic()])), default=float("inf"))


if __name__ == "__main__":
    run(main)

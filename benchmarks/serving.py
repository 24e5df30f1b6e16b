"""This repository's service beside two others with the same model on this machine: `make bench ONLY=serving`.

The others are `mlflow models serve` and a plain FastAPI service; all have one worker process, the same rows
and the same callers, and take turns. Takes about 8 minutes after `ml reproduce`.
"""

import contextlib
import http.client
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks import _load, figure, run
from pipelines.artifacts.serving import Golden
from pipelines.base import programs
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import sha256_of_tree, write_text
from pipelines.core import params as parameters
from pipelines.core.model import Row
from pipelines.host import terraform
from pipelines.problem import PROBLEM
from pipelines.registry.store import Store
from pipelines.release import commit, release
from pipelines.rollout import deploy
from pipelines.rollout.rehearse import free_ports, lend
from tests.releases import described

CALLERS = 8  # of the closed loop: enough that no server waits for work
ROUNDS, SECONDS = 5, 3.0  # turns of each service, and how long one takes
SIZES = (1, 100)  # rows a request
OURS, EDGE, MLFLOW, PLAIN = "greenlight", "greenlight, edge", "mlflow", "FastAPI"
FASTER = {MLFLOW: 3.0, PLAIN: 1.5}  # times as many requests of one row
OVERHEAD_MS = 0.3  # ms that the edge may add on one connection
TURNS, TURN = 15, 500  # how often the two are compared, over how many requests of each
SAME = 0.01  # max |Δp|: the plain service reads 66.92 as float64, beside a split that was learned in float32
ENVIRONMENT = "bench"
TABLE = Path("build/serving.md")


@dataclass(frozen=True)
class Service:
    """A running service: where it takes rows, how it wants them, and how it says probabilities."""

    url: str
    body: Callable[[list[Row]], bytes]
    answer: Callable[[Any], list[float]]


def main() -> None:
    if not Path("models/golden.json").is_file():
        raise UserError("models/ is not complete: run `ml reproduce` first")
    _load.vegeta()
    golden = Golden.read(Path("models"))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="greenlight-bench-")))
        services = dict(started(folder, stack))
        for name, service in services.items():
            check(name, service, golden)
        measured = []
        for size in SIZES:
            bodies = {n: [s.body(rows) for rows in batches(golden, size)] for n, s in services.items()}
            measured.append(measure(services, bodies, size))
            if size == 1:
                overhead(services, bodies)
    for each in measured:
        show(each)
    write_text(TABLE, table(measured))
    print(TABLE.read_text())


@dataclass(frozen=True)
class Measured:
    """Turns of each service with requests of `size` rows: in a closed loop, in an open loop at `rate`
    requests a second for all, and at half of what each bears."""

    size: int
    closed: dict[str, list[_load.Outcome]]
    same: dict[str, list[_load.Outcome]]
    half: dict[str, list[_load.Outcome]]
    rate: float

    def bears(self, name: str) -> float:
        """Requests a second, all callers always waiting."""
        return median(turn.per_second for turn in self.closed[name])

    def times(self, one: str, other: str) -> float:
        """How many times as many requests as `other` a service bears, by the turns of the same round."""
        pairs = zip(self.closed[one], self.closed[other], strict=True)
        return median(a.per_second / b.per_second for a, b in pairs)


def measure(services: dict[str, Service], bodies: dict[str, list[bytes]], size: int) -> Measured:
    """Let the services take turns: how much they bear, then how long they take."""

    def rounds(words: str, count: int, **how: Any) -> dict[str, list[_load.Outcome]]:
        turns: dict[str, list[_load.Outcome]] = defaultdict(list)
        for number in range(count):
            step(f"{size} rows a request, {words}: round {number + 1} of {count}")
            for name, service in services.items():
                of_this = {key: value(name) for key, value in how.items()}
                turns[name].append(answered(name, service, bodies[name], **of_this))
        return turns

    rounds("warming up", 1, callers=lambda name: CALLERS)
    closed = rounds("closed loop", ROUNDS, callers=lambda name: CALLERS)
    bears = {name: median(turn.per_second for turn in closed[name]) for name in services}
    rate = min(bears.values()) / 2
    same = rounds("the same rate for all", ROUNDS, rate=lambda name: rate)
    half = rounds("half of its own", ROUNDS, rate=lambda name: bears[name] / 2)
    return Measured(size, closed, same, half, rate)


def show(it: Measured) -> None:
    """Print the figures with their goals."""
    rows = "1 row" if it.size == 1 else f"{it.size} rows"
    for name in it.closed:
        figure(f"{rows}: {name}", it.bears(name), "req/s")
    for name, times in FASTER.items():
        ratio = it.times(OURS, name)
        goal = (f">= {times:g}", ratio >= times) if it.size == 1 else ("", True)
        figure(f"{rows}: {OURS} / {name}", ratio, "times", *goal)
    for name in it.closed:
        for q in (0.5, 0.99):
            figure(f"{rows} at {it.rate:.0f}/s: {name}, p{100 * q:.0f}", milliseconds(it.same[name], q), "ms")


def table(measured: list[Measured]) -> str:
    """The figures as Markdown."""
    lines = [
        "| rows a request | service | requests/s | p50 / p99 at the same rate | at half of its own |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for it in measured:
        for name in it.closed:
            waits = [
                f"{milliseconds(turns[name], 0.5):.1f} / {milliseconds(turns[name], 0.99):.0f} ms"
                for turns in (it.same, it.half)
            ]
            waits = [f"{waits[0]} at {it.rate:.0f}/s", f"{waits[1]} at {it.bears(name) / 2:.0f}/s"]
            lines.append(f"| {it.size} | {name} | {it.bears(name):.0f} | {' | '.join(waits)} |")
    return "\n".join(lines) + "\n"


def milliseconds(turns: list[_load.Outcome], q: float) -> float:
    """A quantile's median over the turns."""
    return 1000 * median(turn.quantile(q) for turn in turns)


def overhead(services: dict[str, Service], bodies: dict[str, list[bytes]]) -> None:
    """Print what the edge adds to the median of requests of one row, on one connection each.

    One caller asks the slot and the edge in turn, request by request, so that a slow second is both's.
    """
    p50: list[tuple[float, float]] = []
    with contextlib.ExitStack() as stack:
        ask = [stack.enter_context(one_connection(services[name].url)) for name in (OURS, EDGE)]
        for _ in range(TURNS):
            times = [[each(body) for each in ask] for body in islice(cycle(bodies[OURS]), TURN)]
            direct, behind = zip(*times, strict=True)
            p50.append((1000 * median(direct), 1000 * median(behind)))
    added = median(behind - direct for direct, behind in p50)
    step(f"one connection: p50 {median(p for p, _ in p50):.2f} ms, behind the edge {added:.2f} ms more")
    figure("the edge adds to p50, one connection", added, "ms", f"<= {OVERHEAD_MS}", added <= OVERHEAD_MS)


@contextlib.contextmanager
def one_connection(url: str) -> Iterator[Callable[[bytes], float]]:
    """Ask on one connection: the seconds until the answer has been read, which must be 200."""
    to = urlsplit(url)
    connection = http.client.HTTPConnection(to.netloc, timeout=60)

    def ask(body: bytes) -> float:
        begun = time.perf_counter()
        connection.request("POST", to.path, body, _load.HEADERS)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url} answers {answer.status}")
        return time.perf_counter() - begun

    with contextlib.closing(connection):
        yield ask


def answered(
    name: str, service: Service, bodies: list[bytes], seconds: float | None = None, **how: Any
) -> _load.Outcome:
    """A turn. RuntimeError where anything is not answered with 200: its figures would compare nothing."""
    found = _load.attack(service.url, bodies, seconds=seconds or SECONDS, **how)
    if found.failed or not found.sent:
        raise RuntimeError(f"{name}: {found.sent} sent, answered {found.answered}, lost {found.lost}")
    return found


def check(name: str, service: Service, golden: Golden) -> None:
    """RuntimeError unless the service answers the golden rows as the model does."""
    request = urllib.request.Request(service.url, service.body(list(golden.rows)), _load.HEADERS)
    with urllib.request.urlopen(request, timeout=60) as answer:
        p = service.answer(json.loads(answer.read()))
    if not (difference := golden.largest_difference(p, PROBLEM.task)) <= SAME:
        raise RuntimeError(f"{name} is not the same model: max |Δp| is {difference:.2g}")
    step(f"{name} answers the golden rows, max |Δp| {difference:.1g}")


def batches(golden: Golden, size: int) -> list[list[Row]]:
    """Golden rows in requests of `size`, each row at each place of a request in turn."""
    count = len(golden.rows)
    return [[golden.rows[(first + n) % count] for n in range(size)] for first in range(count)]


def started(folder: Path, stack: contextlib.ExitStack) -> Iterator[tuple[str, Service]]:
    """Start every service; `stack` stops them."""
    ours = stack.enter_context(deployed(folder))
    as_rows = lambda rows: json.dumps({"rows": rows}).encode()  # noqa: E731
    probabilities = lambda said: [each["p"] for each in said["predictions"]]  # noqa: E731
    for name, url in zip((OURS, EDGE), ours, strict=True):
        yield name, Service(f"{url}/predict", as_rows, probabilities)
    step("fitting the same pipeline for the others")
    save(folder)
    port = free_ports()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(folder / "mlflow"),
        "-p",
        str(port),
    ]
    stack.enter_context(running([*command, "--env-manager", "local"], port, folder / "mlflow.log"))
    yield (
        MLFLOW,
        Service(
            f"http://127.0.0.1:{port}/invocations",
            lambda rows: json.dumps({"dataframe_records": rows}).encode(),
            lambda said: [p for _, p in said["predictions"]],
        ),
    )
    port += 1
    command = [sys.executable, "-m", "uvicorn", "benchmarks._plain:app", "--port", str(port)]
    stack.enter_context(
        running(command, port, folder / "plain.log", BENCH_MODEL=str(folder / "model.joblib"))
    )
    yield PLAIN, Service(f"http://127.0.0.1:{port}/predict", as_rows, probabilities)


@contextlib.contextmanager
def deployed(folder: Path) -> Iterator[tuple[str, str]]:
    """A release of this checkout, deployed by the rollout: the addresses of its slot and of the edge."""
    release_id = sha256_of_tree(Path(), commit.files(Path()))
    store, home = Store(folder / "store"), folder / "home"
    with store.put(release_id) as place:
        release._build_bento(Path(), place / "bento", PROBLEM.name, release_id)
        (place / "evidence").mkdir()
        described(place, release_id)  # nothing reads of it here
    lend(home, ENVIRONMENT)
    try:
        host = terraform.up(ENVIRONMENT, PROBLEM.name, home)
        if code := deploy.move(host, PROBLEM.contract, release_id, store):
            raise RuntimeError(f"the release of this checkout was not deployed (exit code {code})")
        route = host.edge.route()
        assert route
        yield host.slot(route.slot).url, host.edge_url
    finally:
        terraform.down(ENVIRONMENT, PROBLEM.name, home)


def save(folder: Path) -> None:
    """The pipeline of params.yaml, fitted again, as an MLflow model and as a joblib file."""
    import joblib
    import mlflow.sklearn

    from pipelines.training import table, train

    params = parameters.load()
    rows = table.training(params, table.load(), PROBLEM.contract)
    pipeline = train.fit_pipeline(params, rows, PROBLEM)
    frame = train.frame(rows, PROBLEM.contract)
    joblib.dump(pipeline, folder / "model.joblib")
    mlflow.sklearn.save_model(
        pipeline,
        folder / "mlflow",
        serialization_format="cloudpickle",
        signature=mlflow.models.infer_signature(frame.head(1000)),
        pyfunc_predict_fn="predict_proba",
        pip_requirements=[],
    )


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path, **environment: str) -> Iterator[None]:
    """A server of its own process group, up when /ping answers, and gone afterwards."""
    # One thread a process: with more, those of scikit-learn fight over the cores, and all becomes slower.
    given = programs.environment(
        own_code=True, OMP_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true", **environment
    )
    with log.open("wb") as out:
        process = programs.start(command, env=given, stdout=out, stderr=out, start_new_session=True)
    try:
        until = time.monotonic() + 90
        while not pings(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(command)} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)


def pings(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    run(main)

"""The benchmark of the service compares the same model, and says so where it falls short."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from fastapi.testclient import TestClient

from benchmarks import _load, serving
from pipelines.artifacts.serving import Golden
from pipelines.base.files import write_json
from pipelines.problem.columns import CONTRACT  # the benchmark measures the problem in the room

GOLDEN = Golden(rows=tuple({"x": float(n)} for n in range(5)), p=(0.0, 0.1, 0.2, 0.3, 0.4))


def turns(per_second: list[float], seconds: float = 0.002) -> list[_load.Outcome]:
    """Outcomes of 100 requests each that come to this many a second."""
    return [
        _load.outcome((n / rate, seconds + (100 / rate if n == 0 else 0), 200, "", "") for n in range(100))
        for rate in per_second
    ]


def made(ours: list[float], size: int = 1) -> serving.Measured:
    names = {serving.OURS: ours, serving.EDGE: ours, serving.MLFLOW: [100, 200], serving.PLAIN: [200, 400]}
    closed = {name: turns(rates) for name, rates in names.items()}
    return serving.Measured(size, closed, closed, closed, 50.0)


def test_services_are_compared_within_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    """In the second round the machine was twice as fast for all: the ratio does not see it."""
    it = made([300, 600])
    assert it.times(serving.OURS, serving.MLFLOW) == pytest.approx(3.0, rel=0.02)
    assert it.bears(serving.OURS) == pytest.approx(450, rel=0.02)


@pytest.mark.parametrize(("rates", "short"), [([320.0, 640.0], 0), ([290.0, 580.0], 2), ([305.0, 610.0], 0)])
def test_a_goal_that_is_missed_is_said(
    rates: list[float], short: int, capsys: pytest.CaptureFixture[str]
) -> None:
    serving.show(made(rates))
    said = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("short") for line in said) == short
    assert sum("/ mlflow" in line or "/ FastAPI" in line for line in said) == 2
    serving.show(made(rates, size=100))  # which has no goal
    assert "short" not in capsys.readouterr().out


def test_the_table_has_every_service_at_every_size() -> None:
    lines = serving.table([made([300, 600]), made([300, 600], size=100)]).splitlines()
    assert len(lines) == 2 + 2 * 4
    assert len({line.count("|") for line in lines}) == 1


def test_each_row_comes_to_each_place_of_a_request() -> None:
    requests = serving.batches(GOLDEN, 3)
    assert len(requests) == 5 and {len(rows) for rows in requests} == {3}
    for place in range(3):
        assert sorted(rows[place]["x"] for rows in requests) == [0, 1, 2, 3, 4]


@contextlib.contextmanager
def server(status: int, off: float = 0.0, late: float = 0.0) -> Iterator[serving.Service]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["content-length"])))
            time.sleep(late)
            content = json.dumps([row["x"] / 10 + off for row in rows]).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    it = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=it.serve_forever, daemon=True).start()
    try:
        yield serving.Service(
            f"http://127.0.0.1:{it.server_port}/", lambda rows: json.dumps(rows).encode(), list
        )
    finally:
        it.shutdown()
        it.server_close()


def test_another_model_is_not_measured() -> None:
    with server(200) as same:
        serving.check("same", same, GOLDEN)
    with server(200, off=0.02) as other, pytest.raises(RuntimeError, match="not the same model"):
        serving.check("other", other, GOLDEN)


@pytest.mark.usefixtures("vegeta")
def test_a_server_that_refuses_is_not_called_fast() -> None:
    bodies = [b'[{"x": 1}]']
    with server(200) as good:
        assert serving.answered("good", good, bodies, seconds=0.5, callers=2).failed == 0
    with server(503) as busy, pytest.raises(RuntimeError, match="503"):
        serving.answered("busy", busy, bodies, seconds=0.5, callers=2)


@pytest.mark.parametrize(("late", "says"), [(0.0, "ok"), (0.005, "short")])
def test_what_lies_between_two_addresses_is_said(
    late: float, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "TURNS", 3)
    monkeypatch.setattr(serving, "TURN", 20)
    monkeypatch.setattr(serving, "OVERHEAD_MS", 3.0)
    with server(200) as slot, server(200, late=late) as edge:
        serving.overhead({serving.OURS: slot, serving.EDGE: edge}, {serving.OURS: [b"[]"]})
    assert capsys.readouterr().out.split()[-1] == says
    with server(200) as slot, server(503) as edge, pytest.raises(RuntimeError, match="answers 503"):
        serving.overhead({serving.OURS: slot, serving.EDGE: edge}, {serving.OURS: [b"[]"]})


def test_the_plain_service_reads_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers a row of the contract's columns with what its model says, and 422 without one of them."""
    joblib.dump(Half(), tmp_path / "model.joblib")
    monkeypatch.setenv("BENCH_MODEL", str(tmp_path / "model.joblib"))
    from benchmarks import _plain

    row = {column.name: "A" if column.type == "category" else 1.0 for column in CONTRACT.features}
    with TestClient(_plain.app) as client:
        assert client.post("/predict", json={"rows": [row, row]}).json() == {
            "predictions": [{"p": 0.5, "act": True}] * 2
        }
        needed = next(column.name for column in CONTRACT.features if not column.missing)
        del row[needed]
        assert client.post("/predict", json={"rows": [row]}).status_code == 422


class Half:
    """A model that says 0.5."""

    def predict_proba(self, frame: object) -> np.ndarray:
        return np.full((len(frame), 2), 0.5)  # type: ignore[arg-type]


def test_without_models_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(serving.UserError, match="ml reproduce"):
        serving.main()
    write_json(tmp_path / "models/golden.json", {})
    monkeypatch.setattr(_load, "vegeta", lambda: "vegeta")
    with pytest.raises(serving.UserError, match="golden"):
        serving.main()

"""The service as it is released: its Bento, under `bentoml serve`, with nothing installed but its lock."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.serving import Golden
from pipelines.base import venv
from pipelines.base.files import read_json, sha256, sha256_of_tree
from pipelines.release import release
from pipelines.release.commit import files
from pipelines.serving.predictor import Predictor
from tests import project
from tests.problems.parcels import PROBLEM
from tests.problems.parcels.columns import CONTRACT

RELEASE = "5e" * 32
FIRST = next(column for column in CONTRACT.features if column.type == "number" and not column.missing)
CATEGORY = next(column for column in CONTRACT.features if column.type == "category")
MAYBE = next(column for column in CONTRACT.features if column.missing)


@dataclass(frozen=True)
class Server:
    """A running service; `models` are the files that it serves."""

    port: int
    models: Path
    predictions: Path
    python: Path
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        line.request(method, path, body, {"content-type": "application/json", **named})
        answer = line.getresponse()
        content = answer.read()
        line.close()
        return (
            answer.status,
            json.loads(content) if content[:1] in b"{[" and content else content,
            answer.headers,
        )

    def predict(self, *rows: Any, **headers: str) -> tuple[int, Any, Any]:
        return self.ask("POST", "/predict", json.dumps({"rows": rows}).encode(), **headers)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, made = tmp_path_factory.mktemp("service"), project.made()
    with project.inside(made):
        number = sha256_of_tree(Path(), files(Path()))
        release._build_bento(Path(), folder / "bento", PROBLEM.name, number)
    source = folder / "bento" / "src"
    python = venv.make(folder / "venv", source / "requirements/serve.txt") / "bin/python"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
        "GREENLIGHT_RELEASE": RELEASE,
        "GREENLIGHT_SLOT": "blue",
        "GREENLIGHT_PREDICTIONS": str(folder / "predictions"),
    }
    command = [str(python), "-m", "bentoml", "serve", str(folder / "bento"), "--host", "127.0.0.1"]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--api-workers", "1"],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    running = Server(port, source / "models", folder / "predictions", python, process, log)
    try:
        _wait_until_ready(running)
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def test_an_answered_request_leaves_nothing_behind(server: Server) -> None:
    """The service in one process, so that its objects can be counted."""
    script = """
import asyncio, gc, json, sys
from starlette.testclient import TestClient
from pipelines.serving.service import Service
body = sys.stdin.read()
with TestClient(Service.to_asgi()) as client:
    def ask(times):
        for _ in range(times):
            assert client.post("/predict", content=body).status_code == 200
        gc.collect()
        return len(gc.get_objects())
    before = ask(300)
    print(ask(600) - before)
"""
    golden = Golden.read(server.models)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=server.models.parent,
        env={"PATH": os.environ["PATH"], "HOME": str(server.log.parent), "BENTOML_DO_NOT_TRACK": "True"},
        input=json.dumps({"rows": [golden.rows[0]]}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 1_000, done.stdout  # BentoML's own timeout leaves 3,000


def _wait_until_ready(server: Server) -> None:
    until = time.monotonic() + 60
    while True:
        assert server.process.poll() is None and time.monotonic() < until, server.log.read_text()
        try:
            if server.ask("GET", "/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)


@pytest.fixture
def row(server: Server) -> dict[str, Any]:
    return dict(Golden.read(server.models).rows[0])


def test_the_lock_alone_serves_and_has_no_training_in_it(server: Server) -> None:
    for name in ("sklearn", "pandas", "mlflow", "dvc"):
        done = subprocess.run([server.python, "-c", f"import {name}"], capture_output=True, text=True)
        assert "ModuleNotFoundError" in done.stderr, name
    assert subprocess.run([server.python, "-c", "import bentoml, onnxruntime"]).returncode == 0


def test_the_golden_rows_get_exactly_their_answers(server: Server) -> None:
    golden = Golden.read(server.models)
    status, answer, _ = server.predict(*golden.rows)
    assert status == 200
    assert tuple(prediction["p"] for prediction in answer["predictions"]) == golden.p
    threshold = read_json(server.models / "serving.json")["threshold"]
    assert [each["act"] for each in answer["predictions"]] == [p >= threshold for p in golden.p]


def test_every_answer_names_its_release_and_its_request(server: Server, row: dict[str, Any]) -> None:
    for status, answer, headers in (
        server.predict(row, x_request_id="mine"),
        server.predict({}, x_request_id="mine"),
        server.ask("GET", "/release", x_request_id="mine"),
    ):
        assert headers["x-greenlight-release"] == answer["release"] == RELEASE, status
        assert headers["x-request-id"] == "mine"
    one, two = (server.predict(row)[2]["x-request-id"] for _ in range(2))
    assert one and two and one != two


def test_release_says_what_answers_here(server: Server) -> None:
    status, answer, _ = server.ask("GET", "/release")
    assert status == 200
    assert answer == {
        "release": RELEASE,
        "model": sha256(server.models / "model.onnx"),
        "api": read_json(server.models / "serving.json")["api"],
        "slot": "blue",
    }


def test_a_category_that_nobody_knows_is_answered(server: Server, row: dict[str, Any]) -> None:
    status, answer, _ = server.predict(row | {CATEGORY.name: "never seen"})
    assert status == 200 and 0 <= answer["predictions"][0]["p"] <= 1


def test_a_value_that_may_be_missing_may_be_null_or_left_out(server: Server, row: dict[str, Any]) -> None:
    without = {name: value for name, value in row.items() if name != MAYBE.name}
    status, answer, _ = server.predict(row | {MAYBE.name: None}, without)
    assert status == 200
    assert answer["predictions"][0] == answer["predictions"][1]


def test_a_bad_field_is_400_with_its_name(server: Server, row: dict[str, Any]) -> None:
    without = {name: value for name, value in row.items() if name != FIRST.name}
    bad = {
        "text for a number": row | {FIRST.name: "540"},
        "missing": without,
        "null": row | {FIRST.name: None},
    }
    for what, changed in bad.items():
        status, answer, _ = server.predict(row, row, row, changed)
        assert status == 400, what
        assert answer["error"].startswith(f"rows[3].{FIRST.name}: "), what


def test_an_unknown_field_is_400_with_its_name(server: Server, row: dict[str, Any]) -> None:
    status, answer, _ = server.predict(row | {"colour": "red"})
    assert status == 400 and answer["error"].startswith("rows[0].colour: is not a known field")


@pytest.mark.parametrize(
    ("body", "words"), [(b"no JSON", "the body is not JSON"), (b'{"rows": []}', "rows: is empty")]
)
def test_a_bad_body_is_400_with_one_sentence(server: Server, body: bytes, words: str) -> None:
    status, answer, _ = server.ask("POST", "/predict", body)
    assert status == 400 and answer["error"].startswith(words)


def test_too_many_rows_are_400(server: Server, row: dict[str, Any]) -> None:
    batch = read_json(server.models / "serving.json")["batch"]
    assert server.predict(*[row] * batch)[0] == 200
    status, answer, _ = server.predict(*[row] * (batch + 1))
    assert status == 400 and answer["error"].startswith(f"rows: has more than {batch:,} rows")


def test_a_body_beyond_all_measure_is_400_and_not_kept(server: Server, row: dict[str, Any]) -> None:
    batch = read_json(server.models / "serving.json")["batch"]
    status, answer, _ = server.ask("POST", "/predict", b" " * (65_537 + 8_192 * batch))
    assert status == 400 and answer["error"].startswith("the body is larger than")


def test_a_bad_request_leaves_no_traceback(server: Server) -> None:
    server.ask("POST", "/predict", b"no JSON")
    assert "Traceback" not in server.log.read_text()


def test_the_openapi_text_says_what_the_contract_says(server: Server) -> None:
    status, described, _ = server.ask("GET", "/docs.json")
    assert status == 200
    predict = described["paths"]["/predict"]["post"]
    body = predict["requestBody"]["content"]["application/json"]["schema"]
    fields = body["properties"]["rows"]["items"]["properties"]
    assert set(fields) == {CONTRACT.key.name, *(feature.name for feature in CONTRACT.features)}
    for feature in CONTRACT.features:
        words = fields[feature.name]["description"]
        assert feature.meaning in words and feature.unit in words
        assert bool(fields[feature.name].get("nullable")) == bool(feature.missing)
        if feature.maximum is not None:
            assert f"{feature.maximum:g}" in words
    answer = predict["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    assert CONTRACT.decision.positive in answer["predictions"]["items"]["properties"]["p"]["description"]
    assert "Ranges are not enforced, they bind the data" in predict["description"]
    assert "the drift check cannot join" in fields[CONTRACT.key.name]["description"]
    assert all(
        "made by the caller" in fields[column.name]["description"]
        for column in CONTRACT.features
        if column.derived
    )
    assert described["info"]["title"] == CONTRACT.name


def test_the_example_of_the_openapi_text_is_answered_and_has_a_key(server: Server) -> None:
    post = server.ask("GET", "/docs.json")[1]["paths"]["/predict"]["post"]
    example = post["requestBody"]["content"]["application/json"]["schema"]["example"]
    assert example["rows"][0][CONTRACT.key.name]
    assert (
        server.ask("POST", "/predict", json.dumps(example).encode(), x_greenlight_check="example")[0] == 200
    )


def test_a_range_binds_data_and_no_caller(server: Server, row: dict[str, Any]) -> None:
    ranged = [column for column in CONTRACT.features if column.maximum is not None]
    for column in ranged:
        assert column.maximum is not None
        status, answer, _ = server.predict(row | {column.name: int(column.maximum) * 10 + 10})
        assert status == 200, (column.name, answer)
    assert ranged


def test_predictions_are_logged_and_a_rollouts_own_questions_are_not(
    server: Server, row: dict[str, Any]
) -> None:
    key = CONTRACT.key.name
    server.predict(row | {key: "asked by the rollout"}, x_request_id="check", x_greenlight_check="golden")
    _, answer, _ = server.predict(row, row | {key: "event 7"}, x_request_id="log me")
    until, found = time.monotonic() + 20, []
    while not found and time.monotonic() < until:
        time.sleep(0.1)
        logged = [json.loads(line) for path in server.predictions.glob("*.jsonl") for line in path.open()]
        found = [line for line in logged if line["request"] == "log me"]
    assert [(line["row"], line["key"], line["release"]) for line in found] == [
        (0, None, RELEASE),
        (1, "event 7", RELEASE),
    ]
    assert [line["p"] for line in found] == [prediction["p"] for prediction in answer["predictions"]]
    assert set(found[0]["features"]) == {column.name for column in CONTRACT.loggable}
    assert not [line for line in logged if line["request"] == "check"]


def test_mirrored_requests_are_logged_as_such_beside_productions(server: Server, row: dict[str, Any]) -> None:
    server.predict(row, x_request_id="mirrored", x_greenlight_shadow="1")
    server.predict(row, x_request_id="asked by a caller")
    until, logged = time.monotonic() + 20, {}
    while len(logged) < 2 and time.monotonic() < until:
        time.sleep(0.1)
        found = [json.loads(line) for path in server.predictions.glob("*.jsonl") for line in path.open()]
        logged = {
            line["request"]: line for line in found if line["request"] in ("mirrored", "asked by a caller")
        }
    assert logged["mirrored"]["shadow"] is True
    assert "shadow" not in logged["asked by a caller"]
    assert logged["mirrored"]["p"] == logged["asked by a caller"]["p"]


def test_metrics_are_bentomls_and_count_the_drops(server: Server, row: dict[str, Any]) -> None:
    server.predict(row)
    text = server.ask("GET", "/metrics")[1].decode()
    assert re.search(r'bentoml_service_request_total\{endpoint="/predict",http_response_code="200"', text)
    assert re.search(r"^greenlight_predictions_dropped_total 0", text, re.MULTILINE)


def test_paths_that_nobody_serves_add_no_metrics(server: Server) -> None:
    def series() -> list[str]:
        text = server.ask("GET", "/metrics")[1].decode()
        return [line for line in text.splitlines() if "endpoint=" in line]

    assert server.ask("GET", "/nowhere/at/all")[0] == 404
    before = series()
    for number in range(200):
        assert server.ask("GET", f"/nowhere/{number}")[0] == 404
    assert len(series()) == len(before)
    assert 'endpoint="other"' in "".join(before) and "nowhere" not in "".join(series())


def test_the_log_of_predictions_is_for_the_services_user_alone(server: Server, row: dict[str, Any]) -> None:
    server.predict(row)
    until = time.monotonic() + 20
    while not (logs := list(server.predictions.glob("*.jsonl"))):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert {path.stat().st_mode & 0o777 for path in logs} == {0o600}
    assert server.predictions.stat().st_mode & 0o777 == 0o700


def test_it_lives_and_is_ready(server: Server) -> None:
    assert [server.ask("GET", path)[0] for path in ("/livez", "/readyz")] == [200, 200]


def test_models_that_do_not_belong_together_do_not_load(tmp_path: Path) -> None:
    """The service does not become ready with them."""
    models = project.made() / "models"
    for name in ("model.onnx", "golden.json", "serving.json"):
        (tmp_path / name).write_bytes((models / name).read_bytes())
    golden = read_json(tmp_path / "golden.json")
    golden["p"][3] += 0.01
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    with pytest.raises(Exception, match="answers the golden rows otherwise"):
        Predictor(tmp_path, CONTRACT)


def test_what_waits_is_written_at_the_end(server: Server, row: dict[str, Any]) -> None:
    """Runs last: it ends the server."""
    for number in range(50):
        server.predict(row, x_request_id=f"end {number}")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) is not None
    logged = "".join(path.read_text() for path in server.predictions.glob("*.jsonl"))
    assert all(f'"end {number}"' in logged for number in range(50))

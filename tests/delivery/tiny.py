"""A release as small as one can be: a real Bento whose model doubles x, and whose faults are chosen."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.base.files import sha256_of_tree, write_json
from pipelines.core.contract import Column, Contract, Decision
from pipelines.registry.store import Store
from tests.problems.parcels import PROBLEM
from tests.releases import described

ROOT = Path(__file__).parents[2]
CONTRACT = Contract(
    PROBLEM.name,  # which the verbs ask for, where a test runs one
    "a number",
    0.0,
    Decision("it is high", "act", "in vain", "too late"),
    (
        Column("id", "text", "of the number", known_at=1.0, key=True),
        Column("time", "time", "when it comes", known_at=1.0, time=True),
        Column("x", "number", "a number", known_at=1.0, loggable=True),
        Column("high", "flag", "is it high?", label=True),
    ),
)
SERVICE = """
import asyncio, datetime, json, os, pathlib, random, sys
import bentoml
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from bentoml._internal.server.http import traffic
from middleware import Timeout

traffic.TimeoutMiddleware = Timeout  # as the template's own service
FAULT = json.loads((pathlib.Path(__file__).parent / "models" / "fault.json").read_text())
RELEASE = os.environ.get("GREENLIGHT_RELEASE")
if FAULT.get("exit"):
    sys.exit("the service fails at its import, as the test asked")
if FAULT.get("exit_once") and not (once := pathlib.Path(os.environ["BENTOML_HOME"]).parent / "once").exists():
    once.touch()
    sys.exit("the service fails at its first start, as the test asked")

async def predict(request):
    rows, checked = (await request.json())["rows"], "x-greenlight-check" in request.headers
    if random.random() < FAULT.get("errors", 0) and not checked:
        return JSONResponse({"release": RELEASE}, 500)
    await asyncio.sleep(random.uniform(0.5, 1.5) * FAULT.get("slow", 0.002))
    p = [row["x"] / 2 + (0 if checked else FAULT.get("skew", 0)) for row in rows]
    if not checked and not FAULT.get("silent"):
        log(request, rows, p)
    if FAULT.get("prints"):
        print("asked", flush=True)
    answer = {"release": RELEASE, "predictions": [{"p": value, "act": False} for value in p]}
    return JSONResponse(answer, headers={"x-greenlight-release": RELEASE})

def log(request, rows, p):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    about = {"time": now, "request": request.headers.get("x-request-id", ""), "release": RELEASE}
    about |= {"shadow": True} if "x-greenlight-shadow" in request.headers else {}
    lines = [about | {"row": n, "features": row, "key": None, "p": p[n]} for n, row in enumerate(rows)]
    folder = pathlib.Path(os.environ["GREENLIGHT_PREDICTIONS"])
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{now[:10]}.{os.environ['GREENLIGHT_SLOT']}.{os.getpid()}.jsonl", "a") as file:
        file.write("".join(json.dumps(line) + chr(10) for line in lines))

async def release(request):
    return JSONResponse({"release": RELEASE, "slot": os.environ.get("GREENLIGHT_SLOT")})

ROUTES = [Route("/predict", predict, methods=["POST"]), Route("/release", release)]

@bentoml.asgi_app(Starlette(routes=ROUTES))
@bentoml.service(
    name="tiny", workers=1, logging={"access": {"enabled": False}}, tracing={"excluded_urls": "/"}
)
class Tiny:
    pass
"""


def build(folder: Path) -> Path:
    """The Bento that all of a session's releases are copied from."""
    source = folder / "source"
    (source / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "requirements" / "serve.txt", source / "requirements" / "serve.txt")
    (source / "service.py").write_text(SERVICE)
    shutil.copy(ROOT / "pipelines" / "serving" / "middleware.py", source)
    write_json(source / "models" / "fault.json", {})
    write_json(source / "bentofile.yaml", {"service": "service:Tiny", "include": ["*.py", "*/*"]})
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", "."]
    environment = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run(command, cwd=source, check=True, capture_output=True, env={**os.environ, **environment})
    return built(folder)


def built(folder: Path) -> Path:
    """The Bento that `build` made in this folder."""
    (found,) = (folder / "bentoml" / "bentos" / "tiny").glob("*/bento.yaml")
    return found.parent


def maker(bento: Path, store: Store) -> Callable[..., str]:
    """make(name, p=..., **fault) puts a release into the store and returns its id."""

    def make(name: str, p: float = 0.25, **fault: Any) -> str:
        copy = store.folder.with_name(f"{store.folder.name}-{name}")  # the Bento is of all workers
        shutil.copytree(bento, copy, dirs_exist_ok=True)
        models = copy / "src" / "models"
        (models / "name").write_text(name)
        write_json(models / "fault.json", fault)
        write_json(models / "golden.json", {"rows": [{"x": 0.5}, {"x": 1.0}], "p": [p, 0.5]})
        (models / "model.onnx").write_bytes(onnx_model())
        number = sha256_of_tree(copy / "src")
        with store.put(number) as folder:
            shutil.copytree(copy, folder / "bento")
            (folder / "evidence").mkdir()
            described(folder, number, created=name)
        return number

    return make


def onnx_model() -> bytes:
    """The model of all releases: p = x / 2."""
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    both = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("Mul", ["x", "half"], ["yes"]),
        helper.make_node("Sub", ["one", "yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(nodes, "tiny", [x], [both], [half, one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


CALLS = itertools.repeat([{"x": 0.5}])  # of Load
BODIES = [json.dumps({"rows": next(CALLS)}).encode()]

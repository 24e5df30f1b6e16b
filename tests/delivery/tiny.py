"""A release as small as one can be: a real Bento whose model doubles x, and whose faults are chosen."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.delivery.store import Store
from pipelines.files import sha256_of_tree, write_json

ROOT = Path(__file__).parents[2]
SERVICE = """
import asyncio, json, os, pathlib, sys, time
import bentoml
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

FAULT = json.loads((pathlib.Path(__file__).parent / "models" / "fault.json").read_text())
RELEASE = os.environ.get("GREENLIGHT_RELEASE")
if FAULT.get("exit"):
    sys.exit("the service fails at its import, as the test asked")

async def predict(request):
    rows = (await request.json())["rows"]
    if FAULT.get("errors") and "x-greenlight-check" not in request.headers:
        return JSONResponse({"release": RELEASE}, 500)
    await asyncio.sleep(FAULT.get("slow", 0.002))
    answer = {"release": RELEASE, "predictions": [{"p": row["x"] / 2, "act": False} for row in rows]}
    return JSONResponse(answer, headers={"x-greenlight-release": RELEASE})

async def release(request):
    return JSONResponse({"release": RELEASE, "slot": os.environ.get("GREENLIGHT_SLOT")})

ROUTES = [Route("/predict", predict, methods=["POST"]), Route("/release", release)]

@bentoml.asgi_app(Starlette(routes=ROUTES))
@bentoml.service(name="tiny", workers=1, logging={"access": {"enabled": False}})
class Tiny:
    pass
"""


def build(folder: Path) -> Path:
    """The Bento that all of a session's releases are copied from."""
    source = folder / "source"
    (source / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "requirements" / "serve.txt", source / "requirements" / "serve.txt")
    (source / "service.py").write_text(SERVICE)
    write_json(source / "models" / "fault.json", {})
    write_json(source / "bentofile.yaml", {"service": "service:Tiny", "include": ["*.py", "*/*"]})
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", "."]
    environment = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run(command, cwd=source, check=True, capture_output=True, env={**os.environ, **environment})
    (built,) = (folder / "bentoml" / "bentos" / "tiny").glob("*/bento.yaml")
    return built.parent


def maker(bento: Path, store: Store) -> Callable[..., str]:
    """make(name, p=..., **fault) puts a release into the store and returns its id."""

    def make(name: str, p: float = 0.25, **fault: Any) -> str:
        copy = bento.parent / name
        shutil.copytree(bento, copy, dirs_exist_ok=True)
        models = copy / "src" / "models"
        (models / "name").write_text(name)
        write_json(models / "fault.json", fault)
        write_json(models / "golden.json", {"rows": [{"x": 0.5}, {"x": 1.0}], "p": [p, 0.5]})
        number = sha256_of_tree(copy / "src")
        with store.put(number) as folder:
            shutil.copytree(copy, folder / "bento")
            (folder / "evidence").mkdir()
            write_json(folder / "release.json", {"id": number, "commit": "0" * 40, "created": name})
        return number

    return make


BODIES = [json.dumps({"rows": [{"x": 0.5}]}).encode()]

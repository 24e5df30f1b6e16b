"""A request's time is limited, and an answered request leaves nothing behind."""

import asyncio
import gc
from typing import Any

import pytest
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from pipelines.serving.middleware import Timeout


async def answer(request: Request) -> Response:
    await asyncio.sleep(float(request.query_params.get("after", 0)))
    return Response("whole")


async def slowly(request: Request) -> Response:
    async def parts() -> Any:
        for part in ("wh", "ole"):
            yield part
            await asyncio.sleep(0.7)

    return StreamingResponse(parts())


async def breaks(request: Request) -> Response:
    raise TimeoutError("of the application's own")


APP = Starlette(routes=[Route("/", answer), Route("/slowly", slowly), Route("/breaks", breaks)])


def test_an_answer_that_does_not_begin_in_time_is_504() -> None:
    with TestClient(Timeout(APP, timeout=1)) as client:
        late = client.get("/?after=60")
        assert (late.status_code, late.json()) == (504, {"error": "no answer within 1 seconds"})
        assert client.get("/?after=0.01").text == "whole"


def test_an_answer_that_has_begun_is_given_whole() -> None:
    with TestClient(Timeout(APP, timeout=1)) as client:
        assert client.get("/slowly").text == "whole"


def test_the_applications_own_timeout_is_no_late_answer() -> None:
    with TestClient(Timeout(APP, timeout=5)) as client, pytest.raises(TimeoutError, match="own"):
        client.get("/breaks")


def timers_after(app: ASGIApp, requests: int = 500) -> int:
    with TestClient(app) as client:
        for _ in range(requests):
            assert client.get("/").status_code == 200
        return sum(isinstance(one, asyncio.TimerHandle) for one in gc.get_objects())


def test_an_answered_request_leaves_no_timer() -> None:
    assert timers_after(Timeout(APP, timeout=30)) < 250  # asyncio drops cancelled ones by the hundred
    assert timers_after(TimeoutMiddleware(APP, timeout=30)) >= 500  # BentoML's keeps them: else use it again

"""What is around each request in place of BentoML's own: the limit on its time, its metrics by route."""

import asyncio
from typing import Any

from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTES = frozenset(("/", "/predict", "/release", "/docs.json", "/healthz", "/livez", "/readyz", "/metrics"))
OTHER = "other"  # than these
_ASKED = "greenlight.asked"


class ByRoute(RunnerTrafficMetricsMiddleware):
    """In place of BentoML's, which keeps some forty series for each path that anybody ever asked for: 4,000
    unknown ones took 107 MB, and each reading of /metrics 12 s, in which no request was answered."""

    def __init__(self, app: ASGIApp, *arguments: Any, **named: Any) -> None:
        async def as_asked(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope.get(_ASKED, scope), receive, send)

        super().__init__(as_asked, *arguments, **named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope and scope["path"] not in ROUTES:
            scope = {**scope, "path": OTHER, _ASKED: scope}
        await super().__call__(scope, receive, send)


class Timeout:
    """Middleware that answers 504 where the answer has not begun within `timeout` seconds.

    In place of BentoML's, which keeps a timer and some ten objects of each request until `timeout` has
    passed, long after its answer: at 600 requests a second the search for garbage among them held all answers
    up for 0.1 s, every few seconds."""

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self._app, self._timeout = app, timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = asyncio.timeout(self._timeout)

        async def begin(message: Message) -> None:
            limit.reschedule(None)
            await send(message)

        try:
            async with limit:
                await self._app(scope, receive, begin)
        except TimeoutError:
            if not limit.expired():
                raise
            answer = JSONResponse({"error": f"no answer within {self._timeout:g} seconds"}, 504)
            await answer(scope, receive, send)

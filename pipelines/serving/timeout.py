"""The limit on a request's time."""

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Timeout:
    """Middleware that answers 504 where the answer has not begun within `timeout` seconds.

    In place of BentoML's, which keeps a timer and some ten objects of each request until `timeout` has
    passed, long after its answer: at 600 requests a second the search for garbage among them held all answers
    up for 0.1 s, every few seconds.
    """

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

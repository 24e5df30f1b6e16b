"""The BentoML service: POST /predict and GET /release; /livez, /readyz and /metrics are BentoML's own."""

import gc
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.server.http import instruments, traffic
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.artifacts.serving import Golden, Settings
from pipelines.base.errors import UserError
from pipelines.problem import PROBLEM
from pipelines.serving.log import DAYS_SETTING, PredictionLog, days_kept
from pipelines.serving.middleware import ByRoute, Timeout
from pipelines.serving.predictor import Predictor
from pipelines.serving.request import Reader

CONTRACT, TASK = PROBLEM.contract, PROBLEM.task
MODELS = Path(__file__).parents[2] / "models"
SETTINGS = Settings.read(MODELS)
PREDICTION = TASK.schema(CONTRACT.decision, SETTINGS)
READER = Reader(CONTRACT, SETTINGS.batch)
RELEASE = os.environ.get("GREENLIGHT_RELEASE") or "unreleased"
SLOT = os.environ.get("GREENLIGHT_SLOT") or "none"
LARGEST = 65_536 + 8_192 * SETTINGS.batch  # bytes of a body; rows of the longest texts fit
LONGEST_ID = 128  # characters of a request id that are kept
CHECK = "x-greenlight-check"  # on a rollout's own questions, which are not predictions; the edge strips it
SHADOW = "x-greenlight-shadow"  # on copies of production's requests, and a preview's: logged, but as such
SWITCH_SECONDS = 0.0005  # by default an answer waits up to 5 ms for the log's thread

traffic.TimeoutMiddleware = Timeout  # type: ignore[misc, assignment] # BentoML has no setting for it
instruments.RunnerTrafficMetricsMiddleware = ByRoute  # type: ignore[misc] # nor for this


class PredictRequest(bentoml.IODescriptor):
    """The body as it came.

    BentoML's own input models answer bad input with their class's name, log each with a traceback, and
    cannot be strict about JSON: so the body is read by `Reader`, and this class only describes it."""

    body: bytes
    number: str
    check: bool
    shadow: bool

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> bentoml.IODescriptor:
        marks = {"check": CHECK in request.headers, "shadow": SHADOW in request.headers}
        return cls.model_construct(body=await _body(request), number=_number(request), **marks)

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return READER.schema(dict(Golden.read(MODELS).rows[0]))


class PredictAnswer(bentoml.IODescriptor):
    """The answer's description; the answer itself is written as bytes."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        release = {"type": "string", "description": "the release that answered; also x-greenlight-release"}
        return {
            "title": "Answer",
            "type": "object",
            "properties": {"release": release, "predictions": {"type": "array", "items": PREDICTION}},
            "required": ["release", "predictions"],
        }


async def release(request: Request) -> Response:
    """What answers here."""
    model = bentoml.get_current_service().predictor.model_sha256
    content = {"release": RELEASE, "model": model, "api": SETTINGS.api, "slot": SLOT}
    return _response(200, _number(request), content)


@bentoml.service(
    name=CONTRACT.name,
    description=f"The {PREDICTION['properties'][TASK.answer]['description']}. A row is {CONTRACT.event}.",
    workers=1,
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},  # the metrics and the prediction log say it
    metrics={"duration": {"min": 0.0005, "max": 10.0, "factor": 2.0}},
    tracing={"excluded_urls": "/"},  # all: spans that nobody collects took a third of a request's time
)
@bentoml.asgi_app(Starlette(routes=[Route("/release", release, methods=["GET"])]), path="/")
class Service:
    """Answers the rows of a request."""

    def __init__(self) -> None:
        self.predictor = Predictor(MODELS, CONTRACT)
        self.log: PredictionLog | None = None  # a service that runs for a try keeps nothing
        if folder := os.environ.get("GREENLIGHT_PREDICTIONS"):
            from prometheus_client import Counter  # not earlier: BentoML first says where its processes meet

            lost = Counter("greenlight_predictions_dropped_total", "Predictions that the log could not keep")
            kept, at = days_kept(os.environ.get(DAYS_SETTING)), Path(folder)
            self.log = PredictionLog(at, CONTRACT, release=RELEASE, slot=SLOT, dropped=lost.inc, days=kept)
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.freeze()  # what is loaded stays: to look through it for garbage held all answers up for 0.1 s

    @bentoml.api(route="/predict", input_spec=PredictRequest, output_spec=PredictAnswer)
    async def predict(self, body: bytes, number: str, check: bool, shadow: bool) -> Response:
        """An answer for each row. A category that the model has not seen is answered.
        Ranges are not enforced, they bind the data: an unusual value shows in the drift check.
        Types are strict: a text for a number, an unknown field, or a missing one that may not be null is
        answered with 400 and {"error": "rows[3].field: ..."}."""
        try:
            if len(body) > LARGEST:
                raise UserError(f"the body is larger than {LARGEST:,} bytes, the most that is taken")
            rows = READER.read(body)
            answers = self.predictor.answer(rows)
        except UserError as error:
            return _response(400, number, {"error": str(error), "release": RELEASE})
        predictions = TASK.predictions(answers, SETTINGS)
        if self.log is not None and not check:
            self.log.add(number, rows, [said[TASK.answer] for said in predictions], shadow)
        return _response(200, number, {"release": RELEASE, "predictions": predictions})

    @bentoml.on_shutdown
    def close(self) -> None:
        if self.log is not None:
            self.log.close()


async def _body(request: Request) -> bytes:
    """The body, or so much of it that it is too large: no caller fills the memory."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            break
    return bytes(body)


def _number(request: Request) -> str:
    """The request's id: the caller's, or a new one."""
    return request.headers.get("x-request-id", "")[:LONGEST_ID] or uuid.uuid4().hex


def _response(status: int, number: str, content: dict[str, Any]) -> Response:
    headers = {"x-greenlight-release": RELEASE, "x-request-id": number}
    return Response(to_json(content), status, headers, "application/json")

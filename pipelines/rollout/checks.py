"""What a release must answer before it gets traffic, asked of its slot directly."""

import contextlib
import http.client
import itertools
import json
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.artifacts.model import Description
from pipelines.artifacts.release import MODELS
from pipelines.artifacts.serving import Golden, Settings
from pipelines.base import loopback
from pipelines.base.errors import Refused
from pipelines.core.model import Row
from pipelines.core.schema import refusals
from pipelines.core.tasks.task import Task
from pipelines.edge.envoy import CHECK_HEADER

TOLERANCE = 1e-6
ASKED = 30  # times for the median of one row
TRIES = 3  # to answer at all


def golden_rows(url: str, release: str, golden: Golden, task: Task) -> float:
    """How far off the golden rows at `url` are. Refused above TOLERANCE, and where another one answers."""
    answer = _answer(url, golden.rows)
    try:
        answered, found = answer["release"], [task.read(each[task.answer]) for each in answer["predictions"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Refused(f"{url} answered the golden rows with {json.dumps(answer)[:200]}") from None
    if answered != release:
        raise Refused(f"{url} answers for release {answered[:12]}, not for {release[:12]}")
    difference = golden.largest_difference(found, task)
    if not difference <= TOLERANCE:
        said = f"max |{task.delta}| is {difference:.3g}, at most {TOLERANCE:g} is allowed"
        what = f"{url} answers the golden rows of release {release[:12]}"
        raise Refused(f"{what} otherwise than when it was trained: {said}")
    return difference


def answer_time(url: str, golden: Golden, within: float) -> float:
    """The median time of an answer to one row, in seconds. Refused where it is more than `within`."""
    times = []
    for _, row in zip(range(ASKED), itertools.cycle(golden.rows), strict=False):
        begun = time.monotonic()
        _answer(url, [row])
        times.append(time.monotonic() - begun)
    median = statistics.median(times)
    if median > within:
        most = f"at most {within * 1e3:g} ms is allowed (params.yaml: rollout.answer_within)"
        raise Refused(f"{url} takes {median * 1e3:.0f} ms for one row (the median of {ASKED}), {most}")
    return median


def accepts(url: str, new: Path, live: Path | None) -> int:
    """Ask `url` what the live release's golden requests ask; returns how many rows it took.

    `new` and `live` are the releases' folders. Refused where a request that the live release takes is not
    taken: by the schemas of both, or in truth; a release that raised params.yaml: serving.api is not asked.
    """
    if live is None or _api(new) != _api(live):
        return 0
    if reasons := refusals(_schema(live), _schema(new)):
        what = f"release {new.name[:12]} refuses what callers send to {live.name[:12]}: {reasons[0]}"
        raise Refused(f"{what}: raise params.yaml: serving.api if they know")
    rows = Golden.read(live / MODELS).rows
    _answer(url, rows)
    return len(rows)


def answers(url: str, within: float = 5.0) -> str:
    """The release that answers GET /release at `url`. Refused where none does."""
    try:
        request = urllib.request.Request(f"{url}/release", headers={CHECK_HEADER: "watch"})
        with loopback.ask(request, timeout=within) as answer:
            return str(json.loads(answer.read())["release"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{url}/release does not answer ({error})") from None


def serves(url: str, release: str) -> bool:
    """Whether that release answers there; a machine that is busy gets a few tries to answer at all."""
    return next((answer for _ in range(TRIES) if (answer := probe(url)) is not None), None) == release


def probe(url: str) -> str | None:
    """One request more for the edge to count; the release that answers it, if one does."""
    try:
        return answers(url, within=2.0)
    except Refused:
        return None


def post(url: str, rows: Sequence[Row], headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and content of the answer to rows; 0, and why, where there is none."""
    content = json.dumps({"rows": list(rows)}).encode()
    asked = urllib.request.Request(f"{url}/predict", content, {"content-type": "application/json", **headers})
    try:
        with loopback.ask(asked, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with contextlib.suppress(OSError, http.client.HTTPException):  # it may die within its answer
            return error.code, error.read(300)
        return error.code, b""
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error).encode()


def _answer(url: str, rows: Sequence[Row]) -> Any:
    status, content = post(url, rows, {CHECK_HEADER: "golden"})
    said = content.decode(errors="replace")[:300]
    if status not in (0, 200):
        raise Refused(f"{url}/predict answered golden rows with status {status}: {said}")
    try:
        return json.loads(content if status else b"")
    except ValueError as error:
        raise Refused(f"{url}/predict did not answer golden rows ({error if status else said})") from None


def _api(folder: Path) -> int | None:
    """Not by release.json, which its id does not cover: whoever edits it would have callers not asked for."""
    settings = Settings.found(folder / MODELS)
    return settings.api if settings else None


def _schema(folder: Path) -> dict[str, Any]:
    told = Description.found(folder / "evidence")
    return told.request if told else {}

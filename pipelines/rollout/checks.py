"""What a release must answer before it gets traffic, asked of its slot directly."""

import http.client
import itertools
import json
import statistics
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pipelines.artifacts.golden import Golden
from pipelines.artifacts.model import Description
from pipelines.artifacts.release import MODELS
from pipelines.artifacts.serving import Settings
from pipelines.base import loopback
from pipelines.base.errors import Refused
from pipelines.core.schema import refusals
from pipelines.edge.envoy import CHECK_HEADER

TOLERANCE = 1e-6
ASKED = 30  # times for the median of one row


def golden_rows(url: str, release: str, golden: Golden, within: float = 30.0) -> float:
    """Ask `url` for the golden rows; returns max |Δp|, at most 1e-6.

    Refused where the answer is not an answer, comes from another release, or differs by more.
    """
    answer = _post(f"{url}/predict", golden.rows, within)
    try:
        answered, p = answer["release"], [float(prediction["p"]) for prediction in answer["predictions"]]
    except (KeyError, TypeError, ValueError):
        raise Refused(f"{url} answered the golden rows with {json.dumps(answer)[:200]}") from None
    if answered != release:
        raise Refused(f"{url} answers for release {answered[:12]}, not for {release[:12]}")
    difference = golden.largest_difference(p)
    if not difference <= TOLERANCE:
        raise Refused(
            f"{url} answers the golden rows of release {release[:12]} otherwise than when it was trained: "
            f"max |Δp| is {difference:.3g}, at most {TOLERANCE:g} is allowed"
        )
    return difference


def answer_time(url: str, golden: Golden, within: float) -> float:
    """The median time of an answer to one row, in seconds. Refused where it is more than `within`."""
    times = []
    for _, row in zip(range(ASKED), itertools.cycle(golden.rows), strict=False):
        begun = time.monotonic()
        _post(f"{url}/predict", [row], 30)
        times.append(time.monotonic() - begun)
    median = statistics.median(times)
    if median > within:
        raise Refused(
            f"{url} takes {median * 1e3:.0f} ms for one row (the median of {ASKED}), at most "
            f"{within * 1e3:g} ms is allowed (params.yaml: rollout.answer_within)"
        )
    return median


def accepts(url: str, new: Path, live: Path | None) -> int:
    """Ask `url` what the live release's golden requests ask; returns how many rows it took.

    `new` and `live` are the releases' folders. Refused where a request that the live release takes is not
    taken: by the schemas of both, or in truth; a release that raised params.yaml: serving.api is not asked.
    """
    if live is None or _api(new) != _api(live):
        return 0
    if reasons := refusals(_schema(live), _schema(new)):
        raise Refused(
            f"release {new.name[:12]} refuses what callers send to {live.name[:12]}: {reasons[0]}: "
            "raise params.yaml: serving.api if they know"
        )
    rows = Golden.read(live / MODELS).rows
    _post(f"{url}/predict", rows, 30)
    return len(rows)


def answers(url: str, within: float = 5.0) -> str:
    """The release that answers GET /release at `url`. Refused where none does."""
    try:
        request = urllib.request.Request(f"{url}/release", headers={CHECK_HEADER: "watch"})
        with loopback.ask(request, timeout=within) as answer:
            return str(json.loads(answer.read())["release"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{url}/release does not answer ({error})") from None


def serves(url: str, release: str, tries: int = 3) -> bool:
    """Whether that release answers there; a machine that is busy gets a few tries to answer at all."""
    for _ in range(tries):
        if (answer := probe(url)) is not None:
            return answer == release
    return False


def probe(url: str) -> str | None:
    """One request more for the edge to count; the release that answers it, if one does."""
    try:
        return answers(url, within=2.0)
    except Refused:
        return None


def _post(url: str, rows: Any, within: float) -> Any:
    headers = {"content-type": "application/json", CHECK_HEADER: "golden"}
    request = urllib.request.Request(url, json.dumps({"rows": list(rows)}).encode(), headers)
    try:
        with loopback.ask(request, timeout=within) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        said = error.read(300).decode(errors="replace")
        raise Refused(f"{url} answered golden rows with status {error.code}: {said}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Refused(f"{url} did not answer golden rows ({error})") from None


def _api(folder: Path) -> int | None:
    """Not by release.json, which its id does not cover: whoever edits it would have callers not asked for."""
    settings = Settings.found(folder / MODELS)
    return settings.api if settings else None


def _schema(folder: Path) -> dict[str, Any]:
    told = Description.found(folder / "evidence")
    return told.request if told else {}

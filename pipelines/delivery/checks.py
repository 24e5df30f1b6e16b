"""What a release must answer before it gets traffic: its golden rows, asked of its slot directly."""

import json
import urllib.error
import urllib.request
from typing import Any

from pipelines.delivery.edge import CHECK_HEADER
from pipelines.errors import Refused
from pipelines.model import Golden

TOLERANCE = 1e-6


def golden_rows(url: str, release: str, golden: Golden, within: float = 30.0) -> float:
    """Ask `url` for the golden rows; returns max |Δp|, at most 1e-6.

    Refused where the answer is no answer, comes from another release, or differs by more.
    """
    answer = _post(f"{url}/predict", {"rows": list(golden.rows)}, release, within)
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


def answers(url: str, within: float = 5.0) -> str:
    """The release that answers GET /release at `url`. Refused where none does."""
    try:
        request = urllib.request.Request(f"{url}/release", headers={CHECK_HEADER: "watch"})
        with urllib.request.urlopen(request, timeout=within) as answer:
            return str(json.loads(answer.read())["release"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{url}/release does not answer ({error})") from None


def _post(url: str, body: Any, release: str, within: float) -> Any:
    headers = {
        "content-type": "application/json",
        CHECK_HEADER: "golden",
        "x-request-id": f"{CHECK_HEADER}-{release[:12]}",  # the prediction log shows whose it was
    }
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=within) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        said = error.read(300).decode(errors="replace")
        raise Refused(f"{url} answered the golden rows with status {error.code}: {said}") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{url} did not answer the golden rows ({error})") from None

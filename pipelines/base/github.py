"""The one client of GitHub's API, over githubkit.

A call that may be made twice is repeated for about a minute where GitHub, or what stands before it, does not
answer as it should: a 5xx, a rate limit, a page of HTML, an answer that was cut. Then it is one sentence.
"""

import itertools
import json
import os
import re
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipelines.base import loopback
from pipelines.base.console import step
from pipelines.base.errors import UserError, one_line

if TYPE_CHECKING:
    import githubkit
    import httpx

API = "https://api.github.com"
SITE = "github.com"  # the host of its pages
ACTIONS = 15368  # the id there of the app GitHub Actions
BOT = "github-actions[bot]"  # whose word a workflow's GITHUB_TOKEN is
MOST = 3000  # entries of a list; GitHub itself lists no more files of a pull request
SENTENCE_LIMIT = 140  # characters of a commit status
PATIENCE_SECONDS = 75.0  # in which a call is repeated: GitHub asks callers in a hurry to wait for 60
CALL_SECONDS, TRANSFER_SECONDS = 30.0, 1800.0  # without an answer; without the whole of a file
HEADERS = {"X-GitHub-Api-Version": "2022-11-28"}
NAME = r"(?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?"
WEB = re.compile(rf"https?://(?:[^@/]+@)?(?P<host>[\w.-]+(?::\d+)?)/{NAME}")
SSH = re.compile(
    rf"(?:(?:git\+)?ssh://(?:[^@/]+@)?(?P<host>[\w.-]+)(?::\d+)?/|[\w.-]+@(?P<short>[\w.-]+):){NAME}"
)


class Declined(UserError):
    """An answer of GitHub's that is no: its status, and what it says."""

    def __init__(self, sentence: str, status: int, says: str = "") -> None:
        super().__init__(sentence)
        self.status, self.says = status, says


class NotFound(Declined):
    """GitHub's 404: there is none, or this token may not see it."""


class TooMany(UserError):
    """A list has more entries than were read: what is not among them may still exist."""


class _Broken(Exception):
    """An answer with a good status that is not JSON."""


@dataclass(frozen=True)
class GitHub:
    """The API of one repository. `api` is its root; paths are below /repos/OWNER/NAME."""

    api: str
    repository: str
    token: str = field(repr=False)

    @classmethod
    def from_environment(cls) -> "GitHub":
        """From the variables that every workflow has, and GITHUB_TOKEN, which its step must be given."""
        repository = os.environ.get("GITHUB_REPOSITORY")
        if not repository:
            raise UserError("GITHUB_REPOSITORY is not set: this verb runs in a workflow")
        if not token():
            raise UserError("GITHUB_TOKEN is not set: this verb runs in a workflow")
        return cls.of(repository)

    @classmethod
    def of(cls, repository: str) -> "GitHub":
        """Any repository, at GITHUB_API_URL (GitHub Enterprise has its own), with this machine's token."""
        if not (found := token()):
            raise UserError("no token for GitHub: set GITHUB_TOKEN, or GH_TOKEN")
        return cls((os.environ.get("GITHUB_API_URL") or API).rstrip("/"), repository, found)

    def call(self, method: str, path: str, body: Any = None, missing: Any = None, again: bool = False) -> Any:
        """One call; `missing`, where given, is the answer for 404. UserError for every other refusal.
        `again`: a POST may be repeated, because twice is as good as once."""
        try:
            return _content(self._ask(method, self._address(path), body, again))
        except NotFound:
            if missing is None:
                raise
            return missing

    def list(self, path: str, field: str | None = None, most: int = MOST) -> list[dict[str, Any]]:
        """All pages of a list; `field` is its name where the answer is an object. TooMany where there are
        more than `most`, or more than GitHub gives out: no list is cut in silence."""
        found: list[dict[str, Any]] = []
        where, seen = f"{self._address(path)}{'&' if '?' in path else '?'}per_page=100", set[str]()
        while where not in seen:
            seen.add(where)
            content = _content(answer := self._ask("GET", where))
            found += content[field] if field else content
            if len(found) > most or ("next" in answer.links and len(found) == most):
                raise TooMany(f"GitHub lists more than {most} entries at {path}, and no more are looked at")
            where = answer.links.get("next", {}).get("url", where)
            if urlsplit(where)[:2] != urlsplit(self.api)[:2]:
                raise UserError(f"GitHub's next page is elsewhere, at {where}, not at {self.api}")
        if field and len(found) < (known := content.get("total_count", 0)):
            raise TooMany(f"GitHub gives out {len(found)} of the {known} entries at {path}")
        return found

    def outside(self, path: str) -> Any:
        """What is not the repository's: `path` is below the API's root, such as /user. Errors as `call`."""
        return _content(self._ask("GET", f"{self.api}{path}"))

    def status(self, sha: str, context: str, state: str, sentence: str, page: str | None) -> None:
        """Set a commit status; a sentence that is too long for it is cut."""
        cut = sentence if len(sentence) <= SENTENCE_LIMIT else sentence[: SENTENCE_LIMIT - 1] + "…"
        body = {"state": state, "context": context, "description": cut, "target_url": page}
        self.call("POST", f"/statuses/{sha}", body, again=True)
        print(f"{context} on {sha[:12]}: {state}: {cut}")

    def upload(self, address: str, file: Path) -> dict[str, Any]:
        """Send a file to a release's `upload_url`; returns what GitHub says of the asset."""
        url = f"{address.partition('{')[0]}?name={file.name}"
        return dict(_content(self._ask("POST", url, file)))

    def download(self, path: str, to: Path) -> None:
        """The bytes of a release's asset; GitHub sends us to where they are, and the token stays here."""
        self._ask("GET", self._address(path), to=to)

    def _address(self, path: str) -> str:
        return f"{self.api}/repos/{self.repository}{path}"

    def _ask(
        self, method: str, url: str, body: Any = None, again: bool = False, to: Path | None = None
    ) -> "httpx.Response":
        """The answer to a call, which is repeated while that can help and does no harm."""
        import httpx
        from githubkit import exception

        asked = f"{method} {url.removeprefix(self.api)}"
        started, kit = time.monotonic(), _kit(self.api, self.token, to is not None or isinstance(body, Path))
        for tried in itertools.count():
            try:
                return _transfer(kit, method, url, to) if to else _exchange(kit, method, url, body)
            except (exception.RequestError, _Broken) as error:
                if tried and method == "DELETE" and _status(error) == 404:
                    return error.response.raw_response  # type: ignore[union-attr]  # an earlier try did it
                # the same call may follow: GitHub did nothing, or doing it twice is doing it once
                nothing = isinstance(getattr(error, "exc", None), httpx.ConnectError) or _limited(error)
                wait = _wait(error, tried) if again or method != "POST" or nothing else None
                left = PATIENCE_SECONDS - (time.monotonic() - started)
                if wait is None or wait > left:
                    raise _sentence(asked, error, self.api, wait) from None
                step(f"{asked}: {_words(error)}: trying again in {wait:.0f} s")
                time.sleep(wait)
        raise AssertionError("unreachable")


def token() -> str:
    """The token of this machine or step; empty where there is none."""
    return os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or ""


def hosted(url: str | None) -> tuple[str, str] | None:
    """The host of its pages and OWNER/NAME of a remote's address, on GitHub or on a server that may be one;
    None for an address of another form, such as a folder's."""
    if not (found := WEB.fullmatch(url or "") or SSH.fullmatch(url or "")):
        return None
    groups = found.groupdict()
    return (groups["host"] or groups["short"]).removeprefix("ssh."), groups["name"]


def trusted() -> ssl.SSLContext:
    """Whom a client believes: the machine's certificates, a company's among them, and those that come with
    the lock."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@cache
def _kit(api: str, token: str, transfer: bool) -> "githubkit.GitHub[Any]":
    import githubkit  # a third of a second, which only verbs that need it pay
    import httpx

    return githubkit.GitHub(
        token,
        base_url=api,
        timeout=httpx.Timeout(TRANSFER_SECONDS if transfer else CALL_SECONDS, connect=CALL_SECONDS),
        trust_env=urlsplit(api).hostname not in loopback.NAMES,
        ssl_verify=trusted(),
        http_cache=False,
        auto_retry=False,
        event_hooks={"response": [_in_seconds]},
    )


def _in_seconds(answer: "httpx.Response") -> None:
    """Retry-After may be a date, which githubkit does not read."""
    asked = answer.headers.get("retry-after", "0")
    if not asked.isdigit():
        try:
            later = parsedate_to_datetime(asked) - datetime.now(UTC)
        except (ValueError, TypeError):
            del answer.headers["retry-after"]
        else:
            answer.headers["retry-after"] = str(max(0, round(later.total_seconds())))


def _exchange(kit: "githubkit.GitHub[Any]", method: str, url: str, body: Any) -> "httpx.Response":
    if isinstance(body, Path):
        with body.open("rb") as file:
            size = str(body.stat().st_size)
            headers = HEADERS | {"Content-Type": "application/x-tar", "Content-Length": size}
            sent: Any = file  # httpx sends it piece by piece
            answer = kit.request(method, url, content=sent, headers=headers).raw_response
    else:
        answer = kit.request(method, url, json=body, headers=HEADERS).raw_response
    try:
        _content(answer)
    except ValueError:
        raise _Broken(f"an answer that is not JSON ({one_line(answer.text)[:40]})") from None
    return answer


def _transfer(kit: "githubkit.GitHub[Any]", method: str, url: str, to: Path) -> "httpx.Response":
    import httpx
    from githubkit.exception import RequestError

    headers = HEADERS | {"Accept": "application/octet-stream"}
    with kit:
        answer = kit.request(method, url, headers=headers, stream=True).raw_response
        try:
            with to.open("wb") as file:
                for part in answer.iter_bytes():
                    file.write(part)
        except httpx.HTTPError as error:
            raise RequestError(error) from None
        finally:
            answer.close()
    return answer


def _content(answer: "httpx.Response") -> Any:
    return json.loads(answer.content) if answer.content.strip() else None


# --- what went wrong, and whether to try again ------------------------------------------------------------


def _limited(error: Exception) -> bool:
    """A rate limit, the secondary ones too, which GitHub sends with 403 and perhaps without a header."""
    if (status := _status(error)) != 403:
        return status == 429
    headers = error.response.headers  # type: ignore[attr-defined]
    told = "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0"
    return told or "secondary rate limit" in _message(error)


def _wait(error: Exception, tried: int) -> float | None:
    """Seconds until the next try; None where none would help."""
    from githubkit.exception import RateLimitExceeded

    backoff = float(min(2**tried, 16))
    status = _status(error)
    if isinstance(error, RateLimitExceeded):
        return max(error.retry_after.total_seconds(), 1.0)
    if status is None:
        return backoff
    if _limited(error):
        return 60.0  # GitHub asks for a minute where it does not say how long
    if status >= 500:
        asked = error.response.headers.get("retry-after", "")  # type: ignore[attr-defined]
        return max(float(asked), backoff) if asked.isdigit() else backoff
    return None


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _message(error: Exception) -> str:
    """What GitHub says, with the fields of a 422; the start of the page where it is not JSON."""
    text: str = error.response.text  # type: ignore[attr-defined]
    try:
        said = json.loads(text)
        faults = [
            f"{fault['field']} {fault['code']}" if fault.get("code") != "custom" else str(fault["message"])
            for fault in said.get("errors", ())
            if isinstance(fault, dict) and "field" in fault
        ]
        return one_line(" ".join([str(said["message"]), *faults]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return one_line(text)[:60]


def _words(error: Exception) -> str:
    if (status := _status(error)) is not None:
        return f"{status} {_message(error)}".rstrip()
    inner = getattr(error, "exc", error)
    return one_line(str(inner) or type(inner).__name__)


def _sentence(asked: str, error: Exception, api: str, wait: float | None) -> UserError:
    status = _status(error)
    if status == 404:
        why = "404 Not Found: there is none, or the token may not see it"
        return NotFound(f"GitHub refused {asked}: {why}", status)
    if status == 401:
        why = "401: GITHUB_TOKEN or GH_TOKEN is not valid, or expired"
        return Declined(f"GitHub refused {asked}: {why}", status)
    if status is not None:
        later = f": try again in {wait:.0f} s" if wait is not None else ""
        return Declined(f"GitHub refused {asked}: {_words(error)}{later}", status, _message(error))
    if isinstance(error, _Broken):
        return UserError(f"GitHub answered {asked} with {error}: try again")
    return UserError(f"GitHub does not answer {asked} at {api} ({_words(error)}): try again")

"""GitHub's REST API through its own command, `gh`, which brings the login. Every failure is one sentence."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import IO, Any

from pipelines.errors import UserError

CALL, TRANSFER = 60.0, 1800.0  # seconds
MOST = 30  # pages of a list
SETTINGS = {
    "GH_PROMPT_DISABLED": "1",
    "GH_NO_UPDATE_NOTIFIER": "1",
    "DO_NOT_TRACK": "true",
    "NO_COLOR": "1",
}
LOUD = ("GH_DEBUG", "GH_FORCE_TTY", "CLICOLOR_FORCE")  # would mix something else into the answers
HEADERS = ("--header", "X-GitHub-Api-Version: 2022-11-28")


class NotFound(UserError):
    """GitHub's 404: there is none, or this login may not see it."""


def call(method: str, path: str, body: Any = None) -> Any:
    """The answer to one call; `path` is below the API's root. NotFound, or UserError for other refusals."""
    given = ("--input", "-") if body is not None else ()
    text = None if body is None else json.dumps(body).encode()
    out = _run(method, path, *HEADERS, *given, text=text)
    return json.loads(out) if out.strip() else None


def pages(path: str) -> list[dict[str, Any]]:
    """All entries of a list, of at most MOST pages."""
    found: list[dict[str, Any]] = []
    for page in range(1, MOST + 1):
        part = call("GET", f"{path}?per_page=100&page={page}")
        found += part
        if len(part) < 100:
            break
    return found


def upload(address: str, file: Path) -> dict[str, Any]:
    """Send a file to an `upload_url`; returns what GitHub says of the asset."""
    given = ("--header", "Content-Type: application/x-tar", "--input", str(file))
    url = f"{address.partition('{')[0]}?name={file.name}"
    answer = json.loads(_run("POST", url, *HEADERS, *given, within=TRANSFER))
    return dict(answer)


def download(path: str, to: Path) -> None:
    """The bytes of an asset."""
    with to.open("wb") as file:
        _run("GET", path, *HEADERS, "--header", "Accept: application/octet-stream", out=file, within=TRANSFER)


def _run(
    method: str,
    path: str,
    *options: str,
    text: bytes | None = None,
    out: IO[bytes] | None = None,
    within: float = CALL,
) -> bytes:
    if not shutil.which("gh"):
        raise UserError(
            "gh is not on PATH: install GitHub's command (https://cli.github.com), or unset GREENLIGHT_STORE"
        )
    environment = {name: value for name, value in os.environ.items() if name not in LOUD}
    try:
        done = subprocess.run(
            ["gh", "api", "--method", method, path, *options],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=out or subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | SETTINGS,
            timeout=within,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"GitHub did not answer {method} {path} within {within:g} s: try again") from None
    if done.returncode:
        raise _refusal(f"{method} {path}", done.stderr.decode(errors="replace"), done.stdout or b"")
    return done.stdout or b""


def _refusal(asked: str, said: str, answer: bytes) -> UserError:
    words = " ".join([*said.removeprefix("gh: ").split(), *_faults(answer)])[:300]
    status = match[1] if (match := re.search(r"\bHTTP (\d{3})\b", said)) else None
    if status == "404":
        return NotFound(f"GitHub has nothing at {asked}, or this login of gh may not see it")
    if status == "401" or (status is None and re.search(r"gh auth login|GH_TOKEN", said)):
        return UserError("gh is not logged in to GitHub: run `gh auth login`, or set GH_TOKEN")
    if status is None:
        return UserError(f"GitHub cannot be reached for {asked} ({words}): try again")
    return UserError(f"GitHub refused {asked}: {words}")


def _faults(answer: bytes) -> list[str]:
    """The fields of a 422, which gh does not print."""
    try:
        errors = json.loads(answer)["errors"]
        return [f"{error['field']} {error['code']}" for error in errors]
    except (ValueError, KeyError, TypeError):
        return []

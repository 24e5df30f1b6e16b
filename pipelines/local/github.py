"""A stand-in of GitHub's REST API on 127.0.0.1: pull requests, labels, commit statuses, merges, runs.

Only what the workflows and the demo call, with the documented fields and status codes. State is one JSON
file, commits are those of a bare repository. An unknown route answers 404 and is written to `unexpected`.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pipelines.base.github import GitHub
from pipelines.local import environments, marks, pushes, queue, runners, settings  # noqa: F401 (their routes)
from pipelines.local.forge import ROUTES, ApiError, Forge
from pipelines.local.plans import Plan
from pipelines.local.rights import EVERYTHING, Holder, holder
from pipelines.local.rules import Rules

ADMINISTERS = ("administration:", "secrets:", "variables:")  # what a person needs the role admin for


@contextmanager
def serve(
    folder: Path,
    origin: Path,
    repository: str = "you/greenlight",
    rules: Rules | None = None,
    plan: Plan | None = None,
) -> Iterator[str]:
    """Serve the API while the block runs; its address is what `GITHUB_API_URL` must be.

    `folder`: `Place.state`. `rules`: of the default branch, until a ruleset is made. `plan`: of GitHub, for
    a repository that nobody has set up."""
    forge = Forge(folder, origin, repository, rules, plan)
    pushes.door("guard", origin)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(forge)) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def call(url: str, method: str = "GET", body: Any = None, token: str = EVERYTHING) -> Any:
    """Call the API. UserError with GitHub's message for any answer but 2xx."""
    api, _, rest = url.partition("/repos/")
    owner, name, *path = re.split(r"(?=[/?])", rest, maxsplit=2)
    return GitHub(api, f"{owner}{name}", token).call(method, "".join(path), body)


def handler(forge: Forge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = dict(parse_qsl(url.query))
            token = (self.headers.get("Authorization") or "").partition(" ")[2]
            with forge.lock:
                try:
                    status, body = dispatch(forge, self.command, url.path, query, content, token)
                except ApiError as refused:
                    status, body = refused.status, refused.body
            headers, name = {"Content-Type": "application/json; charset=utf-8"}, ""
            if isinstance(body, dict) and "total_count" in body:  # it counts a list
                name = next((name for name, value in body.items() if isinstance(value, list)), "")
            if isinstance(body, list) or name:
                entries = body[name] if name else body
                size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
                if page * size < len(entries):
                    more = urlencode(query | {"page": str(page + 1)})
                    headers["Link"] = f'<http://{self.headers["Host"]}{url.path}?{more}>; rel="next"'
                entries = entries[(page - 1) * size : page * size]
                body = body | {name: entries} if name else entries
            self.write(status, b"" if body is None else json.dumps(body).encode(), headers)

        def write(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for header, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    return Handler


def administers(forge: Forge, who: Holder) -> bool:
    """Whether somebody's role lets them change settings; a job's token has its rights instead."""
    return who.app is not None or forge.state["roles"].get(who.login) == "admin"


def dispatch(
    forge: Forge, method: str, path: str, query: dict[str, str], content: bytes, token: str
) -> tuple[int, Any]:
    start = f"/repos/{forge.repository}"
    asked = unquote(path)
    inner = asked[len(start) :] if asked.startswith(start) else f"~{asked}"
    for wanted, pattern, needs, function in ROUTES:
        if method == wanted and (match := pattern.fullmatch(inner)):
            if not token:
                raise ApiError(401, "Requires authentication")
            if (who := holder(token, forge.folder, forge.state["keys"])) is None:
                raise ApiError(401, "Bad credentials")
            if who.key and function is not pushes.receive:
                raise ApiError(401, "Bad credentials")  # a deploy key opens git's door alone
            if not who.may(needs):
                raise ApiError(403, "Resource not accessible by integration")
            if any(need.startswith(ADMINISTERS) for need in needs) and not administers(forge, who):
                raise ApiError(403, "Must have admin rights to Repository.")
            try:
                body = json.loads(content or b"{}")
            except json.JSONDecodeError:
                raise ApiError(400, "Problems parsing JSON") from None
            at: dict[str, Any] = query | match.groupdict() | {"by": who.login, "who": who}
            status, answer = function(forge, at, body)
            if method != "GET":
                forge.save()
            return status, answer
    forge.state["unexpected"].append(f"{method} {path}")
    forge.save()
    raise ApiError(404, "Not Found")

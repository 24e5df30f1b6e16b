"""A stand-in of GitHub's REST API for releases, on 127.0.0.1; files are on a server of their own.

Fields and status codes are those of docs.github.com/rest/releases (version 2022-11-28).
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPOSITORY, TOKEN = "somebody/flights", "its-token"
OBJECTS = "objects.githubusercontent.com"  # where the API redirects a download to
Fault = Callable[[], tuple[int, Any]]


@dataclass
class Releases:
    """What the repository holds. `calls` are METHOD HOST PATH; `faults` answer instead, once each."""

    records: list[dict[str, Any]] = field(default_factory=list)
    content: dict[int, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # hosts that were shown the token
    digests: bool = True  # GitHub tells them since 2025
    last: int = 0
    api: str = ""  # where it answers
    objects: str = ""
    link: str = ""  # of the last list

    def published(self) -> list[dict[str, Any]]:
        return [record for record in self.records if not record["draft"]]

    def drafts(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record["draft"]]

    def fail(self, call: str, status: int, body: Any = None) -> None:
        """Answer the next call that begins so with this."""
        self.faults.append((call, lambda: (status, body if body is not None else {"message": "a fault"})))

    def next_id(self) -> int:
        self.last += 1
        return self.last

    # --- routes -------------------------------------------------------------------------------------------

    def answer(self, method: str, host: str, path: str, query: dict[str, str], content: bytes) -> Any:
        call = f"{method} {host}{path}"
        self.calls.append(call)
        for fault in self.faults:
            if call.startswith(fault[0]):
                self.faults.remove(fault)
                return fault[1]()
        if host == OBJECTS:
            return 200, self.content[int(path.rsplit("/", 1)[1])]
        start = f"/repos/{REPOSITORY}"
        if not path.startswith(f"{start}/"):
            return missing()
        inner = path.removeprefix(start)
        if host == "uploads.github.com":
            match = re.fullmatch(r"/releases/(\d+)/assets", inner)
            return self.upload(int(match[1]), query["name"], content) if match else missing()
        if inner == "/releases":
            return self.create(json.loads(content)) if method == "POST" else self.list(query)
        if match := re.fullmatch(r"/releases/tags/(.+)", inner):
            return next(((200, r) for r in self.published() if r["tag_name"] == match[1]), missing())
        if match := re.fullmatch(r"/releases/assets/(\d+)", inner):
            known = int(match[1]) in self.content
            return (302, f"{self.objects}/{match[1]}") if known else missing()
        if match := re.fullmatch(r"/git/refs/(tags/.+)", inner):
            gone = self.tags.pop(match[1].removeprefix("tags/"), None)
            return (204, None) if gone else (422, {"message": "Reference does not exist"})
        if match := re.fullmatch(r"/releases/(\d+)", inner):
            return self.one(method, int(match[1]), content)
        return missing()

    def list(self, query: dict[str, str]) -> Any:
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        assert size <= 100
        more = f"{self.api}/repos/{REPOSITORY}/releases?per_page={size}&page={page + 1}"
        self.link = f'<{more}>; rel="next"' if page * size < len(self.records) else ""
        return 200, list(reversed(self.records))[(page - 1) * size : page * size]

    def create(self, body: dict[str, Any]) -> Any:
        number = self.next_id()
        record = {
            "id": number,
            "upload_url": f"{self.api}/uploads/repos/{REPOSITORY}/releases/{number}/assets{{?name,label}}",
            "html_url": f"https://github.com/{REPOSITORY}/releases/tag/{body['tag_name']}",
            "tag_name": body["tag_name"],
            "target_commitish": body.get("target_commitish", "main"),
            "name": body.get("name"),
            "body": body.get("body"),
            "draft": body.get("draft", False),
            "prerelease": body.get("prerelease", False),
            "created_at": "2026-01-01T00:00:00Z",
            "assets": [],
        }
        if not record["draft"] and (refused := self.publish(record)):
            return refused
        self.records.append(record)
        return 201, record

    def publish(self, record: dict[str, Any]) -> Any:
        if any(old["tag_name"] == record["tag_name"] for old in self.published()):
            return invalid("tag_name", "already_exists")
        if record["tag_name"] not in self.tags and record["target_commitish"] not in self.commits:
            return invalid("target_commitish", "invalid")
        self.tags.setdefault(record["tag_name"], record["target_commitish"])
        return None

    def one(self, method: str, number: int, content: bytes) -> Any:
        record = next((record for record in self.records if record["id"] == number), None)
        if record is None:
            return missing()
        if method == "DELETE":
            self.records.remove(record)
            return 204, None
        if method == "PATCH":
            body = json.loads(content)
            if record["draft"] and body.get("draft") is False and (refused := self.publish(record)):
                return refused
            record |= {name: value for name, value in body.items() if name in ("body", "name", "draft")}
        return 200, record

    def upload(self, number: int, name: str, content: bytes) -> Any:
        record = next((record for record in self.records if record["id"] == number), None)
        if record is None:
            return missing()
        if any(asset["name"] == name for asset in record["assets"]):
            return invalid("name", "already_exists")
        asset = {
            "id": self.next_id(),
            "name": name,
            "state": "uploaded",
            "content_type": "application/x-tar",
            "size": len(content),
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}" if self.digests else None,
        }
        record["assets"].append(asset)
        self.content[asset["id"]] = content
        return 201, asset


def missing() -> tuple[int, Any]:
    return 404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}


def invalid(name: str, code: str) -> tuple[int, Any]:
    fault = {"resource": "Release", "code": code, "field": name}
    return 422, {"message": "Validation Failed", "errors": [fault]}


@contextmanager
def serve() -> Iterator[Releases]:
    """Answer while the block runs."""
    releases, lock = Releases(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            url, host = urlsplit(self.path), self.host()
            path = url.path.removeprefix("/uploads") if host.startswith("uploads") else url.path
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            token = self.headers.get("Authorization", "").removeprefix("token ").removeprefix("Bearer ")
            with lock:
                if token:
                    releases.told.append(host)
                if host != OBJECTS and token != TOKEN:
                    status, body = 401, {"message": "Bad credentials"}
                else:
                    status, body = releases.answer(self.command, host, path, query, content)
            self.send(status, body)

        def host(self) -> str:
            if self.headers["Host"] == urlsplit(releases.objects).netloc:
                return OBJECTS
            return f"{'uploads' if self.path.startswith('/uploads/') else 'api'}.github.com"

        def send(self, status: int, body: Any) -> None:
            """Bytes are a file, a text with 302 is where it is; status 0 hangs up half-way."""
            sent = body if isinstance(body, bytes) else json.dumps(body).encode() if status != 204 else b""
            self.send_response(status or 200)
            kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
            self.send_header("Content-Type", kind)
            if status == 302:
                self.send_header("Location", body)
            if isinstance(body, list) and releases.link:
                self.send_header("Link", releases.link)
            self.send_header("Content-Length", str(len(sent) * (1 if status else 2)))
            self.end_headers()
            self.wfile.write(sent)
            self.close_connection = status == 0

        def log_message(self, format: str, *args: Any) -> None:
            pass

        do_GET = do_POST = do_PATCH = do_DELETE = do

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    releases.api, releases.objects = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    for server in servers:
        server.daemon_threads = True
        kwargs = {"poll_interval": 0.05}
        threading.Thread(target=server.serve_forever, kwargs=kwargs, daemon=True).start()
    try:
        yield releases
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()

"""Debian's docker-registry on 127.0.0.1, and what goes wrong with one: a stand-in of its API."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from pipelines.base import programs
from pipelines.base.waiting import until
from pipelines.rollout.rehearse import free_ports

PROGRAM = "docker-registry"
CONFIG = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextmanager
def real(folder: Path) -> Iterator[str]:
    """A registry whose blobs are in `folder`; gives HOST/PATH of a repository there."""
    if not shutil.which(PROGRAM):
        pytest.skip(f"{PROGRAM} is not here: apt-get install {PROGRAM}")
    port = free_ports()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.yml"
    file.write_text(CONFIG.format(folder=folder, port=port))
    server = programs.start(
        [PROGRAM, "serve", str(file)], env=programs.environment(OTEL_TRACES_EXPORTER="none")
    )
    try:
        assert until(lambda: _answers(port), 20)
        yield f"127.0.0.1:{port}/team/model"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass
class Faulty:
    """A registry that answers what `answers` says: (method, path) to status, headers, content."""

    answers: Callable[[str, str, dict[str, str]], tuple[int, dict[str, str], bytes]]
    calls: list[str] = field(default_factory=list)
    name: str = ""


@contextmanager
def faulty(faults: Faulty) -> Iterator[Faulty]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            faults.calls.append(f"{self.command} {self.path}")
            status, headers, content = faults.answers(self.command, self.path, dict(self.headers))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    faults.name = f"127.0.0.1:{server.server_port}/team/model"
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()

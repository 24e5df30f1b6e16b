"""Chromium, to look at pages as people do: by its DevTools over a pipe, with scripts switched off."""

import contextlib
import fcntl
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *(
        "--headless=new",
        "--remote-debugging-pipe",
        "--no-first-run",
        "--disable-gpu",
        "--disable-dev-shm-usage",
    ),
    "--no-sandbox",  # which a container may not have; our own files are looked at
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
PATIENCE_SECONDS = 60.0
HASH = re.compile(r"[0-9a-f]{7,}")
SENT = "Network.requestWillBeSent"


class Page:
    """What a browser makes of a page, so many pixels wide."""

    def __init__(
        self, width: int, requests: list[str], overflow: int, picture: bytes, tree: list[Any]
    ) -> None:
        self.width, self.requests, self.overflow, self.picture = width, requests, overflow, picture
        self.headings = [
            int(level)
            for node in tree
            if node.get("role", {}).get("value") == "heading"
            for level in (p["value"]["value"] for p in node["properties"] if p["name"] == "level")
        ]
        self.broken = _broken(tree)
        self.unnamed = [
            node["role"]["value"]
            for node in tree
            if node.get("role", {}).get("value") in ("image", "img", "link", "heading")
            and not node.get("ignored")
            and not node.get("name", {}).get("value", "").strip()
        ]


def _broken(tree: list[Any]) -> list[str]:
    """The words of which a line has a part and the next one the rest; hashes aside, which are of no words."""
    nodes, found = {node["nodeId"]: node for node in tree}, []
    for node in tree:
        parts = [nodes[child] for child in node.get("childIds", ()) if child in nodes]
        lines = [one["name"]["value"] for one in parts if one["role"]["value"] == "InlineTextBox"]
        for line, after in itertools.pairwise(lines):
            head, rest = re.search(r"\w*$", line), re.match(r"\w*", after)
            if head and rest and head[0] and rest[0] and not HASH.fullmatch(word := head[0] + rest[0]):
                found.append(word)
    return found


class Browser:
    """One Chromium; `see` opens a page in it."""

    def __init__(self, ask: int, answer: int) -> None:
        self._ask, self._answer, self._last, self._rest = ask, answer, 0, b""
        self._events: list[dict[str, Any]] = []

    def see(self, file: Path, width: int, dark: bool = False) -> Page:
        """The file as it is on a screen of this width, with its whole height."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for name in ("Page", "Network", "Accessibility"):
            self._call(f"{name}.enable", session)
        self._call("Emulation.setScriptExecutionDisabled", session, value=True)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self._call("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", session, features=[scheme])
        self._events.clear()
        self._call("Page.navigate", session, url=file.absolute().as_uri())
        self._wait(lambda event: event.get("method") == "Page.loadEventFired")
        wide = self._call("Page.getLayoutMetrics", session)["cssContentSize"]["width"]
        shot = self._call("Page.captureScreenshot", session, captureBeyondViewport=True)
        tree = self._call("Accessibility.getFullAXTree", session)["nodes"]
        sent = [e["params"]["request"]["url"] for e in self._events if e.get("method") == SENT]
        self._call("Target.closeTarget", targetId=target)
        return Page(width, sent, round(wide) - width, b64decode(shot["data"]), tree)

    def _call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._last += 1
        asked: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        os.write(self._ask, json.dumps(asked | ({"sessionId": session} if session else {})).encode() + b"\0")
        answer = self._wait(lambda event: event.get("id") == asked["id"])
        assert "error" not in answer, (method, answer["error"])
        found: dict[str, Any] = answer["result"]
        return found

    def _wait(self, fits: Any) -> dict[str, Any]:
        for event in self._events:
            if fits(event):
                return event
        for event in self._read():
            self._events.append(event)
            if fits(event):
                return event
        raise AssertionError("Chromium has ended")

    def _read(self) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            whole, zero, rest = self._rest.partition(b"\0")
            if zero:
                self._rest = rest
                yield json.loads(whole)
                continue
            ready, _, _ = select.select([self._answer], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            if not (more := os.read(self._answer, 1 << 20)):
                return
            self._rest += more


def found() -> str:
    """Its path. Without one, the test says so and is skipped."""
    if path := next(filter(None, map(shutil.which, NAMES)), None):
        return path
    pytest.skip(f"no browser to look at the page with: none of {', '.join(NAMES)} is on PATH")


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium of its own, gone at the end. DevTools are at its file descriptors 3 and 4."""
    path = found()
    asked, ask = os.pipe()
    answer, answered = os.pipe()

    def place() -> None:
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (asked, answered)]
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        started = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=place,
            close_fds=False,  # Python's own are closed by themselves
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
            start_new_session=True,
        )
        os.close(asked)
        os.close(answered)
        try:
            yield Browser(ask, answer)
        finally:
            os.close(ask)
            os.close(answer)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, 9)
            started.wait()

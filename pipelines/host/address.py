"""The address by which callers reach an environment, where TLS ends before its edge: a line in
ENVIRONMENT/address."""

import http.client
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines.base.errors import UserError
from pipelines.base.files import write_text
from pipelines.base.github import trusted

NAME = "address"
TIMEOUT_SECONDS = 10.0
DAY_SECONDS = 86_400.0
SOON_DAYS = 21.0  # what renews certificates by itself has done so before
SOON_SHARE = 0.25  # of its lifetime: some last for six days only


@dataclass(frozen=True)
class Certificate:
    """From when to when a server's certificate holds, in seconds since the epoch."""

    begins: float
    ends: float

    @property
    def days(self) -> float:
        """How many it has left."""
        return (self.ends - time.time()) / DAY_SECONDS

    @property
    def late(self) -> bool:
        """Whether it should have been renewed by now."""
        return self.days < min(SOON_DAYS, SOON_SHARE * (self.ends - self.begins) / DAY_SECONDS)


def keep(url: str, folder: Path) -> None:
    """Write down that callers reach the environment of `folder` at `url`. UserError where it is not https."""
    write_text(folder / NAME, _https(url, "--address") + "\n")


def known(folder: Path) -> str | None:
    """What was kept; None where nothing was. UserError where somebody has made it another thing."""
    file = folder / NAME
    return _https(file.read_text(encoding="utf-8", errors="replace").strip(), file) if file.exists() else None


def _https(url: str, where: Path | str) -> str:
    try:
        parts = urlsplit(url)
        well = url.isascii() and parts.scheme == "https" and parts.hostname and (parts.port or True)
    except ValueError:
        well = False
    if not well or "@" in parts.netloc or parts.query or parts.fragment or url.split() != [url]:
        raise UserError(f"{where}: {url!r} is not where callers ask, such as https://models.example.org")
    return url.rstrip("/")


def ask(url: str) -> tuple[Certificate, int]:
    """The certificate that is shown there, and the status with which `readyz` is answered.

    OSError or HTTPException where nobody answers, and where the certificate is not to be trusted."""
    parts = urlsplit(url)
    server = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT_SECONDS, context=trusted())
    try:
        server.connect()
        shown: Any = server.sock.getpeercert()  # of the connection on which it is asked
        server.request("GET", f"{parts.path}/readyz")
        begins, ends = (ssl.cert_time_to_seconds(shown[name]) for name in ("notBefore", "notAfter"))
        return Certificate(begins, ends), server.getresponse().status
    finally:
        server.close()

"""Where images are: a repository in a registry, asked by the API of the OCI distribution specification (1.1).

An image is pushed by its digest, so what a tag says later changes nothing. What belongs to an image, its SBOM
and its signatures, is attached as a referrer: a manifest that names the image as its `subject`. A registry
without the referrers API gets the list under the tag `sha256-HEX`, as the specification says."""

import base64
import contextlib
import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from pipelines.base import github, loopback, programs
from pipelines.base.console import step
from pipelines.base.errors import UserError, one_line
from pipelines.registry.oci import EMPTY, INDEX, MANIFEST, Layout, canonical, described, digest_of

if TYPE_CHECKING:
    import httpx

VARIABLE, USER, PASSWORD = (f"GREENLIGHT_REGISTRY{end}" for end in ("", "_USER", "_PASSWORD"))
NONE, GHCR = "none", "ghcr.io"
NAME = re.compile(r"([\w.-]+(?::\d+)?)/([a-z0-9]+(?:[._/-]+[a-z0-9]+)*)")  # HOST[:PORT]/PATH
REFERENCE = re.compile(rf"({NAME.pattern})@(sha256:[0-9a-f]{{64}})")
TRANSFER_SECONDS, HELPER_SECONDS = 1800.0, 30.0
LARGEST = 32 << 20  # bytes of what is attached
EMPTY_CONTENT = b"{}"


class Changed(UserError):
    """A registry gives out other bytes than their digest says."""


@dataclass(frozen=True)
class Patience:
    """For how many seconds a registry is asked again: one that is silent or fails, and one that cannot be
    reached at all, which is told at once; and how long one answer may take."""

    failing: float
    refused: float
    answer: float


RELEASING = Patience(failing=75.0, refused=15.0, answer=30.0)  # each call: it ends without the image
CHECKING = Patience(failing=20.0, refused=4.0, answer=10.0)  # all calls: it goes on by the signature alone


def configured() -> "Images | None":
    """The repository for images: GREENLIGHT_REGISTRY's, else GHCR's of a repository on GitHub; None without.

    UserError where the variable is not HOST/PATH."""
    if named := os.environ.get(VARIABLE, "").strip():
        return None if named == NONE else Images.of(named)
    on_github = os.environ.get("GITHUB_ACTIONS") == "true" and os.environ.get("GITHUB_API_URL") == github.API
    if on_github and github.token() and (repository := os.environ.get("GITHUB_REPOSITORY")):
        return Images.of(f"{GHCR}/{repository.lower()}")
    return None


@dataclass(frozen=True)
class Images:
    """One repository of a registry."""

    host: str
    path: str
    patience: Patience = field(default_factory=lambda: RELEASING, compare=False)
    since: float | None = field(default=None, compare=False)  # when all calls began; None: each by itself
    _tokens: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, name: str) -> "Images":
        """UserError where it is not HOST/PATH in small letters."""
        if not (found := NAME.fullmatch(name)) or not re.search(r"[.:]|^localhost$", found[1]):
            way_out = f"{VARIABLE} is HOST/PATH in small letters, such as ghcr.io/owner/name, or `{NONE}`"
            raise UserError(f"{name!r} is not a repository of images: {way_out}")
        return cls(found[1], found[2])

    def in_haste(self) -> "Images":
        """The same repository, asked by somebody who waits no longer than CHECKING says, in all."""
        return replace(self, patience=CHECKING, since=time.monotonic())

    @property
    def name(self) -> str:
        """HOST/PATH."""
        return f"{self.host}/{self.path}"

    def push(self, layout: Layout, tag: str) -> str:
        """Push an image by its digest, then let `tag` name it too; returns HOST/PATH@DIGEST. What is there is
        not sent again. UserError where it refuses, or then has another manifest."""
        manifest = layout.manifest
        for blob in (*manifest["layers"], manifest["config"]):
            self._upload(blob["digest"], layout.blob(blob["digest"]))
        content = layout.blob(layout.digest).read_bytes()
        for reference in (layout.digest, tag):
            self._put(reference, content, MANIFEST)
        if self.manifest(layout.digest) != content:
            raise UserError(f"{self.name} does not have the image that was pushed: run the same again")
        return f"{self.name}@{layout.digest}"

    def manifest(self, digest: str) -> bytes | None:
        """The manifest of this digest; None where the registry has none. UserError where it gives another."""
        return self._content("manifests", digest, Accept=f"{MANIFEST}, {INDEX}")

    def attach(self, to: str, media: str, content: bytes) -> None:
        """Let `content` be found beside the image of the digest `to`. UserError where that is not there."""
        if (image := self.manifest(to)) is None:
            raise UserError(f"{self.name} has no image {to}: push it first")
        self._upload(digest_of(EMPTY_CONTENT), EMPTY_CONTENT)
        self._upload(digest_of(content), content)
        manifest = canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": media,
                "config": described(EMPTY, EMPTY_CONTENT),
                "layers": [described(media, content)],
                "subject": described(MANIFEST, image),
            }
        )
        answer = self._put(digest_of(manifest), manifest, MANIFEST)
        if "oci-subject" not in answer.headers:  # a registry without the API: the list is ours to keep
            entry = described(MANIFEST, manifest, artifactType=media)
            listed = self._listed(to)
            if entry not in listed:
                index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*listed, entry]}
                self._put(_tag(to), canonical(index), INDEX)

    def attached(self, to: str, media: str) -> list[bytes]:
        """All of one kind that is attached to an image. Each is what its digest says; what is not one, which
        whoever may push can attach too, is passed over."""
        found = []
        for entry in self._referrers(to):
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                if entry.get("artifactType") == media and (manifest := self.manifest(_digest(entry))):
                    for layer in json.loads(manifest)["layers"]:
                        if layer["size"] <= LARGEST and (content := self._content("blobs", _digest(layer))):
                            found.append(content)
        return found

    def _referrers(self, to: str) -> list[dict[str, Any]]:
        answer = self._ask("GET", f"referrers/{to}", missing=True)
        return self._listed(to) if answer.status_code == 404 else _manifests(answer)

    def _listed(self, to: str) -> list[dict[str, Any]]:
        answer = self._ask("GET", f"manifests/{_tag(to)}", {"Accept": INDEX}, missing=True)
        return [] if answer.status_code == 404 else _manifests(answer)

    def _content(self, kind: str, digest: str, **headers: str) -> bytes | None:
        answer = self._ask("GET", f"{kind}/{digest}", headers, missing=True)
        if answer.status_code == 404:
            return None
        if (found := digest_of(answer.content)) != digest:
            raise Changed(f"{self.name} gives {found} for {digest}: do not use it, and push the image again")
        return answer.content

    def _upload(self, digest: str, content: Path | bytes) -> None:
        if self._ask("HEAD", f"blobs/{digest}", missing=True).status_code == 200:
            return
        begun = self._ask("POST", "blobs/uploads/")
        where = urljoin(str(begun.url), begun.headers["location"])
        address = f"{where}{'&' if urlsplit(where).query else '?'}digest={digest}"
        self._ask("PUT", address, {"Content-Type": "application/octet-stream"}, content)

    def _put(self, reference: str, content: bytes, media: str) -> "httpx.Response":
        return self._ask("PUT", f"manifests/{reference}", {"Content-Type": media}, content)

    def _ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        content: Path | bytes = b"",
        missing: bool = False,
    ) -> "httpx.Response":
        """One call, repeated while that can help; `missing`: 404 is an answer. UserError for a refusal."""
        import httpx

        scheme = "http" if self.host.partition(":")[0] in loopback.NAMES else "https"
        root = f"{scheme}://{self.host}"
        url, asked = urljoin(f"{root}/v2/{self.path}/", path), f"{method} {path.partition('?')[0]}"
        since, patience = self.since or time.monotonic(), self.patience
        with _client(scheme, patience.answer) as client:
            for tried in itertools.count():
                own = dict(headers or {}) | self._authorised(url, root)
                wait: float | None = float(min(2**tried, 16))
                within = patience.failing
                try:
                    with _body(content) as body:
                        answer = client.request(method, url, headers=own, content=body)
                    if answer.status_code == 401 and not self._tokens and self._log_in(client, answer):
                        continue
                except httpx.HTTPError as error:
                    why = one_line(error) or type(error).__name__
                    if isinstance(error, httpx.ConnectError):
                        within = patience.refused
                else:
                    status = answer.status_code
                    if status < 400 or (status == 404 and missing):
                        return answer
                    asked_for = answer.headers.get("retry-after", "")
                    wait = float(asked_for) if asked_for.isdigit() else wait
                    wait = wait if status == 429 or status >= 500 else None
                    why = _why(answer)
                left = since + within - time.monotonic()
                if wait is None or wait > left:
                    raise UserError(f"{self.name}: {asked} failed: {why}")
                step(f"waiting for the registry {self.name}, at most {left:.0f} s more: {why}")
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _authorised(self, url: str, root: str) -> dict[str, str]:
        """An upload may go on at another host, which gets no word of ours."""
        said = self._tokens.get("said")
        return {"Authorization": said} if said and url.startswith(f"{root}/") else {}

    def _log_in(self, client: "httpx.Client", answer: "httpx.Response") -> bool:
        """As the registry's WWW-Authenticate asks: with a token that it gives out, or with our name."""
        kind, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
        given = credentials(self.host)
        if kind.lower() == "basic" and given:
            self._tokens["said"] = "Basic " + base64.b64encode(":".join(given).encode()).decode()
            return True
        asks = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = urlsplit(asks.get("realm", ""))
        if kind.lower() != "bearer" or not (realm.scheme == "https" or realm.hostname in loopback.NAMES):
            return False
        asked = {"service": asks.get("service", ""), "scope": f"repository:{self.path}:pull,push"}
        if "pull,push" not in asks.get("scope", ""):
            asked["scope"] = asks.get("scope", asked["scope"])
        told = client.get(asks["realm"], params=asked, auth=given)
        if told.status_code >= 400:
            raise UserError(f"{self.name}: the registry gives out no token: {_why(told)}: {LOG_IN}")
        said = _json(told)
        self._tokens["said"] = f"Bearer {said.get('token') or said.get('access_token')}"
        return True


LOG_IN = f"set {USER} and {PASSWORD}, or run `docker login`"


def credentials(host: str) -> tuple[str, str] | None:
    """Name and password for a registry: the variables', this run's on GitHub for GHCR, else docker's own."""
    if (user := os.environ.get(USER)) and (password := os.environ.get(PASSWORD)):
        return user, password
    if host == GHCR and (token := github.token()):
        return os.environ.get("GITHUB_ACTOR") or "token", token
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if helper := config.get("credHelpers", {}).get(host) or config.get("credsStore"):
            done = programs.run([f"docker-credential-{helper}", "get"], input=host, timeout=HELPER_SECONDS)
            told = json.loads(done.stdout)
            return str(told["Username"]), str(told["Secret"])
        user, _, password = base64.b64decode(config["auths"][host]["auth"]).decode().partition(":")
        return user, password
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, AttributeError, UserError):
        return None


def _client(scheme: str, answer: float) -> "httpx.Client":
    import httpx

    timeout = httpx.Timeout(answer, write=TRANSFER_SECONDS)
    proxy = scheme == "https"  # what listens on this machine is asked straight
    return httpx.Client(timeout=timeout, verify=github.trusted(), follow_redirects=True, trust_env=proxy)


@contextlib.contextmanager
def _body(content: Path | bytes) -> Iterator[Any]:
    if isinstance(content, bytes):
        yield content
    else:
        with content.open("rb") as file:  # whose size httpx tells
            yield file


def _json(answer: "httpx.Response") -> dict[str, Any]:
    try:
        found = json.loads(answer.content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(
            f"{answer.url.host} answers {answer.url.path} with something else than JSON: try again"
        )
    return found


def _manifests(answer: "httpx.Response") -> list[Any]:
    found = _json(answer).get("manifests")
    return found if isinstance(found, list) else []


def _digest(entry: dict[str, Any]) -> str:
    """ValueError where it is none: it becomes part of an address."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest := entry["digest"]):
        raise ValueError(f"{digest} is not a digest")
    return str(digest)


def _why(answer: "httpx.Response") -> str:
    """What the registry says, and for what a person can change the way out."""
    try:
        said = one_line(
            "; ".join(f"{e['code']} {e.get('message', '')}".strip() for e in answer.json()["errors"])
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        said = one_line(answer.text)[:80]
    told = f"{answer.status_code} {said}".strip()
    if answer.status_code == 401:
        return f"{told}: {LOG_IN}"
    if answer.status_code == 403:
        return f"{told}: the credentials may not do this; a job on GitHub needs `packages: write`"
    return told


def _tag(digest: str) -> str:
    return digest.replace(":", "-")

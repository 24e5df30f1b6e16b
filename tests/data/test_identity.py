"""`ml ci identity`: GitHub's word of who runs becomes a role for the DVC remote, or one sentence."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest

from pipelines.base import git
from pipelines.base.errors import UserError
from pipelines.training import identity, tracked
from tests.bucket import Bucket, served

SUBJECT = "repo:ada/flights:ref:refs/heads/main"
ROLE = "arn:aws:iam::123456789012:role/greenlight-read"
TENANT, CLIENT = "0" * 36, "1" * 36
POOL = "projects/1/locations/global/workloadIdentityPools/github/providers/github"


class GitHub(BaseHTTPRequestHandler):
    """Its endpoint of identity tokens, unsigned."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        audience = parse_qs(urlsplit(self.path).query)["audience"][0]
        self.asked.append((audience, self.headers["Authorization"]))
        claims = base64.urlsafe_b64encode(json.dumps({"sub": SUBJECT, "aud": audience}).encode()).decode()
        body = json.dumps({"value": f"e30.{claims.rstrip('=')}.signature"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str | None]]]:
    """A job of GitHub's that may ask who it is, at the top of a repository whose DVC remote is in S3."""
    server = HTTPServer(("127.0.0.1", 0), GitHub)
    GitHub.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(identity.ASK, f"http://127.0.0.1:{server.server_port}/token?api-version=2.0")
    monkeypatch.setenv(identity.WITH, "of-the-job")
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path / "temp"))
    monkeypatch.setenv("GITHUB_ENV", str(tmp_path / "env"))
    monkeypatch.setenv("GITHUB_EVENT_NAME", "push")
    repository = tmp_path / "repository"
    git.run("init", "--quiet", str(repository))
    (repository / ".dvc").mkdir()
    monkeypatch.chdir(repository)
    remote("s3://greenlight/dvc")
    yield GitHub.asked
    server.shutdown()
    server.server_close()


def remote(url: str) -> None:
    Path(".dvc/config").write_text(f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n")


def later(tmp_path: Path) -> dict[str, str]:
    """What the later steps have in their environment."""
    return dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with served("identities") as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", found.url)
        yield found


def test_a_job_gets_the_roles_keys_for_the_later_steps_and_nothing_in_the_workspace(
    job: list[tuple[str, str | None]],
    aws: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    identity.run(ROLE)
    assert job == [("sts.amazonaws.com", "Bearer of-the-job")]
    ((name, file),) = later(tmp_path).items()
    assert name == "AWS_SHARED_CREDENTIALS_FILE" and Path(file).stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv(name, file)
    keys = botocore.session.Session().get_credentials()
    assert keys.secret_key and keys.token
    said = capfd.readouterr().out
    assert f"::add-mask::{keys.secret_key}\n" in said and f"::add-mask::{keys.token}\n" in said
    assert {path.name for path in Path().iterdir()} == {".git", ".dvc"}


def test_a_role_that_does_not_trust_the_run_is_named_with_whom_it_must_trust(
    job: list[tuple[str, str | None]], aws: Bucket
) -> None:
    aws.answer = lambda method, key: "AccessDenied"
    with pytest.raises(UserError, match=rf"no role {ROLE} for {SUBJECT}: .*AccessDenied.*trust policy"):
        identity.run(ROLE)


def test_google_asks_for_a_token_itself_when_it_needs_one(
    job: list[tuple[str, str | None]], tmp_path: Path
) -> None:
    remote("gs://greenlight/dvc")
    identity.run(POOL)
    file = json.loads(Path(later(tmp_path)["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    assert file["type"] == "external_account" and file["audience"] == f"//iam.googleapis.com/{POOL}"
    asked = file["credential_source"]
    assert asked["url"].endswith("&audience=https%3A%2F%2Fiam.googleapis.com%2F" + POOL.replace("/", "%2F"))
    assert asked["headers"] == {"Authorization": "Bearer of-the-job"} and not job


def test_azure_gets_a_token_in_a_file(job: list[tuple[str, str | None]], tmp_path: Path) -> None:
    remote("azure://greenlight/dvc")
    identity.run(f"{TENANT}/{CLIENT}")
    given = later(tmp_path)
    assert (given["AZURE_TENANT_ID"], given["AZURE_CLIENT_ID"]) == (TENANT, CLIENT)
    assert identity._who(Path(given["AZURE_FEDERATED_TOKEN_FILE"]).read_text()) == SUBJECT
    assert job == [("api://AzureADTokenExchange", "Bearer of-the-job")]


@pytest.mark.parametrize("url", ["gs://greenlight/dvc", "azure://greenlight/dvc", "ssh://greenlight/dvc"])
def test_a_role_in_another_clouds_form_is_named(job: list[tuple[str, str | None]], url: str) -> None:
    remote(url)
    with pytest.raises(UserError, match=r"docs/remotes/|and a role is for s3, gs, azure"):
        identity.run(ROLE)


def test_a_pull_request_without_an_identity_goes_on_without_the_remote(
    job: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(identity.ASK)
    with pytest.raises(UserError, match=r"permissions: id-token: write\b"):
        identity.run(ROLE)
    monkeypatch.setenv("GITHUB_EVENT_NAME", "pull_request")
    identity.run(ROLE)
    assert "goes on without the DVC remote 'storage'" in capsys.readouterr().err
    assert not tracked.repo(Path()).config["core"]["remote"]


def test_nothing_is_asked_for_where_there_is_no_role_or_no_remote(job: list[tuple[str, str | None]]) -> None:
    identity.run("")
    Path(".dvc/config").write_text("")
    identity.run(ROLE)
    assert not job


def test_githubs_refusal_is_one_sentence(
    job: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(identity.ASK, "http://127.0.0.1:9/token?x=1")
    with pytest.raises(UserError, match=r"GitHub gave this run no identity: .*: run the job again"):
        identity.run(ROLE)

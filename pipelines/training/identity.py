"""`ml ci identity`: how a job of GitHub Actions reaches the DVC remote without a key that anybody keeps.

GitHub signs who runs (repository, branch, environment) in a token of some minutes, and a cloud that was told
to trust it gives a role for it. What comes of it is in files beside the workspace: no artifact takes them."""

import base64
import binascii
import contextlib
import json
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.base.console import later, secret, step, summary
from pipelines.base.errors import UserError, one_line
from pipelines.base.files import write_text
from pipelines.training import tracked

ASK, WITH = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
WAIT_SECONDS = 30
LASTS_SECONDS = 3600  # a role of AWS, which allows this without being asked to


def of_terraform(role: str) -> None:
    """`ml ci identity --terraform`: let the later steps work as `role`, in the cloud whose form it has.
    Without one nothing is done. UserError as `run`."""
    if not role:
        return step("no role is given: Terraform has no cloud here")
    kind = "s3" if role.startswith("arn:") else "gs" if role.startswith("projects/") else "azure"
    if not os.environ.get(ASK):
        raise UserError("this job has no `permissions: id-token: write`, so it gets no role: give it that")
    KINDS[kind](role, {})
    step(f"the later steps work as {role}")


def run(role: str) -> None:
    """Let the later steps reach the default DVC remote as `role`. Without a remote, or a role, nothing is
    done. A pull request that GitHub gives no identity (a fork's, Dependabot's) goes on without the remote.

    UserError where the job may not ask for a token, where the cloud refuses it, and for a role that is not of
    the remote's cloud."""
    repo = tracked.repo(Path())
    if not (name := repo.config["core"].get("remote")):
        return step("no DVC remote is configured: data come from the source")
    if not role:
        return step(f"no role is given for the DVC remote {name!r}: docs/remotes/ says how to make one")
    config = repo.config["remote"][name]
    kind = str(config["url"]).partition("://")[0]
    if kind not in KINDS:
        raise UserError(
            f"the DVC remote {name!r} is {kind}://, and a role is for {', '.join(KINDS)}: unset it"
        )
    if not os.environ.get(ASK):
        return _without(repo, name)
    KINDS[kind](role, config)
    step(f"the later steps reach the DVC remote {name!r} as {role}")


def _without(repo: Any, name: str) -> None:
    if os.environ.get("GITHUB_EVENT_NAME") != "pull_request":
        raise UserError(
            f"this job has no `permissions: id-token: write`, so no role for {name!r}: give it that"
        )
    with repo.config.edit("local") as local:
        local["core"]["remote"] = ""
    said = f"GitHub gives this pull request no identity, so it goes on without the DVC remote {name!r}"
    step(said)
    summary(f"{said}: data come from the source, models are made again.")


def _aws(role: str, config: Mapping[str, Any]) -> None:
    """The role's keys for an hour, at once: a token would be too old by the end of a training."""
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    token = _token("sts.amazonaws.com")
    region = config.get("region") or os.environ.get("AWS_REGION") or "us-east-1"
    bounds = Config(
        signature_version=UNSIGNED,
        connect_timeout=WAIT_SECONDS,
        read_timeout=WAIT_SECONDS,
        retries={"total_max_attempts": 3},
    )
    client = botocore.session.get_session().create_client("sts", region_name=region, config=bounds)
    session = f"greenlight-{os.environ.get('GITHUB_RUN_ID', 'run')}"
    try:
        found = client.assume_role_with_web_identity(
            RoleArn=role, RoleSessionName=session, WebIdentityToken=token, DurationSeconds=LASTS_SECONDS
        )["Credentials"]
    except (BotoCoreError, ClientError) as error:
        raise UserError(
            f"AWS gave no role {role} for {_who(token)}: {one_line(error)}: correct its trust policy, or "
            "GREENLIGHT_DVC_ROLE_READ and _WRITE (docs/remotes/s3.md)"
        ) from None
    fields = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    for field in fields[1:]:
        secret(found[field])
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    lines = [f"{name} = {found[field]}" for name, field in zip(names, fields, strict=True)]
    later(AWS_SHARED_CREDENTIALS_FILE=_kept("aws", "\n".join(["[default]", *lines, ""])))


def _google(role: str, config: Mapping[str, Any]) -> None:
    """A file from which Google's client asks GitHub for a token itself, whenever it needs one."""
    if not role.startswith("projects/"):
        raise UserError(f"the role {role!r} is not projects/.../providers/NAME: see docs/remotes/gcs.md")
    audience = f"iam.googleapis.com/{role}"
    headers = {"Authorization": f"Bearer {os.environ.get(WITH, '')}"}
    asked = {
        "type": "external_account",
        "audience": f"//{audience}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {
            "url": f"{os.environ[ASK]}&audience={quote(f'https://{audience}', safe='')}",
            "headers": headers,
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
    }
    later(GOOGLE_APPLICATION_CREDENTIALS=_kept("google.json", json.dumps(asked)))


def _azure(role: str, config: Mapping[str, Any]) -> None:
    tenant, _, client = role.partition("/")
    if not all(re.fullmatch(r"[0-9a-fA-F-]{36}", part) for part in (tenant, client)):
        raise UserError(f"the role {role!r} is not TENANT_ID/CLIENT_ID: see docs/remotes/azure.md")
    token = _kept("azure", _token("api://AzureADTokenExchange"))
    later(AZURE_TENANT_ID=tenant, AZURE_CLIENT_ID=client, AZURE_FEDERATED_TOKEN_FILE=token)


KINDS: dict[str, Callable[[str, Mapping[str, Any]], None]] = {"s3": _aws, "gs": _google, "azure": _azure}


def _token(audience: str) -> str:
    """GitHub's word of who runs, for that reader."""
    request = urllib.request.Request(
        f"{os.environ[ASK]}&audience={quote(audience, safe='')}",
        headers={"Authorization": f"Bearer {os.environ.get(WITH, '')}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            token = str(json.load(answer)["value"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"GitHub gave this run no identity: {one_line(error)}: run the job again") from None
    secret(token)
    return token


def _who(token: str) -> str:
    """The subject of a token, which a trust policy names."""
    with contextlib.suppress(IndexError, ValueError, binascii.Error, TypeError, AttributeError):
        part = token.split(".")[1]
        return one_line(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).get("sub"))
    return "this run"


def _kept(name: str, text: str) -> str:
    """A file for this user alone, beside the workspace."""
    folder = Path(os.environ.get("RUNNER_TEMP") or tempfile.gettempdir(), "greenlight-identity")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = write_text(folder / name, text)
    path.chmod(0o600)
    return str(path)
